// SPDX-License-Identifier: Apache-2.0
//
// Graph<S>: what HNSW and Vamana share above what they store (graph/store.hpp): searching the base layer from an entry point that the index found in its own way,
// finding candidates for new nodes, giving slots up and repairing the links around them.
//
// Slots are stable: a removed row leaves a vacant slot, which a later row reuses. A vacant slot counts as visited before a walk
// begins, so that links which still lead there cost nothing and lead nowhere.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "kith/core/params.hpp"
#include "kith/graph/insert.hpp"
#include "kith/graph/packed.hpp"
#include "kith/graph/plan.hpp"
#include "kith/graph/repair.hpp"
#include "kith/graph/store.hpp"
#include "kith/graph/walk.hpp"

namespace kith {

struct GraphSearchParams {
    std::uint32_t ef = 64;

    static constexpr auto fields() {
        return std::tuple{field("ef", &GraphSearchParams::ef, 1, 1 << 30, "candidates kept while walking; at least k")};
    }
    friend bool operator==(const GraphSearchParams&, const GraphSearchParams&) = default;
};

/// Where a walk begins: near the query, as the index found it, and at the root, from which every row can be reached; perhaps the same.
struct Entry {
    Slot near;
    Slot root;
};

/// Throws Error{invalid_argument}: only Refine (index/refine.hpp) has exact rows beside what is walked on.
template <Params P>
void refuse_exact_links(const P& params) {
    if (params.exact_links) fail(ErrorCode::invalid_argument, "exact_links=true needs codes and refine: without them links are as exact as walks");
}

template <Space S>
class Graph : public GraphStore<S> {
    using Store = GraphStore<S>;
    using Store::limbo_;
    using Store::links_;
    using Store::packed_;
    using Store::space_;
    using Store::vacant_;
    using Store::vacant_count_;

public:
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;
    using Store::base;
    using Store::for_each_live;
    using Store::hidden;
    using Store::size;
    using Store::slots;

    using Store::Store;
    explicit Graph(Store store) : Store(std::move(store)) {}

    /// The links of another graph over the same rows. It must have no vacant slots and no packed codes.
    template <Space T>
    static Graph adopt(S space, Graph<T> other) {
        if (space.size() != other.size() || other.size() != other.slots() || other.is_packed())
            fail(ErrorCode::dimension_mismatch, "expected links of ", space.size(), " rows, got those of ", other.size(), " in ", other.slots(), " slots");
        return Graph(Store(std::move(space), std::move(other.links())));
    }

    /// Walks the base layer from `entry` and offers what it finds: min(capacity, eligible) rows at least, or for a range all that it meets
    /// within the radius.
    template <class ScorerType, Filter F, Collector C>
    SearchStats search(const ScorerType& scorer, std::span<const Query> query, Entry entry, std::size_t ef, const F& filter,
                       WalkScratch<S>& scratch, C& collector) const {
        SearchStats stats;
        if (size() == 0) return stats;
        if constexpr (requires { collector.capacity(); }) {
            const std::size_t wanted = std::min(collector.capacity(), size());
            if (wanted == 0) return stats;
            ef = std::max(ef, wanted);
            if constexpr (!F::trivial) {
                if (choose_plan({size(), filter.count(slots()), ef, links_.degree()}) == Plan::scan)
                    return scan(scorer, filter, scratch, collector);
            }
            if constexpr (F::trivial && PackableSpace<S>) {
                if (packed_) return walk_packed(scorer, query, entry, ef, wanted, filter, scratch, collector);
            }
            stats = walk_from(scorer, entry, ef, filter, scratch);
            if (offer_pool(filter, scratch, collector) < wanted) {
                scratch.visited.begin(slots(), hidden());
                for (std::size_t i = 0; i < scratch.pool.size(); ++i)
                    if (filter.allows(scratch.pool.slot(i))) scratch.visited.insert(scratch.pool.slot(i));
                stats += scan(scorer, filter, scratch, collector, true);
            }
        } else {
            // The pool must reach past the radius: half of it beyond, so that what lies just inside was looked for.
            for (ef = std::max<std::size_t>(ef, 32);; ef *= 2) {
                if constexpr (!F::trivial) {
                    if (choose_plan({size(), filter.count(slots()), ef, links_.degree()}) == Plan::scan)
                        return stats += scan(scorer, filter, scratch, collector);
                }
                stats += walk_from(scorer, entry, ef, filter, scratch);
                const auto& pool = scratch.pool;
                if (!pool.full() || ef >= 2 * slots() || pool.distance(ef / 2) > collector.bound()) break;
            }
            offer_pool(filter, scratch, collector);
        }
        return stats;
    }

