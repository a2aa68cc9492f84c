// SPDX-License-Identifier: Apache-2.0
//
// One bit a dimension, relative to a centre: RaBitQ (Gao and Long, SIGMOD 2024, "RaBitQ: quantizing high-dimensional
// vectors with a theoretical error bound for approximate nearest neighbor search") in the form that the nodes of a
// graph use: the centre is the node, the vectors are its neighbours, and 32 of them are estimated together
// (simd/block_sums.hpp).
//
// P is a random rotation (quantize/rotation.hpp) to D dimensions; x' = Px, c' = Pc, q' = Pq. With r = |x - c|, delta
// = x' - c' and
//
//   o = delta / r                   what is coded, a unit vector
//   s_j = +1 or -1                  the sign of o_j;  b_j = (1 + s_j) / 2 is the bit that is kept
//   x_bar = s / D^1/2               the unit vector nearest to o that such a code has
//
// the paper's estimator (section 3.2) of an inner product of o is unbiased over P, for any vector v:
//
//   <o, v>  ~  <x_bar, v> / <x_bar, o>,      with an error of about (|v| / D^1/2) * (1 / <x_bar, o>^2 - 1)^1/2
//
// where <x_bar, o> is close to 0.8 (theorem 3.2). And <x_bar, o> = sum |delta_j| / (r D^1/2) =: |delta|_1 / (r
// D^1/2). With v = q' - c', so that the error falls with the distance of the query to the centre, and f = r^2 /
// |delta|_1,
//
//   <x - c, q - c> = r <o, v>  ~  f <s, q' - c'> = f (2 (S - sum(q') / 2) - <s, c'>),       S = sum b_j q'_j
//
// because <s, q'> = 2 S - sum(q'). S is all that depends on both the code and the query, and not on the centre: one table
// for a query serves all nodes. Then
//
//   |q - x|^2 = |q - c|^2 + r^2 - 2 <x - c, q - c>       ~  |q - c|^2 + add + rescale (S - sum(q') / 2)
//               add = r^2 + 2 f <s, c'>                     rescale = -4 f
//   -q.x      = -q.c - <x - c, q - c> - <x - c, c>       ~  -q.c + add + rescale (S - sum(q') / 2)
//               add = f <s, c'> - <delta, c'>               rescale = -2 f
//
// add and rescale are kept as bfloat16, whose rounding (2^-9 of each) and that of the table are proportional to |c|
// and |q|, not to their distance: where a data set lies far from the origin, subtract its mean before rotating (L2
// does not notice).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kith/core/buffer.hpp"
#include "kith/core/types.hpp"
#include "kith/quantize/four.hpp"

