// SPDX-License-Identifier: Apache-2.0
//
// A query's table in bytes, for the scan of 4-bit codes (simd/block_sums.hpp): 16 entries a subspace, a register each (André, Kermarrec and Le
// Scouarnec 2015). An entry t of subspace j becomes the nearest whole number of steps above the least entry of its table,
//
//     t  ~  least_j + scale * byte        so that        sum of t  ~  offset + scale * (sum of bytes),     offset = sum of least_j
//
// with one scale for all subspaces: the largest table's range fills the 255 steps, and an entry is off by half a step at most.
//
// That formula is the distance of 4-bit codes; nothing is computed from the floats afterwards. So that it has one value, wherever and however it is
// computed, the scale is rounded up to a number of so few bits that its product with any sum is exact in a float: whether a compiler fuses the addition
// no longer matters. For up to 257 subspaces that makes the step less than 1/128 coarser.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kith/quantize/four.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

/// What sums of a table's bytes stand for.
struct ByteScale {
    float scale = 0.0f;   // at least 0
    float offset = 0.0f;  // NaN where the table was not finite: everything is infinitely far
    std::int32_t largest = 0;  // the largest sum there can be

    float distance(std::uint32_t sum) const noexcept { return scale * static_cast<float>(sum) + offset; }

    /// The largest sum whose distance is at most `bound`; -1 if there is none. O(1), or O(log largest) where distances are so large that rounding tells.
    std::int32_t most_within(float bound) const noexcept {
        if (!(bound < std::numeric_limits<float>::infinity())) return largest;
        const auto within = [&](std::int32_t sum) { return distance(static_cast<std::uint32_t>(sum)) <= bound; };
        if (!within(0)) return -1;
        if (within(largest)) return largest;
        const double steps = (static_cast<double>(bound) - static_cast<double>(offset)) / static_cast<double>(scale);
        const auto guess = static_cast<std::int32_t>(std::clamp(steps, 0.0, static_cast<double>(largest - 1)));
        if (within(guess) && !within(guess + 1)) return guess;
        std::int32_t low = 0, high = largest;  // within(low), not within(high)
        while (high - low > 1) {
            const std::int32_t middle = low + (high - low) / 2;
            if (within(middle)) low = middle;
            else high = middle;
        }
        return low;
    }
};

/// Tables of 16 bytes come in fours, as a register of simd/ may hold so many.
constexpr std::size_t code_groups_of(std::size_t m) noexcept { return (m + 3) / 4 * 4; }

namespace detail {

/// The least entry of each table to its place among the bytes. offsets[i]: those of tables with j % 8 = i, added up in order; widest: the largest range. Whether all is finite.
__attribute__((noinline)) inline bool range_of_tables(const float* table, std::size_t m, std::size_t entries, std::uint8_t* bytes, double* offsets, double& widest) noexcept {
    bool finite = true;
    std::fill_n(offsets, 8, 0.0);
    widest = 0;
    for (std::size_t j = 0; j < m; ++j) {
        const float* const from = table + j * entries;
        Four least = load_four(from), most = least, all = least * 0.0f;
        for (std::size_t c = 4; c < entries; c += 4) {
            const Four entry = load_four(from + c);
            least = entry < least ? entry : least;
            most = entry > most ? entry : most;
            all += entry * 0.0f;  // NaN where an entry is not finite
        }
        const float lowest = std::min(std::min(least[0], least[1]), std::min(least[2], least[3]));
        const float highest = std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
        finite = finite && all[0] + all[1] + all[2] + all[3] == 0.0f;
        offsets[j % 8] += static_cast<double>(lowest);
        widest = std::max(widest, static_cast<double>(highest) - static_cast<double>(lowest));
        std::memcpy(bytes + j * entries, &lowest, sizeof(lowest));  // until its entries come
    }
    return finite;
}

__attribute__((noinline)) inline void steps_of_tables(const float* table, std::size_t m, std::size_t entries, float inverse, std::uint8_t* bytes) noexcept {
    for (std::size_t j = 0; j < m; ++j) {
        const float* const from = table + j * entries;
        std::uint8_t* const to = bytes + j * entries;
        float least;
        std::memcpy(&least, to, sizeof(least));
        const auto step_of = [&](Four entry) {
            const Four steps = (entry - least) * inverse + 0.5f;
            return __builtin_convertvector(steps < 255.0f ? steps : Four{} + 255.0f, FourInts);
        };
        for (std::size_t c = 0; c < entries; c += 16) {
            Four x0 = load_four(from + c), x1 = load_four(from + c + 4), x2 = load_four(from + c + 8), x3 = load_four(from + c + 12);
            transpose(x0, x1, x2, x3);  // a lane has four entries that lie side by side, and its bytes will
            const FourInts lanes = step_of(x0) | step_of(x1) << 8 | step_of(x2) << 16 | step_of(x3) << 24;
            std::memcpy(to + c, &lanes, sizeof(lanes));
        }
    }
}

}  // namespace detail

/// Turns m tables of `entries` floats each, a multiple of 16, into as many bytes; `bytes` has m * entries of them. O(m entries).
inline ByteScale bytes_of_table(const float* table, std::size_t m, std::size_t entries, std::uint8_t* bytes) noexcept {
    const auto sums = static_cast<std::uint32_t>(255 * m);
    ByteScale result{0.0f, 0.0f, static_cast<std::int32_t>(sums)};
    const simd::ByteTableKernels& wide = simd::kernels().byte_tables;
    const bool is_wide = entries == 16 && wide.range != nullptr;
    double offsets[8], range = 0;
    const bool finite = is_wide ? wide.range(table, m, bytes, offsets, range) : detail::range_of_tables(table, m, entries, bytes, offsets, range);
    const double offset = ((offsets[0] + offsets[4]) + (offsets[1] + offsets[5])) + ((offsets[2] + offsets[6]) + (offsets[3] + offsets[7]));
    result.offset = finite ? static_cast<float>(offset) : std::numeric_limits<float>::quiet_NaN();
    constexpr double smallest = 0x1p-100;  // a finer step is none: its products with sums would lose bits
    if (!finite || range < 255 * smallest) {
        std::fill_n(bytes, m * entries, std::uint8_t{0});
        return result;
    }
    int exponent;
    const double fraction = std::frexp(range / 255, &exponent);
    const int bits = std::max(1, 24 - static_cast<int>(std::bit_width(sums)));
    result.scale = static_cast<float>(std::ldexp(std::ceil(std::ldexp(fraction, bits)), exponent - bits));
    const float inverse = 1.0f / result.scale;
    if (is_wide) wide.steps(table, m, inverse, bytes);
    else detail::steps_of_tables(table, m, entries, inverse, bytes);
    return result;
}

}  // namespace kith
