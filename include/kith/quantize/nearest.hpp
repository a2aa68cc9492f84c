// SPDX-License-Identifier: Apache-2.0
//
// The nearest of some centroids for each of many rows: what k-means, inverted lists and product quantisers do most of their time.
//
// The result is the exact one: of all centroids the one that simd::kernels().l2_f32 finds nearest, ties to the smaller number. A row whose
// distances are all infinite or NaN gets centroid 0 at infinity.
#pragma once

#include <algorithm>
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

/// What rows of numbers are made of: all elements but packed bits.
template <class T>
concept NumberElement = FloatElement<T> || IntegerElement<T>;

namespace detail {

/// Exact, for every element.
template <NumberElement T>
void widen(const T* from, std::size_t count, float* to) noexcept {
    if constexpr (std::is_same_v<T, Half>) simd::kernels().widen_f16(from, count, to);
    else if constexpr (std::is_same_v<T, BFloat16>) simd::kernels().widen_bf16(from, count, to);
    else
        for (std::size_t i = 0; i < count; ++i) to[i] = to_float(from[i]);
}

}  // namespace detail

/// The nearest centroid of each row and its squared distance. centroids: k x d, at least one; rows: n x d; nearest: n; distances: n or empty.
/// O(n k d). Throws Error{dimension_mismatch, invalid_argument}.
template <class T>
    requires NumberElement<T>
void assign_nearest(MatrixView<const float> centroids, MatrixView<const T> rows, std::span<std::uint32_t> nearest,
                    std::span<float> distances, Executor& executor = inline_executor()) {
    if (centroids.rows() == 0) fail(ErrorCode::invalid_argument, "expected at least 1 centroid, got 0");
    if (rows.cols() != centroids.cols())
        fail(ErrorCode::dimension_mismatch, "expected rows of ", centroids.cols(), " elements like the centroids, got ", rows.cols());
    if (nearest.size() != rows.rows() || (!distances.empty() && distances.size() != rows.rows()))
        fail(ErrorCode::dimension_mismatch, "expected results for ", rows.rows(), " rows, got ", nearest.size(), " and ", distances.size());
    const std::size_t dim = centroids.cols();
    const simd::RowsRef<float> reference{centroids.data(), centroids.stride(), dim};
    struct Worker {
        AlignedBuffer<float> row, found;
    };
    std::vector<Worker> workers(executor.workers());
    executor.run(rows.rows(), 256, [&](std::size_t begin, std::size_t end, std::size_t which) {
        auto& worker = workers[which];
        worker.row.reserve_discarding(dim);
        worker.found.reserve_discarding(centroids.rows());
        for (std::size_t i = begin; i < end; ++i) {
            detail::widen(rows.row(i), dim, worker.row.data());
            simd::kernels().l2_f32.run(worker.row.data(), reference, 0, centroids.rows(), worker.found.data());
            std::uint32_t best = 0;
            float least = std::numeric_limits<float>::infinity();
            for (std::size_t c = 0; c < centroids.rows(); ++c)
                if (worker.found[c] < least) {
                    least = worker.found[c];
                    best = static_cast<std::uint32_t>(c);
                }
            nearest[i] = best;
            if (!distances.empty()) distances[i] = least;
        }
    });
}

}  // namespace kith
