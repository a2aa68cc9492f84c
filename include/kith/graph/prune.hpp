// SPDX-License-Identifier: Apache-2.0
//
// Which candidates become neighbours. A candidate is kept unless one that was kept before is nearer to it than the node is, by a factor alpha: the
// heuristic of Malkov and Yashunin 2018, algorithm 4 (alpha = 1), and RobustPrune of Subramanya et al. 2019, algorithm 2 (alpha >= 1).
// What is pruned can be reached through what was kept.
//
// Departures. A candidate at the same place as a kept one is pruned too (the paper's strict comparison keeps every duplicate of the node,
// until nothing else fits). Over inner products, which can be negative, the factor is 1: scaling a negative number would turn its
// meaning round.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "kith/core/topk.hpp"
#include "kith/metric/metric.hpp"
#include "kith/space/space.hpp"

namespace kith {

/// Inner products are no metric: a row with a large norm is near to all rows and covers them, and little would be left of a list that is only pruned. Over them, lists
/// are filled up again with the nearest pruned candidates.
template <Space S>
constexpr bool refills_lists() {
    if constexpr (requires { typename S::metric_type; }) return std::is_same_v<typename S::metric_type, InnerProduct>;
    else return false;
}

/// Whether a kept neighbour at distance `between` of a candidate makes it unnecessary for a node at distance `away` of it.
template <Space S>
bool covers(typename S::distance_type between, typename S::distance_type away, float alpha) noexcept {
    if (alpha == 1.0f || refills_lists<S>()) return between <= away;
    return alpha * static_cast<float>(between) <= static_cast<float>(away);
}

/// candidates: by distance to the node, nearest first, without the node itself and without repetition; afterwards the kept ones, at most `degree`,
/// nearest first. `refill`: fill up with the nearest of the pruned (keepPrunedConnections). O(|candidates| degree) distances.
template <Space S>
void prune(const S& space, std::vector<Hit<typename S::distance_type>>& candidates, std::size_t degree, float alpha, bool refill,
           std::vector<Hit<typename S::distance_type>>& pruned) {
    using D = typename S::distance_type;
    if (!refill && candidates.size() <= 1) return;
    std::size_t kept = 0;
    pruned.clear();
    for (std::size_t i = 0; i < candidates.size() && kept < degree; ++i) {
        const Hit<D> candidate = candidates[i];
        bool covered = false;
        for (std::size_t j = 0; j < kept && !covered; ++j)
            covered = covers<S>(space.distance(candidates[j].slot, candidate.slot), candidate.distance, alpha);
        if (covered) {
            // Of rows that are all the same, one is enough: the others would fill the list and lead nowhere.
            if (!refill) continue;
            const bool repeated = !pruned.empty() && pruned.back().distance == candidate.distance &&
                                  space.distance(pruned.back().slot, candidate.slot) == D{0};
            const bool same = kept > 0 && candidates[kept - 1].distance == candidate.distance &&
                              space.distance(candidates[kept - 1].slot, candidate.slot) == D{0};
            if (!repeated && !same) pruned.push_back(candidate);
        } else {
            candidates[kept++] = candidate;
        }
    }
    candidates.resize(kept);
    if (refill && kept < degree) {
        const std::size_t more = std::min(degree - kept, pruned.size());
        candidates.insert(candidates.end(), pruned.begin(), pruned.begin() + static_cast<std::ptrdiff_t>(more));
        std::inplace_merge(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(kept), candidates.end(), HitOrder<D>());
    }
}

}  // namespace kith
