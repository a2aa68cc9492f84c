// SPDX-License-Identifier: Apache-2.0
//
// IVF: a partition of the rows by centroids (Jegou, Douze and Schmid 2011, "Product quantization for nearest neighbor search", IEEE TPAMI 33, section IV: the inverted file; Sivic and
// Zisserman 2003). Rows go to the list of their nearest centroid, a query scans the lists of the nprobe centroids that promise most. Over any space: of rows as they
// are this is the literature's IVF-Flat, of codes IVF-SQ or IVF-PQ.
//
//   coarse quantiser    index/coarse.hpp, partition/centroids.hpp: k-means, and which score ranks lists under which metric
//   inverted lists      partition/lists.hpp: stretches of slots, so that rows of a list lie beside each other in the space and are scored as runs
//   scanning a list     partition/scan.hpp
//   batches             index/ivf_block.hpp: list by list, so that rows are read once for all queries that ask their list
//   changes of lists    partition/rebalance.hpp
//
// build() brings rows into the order of their lists: slots are not the caller's row numbers, which take_order() tells Keyed. Added rows go to the list of their
// nearest centroid, which stays as it was trained; rebalance() splits lists that grew too large and dissolves those that have next to nothing.
//
// Departures. Where the lists asked hold too few eligible rows, the next ones are asked until there are enough: min(k, eligible) results always. A filter that allows
// no more rows than a search without one would score is scanned for those, exactly.
//
// Cost: nlist + nprobe n / nlist distances a query (lists of equal size), least for nlist near sqrt(nprobe n); building O(n nlist d). Memory beside the space's: 4 d bytes a list, a bit a slot.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/index/coarse.hpp"
#include "kith/index/index.hpp"
#include "kith/index/ivf_block.hpp"
#include "kith/index/ivf_params.hpp"
#include "kith/partition/lists.hpp"
#include "kith/partition/rebalance.hpp"
#include "kith/partition/scan.hpp"
#include "kith/space/residual.hpp"

namespace kith {

template <Space S>
    requires PartitionSpace<S> && (ReorderableSpace<S> || ResidualSpace<S>)
class Ivf {
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;
    using CoarseOf = Coarse<typename S::metric_type>;

public:
    static constexpr std::string_view kind = "ivf";
    static constexpr std::size_t min_block = 4;

    using space_type = S;
    using build_params = IvfParams;
    using search_params = IvfSearchParams;

    class scratch_type {
        friend class Ivf;
        typename CoarseOf::Scratch coarse;
        scorer_scratch_of<S> scorer;
        ScanBuffers<Distance> buffers;
        IvfBlock<S> block;
        std::vector<Slot> scanned;
    };

    /// Trains centroids and brings the rows into the order of their lists. Throws Error{cancelled, unsupported, out_of_memory}.
    static Ivf build(S space, const IvfParams& params = {}, std::uint64_t seed = 0, Executor& executor = inline_executor(), const Progress& progress = {})
        requires ReorderableSpace<S>
    {
        if (space.size() == 0) {
            const std::size_t dimensions = space.dimensions();
            return Ivf(std::move(space), Lists(), CoarseOf(dimensions), params, seed, {});
        }
        Partition made = partition(floats_of(space), params, seed, executor, progress);
        std::vector<Slot> order;
        Lists lists = Lists::arrange(made.list_of, made.coarse.lists(), run_alignment<S>, order);
        Ivf index(space.reordered(order, executor), std::move(lists), std::move(made.coarse), params, seed, made.facts);
        index.order_ = std::move(order);
        return index;
    }

    /// The same for rows that are encoded against their lists, as a space like `empty` does it.
    static Ivf build(S empty, rows_view_of<S> rows, const IvfParams& params, std::uint64_t seed, Executor& executor, const Progress& progress)
        requires ResidualSpace<S>
    {
        const std::size_t dimensions = empty.dimensions();
        Ivf index(std::move(empty), Lists(), CoarseOf(dimensions), params, seed, {});
        if (rows.rows() != 0) index.order_ = index.take_first(rows, executor, progress);
        return index;
    }

