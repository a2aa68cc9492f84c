// SPDX-License-Identifier: Apache-2.0
//
// Which rows of 8-bit product codes may be near enough: a bound from below of the sum that codes pick from a query's table (simd/product_kernels.hpp), 64 rows at a time. The table's
// floats become bytes, rounded down; those of a subspace fill four registers, where AVX-512 VBMI looks up 64 of 256 bytes with two instructions and a blend. Rows that pass are added up as ever, so
// that what is found is the same to the bit. André, Kermarrec and Le Scouarnec (VLDB 2015, section 4) bound 8-bit codes so with tables of 16 bytes, for want of longer ones.
//
// Codes lie row after row. Sixteen of 64 rows are brought from rows to columns by four rounds of interleaving: registers i and i + 8, byte by byte, become 2 i and 2 i + 1, which
// rotates (row, column) by a bit; after four bits rows and columns have changed places in each quarter of a register.
//
// Sums are of 16 bits, so there may be 256 codes. About 20 instructions for 64 lookups.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kith/simd/arch.hpp"
#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

/// Instruction sets that have nothing better than adding up floats.
template <class Arch>
struct ByteFilter {
    static constexpr ByteFilterKernels kernels() noexcept { return {}; }
};

#if defined(KITH_SIMD_HAS_AVX512_VNNI)

template <>
struct ByteFilter<arch::Avx512Vnni> {
    static constexpr ByteFilterKernels kernels() noexcept { return {&tabulate, &within}; }

    KITH_SIMD_ENTRY static void tabulate(const float* table, std::size_t m, std::uint8_t* bytes, ByteTable& out) noexcept {
        float lowest_of[256];  // of each subspace
        double offset = 0, magnitude = 0;
        float range = 0;
        __mmask16 bad = 0;
        for (std::size_t j = 0; j < m; ++j) {
            __m512 least = _mm512_loadu_ps(table + 256 * j);
            __m512 most = least;
            bad = static_cast<__mmask16>(bad | _mm512_fpclass_ps_mask(least, not_finite));
            for (std::size_t c = 16; c < 256; c += 16) {
                const __m512 entries = _mm512_loadu_ps(table + 256 * j + c);
                bad = static_cast<__mmask16>(bad | _mm512_fpclass_ps_mask(entries, not_finite));
                least = _mm512_min_ps(least, entries);
                most = _mm512_max_ps(most, entries);
            }
            const float lowest = lowest_of[j] = _mm512_reduce_min_ps(least);
            range = std::max(range, _mm512_reduce_max_ps(most) - lowest);
            offset += static_cast<double>(lowest);
            magnitude += lowest < 0 ? -static_cast<double>(lowest) : static_cast<double>(lowest);
        }
        out.scale = 0.0f;
        if (bad != 0 || !(range > 1e-30f) || !(range < 1e30f)) return;
        out.scale = range / 255.0f;
        out.offset = offset;
        out.magnitude = magnitude + 255.0 * static_cast<double>(out.scale) * static_cast<double>(m);
        const __m512 inverse = _mm512_set1_ps(255.0f / range);
        const __m512 largest = _mm512_set1_ps(255.0f);
        for (std::size_t j = 0; j < m; ++j) {
            const __m512 lowest = _mm512_set1_ps(lowest_of[j]);
            for (std::size_t c = 0; c < 256; c += 16) {
                const __m512 steps = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(table + 256 * j + c), lowest), inverse);
                const __m512i whole = _mm512_cvttps_epi32(_mm512_min_ps(steps, largest));
                _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + 256 * j + c), _mm512_cvtepi32_epi8(whole));
            }
        }
    }

    KITH_SIMD_ENTRY static void within(const std::uint8_t* bytes, std::size_t m, const std::uint8_t* codes, std::size_t stride, std::size_t count, const ByteLimits& limits,
                                       std::uint32_t* hits) noexcept {
        const __m512i low_byte = _mm512_set1_epi16(0xFF);
        for (std::size_t first = 0; first < count; first += 64) {
            const std::size_t n = std::min<std::size_t>(count - first, 64);
            __m512i even = _mm512_setzero_si512(), odd = even;
            for (std::size_t at = 0; at < m; at += 16) {
                const std::size_t some = std::min<std::size_t>(m - at, 16);
                const auto wanted = static_cast<__mmask16>((1u << some) - 1u);
                __m512i a[16], b[16];
                unroll<16>([&](auto index) KITH_SIMD_LAMBDA {
                    constexpr std::size_t r = decltype(index)::value;  // rows r, 16 + r, 32 + r, 48 + r; past the end the last one
                    const auto load = [&](std::size_t row) KITH_SIMD_LAMBDA {
                        return _mm_maskz_loadu_epi8(wanted, codes + (first + std::min(row, n - 1)) * stride + at);
                    };
                    __m512i rows = _mm512_castsi128_si512(load(r));
                    rows = _mm512_inserti32x4(rows, load(16 + r), 1);
                    rows = _mm512_inserti32x4(rows, load(32 + r), 2);
                    a[r] = _mm512_inserti32x4(rows, load(48 + r), 3);
                });
                interleave(a, b);
                interleave(b, a);
                interleave(a, b);
                interleave(b, a);
                const std::uint8_t* table = bytes + 256 * at;
                const auto look_up = [&](auto index) KITH_SIMD_LAMBDA {
                    constexpr std::size_t j = decltype(index)::value;
                    const __m512i code = a[j];
                    const __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(table + 256 * j), code, _mm512_loadu_si512(table + 256 * j + 64));
                    const __m512i high = _mm512_permutex2var_epi8(_mm512_loadu_si512(table + 256 * j + 128), code, _mm512_loadu_si512(table + 256 * j + 192));
                    const __m512i entries = _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), low, high);
                    even = _mm512_add_epi16(even, _mm512_and_si512(entries, low_byte));
                    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(entries, 8));
                };
                if (some == 16) {
                    unroll<16>(look_up);
                } else {
                    unroll<15>([&](auto index) KITH_SIMD_LAMBDA {
                        if (decltype(index)::value < some) look_up(index);
                    });
                }
            }
            // Quarter l of a register has rows 16 l .. 16 l + 15; their sums in two, the first eight of each quarter and the others.
            const __m512i lower = limits_of(limits, first, n, 0), upper = limits_of(limits, first, n, 32);
            const std::uint64_t first_eight = _mm512_cmplt_epu16_mask(_mm512_unpacklo_epi16(even, odd), _mm512_shuffle_i32x4(lower, upper, 0x88));
            const std::uint64_t others = _mm512_cmplt_epu16_mask(_mm512_unpackhi_epi16(even, odd), _mm512_shuffle_i32x4(lower, upper, 0xDD));
            std::uint64_t found = _pdep_u64(first_eight, 0x00FF00FF00FF00FFu) | _pdep_u64(others, 0xFF00FF00FF00FF00u);
            if (n < 64) found &= (std::uint64_t{1} << n) - 1;
            hits[first / 32] = static_cast<std::uint32_t>(found);
            if (n > 32) hits[first / 32 + 1] = static_cast<std::uint32_t>(found >> 32);
        }
    }

