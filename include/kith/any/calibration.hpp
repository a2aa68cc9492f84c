// SPDX-License-Identifier: Apache-2.0
//
// Measures what recall an index has under which search parameters (index/recall_curve.hpp), so that nobody has to know what ef, nprobe or probes do.
//
// Queries are rows of its own, each left out of the index while it is searched for: of a graph it is no node on the way (WalkScratch::leave_out), elsewhere it is no result. What is truly
// nearest to them Flat says, over the rows as they were given. Parameters grow from the least there are; where there are two, that one grows which gains more recall for the bytes it
// costs. The curve ends where nothing is missing any more or several scans of all rows would read less.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kith/any/any_index.hpp"
#include "kith/any/model.hpp"
#include "kith/core/random.hpp"
#include "kith/index/recall_curve.hpp"
#include "kith/space/finite.hpp"

namespace kith::detail {

/// Own rows and the other rows nearest to each: more of them than are looked for, so that rows as near as the last of those are known.
struct Sample {
    static constexpr std::size_t spare = 4;  // times as many

    std::vector<std::byte> bytes;
    AnyMatrix queries;
    std::vector<Id> own;
    std::size_t near = 0;   // that may be looked for
    std::size_t known = 0;  // of each query
    std::vector<Id> ids;    // queries x known
    std::vector<float> distances;
};

/// rows: those of the index, or of its slots (live: those that are not vacant); ids: of each.
inline Sample sample_of(AnyMatrix rows, std::string_view metric, std::span<const Id> ids, const std::optional<Bitset>& live, std::size_t count, std::size_t near, std::uint64_t seed,
                        Executor& executor, const Progress& progress) {
    std::vector<std::size_t> there;
    for (std::size_t i = 0; i < rows.rows; ++i)
        if (!live || live->test(i)) there.push_back(i);
    const auto finite = [&](std::size_t i) {  // rows that are not are no queries
        return with_element(rows.type, [&](auto value) { return first_not_finite(typed<decltype(value)>(rows, "rows").slice(i, 1)) == 1; });
    };
    Sample sample;
    sample.near = std::min(near, there.size() - std::min<std::size_t>(there.size(), 1));
    if (sample.near == 0) return sample;
    sample.known = std::min(Sample::spare * near, there.size() - 1);
    count = std::min(count, there.size());
    const Random random(seed, 0x7265636c);
    const std::size_t element = element_bytes(rows.type), row_bytes = rows.cols * element;
    std::vector<std::size_t> chosen;
    for (std::size_t q = 0; q < count; ++q) {
        const std::size_t row = there[count == there.size() ? q : static_cast<std::size_t>(random.below(q, there.size()))];
        if (!finite(row)) continue;
        const auto* from = static_cast<const std::byte*>(rows.data) + row * rows.stride * element;
        sample.bytes.insert(sample.bytes.end(), from, from + row_bytes);
        sample.own.push_back(ids.empty() ? static_cast<Id>(row) : ids[row]);
        chosen.push_back(row);
    }
    count = chosen.size();
    if (count == 0) sample.near = 0;
    sample.queries = {rows.type, sample.bytes.data(), count, rows.cols, rows.cols};
    BuildOptions options;
    options.metric = std::string(metric);
    options.not_finite = NotFinite::allow;
    const AnyIndex flat = AnyIndex::build("flat", rows, options, executor);
    const auto context = flat.context();
    std::vector<BitsetView> filters;
    if (live) filters.emplace_back(live->view());
    constexpr std::size_t step = 64;
    for (std::size_t first = 0; first < count; first += step) {
        progress.report("truth", first, count);
        const std::size_t some = std::min(step, count - first);
        Results found(some, std::min(sample.known + 1, rows.rows));
        flat.search({rows.type, sample.bytes.data() + first * row_bytes, some, rows.cols, rows.cols}, found.k(), {}, filters, executor, found.view(), *context);
        for (std::size_t q = 0; q < some; ++q) {
            std::size_t kept = 0;
            for (std::size_t i = 0; i < found.count(q) && kept < sample.known; ++i) {
                const Id row = found.ids(q)[i];
                if (row == static_cast<Id>(chosen[first + q])) continue;
                sample.ids.push_back(row == invalid_id || ids.empty() ? row : ids[static_cast<std::size_t>(row)]);
                sample.distances.push_back(found.distances(q)[i]);
                ++kept;
            }
            sample.ids.resize((first + q + 1) * sample.known, invalid_id);
            sample.distances.resize(sample.ids.size());
        }
    }
    progress.report("truth", count, count);
    return sample;
}

class Calibration {
public:
    Calibration(const AnyModel& model, const Sample& sample, Executor& executor, const Progress& progress)
        : model_(model), sample_(sample), executor_(executor), progress_(progress) {}

    RecallCurve measure() {
        RecallCurve curve;
        curve.rows = model_.size();
        curve.queries = sample_.own.size();
        for (const auto& field : model_.search_params())
            if (field.name == "ef" || field.name == "nprobe" || field.name == "probes" || field.name == "refine") {
                curve.parameters.push_back(field.name);
                most_.push_back(field.max);
            }
        for (const std::size_t k : {std::size_t{10}, std::size_t{100}}) {
            const std::size_t wanted = std::min(k, sample_.near);
            if (wanted == 0 || (k > 10 && (wanted <= 10 || 10 * k > model_.size()))) continue;
            follow(curve, wanted);
        }
        return curve;
    }

private:
    static constexpr std::size_t most_points = 60;
    static constexpr double enough = 0.9995;  // of recall; more is not told from all by so few queries

    struct Tried {
        RecallPoint point;
        double bytes = 0;
    };

