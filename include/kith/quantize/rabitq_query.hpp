// SPDX-License-Identifier: Apache-2.0
//
// A query of RaBitQ codes in whole numbers, so that its products with codes are sums of products of bytes (simd/rabitq_kernels.hpp). The first RaBitQ paper
// does this with 4 bits and random rounding (section 3.3.1). Here it is 8 bits, and 14 from codes of 6 bits on, rounded to nearest: what that adds to an
// error is a few hundredths of what the codes leave at least.
//
//   v ~ step q,    |q_j| <= 127, or 8127 = 64 * 128 - 65 as 128 high + low
//
// and in both cases (2^bits - 1) sum |q_j| < 2^31, which is what the kernels' 32-bit sums hold; past a few thousand dimensions that costs a bit or two.
//
// A row as a query has its own odd numbers y for q, without rounding.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kith/simd/table.hpp"

namespace kith::detail {

/// planes: rabitq_plane_bytes().
struct RabitqPlanes {
    float step = 0.0f;
    std::int32_t sum = 0;    // of all q_j
    double residual = 0;     // |v - step q|^2
};

constexpr std::size_t rabitq_plane_bytes(std::size_t n, std::size_t bits) noexcept {
    return simd::RabitqQuery::planes_of(bits) * (n + simd::RabitqQuery::padding);
}

/// Puts a whole number where a kernel wants it.
inline void put_rabitq_level(std::int32_t q, std::size_t at, std::size_t n, bool two, std::int8_t* planes) noexcept {
    if (!two) {
        planes[at] = static_cast<std::int8_t>(q);
        return;
    }
    const std::int32_t low = ((q + 64) & 127) - 64;
    planes[at] = static_cast<std::int8_t>((q - low) / 128);
    planes[at + n + simd::RabitqQuery::padding] = static_cast<std::int8_t>(low);
}

/// O(n). Of what is too small or not finite, zeros.
inline RabitqPlanes quantize_rabitq_query(const float* v, std::size_t n, std::size_t bits, std::int8_t* planes) noexcept {
    const bool two = simd::RabitqQuery::planes_of(bits) == 2;
    double most = 0, total = 0, square = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double size = std::abs(static_cast<double>(v[i]));
        most = std::max(most, size);
        total += size;
        square += size * size;
    }
    RabitqPlanes found;
    if (!(most >= 1e-30 && total <= 1e38)) {
        std::fill_n(planes, rabitq_plane_bytes(n, bits), std::int8_t{0});
        found.residual = most > 0 ? square : 0;
        return found;
    }
    const double room = static_cast<double>(0x7FFFFFFF / ((1 << bits) - 1)) - static_cast<double>(n);
    const double inverse = std::min((two ? 8127 : 127) / most, room / total);
    found.step = static_cast<float>(1 / inverse);
    for (std::size_t i = 0; i < n; ++i) {
        const double x = static_cast<double>(v[i]) * inverse;
        const auto q = static_cast<std::int32_t>(x + (x < 0 ? -0.5 : 0.5));
        const double off = static_cast<double>(v[i]) - static_cast<double>(found.step) * q;
        put_rabitq_level(q, i, n, two, planes);
        found.sum += q;
        found.residual += off * off;
    }
    return found;
}

typedef std::uint8_t SixteenBytes __attribute__((vector_size(16)));
typedef std::uint16_t EightWords __attribute__((vector_size(16)));

/// The planes of a row's codes u, q = 2 u - (2^bits - 1); n is a multiple of 32. Returns the sum of all. Links of a graph take one for each pair of rows
/// that is compared, hence 16 codes at a time. Only 8 bits need the high plane: the others' q are small enough for one.
inline std::int32_t rabitq_row_query(const std::uint8_t* codes, std::size_t n, std::size_t bits, std::int8_t* planes) noexcept {
    const bool two = simd::RabitqQuery::planes_of(bits) == 2;
    const auto largest = static_cast<std::uint8_t>((1u << bits) - 1);
    std::int8_t* const low = two ? planes + n + simd::RabitqQuery::padding : planes;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < n;) {
        const std::size_t end = std::min(n, i + 1024);  // a word holds the sum of 128 bytes
        EightWords words = {};
        for (; i < end; i += 16) {
            SixteenBytes u;
            std::memcpy(&u, codes + i, sizeof u);
            words += ((EightWords)u & 0xFF) + ((EightWords)u >> 8);
            SixteenBytes y = u + u - largest;  // modulo 256
            if (two) {
                SixteenBytes high = {};
                if (bits == 8) {  // what 128 is taken off or added to y so often: at most 64 is left
                    high -= (SixteenBytes)(u >= 32) + (SixteenBytes)(u >= 96) + (SixteenBytes)(u >= 160) + (SixteenBytes)(u >= 224) + 2;
                    y ^= high << 7;
                }
                std::memcpy(planes + i, &high, sizeof high);
            }
            std::memcpy(low + i, &y, sizeof y);
        }
        for (std::size_t lane = 0; lane < 8; ++lane) sum += words[lane];
    }
    return static_cast<std::int32_t>(2 * sum - static_cast<std::int64_t>(n) * largest);
}

}  // namespace kith::detail
