// SPDX-License-Identifier: Apache-2.0
//
// Flat: the exact scan, over any space. No structure, no parameters, no training; the reference that every other index is
// tested against, and the fastest answer for few rows or few that pass a filter.
//
// One query: distances of 256 rows at a time, fused with the top-k (a row that does not beat the k-th costs one comparison); runs at the
// speed of memory. A batch: where the space can score tiles, rows are multiplied with panels of queries in registers
// and only candidates come out, which are scored again with the same kernels; elsewhere blocks of rows stay in cache for all queries.
// Both give the same bits: results are exact, ordered by (distance, id).
//
// Flat over product-quantised codes (space/pq_space.hpp) is the index that is called PQ. Its scorers say which rows are near enough (BoundedScorer), so
// that of most rows not even a distance is seen, and those of a batch look at rows together.
//
// Cost: n d per query, O(k log k log(n / k)) comparisons on random order. Memory: the rows, and what the space keeps beside them.
// Borrowed and mapped rows are never copied until the index is changed.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kith/index/index.hpp"
#include "kith/space/tile_scorer.hpp"
#include "kith/space/within.hpp"

namespace kith {

template <Space S>
class Flat {
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;

    template <class T>
    struct Tiles {
        struct type {};
    };
    template <TileSpace T>
    struct Tiles<T> {
        using type = TileScorer<T>;
    };

    /// What scanning with BoundedScorers needs.
    template <class T>
    struct Bounded {
        struct type {};
    };
    template <BoundedSpace T>
    struct Bounded<T> {
        using scorer = scorer_of<T>;
        struct type {
            std::vector<scorer> scorers;
            std::vector<scorer_scratch_of<T>> scratches;
            std::array<typename T::distance_type, scorer::together * scorer::chunk> distances;
            std::array<std::uint32_t, scorer::together * scorer::chunk / 32> hits;
        };
    };

public:
    static constexpr std::string_view kind = "flat";
    static constexpr std::size_t min_block = 4;

    using space_type = S;
    using build_params = NoParams;
    using search_params = NoParams;

    class scratch_type {
        friend class Flat;
        std::array<Distance, 256> distances;
        std::array<Slot, 256> slots;
        [[no_unique_address]] typename Tiles<S>::type tile;
        [[no_unique_address]] scorer_scratch_of<S> scorer;
        AlignedBuffer<simd::TileHit> hits;
        [[no_unique_address]] typename Bounded<S>::type bounded;
    };

    explicit Flat(S space) : space_(std::move(space)) {}
    static Flat build(S space, const NoParams& = {}, std::uint64_t = 0, Executor& = inline_executor(),
                      const Progress& = {}) {
        return Flat(std::move(space));
    }

    const S& space() const noexcept { return space_; }
    std::size_t size() const noexcept { return space_.size(); }
    const NoParams& params() const noexcept { return params_; }

    template <Filter F, Collector C>
    SearchStats search(std::span<const Query> query, const NoParams&, const F& filter, scratch_type& scratch,
                       C& collector) const {
        const auto scorer = bind_query(space_, query, scratch.scorer);
        if constexpr (F::trivial) {
            return scan(scorer, filter, scratch, collector, 0, size());
        } else {
            // Scoring a row that is not allowed costs less than skipping it while most rows are allowed.
            if (filter.count(size()) > size() / 2) return scan(scorer, filter, scratch, collector, 0, size());
            return pick(scorer, filter, scratch, collector);
        }
    }

    /// nearest[i] collects for queries[i]. `filters`: none, one for all queries, or one for each.
    SearchStats search_block(MatrixView<const Query> queries, const NoParams& params,
                             std::span<const BitsetFilter> filters, scratch_type& scratch,
                             std::span<TopK<Distance>> nearest) const {
        if constexpr (TileSpace<S>) {
            if (TileScorer<S>::available() && worth_a_tile(queries.rows(), filters)) return search_tiles(queries, filters, scratch, nearest);
        }
        if constexpr (BoundedSpace<S>) {
            if (filters.empty()) return search_bounded(queries, scratch, nearest);
        }
        return search_cached(queries, params, filters, scratch, nearest);
    }

    std::vector<Slot> insert(rows_view_of<S> rows, Executor& = inline_executor(), const Progress& = {})
        requires GrowableSpace<S>
    {
        std::vector<Slot> slots(rows.rows());
        for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<Slot>(size() + i);
        space_.append(rows);
        return slots;
    }

    void own_rows()
        requires GrowableSpace<S>
    {
        space_.own_rows();
    }

    /// O(d).
    template <class Row>
    void overwrite(Slot slot, const Row& row)
        requires GrowableSpace<S>
    {
        space_.overwrite(slot, row);
    }

    /// O(d): the last row takes the slot.
    void remove(Slot slot)
        requires GrowableSpace<S>
    {
        const auto last = static_cast<Slot>(size() - 1);
        if (slot != last) space_.move_row(last, slot);
        space_.truncate(last);
    }

