// SPDX-License-Identifier: Apache-2.0
//
// The rows that a training looks at: a sample, one at a random place of each of equal strata, as floats side by side. Rows with NaN or
// infinity are left out, and zero rows where only directions count, which are then brought to length 1. Numbers so large or so small that
// their squares would not fit into a float are scaled by a power of two, which changes no digit. Floats that need none of that stay where
// they are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/random.hpp"
#include "kith/quantize/kmeans_start.hpp"
#include "kith/quantize/nearest.hpp"
#include "kith/simd/kernels.hpp"

namespace kith::detail {

class TrainingRows {
public:
    /// `wanted` of the rows at most; fewer than wanted where some are of no use. O(n d), for the sample's n.
    template <NumberElement T>
    TrainingRows(MatrixView<const T> rows, std::size_t wanted, bool spherical, std::uint64_t seed, Executor& executor) {
        const Random random(seed, 0x726f7773);
        const bool all = wanted >= rows.rows();
        wanted = std::min(wanted, rows.rows());
        const auto row = [&](std::size_t i) { return rows.row(all ? i : in_stratum(i, wanted, rows.rows(), random)); };
        const std::size_t dim = rows.cols();
        std::vector<AlignedBuffer<float>> workers(executor.workers());
        for (auto& worker : workers) worker.reserve_discarding(dim);

        std::vector<double> norms(wanted);  // squared; negative: of no use
        executor.run(wanted, block, [&](std::size_t begin, std::size_t end, std::size_t which) {
            for (std::size_t i = begin; i < end; ++i) norms[i] = useful_norm(as_floats(row(i), dim, workers[which]), dim, spherical);
        });
        std::vector<std::size_t> kept;
        double largest = 0;
        for (std::size_t i = 0; i < wanted; ++i) {
            if (norms[i] < 0) continue;
            kept.push_back(i);
            largest = std::max(largest, norms[i]);
        }
        dropped_ = wanted - kept.size();
        // As large as squares can well be, so that rows far smaller than the largest keep theirs.
        if (!spherical && largest > 0 && !(largest > smallest_norm && largest < largest_norm))
            scale_ = std::ldexp(1.0, 39 - std::ilogb(std::sqrt(largest)));
        if constexpr (std::is_same_v<T, float>) {
            if (all && dropped_ == 0 && scale_ == 1 && !spherical && rows.contiguous()) {
                view_ = rows;
                return;
            }
        }
        copy_.reserve_discarding(kept.size() * dim);
        executor.run(kept.size(), block, [&](std::size_t begin, std::size_t end, std::size_t which) {
            for (std::size_t i = begin; i < end; ++i) {
                const float* const from = as_floats(row(kept[i]), dim, workers[which]);
                const double by = spherical ? 1.0 / std::sqrt(norms[kept[i]]) : scale_;
                float* const to = copy_.data() + i * dim;
                for (std::size_t d = 0; d < dim; ++d) to[d] = static_cast<float>(static_cast<double>(from[d]) * by);
            }
        });
        view_ = {copy_.data(), kept.size(), dim};
    }

    MatrixView<const float> view() const noexcept { return view_; }
    std::size_t dropped() const noexcept { return dropped_; }
    double scale() const noexcept { return scale_; }

private:
    static constexpr std::size_t block = 256;
    static constexpr double smallest_norm = 0x1.0p-80, largest_norm = 0x1.0p80;  // squared

    template <class T>
    static const float* as_floats(const T* row, std::size_t dim, AlignedBuffer<float>& buffer) noexcept {
        if constexpr (std::is_same_v<T, float>) return row;
        widen(row, dim, buffer.data());
        return buffer.data();
    }

    /// Its squared norm, or -1.
    static double useful_norm(const float* row, std::size_t dim, bool spherical) noexcept {
        const auto fast = static_cast<double>(simd::kernels().dot_f32.one(row, row, dim));
        if (!spherical && fast > smallest_norm && fast < largest_norm) return fast;
        double norm = 0;
        for (std::size_t d = 0; d < dim; ++d) norm += static_cast<double>(row[d]) * static_cast<double>(row[d]);
        if (!std::isfinite(norm) || (spherical && norm == 0)) return -1;
        return norm;
    }

    AlignedBuffer<float> copy_;
    MatrixView<const float> view_;
    std::size_t dropped_ = 0;
    double scale_ = 1;  // of the rows here to those that came
};

}  // namespace kith::detail
