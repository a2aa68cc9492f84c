// SPDX-License-Identifier: Apache-2.0
//
// IvfBlock<S>: a batch of queries against the lists of a partition, list by list, so that a stretch of rows is read once for all queries that ask for its list. Results,
// and what they are said to cost, are those of the queries one by one, to the bit.
//
// Two rounds: first the nearest list of each query, then the others, when collectors have bounds. In the second round lists that many queries ask for are scored
// with tiles (space/tile_scorer.hpp) where the space has them.
//
// Memory, reused: what the space keeps of each query, 12 bytes for each query and list.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/index/coarse.hpp"
#include "kith/partition/lists.hpp"
#include "kith/partition/scan.hpp"
#include "kith/space/tile_scorer.hpp"

namespace kith {

namespace detail {

template <class S>
struct TilesOf {
    struct type {};
};
template <TileSpace S>
struct TilesOf<S> {
    using type = TileScorer<S>;
};

}  // namespace detail

template <PartitionSpace S>
class IvfBlock {
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;
    using CoarseOf = Coarse<typename S::metric_type>;
    using BoundScorer = scorer_of<S>;
    using LocalScorer = scorer_in_list_of<BoundScorer>;

public:
    /// Forgets the queries of the last time. All arguments must stay.
    void begin(MatrixView<const Query> queries, std::span<const BitsetFilter> filters, std::span<TopK<Distance>> nearest) {
        queries_ = queries;
        filters_ = filters;
        nearest_ = nearest;
        chosen_.clear();
    }

    const BitsetFilter& filter(std::size_t j) const noexcept { return filters_[filters_.size() == 1 ? 0 : j]; }

    /// Query j takes part. From here on it goes by its place i among those that do.
    void add(std::size_t j) { chosen_.push_back(static_cast<std::uint32_t>(j)); }
    std::size_t size() const noexcept { return chosen_.size(); }
    std::size_t query(std::size_t i) const noexcept { return chosen_[i]; }
    /// The lists it asks: those of ranked(i), the first near(i) at once.
    typename CoarseOf::Ranked ranked(const CoarseOf& coarse, std::size_t i) const noexcept { return coarse.ranked(coarse_, i, nprobe_); }
    std::size_t near(std::size_t i) const noexcept { return near_[i]; }
    const BoundScorer& scorer(std::size_t i) const noexcept { return scorers_[i]; }
    /// Rows it was offered: all there are, as long as its collector is not full.
    std::size_t offered(std::size_t i) const noexcept { return offered_[i]; }

    /// Chooses the lists of each query.
    void rank(const CoarseOf& coarse, std::size_t nprobe, float stop, SearchStats& stats) {
        nprobe_ = nprobe;
        near_.clear();
        if (size() == 0) return;
        MatrixView<const Query> asking = queries_;
        if (size() != queries_.rows()) {
            copies_.reserve_discarding(size() * queries_.cols());
            for (std::size_t i = 0; i < size(); ++i) std::copy_n(queries_.row(query(i)), queries_.cols(), copies_.data() + i * queries_.cols());
            asking = {copies_.data(), size(), queries_.cols()};
        }
        coarse.rank_block(asking, nprobe, coarse_, stats);
        for (std::size_t i = 0; i < size(); ++i) near_.push_back(static_cast<std::uint32_t>(coarse.near(stop, asking[i], ranked(coarse, i))));
    }

