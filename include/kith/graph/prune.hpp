// SPDX-License-Identifier: Apache-2.0
//
// Which candidates become neighbours. A candidate is kept unless one that was kept before is nearer to it than the node is, by a factor alpha: the
// heuristic of Malkov and Yashunin 2018, algorithm 4 (alpha = 1), and RobustPrune of Subramanya et al. 2019, algorithm 2 (alpha >= 1).
// What is pruned can be reached through what was kept.
//
// Departures. A candidate at the same place as a kept one is pruned too (the paper's strict comparison keeps every duplicate of the node,
// until nothing else fits). Where distances can be negative (inner products) the factor is 1: scaling a negative number would
// turn its meaning round.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kith/core/topk.hpp"
#include "kith/space/space.hpp"

namespace kith {

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
        for (std::size_t j = 0; j < kept && !covered; ++j) {
            const D between = space.distance(candidates[j].slot, candidate.slot);
            covered = alpha == 1.0f || between < D{0}
                          ? between <= candidate.distance
                          : alpha * static_cast<float>(between) <= static_cast<float>(candidate.distance);
        }
        if (covered) {
            if (refill) pruned.push_back(candidate);
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
