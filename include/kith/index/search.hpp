// SPDX-License-Identifier: Apache-2.0
//
// Batches, written once for every index: checks of the arguments, threads, scratch, filters, ids, the result contract.
//
// Queries are dealt out to the executor's workers; each worker has its own scratch, kept by the caller in a BatchScratch, so that a warm
// search allocates nothing. Which worker answers which query never shows in a result.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/results.hpp"
#include "kith/index/index.hpp"
#include "kith/space/finite.hpp"

namespace kith {

/// What the workers of a batch need to remember. Reusable, for one batch at a time; grows to the largest batch it served.
template <Index I>
class BatchScratch {
public:
    struct Worker {
        typename I::scratch_type scratch;
        AlignedBuffer<Hit<distance_of<I>>> hits;
        std::vector<TopK<distance_of<I>>> nearest;
        std::vector<Hit<distance_of<I>>> found;
        SearchStats stats;
    };

    std::span<Worker> workers(std::size_t count) {
        if (workers_.size() < count) workers_.resize(count);
        for (auto& worker : workers_) worker.stats = {};
        return {workers_.data(), count};
    }

    SearchStats stats() const noexcept {
        SearchStats total;
        for (const auto& worker : workers_) total += worker.stats;
        return total;
    }

private:
    std::vector<Worker> workers_;
};

namespace detail {

template <Index I>
void check_queries(const I& index, MatrixView<const query_of<I>> queries, std::span<const BitsetFilter> filters) {
    if (queries.cols() != index.space().dim())
        fail(ErrorCode::dimension_mismatch, "expected queries of ", index.space().dim(), " elements, got ", queries.cols());
    if (filters.size() > 1 && filters.size() != queries.rows())
        fail(ErrorCode::invalid_argument, "expected no filter, one, or one for each of ", queries.rows(), " queries, got ",
             filters.size());
    if constexpr (Element<query_of<I>>) require_finite(queries, "query");
}

template <Index I, Collector C>
SearchStats search_one(const I& index, std::span<const query_of<I>> query, const typename I::search_params& params,
                       std::span<const BitsetFilter> filters, std::size_t which, typename I::scratch_type& scratch,
                       C& collector) {
    if (filters.empty()) return index.search(query, params, AllowAll{}, scratch, collector);
    return index.search(query, params, filters[filters.size() == 1 ? 0 : which], scratch, collector);
}

/// A collector's hits into row `query` of the results, padded.
template <Index I>
void write_row(const I& index, std::span<const Hit<distance_of<I>>> hits, const Id* ids, std::size_t query,
               const ResultView& out) {
    Id* row_ids = out.ids.row(query);
    float* row_distances = out.distances.row(query);
    for (std::size_t i = 0; i < hits.size(); ++i) {
        row_ids[i] = ids == nullptr ? Id{hits[i].slot} : ids[hits[i].slot];
        row_distances[i] = static_cast<float>(index.space().report(static_cast<double>(hits[i].distance)));
    }
    std::fill(row_ids + hits.size(), row_ids + out.k(), invalid_id);
    const auto farthest = static_cast<float>(index.space().report(std::numeric_limits<double>::infinity()));
    std::fill(row_distances + hits.size(), row_distances + out.k(), farthest);
    out.counts[query] = static_cast<std::uint32_t>(hits.size());
}

/// The largest internal distance that is reported as `radius` or nearer. Reported numbers are floats and roots are rounded, so the
/// radius is taken as a float, and the bound is moved up while what it would be reported as stays within: a radius that is copied from
/// a result includes that result.
template <Index I>
distance_of<I> internal_radius(const I& index, double radius) {
    using D = distance_of<I>;
    if (std::isnan(radius)) fail(ErrorCode::invalid_argument, "expected a radius that is a number, got NaN");
    const auto& space = index.space();
    const double target = space.internal(static_cast<double>(static_cast<float>(radius)));
    const auto within = [&](D distance) {
        const auto reported = static_cast<float>(space.report(static_cast<double>(distance)));
        return space.internal(static_cast<double>(reported)) <= target;
    };
    D bound;
    if constexpr (std::is_integral_v<D>) {
        constexpr D most = std::numeric_limits<D>::max();
        constexpr D least = std::numeric_limits<D>::min();
        bound = target >= most ? most : target > least ? static_cast<D>(std::floor(target)) : least;  // nothing is within NaN, of a space that a file made so
        while (bound < most && within(bound + 1)) ++bound;
    } else {
        bound = static_cast<D>(target);
        for (D next = std::nextafter(bound, farthest<D>()); bound < farthest<D>() && within(next);
             next = std::nextafter(bound, farthest<D>()))
            bound = next;
    }
    return bound;
}

}  // namespace detail

/// The k = out.k() nearest of each query, into `out` (results.hpp has the contract).
///
/// queries: nq x space().dim(), finite. filters: none, one for all, or one for each query. ids: the id of each slot; null where slots are
/// ids. Throws Error{dimension_mismatch, invalid_argument, not_finite} before anything is written.
template <Index I>
SearchStats search_batch(const I& index, MatrixView<const query_of<I>> queries, const typename I::search_params& params,
                         std::span<const BitsetFilter> filters, const Id* ids, Executor& executor,
                         BatchScratch<I>& scratch, const ResultView& out) {
    detail::check_queries(index, queries, filters);
    if (out.queries() != queries.rows() || out.distances.rows() != queries.rows() || out.distances.cols() != out.k())
        fail(ErrorCode::dimension_mismatch, "expected results for ", queries.rows(), " queries, got ", out.queries(), " x ",
             out.k(), " ids and ", out.distances.rows(), " x ", out.distances.cols(), " distances");
    const std::size_t nq = queries.rows();
    const std::size_t capacity = std::min(out.k(), index.size());
    const auto workers = scratch.workers(executor.workers());
    std::size_t grain = 1;
    if constexpr (BlockSearchable<I>) {
        // Queries whose panels and heaps still fit in a second-level cache; fewer where k asks for large heaps.
        constexpr std::size_t most = 1024;
        constexpr std::size_t heap_bytes = std::size_t{64} << 20;
        const std::size_t room = heap_bytes / (sizeof(Hit<distance_of<I>>) * std::max(capacity, std::size_t{1}));
        if (nq >= I::min_block)
            grain = std::min(std::clamp((nq + workers.size() - 1) / workers.size(), I::min_block, most),
                             std::max(room, std::size_t{1}));
    }
    executor.run(nq, grain, [&](std::size_t begin, std::size_t end, std::size_t which) {
        auto& worker = workers[which];
        worker.hits.reserve_discarding((end - begin) * capacity);
        worker.nearest.clear();
        for (std::size_t i = begin; i < end; ++i)
            worker.nearest.emplace_back(std::span(worker.hits.data() + (i - begin) * capacity, capacity), ids);
        bool searched = false;
        if constexpr (BlockSearchable<I>) {
            if (end - begin >= I::min_block) {
                const auto some = filters.size() > 1 ? filters.subspan(begin, end - begin) : filters;
                worker.stats += index.search_block(queries.slice(begin, end - begin), params, some, worker.scratch,
                                                   std::span(worker.nearest));
                searched = true;
            }
        }
        for (std::size_t i = begin; i < end; ++i) {
            auto& nearest = worker.nearest[i - begin];
            if (!searched)
                worker.stats += detail::search_one(index, queries[i], params, filters, i, worker.scratch, nearest);
            detail::write_row(index, nearest.sorted(), ids, i, out);
        }
    });
    return scratch.stats();
}

/// All rows within `radius` of each query, in the metric's reported number ("at most", or "at least" for ip). Arguments and errors as above.
template <Index I>
RangeResults range_batch(const I& index, MatrixView<const query_of<I>> queries, double radius,
                         const typename I::search_params& params, std::span<const BitsetFilter> filters, const Id* ids,
                         Executor& executor, BatchScratch<I>& scratch) {
    using D = distance_of<I>;
    detail::check_queries(index, queries, filters);
    const D bound = detail::internal_radius(index, radius);
    const auto workers = scratch.workers(executor.workers());
    std::vector<std::vector<Hit<D>>> found(queries.rows());
    executor.run(queries.rows(), 1, [&](std::size_t begin, std::size_t end, std::size_t which) {
        auto& worker = workers[which];
        for (std::size_t i = begin; i < end; ++i) {
            worker.found.clear();
            WithinRadius<D> near(bound, worker.found);
            worker.stats += detail::search_one(index, queries[i], params, filters, i, worker.scratch, near);
            std::sort(worker.found.begin(), worker.found.end(), HitOrder<D>(ids));
            found[i].assign(worker.found.begin(), worker.found.end());
        }
    });
    RangeResults results;
    for (const auto& hits : found) {
        for (const auto& hit : hits) {
            results.ids.push_back(ids == nullptr ? Id{hit.slot} : ids[hit.slot]);
            results.distances.push_back(static_cast<float>(index.space().report(static_cast<double>(hit.distance))));
        }
        results.offsets.push_back(results.ids.size());
    }
    results.stats = scratch.stats();
    return results;
}

}  // namespace kith
