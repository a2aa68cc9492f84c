// SPDX-License-Identifier: Apache-2.0
//
// What may come in: NaN and infinity poison an index silently (every comparison with NaN is false), so they are refused at the door, by a
// vectorised look at each value that costs less than reading it did.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "kith/core/error.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/types.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

/// What building and adding do about NaN and infinity in rows. Queries are always refused: no answer would mean anything.
enum class NotFinite : std::uint8_t {
    reject,  // Error{not_finite}, nothing is added
    allow,   // taken as they are: such a row is infinitely far from everything, and comes last
};

/// The first row with a value that is NaN or infinite, or rows.rows(). Integers and bits always are finite.
template <Element T>
std::size_t first_not_finite(MatrixView<const T> rows) noexcept {
    if constexpr (FloatElement<T>) {
        const auto& table = simd::kernels();
        const auto first = [&](const T* x, std::size_t n) {
            if constexpr (std::is_same_v<T, float>) return table.first_not_finite_f32(x, n);
            else if constexpr (std::is_same_v<T, Half>) return table.first_not_finite_f16(x, n);
            else return table.first_not_finite_bf16(x, n);
        };
        if (rows.contiguous()) {
            const std::size_t n = rows.rows() * rows.cols();
            const std::size_t bad = first(rows.data(), n);
            return bad == n ? rows.rows() : bad / rows.cols();
        }
        for (std::size_t i = 0; i < rows.rows(); ++i)
            if (first(rows.row(i), rows.cols()) != rows.cols()) return i;
    }
    return rows.rows();
}

/// `what`: "row" or "query", for the message.
template <Element T>
void require_finite(MatrixView<const T> rows, std::string_view what) {
    if constexpr (FloatElement<T>) {
        const std::size_t bad = first_not_finite(rows);
        if (bad == rows.rows()) return;
        std::size_t at = 0;
        const auto finite = [](float x) { return x - x == 0.0f; };
        while (at + 1 < rows.cols() && finite(to_float(rows.row(bad)[at]))) ++at;
        fail(ErrorCode::not_finite, what, " ", bad, " has ", to_float(rows.row(bad)[at]), " at dimension ", at,
             "; expected finite values");
    }
}

}  // namespace kith
