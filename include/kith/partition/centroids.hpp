// SPDX-License-Identifier: Apache-2.0
//
// The centroids of a partition: trained on a sample of rows, then every row goes to the list of the nearest one. Rows are looked at as floats, whatever they
// are made of: numbers are widened, bits become zeros and ones, between which the squared distance is Hamming's.
//
//   l2, euclidean, l1, hamming   k-means; a query asks the lists of the nearest centroids
//   cosine                       spherical k-means: centroids of length 1; those with the largest inner product
//   ip                           k-means as for l2, and of the centroids those with the largest q.c + 2 |q| s / sqrt(d), s^2 being the mean squared distance of a list's
//                                rows from its centroid. q.x is q.c + q.(x - c), and the second term has about that spread: lists of rows with long
//                                residuals hold larger products than their mean promises. It is an inner product with one dimension more.
//
// Why not spherical centroids for inner products too: they throw norms away, and where norms are spread the largest products are those of
// few long rows. On factors of a recommender (gowalla-als-64, 400 lists, a hundredth of the rows scanned) spherical centroids find 0.46 of the ten nearest, plain ones
// by q.c 0.97, with the spread 0.99.
//
// l1 has centroids of its own (medians) that are dear to compute; those of l2 lie near enough to rank lists by. Jaccard and callables are measured by nothing that centroids
// are good for: not partitioned.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/random.hpp"
#include "kith/metric/metric.hpp"
#include "kith/quantize/kmeans.hpp"
#include "kith/space/dense.hpp"
#include "kith/space/space.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

template <class M>
concept PartitionMetric = std::same_as<M, L2> || std::same_as<M, Euclidean> || std::same_as<M, L1> || std::same_as<M, Hamming> ||
                          std::same_as<M, Cosine> || std::same_as<M, InnerProduct>;

/// By which lists are ranked.
template <PartitionMetric M>
using centroid_metric = std::conditional_t<std::same_as<M, Cosine> || std::same_as<M, InnerProduct>, InnerProduct, L2>;

/// A space whose rows can be told apart by centroids.
template <class S>
concept PartitionSpace = Space<S> && PartitionMetric<typename S::metric_type> && Element<typename S::query_type>;

namespace detail {

/// `count` elements as floats, one for each dimension.
template <Element T>
void to_floats(const T* from, std::size_t count, float* to) noexcept {
    if constexpr (std::is_same_v<T, Bits8>) {
        for (std::size_t i = 0; i < 8 * count; ++i) to[i] = static_cast<float>((from[i / 8].bits >> (7 - i % 8)) & 1u);
    } else {
        widen(from, count, to);
    }
}

}  // namespace detail

/// Rows as floats, by number: of a space, or some that were given.
template <class R>
concept FloatRows = requires(const R& rows, std::size_t i, float* out) {
    { rows.size() } -> std::same_as<std::size_t>;
    { rows.dimensions() } -> std::same_as<std::size_t>;
    { rows.read(i, out) };
};

/// The rows of a space, or those in some of its slots.
template <PartitionSpace S>
class SpaceFloats {
    using Query = typename S::query_type;

public:
    explicit SpaceFloats(const S& space) : space_(&space), size_(space.size()) {}
    SpaceFloats(const S& space, std::span<const Slot> slots) : space_(&space), slots_(slots), size_(slots.size()), some_(true) {}

    std::size_t size() const noexcept { return size_; }
    std::size_t dimensions() const noexcept { return space_->dimensions(); }
    void read(std::size_t i, float* out) const {
        const Slot slot = some_ ? slots_[i] : static_cast<Slot>(i);
        if constexpr (std::is_same_v<Query, float>) {
            space_->read_query(slot, {out, dimensions()});
        } else {
            std::vector<Query> row(space_->dim());
            space_->read_query(slot, row);
            detail::to_floats(row.data(), row.size(), out);
        }
    }

private:
    const S* space_;
    std::span<const Slot> slots_;
    std::size_t size_;
    bool some_ = false;
};

/// Rows as they were given.
template <Element T>
class GivenFloats {
public:
    explicit GivenFloats(MatrixView<const T> rows) : rows_(rows) {}

    std::size_t size() const noexcept { return rows_.rows(); }
    std::size_t dimensions() const noexcept { return rows_.cols() * dims_per_element<T>; }
    void read(std::size_t i, float* out) const { detail::to_floats(rows_.row(i), rows_.cols(), out); }
    MatrixView<const T> view() const noexcept { return rows_; }

private:
    MatrixView<const T> rows_;
};