    void follow(RecallCurve& curve, std::size_t k) {
        const auto first_of = [&](const std::string& name) { return name == "ef" ? static_cast<double>(k) : 1.0; };
        double values[2] = {1, 1};
        for (std::size_t p = 0; p < curve.parameters.size(); ++p) values[p] = first_of(curve.parameters[p]);
        Tried now = attempt(curve, k, values);
        curve.points.push_back(now.point);
        const double scan = static_cast<double>(model_.size()) * static_cast<double>(sample_.bytes.size()) / static_cast<double>(sample_.own.size());  // all rows' bytes
        std::size_t in_vain = 0;
        for (std::size_t i = 0; i < most_points && !curve.parameters.empty() && now.point.recall < enough && in_vain < 4; ++i) {
            progress_.report("calibrate", i, most_points);
            std::optional<Tried> best;
            double best_gain = 0;
            for (std::size_t p = 0; p < curve.parameters.size(); ++p) {
                double next[2] = {now.point.values[0], now.point.values[1]};
                next[p] = std::min(most_[p], grown(curve.parameters[p], next[p]));
                Tried tried = attempt(curve, k, next);
                const double gain = (tried.point.recall - now.point.recall) / std::max(tried.bytes - now.bytes, 1e-9 + 1e-6 * now.bytes);
                if (!best || gain > best_gain) {
                    best = tried;
                    best_gain = gain;
                }
            }
            in_vain = best->point.recall > now.point.recall + 1e-4 ? 0 : in_vain + 1;
            now = *best;
            if (now.point.recall > curve.points.back().recall || curve.points.back().k != static_cast<double>(k)) curve.points.push_back(now.point);
            if (now.bytes > 8 * scan) break;
        }
        progress_.report("calibrate", most_points, most_points);
    }

    static double grown(const std::string& name, double value) {
        if (name == "refine") return value * 1.5;
        return std::max(value + 1, std::ceil(value * (name == "probes" ? 2 : 1.4)));  // probes may be thousands
    }

    Tried attempt(const RecallCurve& curve, std::size_t k, const double* values) const {
        ParamMap params;
        for (std::size_t p = 0; p < curve.parameters.size(); ++p) {
            if (curve.parameters[p] == "refine") params.emplace_back("refine", values[p]);
            else params.emplace_back(curve.parameters[p], static_cast<std::int64_t>(values[p]));
        }
        const Results found = model_.search_without(sample_.queries, sample_.own, k, params, executor_);
        double sum = 0, squares = 0;
        const std::size_t queries = sample_.own.size();
        for (std::size_t q = 0; q < queries; ++q) {
            const auto distances = std::span(sample_.distances).subspan(q * sample_.known, sample_.known);
            const auto farthest = static_cast<double>(distances[k - 1]);
            std::size_t as_near = k;  // which of several rows that are equally far stand first is chance
            while (as_near < sample_.known && std::abs(static_cast<double>(distances[as_near]) - farthest) <= 1e-6 * std::abs(farthest)) ++as_near;
            const auto truth = std::span(sample_.ids).subspan(q * sample_.known, as_near);
            double hits = 0;
            for (const Id id : found.ids(q)) hits += std::find(truth.begin(), truth.end(), id) != truth.end() ? 1 : 0;
            hits = std::min(1.0, hits / static_cast<double>(k));
            sum += hits;
            squares += hits * hits;
        }
        const auto n = static_cast<double>(queries);
        Tried tried;
        tried.point = {static_cast<double>(k), {values[0], values[1]}, sum / n, std::sqrt(std::max(0.0, squares / n - sum / n * (sum / n)) / n), static_cast<double>(found.stats.distances) / n};
        tried.bytes = static_cast<double>(found.stats.bytes) / n;
        return tried;
    }

    const AnyModel& model_;
    const Sample& sample_;
    std::vector<double> most_;  // of each parameter
    Executor& executor_;
    const Progress& progress_;
};

/// Measures the model and keeps what was found in it. rows: those that it was built from, and their ids; none where its own are exact.
inline void calibrate_model(AnyModel& model, std::optional<AnyMatrix> rows, std::span<const Id> ids, double target, std::uint64_t seed, Executor& executor, const Progress& progress) {
    constexpr std::size_t queries = 300, near = 100;
    const std::optional<AnyMatrix> own = model.exact_rows();
    std::optional<Bitset> live;
    std::vector<Id> of_slots;
    if (!rows) {
        if (!own)
            fail(ErrorCode::unsupported, model.spec(), " keeps codes of its rows only: calibrating takes the rows, as build(..., target_recall) has them");
        rows = own;
        live = model.live_slots();
        of_slots = model.ids_of_slots();
        ids = of_slots;
    }
    const Sample sample = sample_of(*rows, model.metric(), ids, live, queries, near, seed, executor, progress);
    RecallCurve curve = Calibration(model, sample, executor, progress).measure();
    curve.target = target;
    model.set_recall_curve(std::move(curve));
}

/// Measures again, now that rows are others. Cannot fail: if it comes to nothing (the executor is told to stop, memory runs out), what was measured stays. Where only codes are kept there is
/// nothing to measure with, and searches that aim at a recall use defaults.
inline void calibrate_again(AnyModel& model, Executor& executor) noexcept {
    try {
        RecallCurve curve = *model.recall_curve();
        if (model.exact_rows()) return calibrate_model(model, std::nullopt, {}, curve.target, 0, executor, {});
        curve.points.clear();
        curve.rows = model.size();
        model.set_recall_curve(std::move(curve));
    } catch (...) {
    }
}

}  // namespace kith::detail
