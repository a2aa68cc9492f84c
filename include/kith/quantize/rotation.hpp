// SPDX-License-Identifier: Apache-2.0
//
// Rotation: a random orthogonal transformation that costs O(d log d) and is stored as a seed and a dimension. Codes
// that keep little of each coordinate (quantize/rabitq.hpp) need vectors whose coordinates all carry about as much.
//
// Each round multiplies the coordinates by random signs and applies a Hadamard transform (Ailon and Chazelle 2009,
// "The fast Johnson-Lindenstrauss transform and approximate nearest neighbors"); after three, the usual number
// (Andoni et al. 2015, "Practical and optimal LSH for angular distance"), even a basis vector looks random. A
// Hadamard transform wants a power of two: where the padded dimension D is none, four rounds transform the first and
// the last P coordinates in turn, P the largest power of two in D, and end by turning the pairs (i, i + D/2) by 45
// degrees, steps of a Kac walk (Kac 1956) that carry what a round did not transform into the part that the next one
// does.
//
// The transform is computed up to a permutation of its outputs within blocks of 16, which spares a second
// transposition in registers and changes nothing: it is orthogonal and its entries are +-P^-1/2 all the same.
//
// Files hold rotated vectors' codes, so every machine and every compiler flag must give the same bits: there are only
// additions, subtractions and, between rounds, products that are stored before they are added up (a compiler that
// fused the two would round differently).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/quantize/four.hpp"

namespace kith {

namespace detail {

inline void butterfly(Four& a, Four& b) noexcept {
    const Four difference = a - b;
    a = a + b;
    b = difference;
}
inline void butterflies(Four& a, Four& b, Four& c, Four& d) noexcept {
    butterfly(a, b);
    butterfly(c, d);
    butterfly(a, c);
    butterfly(b, d);
}

/// The Hadamard transform of each 16 coordinates: as a 4 x 4 matrix, of its columns, then of its rows, left transposed.
inline void hadamard_of_sixteens(float* x, std::size_t n) noexcept {
    for (float* const end = x + n; x != end; x += 16) {
        Four a = load_four(x), b = load_four(x + 4), c = load_four(x + 8), d = load_four(x + 12);
        butterflies(a, b, c, d);
        transpose(a, b, c, d);
        butterflies(a, b, c, d);
        store_four(x, a);
        store_four(x + 4, b);
        store_four(x + 8, c);
        store_four(x + 12, d);
    }
}

/// Combines 2, 4 or 8 coordinates that lie `stride` apart (a multiple of 4), in all of x.
inline void hadamard_by_two(float* x, std::size_t n, std::size_t stride) noexcept {
    for (float* const end = x + n; x != end; x += 2 * stride)
        for (std::size_t i = 0; i < stride; i += 4) {
            Four a = load_four(x + i), b = load_four(x + i + stride);
            butterfly(a, b);
            store_four(x + i, a);
            store_four(x + i + stride, b);
        }
}
inline void hadamard_by_four(float* x, std::size_t n, std::size_t stride) noexcept {
    for (float* const end = x + n; x != end; x += 4 * stride)
        for (std::size_t i = 0; i < stride; i += 4) {
            float* const p = x + i;
            Four a = load_four(p), b = load_four(p + stride);
            Four c = load_four(p + 2 * stride), d = load_four(p + 3 * stride);
            butterflies(a, b, c, d);
            store_four(p, a);
            store_four(p + stride, b);
            store_four(p + 2 * stride, c);
            store_four(p + 3 * stride, d);
        }
}
inline void hadamard_by_eight(float* x, std::size_t n, std::size_t stride) noexcept {
    for (float* const end = x + n; x != end; x += 8 * stride)
        for (std::size_t i = 0; i < stride; i += 4) {
            float* const p = x + i;
            float* const q = p + 4 * stride;
            Four a = load_four(p), b = load_four(p + stride);
            Four c = load_four(p + 2 * stride), d = load_four(p + 3 * stride);
            Four e = load_four(q), f = load_four(q + stride);
            Four g = load_four(q + 2 * stride), h = load_four(q + 3 * stride);
            butterflies(a, b, c, d);
            butterflies(e, f, g, h);
            butterfly(a, e);
            butterfly(b, f);
            butterfly(c, g);
            butterfly(d, h);
            store_four(p, a);
            store_four(p + stride, b);
            store_four(p + 2 * stride, c);
            store_four(p + 3 * stride, d);
            store_four(q, e);
            store_four(q + stride, f);
            store_four(q + 2 * stride, g);
            store_four(q + 3 * stride, h);
        }
}

/// The transform of n coordinates, n a power of two and at least 16, times n^1/2.
inline void hadamard(float* x, std::size_t n) noexcept {
    hadamard_of_sixteens(x, n);
    std::size_t stride = 16;
    for (; 8 * stride <= n; stride *= 8) hadamard_by_eight(x, n, stride);
    if (4 * stride <= n) {
        hadamard_by_four(x, n, stride);
        stride *= 4;
    }
    if (2 * stride <= n) hadamard_by_two(x, n, stride);
}

}  // namespace detail

/// Copyable; all const members may be called from many threads.
class Rotation {
public:
    static constexpr std::size_t multiple = 32;  // of every padded dimension