/// The rows of a space; as they lie where it has them as they are.
template <PartitionSpace S>
SpaceFloats<S> floats_of(const S& space) {
    return SpaceFloats<S>(space);
}
template <PartitionMetric M, Element T>
GivenFloats<T> floats_of(const DenseSpace<M, T>& space) {
    return GivenFloats<T>(space.rows().view());
}

struct TrainParams {
    std::uint32_t iterations = 20;
    std::uint32_t rows_per_list = 128;
    bool spherical = false;
};

/// How it went.
struct TrainFacts {
    std::uint64_t rows = 0;
    std::uint64_t iterations = 0;
    bool converged = false;
};

struct Centroids {
    Rows<float> rows;
    TrainFacts facts;
};

/// At most `lists` centroids, fewer where there are not as many rows, and at least one: all zeros where no row is of use. Rows that are not finite or
/// that have no direction where only that counts take no part. O(iterations * sample * lists * d). Progress: "train".
template <FloatRows R>
Centroids train_centroids(const R& rows, std::size_t lists, const TrainParams& params, std::uint64_t seed, Executor& executor, const Progress& progress) {
    const std::size_t dim = rows.dimensions();
    const std::size_t wanted = std::min(rows.size(), lists * std::max<std::size_t>(params.rows_per_list, 1));
    AlignedBuffer<float> sample(wanted * dim);
    const Random random(seed, 0x697666);
    std::size_t count = 0;
    for (std::size_t i = 0; i < wanted; ++i) {  // one of each stratum: spread over all rows, in their order
        const std::size_t first = i * rows.size() / wanted;
        float* const out = sample.data() + count * dim;
        rows.read(first + random.below(i, (i + 1) * rows.size() / wanted - first), out);
        double squares = 0;
        for (std::size_t d = 0; d < dim; ++d) squares += static_cast<double>(out[d]) * static_cast<double>(out[d]);
        if (std::isfinite(squares) && !(params.spherical && squares == 0)) ++count;
    }
    Centroids trained;
    trained.facts.rows = count;
    if (count == 0) {
        trained.rows = Rows<float>(dim);
        trained.rows.extend(1, 0.0f);
        return trained;
    }
    KMeansParams kmeans_params;
    kmeans_params.clusters = static_cast<std::uint32_t>(std::min(lists, count));
    kmeans_params.iterations = params.iterations;
    kmeans_params.rows_per_cluster = 0;
    kmeans_params.spherical = params.spherical;
    kmeans_params.plus_plus = false;  // rows far from each other make small lists of what is rare, and leave what is common to a few large ones
    KMeans result = kmeans(MatrixView<const float>(sample.data(), count, dim), kmeans_params, seed, executor, progress);
    trained.rows = std::move(result.centroids);
    trained.facts.iterations = result.report.objective.size();
    trained.facts.converged = result.report.converged;
    return trained;
}

/// The list of each row: that of the nearest of the centroids, in l2; of the row's direction where only that counts. distances: squared, or empty.
/// O(n lists d). Progress: "assign".
template <FloatRows R>
void assign_lists(MatrixView<const float> centroids, const R& rows, bool spherical, std::span<std::uint32_t> lists, std::span<float> distances,
                  Executor& executor, const Progress& progress) {
    constexpr bool as_they_lie = requires { assign_nearest(centroids, rows.view(), lists, distances, executor); };
    constexpr std::size_t most = std::size_t{1} << 16, read_bytes = std::size_t{16} << 20;
    const std::size_t step = as_they_lie ? most : std::clamp(read_bytes / (sizeof(float) * rows.dimensions()), std::size_t{64}, most);
    AlignedBuffer<float> floats;
    const auto assign = [&](auto some, std::size_t first, std::size_t count) {
        const auto near = distances.empty() ? distances : distances.subspan(first, count);
        if (spherical) assign_nearest_direction(centroids, some, lists.subspan(first, count), near, executor);
        else assign_nearest(centroids, some, lists.subspan(first, count), near, executor);
    };
    for (std::size_t first = 0; first < rows.size(); first += step) {
        progress.report("assign", first, rows.size());
        const std::size_t count = std::min(step, rows.size() - first);
        if constexpr (as_they_lie) {
            assign(rows.view().slice(first, count), first, count);
        } else {
            floats.reserve_discarding(count * rows.dimensions());
            executor.run(count, 64, [&](std::size_t begin, std::size_t end, std::size_t) {
                for (std::size_t i = begin; i < end; ++i) rows.read(first + i, floats.data() + i * rows.dimensions());
            });
            assign(MatrixView<const float>(floats.data(), count, rows.dimensions()), first, count);
        }
    }
    progress.report("assign", rows.size(), rows.size());
    for (auto& list : lists)
        if (list >= centroids.rows()) list = 0;  // of no row, whatever it holds
}

}  // namespace kith
