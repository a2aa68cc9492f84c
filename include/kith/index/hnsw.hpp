// SPDX-License-Identifier: Apache-2.0
//
// HNSW: hierarchical navigable small world graphs (Malkov and Yashunin 2018, "Efficient and robust approximate nearest neighbor search using Hierarchical
// Navigable Small World graphs", IEEE TPAMI; arXiv 1603.09320). A node is in layer 0 and, with probability M^-l, in the layers up to l; a search
// descends greedily through the upper layers and walks the base layer with a pool of ef candidates.
//
//   algorithm 1  INSERT             link, plan_node
//   algorithm 2  SEARCH-LAYER       graph/walk.hpp
//   algorithm 3  simple selection   keep_pruned alone fills up with the nearest
//   algorithm 4  heuristic          graph/prune.hpp, extend_candidates, keep_pruned
//   algorithm 5  K-NN-SEARCH        search
//
// Departures. Nodes are inserted in batches against a frozen graph (graph/insert.hpp): the same graph for any number of threads. Rows that pruning
// left unreachable are linked again (graph/reach.hpp), so every row can be found. Removed rows are repaired around (graph/repair.hpp).
//
// Cost: a search scores about ef M rows and grows like log n; building costs n searches with ef_construction. Memory a row: the space's,
// 8 M bytes of links, 4 M / (M - 1) of upper links and 5 for the tower.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kith/graph/graph.hpp"
#include "kith/graph/hierarchy.hpp"
#include "kith/index/index.hpp"

namespace kith {

struct HnswParams {
    std::uint32_t m = 16;
    std::uint32_t ef_construction = 200;
    bool extend_candidates = false;
    bool keep_pruned = true;
    bool packed = false;
    bool exact_links = false;

    static constexpr auto fields() {
        return std::tuple{
            field("m", &HnswParams::m, 2, 512, "links of a node in the upper layers; twice as many in the base layer"),
            field("ef_construction", &HnswParams::ef_construction, 1, 1 << 20, "candidates kept while inserting"),
            field("extend_candidates", &HnswParams::extend_candidates, "consider the candidates' neighbours too"),
            field("keep_pruned", &HnswParams::keep_pruned, "fill lists up with the nearest pruned candidates"),
            field("packed", &HnswParams::packed, "keep codes of the neighbours beside the links of the base layer; m must be a multiple of 16"),
            field("exact_links", &HnswParams::exact_links, "over codes with refine: build on the exact rows, walk on the codes"),
        };
    }
    friend bool operator==(const HnswParams&, const HnswParams&) = default;
};

template <Space S>
class Hnsw {
    template <Space>
    friend class Hnsw;
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;
    using Scratch = BuildScratch<S>;

public:
    static constexpr std::string_view kind = "hnsw";

    using space_type = S;
    using build_params = HnswParams;
    using search_params = GraphSearchParams;
    using scratch_type = WalkScratch<S>;
    template <Space T>
    using over = Hnsw<T>;

    /// Links the rows of the space. Throws Error{cancelled, unsupported, out_of_memory}.
    static Hnsw build(S space, const HnswParams& params = {}, std::uint64_t seed = 0, Executor& executor = inline_executor(),
                      const Progress& progress = {}) {
        refuse_exact_links(params);
        Hnsw index(Graph<S>(std::move(space), 2 * std::size_t{params.m}, params.packed), Hierarchy(params.m, seed), params);
        std::vector<Slot> all(index.graph_.slots());
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Slot>(i);
        index.hierarchy_.raise(all.size());
        index.link(std::move(all), executor, progress);
        if constexpr (PackableSpace<S>) {
            if (params.packed) index.graph_.pack(seed, executor, progress);
        }
        return index;
    }

    /// The graph of `built`, over another space of the same rows, slot for slot: built on one codec, walked on another. Rows that are added later are linked
    /// by this space. Throws Error{dimension_mismatch}.
    template <Space T>
    static Hnsw adopt(S space, Hnsw<T> built, const HnswParams& params) {
        return Hnsw(Graph<S>::adopt(std::move(space), std::move(built.graph_)), std::move(built.hierarchy_), params);
    }

    const S& space() const noexcept { return graph_.space(); }
    std::size_t size() const noexcept { return graph_.size(); }
    bool is_vacant(Slot slot) const noexcept { return graph_.is_vacant(slot); }
    const HnswParams& params() const noexcept { return params_; }
    const Graph<S>& graph() const noexcept { return graph_; }
    const Hierarchy& hierarchy() const noexcept { return hierarchy_; }
    std::size_t memory_bytes() const noexcept { return graph_.memory_bytes() + hierarchy_.memory_bytes(); }

    /// Algorithm 5.
    template <Filter F, Collector C>
    SearchStats search(std::span<const Query> query, const GraphSearchParams& params, const F& filter, scratch_type& scratch,
                       C& collector) const {
        if (size() == 0) return {};
        const auto scorer = bind_query(space(), query, scratch.scorer);
        SearchStats stats;
        const Slot entry = find_entry(scorer, 0, scratch, stats);
        stats += graph_.search(scorer, query, {entry, hierarchy_.entry()}, params.ef, filter, scratch, collector);
        return stats;
    }

