// SPDX-License-Identifier: Apache-2.0
//
// Coarse<M>: the centroids of a partition and which of their lists a query under metric M should ask first: the coarse quantiser. Which score ranks lists,
// and why, is in partition/centroids.hpp; ranking them is an exact search of a Flat index over the centroids, one by one or a batch at a time with the same result.
//
// Cost: lists * d a query. Memory: 4 d bytes a list.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/topk.hpp"
#include "kith/index/flat.hpp"
#include "kith/partition/centroids.hpp"

namespace kith {

template <PartitionMetric M>
class Coarse {
public:
    using space_type = DenseSpace<centroid_metric<M>, float>;
    using Ranked = std::span<const Hit<float>>;  // slot is the list; nearest first

    static constexpr bool spherical = std::same_as<M, Cosine>;
    static constexpr bool keeps_spread = std::same_as<M, InnerProduct>;  // in one more dimension, which queries fill with their length

    /// Reusable; grows to the largest search it served.
    class Scratch {
        friend class Coarse;
        typename Flat<space_type>::scratch_type flat;
        AlignedBuffer<float> queries;
        AlignedBuffer<Hit<float>> hits;
        std::vector<TopK<float>> nearest;
    };

    /// No lists.
    explicit Coarse(std::size_t dimensions) : Coarse(Rows<float>(columns(dimensions)), dimensions) {}

    /// rows: lists x columns(dimensions), as kept().
    Coarse(Rows<float> rows, std::size_t dimensions) : flat_(space_type(std::move(rows))), dimensions_(dimensions) {}

    /// Centroids, lists x dimensions, of rows that were assigned to them at these squared distances.
    static Coarse make(Rows<float> centroids, std::span<const std::uint32_t> list_of, std::span<const float> distances) {
        const std::size_t dimensions = centroids.cols();
        if constexpr (keeps_spread) {
            std::vector<double> squares(centroids.rows());
            std::vector<std::size_t> sizes(centroids.rows());
            for (std::size_t i = 0; i < list_of.size(); ++i) {
                if (!std::isfinite(distances[i])) continue;
                squares[list_of[i]] += static_cast<double>(distances[i]);
                ++sizes[list_of[i]];
            }
            Rows<float> rows(columns(dimensions));
            rows.extend(centroids.rows(), 0.0f);
            for (std::size_t list = 0; list < centroids.rows(); ++list) {
                float* const row = rows.own_row(static_cast<Slot>(list));
                std::copy_n(centroids.row(static_cast<Slot>(list)), dimensions, row);
                const double mean = squares[list] / static_cast<double>(std::max<std::size_t>(sizes[list], 1));
                row[dimensions] = static_cast<float>(spreads * std::sqrt(mean / static_cast<double>(dimensions)));
            }
            return Coarse(std::move(rows), dimensions);
        } else {
            return Coarse(std::move(centroids), dimensions);
        }
    }

    static constexpr std::size_t columns(std::size_t dimensions) noexcept { return dimensions + (keeps_spread ? 1 : 0); }

    std::size_t lists() const noexcept { return flat_.size(); }
    std::size_t dimensions() const noexcept { return dimensions_; }
    std::size_t memory_bytes() const noexcept { return flat_.space().memory_bytes(); }
    /// What a file keeps: lists x columns(dimensions()).
    MatrixView<const float> kept() const noexcept { return flat_.space().rows().view(); }
    /// lists x dimensions(): what rows are assigned to.
    MatrixView<const float> centroids() const noexcept { return {kept().data(), lists(), dimensions_, kept().stride()}; }

    /// The min(count, lists()) lists to ask first. The result lives in the scratch until it is used again.
    template <Element Q>
    Ranked rank(std::span<const Q> query, std::size_t count, Scratch& scratch, SearchStats& stats) const {
        count = std::min(count, lists());
        const float* const floats = prepare(MatrixView<const Q>(query.data(), 1, query.size()), scratch);
        scratch.hits.reserve_discarding(count);
        TopK<float> nearest(std::span(scratch.hits.data(), count));
        stats += flat_.search({floats, kept().cols()}, NoParams{}, AllowAll{}, scratch.flat, nearest);
        return nearest.sorted();
    }

    /// The same for each query, to the bit: that of query i is ranked(scratch, i, count).
    template <Element Q>
    void rank_block(MatrixView<const Q> queries, std::size_t count, Scratch& scratch, SearchStats& stats) const {
        count = std::min(count, lists());
        const float* const floats = prepare(queries, scratch);
        scratch.hits.reserve_discarding(queries.rows() * count);
        scratch.nearest.clear();
        for (std::size_t i = 0; i < queries.rows(); ++i) scratch.nearest.emplace_back(std::span(scratch.hits.data() + i * count, count));
        stats += flat_.search_block(MatrixView<const float>(floats, queries.rows(), kept().cols(), floats_stride(queries)), NoParams{}, {}, scratch.flat,
                                    std::span(scratch.nearest));
        for (auto& nearest : scratch.nearest) nearest.sorted();
    }
    Ranked ranked(const Scratch& scratch, std::size_t i, std::size_t count) const noexcept {
        count = std::min(count, lists());
        return {scratch.hits.data() + i * count, count};
    }

    /// How many of the first lists are near enough: those whose centroid is at most `ratio` times as far as the nearest one, by the angle's chord under cosine.
    /// Inner products have no zero to measure from: there, those that are less than the largest by at most (ratio - 1) times it. At least 1; ratio 0: all.
    template <Element Q>
    std::size_t near(float ratio, std::span<const Q> query, Ranked ranked) const noexcept {
        if (ratio == 0 || ranked.empty()) return ranked.size();
        const auto r = static_cast<double>(std::max(ratio, 1.0f));
        const auto first = static_cast<double>(ranked[0].distance);
        double zero = 0;  // what the distance of a query from itself would be
        if constexpr (spherical) {
            double squares = 0;
            for (const Q x : query) squares += static_cast<double>(to_float(x)) * static_cast<double>(to_float(x));
            zero = -std::sqrt(squares);
        }
        const double most = keeps_spread ? first + (r - 1) * std::abs(first) : zero + r * r * std::max(first - zero, 0.0);
        std::size_t count = 1;
        while (count < ranked.size() && static_cast<double>(ranked[count].distance) <= most) ++count;
        return count;
    }

private:
    static constexpr double spreads = 2;

    static constexpr bool as_they_are(bool is_float) noexcept { return is_float && !keeps_spread; }

    template <Element Q>
    std::size_t floats_stride(MatrixView<const Q> queries) const noexcept {
        return as_they_are(std::is_same_v<Q, float>) ? queries.stride() : kept().cols();
    }

    /// Queries as the centroids' space takes them.
    template <Element Q>
    const float* prepare(MatrixView<const Q> queries, Scratch& scratch) const {
        if constexpr (as_they_are(std::is_same_v<Q, float>)) {
            return queries.data();
        } else {
            const std::size_t cols = kept().cols();
            scratch.queries.reserve_discarding(queries.rows() * cols);
            for (std::size_t i = 0; i < queries.rows(); ++i) {
                float* const out = scratch.queries.data() + i * cols;
                detail::to_floats(queries.row(i), queries.cols(), out);
                if constexpr (keeps_spread)
                    out[dimensions_] = std::min(std::sqrt(simd::kernels().dot_f32.one(out, out, dimensions_)), std::numeric_limits<float>::max());
            }
            return scratch.queries.data();
        }
    }

    Flat<space_type> flat_;
    std::size_t dimensions_;
};

}  // namespace kith
