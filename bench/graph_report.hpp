// SPDX-License-Identifier: Apache-2.0
//
// Points (recall, queries per second), the front they form, and what is read off it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace kith_bench {

struct Point {
    std::size_t ef = 0;
    double recall = 0;
    double distances = 0;       // per query; 0: not known
    std::vector<double> qps{};  // one for each repetition
    bool timed = false;

    double best() const { return qps.empty() ? 0.0 : *std::max_element(qps.begin(), qps.end()); }
    double median() const {
        if (qps.empty()) return 0;
        std::vector<double> sorted = qps;
        std::sort(sorted.begin(), sorted.end());
        return sorted[sorted.size() / 2];
    }
};

/// The points that no other beats in both recall and speed, by rising recall (and so by falling speed).
inline std::vector<Point> front(const std::vector<Point>& points) {
    std::vector<Point> sorted;
    for (const Point& p : points)
        if (!p.qps.empty()) sorted.push_back(p);
    std::sort(sorted.begin(), sorted.end(), [](const Point& a, const Point& b) {
        return a.recall != b.recall ? a.recall > b.recall : a.best() > b.best();
    });
    std::vector<Point> kept;
    for (const Point& p : sorted)
        if (kept.empty() || p.best() > kept.back().best()) kept.push_back(p);
    std::reverse(kept.begin(), kept.end());
    return kept;
}

/// A value at a recall: log-linear in recall between the two points of the front around it. Nothing where the front
/// does not reach; where it starts above the recall, its first point (`clipped`): no slower configuration was worth
/// having.
struct AtRecall {
    double value = 0;
    bool clipped = false;
};

template <class Value>
std::optional<AtRecall> at_recall(const std::vector<Point>& front, double recall, Value value) {
    if (front.empty() || front.back().recall < recall) return std::nullopt;
    if (front.front().recall >= recall) return AtRecall{value(front.front()), front.front().recall > recall};
    std::size_t i = 1;
    while (front[i].recall < recall) ++i;
    const Point& a = front[i - 1];
    const Point& b = front[i];
    const double share = (recall - a.recall) / (b.recall - a.recall);
    if (value(a) <= 0 || value(b) <= 0) return AtRecall{0, false};
    return AtRecall{std::exp(std::log(value(a)) * (1 - share) + std::log(value(b)) * share), false};
}

inline void print_points(const std::string& name, const std::vector<Point>& points) {
    const std::vector<Point> best = front(points);
    std::printf("\n%s\n      ef   recall  best QPS    median  distances   (* on the front)\n", name.c_str());
    for (const Point& p : points) {
        if (p.qps.empty()) continue;
        const bool on_front = std::any_of(best.begin(), best.end(), [&](const Point& q) { return q.ef == p.ef; });
        std::printf("%8zu  %7.4f  %8.0f  %8.0f ", p.ef, p.recall, p.best(), p.median());
        if (p.distances > 0)
            std::printf(" %10.1f", p.distances);
        else
            std::printf("          -");
        std::printf(" %s\n", on_front ? " *" : "");
    }
}

struct Summary {
    std::string name;
    double build_seconds = 0;
    double build_cpu_seconds = 0;  // of all threads
    std::size_t build_threads = 0;
    double bytes_per_row = 0;
    std::vector<Point> points{};
};

/// One line each; ratios are to the first whose name begins with hnswlib.
inline void print_summaries(const std::vector<Summary>& all) {
    const auto speed = [](const Summary& s, double recall) {
        return at_recall(front(s.points), recall, [](const Point& p) { return p.best(); });
    };
    const auto is_yardstick = [](const Summary& s) { return s.name.rfind("hnswlib", 0) == 0; };
    const auto yardstick = std::find_if(all.begin(), all.end(), is_yardstick);
    std::printf("\n%-32s %8s %8s %4s %7s", "", "build s", "cpu s", "thr", "B/row");
    for (const char* title : {"QPS@.90", "QPS@.95", "QPS@.99"}) std::printf(" %9s  %-6s", title, "ratio");
    std::printf(" %9s %9s\n", "dist@.95", "dist@.99");
    for (const Summary& s : all) {
        std::printf("%-32s %8.1f %8.1f %4zu %7.0f", s.name.c_str(), s.build_seconds, s.build_cpu_seconds, s.build_threads,
                    s.bytes_per_row);
        for (const double recall : {0.90, 0.95, 0.99}) {
            const auto own = speed(s, recall);
            if (!own) {
                std::printf(" %9s  %-6s", "-", "-");
                continue;
            }
            std::printf(" %8.0f%s", own->value, own->clipped ? ">" : " ");
            const auto other = yardstick == all.end() ? std::nullopt : speed(*yardstick, recall);
            if (other)
                std::printf("  %-6.2f", own->value / other->value);
            else
                std::printf("  %-6s", "-");
        }
        for (const double recall : {0.95, 0.99}) {
            const auto distances = at_recall(front(s.points), recall, [](const Point& p) { return p.distances; });
            if (distances && distances->value > 0)
                std::printf(" %9.0f", distances->value);
            else
                std::printf(" %9s", "-");
        }
        std::printf("\n");
    }
    std::printf(
        "QPS: best of the repetitions, log-linear in recall along the front; > is the front's lowest point, which is above "
        "that recall\n");
}

}  // namespace kith_bench
