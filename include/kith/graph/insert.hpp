// SPDX-License-Identifier: Apache-2.0
//
// Insertion in batches, parallel and deterministic (the prefix-doubling scheme of Dobson, Shen, Blelloch, Dhulipala, Gu, Simhadri and Sun 2024, "ParlayANN").
//
// All nodes of a batch search the graph as it was before the batch, which nobody changes meanwhile, and plan their links; then the plans are
// applied, each row by one thread: first the nodes' own rows, then the links back, grouped by the row that they go to and taken
// in a fixed order. So the graph does not depend on the number of threads, and needs no locks. The first batches are small, so
// that even the early nodes find each other; a batch is never more than a fiftieth of the graph.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "kith/core/executor.hpp"
#include "kith/core/random.hpp"
#include "kith/graph/links.hpp"
#include "kith/graph/prune.hpp"
#include "kith/graph/walk.hpp"

namespace kith {

/// How rows of links are chosen.
struct LinkRule {
    float alpha = 1.0f;
    bool refill = false;  // keep the nearest pruned candidates where there is room
};

/// What one worker planned.
template <class D>
struct LinkPlans {
    struct Node {
        Slot slot;
        std::uint32_t level;
        std::size_t first;  // of its hits
        std::size_t count;
    };
    std::vector<Node> nodes;
    std::vector<Hit<D>> hits;

    void add(Slot slot, std::size_t level, std::span<const Hit<D>> neighbours) {
        nodes.push_back({slot, static_cast<std::uint32_t>(level), hits.size(), neighbours.size()});
        hits.insert(hits.end(), neighbours.begin(), neighbours.end());
    }
    std::span<const Hit<D>> of(const Node& node) const noexcept { return {hits.data() + node.first, node.count}; }
    void clear() noexcept {
        nodes.clear();
        hits.clear();
    }
};

/// What a worker needs to build: a walk's scratch, a row as a query, lists of candidates, plans.
template <Space S>
struct BuildScratch {
    using Distance = typename S::distance_type;

    WalkScratch<S> walk;
    std::vector<typename S::query_type> query;
    std::vector<Hit<Distance>> candidates;
    std::vector<Hit<Distance>> pruned;
    std::vector<Slot> slots;
    std::vector<Distance> distances;
    LinkPlans<Distance> plans;

    /// Row `slot` as a query, until the next call.
    std::span<const typename S::query_type> load(const S& space, Slot slot) {
        query.resize(space.dim());
        space.read_query(slot, query);
        return query;
    }

