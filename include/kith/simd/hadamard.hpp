// SPDX-License-Identifier: Apache-2.0
//
// A round of a fast rotation (hash/rotation_chain.hpp): factors, then the Hadamard transform, up to a permutation within blocks of 16 that spares a second transposition in registers
// (quantize/rotation.hpp). Each block of 16 is a 4 x 4 matrix: transformed by columns, then by rows, and left transposed. Two blocks lie side by side in wide registers, so that all
// instruction sets permute alike; and as there are only sums and differences behind products that are in memory before, they give the same bits.
#pragma once

#include <cstddef>

#include "kith/simd/wide.hpp"

namespace kith::simd {

template <class Arch>
struct Hadamard {
    /// x = H (factors * x), n elements: a power of two, at least 16. Times n^1/2, which is the factors' affair.
    KITH_SIMD_ENTRY static void turn(const float* factors, float* x, std::size_t n) noexcept {
        for (std::size_t i = 0; i < n; i += lanes) write(x + i, read(x + i) * read(factors + i));
        __asm__ volatile("" : : "r"(x) : "memory");  // no fused multiply-add
        if (n < 2 * 16) {
            sixteens<4>(x, n);
            return;
        }
        sixteens<lanes>(x, n);
        std::size_t stride = 16;
        for (; 8 * stride <= n; stride *= 8) by_eight(x, n, stride);
        if (4 * stride <= n) {
            by_four(x, n, stride);
            stride *= 4;
        }
        if (2 * stride <= n) by_two(x, n, stride);
    }

private:
    static constexpr std::size_t lanes = wide_lanes<Arch>;
    using Wide = typename Vector<lanes>::type;

    template <class V>
    static KITH_SIMD_INLINE void butterfly(V& a, V& b) noexcept {
        const V difference = a - b;
        a = a + b;
        b = difference;
    }
    template <class V>
    static KITH_SIMD_INLINE void butterflies(V& a, V& b, V& c, V& d) noexcept {
        butterfly(a, b);
        butterfly(c, d);
        butterfly(a, c);
        butterfly(b, d);
    }

    /// Eight of a block as two registers of four; where registers are wide, beside eight of the next block.
    template <std::size_t W>
    static KITH_SIMD_INLINE void load(const float* p, typename Vector<W>::type& a, typename Vector<W>::type& b) noexcept {
        if constexpr (W == 4) {
            __builtin_memcpy(&a, p, 16);
            __builtin_memcpy(&b, p + 4, 16);
        } else {
            const Wide first = read(p), second = read(p + 16);
            a = __builtin_shufflevector(first, second, 0, 1, 2, 3, 8, 9, 10, 11);
            b = __builtin_shufflevector(first, second, 4, 5, 6, 7, 12, 13, 14, 15);
        }
    }
    /// Where load() found them. In whole registers: what reads them next must not have to wait for two stores.
    template <std::size_t W>
    static KITH_SIMD_INLINE void store(float* p, typename Vector<W>::type a, typename Vector<W>::type b) noexcept {
        if constexpr (W == 4) {
            __builtin_memcpy(p, &a, 16);
            __builtin_memcpy(p + 4, &b, 16);
        } else {
            const auto first = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11), second = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
            __builtin_memcpy(p, &first, 32);
            __builtin_memcpy(p + 16, &second, 32);
        }
    }

    template <std::size_t W>
    static KITH_SIMD_INLINE void transpose(typename Vector<W>::type& a, typename Vector<W>::type& b, typename Vector<W>::type& c, typename Vector<W>::type& d) noexcept {
        if constexpr (W == 4) {
            const auto ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            const auto cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
            b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
            c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
            d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
        } else {
            const auto ab_low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13), ab_high = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
            const auto cd_low = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13), cd_high = __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
            a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 8, 9, 4, 5, 12, 13);
            b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 10, 11, 6, 7, 14, 15);
            c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 8, 9, 4, 5, 12, 13);
            d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }

    template <std::size_t W>
    static KITH_SIMD_INLINE void sixteens(float* x, std::size_t n) noexcept {
        for (std::size_t i = 0; i < n; i += 4 * W) {
            typename Vector<W>::type a, b, c, d;
            load<W>(x + i, a, b);
            load<W>(x + i + 8, c, d);
            butterflies(a, b, c, d);
            transpose<W>(a, b, c, d);
            butterflies(a, b, c, d);
            store<W>(x + i, a, b);
            store<W>(x + i + 8, c, d);
        }
    }

    static KITH_SIMD_INLINE Wide read(const float* p) noexcept {
        Wide x;
        __builtin_memcpy(&x, p, sizeof(x));
        return x;
    }
    static KITH_SIMD_INLINE void write(float* p, Wide x) noexcept { __builtin_memcpy(p, &x, sizeof(x)); }

    /// Combine 2, 4 or 8 coordinates that lie `stride` apart (a multiple of 16), in all of x.
    static KITH_SIMD_INLINE void by_two(float* x, std::size_t n, std::size_t stride) noexcept {
        for (float* const end = x + n; x != end; x += 2 * stride)
            for (std::size_t i = 0; i < stride; i += lanes) {
                Wide a = read(x + i), b = read(x + i + stride);
                butterfly(a, b);
                write(x + i, a);
                write(x + i + stride, b);
            }
    }
    static KITH_SIMD_INLINE void by_four(float* x, std::size_t n, std::size_t stride) noexcept {
        for (float* const end = x + n; x != end; x += 4 * stride)
            for (std::size_t i = 0; i < stride; i += lanes) {
                float* const p = x + i;
                Wide a = read(p), b = read(p + stride), c = read(p + 2 * stride), d = read(p + 3 * stride);
                butterflies(a, b, c, d);
                write(p, a);
                write(p + stride, b);
                write(p + 2 * stride, c);
                write(p + 3 * stride, d);
            }
    }
    static KITH_SIMD_INLINE void by_eight(float* x, std::size_t n, std::size_t stride) noexcept {
        for (float* const end = x + n; x != end; x += 8 * stride)
            for (std::size_t i = 0; i < stride; i += lanes) {
                float* const p = x + i;
                float* const q = p + 4 * stride;
                Wide a = read(p), b = read(p + stride), c = read(p + 2 * stride), d = read(p + 3 * stride);
                Wide e = read(q), f = read(q + stride), g = read(q + 2 * stride), h = read(q + 3 * stride);
                butterflies(a, b, c, d);
                butterflies(e, f, g, h);
                butterfly(a, e);
                butterfly(b, f);
                butterfly(c, g);
                butterfly(d, h);
                write(p, a);
                write(p + stride, b);
                write(p + 2 * stride, c);
                write(p + 3 * stride, d);
                write(q, e);
                write(q + stride, f);
                write(q + 2 * stride, g);
                write(q + 3 * stride, h);
            }
    }
};

}  // namespace kith::simd