    const S& space() const noexcept { return space_; }
    std::size_t size() const noexcept { return lists_.size(); }
    bool is_vacant(Slot slot) const noexcept { return lists_.is_vacant(slot); }
    const IvfParams& params() const noexcept { return params_; }
    const Lists& lists() const noexcept { return lists_; }
    MatrixView<const float> centroids() const noexcept { return coarse_.centroids(); }
    std::size_t memory_bytes() const noexcept {
        return space_.memory_bytes() + lists_.memory_bytes() + coarse_.memory_bytes() + order_.capacity() * sizeof(Slot);
    }

    /// The row that build() was given which is in each slot, invalid_slot where none is. Gives it away; empty when it was given, changed or loaded.
    std::vector<Slot> take_order() noexcept { return std::exchange(order_, {}); }

    /// k nearest: the rows of nprobe lists, and of more where they are not enough. A radius: the rows of nprobe lists and no more; from nlist on all that there are.
    template <Filter F, Collector C>
    SearchStats search(std::span<const Query> query, const IvfSearchParams& params, const F& filter, scratch_type& scratch, C& collector) const {
        SearchStats stats;
        const std::size_t wanted = wanted_by(collector);
        if (wanted == 0) return stats;
        const auto scorer = bind_query(space_, query, scratch.scorer);
        if constexpr (!F::trivial) {
            if (worth_a_scan(params, filter)) {
                scan_all(scorer, filter, scratch, collector, stats);
                return stats;
            }
        }
        const auto ranked = coarse_.rank(query, params.nprobe, scratch.coarse, stats);
        const std::size_t near = coarse_.near(params.stop, query, ranked);
        std::size_t offered = 0;
        for (std::size_t i = 0; i < near; ++i) offered += scan_list(ranked[i].slot, scorer, filter, scratch, collector, stats);
        if constexpr (requires { collector.capacity(); })
            widen(query, scorer, ranked, near, wanted - std::min(offered, wanted), filter, scratch, collector, stats);
        return stats;
    }

    /// nearest[i] collects for queries[i]. `filters`: none, one for all queries, or one for each. The results of single queries, to the bit.
    SearchStats search_block(MatrixView<const Query> queries, const IvfSearchParams& params, std::span<const BitsetFilter> filters, scratch_type& scratch,
                             std::span<TopK<Distance>> nearest) const {
        SearchStats stats;
        auto& block = scratch.block;
        block.begin(queries, filters, nearest);
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            if (wanted_by(nearest[j]) == 0) continue;
            if (filters.empty() || !worth_a_scan(params, block.filter(j))) block.add(j);
            else scan_all(bind_query(space_, queries[j], scratch.scorer), block.filter(j), scratch, nearest[j], stats);
        }
        block.rank(coarse_, params.nprobe, params.stop, stats);
        block.scan(space_, lists_, coarse_, hidden(), scratch.buffers, stats);
        for (std::size_t i = 0; i < block.size(); ++i) {
            const std::size_t j = block.query(i);
            const std::size_t missing = wanted_by(nearest[j]) - std::min(block.offered(i), wanted_by(nearest[j]));
            if (missing == 0) continue;
            const auto continue_with = [&](const auto& filter) {
                widen(queries[j], block.scorer(i), block.ranked(coarse_, i), block.near(i), missing, filter, scratch, nearest[j], stats);
            };
            if (filters.empty()) continue_with(AllowAll{});
            else continue_with(block.filter(j));
        }
        return stats;
    }

    /// Strong guarantee. Returns the slots of the rows: vacant ones of their lists, or new ones up to slots_after(). An index without lists is trained on them.
    std::vector<Slot> insert(rows_view_of<S> rows, Executor& executor = inline_executor(), const Progress& progress = {})
        requires GrowableSpace<S>
    {
        if (rows.rows() == 0) return {};
        if (coarse_.lists() == 0) return insert_first(rows, executor, progress);
        std::vector<std::uint32_t> list_of(rows.rows());
        assign_lists(coarse_.centroids(), GivenFloats(rows), CoarseOf::spherical, list_of, {}, executor, progress);
        Lists::Placement placement = lists_.place(list_of);
        take_rows(rows, placement, executor, progress);
        lists_.take(placement);
        order_.clear();
        return std::move(placement.slots);
    }
    /// At most so many slots when so many rows more are in.
    std::size_t slots_after(std::size_t rows) const noexcept {
        if (coarse_.lists() == 0) return rows + (run_alignment<S> - 1) * std::min(rows, list_count(params_, rows));
        return lists_.slots_after(rows);
    }