    Rotation() = default;

    /// Vectors of `dim` elements (at least 1) become vectors of padded_dim(). Files keep `dim` and `seed`.
    Rotation(std::size_t dim, std::uint64_t seed)
        : dim_(dim), padded_((dim + multiple - 1) / multiple * multiple), seed_(seed) {
        while (2 * block_ <= padded_) block_ *= 2;
        const bool whole = block_ == padded_;
        rounds_ = whole ? 3 : 4;
        const double in_block = static_cast<double>(whole ? block_ : 2 * block_);
        const auto inside = static_cast<float>(std::sqrt(1.0 / in_block));
        const auto outside = static_cast<float>(std::sqrt(0.5));
        factors_.resize(rounds_ * padded_);
        for (std::size_t round = 0; round < rounds_; ++round) {
            const Random random(seed, round);
            const std::size_t first = first_of(round);
            for (std::size_t i = 0; i < padded_; ++i) {
                const float size = i - first < block_ ? inside : outside;  // i < first wraps around
                factors_[round * padded_ + i] =
                    (random.bits(i / 64) >> (i % 64) & 1u) != 0 ? -size : size;
            }
        }
    }

    std::size_t dim() const noexcept { return dim_; }
    std::size_t padded_dim() const noexcept { return padded_; }
    std::uint64_t seed() const noexcept { return seed_; }

    /// out (padded_dim() floats) = the rotation of in (dim() floats, zeros behind them). in and out do not overlap.
    /// Norms and inner products are kept up to rounding, about 2^-23 of the norms. Not inlined, so that nothing fuses
    /// with its stores.
    __attribute__((noinline)) void apply(const float* in, float* out) const noexcept {
        const float* factors = factors_.data();
        for (std::size_t i = 0; i < dim_; ++i) out[i] = in[i] * factors[i];
        for (std::size_t i = dim_; i < padded_; ++i) out[i] = 0.0f;
        transform(out, 0);
        for (std::size_t round = 1; round < rounds_; ++round) {
            factors += padded_;
            for (std::size_t i = 0; i < padded_; i += 4)
                detail::store_four(out + i,
                                   detail::load_four(out + i) * detail::load_four(factors + i));
            transform(out, round);
        }
    }

    /// x (padded_dim() floats) becomes what apply() would have made it of, up to rounding; of the first dim() elements, that is: behind them is
    /// what apply() took for zeros. Each step of apply() is symmetric or diagonal, so it is the same steps the other way round.
    __attribute__((noinline)) void apply_inverse(float* x) const noexcept {
        for (std::size_t round = rounds_; round-- > 0;) {
            if (block_ != padded_) detail::hadamard_by_two(x, padded_, padded_ / 2);
            detail::hadamard(x + first_of(round), block_);
            const float* const factors = factors_.data() + round * padded_;
            for (std::size_t i = 0; i < padded_; i += 4)
                detail::store_four(x + i, detail::load_four(x + i) * detail::load_four(factors + i));
            __asm__ volatile("" : : "r"(x) : "memory");  // the products are in memory: no fused multiply-add
        }
    }

private:
    std::size_t first_of(std::size_t round) const noexcept {
        return round % 2 == 0 ? 0 : padded_ - block_;
    }

    void transform(float* x, std::size_t round) const noexcept {
        __asm__ volatile(""
                         :
                         : "r"(x)
                         : "memory");  // the products are in memory: no fused multiply-add
        detail::hadamard(x + first_of(round), block_);
        if (block_ != padded_) detail::hadamard_by_two(x, padded_, padded_ / 2);
    }

    std::size_t dim_ = 0;
    std::size_t padded_ = 0;
    std::size_t block_ = multiple;  // the Hadamard transform's length
    std::size_t rounds_ = 0;
    std::uint64_t seed_ = 0;
    std::vector<float>
        factors_;  // rounds_ x padded_: signs, times what makes the round that follows orthogonal
};

}  // namespace kith
