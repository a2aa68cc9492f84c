// SPDX-License-Identifier: Apache-2.0
//
// The nearest of some centroids for each of many rows: what k-means, inverted lists and product quantisers do most of their time.
//
// |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c), so the nearest centroid is the one with the least score |c|^2 / 2 - x.c, and scores are
// products of matrices: a panel of rows against blocks of centroids in registers, of which only the least two scores of each row are kept
// (simd/nearest_kernels.hpp). No matrix of distances is ever written. Both sides are first moved by the mean of the centroids, which
// changes no distance and makes the numbers that cancel as small as they can be.
//
// Exact all the same: of all centroids the one that simd::kernels().l2_f32 finds nearest, ties to the smaller number. With e = (d + 8) u,
// u = 2^-24, each score is off by at most e (|c|^2 + |x|^2 / 2) (a sum of d products by d u times the sum of their magnitudes, Higham 2002,
// section 3.1; x.c <= (|x|^2 + |c|^2) / 2; the move, the norms and the kernel's own roundings are in the 8). Scores are lowered by e |c|^2,
// so that the second least bounds all others from below; a row whose least two are closer than what is left of the error, a few in ten
// thousand on ordinary data, is measured against all centroids by that kernel. So are rows and centroids whose norms a float cannot hold.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/types.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

/// What rows of numbers are made of: every element but packed bits.
template <class T>
concept NumberElement = FloatElement<T> || IntegerElement<T>;

namespace detail {

/// Exact, for every element.
template <NumberElement T>
void widen(const T* from, std::size_t count, float* to) noexcept {
    if constexpr (std::is_same_v<T, Half>) simd::kernels().widen_f16(from, count, to);
    else if constexpr (std::is_same_v<T, BFloat16>) simd::kernels().widen_bf16(from, count, to);
    else if constexpr (std::is_same_v<T, std::int8_t>) simd::kernels().widen_i8(from, count, to);
    else if constexpr (std::is_same_v<T, std::uint8_t>) simd::kernels().widen_u8(from, count, to);
    else std::copy_n(from, count, to);
}

template <class T>
void check_assignment(std::size_t dim, MatrixView<const T> rows, std::span<std::uint32_t> nearest, std::span<float> distances) {
    if (rows.cols() != dim) fail(ErrorCode::dimension_mismatch, "expected rows of ", dim, " elements as the centroids have, got ", rows.cols());
    if (nearest.size() != rows.rows() || (!distances.empty() && distances.size() != rows.rows()))
        fail(ErrorCode::dimension_mismatch, "expected room for ", rows.rows(), " results, got ", nearest.size(), " and ", distances.size());
}

}  // namespace detail

/// Centroids prepared for assigning rows; what it needs for that is kept and used again. For one caller at a time.
class NearestCentroid {
public:
    NearestCentroid() = default;
    explicit NearestCentroid(MatrixView<const float> centroids) { load(centroids); }

    /// centroids: k x d, at least one, which must stay as they are until the last assign(). O(k d).
    /// Throws Error{invalid_argument, dimension_mismatch}.
    void load(MatrixView<const float> centroids) {
        if (centroids.rows() == 0) fail(ErrorCode::invalid_argument, "expected at least 1 centroid, got 0");
        if (centroids.cols() == 0) fail(ErrorCode::dimension_mismatch, "expected centroids of at least 1 element, got 0");
        if (centroids.rows() > max_rows) fail(ErrorCode::invalid_argument, "expected at most ", max_rows, " centroids, got ", centroids.rows());
        centroids_ = centroids;
        prepared_ = false;
    }

    /// The nearest centroid of each row and its squared distance. rows: n x d; nearest: n; distances: n, or empty. A row that is infinitely
    /// far from all centroids, or whose distances are NaN, gets centroid 0 at infinity. O(n k d). Throws Error{dimension_mismatch}.
    template <NumberElement T>
    void assign(MatrixView<const T> rows, std::span<std::uint32_t> nearest, std::span<float> distances, Executor& executor = inline_executor()) {
        detail::check_assignment(centroids_.cols(), rows, nearest, distances);
        if (rows.rows() == 0) return;
        if (workers_.size() < executor.workers()) workers_.resize(executor.workers());
        const bool few = rows.rows() < few_rows;
        if (!few && !prepared_) prepare();
        // A block is what stays in a second-level cache beside a chunk of centroids; smaller where there would be too few to go round.
        const std::size_t shared = (rows.rows() + 4 * executor.workers() - 1) / (4 * executor.workers());
        const std::size_t block = few ? 1 : std::min(block_rows(), (shared + lanes() - 1) / lanes() * lanes());
        executor.run(rows.rows(), block, [&](std::size_t begin, std::size_t end, std::size_t which) {
            const auto some = distances.empty() ? distances : distances.subspan(begin, end - begin);
            assign_block(rows.slice(begin, end - begin), few, workers_[which], nearest.subspan(begin, end - begin), some);
        });
    }

private:
    static constexpr std::size_t few_rows = 64;  // fewer do not pay for the preparation of centroids
    static constexpr std::size_t panels_bytes = std::size_t{256} << 10;
    static constexpr std::size_t chunk_bytes = std::size_t{128} << 10;
    static constexpr std::size_t most_rows = 1024;
    static constexpr float largest_norm = 0x1.0p100f;  // squared; scores of what is below cannot overflow