    /// Strong guarantee: rows that could not all be linked are given up again. Returns the slots of the rows.
    std::vector<Slot> insert(rows_view_of<S> rows, Executor& executor = inline_executor(), const Progress& progress = {})
        requires GrowableSpace<S>
    {
        hierarchy_.make_owned();
        std::vector<Slot> taken = graph_.take_rows(rows);
        try {
            hierarchy_.raise(graph_.slots());
            for (const Slot slot : taken) hierarchy_.clear(slot);
            link(taken, executor, progress);
        } catch (...) {
            remove(taken, executor);
            graph_.repack_all(executor);  // some links were changed and not yet encoded
            throw;
        }
        return taken;
    }

    void own_rows()
        requires GrowableSpace<S>
    {
        graph_.own_rows();
        hierarchy_.make_owned();
    }

    /// The slots, distinct and live, become vacant; rows that linked to them are repaired.
    void remove(std::span<const Slot> gone, Executor& executor = inline_executor(), const Progress& = {})
        requires GrowableSpace<S>
    {
        if (gone.empty()) return;
        own_rows();
        std::vector<Scratch> workers(executor.workers());
        std::vector<Slot> changed;
        std::vector<Slot>* const touched = graph_.is_packed() ? &changed : nullptr;
        graph_.remove(gone, hierarchy_.entry(), rule(), executor, workers, touched);
        const bool any_tower = std::any_of(gone.begin(), gone.end(), [&](Slot slot) { return hierarchy_.level(slot) > 0; });
        std::vector<Slot> members;
        for (std::size_t level = 1; any_tower && level <= hierarchy_.top(); ++level) {
            members.clear();
            graph_.for_each_live([&](Slot slot) {
                if (hierarchy_.level(slot) >= level) members.push_back(slot);
            });
            repair_rows(space(), hierarchy_.upper(), hierarchy_.layer(level), std::span<const Slot>(members), graph_.slots(), graph_.hidden(), rule(),
                        std::span(workers), executor);
        }
        if (hierarchy_.entry() == invalid_slot || graph_.is_vacant(hierarchy_.entry())) {
            hierarchy_.forget_entry();
            graph_.for_each_live([&](Slot slot) { hierarchy_.offer_entry(slot); });
        }
        graph_.settle(gone.size(), hierarchy_.entry(), workers, touched);
        sort_unique(changed);
        graph_.repack(changed, executor);
    }

    /// Gives the memory of vacant slots back. Returns new slot -> old slot.
    std::vector<Slot> compact(Executor& executor = inline_executor(), const Progress& = {})
        requires GrowableSpace<S>
    {
        own_rows();
        std::vector<Slot> old_of = graph_.compact(executor);
        hierarchy_.compact(old_of);
        return old_of;
    }

    /// Layers from the top: nodes, mean degree; how much of the base layer can be reached.
    ParamMap describe() const {
        ParamMap facts;
        const auto number = [](std::size_t n) { return static_cast<std::int64_t>(n); };
        facts.emplace_back("layers", number(size() == 0 ? 0 : hierarchy_.top() + 1));
        for (std::size_t level = hierarchy_.top() + 1; level-- > 0;) {
            std::size_t nodes = 0;
            std::size_t edges = 0;
            const Layer layer = level == 0 ? graph_.base() : hierarchy_.layer(level);
            graph_.for_each_live([&](Slot slot) {
                if (hierarchy_.level(slot) < level) return;
                ++nodes;
                edges += layer.neighbours(slot).size();
            });
            const std::string name = "layer_" + std::to_string(level);
            facts.emplace_back(name + "_nodes", number(nodes));
            facts.emplace_back(name + "_mean_degree", nodes == 0 ? 0.0 : static_cast<double>(edges) / static_cast<double>(nodes));
        }
        describe_hops(facts);
        graph_.describe(hierarchy_.entry(), facts);
        return facts;
    }

    void save(SectionWriter& writer) const
        requires PersistableSpace<S>
    {
        graph_.save(writer);
        hierarchy_.save(writer);
    }
    static Hnsw load(const SectionReader& reader, const HnswParams& params = {})
        requires PersistableSpace<S>
    {
        Graph<S> graph(GraphStore<S>::load(reader, 2 * std::size_t{params.m}, params.packed));
        Hierarchy hierarchy = Hierarchy::load(reader, params.m, graph.slots(), graph.size());
        if (graph.size() != 0 && graph.is_vacant(hierarchy.entry()))
            fail(ErrorCode::corrupt, reader.name(), ": section 'hierarchy': the entry point ", hierarchy.entry(), " is vacant");
        return Hnsw(std::move(graph), std::move(hierarchy), params);
    }
    static std::vector<std::string_view> section_names()
        requires PersistableSpace<S>
    {
        auto names = Graph<S>::section_names();
        for (const auto name : Hierarchy::section_names()) names.push_back(name);
        return names;
    }
    void validate(std::string_view source, const Progress& progress = {}) const
        requires PersistableSpace<S>
    {
        graph_.validate(source, progress);
        hierarchy_.validate(source);
    }

private:
    Hnsw(Graph<S> graph, Hierarchy hierarchy, HnswParams params)
        : graph_(std::move(graph)), hierarchy_(std::move(hierarchy)), params_(params) {}

