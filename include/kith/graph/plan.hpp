// SPDX-License-Identifier: Apache-2.0
//
// How a filtered search of a graph is run. The one place that decides; a planner with measured costs can take it over.
#pragma once

#include <cstddef>

namespace kith {

enum class Plan { walk, scan };

struct PlanInputs {
    std::size_t rows;     // live
    std::size_t allowed;  // by the filter
    std::size_t ef;
    std::size_t degree;
};

/// A filtered walk expands about ef nodes and scores up to `degree` rows at each; when no more than that many rows are allowed, scoring all of them is
/// exact and no slower.
inline Plan choose_plan(const PlanInputs& in) noexcept {
    return in.allowed / in.degree < in.ef ? Plan::scan : Plan::walk;
}

}  // namespace kith
