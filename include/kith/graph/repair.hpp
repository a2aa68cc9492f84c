// SPDX-License-Identifier: Apache-2.0
//
// Repair around removed nodes: a node that linked to a removed one is offered the removed one's neighbours in its place (Singh, Subramanya,
// Krishnaswamy and Simhadri 2021, "FreshDiskANN", algorithm 4; but the links that a node has stay, as choosing among all anew thins rows out with every removal). Which nodes linked to it is found by looking at all rows
// when many nodes go at once, or by a search around each that goes when few do, in place and without a pass over the graph
// (Xu, Manohar, Bernstein, Chandramouli, Wen and Simhadri 2025, "In-place updates of a graph index", IP-DiskANN). Links that the search misses lead to a
// vacant slot, which walks skip, and which is not taken again before a look at all rows has found them (graph/graph.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "kith/core/executor.hpp"
#include "kith/graph/insert.hpp"
#include "kith/graph/links.hpp"
#include "kith/graph/prune.hpp"

namespace kith {

/// New links for `node` in scratch.candidates, where it links to hidden slots: what it has stays, and the places of the hidden ones go to
/// neighbours that they had, nearest first, that are not nearer to a link it has (the rule of prune()); the nearest one in any case, so that
/// no way is cut. False where there is nothing to do.
template <Space S>
bool repair_row(const S& space, const Layer& layer, Slot node, std::size_t slots, BitsetView hidden, LinkRule rule, BuildScratch<S>& scratch) {
    using D = typename S::distance_type;
    const auto current = layer.neighbours(node);
    scratch.slots.clear();
    bool broken = false;
    for (const Slot neighbour : current) {
        if (neighbour < slots && !hidden.test(neighbour)) scratch.slots.push_back(neighbour);
        else broken = true;
    }
    if (!broken) return false;
    const std::size_t stay = scratch.slots.size();
    const auto add = [&](Slot slot) {
        if (slot < slots && slot != node && !hidden.test(slot) && std::find(scratch.slots.begin(), scratch.slots.end(), slot) == scratch.slots.end())
            scratch.slots.push_back(slot);
    };
    for (const Slot gone : current) {
        if (gone >= slots || !hidden.test(gone) || layer.row(gone) == nullptr) continue;
        for (const Slot next : layer.neighbours(gone)) add(next);
    }
    scratch.candidates.clear();
    score_candidates(space, node, scratch.slots, scratch);
    auto& offered = scratch.pruned;
    offered.assign(scratch.candidates.begin() + static_cast<std::ptrdiff_t>(stay), scratch.candidates.end());
    std::sort(offered.begin(), offered.end(), HitOrder<D>());
    scratch.candidates.resize(stay);
    for (const Hit<D>& candidate : offered) {
        if (scratch.candidates.size() == layer.degree()) break;
        const bool covered = scratch.candidates.size() > stay &&
                             std::any_of(scratch.candidates.begin(), scratch.candidates.end(), [&](const Hit<D>& kept) {
                                 return covers<S>(space.distance(kept.slot, candidate.slot), candidate.distance, rule.alpha);
                             });
        if (!covered) scratch.candidates.push_back(candidate);
    }
    return true;
}

/// Repairs the rows of `nodes` (distinct, live). All are planned from the links as they are, then written: the order does not matter.
template <Space S>
void repair_rows(const S& space, Links& links, const Layer& layer, std::span<const Slot> nodes, std::size_t slots, BitsetView hidden,
                 LinkRule rule, std::span<BuildScratch<S>> workers, Executor& executor, std::vector<Slot>* touched = nullptr) {
    for (auto& worker : workers) worker.plans.clear();
    executor.run(nodes.size(), 64, [&](std::size_t begin, std::size_t end, std::size_t which) {
        auto& scratch = workers[which];
        for (std::size_t i = begin; i < end; ++i)
            if (repair_row(space, layer, nodes[i], slots, hidden, rule, scratch)) scratch.plans.add(nodes[i], 0, scratch.candidates);
    });
    std::vector<Slot> row;
    for (const auto& worker : workers)
        for (const auto& node : worker.plans.nodes) {
            row.clear();
            for (const auto& hit : worker.plans.of(node)) row.push_back(hit.slot);
            links.assign(layer.index(node.slot), row);
            if (touched != nullptr) touched->push_back(node.slot);
        }
}

}  // namespace kith