    LinkRule rule() const noexcept { return {1.0f, params_.keep_pruned || refills_lists<S>()}; }

    /// The nearest node that a greedy descent finds in the layer above `level` (in the whole hierarchy there is one, as size() > 0).
    template <class ScorerType>
    Slot find_entry(const ScorerType& scorer, std::size_t level, scratch_type& scratch, SearchStats& stats) const {
        Slot entry = hierarchy_.entry();
        Distance distance = sane(scorer(entry));
        stats += graph_.scored(1, 0);
        for (std::size_t l = hierarchy_.top(); l > level; --l)
            stats += descend(space(), hierarchy_.layer(l), graph_.slots(), scorer, scratch, entry, distance);
        return entry;
    }

    /// Algorithm 1 for one node of a batch, up to the choice of its neighbours in each of its layers.
    void plan_node(Slot node, Scratch& scratch) const {
        const auto scorer = scratch.bind_row(space(), node);
        SearchStats stats;
        std::size_t level = std::min(hierarchy_.level(node), hierarchy_.top());
        Slot entry = find_entry(scorer, level, scratch.walk, stats);
        for (;; --level) {
            const Layer layer = level == 0 ? graph_.base() : hierarchy_.layer(level);
            graph_.find_candidates(layer, scorer, node, entry, params_.ef_construction, scratch);
            if (scratch.candidates.empty()) return;
            entry = scratch.candidates.front().slot;
            if (params_.extend_candidates) graph_.extend_candidates(layer, scorer, node, scratch);
            prune(space(), scratch.candidates, params_.m, rule().alpha, rule().refill, scratch.pruned);
            scratch.plans.add(node, level, scratch.candidates);
            if (level == 0) return;
        }
    }

    /// Inserts rows that are in the space already.
    void link(std::vector<Slot> nodes, Executor& executor, const Progress& progress) {
        const std::size_t total = graph_.size();
        std::vector<Scratch> workers(executor.workers());
        std::vector<Slot> changed;
        std::vector<Slot>* const touched = graph_.is_packed() ? &changed : nullptr;
        shuffle(nodes, Random(hierarchy_.seed(), 1));
        std::size_t done = 0;
        if (hierarchy_.entry() == invalid_slot && !nodes.empty()) {
            hierarchy_.offer_entry(nodes[0]);
            ++done;
        }
        while (done < nodes.size()) {
            progress.report("link", done, nodes.size());
            const std::size_t count = batch_size(done, nodes.size() - done, total);
            for (auto& worker : workers) worker.plans.clear();
            executor.run(count, 16, [&](std::size_t begin, std::size_t end, std::size_t which) {
                for (std::size_t i = begin; i < end; ++i) plan_node(nodes[done + i], workers[which]);
            });
            for (std::size_t level = hierarchy_.top(); level > 0; --level)
                apply_plans(space(), hierarchy_.upper(), hierarchy_.layer(level), level, std::span(workers), rule(), executor);
            apply_plans(space(), graph_.links(), graph_.base(), 0, std::span(workers), rule(), executor, touched);
            for (std::size_t i = 0; i < count; ++i) hierarchy_.offer_entry(nodes[done + i]);
            done += count;
        }
        graph_.settle(nodes.size(), hierarchy_.entry(), workers, touched);
        sort_unique(changed);
        graph_.repack(changed, executor);
        progress.report("link", done, nodes.size());
    }

    /// Mean hops of a search above the base layer and in it, over a sample of the rows.
    void describe_hops(ParamMap& facts) const {
        constexpr std::size_t sample = 64;
        if (size() == 0) return;
        Scratch scratch;
        SearchStats above;
        SearchStats all;
        std::size_t searches = 0;
        std::vector<Hit<Distance>> hits(1);
        const std::size_t step = std::max<std::size_t>(graph_.slots() / sample, 1);
        for (std::size_t slot = 0; slot < graph_.slots(); slot += step, ++searches) {
            const auto query = scratch.load(space(), static_cast<Slot>(slot));
            const auto scorer = bind_query(space(), query, scratch.walk.scorer);
            const Slot entry = find_entry(scorer, 0, scratch.walk, above);
            TopK<Distance> nearest(hits);
            all += graph_.search(scorer, query, {entry, hierarchy_.entry()}, GraphSearchParams{}.ef, AllowAll{}, scratch.walk, nearest);
        }
        facts.emplace_back("upper_hops", static_cast<double>(above.hops) / static_cast<double>(searches));
        facts.emplace_back("base_hops", static_cast<double>(all.hops) / static_cast<double>(searches));
        facts.emplace_back("distances", static_cast<double>(above.distances + all.distances) / static_cast<double>(searches));
    }

    Graph<S> graph_;
    Hierarchy hierarchy_;
    HnswParams params_;
};

}  // namespace kith
