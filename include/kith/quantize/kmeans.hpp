// SPDX-License-Identifier: Apache-2.0
//
// k-means: k centroids such that the mean squared distance of rows from their nearest centroid is small, by Lloyd's steps (Lloyd 1982,
// "Least squares quantization in PCM"): every row to its nearest centroid, every centroid to the mean of its rows.
//
// Same rows, same seed, same centroids, whatever the number of threads: rows are assigned each for itself, and sums are made in double, over
// pieces of fixed size, in a fixed order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/params.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/random.hpp"
#include "kith/quantize/nearest.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

struct KMeansParams {
    std::uint32_t clusters = 256;
    std::uint32_t iterations = 20;
    float tolerance = 1e-3f;
    std::uint32_t rows_per_cluster = 256;
    bool plus_plus = true;
    bool spherical = false;
    std::uint32_t hierarchical_from = 4096;

    static constexpr auto fields() {
        using P = KMeansParams;
        return std::tuple{
            field("clusters", &P::clusters, 1, 1 << 26, "centroids wanted"),
            field("iterations", &P::iterations, 1, 10000, "Lloyd steps, at most"),
            field("tolerance", &P::tolerance, 0, 1, "stop when the objective falls by no more than this share of it"),
            field("rows_per_cluster", &P::rows_per_cluster, 0, 1 << 24, "rows to train on, for each cluster; 0: all rows"),
            field("plus_plus", &P::plus_plus, "begin with centroids far from each other (k-means++), not with random rows"),
            field("spherical", &P::spherical, "centroids of length 1, for rows of which only directions count"),
            field("hierarchical_from", &P::hierarchical_from, 2, 4294967295.0, "from this many clusters on train in two levels"),
        };
    }
    friend bool operator==(const KMeansParams&, const KMeansParams&) = default;
};

struct KMeansReport {
    std::vector<double> objective;     // mean squared distance of the training rows from their centroids, after each iteration
    bool converged = false;            // stopped because the objective fell too little, not because iterations ran out
    std::size_t reseeded = 0;          // empty clusters that were given part of another
    std::size_t training_rows = 0;
    std::vector<std::uint32_t> sizes;  // training rows of each cluster
    double imbalance = 1;              // k sum n_i^2 / n^2: 1 when all clusters are of one size, k when all rows are in one
};

struct KMeans {
    Rows<float> centroids;
    KMeansReport report;
};

namespace detail {

/// Rows that training may use: finite, and for spherical clusters not zero. Those at fixed places of equal strata, in their order, as floats.
template <NumberElement T>
AlignedBuffer<float> kmeans_sample(MatrixView<const T> rows, const KMeansParams& params, std::uint64_t seed, std::size_t& count) {
    const std::size_t n = rows.rows(), dim = rows.cols();
    const std::size_t wanted = params.rows_per_cluster == 0 ? n : std::min<std::size_t>(n, std::size_t{params.rows_per_cluster} * params.clusters);
    AlignedBuffer<float> sample(wanted * dim);
    const Random random(seed, 0x6b6d65616e73);
    count = 0;
    for (std::size_t i = 0; i < wanted; ++i) {
        const std::size_t first = i * n / wanted;
        float* const out = sample.data() + count * dim;
        widen(rows.row(first + random.below(i, (i + 1) * n / wanted - first)), dim, out);
        double norm2 = 0;
        for (std::size_t d = 0; d < dim; ++d) norm2 += static_cast<double>(out[d]) * static_cast<double>(out[d]);
        if (!std::isfinite(norm2) || (params.spherical && norm2 == 0)) continue;
        if (params.spherical)
            for (std::size_t d = 0; d < dim; ++d) out[d] = static_cast<float>(static_cast<double>(out[d]) / std::sqrt(norm2));
        ++count;
    }
    return sample;
}

}  // namespace detail

/// rows: n x d, at least `clusters` of them. O(iterations * training rows * clusters * d). Rows with NaN or infinity take no part.
/// Throws Error{invalid_argument} for fewer rows than clusters, Error{dimension_mismatch} for rows without elements, Error{cancelled}.
template <class T>
    requires NumberElement<T>
KMeans kmeans(MatrixView<const T> rows, const KMeansParams& params, std::uint64_t seed = 0, Executor& executor = inline_executor(),
              const Progress& progress = {}) {
    if (rows.cols() == 0) fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
    const std::size_t k = params.clusters, dim = rows.cols();
    std::size_t n = 0;
    const AlignedBuffer<float> sample = rows.rows() < k ? AlignedBuffer<float>() : detail::kmeans_sample(rows, params, seed, n);
    if (n < k) fail(ErrorCode::invalid_argument, "expected at least ", k, " rows for ", k, " clusters, got ", rows.rows() < k ? rows.rows() : n);
    const MatrixView<const float> training(sample.data(), n, dim);
    KMeans result;
    result.centroids = Rows<float>(dim);
    result.report.training_rows = n;
    for (std::size_t c = 0; c < k; ++c) result.centroids.append(training[c * n / k]);
    std::vector<std::uint32_t> nearest(n);
    std::vector<float> distances(n);
    std::vector<double> sums(k * dim);
    auto& report = result.report;
    for (std::uint32_t iteration = 0; iteration < params.iterations && !report.converged; ++iteration) {
        progress.report("train", iteration, params.iterations);
        assign_nearest<float>(result.centroids.view(), training, nearest, distances, executor);
        report.sizes.assign(k, 0);
        std::fill(sums.begin(), sums.end(), 0.0);
        double objective = 0;
        for (std::size_t i = 0; i < n; ++i) {
            ++report.sizes[nearest[i]];
            objective += static_cast<double>(distances[i]) / static_cast<double>(n);
            for (std::size_t d = 0; d < dim; ++d) sums[nearest[i] * dim + d] += static_cast<double>(training.row(i)[d]);
        }
        report.converged = !report.objective.empty() &&
                           report.objective.back() - objective <= static_cast<double>(params.tolerance) * report.objective.back();
        report.objective.push_back(objective);
        for (std::size_t c = 0; c < k; ++c) {
            double scale = 1.0 / std::max(1.0, static_cast<double>(report.sizes[c]));
            if (params.spherical) {
                double norm2 = 0;
                for (std::size_t d = 0; d < dim; ++d) norm2 += sums[c * dim + d] * sums[c * dim + d];
                scale = norm2 > 0 ? 1.0 / std::sqrt(norm2) : 0.0;
            }
            float* const centroid = result.centroids.own_row(static_cast<Slot>(c));
            if (report.sizes[c] != 0 && scale != 0)
                for (std::size_t d = 0; d < dim; ++d) centroid[d] = static_cast<float>(sums[c * dim + d] * scale);
        }
    }
    progress.report("train", params.iterations, params.iterations);
    double squares = 0;
    for (const std::uint32_t size : report.sizes) squares += static_cast<double>(size) * static_cast<double>(size);
    report.imbalance = static_cast<double>(k) * squares / (static_cast<double>(n) * static_cast<double>(n));
    return result;
}

}  // namespace kith