    void own_rows()
        requires GrowableSpace<S>
    {
        space_.own_rows();
    }

    /// The slots, distinct and live, become vacant. Cannot fail.
    void remove(std::span<const Slot> gone, Executor& = inline_executor(), const Progress& = {}) {
        lists_.remove(gone);
        order_.clear();
    }

    /// Every list in one stretch, without vacant slots (but those that keep the space's runs aligned). Returns new slot -> old slot. Needs memory for a copy of the rows.
    std::vector<Slot> compact(Executor& executor = inline_executor(), const Progress& progress = {}) {
        std::vector<Slot> old_of;
        Lists lists = lists_.compacted(run_alignment<S>, old_of);
        space_ = in_order(old_of, lists, coarse_, {}, executor, progress);
        lists_ = std::move(lists);
        order_.clear();
        return old_of;
    }
    /// The slots there will be then.
    std::size_t compact_slots() const noexcept { return lists_.compact_slots(run_alignment<S>); }

    /// Splits lists that are too large, dissolves those that are too small (partition/rebalance.hpp), assigns every row to the nearest of the new centroids and compacts.
    /// What is right for the rows of today: with nlist = 0 that is the square root of their number. O(n nlist d). Returns new slot -> old slot.
    std::vector<Slot> rebalance(Executor& executor = inline_executor(), const Progress& progress = {}) { return rebalance({}, executor, progress); }

    /// The same where the space keeps residuals and someone has the rows as they are, slot for slot: they are coded anew from those.
    std::vector<Slot> rebalance([[maybe_unused]] rows_view_of<S> exact, Executor& executor, const Progress& progress) {
        if (size() == 0) return compact(executor, progress);
        std::vector<Slot> live;
        live.reserve(size());
        for (std::size_t slot = 0; slot < lists_.slots(); ++slot)
            if (!lists_.is_vacant(static_cast<Slot>(slot))) live.push_back(static_cast<Slot>(slot));
        Rows<float> centroids = rebalanced_centroids(space_, lists_, coarse_.centroids(), list_count(params_, size()), train_params(params_), seed_, executor, progress);
        Partition made = assigned(std::move(centroids), SpaceFloats<S>(space_, live), params_, seed_, executor, progress);
        std::vector<Slot> old_of;
        Lists lists = Lists::arrange(made.list_of, made.coarse.lists(), run_alignment<S>, old_of);
        for (Slot& old : old_of)
            if (old != invalid_slot) old = live[old];
        space_ = in_order(old_of, lists, made.coarse, exact, executor, progress);
        lists_ = std::move(lists);
        coarse_ = std::move(made.coarse);
        order_.clear();
        return old_of;
    }

    /// At most so many slots then: of the lists there are, each is split into as many as it has means.
    std::size_t rebalance_slots() const noexcept {
        return size() + (run_alignment<S> - 1) * std::min(size(), list_count(params_, size()) + 2 * coarse_.lists());
    }

