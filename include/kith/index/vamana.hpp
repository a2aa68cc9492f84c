// SPDX-License-Identifier: Apache-2.0
//
// Vamana in memory: the graph of DiskANN (Subramanya, Devvrit, Kadekodi, Krishnaswamy and Simhadri 2019, "DiskANN: Fast accurate billion-point nearest neighbor search on a
// single node", NeurIPS). One layer, R links a node, entered at the medoid. Pruning with alpha > 1 keeps some longer links, so that few hops lead
// anywhere; that is what makes the graph fit for a disk, and the disk index walks this very graph.
//
//   algorithm 1  GreedySearch       graph/walk.hpp
//   algorithm 2  RobustPrune        graph/prune.hpp
//   algorithm 3  indexing           build, pass: over all rows in random order, with alpha = 1 and then with alpha
//
// Departures. The graph begins empty and rows are inserted in batches (graph/insert.hpp), where the paper begins with random links: the second pass sees the whole graph
// anyway. Distances are compared as they are, so for l2 alpha multiplies a squared distance, as in the authors' code. The
// medoid is that of a sample: the paper's mean of all rows is not defined for every metric. Unreachable rows are linked again.
//
// Cost: a search scores about L R rows; building costs two searches a row. Memory a row: the space's and 4 R bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kith/graph/graph.hpp"
#include "kith/index/index.hpp"

namespace kith {

struct VamanaParams {
    std::uint32_t r = 32;
    std::uint32_t l = 100;
    float alpha = 1.2f;
    std::uint32_t passes = 2;
    bool packed = false;
    bool exact_links = false;

    static constexpr auto fields() {
        return std::tuple{
            field("r", &VamanaParams::r, 4, 1024, "links of a node"),
            field("l", &VamanaParams::l, 1, 1 << 20, "candidates kept while inserting"),
            field("alpha", &VamanaParams::alpha, 1, 4, "how much farther a candidate may be from a kept one and still be pruned"),
            field("passes", &VamanaParams::passes, 1, 4, "times that each row chooses its links; all but the last with alpha = 1"),
            field("packed", &VamanaParams::packed, "keep codes of the neighbours beside the links; r must be a multiple of 32"),
            field("exact_links", &VamanaParams::exact_links, "over codes with refine: build on the exact rows, walk on the codes"),
        };
    }
    friend bool operator==(const VamanaParams&, const VamanaParams&) = default;
};

template <Space S>
class Vamana {
    template <Space>
    friend class Vamana;
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;
    using Scratch = BuildScratch<S>;

public:
    static constexpr std::string_view kind = "vamana";

    using space_type = S;
    using build_params = VamanaParams;
    using search_params = GraphSearchParams;
    using scratch_type = WalkScratch<S>;
    template <Space T>
    using over = Vamana<T>;

    /// Algorithm 3. Throws Error{cancelled, unsupported, out_of_memory}.
    static Vamana build(S space, const VamanaParams& params = {}, std::uint64_t seed = 0, Executor& executor = inline_executor(),
                        const Progress& progress = {}) {
        refuse_exact_links(params);
        Vamana index(Graph<S>(std::move(space), params.r, params.packed), params, seed);
        std::vector<Slot> all(index.graph_.slots());
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Slot>(i);
        index.choose_entry(executor);
        for (std::uint32_t pass = 1; pass <= params.passes; ++pass)
            index.link(all, pass == params.passes ? params.alpha : 1.0f, pass > 1, executor, progress);
        if constexpr (PackableSpace<S>) {
            if (params.packed) index.graph_.pack(seed, executor, progress);
        }
        return index;
    }

    /// The graph of `built`, over another space of the same rows, slot for slot: built on one codec, walked on another. Rows that are added later are linked
    /// by this space. Throws Error{dimension_mismatch}.
    template <Space T>
    static Vamana adopt(S space, Vamana<T> built, const VamanaParams& params) {
        Vamana index(Graph<S>::adopt(std::move(space), std::move(built.graph_)), params, built.seed_);
        index.entry_ = built.entry_;
        return index;
    }

    const S& space() const noexcept { return graph_.space(); }
    std::size_t size() const noexcept { return graph_.size(); }
    bool is_vacant(Slot slot) const noexcept { return graph_.is_vacant(slot); }
    const VamanaParams& params() const noexcept { return params_; }
    const Graph<S>& graph() const noexcept { return graph_; }
    Slot entry() const noexcept { return entry_; }
    std::size_t memory_bytes() const noexcept { return graph_.memory_bytes(); }

    template <Filter F, Collector C>
    SearchStats search(std::span<const Query> query, const GraphSearchParams& params, const F& filter, scratch_type& scratch,
                       C& collector) const {
        if (size() == 0) return {};
        return graph_.search(bind_query(space(), query, scratch.scorer), query, {entry_, entry_}, params.ef, filter, scratch, collector);
    }