    /// Scores as row `slot`, until the next call. Where a space can, with what distance() says of the row, which is what lists are pruned by; of a decoded
    /// row codes may say something else.
    auto bind_row(const S& space, Slot slot) {
        if constexpr (requires { space.row_scorer(slot, walk.scorer); }) return space.row_scorer(slot, walk.scorer);
        else return bind_query(space, load(space, slot), walk.scorer);
    }
};

/// The distances of `slots` from node `from`, as sorted candidates in scratch.candidates.
template <Space S>
void score_candidates(const S& space, Slot from, std::span<const Slot> slots, BuildScratch<S>& scratch) {
    const auto scorer = scratch.bind_row(space, from);
    scratch.distances.resize(slots.size());
    scorer.gather(slots, scratch.distances.data());
    for (std::size_t i = 0; i < slots.size(); ++i) scratch.candidates.push_back({sane(scratch.distances[i]), slots[i]});
}

namespace detail {

template <class D>
struct BackLink {
    Slot to;
    Slot from;
    D distance;
};

/// A row that gets links: appended while they fit, chosen anew among all when they do not.
template <Space S>
void add_links(const S& space, Links& links, const Layer& layer, std::span<const BackLink<typename S::distance_type>> incoming,
               LinkRule rule, BuildScratch<S>& scratch) {
    const Slot node = incoming[0].to;
    const auto current = layer.neighbours(node);
    scratch.slots.assign(current.begin(), current.end());
    const std::size_t before = scratch.slots.size();
    scratch.candidates.clear();
    for (const auto& link : incoming) {
        if (std::find(current.begin(), current.end(), link.from) != current.end()) continue;
        scratch.slots.push_back(link.from);
        scratch.candidates.push_back({link.distance, link.from});
    }
    if (scratch.slots.size() == before) return;
    if (scratch.slots.size() > links.degree()) {
        score_candidates(space, node, std::span<const Slot>(scratch.slots).first(before), scratch);
        std::sort(scratch.candidates.begin(), scratch.candidates.end(), HitOrder<typename S::distance_type>());
        prune(space, scratch.candidates, links.degree(), rule.alpha, rule.refill, scratch.pruned);
        scratch.slots.clear();
        for (const auto& hit : scratch.candidates) scratch.slots.push_back(hit.slot);
    }
    links.assign(layer.index(node), scratch.slots);
}

}  // namespace detail

/// Applies the plans for one layer: the nodes' own rows, and a link back from each of their neighbours. touched: gets the slots whose rows changed.
template <Space S>
void apply_plans(const S& space, Links& links, const Layer& layer, std::size_t level, std::span<BuildScratch<S>> workers,
                 LinkRule rule, Executor& executor, std::vector<Slot>* touched = nullptr) {
    using D = typename S::distance_type;
    using BackLink = detail::BackLink<D>;
    std::vector<BackLink> back;
    std::vector<Slot> row;
    for (const auto& worker : workers)
        for (const auto& node : worker.plans.nodes) {
            if (node.level != level) continue;
            row.clear();
            for (const auto& hit : worker.plans.of(node)) {
                row.push_back(hit.slot);
                back.push_back({hit.slot, node.slot, hit.distance});
            }
            links.assign(layer.index(node.slot), row);
            if (touched != nullptr) touched->push_back(node.slot);
        }
    // Grouped by target: each bucket holds all links of its targets, so that buckets can be sorted and applied side by side.
    const std::size_t buckets = executor.workers() == 1 ? 1 : std::min<std::size_t>(executor.workers() * 16, 1 + back.size() / 256);
    std::vector<std::size_t> end(buckets + 1);
    for (const auto& link : back) ++end[link.to % buckets + 1];
    std::partial_sum(end.begin(), end.end(), end.begin());
    std::vector<BackLink> grouped(back.size());
    std::vector<std::size_t> at(end.begin(), end.end() - 1);
    for (const auto& link : back) grouped[at[link.to % buckets]++] = link;
    executor.run(buckets, 1, [&](std::size_t begin, std::size_t stop, std::size_t which) {
        for (std::size_t bucket = begin; bucket < stop; ++bucket) {
            const std::span<BackLink> part(grouped.data() + end[bucket], end[bucket + 1] - end[bucket]);
            std::sort(part.begin(), part.end(), [](const BackLink& a, const BackLink& b) {
                if (a.to != b.to) return a.to < b.to;
                return a.distance != b.distance ? a.distance < b.distance : a.from < b.from;
            });
            for (std::size_t first = 0; first < part.size();) {
                std::size_t last = first;
                while (last < part.size() && part[last].to == part[first].to) ++last;
                detail::add_links<S>(space, links, layer, part.subspan(first, last - first), rule, workers[which]);
                first = last;
            }
        }
    });
    if (touched != nullptr) {
        for (const auto& link : grouped) touched->push_back(link.to);
    }
}

inline void sort_unique(std::vector<Slot>& slots) {
    std::sort(slots.begin(), slots.end());
    slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
}

/// How many of the nodes that are left to insert come next: one, one, two, four ... so that rows unlike all that was there before find each other, and at
/// most a fiftieth of the graph.
inline std::size_t batch_size(std::size_t done, std::size_t left, std::size_t total) noexcept {
    return std::min({left, std::max<std::size_t>(total / 50, 16), std::max<std::size_t>(done, 1)});
}

/// A permutation of slots that depends on the seed alone (Fisher and Yates 1938).
inline void shuffle(std::span<Slot> slots, const Random& random) noexcept {
    for (std::size_t i = slots.size(); i > 1; --i) std::swap(slots[i - 1], slots[random.below(i, i)]);
}

}  // namespace kith