    struct Worker {
        AlignedBuffer<float> panels, norms, least, second, widened, found;
        AlignedBuffer<std::uint32_t> number;
    };

    static const simd::NearestTile& tile() noexcept { return simd::kernels().nearest_f32; }
    static std::size_t lanes() noexcept { return tile().lanes; }
    std::size_t dim() const noexcept { return centroids_.cols(); }
    std::size_t block_rows() const noexcept {
        return std::clamp(panels_bytes / (sizeof(float) * dim() * lanes()), std::size_t{1}, most_rows / lanes()) * lanes();
    }

    /// Centroids less their mean, negated, and what their scores begin with.
    void prepare() {
        const std::size_t k = centroids_.rows();
        std::vector<double> sums(dim());
        for (std::size_t c = 0; c < k; ++c) {
            const float* const centroid = centroids_.row(c);
            for (std::size_t d = 0; d < dim(); ++d) sums[d] += static_cast<double>(centroid[d]);
        }
        centre_.reserve_discarding(dim());
        for (std::size_t d = 0; d < dim(); ++d) centre_[d] = static_cast<float>(sums[d] / static_cast<double>(k));
        negated_.reserve_discarding(k * dim());
        squared_norms_.reserve_discarding(k);
        bias_.reserve_discarding(k);
        error_ = static_cast<double>(dim() + 8) * 0x1.0p-24;
        regular_ = error_ < 0.01;
        error_ *= 1.05;
        for (std::size_t c = 0; c < k; ++c) {
            const float* const centroid = centroids_.row(c);
            float* const negated = negated_.data() + c * dim();
            double norms[4] = {0, 0, 0, 0};
            for (std::size_t d = 0; d < dim(); ++d) {
                negated[d] = centre_[d] - centroid[d];
                norms[d % 4] += static_cast<double>(negated[d]) * static_cast<double>(negated[d]);
            }
            const double norm = (norms[0] + norms[1]) + (norms[2] + norms[3]);
            squared_norms_[c] = static_cast<float>(norm);
            bias_[c] = static_cast<float>(norm * (0.5 - error_));
            regular_ = regular_ && squared_norms_[c] < largest_norm;  // not where it is NaN
        }
        prepared_ = true;
    }

    template <class T>
    void assign_block(MatrixView<const T> rows, bool few, Worker& worker, std::span<std::uint32_t> nearest, std::span<float> distances) const {
        MatrixView<const float> floats;
        if constexpr (std::is_same_v<T, float>) {
            floats = rows;
        } else {
            worker.widened.reserve_discarding(rows.rows() * dim());
            if (rows.contiguous()) detail::widen(rows.data(), rows.rows() * dim(), worker.widened.data());
            else
                for (std::size_t i = 0; i < rows.rows(); ++i) detail::widen(rows.row(i), dim(), worker.widened.data() + i * dim());
            floats = {worker.widened.data(), rows.rows(), dim()};
        }
        const bool scored = !few && regular_;
        if (scored) score(floats, worker);
        const auto distance = simd::kernels().l2_f32.one;
        for (std::size_t i = 0; i < floats.rows(); ++i) {
            float found = 0;
            if (scored && certain(worker, i)) {
                nearest[i] = worker.number[i];
                if (!distances.empty()) found = distance(floats.row(i), centroids_.row(nearest[i]), dim());
            } else {
                nearest[i] = measure_all(floats.row(i), worker, found);
            }
            if (!distances.empty()) distances[i] = found;
        }
    }

