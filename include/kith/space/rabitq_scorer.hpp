// SPDX-License-Identifier: Apache-2.0
//
// RabitqScorer: a query in whole numbers, bound to rows of RaBitQ codes (quantize/rabitq_codec.hpp). The same bits in all shapes; bound() says how far an
// estimate may be off.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "kith/core/types.hpp"
#include "kith/simd/kernels.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

/// Borrows rows and query.
class RabitqScorer {
public:
    using distance_type = float;

    /// The standard deviations of an estimate that the papers allow for: about one in twenty is farther off.
    static constexpr double default_epsilon = 1.9;

    /// What errors are made of: 1 or 2 times products with v, |v|, and |v - step q|, which a code multiplies with at most the largest y.
    struct Errors {
        double times = 0;
        double length = 0;
        double rounding = 0;
        bool keeps_length = false;  // |delta| stands behind a row's code; else it is the root of its first factor
    };

    RabitqScorer(const Rows<std::uint8_t>& rows, std::size_t bits, const simd::RabitqQuery& query, const Errors& errors) noexcept
        : rows_(&rows), kernels_(&simd::kernels().rabitq), at_(bits - 1), query_(query), errors_(errors) {}

    float operator()(Slot slot) const noexcept {
        float distance;
        gather({&slot, 1}, &distance);
        return distance;
    }
    void gather(std::span<const Slot> slots, float* out) const noexcept {
        kernels_->gather[at_](query_, rows_->view().data(), rows_->stride(), slots.data(), slots.size(), out);
    }
    void run(std::size_t first, std::size_t count, float* out) const noexcept {
        kernels_->run[at_](query_, rows_->row(static_cast<Slot>(first)), rows_->stride(), count, out);
    }

    /// How far the distance of a row may be from its estimate: epsilon |v| r tan / (D - 1)^1/2 (theorem 3.2 of the first paper), and what rounding the
    /// query adds. O(1).
    float bound(Slot slot, double epsilon = default_epsilon) const noexcept {
        const std::uint8_t* const row = rows_->row(slot);
        simd::RabitqFactors factors;
        std::memcpy(&factors, row, sizeof factors);
        double length;
        if (errors_.keeps_length) {
            float kept;
            std::memcpy(&kept, row + rows_->cols() - sizeof kept, sizeof kept);
            length = static_cast<double>(kept);
        } else {
            length = std::sqrt(static_cast<double>(factors.add));
        }
        const auto cosine = static_cast<double>(factors.cosine);
        const double tan = std::sqrt(std::max(0.0, 1 / (cosine * cosine) - 1));
        const double code = errors_.length * length * tan / std::sqrt(static_cast<double>(query_.dim - 1));
        const double query = errors_.rounding * static_cast<double>(factors.rescale);
        return static_cast<float>(epsilon * errors_.times * std::sqrt(code * code + query * query));
    }

private:
    const Rows<std::uint8_t>* rows_;
    const simd::RabitqKernels* kernels_;
    std::size_t at_;
    simd::RabitqQuery query_;
    Errors errors_;
};

}  // namespace kith
