// SPDX-License-Identifier: Apache-2.0
//
// The walk: one best-first search for every graph (Malkov and Yashunin 2018, algorithm 2; "GreedySearch" in Subramanya et al. 2019). It pops the nearest node that
// was not expanded and asks a navigator to expand it, until the pool holds nothing else. What expanding means is the navigator's:
//
//   LinkNavigator       reads the node's links and scores those not seen before (exact rows or codes)
//   FilteredNavigator   the same, but only what the filter allows enters the pool; where few neighbours are allowed it looks through the others at
//                       theirs (two hops; Patel et al. 2024, "ACORN"), so that the filter steers the walk
//   PackedNavigator     (graph/packed.hpp) reads a row that holds its neighbours' codes and estimates 32 distances in one pass
//
// Every navigator skips links past the number of slots, so that a walk over a damaged or hostile file stays inside it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "kith/core/results.hpp"
#include "kith/filter/filter.hpp"
#include "kith/graph/links.hpp"
#include "kith/graph/packed_codes.hpp"
#include "kith/graph/pool.hpp"
#include "kith/graph/visited.hpp"
#include "kith/space/space.hpp"

namespace kith {

/// What one worker needs to remember of a walk.
template <Space S>
struct WalkScratch {
    using Distance = typename S::distance_type;

    VisitedSet visited;
    CandidatePool<Distance> pool;
    std::vector<Slot> slots;          // about to be scored
    std::vector<Slot> passed;         // neighbours that the filter does not allow
    AlignedBuffer<Distance> distances;
    scorer_scratch_of<S> scorer;
    [[no_unique_address]] packed_scratch_of<S> packed;

    /// Walks as if there were no row in this slot, from now on; invalid_slot: as usual. It shortens the way to no neighbour: what a search for that very row needs to be like one for another.
    void leave_out(Slot slot) noexcept { visited.leave_out(slot); }
};

/// expand(pool): pops at least one candidate, offers what it leads to, returns how many it popped.
template <class N, class D>
concept Navigator = requires(N& navigator, CandidatePool<D>& pool) {
    { navigator.expand(pool) } -> std::same_as<std::size_t>;
};

/// Expands until every candidate of the pool was; returns how many it expanded.
template <class D, Navigator<D> N>
std::uint64_t walk(N& navigator, CandidatePool<D>& pool) {
    std::uint64_t hops = 0;
    while (pool.has_next()) hops += navigator.expand(pool);
    return hops;
}

/// NaN counts as infinitely far, like everywhere.
template <class D>
D sane(D distance) noexcept {
    if constexpr (std::is_floating_point_v<D>) {
        if (distance != distance) return farthest<D>();
    }
    return distance;
}

/// Expands up to four of the nearest candidates at a time: what they lead to is under way from memory together, and in a pool of dozens hardly one of them
/// would not have been expanded anyway. Links are asked for as soon as a candidate enters the pool.
template <Space S, class ScorerType>
class LinkNavigator {
public:
    using Distance = typename S::distance_type;
    static constexpr std::size_t most_at_once = 4;

    /// slots: how many there are. The visited set of the scratch must have begun.
    LinkNavigator(const S& space, const Layer& layer, std::size_t slots, const ScorerType& scorer, WalkScratch<S>& scratch)
        : space_(space), layer_(layer), slots_(slots), scorer_(scorer), scratch_(scratch) {
        scratch_.distances.reserve_discarding(most_at_once * layer.degree());
    }

    /// Puts a first candidate into the pool.
    void enter(Slot slot, CandidatePool<Distance>& pool) {
        if (slot >= slots_ || !scratch_.visited.insert(slot)) return;
        pool.offer(slot, sane(scorer_(slot)));
        ++scored_;
    }

    std::size_t expand(CandidatePool<Distance>& pool) {
        const std::size_t at_once = std::clamp<std::size_t>(pool.capacity() / 12, 1, most_at_once);
        const std::size_t before = scratch_.visited.touched().size();
        std::size_t popped = 0;
        for (; popped < at_once && pool.has_next(); ++popped) {
            const Slot* const row = layer_.row(pool.pop());
            if (row == nullptr) continue;
            for (const Slot slot : scratch_.visited.insert_all(row, layer_.degree(), slots_)) prefetch_row(space_, slot);
        }
        const auto fresh = std::span(scratch_.visited.touched()).subspan(before);
        Distance* const distances = scratch_.distances.data();
        scorer_.gather(fresh, distances);
        scored_ += fresh.size();
        pool.offer_all(fresh, distances, [&](Slot slot) { layer_.prefetch(slot); });
        return popped;
    }

