// SPDX-License-Identifier: Apache-2.0
//
// What recall an index has under which search parameters, as it was measured (any/calibration.hpp): so that searches can say how good they want to be, and not how.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/params.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

/// Search parameters that were tried, and how they did.
struct RecallPoint {
    double k = 0;           // neighbours looked for
    double values[2] = {};  // of RecallCurve::parameters
    double recall = 0;
    double error = 0;       // standard error of that
    double distances = 0;   // rows measured a query

    /// What may be promised: a standard error less than was measured; where so few queries leave it so open that this would often be wrong by more than a hundredth, less than that.
    double assured() const noexcept { return recall - std::max(error, 2.33 * error - 0.01); }
};

class RecallCurve {
public:
    std::vector<std::string> parameters;  // "ef"; "nprobe" and "refine"; none where searches have none to choose
    std::vector<RecallPoint> points;      // by k, then as recall rises
    std::uint64_t rows = 0;               // there were when it was measured
    std::uint64_t queries = 0;            // of which it is the mean
    double target = 0;                    // what searches aim at that say nothing; 0: they use the index's defaults

    /// The largest recall that may be promised of k neighbours.
    double best(std::size_t k) const {
        double most = 0;
        for (const auto& point : of(k)) most = std::max(most, point.assured());
        return most;
    }

    /// Search parameters for this recall of k neighbours; the best there are where it is out of reach. Between two points that were measured it is interpolated, the logarithm of a parameter
    /// by what may be promised. Other k than were measured take the next larger one's, and refine as many rows as that does. O(points).
    ParamMap params_for(double target_recall, std::size_t k) const {
        const auto measured = of(k);
        if (measured.empty() || parameters.empty()) return {};
        constexpr double most_refine = 1000, most_other = 1 << 30;  // what such parameters may be
        const double wanted = static_cast<double>(std::max<std::size_t>(k, 1)), factor = std::max(1.0, wanted / measured.front().k);  // more neighbours than were ever looked for: in proportion
        const RecallPoint* before = nullptr;
        const RecallPoint* found = nullptr;
        for (const auto& point : measured) {
            if (found == nullptr || point.assured() > found->assured()) found = &point;
            if (point.assured() >= target_recall) break;
            before = &point;
        }
        ParamMap params;
        for (std::size_t p = 0; p < parameters.size(); ++p) {
            double value = found->values[p];
            if (before != nullptr && before < found) {
                const double low = before->assured(), high = found->assured();
                const double part = high > low ? std::clamp((target_recall - low) / (high - low), 0.0, 1.0) : 1.0;
                value = before->values[p] * std::pow(found->values[p] / before->values[p], part);
            }
            if (parameters[p] == "refine") params.emplace_back(parameters[p], std::min(most_refine, value * std::max(1.0, measured.front().k / wanted)));
            else params.emplace_back(parameters[p], static_cast<std::int64_t>(std::ceil(std::min(most_other, value * factor) - 1e-9)));
        }
        return params;
    }

    /// Of the least k that was measured and is not below this one; the largest, if all are.
    std::span<const RecallPoint> of(std::size_t k) const {
        std::size_t begin = 0;
        while (begin < points.size()) {
            std::size_t end = begin;
            while (end < points.size() && points[end].k == points[begin].k) ++end;
            if (points[begin].k >= static_cast<double>(k) || end == points.size()) return std::span(points).subspan(begin, end - begin);
            begin = end;
        }
        return {};
    }

    static constexpr std::string_view section_names[] = {"recall_points", "recall_state", "recall_params"};

    void save(SectionWriter& writer) const {
        std::string names;
        for (const auto& name : parameters) names += (names.empty() ? "" : ",") + name;
        const double state[] = {static_cast<double>(rows), static_cast<double>(queries), target};
        writer.add_text("recall_params", names);
        writer.add_copy("recall_state", std::span<const double>(state));
        std::vector<double> flat;
        for (const auto& point : points) flat.insert(flat.end(), {point.k, point.values[0], point.values[1], point.recall, point.error, point.distances});
        writer.add_copy("recall_points", std::span<const double>(flat));
    }

    /// None where the file has none. Throws Error{corrupt}, also for parameters that a P has not.
    template <Params P>
    static std::optional<RecallCurve> load(const SectionReader& reader) {
        if (!reader.contains("recall_points")) return std::nullopt;
        const auto refuse = [&](std::string_view section) { fail(ErrorCode::corrupt, reader.name(), ": section '", section, "' holds what no measurement of recall says"); };
        RecallCurve curve;
        const auto state = reader.section<double>("recall_state", 3);
        if (!(state[0] >= 0 && state[0] < 1e18 && state[1] >= 0 && state[1] < 1e18 && state[2] >= 0 && state[2] <= 1)) refuse("recall_state");
        curve.rows = static_cast<std::uint64_t>(state[0]);
        curve.queries = static_cast<std::uint64_t>(state[1]);
        curve.target = state[2];
        const std::string names(reader.text("recall_params"));
        for (std::size_t at = 0; at < names.size();) {
            const std::size_t end = std::min(names.find(',', at), names.size());
            curve.parameters.push_back(names.substr(at, end - at));
            at = end + 1;
        }
        if (curve.parameters.size() > 2) refuse("recall_params");
        const auto numbers = reader.section<double>("recall_points");
        if (numbers.size() % 6 != 0 || numbers.size() > 6 * 4096) refuse("recall_points");
        for (std::size_t i = 0; i < numbers.size(); i += 6) {
            const RecallPoint point{numbers[i], {numbers[i + 1], numbers[i + 2]}, numbers[i + 3], numbers[i + 4], numbers[i + 5]};
            const auto sane = [](double value, double low, double high) { return value >= low && value <= high; };
            if (!sane(point.k, 1, 1e9) || !sane(point.recall, 0, 1) || !sane(point.error, 0, 1) || !sane(point.distances, 0, 1e18)) refuse("recall_points");
            for (std::size_t p = 0; p < curve.parameters.size(); ++p)
                if (!sane(point.values[p], 1e-6, 1e9)) refuse("recall_points");
            if (i != 0 && point.k < curve.points.back().k) refuse("recall_points");
            curve.points.push_back(point);
            try {
                ParamMap params;
                for (std::size_t p = 0; p < curve.parameters.size(); ++p) {
                    if (curve.parameters[p] == "refine") params.emplace_back("refine", point.values[p]);
                    else params.emplace_back(curve.parameters[p], static_cast<std::int64_t>(point.values[p]));
                }
                parse_params<P>(params, "recall_points");
            } catch (const Error& error) {
                fail(ErrorCode::corrupt, reader.name(), ": section 'recall_points': ", error.what());
            }
        }
        return curve;
    }
};

}  // namespace kith
