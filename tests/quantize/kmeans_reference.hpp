// SPDX-License-Identifier: Apache-2.0
//
// What the tests of k-means share: rows, Lloyd's step written out plainly, and what holds of every result.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kith/quantize/kmeans.hpp"
#include "support/catch.hpp"

namespace test {

using namespace kith;
using Values = std::vector<float>;

inline MatrixView<const float> view_of(const Values& values, std::size_t cols) { return {values.data(), values.size() / cols, cols}; }

inline Values normal(std::size_t n, std::uint64_t seed, double scale = 1, double offset = 0) {
    const Random random(seed, 3);
    Values x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(offset + scale * random.normal(i));
    return x;
}

/// Rows around `groups` centres that lie far from each other.
inline Values grouped(std::size_t rows, std::size_t cols, std::size_t groups, std::uint64_t seed, double spread = 0.5) {
    const Random random(seed, 4), centres(seed, 5);
    Values x(rows * cols);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t d = 0; d < cols; ++d)
            x[i * cols + d] = static_cast<float>(10 * centres.normal(i % groups * cols + d) + spread * random.normal(i * cols + d));
    return x;
}

inline KMeansParams with(std::uint32_t clusters, std::uint32_t iterations = 20, float tolerance = 0) {
    KMeansParams params;
    params.clusters = clusters;
    params.iterations = iterations;
    params.tolerance = tolerance;
    params.rows_per_cluster = 0;
    return params;
}

inline double squared(const float* a, const float* b, std::size_t dim) {
    double sum = 0;
    for (std::size_t d = 0; d < dim; ++d) sum += (static_cast<double>(a[d]) - static_cast<double>(b[d])) * (static_cast<double>(a[d]) - static_cast<double>(b[d]));
    return sum;
}

inline std::size_t plain_nearest(MatrixView<const float> centroids, const float* row, double& least) {
    std::size_t best = 0;
    least = std::numeric_limits<double>::infinity();
    for (std::size_t c = 0; c < centroids.rows(); ++c) {
        const double distance = squared(centroids.row(c), row, centroids.cols());
        if (distance < least) {
            least = distance;
            best = c;
        }
    }
    return best;
}

inline double mean_distance(MatrixView<const float> centroids, MatrixView<const float> rows) {
    double sum = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        double least = 0;
        plain_nearest(centroids, rows.row(i), least);
        sum += least;
    }
    return sum / static_cast<double>(rows.rows());
}

/// One step, in double; clusters without rows stay where they are. The mean squared distance to the new centroids.
inline double plain_step(Values& centroids, MatrixView<const float> rows, std::vector<std::uint32_t>& sizes) {
    const std::size_t dim = rows.cols(), k = centroids.size() / dim;
    std::vector<double> sums(centroids.size(), 0.0);
    std::vector<std::size_t> nearest(rows.rows());
    sizes.assign(k, 0);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        double least = 0;
        nearest[i] = plain_nearest(view_of(centroids, dim), rows.row(i), least);
        ++sizes[nearest[i]];
        for (std::size_t d = 0; d < dim; ++d) sums[nearest[i] * dim + d] += static_cast<double>(rows.row(i)[d]);
    }
    for (std::size_t c = 0; c < k; ++c)
        for (std::size_t d = 0; d < dim && sizes[c] != 0; ++d) centroids[c * dim + d] = static_cast<float>(sums[c * dim + d] / static_cast<double>(sizes[c]));
    double objective = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) objective += squared(&centroids[nearest[i] * dim], rows.row(i), dim);
    return objective / static_cast<double>(rows.rows());
}

inline bool same(const KMeans& a, const KMeans& b) {
    const auto x = a.centroids.view(), y = b.centroids.view();
    return x.rows() == y.rows() && x.cols() == y.cols() && std::memcmp(x.data(), y.data(), x.rows() * x.cols() * sizeof(float)) == 0 &&
           a.report.objective == b.report.objective && a.report.sizes == b.report.sizes && a.report.reseeded == b.report.reseeded &&
           a.report.converged == b.report.converged;
}

inline void check_sane(const KMeans& result, std::size_t clusters, std::size_t cols) {
    REQUIRE(result.centroids.rows() == clusters);
    REQUIRE(result.centroids.cols() == cols);
    for (std::size_t c = 0; c < clusters; ++c)
        for (const float x : result.centroids.view()[c]) REQUIRE(std::isfinite(x));
    const KMeansReport& report = result.report;
    for (std::size_t i = 0; i < report.objective.size(); ++i) {
        INFO("iteration " << i);
        REQUIRE(std::isfinite(report.objective[i]));
        REQUIRE(report.objective[i] >= 0);
        if (i > 0) REQUIRE(report.objective[i] <= report.objective[i - 1] * (1 + 1e-6));
    }
    if (report.sizes.empty()) return;
    REQUIRE(report.sizes.size() == clusters);
    REQUIRE(std::accumulate(report.sizes.begin(), report.sizes.end(), std::size_t{0}) == report.training_rows);
    REQUIRE(report.imbalance >= 1 - 1e-12);
    REQUIRE(report.imbalance <= static_cast<double>(clusters) * (1 + 1e-12));
}

}  // namespace test
