// SPDX-License-Identifier: Apache-2.0
//
// Tables of 16 floats to bytes, for the scan of 4-bit codes (quantize/pq_table.hpp, which says what the bytes mean and has the plain loop): a table for each list that a search looks into, so that where lists
// are short and rows are long it takes longer than the scan.
//
// A register is a subspace's table. The least entries of sixteen of them are found together, by a tree that halves the lanes of each while it brings them into one register: 31 shuffles and 15 comparisons.
// The same numbers as the plain loop, to the bit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kith/simd/arch.hpp"
#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

/// Instruction sets for which the plain loop will do.
template <class Arch>
struct ByteTables {
    static constexpr ByteTableKernels kernels() noexcept { return {}; }
};

#if defined(KITH_SIMD_HAS_AVX512)

template <class Arch>
struct Avx512ByteTables {
    static constexpr ByteTableKernels kernels() noexcept { return {&range, &steps}; }

    KITH_SIMD_ENTRY static bool range(const float* table, std::size_t m, std::uint8_t* bytes, double* offsets, double& widest) noexcept {
        __m512d low_sums = _mm512_setzero_pd(), ranges = low_sums;
        __mmask16 bad = 0;
        for (std::size_t first = 0; first < m; first += 16) {
            const std::size_t n = std::min<std::size_t>(m - first, 16);
            __m512 tables[16];
            unroll<16>([&](auto index) KITH_SIMD_LAMBDA {
                constexpr std::size_t i = decltype(index)::value;
                tables[i] = _mm512_loadu_ps(table + 16 * (first + std::min(i, n - 1)));
                bad = static_cast<__mmask16>(bad | _mm512_fpclass_ps_mask(tables[i], 0x99));  // NaN and infinities
            });
            const __m512 least = across(tables, [](__m512 a, __m512 b) KITH_SIMD_LAMBDA { return _mm512_min_ps(a, b); });
            const __m512 most = across(tables, [](__m512 a, __m512 b) KITH_SIMD_LAMBDA { return _mm512_max_ps(a, b); });
            alignas(64) float lowest[16];
            _mm512_store_ps(lowest, least);
            for (std::size_t i = 0; i < n; ++i) __builtin_memcpy(bytes + 16 * (first + i), &lowest[i], sizeof(float));
            const auto there = static_cast<__mmask16>((1u << n) - 1u);
            const auto half = [&](__m512 x, int which) KITH_SIMD_LAMBDA {
                return _mm512_cvtps_pd(which == 0 ? _mm512_castps512_ps256(x) : _mm512_extractf32x8_ps(x, 1));
            };
            unroll<2>([&](auto index) KITH_SIMD_LAMBDA {
                constexpr int h = decltype(index)::value;
                const auto mask = static_cast<__mmask8>(there >> (8 * h));
                low_sums = _mm512_mask_add_pd(low_sums, mask, low_sums, half(least, h));
                ranges = _mm512_mask_max_pd(ranges, mask, ranges, _mm512_sub_pd(half(most, h), half(least, h)));
            });
        }
        _mm512_storeu_pd(offsets, low_sums);
        widest = _mm512_reduce_max_pd(ranges);
        return bad == 0;
    }

    KITH_SIMD_ENTRY static void steps(const float* table, std::size_t m, float inverse, std::uint8_t* bytes) noexcept {
        const __m512 scale = _mm512_set1_ps(inverse), half = _mm512_set1_ps(0.5f), largest = _mm512_set1_ps(255.0f);
        for (std::size_t j = 0; j < m; ++j) {
            float least;
            __builtin_memcpy(&least, bytes + 16 * j, sizeof(least));
            const __m512 above = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(table + 16 * j), _mm512_set1_ps(least)), scale);
            const __m512i whole = _mm512_cvttps_epi32(_mm512_min_ps(_mm512_add_ps(above, half), largest));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + 16 * j), _mm512_cvtepi32_epi8(whole));
        }
    }

private:
    /// Lane i: what `pick` leaves of the lanes of tables[i].
    template <class Pick>
    static KITH_SIMD_INLINE __m512 across(const __m512 (&tables)[16], Pick pick) noexcept {
        __m512 halves[8], quarters[4], pairs[2];
        unroll<8>([&](auto index) KITH_SIMD_LAMBDA {
            constexpr std::size_t i = 2 * decltype(index)::value;
            halves[i / 2] = pick(_mm512_shuffle_f32x4(tables[i], tables[i + 1], 0x44), _mm512_shuffle_f32x4(tables[i], tables[i + 1], 0xEE));
        });
        unroll<4>([&](auto index) KITH_SIMD_LAMBDA {
            constexpr std::size_t i = 2 * decltype(index)::value;
            quarters[i / 2] = pick(_mm512_shuffle_f32x4(halves[i], halves[i + 1], 0x88), _mm512_shuffle_f32x4(halves[i], halves[i + 1], 0xDD));
        });
        unroll<2>([&](auto index) KITH_SIMD_LAMBDA {
            constexpr std::size_t i = 2 * decltype(index)::value;
            pairs[i / 2] = pick(_mm512_shuffle_ps(quarters[i], quarters[i + 1], 0x88), _mm512_shuffle_ps(quarters[i], quarters[i + 1], 0xDD));
        });
        const __m512 mixed = pick(_mm512_shuffle_ps(pairs[0], pairs[1], 0x88), _mm512_shuffle_ps(pairs[0], pairs[1], 0xDD));
        // Table 4 e + l is element e of quarter l.
        return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), mixed);
    }
};

template <>
struct ByteTables<arch::Avx512> : Avx512ByteTables<arch::Avx512> {};

#if defined(KITH_SIMD_HAS_AVX512_VNNI)
template <>
struct ByteTables<arch::Avx512Vnni> : Avx512ByteTables<arch::Avx512Vnni> {};
#endif

#endif

}  // namespace kith::simd
