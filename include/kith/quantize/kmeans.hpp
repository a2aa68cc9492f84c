// SPDX-License-Identifier: Apache-2.0
//
// k-means: k centroids such that rows have a small mean squared distance from their nearest one. Training is on a sample; it begins with
// k-means++ (quantize/kmeans_start.hpp) and goes on in Lloyd's steps (quantize/lloyd.hpp) until they gain little; how rows find their nearest
// centroid is quantize/nearest.hpp.
//
// Spherical k-means (Dhillon and Modha 2001, "Concept decompositions for large sparse text data using clustering") is for rows of which only
// the direction counts: rows and centroids have length 1, and the nearest centroid is the one with the largest inner product.
//
// From `hierarchical_from` clusters on training is in two levels, as all steps over all clusters would take too long: about sqrt(k) clusters
// first, then each of them split into a share of the k proportional to its rows, then three steps over everything, in which rows and
// centroids move across the borders. That is O(n sqrt(k) d) a step, and O(n k d) three times.
//
// Same rows, same seed, same centroids, whatever the number of threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/params.hpp"
#include "kith/core/progress.hpp"
#include "kith/quantize/kmeans_start.hpp"
#include "kith/quantize/lloyd.hpp"
#include "kith/quantize/nearest.hpp"
#include "kith/quantize/training_rows.hpp"
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
            field("clusters", &P::clusters, 1, 1u << 26, "centroids wanted"),
            field("iterations", &P::iterations, 0, 100000, "Lloyd steps at most; 0 gives what they would begin with"),
            field("tolerance", &P::tolerance, 0, 1, "stop when a step lowers the mean squared distance by no more than this share of it"),
            field("rows_per_cluster", &P::rows_per_cluster, 0, 1u << 24, "rows to train on for each cluster; 0: all rows"),
            field("plus_plus", &P::plus_plus, "begin with rows far from each other (k-means++), not with any"),
            field("spherical", &P::spherical, "rows and centroids of length 1: only directions count"),
            field("hierarchical_from", &P::hierarchical_from, 2, 4294967295.0, "train in two levels from this many clusters on"),
        };
    }
    friend bool operator==(const KMeansParams&, const KMeansParams&) = default;
};

struct KMeans {
    Rows<float> centroids;
    KMeansReport report;
};

namespace detail {

/// Trains on rows as TrainingRows gives them.
class KMeansTrainer {
public:
    KMeansTrainer(MatrixView<const float> rows, const KMeansParams& params, std::uint64_t seed, Executor& executor, const Progress& progress)
        : rows_(rows), params_(params), seed_(seed), executor_(executor), coarse_(coarse_clusters()),
          work_(progress, coarse_ == 0 ? flat_work(rows.rows(), params.clusters) : two_level_work()) {}

    KMeans train() {
        KMeans result;
        if (coarse_ == 0) {
            result.centroids = flat(rows_, params_.clusters, seed_, result.report);
        } else {
            result.centroids = split(result.report);
            Lloyd(rows_, params_.tolerance, params_.spherical, seed_, executor_, work_).run(result.centroids, last_steps(), result.report);
        }
        work_.finish();
        return result;
    }

private:
    std::uint32_t last_steps() const noexcept { return std::min<std::uint32_t>(params_.iterations, 3); }

    /// Clusters of the upper level; 0 where there is one level only.
    std::uint32_t coarse_clusters() const noexcept {
        if (params_.clusters < params_.hierarchical_from) return 0;
        return static_cast<std::uint32_t>(std::lround(std::sqrt(static_cast<double>(params_.clusters))));
    }

    std::size_t coarse_rows() const noexcept { return std::min(rows_.rows(), std::size_t{coarse_} * std::max(params_.rows_per_cluster, 256u)); }

    std::size_t flat_work(std::size_t rows, std::size_t clusters) const noexcept {
        return rows * clusters * params_.iterations + (params_.plus_plus ? start_rows(rows, clusters) * clusters : 0);
    }
    std::size_t two_level_work() const noexcept {
        const std::size_t n = rows_.rows(), k = params_.clusters, below = k / coarse_ + 1;
        return flat_work(coarse_rows(), coarse_) + n * coarse_ + flat_work(n, below) + n * k * last_steps();
    }

    Rows<float> flat(MatrixView<const float> rows, std::size_t clusters, std::uint64_t seed, KMeansReport& report) {
        Rows<float> centroids = start_centroids(rows, clusters, params_.plus_plus, seed, executor_, work_);
        Lloyd(rows, params_.tolerance, params_.spherical, seed, executor_, work_).run(centroids, params_.iterations, report);
        return centroids;
    }

    /// Centroids of both levels, with the number of reseeded clusters alone in the report.
    Rows<float> split(KMeansReport& report) {
        std::vector<std::uint32_t> cluster(rows_.rows());
        {
            const Rows<float> sample = rows_of_strata(rows_, coarse_rows(), Random(seed_, 0x636f61727365));
            KMeansReport ignored;
            const Rows<float> coarse = flat(sample.view(), coarse_, seed_, ignored);
            assign_nearest<float>(coarse.view(), rows_, cluster, {}, executor_);
            work_.add(rows_.rows() * coarse_);
            report.reseeded += ignored.reseeded;
        }
        std::vector<std::size_t> sizes(coarse_, 0);
        for (const std::uint32_t c : cluster) ++sizes[c];
        const std::vector<std::size_t> parts = shares(sizes);
        Rows<float> centroids(rows_.cols());
        centroids.reserve(params_.clusters);
        std::vector<std::vector<Slot>> members(coarse_);
        for (std::size_t c = 0; c < coarse_; ++c) members[c].reserve(sizes[c]);
        for (std::size_t i = 0; i < rows_.rows(); ++i) members[cluster[i]].push_back(static_cast<Slot>(i));
        for (std::size_t c = 0; c < coarse_; ++c) {
            if (parts[c] == 0) continue;
            const Rows<float> some = gather(members[c]);
            KMeansReport ignored;
            centroids.append(flat(some.view(), parts[c], detail::mix64(seed_ + c + 1), ignored).view());
            report.reseeded += ignored.reseeded;
        }
        return centroids;
    }

