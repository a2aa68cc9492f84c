// SPDX-License-Identifier: Apache-2.0
//
// Isa<arch::Avx2>: AVX2 with FMA and F16C (Haswell, Zen and later). isa/sse2.hpp says what each operation means.
#pragma once

#include "kith/simd/arch.hpp"

#if defined(KITH_SIMD_HAS_AVX2)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kith/core/types.hpp"
#include "kith/simd/isa/bytes.hpp"

namespace kith::simd {

template <>
struct Isa<arch::Avx2> {
    using Arch = arch::Avx2;
    using F = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;
    struct I {
        __m256i v;
    };
    typedef std::uint32_t Lanes __attribute__((vector_size(16)));
    typedef float FloatLanes __attribute__((vector_size(16)));

    static constexpr std::size_t width = 8;
    static constexpr std::size_t bytes = 32;
    static constexpr std::size_t group = 4;
    static constexpr std::size_t tile_rows = 6;
    static constexpr bool has_integer_tile = true;
    static constexpr bool byte_products = false;
    static constexpr bool byte_lookup = true;
    static constexpr std::size_t scan_queries = 2;

    static KITH_SIMD_INLINE F zero() noexcept { return F(_mm256_setzero_ps()); }
    static KITH_SIMD_INLINE F broadcast(float x) noexcept { return F(_mm256_set1_ps(x)); }
    static KITH_SIMD_INLINE F load(const float* p) noexcept { return F(_mm256_loadu_ps(p)); }
    static KITH_SIMD_INLINE F load_partial(const float* p, std::size_t n) noexcept {
        const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                                                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        return F(_mm256_maskload_ps(p, mask));
    }
    static KITH_SIMD_INLINE F load(const Half* p) noexcept {
        return F(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    static KITH_SIMD_INLINE F load_partial(const Half* p, std::size_t n) noexcept {
        return F(_mm256_cvtph_ps(tail(reinterpret_cast<const unsigned char*>(p), 2 * n)));
    }
    static KITH_SIMD_INLINE F load(const BFloat16* p) noexcept {
        const __m256i x =
            _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return F(_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)));
    }
    static KITH_SIMD_INLINE void store(float* p, F x) noexcept { _mm256_storeu_ps(p, x); }

    static KITH_SIMD_INLINE void load_split(const BFloat16* p, F& even, F& odd) noexcept {
        split(load_bytes(p).v, even, odd);
    }
    static KITH_SIMD_INLINE void load_split_partial(const BFloat16* p, std::size_t n, F& even,
                                                    F& odd) noexcept {
        split(load_bytes_partial(p, 2 * n).v, even, odd);
    }
    static KITH_SIMD_INLINE void split_floats(F& a, F& b) noexcept {
        const __m256 low = _mm256_permute2f128_ps(a, b, 0x20);
        const __m256 high = _mm256_permute2f128_ps(a, b, 0x31);
        // A register of bfloat16 has its elements 0-7 in the lower half, the floats of 0-7 fill a: bring both halves of
        // each register of floats into one half each, then pick.
        a = F(_mm256_shuffle_ps(low, high, 0x88));
        b = F(_mm256_shuffle_ps(low, high, 0xDD));
    }