    /// The least two scores of each row of a block.
    void score(MatrixView<const float> rows, Worker& worker) const {
        const std::size_t panels = (rows.rows() + lanes() - 1) / lanes();
        const std::size_t panel = lanes() * dim();
        worker.panels.reserve_discarding(panels * panel);
        for (auto* buffer : {&worker.norms, &worker.least, &worker.second}) buffer->reserve_discarding(panels * lanes());
        worker.number.reserve_discarding(panels * lanes());
        std::fill_n(worker.least.data(), panels * lanes(), std::numeric_limits<float>::infinity());
        std::fill_n(worker.second.data(), panels * lanes(), std::numeric_limits<float>::infinity());
        for (std::size_t p = 0; p < panels; ++p) {
            const std::size_t first = p * lanes();
            tile().pack(rows.row(first), rows.stride(), std::min(lanes(), rows.rows() - first), dim(), centre_.data(),
                        worker.panels.data() + p * panel, worker.norms.data() + first);
        }
        const std::size_t k = centroids_.rows();
        const std::size_t chunk = std::max(chunk_bytes / (sizeof(float) * dim()) / 48, std::size_t{1}) * 48;
        for (std::size_t c = 0; c < k; c += chunk)
            for (std::size_t p = 0; p < panels; ++p) {
                const std::size_t first = p * lanes();
                tile().score(worker.panels.data() + p * panel, dim(), negated_.data() + c * dim(), dim(), std::min(chunk, k - c),
                             bias_.data() + c, static_cast<std::uint32_t>(c),
                             {worker.least.data() + first, worker.second.data() + first, worker.number.data() + first});
            }
    }

    /// Whether no rounding can have hidden that another centroid is as near. Not where a norm is too large or NaN.
    bool certain(const Worker& worker, std::size_t row) const noexcept {
        const float norm = worker.norms[row];
        if (!(norm < largest_norm)) return false;
        const double x2 = static_cast<double>(norm);
        const double c2 = static_cast<double>(squared_norms_[worker.number[row]]);
        const double least = static_cast<double>(worker.least[row]);
        const double of_scores = error_ * (4 * c2 + 2 * x2);
        const double farthest = std::max(x2 + 2 * least + of_scores, 0.0);  // its distance is no more than that
        const double underflow = static_cast<double>(dim() + 16) * 0x1.0p-147;
        return 2 * (static_cast<double>(worker.second[row]) - least) > of_scores + 2.1 * error_ * farthest + underflow;
    }

    std::uint32_t measure_all(const float* row, Worker& worker, float& least) const {
        const std::size_t k = centroids_.rows();
        worker.found.reserve_discarding(k);
        simd::kernels().l2_f32.run(row, {centroids_.data(), centroids_.stride(), dim()}, 0, k, worker.found.data());
        std::uint32_t best = 0;
        least = std::numeric_limits<float>::infinity();
        for (std::size_t c = 0; c < k; ++c)
            if (worker.found[c] < least) {
                least = worker.found[c];
                best = static_cast<std::uint32_t>(c);
            }
        return best;
    }

    MatrixView<const float> centroids_;
    bool prepared_ = false;
    bool regular_ = false;  // every centroid's norm, and the dimension, allow for scores
    double error_ = 0;      // e
    AlignedBuffer<float> centre_, negated_, squared_norms_, bias_;
    std::vector<Worker> workers_;
};

/// NearestCentroid::assign, for those who do it once.
template <class T>
    requires NumberElement<T>
void assign_nearest(MatrixView<const float> centroids, MatrixView<const T> rows, std::span<std::uint32_t> nearest,
                    std::span<float> distances, Executor& executor = inline_executor()) {
    NearestCentroid(centroids).assign(rows, nearest, distances, executor);
}

/// The same for rows of which only the direction counts: they are brought to length 1 first, a block at a time. For centroids of length 1
/// the nearest one has the largest inner product. Rows of zeros stay as they are.
template <class T>
    requires NumberElement<T>
void assign_nearest_direction(MatrixView<const float> centroids, MatrixView<const T> rows, std::span<std::uint32_t> nearest,
                              std::span<float> distances, Executor& executor = inline_executor()) {
    constexpr std::size_t block = 16384;
    const std::size_t dim = centroids.cols();
    NearestCentroid nearest_centroid(centroids);
    detail::check_assignment(dim, rows, nearest, distances);
    AlignedBuffer<float> directions(std::min(block, rows.rows()) * dim);
    for (std::size_t first = 0; first < rows.rows(); first += block) {
        const std::size_t count = std::min(block, rows.rows() - first);
        executor.run(count, 64, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t i = begin; i < end; ++i) {
                float* const direction = directions.data() + i * dim;
                detail::widen(rows.row(first + i), dim, direction);
                double norm = 0;
                for (std::size_t d = 0; d < dim; ++d) norm += static_cast<double>(direction[d]) * static_cast<double>(direction[d]);
                const double by = norm > 0 ? 1.0 / std::sqrt(norm) : 1.0;
                for (std::size_t d = 0; d < dim; ++d) direction[d] = static_cast<float>(static_cast<double>(direction[d]) * by);
            }
        });
        nearest_centroid.assign(MatrixView<const float>(directions.data(), count, dim), nearest.subspan(first, count),
                                distances.empty() ? distances : distances.subspan(first, count), executor);
    }
}

}  // namespace kith