    void save(SectionWriter& writer) const
        requires PersistableSpace<S>
    {
        space_.save(writer);
    }
    static Flat load(const SectionReader& reader, const NoParams& = {})
        requires PersistableSpace<S>
    {
        return Flat(S::load(reader));
    }
    static std::vector<std::string_view> section_names()
        requires PersistableSpace<S>
    {
        return S::section_names();
    }
    void validate(std::string_view source, const Progress& progress = {}) const
        requires PersistableSpace<S>
    {
        space_.validate(source, progress);
    }

private:
    static constexpr std::size_t least_seed_rows = 64, most_seed_rows = 512;
    static constexpr std::size_t tile_step = 120;  // rows between two looks at the bounds; whole tiles of 12, 6, 5 or 4

    /// Rows per block that stays in cache while all queries of a batch pass over it: half of a small second-level cache.
    std::size_t block_rows() const noexcept {
        constexpr std::size_t bytes = std::size_t{256} << 10;
        return std::clamp(bytes / std::max<std::size_t>(space_.row_bytes(), 1), std::size_t{64}, std::size_t{4096});
    }

    template <class Scorer, Filter F, Collector C>
    static SearchStats scan(const Scorer& scorer, const F& filter, scratch_type& scratch, C& collector, std::size_t first,
                            std::size_t last, std::size_t row_bytes) {
        if constexpr (BoundedScorer<Scorer>) {
            scan_within(std::span(&scorer, 1), scratch, first, last, [&](std::size_t) { return collector.bound(); },
                        [&](std::size_t, Slot slot, Distance distance) {
                            if (filter.allows(slot)) collector.offer(slot, distance);
                        });
            return scored(last - first, row_bytes);
        }
        auto& distances = scratch.distances;
        for (std::size_t at = first; at < last; at += distances.size()) {
            const std::size_t n = std::min(distances.size(), last - at);
            scorer.run(at, n, distances.data());
            Distance bound = collector.bound();
            for (std::size_t i = 0; i < n; ++i) {
                if (distances[i] > bound) continue;  // a NaN is offered: it counts as infinitely far
                const auto slot = static_cast<Slot>(at + i);
                if (!filter.allows(slot)) continue;
                collector.offer(slot, distances[i]);
                bound = collector.bound();
            }
        }
        return scored(last - first, row_bytes);
    }

    template <class Scorer, Filter F, Collector C>
    SearchStats scan(const Scorer& scorer, const F& filter, scratch_type& scratch, C& collector, std::size_t first,
                     std::size_t last) const {
        return scan(scorer, filter, scratch, collector, first, last, space_.row_bytes());
    }

    /// offer(j, slot, distance) for every row of [first, last) that scorer j may find at bound(j) or nearer. first is a multiple of 32.
    template <BoundedScorer Scorer, class Bound, class Offer>
    static void scan_within(std::span<const Scorer> scorers, scratch_type& scratch, std::size_t first, std::size_t last, Bound bound, Offer offer) {
        auto& room = scratch.bounded;
        for_each_within(scorers, first, last - first, room.distances.data(), room.hits.data(), bound, offer);
    }

    /// As many queries at a time as leave their tables in cache; a block of rows, which stays there too, for all of those, a few together.
    SearchStats search_bounded(MatrixView<const Query> queries, scratch_type& scratch, std::span<TopK<Distance>> nearest) const
        requires BoundedSpace<S>
    {
        using Scorer = scorer_of<S>;
        constexpr std::size_t cached = std::size_t{1} << 20;
        const std::size_t panel = std::clamp<std::size_t>(cached / std::max<std::size_t>(space_.scorer_bytes(), 1), Scorer::together, 64);
        const std::size_t step = std::max(block_rows() / Scorer::chunk, std::size_t{1}) * Scorer::chunk;
        auto& room = scratch.bounded;
        if (room.scratches.size() < std::min(panel, queries.rows())) room.scratches.resize(std::min(panel, queries.rows()));
        for (std::size_t at = 0; at < queries.rows(); at += panel) {
            const std::size_t count = std::min(panel, queries.rows() - at);
            room.scorers.clear();
            for (std::size_t j = 0; j < count; ++j) room.scorers.push_back(bind_query(space_, queries[at + j], room.scratches[j]));
            for (std::size_t first = 0; first < size(); first += step)
                for (std::size_t j = 0; j < count; j += Scorer::together) {
                    const std::span<const Scorer> some(room.scorers.data() + j, std::min(Scorer::together, count - j));
                    const auto found = nearest.subspan(at + j, some.size());
                    scan_within(some, scratch, first, std::min(size(), first + step), [&](std::size_t i) { return found[i].bound(); },
                                [&](std::size_t i, Slot slot, Distance distance) { found[i].offer(slot, distance); });
                }
        }
        return scored(size() * queries.rows(), space_.row_bytes());
    }