namespace kith::rabitq {

inline constexpr std::size_t block_size = 32;  // vectors in a block of packed codes

/// What an estimate adds up to: |q-c|^2 + ... or -q.c + ...
enum class Estimate { squared_l2, negated_dot };

/// The two numbers that go with a code. Of a place without a vector: infinitely far.
struct Factors {
    float add = std::numeric_limits<float>::infinity();
    float rescale = 0.0f;
};

/// Bytes of one code, and of a block of 32 packed ones. padded_dim is a multiple of 32, as Rotation's are.
constexpr std::size_t code_bytes(std::size_t padded_dim) noexcept { return padded_dim / 8; }
constexpr std::size_t block_bytes(std::size_t padded_dim) noexcept {
    return block_size * code_bytes(padded_dim);
}
/// Groups of four dimensions, the unit of the packed codes and of the query's table.
constexpr std::size_t code_groups(std::size_t padded_dim) noexcept { return padded_dim / 4; }

/// Codes x relative to the centre c, both rotated: padded_dim / 8 bytes, dimension 8i + j in bit 7 - j of byte i, as
/// in Bits8. x == c gets factors that are exact. Sums are of doubles, whose products are exact and whose order is
/// fixed. O(padded_dim).
inline Factors encode_neighbour(const float* x, const float* c, std::size_t padded_dim,
                                Estimate estimate, std::uint8_t* bits) noexcept {
    constexpr std::size_t lanes = 8;
    double squares[lanes] = {}, sizes[lanes] = {}, signed_c[lanes] = {}, dots[lanes] = {};
    for (std::size_t i = 0; i < padded_dim; i += lanes) {
        unsigned code = 0;
        for (std::size_t j = 0; j < lanes; ++j) {
            const float delta = x[i + j] - c[i + j];
            const std::uint32_t sign = std::bit_cast<std::uint32_t>(delta) & 0x80000000u;
            const double d = static_cast<double>(delta);
            squares[j] += d * d;
            sizes[j] += std::abs(d);
            signed_c[j] += static_cast<double>(
                std::bit_cast<float>(std::bit_cast<std::uint32_t>(c[i + j]) ^ sign));
            dots[j] += d * static_cast<double>(c[i + j]);
            code |= (~sign >> 31) << (7 - j);
        }
        bits[i / 8] = static_cast<std::uint8_t>(code);
    }
    const auto sum = [](const double(&part)[lanes]) {
        return ((part[0] + part[1]) + (part[2] + part[3])) +
               ((part[4] + part[5]) + (part[6] + part[7]));
    };
    const double square = sum(squares);
    const double size = sum(sizes);
    if (!(size > 0.0)) return {0.0f, 0.0f};
    const double f = square / size;
    const double along = f * sum(signed_c);
    if (estimate == Estimate::squared_l2)
        return {static_cast<float>(square + 2.0 * along), static_cast<float>(-4.0 * f)};
    return {static_cast<float>(along - sum(dots)), static_cast<float>(-2.0 * f)};
}

/// Lays 32 codes, one after the other in `rows`, out for KernelTable::estimate32 (simd/block_sums.hpp has the
/// order): block_bytes(padded_dim) bytes. A group's code is half a byte of a row: dimension 4g + k in bit 3 - k.
/// O(bytes).
inline void pack_codes(const std::uint8_t* rows, std::size_t padded_dim,
                       std::uint8_t* block) noexcept {
    const std::size_t row_bytes = code_bytes(padded_dim);
    for (std::size_t i = 0; i < 16; ++i) {
        const std::uint8_t* low = rows + i * row_bytes;
        const std::uint8_t* high = low + 16 * row_bytes;
        std::uint8_t* to = block + (i < 8 ? 2 * i : 2 * (i - 8) + 1);
        for (std::size_t k = 0; k < row_bytes; ++k, to += 32) {
            to[0] = static_cast<std::uint8_t>(low[k] >> 4 | (high[k] & 0xF0));
            to[16] = static_cast<std::uint8_t>((low[k] & 0x0F) | high[k] << 4);
        }
    }
}

/// A query's side of the estimates of all nodes: for each group of dimensions the 16 possible parts of S, as bytes
/// over one common step. Scratch: a warm one allocates nothing.
class QueryTable {
public:
    /// q: the rotated query, padded_dim elements. An error of half a step a group at most, the step being 1/255 of the
    /// largest group's sum of |q_j|. A query that is not finite makes every estimate NaN, which counts as near. Throws
    /// Error{out_of_memory} when cold. O(padded_dim).
    void prepare(const float* q, std::size_t padded_dim) {
        groups_ = code_groups(padded_dim);
        table_.reserve_discarding(16 * groups_);
        detail::Four totals = {}, most = {};  // of the groups' sums of |q_j|
        for (std::size_t i = 0; i < padded_dim; i += 16) {
            detail::Four sizes = group_sizes(q + i);
            totals = totals + sizes;
            most = sizes > most ? sizes : most;
        }
        const float total = (totals[0] + totals[1]) + (totals[2] + totals[3]);
        const float largest = std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
        // A part less the least one of its group is a sum of |q_j| over some j: no part is negative, and the least
        // ones, which are the sums of the negative q_j, and -sum(q) / 2 make -sum |q_j| / 2 together.
        const bool finite = total <= std::numeric_limits<float>::max();
        offset_ = finite ? -0.5f * total : std::numeric_limits<float>::quiet_NaN();
        if (finite && largest >= smallest) {
            scale_ = largest / 255.0f;
            fill(q, 65280.0f / largest);
        } else {
            scale_ = 0.0f;
            std::fill_n(table_.data(), 16 * groups_, std::uint8_t{0});
        }
    }

