// SPDX-License-Identifier: Apache-2.0
//
// Codes of 4 bits, two to a byte, in the layout of simd/nibble_kernels.hpp: blocks of 128 dimensions in 64 bytes, the
// first half of a block in the low halves of its bytes. An odd dimension out is filled up with level 0 (code 8).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kith/simd/table.hpp"

namespace kith {

constexpr std::size_t packed_nibbles(std::size_t dim) noexcept { return dim / 2 + dim % 2; }

/// dim codes, unsigned (0 .. 15) or signed levels (-8 .. 7), to packed_nibbles(dim) bytes.
template <class Code>
void pack_nibbles(const Code* codes, std::size_t dim, std::uint8_t* row) noexcept {
    constexpr int zero = std::is_signed_v<Code> ? 8 : 0;
    for (std::size_t left = dim; left > 0;) {
        const std::size_t here = std::min(left, 2 * simd::nibble_block);
        const std::size_t half = packed_nibbles(here);
        for (std::size_t j = 0; j < half; ++j) {
            const int high = half + j < here ? codes[half + j] + zero : 8;
            row[j] = static_cast<std::uint8_t>((codes[j] + zero) | (high << 4));
        }
        codes += here;
        row += half;
        left -= here;
    }
}

/// f(dimension, code 0 .. 15), in the order of dimensions.
template <class F>
void for_each_nibble(const std::uint8_t* row, std::size_t dim, F f) {
    for (std::size_t first = 0; first < dim; first += 2 * simd::nibble_block) {
        const std::size_t here = std::min(dim - first, 2 * simd::nibble_block);
        const std::size_t half = packed_nibbles(here);
        for (std::size_t j = 0; j < half; ++j) f(first + j, row[j] & 15);
        for (std::size_t j = half; j < here; ++j) f(first + j, row[j - half] >> 4);
        row += half;
    }
}

/// What stands behind the last of an odd number of dimensions; 8 where it is even.
inline int nibble_behind(const std::uint8_t* row, std::size_t dim) noexcept {
    return dim % 2 == 0 ? 8 : row[dim / 2] >> 4;
}

}  // namespace kith