    /// Only the rows that the filter allows.
    template <class Scorer, Filter F, Collector C>
    SearchStats pick(const Scorer& scorer, const F& filter, scratch_type& scratch, C& collector) const {
        std::size_t total = 0;
        std::size_t waiting = 0;
        const auto flush = [&] {
            scorer.gather({scratch.slots.data(), waiting}, scratch.distances.data());
            for (std::size_t i = 0; i < waiting; ++i)
                if (!(scratch.distances[i] > collector.bound())) collector.offer(scratch.slots[i], scratch.distances[i]);
            total += waiting;
            waiting = 0;
        };
        const auto take = [&](std::size_t slot) {
            scratch.slots[waiting++] = static_cast<Slot>(slot);
            if (waiting == scratch.slots.size()) flush();
        };
        if constexpr (requires { filter.bits(); }) {
            filter.bits().for_each_set([&](std::size_t slot) {
                if (slot < size()) take(slot);
            });
        } else {
            for (std::size_t slot = 0; slot < size(); ++slot)
                if (filter.allows(static_cast<Slot>(slot))) take(slot);
        }
        flush();
        return scored(total, space_.row_bytes());
    }

    /// Every row against every query, a block of rows at a time.
    SearchStats search_cached(MatrixView<const Query> queries, const NoParams& params,
                              std::span<const BitsetFilter> filters, scratch_type& scratch,
                              std::span<TopK<Distance>> nearest) const {
        SearchStats stats;
        if (!filters.empty()) {
            for (std::size_t j = 0; j < queries.rows(); ++j)
                stats += search(queries[j], params, filters[filters.size() == 1 ? 0 : j], scratch, nearest[j]);
            return stats;
        }
        for (std::size_t first = 0; first < size(); first += block_rows()) {
            const std::size_t last = std::min(size(), first + block_rows());
            for (std::size_t j = 0; j < queries.rows(); ++j)
                stats += scan(bind_query(space_, queries[j], scratch.scorer), AllowAll{}, scratch, nearest[j], first, last);
        }
        return stats;
    }

    /// A tile costs the same however many of its lanes hold a query, and scores all rows, allowed or not. Under a third
    /// of the lanes, scanning a block that stays in cache once for each query is faster (bench_flat, batches of 8 and 16).
    bool worth_a_tile(std::size_t queries, std::span<const BitsetFilter> filters) const noexcept
        requires TileSpace<S>
    {
        std::size_t allowed = 0;
        for (const auto& filter : filters) allowed += filter.count(size());
        return 3 * queries >= TileScorer<S>::lanes() &&
               (filters.empty() || allowed >= filters.size() * size() / 8);
    }

    SearchStats search_tiles(MatrixView<const Query> queries, std::span<const BitsetFilter> filters,
                             scratch_type& scratch, std::span<TopK<Distance>> nearest) const
        requires TileSpace<S>
    {
        auto& tile = scratch.tile;
        tile.load(space_, queries);
        // Bounds first, from a few rows scored one by one: without them every pair of the first tiles would be a hit.
        std::size_t wanted = 0;
        for (const auto& found : nearest) wanted = std::max(wanted, found.capacity());
        const std::size_t seed = std::min(size(), std::clamp(2 * wanted, least_seed_rows, most_seed_rows));
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            const auto scorer = space_.scorer(queries[j]);
            if (filters.empty()) scan(scorer, AllowAll{}, scratch, nearest[j], 0, seed);
            else scan(scorer, filters[filters.size() == 1 ? 0 : j], scratch, nearest[j], 0, seed);
            tile.bound(j, nearest[j].bound(), nearest[j].full());
        }
        const std::size_t step = std::min(tile.max_rows(), tile_step);
        scratch.hits.reserve_discarding(step * tile.lanes());
        for (std::size_t first = seed; first < size(); first += block_rows()) {
            const std::size_t count = std::min(block_rows(), size() - first);
            tile.block(space_, first, count);
            for (std::size_t panel = 0; panel * tile.lanes() < queries.rows(); ++panel)
                for (std::size_t at = 0; at < count; at += step)
                    score_tile(queries, filters, scratch, nearest, panel, first, at, std::min(step, count - at));
        }
        return scored(size() * queries.rows(), space_.row_bytes());
    }

    void score_tile(MatrixView<const Query> queries, std::span<const BitsetFilter> filters, scratch_type& scratch,
                    std::span<TopK<Distance>> nearest, std::size_t panel, std::size_t first, std::size_t at,
                    std::size_t count) const
        requires TileSpace<S>
    {
        auto& tile = scratch.tile;
        const std::size_t hits = tile.score(panel, at, count, scratch.hits.data());
        for (std::size_t h = 0; h < hits; ++h) {
            const std::size_t j = panel * tile.lanes() + scratch.hits[h].lane;
            if (j >= queries.rows()) continue;
            const auto slot = static_cast<Slot>(first + at + scratch.hits[h].row);
            if (!filters.empty() && !filters[filters.size() == 1 ? 0 : j].allows(slot)) continue;
            nearest[j].offer(slot, space_.scorer(queries[j])(slot));
            tile.bound(j, nearest[j].bound(), nearest[j].full());
        }
    }

    static SearchStats scored(std::size_t rows, std::size_t row_bytes) noexcept {
        SearchStats stats;
        stats.distances = rows;
        stats.bytes = rows * row_bytes;
        return stats;
    }

    S space_;
    NoParams params_;
};

}  // namespace kith