    ParamMap describe() const {
        const auto number = [](std::size_t n) { return static_cast<std::int64_t>(n); };
        std::vector<std::size_t> sizes(lists_.count());
        double squares = 0;
        for (std::size_t list = 0; list < sizes.size(); ++list) {
            sizes[list] = lists_.size(list);
            squares += static_cast<double>(sizes[list]) * static_cast<double>(sizes[list]);
        }
        std::sort(sizes.begin(), sizes.end());
        const auto n = static_cast<double>(size()), lists = static_cast<double>(std::max<std::size_t>(sizes.size(), 1));
        const std::size_t empty = static_cast<std::size_t>(std::upper_bound(sizes.begin(), sizes.end(), std::size_t{0}) - sizes.begin());
        return {{"nlist", number(sizes.size())},
                {"list_min", number(sizes.empty() ? 0 : sizes.front())},
                {"list_median", number(sizes.empty() ? 0 : sizes[sizes.size() / 2])},
                {"list_max", number(sizes.empty() ? 0 : sizes.back())},
                {"list_stddev", std::sqrt(std::max(0.0, squares / lists - n / lists * (n / lists)))},
                {"imbalance", size() == 0 ? 1.0 : lists * squares / (n * n)},
                {"empty_lists", number(empty)},
                {"runs", number(lists_.runs())},
                {"vacant_slots", number(lists_.slots() - size())},
                {"trained_on", static_cast<std::int64_t>(facts_.rows)},
                {"train_iterations", static_cast<std::int64_t>(facts_.iterations)},
                {"train_converged", facts_.converged},
                {"coarse", std::string(coarse_.is_linked() ? "graph" : "flat")},
                {"centroids_bytes", number(coarse_.memory_bytes())}};
    }

    void save(SectionWriter& writer) const
        requires PersistableSpace<S>
    {
        space_.save(writer);
        coarse_.save(writer);
        lists_.save(writer);
        const std::uint64_t state[] = {seed_, facts_.rows, facts_.iterations, facts_.converged ? 1u : 0u};
        writer.add_copy("ivf", std::span<const std::uint64_t>(state));
    }
    static Ivf load(const SectionReader& reader, const IvfParams& params = {})
        requires PersistableSpace<S>
    {
        return load(S::load(reader), reader, params);
    }
    /// The same over a space that was read from there already.
    static Ivf load(S space, const SectionReader& reader, const IvfParams& params)
        requires PersistableSpace<S>
    {
        const auto state = reader.template section<std::uint64_t>("ivf", 4);
        CoarseOf coarse = CoarseOf::load(reader, space.dimensions());
        const std::size_t lists = coarse.lists();
        if (lists >= Lists::none) fail(ErrorCode::corrupt, reader.name(), ": section 'ivf_centroids': expected fewer than ", Lists::none, " centroids, got ", lists);
        Lists held = Lists::load(reader, lists, space.size());
        if constexpr (ResidualSpace<S>) space.attach(held.runs_of_slots(), coarse.centroids());
        return Ivf(std::move(space), std::move(held), std::move(coarse), params, state[0], {state[1], state[2], state[3] != 0});
    }
    static std::vector<std::string_view> section_names()
        requires PersistableSpace<S>
    {
        auto names = S::section_names();
        for (const auto name : Lists::section_names()) names.push_back(name);
        for (const auto name : CoarseOf::section_names()) names.push_back(name);
        names.push_back("ivf");
        return names;
    }
    /// Lists are sound once they are loaded; which list a row is in only matters to how soon it is found.
    void validate(std::string_view source, const Progress& progress = {}) const
        requires PersistableSpace<S>
    {
        coarse_.validate(source, progress);
        space_.validate(source, progress);
    }

private:
    /// Centroids, and the list of each row.
    struct Partition {
        CoarseOf coarse;
        std::vector<std::uint32_t> list_of;
        TrainFacts facts;
    };

    Ivf(S space, Lists lists, CoarseOf coarse, const IvfParams& params, std::uint64_t seed, TrainFacts facts)
        : space_(std::move(space)), lists_(std::move(lists)), coarse_(std::move(coarse)), params_(params), seed_(seed), facts_(facts) {}

    static TrainParams train_params(const IvfParams& params) noexcept { return {params.iterations, params.sample, CoarseOf::spherical}; }