    /// Exact: every live row that the filter allows; with `rest`, but those that are marked in the visited set.
    template <class ScorerType, Filter F, Collector C>
    SearchStats scan(const ScorerType& scorer, const F& filter, WalkScratch<S>& scratch, C& collector, bool rest = false) const {
        constexpr std::size_t block = 64;
        if (scratch.slots.size() < block) scratch.slots.resize(block);
        scratch.distances.reserve_discarding(block);
        std::size_t waiting = 0;
        std::size_t total = 0;
        const auto flush = [&] {
            scorer.gather({scratch.slots.data(), waiting}, scratch.distances.data());
            for (std::size_t i = 0; i < waiting; ++i)
                if (!(scratch.distances[i] > collector.bound())) collector.offer(scratch.slots[i], scratch.distances[i]);
            total += waiting;
            waiting = 0;
        };
        const auto take = [&](std::size_t slot) {
            if (slot >= slots() || vacant_.test(slot)) return;
            if (rest && scratch.visited.contains(static_cast<Slot>(slot))) return;
            prefetch_row(space_, static_cast<Slot>(slot));
            scratch.slots[waiting++] = static_cast<Slot>(slot);
            if (waiting == block) flush();
        };
        if constexpr (requires { filter.bits(); }) {
            filter.bits().for_each_set(take);
        } else {
            for (std::size_t slot = 0; slot < slots(); ++slot)
                if (filter.allows(static_cast<Slot>(slot))) take(slot);
        }
        flush();
        return scored(total, 0);
    }

    /// Searches layer `layer` for the neighbours of `node` from `entry`; the ef nearest as scratch.candidates, nearest first, without the node.
    template <class ScorerType>
    SearchStats find_candidates(const Layer& layer, const ScorerType& scorer, Slot node, Slot entry, std::size_t ef,
                                BuildScratch<S>& scratch) const {
        auto& walking = scratch.walk;
        walking.visited.begin(slots(), hidden());
        walking.pool.reset(ef);
        LinkNavigator navigator(space_, layer, slots(), scorer, walking);
        navigator.enter(entry, walking.pool);
        const std::uint64_t hops = walk(navigator, walking.pool);
        scratch.candidates.clear();
        for (std::size_t i = 0; i < walking.pool.size(); ++i)
            if (walking.pool.slot(i) != node) scratch.candidates.push_back({walking.pool.distance(i), walking.pool.slot(i)});
        std::sort(scratch.candidates.begin(), scratch.candidates.end(), HitOrder<Distance>());
        return scored(navigator.scored(), hops);
    }

    /// Adds the candidates' own neighbours to scratch.candidates (extendCandidates of HNSW's algorithm 4).
    template <class ScorerType>
    void extend_candidates(const Layer& layer, const ScorerType& scorer, Slot node, BuildScratch<S>& scratch) const {
        scratch.slots.clear();
        for (const auto& hit : scratch.candidates)
            for (const Slot neighbour : layer.neighbours(hit.slot))
                if (neighbour != node && scratch.walk.visited.insert(neighbour)) scratch.slots.push_back(neighbour);
        add_scored(scorer, scratch);
    }

    /// Adds the node's own links to scratch.candidates, where they are not yet.
    template <class ScorerType>
    void add_neighbours(const ScorerType& scorer, Slot node, BuildScratch<S>& scratch) const {
        scratch.slots.clear();
        for (const Slot neighbour : links_.neighbours(node))
            if (std::none_of(scratch.candidates.begin(), scratch.candidates.end(), [&](const auto& hit) { return hit.slot == neighbour; }))
                scratch.slots.push_back(neighbour);
        add_scored(scorer, scratch);
    }

    /// Distinct live slots become vacant, and the rows that linked to them are repaired: all of them by a look at every row, or, when few slots go, those
    /// that a search from `entry` finds around each. Links that it misses lead to a vacant slot, which walks skip; such slots stay in limbo, not to be
    /// taken again, until there are so many that a look at every row is worth it.
    void remove(std::span<const Slot> gone, Slot entry, LinkRule rule, Executor& executor, std::span<BuildScratch<S>> workers,
                std::vector<Slot>* touched = nullptr) {
        std::vector<Slot> nodes;
        const bool few = limbo_.size() + gone.size() < size() / 128;
        if (few) {
            for (const Slot slot : gone) find_linking(slot, entry, workers[0], nodes);
            sort_unique(nodes);
            limbo_.insert(limbo_.end(), gone.begin(), gone.end());
            sort_unique(limbo_);
        } else {
            limbo_.clear();
        }
        for (const Slot slot : gone) vacant_.set(slot);
        vacant_count_ += gone.size();
        if (few) std::erase_if(nodes, [&](Slot slot) { return vacant_.test(slot); });
        else for_each_live([&](Slot slot) { nodes.push_back(slot); });
        repair_rows(space_, links_, base(), nodes, slots(), hidden(), rule, workers, executor, touched);
    }

    /// After `changes` rows were linked or removed: links again what cannot be reached any more. Looks at the whole graph, but only
    /// once for every thousandth of it that has changed.
    void settle(std::size_t changes, Slot entry, std::span<BuildScratch<S>> workers, std::vector<Slot>* touched = nullptr) {
        unsettled_ += changes;
        if (size() == 0 || unsettled_ < size() / 1024) return;
        connect(entry, workers, touched);
    }