    /// Scans them.
    void scan(const S& space, const Lists& lists, const CoarseOf& coarse, BitsetView vacant, ScanBuffers<Distance>& buffers, SearchStats& stats) {
        scorers_.clear();
        if (scorer_scratch_.size() < size()) scorer_scratch_.resize(size());
        for (std::size_t i = 0; i < size(); ++i) scorers_.push_back(bind_query(space, queries_[query(i)], scorer_scratch_[i]));
        offered_.assign(size(), 0);
        for (const bool first : {true, false}) {
            group(lists, coarse, first);
            for (std::size_t list = 0, begin = 0; list < lists.count(); begin = ends_[list++]) {
                const std::span<const std::uint32_t> asking = std::span(pairs_).subspan(begin, ends_[list] - begin);
                if (asking.empty()) continue;
                stats.lists += asking.size();
                if (first) scan_list(space, lists, coarse, list, asking, vacant, buffers, stats);
                else scan_many(space, lists, coarse, list, asking, vacant, buffers, stats);
            }
        }
    }

private:
    /// pairs_: the queries that ask each list, list after list; ends_: where each ends. Of each query only its first list, or all others.
    void group(const Lists& lists, const CoarseOf& coarse, bool first) {
        const auto for_each_pair = [&](auto&& visit) {
            for (std::size_t i = 0; i < size(); ++i) {
                const auto order = ranked(coarse, i).first(near_[i]);
                for (const auto& hit : first ? order.first(1) : order.subspan(1)) visit(hit.slot, static_cast<std::uint32_t>(i));
            }
        };
        ends_.assign(lists.count() + 1, 0);
        for_each_pair([&](Slot list, std::uint32_t) { ++ends_[list + 1]; });
        for (std::size_t list = 0; list < lists.count(); ++list) ends_[list + 1] += ends_[list];
        pairs_.resize(ends_[lists.count()]);
        for_each_pair([&](Slot list, std::uint32_t i) { pairs_[ends_[list]++] = i; });  // beginnings become ends
    }

    /// One query after the other over each stretch of rows; where the list has scorers of its own, over all stretches; where scorers can look at rows together, a few together.
    void scan_list(const S& space, const Lists& lists, const CoarseOf& coarse, std::size_t list, std::span<const std::uint32_t> asking, BitsetView vacant,
                   ScanBuffers<Distance>& buffers, SearchStats& stats) {
        const auto centroid = coarse.centroids()[list];
        if constexpr (BoundedScorer<LocalScorer>) {
            if (filters_.empty()) return scan_together(space, lists, centroid, list, asking, vacant, stats);
        }
        const auto scan_pieces = [&](const LocalScorer& local, std::uint32_t i, auto&& for_each) {
            const auto scan_with = [&](const auto& filter) {
                Scan scan(local, vacant, filter, space.row_bytes(), buffers, nearest_[query(i)], stats);
                for_each([&](std::size_t first, std::size_t count) { scan.run(first, count); });
                offered_[i] += scan.finish();
            };
            if (filters_.empty()) scan_with(AllowAll{});
            else scan_with(filter(query(i)));
        };
        if constexpr (ListScorer<BoundScorer>) {
            for (const std::uint32_t i : asking) {
                if (!filters_.empty() && !may_allow(lists, list, filter(query(i)))) continue;
                const auto& local = scorer_in_list(scorers_[i], list, centroid);
                scan_pieces(local, i, [&](auto&& visit) { for_each_piece(lists, list, space.row_bytes(), visit); });
            }
        } else {
            for_each_piece(lists, list, space.row_bytes(), [&](std::size_t first, std::size_t count) {
                for (const std::uint32_t i : asking) scan_pieces(scorers_[i], i, [&](auto&& visit) { visit(first, count); });
            });
        }
    }

    /// Without filters.
    void scan_together(const S& space, const Lists& lists, std::span<const float> centroid, std::size_t list, std::span<const std::uint32_t> asking, BitsetView vacant,
                       SearchStats& stats)
        requires BoundedScorer<LocalScorer>
    {
        constexpr std::size_t together = LocalScorer::together, chunk = LocalScorer::chunk;
        distances_.reserve_discarding(together * chunk);
        within_.reserve_discarding(together * chunk / 32);
        for (std::size_t at = 0; at < asking.size(); at += together) {
            const auto some = asking.subspan(at, std::min(together, asking.size() - at));
            locals_.clear();
            for (const std::uint32_t i : some) locals_.push_back(scorer_in_list(scorers_[i], list, centroid));
            for_each_piece(lists, list, space.row_bytes(), [&](std::size_t first, std::size_t count) {
                for_each_within(std::span<const LocalScorer>(locals_), first, count, distances_.data(), within_.data(),
                                [&](std::size_t j) { return nearest_[query(some[j])].bound(); },
                                [&](std::size_t j, Slot slot, Distance distance) {
                                    auto& nearest = nearest_[query(some[j])];
                                    if (distance > nearest.bound() || vacant.test(slot)) return;
                                    nearest.offer(slot, distance);
                                    ++offered_[some[j]];
                                });
                stats.distances += count * some.size();
                stats.bytes += count * some.size() * space.row_bytes();
            });
        }
    }