    static KITH_SIMD_INLINE F fma(F a, F b, F c) noexcept { return F(_mm256_fmadd_ps(a, b, c)); }
    static KITH_SIMD_INLINE float fma(float a, float b, float c) noexcept {
        return __builtin_fmaf(a, b, c);
    }
    static KITH_SIMD_INLINE void keep_apart(float& x) noexcept { __asm__("" : "+x"(x)); }
    static KITH_SIMD_INLINE std::uint32_t not_ge_bits(F a, F b) noexcept {
        return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NGE_UQ)));
    }
    static KITH_SIMD_INLINE F min(F a, F b) noexcept { return F(_mm256_min_ps(a, b)); }
    static KITH_SIMD_INLINE F max(F a, F b) noexcept { return F(_mm256_max_ps(a, b)); }
    static KITH_SIMD_INLINE F select_less(F a, F b, F x, F y) noexcept {
        return F(_mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)));
    }

    /// Order: (0+2) + (1+3) of every four, then the two fours. Blends in place of shuffles, which fewer ports take.
    static KITH_SIMD_INLINE FloatLanes reduce(const F (&x)[group]) noexcept {
        const __m256 ac =
            _mm256_add_ps(_mm256_blend_ps(x[0], x[2], 0xCC), _mm256_shuffle_ps(x[0], x[2], 0x4E));
        const __m256 bd =
            _mm256_add_ps(_mm256_blend_ps(x[1], x[3], 0xCC), _mm256_shuffle_ps(x[1], x[3], 0x4E));
        const __m256 sums = _mm256_add_ps(_mm256_blend_ps(ac, bd, 0xAA),
                                          _mm256_permute_ps(_mm256_blend_ps(ac, bd, 0x55), 0xB1));
        return (FloatLanes)_mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    }
    static KITH_SIMD_INLINE float reduce_one(F x) noexcept {
        const __m256 t = _mm256_add_ps(x, _mm256_permute_ps(x, 0x4E));
        const __m256 u = _mm256_add_ps(t, _mm256_movehdup_ps(t));
        return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1)));
    }

    static KITH_SIMD_INLINE I zero_i() noexcept { return {_mm256_setzero_si256()}; }
    static KITH_SIMD_INLINE I broadcast_i(std::int32_t x) noexcept {
        return {_mm256_set1_epi32(x)};
    }
    static KITH_SIMD_INLINE I load_bytes(const void* p) noexcept {
        return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
    }
    static KITH_SIMD_INLINE I load_bytes_partial(const void* p, std::size_t n) noexcept {
        const auto* b = static_cast<const unsigned char*>(p);
        if (n <= 16) return {_mm256_zextsi128_si256(tail(b, n))};
        return {_mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b))),
            tail(b + 16, n - 16), 1)};
    }
    static KITH_SIMD_INLINE void store_bytes(void* p, I x) noexcept {
        _mm256_storeu_si256(static_cast<__m256i*>(p), x.v);
    }
    static KITH_SIMD_INLINE I add(I a, I b) noexcept { return {_mm256_add_epi32(a.v, b.v)}; }
    static KITH_SIMD_INLINE I sub(I a, I b) noexcept { return {_mm256_sub_epi32(a.v, b.v)}; }
    static KITH_SIMD_INLINE I shift_left(I a, int n) noexcept {
        return {_mm256_sll_epi32(a.v, _mm_cvtsi32_si128(n))};
    }
    static KITH_SIMD_INLINE I bit_and(I a, I b) noexcept { return {_mm256_and_si256(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_or(I a, I b) noexcept { return {_mm256_or_si256(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_xor(I a, I b) noexcept { return {_mm256_xor_si256(a.v, b.v)}; }
    static KITH_SIMD_INLINE I flip(I a) noexcept {
        return {_mm256_xor_si256(a.v, _mm256_set1_epi8(-128))};
    }
    static KITH_SIMD_INLINE std::uint32_t less_bits(I a, I b) noexcept {
        return static_cast<std::uint32_t>(
            _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.v, a.v))));
    }
    static KITH_SIMD_INLINE Lanes reduce(const I (&x)[group]) noexcept {
        const __m256i ab = _mm256_hadd_epi32(x[0].v, x[1].v);
        const __m256i cd = _mm256_hadd_epi32(x[2].v, x[3].v);
        const __m256i s = _mm256_hadd_epi32(ab, cd);
        return (Lanes)_mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    }
    static KITH_SIMD_INLINE std::int32_t reduce_one(I x) noexcept {
        const __m128i h =
            _mm_add_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
        const __m128i t = _mm_add_epi32(h, _mm_unpackhi_epi64(h, h));
        return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0x55)));
    }
    static KITH_SIMD_INLINE std::int32_t reduce_count(I x) noexcept {
        const __m128i h =
            _mm_add_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
        return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_unpackhi_epi64(h, h)));
    }

    struct Wide {
        __m256i low, high;
    };
    static KITH_SIMD_INLINE Wide widen(I x, std::uint8_t) noexcept {
        return {_mm256_unpacklo_epi8(x.v, _mm256_setzero_si256()),
                _mm256_unpackhi_epi8(x.v, _mm256_setzero_si256())};
    }
    static KITH_SIMD_INLINE Wide widen(I x, std::int8_t) noexcept {
        return {_mm256_cvtepi8_epi16(_mm256_castsi256_si128(x.v)),
                _mm256_cvtepi8_epi16(_mm256_extracti128_si256(x.v, 1))};
    }
    static KITH_SIMD_INLINE I dot(I acc, Wide a, Wide b) noexcept {
        return {_mm256_add_epi32(acc.v, _mm256_add_epi32(_mm256_madd_epi16(a.low, b.low),
                                                         _mm256_madd_epi16(a.high, b.high)))};
    }
    static KITH_SIMD_INLINE I dot_small(I acc, I a, I b) noexcept {
        return {_mm256_add_epi32(
            acc.v, _mm256_madd_epi16(_mm256_maddubs_epi16(a.v, b.v), _mm256_set1_epi16(1)))};
    }
    static KITH_SIMD_INLINE I l2_small(I acc, I a, I b) noexcept {
        const I d = {_mm256_abs_epi8(_mm256_sub_epi8(a.v, b.v))};
        return dot_small(acc, d, d);
    }
    static KITH_SIMD_INLINE I dot_i16(I acc, I a, I b) noexcept {
        return {_mm256_add_epi32(acc.v, _mm256_madd_epi16(a.v, b.v))};
    }
    template <int shift, int mask>
    static KITH_SIMD_INLINE I fields(I x) noexcept {
        return {_mm256_and_si256(_mm256_srli_epi16(x.v, shift),
                                 _mm256_set1_epi8(static_cast<char>(mask)))};
    }
    template <int largest>
    static KITH_SIMD_INLINE I dot_codes(I acc, I a, I b) noexcept {
        return {_mm256_add_epi32(acc.v, _mm256_madd_epi16(_mm256_maddubs_epi16(a.v, b.v),
                                                          _mm256_set1_epi16(1)))};
    }
    static KITH_SIMD_INLINE I difference(I a, I b) noexcept {
        return {_mm256_sub_epi8(_mm256_max_epu8(a.v, b.v), _mm256_min_epu8(a.v, b.v))};
    }
    static KITH_SIMD_INLINE I l1(I acc, I a, I b) noexcept {
        return {_mm256_add_epi32(acc.v, _mm256_sad_epu8(a.v, b.v))};
    }
    /// Looks up the two halves of each byte (Mula, Kurz and Lemire 2018, "Faster population counts using AVX2").
    static KITH_SIMD_INLINE I popcount(I acc, I x) noexcept {
        const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1,
                                               1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
        const __m256i mask = _mm256_set1_epi8(0x0F);
        const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(x.v, mask));
        const __m256i high =
            _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x.v, 4), mask));
        return {_mm256_add_epi32(
            acc.v, _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256()))};
    }

    static KITH_SIMD_INLINE I lookup(I tables, I x) noexcept {
        return {_mm256_shuffle_epi8(tables.v, x.v)};
    }
    static KITH_SIMD_INLINE I low_nibbles(I x) noexcept {
        return {_mm256_and_si256(x.v, _mm256_set1_epi8(0x0F))};
    }
    static KITH_SIMD_INLINE I high_nibbles(I x) noexcept {
        return low_nibbles({_mm256_srli_epi16(x.v, 4)});
    }
    static KITH_SIMD_INLINE I low_nibbles_by_4(I x) noexcept {
        return {_mm256_and_si256(_mm256_slli_epi16(x.v, 2), _mm256_set1_epi8(0x3C))};
    }
    static KITH_SIMD_INLINE I high_nibbles_by_4(I x) noexcept {
        return {_mm256_and_si256(_mm256_srli_epi16(x.v, 2), _mm256_set1_epi8(0x3C))};
    }
    static KITH_SIMD_INLINE I add_u16(I a, I b) noexcept { return {_mm256_add_epi16(a.v, b.v)}; }
    static KITH_SIMD_INLINE I add_high_bytes(I a, I x) noexcept {
        return {_mm256_add_epi16(a.v, _mm256_srli_epi16(x.v, 8))};
    }
    static KITH_SIMD_INLINE I without_high_bytes(I a, I high) noexcept {
        return {_mm256_sub_epi16(a.v, _mm256_slli_epi16(high.v, 8))};
    }
    static KITH_SIMD_INLINE void store_sums(std::uint16_t* to, I a, I b, I c, I d) noexcept {
        store_bytes(to, sum_lanes(a, b));
        store_bytes(to + 16, sum_lanes(c, d));
    }
    static KITH_SIMD_INLINE std::uint32_t at_most_bits(const std::uint16_t* words,
                                                       std::uint16_t most) noexcept {
        const __m256i bound = _mm256_set1_epi16(static_cast<short>(most));
        const __m256i a = load_bytes(words).v;
        const __m256i b = load_bytes(words + 16).v;
        const __m256i below = _mm256_packs_epi16(_mm256_cmpeq_epi16(_mm256_min_epu16(a, bound), a),
                                                 _mm256_cmpeq_epi16(_mm256_min_epu16(b, bound), b));
        return static_cast<std::uint32_t>(
            _mm256_movemask_epi8(_mm256_permute4x64_epi64(below, 0xD8)));
    }
    static KITH_SIMD_INLINE F load(const std::uint16_t* p) noexcept {
        return F(_mm256_cvtepi32_ps(
            _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))));
    }

private:
    static KITH_SIMD_INLINE I sum_lanes(I a, I b) noexcept {
        return {_mm256_add_epi16(_mm256_blend_epi32(a.v, b.v, 0xF0),
                                 _mm256_permute2x128_si256(a.v, b.v, 0x21))};
    }
    static KITH_SIMD_INLINE __m128i tail(const unsigned char* p, std::size_t n) noexcept {
        const Words16 w = load_tail16<Arch>(p, n);
        return _mm_set_epi64x(static_cast<long long>(w.high), static_cast<long long>(w.low));
    }
    static KITH_SIMD_INLINE void split(__m256i x, F& even, F& odd) noexcept {
        even = F(_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)));
        odd = F(_mm256_castsi256_ps(
            _mm256_and_si256(x, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u)))));
    }
};

}  // namespace kith::simd

#endif