    const std::uint8_t* table() const noexcept { return table_.data(); }
    std::size_t groups() const noexcept { return groups_; }
    /// S - sum(q) / 2  ~  scale() * (sum of the table's bytes) + offset().
    float scale() const noexcept { return scale_; }
    float offset() const noexcept { return offset_; }

private:
    static constexpr float smallest =
        1e-30f;  // below, 65280 / largest may overflow; such a query is as good as zero

    typedef std::uint16_t Eight __attribute__((vector_size(16)));

    /// The sums of |q_j| of four groups.
    static detail::Four group_sizes(const float* q) noexcept {
        using detail::absolute, detail::load_four, detail::Four;
        Four a = absolute(load_four(q)), b = absolute(load_four(q + 4));
        Four c = absolute(load_four(q + 8)), d = absolute(load_four(q + 12));
        detail::transpose(a, b, c, d);
        return (a + b) + (c + d);
    }

    /// Eight groups at a time, a lane each. In fixed point, 8 bits behind the point, in 16-bit integers modulo 2^16:
    /// at most 65280 + 4/2, and a half to round with.
    void fill(const float* q, float inverse) noexcept {
        std::uint8_t* entries = table_.data();
        for (std::size_t g = 0; g < groups_; g += 8, q += 32, entries += 128) {
            const Fixed even = fixed_point(q, inverse);  // groups 0, 2, 4 and 6
            const Fixed odd = fixed_point(q + 4, inverse);
            Eight sum[16];  // by code
            sum[0] = interleave(even.least, odd.least);
            for (std::size_t k = 0; k < 4; ++k) {
                const std::size_t bit = std::size_t{8} >> k;
                const Eight part = interleave(even.part[k], odd.part[k]);
                for (std::size_t m = 0; m < 16; m += 2 * bit) sum[m + bit] = sum[m] + part;
            }
            Eight rows[8];
            for (std::size_t m = 0; m < 8; ++m)
                rows[m] = (sum[2 * m] >> 8) | (sum[2 * m + 1] & std::uint16_t{0xFF00});
            transpose(rows);
            std::memcpy(entries, rows, sizeof(rows));
        }
    }

    struct Fixed {
        detail::FourInts part[4];  // of the four dimensions
        detail::FourInts least;
    };
    /// Of the groups that begin at q, q + 8, q + 16 and q + 24.
    static Fixed fixed_point(const float* q, float inverse) noexcept {
        using detail::Four, detail::FourInts;
        Four y[4] = {detail::load_four(q), detail::load_four(q + 8), detail::load_four(q + 16),
                     detail::load_four(q + 24)};
        detail::transpose(y[0], y[1], y[2], y[3]);
        Fixed fixed;
        fixed.least = FourInts{} + 128;
        for (std::size_t k = 0; k < 4; ++k) {
            const Four x = y[k] * inverse;
            const Four half =
                (Four)(((FourInts)x & INT32_MIN) | 0x3F000000);  // 0.5 with the sign of x
            fixed.part[k] = __builtin_convertvector(x + half, FourInts);
            fixed.least = fixed.least - (fixed.part[k] & (fixed.part[k] >> 31));
        }
        return fixed;
    }
    static Eight interleave(detail::FourInts even, detail::FourInts odd) noexcept {
        return (Eight)((even & 0xFFFF) | (odd << 16));
    }
    static void transpose(Eight (&x)[8]) noexcept {
        Eight y[8];
        for (std::size_t i = 0; i < 4; ++i) {
            y[2 * i] = __builtin_shufflevector(x[i], x[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        Eight z[8];
        for (std::size_t i = 0; i < 4; ++i) {
            z[2 * i] = __builtin_shufflevector(y[i], y[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            z[2 * i + 1] = __builtin_shufflevector(y[i], y[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            x[2 * i] = __builtin_shufflevector(z[i], z[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            x[2 * i + 1] = __builtin_shufflevector(z[i], z[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
    }

    AlignedBuffer<std::uint8_t> table_;
    std::size_t groups_ = 0;
    float scale_ = 0.0f;
    float offset_ = 0.0f;
};

}  // namespace kith::rabitq