    std::uint64_t scored() const noexcept { return scored_; }

private:
    const S& space_;
    const Layer layer_;
    const std::size_t slots_;
    const ScorerType& scorer_;
    WalkScratch<S>& scratch_;
    std::uint64_t scored_ = 0;
};

template <Space S, class ScorerType, Filter F>
class FilteredNavigator {
public:
    using Distance = typename S::distance_type;

    FilteredNavigator(const S& space, const Layer& layer, std::size_t slots, const ScorerType& scorer, const F& filter,
                      WalkScratch<S>& scratch)
        : space_(space), layer_(layer), slots_(slots), scorer_(scorer), filter_(filter), scratch_(scratch) {
        if (scratch_.slots.size() < layer.degree()) scratch_.slots.resize(layer.degree());
        scratch_.distances.reserve_discarding(layer.degree());
    }

    /// An entry point is walked from whether it is allowed or not; who reads the pool asks the filter again.
    void enter(Slot slot, CandidatePool<Distance>& pool) {
        if (slot >= slots_ || !scratch_.visited.insert(slot)) return;
        pool.offer(slot, sane(scorer_(slot)));
        ++scored_;
    }

    std::size_t expand(CandidatePool<Distance>& pool) {
        scratch_.passed.clear();
        std::size_t count = look(pool.pop(), 0, true);
        for (const Slot through : scratch_.passed) {
            if (count == layer_.degree()) break;
            count = look(through, count, false);
        }
        const std::span<const Slot> found(scratch_.slots.data(), count);
        Distance* const distances = scratch_.distances.data();
        scorer_.gather(found, distances);
        scored_ += count;
        pool.offer_all(found, distances, [&](Slot slot) { layer_.prefetch(slot); });
        return 1;
    }

    std::uint64_t scored() const noexcept { return scored_; }

private:
    /// Adds the allowed neighbours of a node to those about to be scored; remembers the others to look through, at the first hop.
    std::size_t look(Slot node, std::size_t count, bool first) {
        const Slot* const row = layer_.row(node);
        if (row == nullptr) return count;
        for (std::size_t i = 0; i < layer_.degree() && count < layer_.degree() && row[i] < slots_; ++i) {
            if (filter_.allows(row[i])) {
                if (!scratch_.visited.insert(row[i])) continue;
                prefetch_row(space_, row[i]);
                scratch_.slots[count++] = row[i];
            } else if (first && scratch_.visited.insert(row[i])) {
                layer_.prefetch(row[i]);
                scratch_.passed.push_back(row[i]);
            }
        }
        return count;
    }

    const S& space_;
    const Layer layer_;
    const std::size_t slots_;
    const ScorerType& scorer_;
    const F& filter_;
    WalkScratch<S>& scratch_;
    std::uint64_t scored_ = 0;
};

/// Greedy descent with a pool of one: algorithm 2 with ef = 1, as algorithm 5 uses it above the base layer. Moves `at` to the nearest node found.
template <Space S, class ScorerType>
SearchStats descend(const S& space, const Layer& layer, std::size_t slots, const ScorerType& scorer, WalkScratch<S>& scratch, Slot& at,
                    typename S::distance_type& distance) {
    SearchStats stats;
    if (scratch.slots.size() < layer.degree()) scratch.slots.resize(layer.degree());
    scratch.distances.reserve_discarding(layer.degree());
    for (bool moved = true; moved;) {
        moved = false;
        const Slot* const row = layer.row(at);
        if (row == nullptr) break;
        std::size_t count = 0;
        for (; count < layer.degree() && row[count] < slots; ++count) prefetch_row(space, row[count]);
        scorer.gather({row, count}, scratch.distances.data());
        stats.distances += count;
        ++stats.hops;
        for (std::size_t i = 0; i < count; ++i) {
            if (!(scratch.distances[i] < distance) || row[i] == scratch.visited.left_out()) continue;
            distance = scratch.distances[i];
            at = row[i];
            moved = true;
        }
    }
    return stats;
}

}  // namespace kith