    /// The same, with tiles for those whose collectors are full, where that is cheaper.
    void scan_many(const S& space, const Lists& lists, const CoarseOf& coarse, std::size_t list, std::span<const std::uint32_t> asking, BitsetView vacant,
                   ScanBuffers<Distance>& buffers, SearchStats& stats) {
        if constexpr (TileSpace<S>) {
            // A tile costs the same however many of its lanes hold a query; as in Flat it pays from a third of them on.
            if (filters_.empty() && TileScorer<S>::available() && 3 * asking.size() >= TileScorer<S>::lanes()) {
                bounded_.clear();
                others_.clear();
                for (const std::uint32_t i : asking) (nearest_[query(i)].full() ? bounded_ : others_).push_back(i);
                if (3 * bounded_.size() >= TileScorer<S>::lanes()) {
                    scan_list(space, lists, coarse, list, others_, vacant, buffers, stats);
                    scan_tiles(space, lists, list, vacant, stats);
                    return;
                }
            }
        }
        scan_list(space, lists, coarse, list, asking, vacant, buffers, stats);
    }

    /// The queries of bounded_.
    void scan_tiles(const S& space, const Lists& lists, std::size_t list, BitsetView vacant, SearchStats& stats)
        requires TileSpace<S>
    {
        constexpr std::size_t tile_step = 120;  // rows between two looks at the bounds, as in Flat
        const std::size_t dim = queries_.cols();
        panel_.reserve_discarding(bounded_.size() * dim);
        for (std::size_t b = 0; b < bounded_.size(); ++b) std::copy_n(queries_.row(query(bounded_[b])), dim, panel_.data() + b * dim);
        tile_.load(space, {panel_.data(), bounded_.size(), dim});
        const auto look = [&](std::size_t b) { tile_.bound(b, nearest_[query(bounded_[b])].bound(), true); };
        for (std::size_t b = 0; b < bounded_.size(); ++b) look(b);
        const std::size_t step = std::min(tile_.max_rows(), tile_step);
        hits_.reserve_discarding(step * tile_.lanes());
        for_each_piece(lists, list, space.row_bytes(), [&](std::size_t first, std::size_t count) {
            tile_.block(space, first, count);
            for (std::size_t panel = 0; panel * tile_.lanes() < bounded_.size(); ++panel)
                for (std::size_t at = 0; at < count; at += step) {
                    const std::size_t hits = tile_.score(panel, at, std::min(step, count - at), hits_.data());
                    for (std::size_t h = 0; h < hits; ++h) {
                        const std::size_t b = panel * tile_.lanes() + hits_[h].lane;
                        const auto slot = static_cast<Slot>(first + at + hits_[h].row);
                        if (b >= bounded_.size() || vacant.test(slot)) continue;
                        nearest_[query(bounded_[b])].offer(slot, scorers_[bounded_[b]](slot));
                        look(b);
                    }
                }
            stats.distances += count * bounded_.size();
            stats.bytes += count * bounded_.size() * space.row_bytes();
        });
    }

    MatrixView<const Query> queries_;
    std::span<const BitsetFilter> filters_;
    std::span<TopK<Distance>> nearest_;
    std::size_t nprobe_ = 0;
    std::vector<std::uint32_t> chosen_, near_, pairs_, bounded_, others_;
    std::vector<std::size_t> offered_, ends_;
    std::vector<scorer_scratch_of<S>> scorer_scratch_;
    std::vector<BoundScorer> scorers_;
    std::vector<LocalScorer> locals_;  // of the list in hand
    AlignedBuffer<Distance> distances_;
    AlignedBuffer<std::uint32_t> within_;
    typename CoarseOf::Scratch coarse_;
    AlignedBuffer<Query> copies_, panel_;
    AlignedBuffer<simd::TileHit> hits_;
    [[no_unique_address]] typename detail::TilesOf<S>::type tile_;
};

}  // namespace kith