    static std::size_t list_count(const IvfParams& params, std::size_t rows) noexcept {
        const auto root = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(rows))));
        return std::clamp<std::size_t>(params.nlist == 0 ? root : params.nlist, 1, std::max<std::size_t>(rows, 1));
    }

    template <FloatRows R>
    static Partition partition(const R& rows, const IvfParams& params, std::uint64_t seed, Executor& executor, const Progress& progress) {
        Centroids trained = train_centroids(rows, list_count(params, rows.size()), train_params(params), seed, executor, progress);
        Partition made = assigned(std::move(trained.rows), rows, params, seed, executor, progress);
        made.facts = trained.facts;
        return made;
    }

    template <FloatRows R>
    static Partition assigned(Rows<float> centroids, const R& rows, const IvfParams& params, std::uint64_t seed, Executor& executor, const Progress& progress) {
        std::vector<std::uint32_t> list_of(rows.size());
        std::vector<float> distances(CoarseOf::keeps_spread ? rows.size() : 0);
        assign_lists(centroids.view(), rows, CoarseOf::spherical, list_of, distances, executor, progress);
        CoarseOf coarse = CoarseOf::make(std::move(centroids), list_of, distances);
        if (params.graph_from != 0 && coarse.lists() >= params.graph_from) coarse.link(seed, executor, progress);
        return {std::move(coarse), std::move(list_of), {}};
    }

    BitsetView hidden() const noexcept { return lists_.has_vacant() ? lists_.vacant() : BitsetView(); }

    /// How many results a search must have; 0: none at all.
    template <Collector C>
    std::size_t wanted_by(const C& collector) const noexcept {
        if constexpr (requires { collector.capacity(); }) return std::min(collector.capacity(), size());
        else return size();
    }

    /// Does the filter allow no more rows than a search without it would score?
    template <Filter F>
    bool worth_a_scan(const IvfSearchParams& params, const F& filter) const {
        const std::size_t nprobe = std::min<std::size_t>(params.nprobe, coarse_.lists());
        const double scored = static_cast<double>(nprobe) * static_cast<double>(size()) / static_cast<double>(coarse_.lists());
        return static_cast<double>(filter.count(lists_.slots())) <= static_cast<double>(coarse_.lists()) + scored;
    }

    template <class ScorerType, Filter F, Collector C>
    std::size_t scan_list(std::size_t list, const ScorerType& scorer, const F& filter, scratch_type& scratch, C& collector, SearchStats& stats) const {
        ++stats.lists;
        if (!may_allow(lists_, list, filter)) return 0;
        const auto& local = scorer_in_list(scorer, list, coarse_.centroids()[list]);
        Scan scan(local, hidden(), filter, space_.row_bytes(), scratch.buffers, collector, stats);
        for_each_piece(lists_, list, space_.row_bytes(), [&](std::size_t first, std::size_t count) { scan.run(first, count); });
        return scan.finish();
    }

    /// Every row that the filter allows, whatever its list.
    template <class ScorerType, Filter F, Collector C>
    void scan_all(const ScorerType& scorer, const F& filter, scratch_type& scratch, C& collector, SearchStats& stats) const {
        if constexpr (ListScorer<ScorerType>) {
            SearchStats scanned;
            for (std::size_t list = 0; list < lists_.count(); ++list) scan_list(list, scorer, filter, scratch, collector, scanned);
            scanned.lists = 0;
            stats += scanned;
            return;
        }
        constexpr std::size_t step = 4096;
        Scan scan(scorer, hidden(), filter, space_.row_bytes(), scratch.buffers, collector, stats);
        for (std::size_t first = 0; first < lists_.slots(); first += step) scan.run(first, std::min(step, lists_.slots() - first));
        scan.finish();
    }

    /// Scans the lists behind the first `done` until `missing` more rows were offered or no list is left.
    template <class ScorerType, Filter F, Collector C>
    void widen(std::span<const Query> query, const ScorerType& scorer, typename CoarseOf::Ranked ranked, std::size_t done, std::size_t missing, const F& filter,
               scratch_type& scratch, C& collector, SearchStats& stats) const {
        auto& scanned = scratch.scanned;  // by a ranking that may have left out lists which the true one has before them
        scanned.clear();
        for (std::size_t offered = 0; offered < missing && done < coarse_.lists(); ++done) {
            if (done == ranked.size()) {
                if (coarse_.is_approximate(ranked.size())) {
                    for (const auto& hit : ranked) scanned.push_back(hit.slot);
                    std::sort(scanned.begin(), scanned.end());
                    ranked = coarse_.rank(query, coarse_.lists(), scratch.coarse, stats);
                    done = 0;
                } else {
                    ranked = coarse_.rank(query, 8 * ranked.size(), scratch.coarse, stats);
                }
            }
            if (std::binary_search(scanned.begin(), scanned.end(), ranked[done].slot)) continue;
            offered += scan_list(ranked[done].slot, scorer, filter, scratch, collector, stats);
        }
    }

    /// Rows into an index that was built from none.
    std::vector<Slot> insert_first(rows_view_of<S> rows, Executor& executor, const Progress& progress) {
        const std::vector<Slot> row_of = take_first(rows, executor, progress);
        std::vector<Slot> slots(rows.rows());
        for (std::size_t slot = 0; slot < row_of.size(); ++slot)
            if (row_of[slot] != invalid_slot) slots[row_of[slot]] = static_cast<Slot>(slot);
        return slots;
    }

    /// Returns the row that is in each slot then.
    std::vector<Slot> take_first(rows_view_of<S> rows, Executor& executor, const Progress& progress) {
        Partition made = partition(GivenFloats(rows), params_, seed_, executor, progress);
        std::vector<Slot> row_of;
        Lists lists = Lists::arrange(made.list_of, made.coarse.lists(), run_alignment<S>, row_of);
        if constexpr (ResidualSpace<S>) space_ = space_.trained(rows, row_of, lists.runs_of_slots(), made.coarse.centroids(), seed_, executor, progress);
        else append(rows, row_of);
        lists_ = std::move(lists);
        coarse_ = std::move(made.coarse);
        facts_ = made.facts;
        return row_of;
    }

    /// The space's rows in another order, of these lists.
    S in_order(std::span<const Slot> old_of, [[maybe_unused]] const Lists& lists, [[maybe_unused]] const CoarseOf& coarse, [[maybe_unused]] rows_view_of<S> exact,
               Executor& executor, [[maybe_unused]] const Progress& progress) const {
        if constexpr (ResidualSpace<S>) return space_.rearranged(old_of, lists.runs_of_slots(), coarse.centroids(), exact, executor, progress);
        else return space_.reordered(old_of, executor);
    }

    /// The space and the memory of the lists as the placement wants them: rows are where they will be. Strong guarantee.
    void take_rows(rows_view_of<S> rows, const Lists::Placement& placement, [[maybe_unused]] Executor& executor, [[maybe_unused]] const Progress& progress) {
        const std::size_t before = space_.size();
        std::vector<Slot> row_of(placement.end - before, invalid_slot);
        bool reused = false;
        for (std::size_t i = 0; i < placement.slots.size(); ++i) {
            if (placement.slots[i] < before) reused = true;
            else row_of[placement.slots[i] - before] = static_cast<Slot>(i);
        }
        lists_.reserve(placement);
        if (reused) space_.own_rows();
        if constexpr (ResidualSpace<S>) space_.append(rows, row_of, Lists::runs_of_slots(placement.opened), executor, progress);
        else append(rows, row_of);
        for (std::size_t i = 0; i < placement.slots.size(); ++i)
            if (placement.slots[i] < before) space_.overwrite(placement.slots[i], rows[i]);
    }

    /// Appends rows[row_of[0]], rows[row_of[1]], ...; slots that wait for later rows hold copies of the first. All or nothing.
    void append(rows_view_of<S> rows, std::span<const Slot> row_of) {
        using T = std::remove_cvref_t<decltype(*rows.data())>;
        constexpr std::size_t step = 1024;
        const std::size_t before = space_.size();
        std::vector<T> some(std::min(step, row_of.size()) * rows.cols());
        try {
            for (std::size_t first = 0; first < row_of.size(); first += step) {
                const std::size_t count = std::min(step, row_of.size() - first);
                for (std::size_t i = 0; i < count; ++i) {
                    const Slot row = row_of[first + i];
                    std::copy_n(rows.row(row == invalid_slot ? 0 : row), rows.cols(), some.data() + i * rows.cols());
                }
                space_.append({some.data(), count, rows.cols()});
            }
        } catch (...) {
            space_.truncate(before);
            throw;
        }
    }

    S space_;
    Lists lists_;
    CoarseOf coarse_;
    IvfParams params_;
    std::uint64_t seed_;
    TrainFacts facts_;
    std::vector<Slot> order_;  // what take_order() gives
};

}  // namespace kith