    /// Strong guarantee: rows that could not all be linked are given up again. Returns the slots of the rows.
    std::vector<Slot> insert(rows_view_of<S> rows, Executor& executor = inline_executor(), const Progress& progress = {})
        requires GrowableSpace<S>
    {
        std::vector<Slot> taken = graph_.take_rows(rows);
        try {
            if (entry_ == invalid_slot) choose_entry(executor);
            link(taken, params_.alpha, false, executor, progress);
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
        graph_.remove(gone, entry_, LinkRule{params_.alpha, refills()}, executor, workers, touched);
        if (entry_ == invalid_slot || graph_.is_vacant(entry_)) choose_entry(executor);
        graph_.settle(gone.size(), entry_, workers, touched);
        sort_unique(changed);
        graph_.repack(changed, executor);
    }

    /// Gives the memory of vacant slots back. Returns new slot -> old slot.
    std::vector<Slot> compact(Executor& executor = inline_executor(), const Progress& = {})
        requires GrowableSpace<S>
    {
        std::vector<Slot> old_of = graph_.compact(executor);
        if (entry_ != invalid_slot)
            entry_ = static_cast<Slot>(std::lower_bound(old_of.begin(), old_of.end(), entry_) - old_of.begin());
        return old_of;
    }

    ParamMap describe() const {
        ParamMap facts;
        std::size_t edges = 0;
        graph_.for_each_live([&](Slot slot) { edges += graph_.base().neighbours(slot).size(); });
        facts.emplace_back("mean_degree", size() == 0 ? 0.0 : static_cast<double>(edges) / static_cast<double>(size()));
        graph_.describe(entry_, facts);
        return facts;
    }

    void save(SectionWriter& writer) const
        requires PersistableSpace<S>
    {
        graph_.save(writer);
        const std::uint64_t state[] = {seed_, entry_};
        writer.add_copy("vamana", std::span<const std::uint64_t>(state));
    }
    static Vamana load(const SectionReader& reader, const VamanaParams& params = {})
        requires PersistableSpace<S>
    {
        const auto state = reader.template section<std::uint64_t>("vamana", 2);
        Vamana index(Graph<S>(GraphStore<S>::load(reader, params.r, params.packed)), params, state[0]);
        if (index.size() == 0 ? state[1] != invalid_slot : state[1] >= index.graph_.slots())
            fail(ErrorCode::corrupt, reader.name(), ": section 'vamana': expected an entry point below ", index.graph_.slots(), ", got ", state[1]);
        if (index.size() != 0 && index.is_vacant(static_cast<Slot>(state[1])))
            fail(ErrorCode::corrupt, reader.name(), ": section 'vamana': the entry point ", state[1], " is vacant");
        index.entry_ = static_cast<Slot>(state[1]);
        return index;
    }
    static std::vector<std::string_view> section_names()
        requires PersistableSpace<S>
    {
        auto names = Graph<S>::section_names();
        names.push_back("vamana");
        return names;
    }
    void validate(std::string_view source, const Progress& progress = {}) const
        requires PersistableSpace<S>
    {
        graph_.validate(source, progress);
    }

private:
    Vamana(Graph<S> graph, VamanaParams params, std::uint64_t seed) : graph_(std::move(graph)), params_(params), seed_(seed) {}

    /// The medoid of a sample of the live rows: the one with the smallest sum of distances to the others.
    void choose_entry(Executor& executor) {
        constexpr std::size_t most = 512;
        entry_ = invalid_slot;
        std::vector<Slot> sample;
        graph_.for_each_live([&](Slot slot) { sample.push_back(slot); });
        shuffle(sample, Random(seed_, 2));
        if (sample.size() > most) sample.resize(most);
        std::vector<double> sums(sample.size());
        executor.run(sample.size(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t i = begin; i < end; ++i)
                for (const Slot other : sample) sums[i] += static_cast<double>(sane(space().distance(sample[i], other)));
        });
        if (!sample.empty()) entry_ = sample[static_cast<std::size_t>(std::min_element(sums.begin(), sums.end()) - sums.begin())];
    }

    /// The places of a packed row are paid for, filled or not.
    bool refills() const noexcept { return refills_lists<S>() || params_.packed; }

    /// GreedySearch and RobustPrune for one node of a batch. again: it has links already, which are candidates too.
    void plan_node(Slot node, float alpha, bool again, Scratch& scratch) const {
        const auto scorer = scratch.bind_row(space(), node);
        graph_.find_candidates(graph_.base(), scorer, node, entry_, params_.l, scratch);
        if (again) graph_.add_neighbours(scorer, node, scratch);
        prune(space(), scratch.candidates, params_.r, alpha, refills(), scratch.pruned);
        scratch.plans.add(node, 0, scratch.candidates);
    }

    /// One pass over rows that are in the space already.
    void link(std::vector<Slot> nodes, float alpha, bool again, Executor& executor, const Progress& progress) {
        const std::size_t total = graph_.size();
        std::vector<Scratch> workers(executor.workers());
        std::vector<Slot> changed;
        std::vector<Slot>* const touched = graph_.is_packed() ? &changed : nullptr;
        shuffle(nodes, Random(seed_, 3));
        std::size_t done = 0;
        if (!again && nodes.size() == total && total > 0) {  // the entry point is there first
            std::iter_swap(nodes.begin(), std::find(nodes.begin(), nodes.end(), entry_));
            ++done;
        }
        while (done < nodes.size()) {
            progress.report("link", done, nodes.size());
            const std::size_t count = batch_size(again ? total : done, nodes.size() - done, total);
            for (auto& worker : workers) worker.plans.clear();
            executor.run(count, 16, [&](std::size_t begin, std::size_t end, std::size_t which) {
                for (std::size_t i = begin; i < end; ++i) plan_node(nodes[done + i], alpha, again, workers[which]);
            });
            apply_plans(space(), graph_.links(), graph_.base(), 0, std::span(workers), LinkRule{alpha, refills()}, executor, touched);
            done += count;
        }
        graph_.settle(nodes.size(), entry_, workers, touched);
        sort_unique(changed);
        graph_.repack(changed, executor);
        progress.report("link", done, nodes.size());
    }

    Graph<S> graph_;
    VamanaParams params_;
    std::uint64_t seed_;
    Slot entry_ = invalid_slot;
};

}  // namespace kith