private:
    static constexpr int not_finite = 0x99;  // quiet and signalling NaN, both infinities

    /// What the sums of rows first + at and 31 more have to stay below, of n rows from `first`.
    static KITH_SIMD_INLINE __m512i limits_of(const ByteLimits& limits, std::size_t first, std::size_t n, std::size_t at) noexcept {
        __m256i halves[2];
        unroll<2>([&](auto index) KITH_SIMD_LAMBDA {
            const std::size_t row = at + 16 * decltype(index)::value;
            __m512 limit = _mm512_set1_ps(limits.steps);
            if (limits.terms != nullptr) {
                const auto some = static_cast<__mmask16>(row >= n ? 0u : n - row >= 16 ? 0xFFFFu : (1u << (n - row)) - 1u);
                const __m512 terms = _mm512_maskz_loadu_ps(some, limits.terms + first + row);
                limit = _mm512_fnmadd_ps(_mm512_set1_ps(limits.steps_per_term), terms, limit);
                limit = _mm512_fmadd_ps(_mm512_set1_ps(limits.slack_per_term), _mm512_abs_ps(terms), limit);
            }
            // The second operand is what comes of a NaN.
            limit = _mm512_max_ps(_mm512_setzero_ps(), _mm512_add_ps(limit, _mm512_set1_ps(1.0f)));
            limit = _mm512_min_ps(limit, _mm512_set1_ps(65535.0f));
            halves[decltype(index)::value] = _mm512_cvtepi32_epi16(_mm512_cvttps_epi32(limit));
        });
        return _mm512_inserti64x4(_mm512_castsi256_si512(halves[0]), halves[1], 1);
    }

    static KITH_SIMD_INLINE void interleave(const __m512i (&from)[16], __m512i (&to)[16]) noexcept {
        unroll<8>([&](auto index) KITH_SIMD_LAMBDA {
            constexpr std::size_t i = decltype(index)::value;
            to[2 * i] = _mm512_unpacklo_epi8(from[i], from[i + 8]);
            to[2 * i + 1] = _mm512_unpackhi_epi8(from[i], from[i + 8]);
        });
    }
};

#endif

}  // namespace kith::simd