    Rows<float> gather(const std::vector<Slot>& slots) const {
        Rows<float> some(rows_.cols());
        some.extend(slots.size(), 0.0f);
        executor_.run(slots.size(), 1024, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t i = begin; i < end; ++i) std::copy_n(rows_.row(slots[i]), rows_.cols(), some.own_row(static_cast<Slot>(i)));
        });
        return some;
    }

    /// How many of the clusters each coarse one is split into: at least 1 unless it is empty, at most its rows, else as sizes are to each
    /// other, by the method of Sainte-Lague: one after the other to whoever has most rows for each half part.
    std::vector<std::size_t> shares(const std::vector<std::size_t>& sizes) const {
        struct Claim {
            double rows;
            std::size_t cluster;
        };
        const auto less = [](const Claim& a, const Claim& b) { return a.rows != b.rows ? a.rows < b.rows : a.cluster > b.cluster; };
        std::vector<std::size_t> parts(sizes.size(), 0);
        std::vector<Claim> claims;
        std::size_t left = params_.clusters;
        for (std::size_t c = 0; c < sizes.size(); ++c) {
            if (sizes[c] == 0) continue;
            parts[c] = 1;
            --left;
            if (sizes[c] > 1) claims.push_back({static_cast<double>(sizes[c]) / 3, c});
        }
        std::make_heap(claims.begin(), claims.end(), less);
        for (; left > 0; --left) {
            std::pop_heap(claims.begin(), claims.end(), less);
            const std::size_t c = claims.back().cluster;
            claims.pop_back();
            if (++parts[c] == sizes[c]) continue;
            claims.push_back({static_cast<double>(sizes[c]) / static_cast<double>(2 * parts[c] + 1), c});
            std::push_heap(claims.begin(), claims.end(), less);
        }
        return parts;
    }

    MatrixView<const float> rows_;
    const KMeansParams& params_;
    std::uint64_t seed_;
    Executor& executor_;
    std::uint32_t coarse_;
    TrainingWork work_;
};

}  // namespace detail

/// rows: n x d, at least `clusters` of them. Beside them a training holds its sample as floats (n d at most), O(n + k d) and, where rows are
/// floats and all of them are used, nothing of the first. Rows with NaN or infinity take no part, nor do rows of zeros in spherical
/// clusters; others may be equal, all of them too: clusters that find no row then have copies of other centroids.
/// O(iterations n k d) for n training rows. Progress counts distances in the phase "train".
/// Throws Error{invalid_argument} for fewer rows than clusters, Error{dimension_mismatch} for rows of no elements, Error{cancelled}.
template <class T>
    requires NumberElement<T>
KMeans kmeans(MatrixView<const T> rows, const KMeansParams& params, std::uint64_t seed = 0, Executor& executor = inline_executor(),
              const Progress& progress = {}) {
    const std::size_t k = params.clusters, n = rows.rows();
    if (k == 0) fail(ErrorCode::invalid_argument, "expected at least 1 cluster, got 0");
    if (rows.cols() == 0) fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
    if (n < k) fail(ErrorCode::invalid_argument, "expected at least ", k, " rows for ", k, " clusters, got ", n);
    const std::size_t wanted = params.rows_per_cluster == 0 ? n : std::min(n, k * params.rows_per_cluster);
    if (wanted > max_rows) fail(ErrorCode::invalid_argument, "expected at most ", max_rows, " training rows, got ", wanted);
    detail::TrainingRows training(rows, wanted, params.spherical, seed, executor);
    if (training.view().rows() < k && wanted < n && n <= max_rows)
        training = detail::TrainingRows(rows, n, params.spherical, seed, executor);  // a sample of mostly useless rows
    if (training.view().rows() < k)
        fail(ErrorCode::invalid_argument, "expected at least ", k, " rows for ", k, " clusters, got ", training.view().rows(), " that are finite",
             params.spherical ? " and not zero" : "", " of ", training.view().rows() + training.dropped());
    KMeans result = detail::KMeansTrainer(training.view(), params, seed, executor, progress).train();
    KMeansReport& report = result.report;
    report.training_rows = training.view().rows();
    double squares = 0;
    for (const std::uint32_t size : report.sizes) squares += static_cast<double>(size) * static_cast<double>(size);
    const auto all = static_cast<double>(report.training_rows);
    if (!report.sizes.empty()) report.imbalance = static_cast<double>(k) * squares / (all * all);
    if (const double scale = training.scale(); scale != 1) {
        for (double& objective : report.objective) objective /= scale * scale;
        for (std::size_t c = 0; c < k; ++c)
            for (float& x : std::span(result.centroids.own_row(static_cast<Slot>(c)), rows.cols())) x = static_cast<float>(static_cast<double>(x) / scale);
    }
    return result;
}

}  // namespace kith