    /// Links every live row that cannot be reached from `entry` to one that can. Returns how many could not.
    std::size_t connect(Slot entry, std::span<BuildScratch<S>> workers, std::vector<Slot>* touched = nullptr) {
        constexpr std::size_t ef = 32;
        unsettled_ = 0;
        if (size() == 0) return 0;
        links_.make_owned();
        return connect_unreached(links_, slots(), hidden(), entry, ef, touched, [&](Slot node, std::size_t wide) {
            auto& scratch = workers[0];
            const auto scorer = scratch.bind_row(space_, node);
            find_candidates(base(), scorer, node, entry, wide, scratch);
            return std::span<const Hit<Distance>>(scratch.candidates);
        });
    }

    SearchStats scored(std::size_t rows, std::size_t hops) const noexcept {
        SearchStats stats;
        stats.distances = rows;
        stats.hops = hops;
        stats.bytes = rows * space_.row_bytes();
        return stats;
    }

private:
    template <class ScorerType>
    static void add_scored(const ScorerType& scorer, BuildScratch<S>& scratch) {
        scratch.distances.resize(scratch.slots.size());
        scorer.gather(scratch.slots, scratch.distances.data());
        for (std::size_t i = 0; i < scratch.slots.size(); ++i) scratch.candidates.push_back({sane(scratch.distances[i]), scratch.slots[i]});
        std::sort(scratch.candidates.begin(), scratch.candidates.end(), HitOrder<Distance>());
    }

    /// The nodes around `slot` that link to it, found by a search.
    void find_linking(Slot slot, Slot entry, BuildScratch<S>& scratch, std::vector<Slot>& nodes) const {
        constexpr std::size_t ef = 128;
        const auto scorer = scratch.bind_row(space_, slot);
        find_candidates(base(), scorer, slot, entry, ef, scratch);
        const auto look = [&](Slot node) {
            if (node >= slots()) return;
            const auto neighbours = links_.neighbours(node);
            if (std::find(neighbours.begin(), neighbours.end(), slot) != neighbours.end()) nodes.push_back(node);
        };
        for (const auto& hit : scratch.candidates) look(hit.slot);
        for (const Slot neighbour : links_.neighbours(slot)) look(neighbour);
    }

    /// The walk over codes: exact distances of what is popped go to the collector.
    template <class ScorerType, Filter F, Collector C>
    SearchStats walk_packed(const ScorerType& scorer, std::span<const Query> query, Entry entry, std::size_t ef, std::size_t wanted,
                            const F& filter, WalkScratch<S>& scratch, C& collector) const
        requires PackableSpace<S>
    {
        auto& packed = scratch.packed;
        packed_->prepare(query, packed);
        scratch.visited.begin(slots(), hidden());
        packed.met.begin(slots());
        packed.pool.reset(std::min(ef, slots()));
        for (const Slot slot : {entry.near, entry.root})
            if (slot < slots() && packed.met.insert(slot)) packed.pool.offer(slot, static_cast<float>(sane(scorer(slot))));
        PackedNavigator navigator(space_, links_, slots(), *packed_, scorer, scratch.visited, packed, collector);
        const std::uint64_t hops = walk(navigator, packed.pool);
        SearchStats stats = scored(navigator.scored(), hops);
        stats.bytes += navigator.scored() * links_.row_bytes();
        if (navigator.scored() < wanted) stats += scan(scorer, filter, scratch, collector, true);
        return stats;
    }

    template <class ScorerType, Filter F>
    SearchStats walk_from(const ScorerType& scorer, Entry entry, std::size_t ef, const F& filter, WalkScratch<S>& scratch) const {
        scratch.visited.begin(slots(), hidden());
        scratch.pool.reset(std::min(ef, slots()));
        if constexpr (F::trivial) {
            LinkNavigator navigator(space_, base(), slots(), scorer, scratch);
            navigator.enter(entry.near, scratch.pool);
            navigator.enter(entry.root, scratch.pool);
            const std::uint64_t hops = walk(navigator, scratch.pool);
            return scored(navigator.scored(), hops);
        } else {
            FilteredNavigator navigator(space_, base(), slots(), scorer, filter, scratch);
            navigator.enter(entry.near, scratch.pool);
            navigator.enter(entry.root, scratch.pool);
            const std::uint64_t hops = walk(navigator, scratch.pool);
            return scored(navigator.scored(), hops);
        }
    }

    template <Filter F, Collector C>
    std::size_t offer_pool(const F& filter, const WalkScratch<S>& scratch, C& collector) const {
        std::size_t offered = 0;
        for (std::size_t i = 0; i < scratch.pool.size(); ++i) {
            if (!filter.allows(scratch.pool.slot(i))) continue;
            collector.offer(scratch.pool.slot(i), scratch.pool.distance(i));
            ++offered;
        }
        return offered;
    }

    std::size_t unsettled_ = 0;  // rows changed since everything was known to be reachable
};

}  // namespace kith
