// SPDX-License-Identifier: Apache-2.0
//
// Isa<arch::Avx512> (F, BW, DQ, VL, CD: Skylake-X) and Isa<arch::Avx512Vnni> (also VNNI, VPOPCNTDQ and VBMI: Ice Lake, Zen 4). The two
// share a text, not symbols: the common part is a template on Arch. isa/sse2.hpp says what each operation means.
#pragma once

#include "kith/simd/arch.hpp"

#if defined(KITH_SIMD_HAS_AVX512)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kith/core/types.hpp"

// g++ 12 takes the undefined register inside its own unmasked intrinsics for a mistake (PR 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace kith::simd {

template <class ArchTag>
struct Avx512Isa {
    using Arch = ArchTag;
    using F = xsimd::batch<float, xsimd::avx512bw>;
    struct I {
        __m512i v;
    };
    typedef std::uint32_t Lanes __attribute__((vector_size(32)));
    typedef float FloatLanes __attribute__((vector_size(32)));

    static constexpr std::size_t width = 16;
    static constexpr std::size_t bytes = 64;
    static constexpr std::size_t group = 8;
    static constexpr std::size_t tile_rows = 12;
    static constexpr bool has_integer_tile = true;
    static constexpr bool byte_products = false;
    static constexpr bool byte_lookup = true;
    static constexpr std::size_t scan_queries = 4;

    static KITH_SIMD_INLINE F zero() noexcept { return F(_mm512_setzero_ps()); }
    static KITH_SIMD_INLINE F broadcast(float x) noexcept { return F(_mm512_set1_ps(x)); }
    static KITH_SIMD_INLINE F load(const float* p) noexcept { return F(_mm512_loadu_ps(p)); }
    static KITH_SIMD_INLINE F load_partial(const float* p, std::size_t n) noexcept {
        return F(_mm512_maskz_loadu_ps(mask16(n), p));
    }
    static KITH_SIMD_INLINE F load(const Half* p) noexcept {
        return F(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
    }
    static KITH_SIMD_INLINE F load_partial(const Half* p, std::size_t n) noexcept {
        return F(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask16(n), p)));
    }
    static KITH_SIMD_INLINE F load(const BFloat16* p) noexcept {
        const __m512i x =
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return F(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)));
    }
    static KITH_SIMD_INLINE void store(float* p, F x) noexcept { _mm512_storeu_ps(p, x); }

    static KITH_SIMD_INLINE void load_split(const BFloat16* p, F& even, F& odd) noexcept {
        split(load_bytes(p).v, even, odd);
    }
    static KITH_SIMD_INLINE void load_split_partial(const BFloat16* p, std::size_t n, F& even,
                                                    F& odd) noexcept {
        split(_mm512_maskz_loadu_epi16(_bzhi_u32(~0u, static_cast<unsigned>(n)), p), even, odd);
    }
    static KITH_SIMD_INLINE void split_floats(F& a, F& b) noexcept {
        const __m512i even =
            _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i odd =
            _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        const F e(_mm512_permutex2var_ps(a, even, b));
        b = F(_mm512_permutex2var_ps(a, odd, b));
        a = e;
    }

    static KITH_SIMD_INLINE F fma(F a, F b, F c) noexcept { return F(_mm512_fmadd_ps(a, b, c)); }
    static KITH_SIMD_INLINE float fma(float a, float b, float c) noexcept {
        return __builtin_fmaf(a, b, c);
    }
    static KITH_SIMD_INLINE void keep_apart(float& x) noexcept { __asm__("" : "+x"(x)); }
    static KITH_SIMD_INLINE std::uint32_t not_ge_bits(F a, F b) noexcept {
        return _cvtmask16_u32(_mm512_cmp_ps_mask(a, b, _CMP_NGE_UQ));
    }
    static KITH_SIMD_INLINE F min(F a, F b) noexcept { return F(_mm512_min_ps(a, b)); }
    static KITH_SIMD_INLINE F max(F a, F b) noexcept { return F(_mm512_max_ps(a, b)); }
    static KITH_SIMD_INLINE F select_less(F a, F b, F x, F y) noexcept {
        return F(_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x));
    }

    /// Order: halves, halves again, then (0+2) + (1+3).
    static KITH_SIMD_INLINE FloatLanes reduce(const F (&x)[group]) noexcept {
        const __m512 abcd = quarters(halves(x[0], x[1]), halves(x[2], x[3]));
        const __m512 efgh = quarters(halves(x[4], x[5]), halves(x[6], x[7]));
        const __m512 pairs = _mm512_add_ps(_mm512_mask_blend_ps(0xCCCC, abcd, efgh),
                                           _mm512_shuffle_ps(abcd, efgh, 0x4E));
        const __m512 sums =
            _mm512_add_ps(pairs, _mm512_permute_ps(pairs, 0xB1));  // aaee bbff ccgg ddhh
        return (FloatLanes)_mm512_castps512_ps256(_mm512_permutexvar_ps(lane_order(), sums));
    }
    static KITH_SIMD_INLINE float reduce_one(F x) noexcept {
        const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
        const __m128 h = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
        const __m128 t = _mm_add_ps(h, _mm_movehl_ps(h, h));
        return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
    }

    static KITH_SIMD_INLINE I zero_i() noexcept { return {_mm512_setzero_si512()}; }
    static KITH_SIMD_INLINE I broadcast_i(std::int32_t x) noexcept {
        return {_mm512_set1_epi32(x)};
    }
    static KITH_SIMD_INLINE I load_bytes(const void* p) noexcept { return {_mm512_loadu_si512(p)}; }
    static KITH_SIMD_INLINE I load_bytes_partial(const void* p, std::size_t n) noexcept {
        return {_mm512_maskz_loadu_epi8(_cvtu64_mask64(_bzhi_u64(~0ull, n)), p)};
    }
    static KITH_SIMD_INLINE void store_bytes(void* p, I x) noexcept { _mm512_storeu_si512(p, x.v); }
    static KITH_SIMD_INLINE I add(I a, I b) noexcept { return {_mm512_add_epi32(a.v, b.v)}; }
    static KITH_SIMD_INLINE I sub(I a, I b) noexcept { return {_mm512_sub_epi32(a.v, b.v)}; }
    static KITH_SIMD_INLINE I shift_left(I a, int n) noexcept {
        typedef std::uint32_t Words __attribute__((vector_size(64)));
        return {(__m512i)((Words)a.v << static_cast<std::uint32_t>(n))};
    }
    static KITH_SIMD_INLINE I bit_and(I a, I b) noexcept { return {_mm512_and_si512(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_or(I a, I b) noexcept { return {_mm512_or_si512(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_xor(I a, I b) noexcept { return {_mm512_xor_si512(a.v, b.v)}; }
    static KITH_SIMD_INLINE I flip(I a) noexcept {
        return {_mm512_xor_si512(a.v, _mm512_set1_epi8(-128))};
    }
    static KITH_SIMD_INLINE std::uint32_t less_bits(I a, I b) noexcept {
        return _cvtmask16_u32(_mm512_cmplt_epi32_mask(a.v, b.v));
    }
    static KITH_SIMD_INLINE Lanes reduce(const I (&x)[group]) noexcept {
        const __m512i abcd = quarters(halves(x[0].v, x[1].v), halves(x[2].v, x[3].v));
        const __m512i efgh = quarters(halves(x[4].v, x[5].v), halves(x[6].v, x[7].v));
        const __m512i pairs = _mm512_add_epi32(_mm512_mask_blend_epi32(0xCCCC, abcd, efgh),
                                               _mm512_alignr_epi8(efgh, abcd, 8));
        const __m512i sums = _mm512_add_epi32(pairs, _mm512_shuffle_epi32(pairs, _MM_PERM_CDAB));
        return (Lanes)_mm512_castsi512_si256(_mm512_permutexvar_epi32(lane_order(), sums));
    }
    static KITH_SIMD_INLINE std::int32_t reduce_one(I x) noexcept {
        const __m256i y =
            _mm256_add_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
        const __m128i h = _mm_add_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
        const __m128i t = _mm_add_epi32(h, _mm_unpackhi_epi64(h, h));
        return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0x55)));
    }
    static KITH_SIMD_INLINE std::int32_t reduce_count(I x) noexcept {
        const __m256i y =
            _mm256_add_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
        const __m128i h = _mm_add_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
        return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_unpackhi_epi64(h, h)));
    }

    struct Wide {
        __m512i low, high;
    };
    static KITH_SIMD_INLINE Wide widen(I x, std::uint8_t) noexcept {
        return {_mm512_unpacklo_epi8(x.v, _mm512_setzero_si512()),
                _mm512_unpackhi_epi8(x.v, _mm512_setzero_si512())};
    }
    static KITH_SIMD_INLINE Wide widen(I x, std::int8_t) noexcept {
        return {_mm512_cvtepi8_epi16(_mm512_castsi512_si256(x.v)),
                _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(x.v, 1))};
    }
    static KITH_SIMD_INLINE I dot(I acc, Wide a, Wide b) noexcept {
        return {_mm512_add_epi32(acc.v, _mm512_add_epi32(_mm512_madd_epi16(a.low, b.low),
                                                         _mm512_madd_epi16(a.high, b.high)))};
    }
    static KITH_SIMD_INLINE I dot_small(I acc, I a, I b) noexcept {
        return {_mm512_add_epi32(
            acc.v, _mm512_madd_epi16(_mm512_maddubs_epi16(a.v, b.v), _mm512_set1_epi16(1)))};
    }
    static KITH_SIMD_INLINE I l2_small(I acc, I a, I b) noexcept {
        const I d = {_mm512_abs_epi8(_mm512_sub_epi8(a.v, b.v))};
        return dot_small(acc, d, d);
    }
    static KITH_SIMD_INLINE I dot_i16(I acc, I a, I b) noexcept {
        return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(a.v, b.v))};
    }
    template <int shift, int mask>
    static KITH_SIMD_INLINE I fields(I x) noexcept {
        return {_mm512_and_si512(_mm512_srli_epi16(x.v, shift),
                                 _mm512_set1_epi8(static_cast<char>(mask)))};
    }
    template <int largest>
    static KITH_SIMD_INLINE I dot_codes(I acc, I a, I b) noexcept {
        return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(_mm512_maddubs_epi16(a.v, b.v),
                                                          _mm512_set1_epi16(1)))};
    }
    static KITH_SIMD_INLINE I difference(I a, I b) noexcept {
        return {_mm512_sub_epi8(_mm512_max_epu8(a.v, b.v), _mm512_min_epu8(a.v, b.v))};
    }
    static KITH_SIMD_INLINE I l1(I acc, I a, I b) noexcept {
        return {_mm512_add_epi32(acc.v, _mm512_sad_epu8(a.v, b.v))};
    }
    /// Looks up the two halves of each byte, as in isa/avx2.hpp.
    static KITH_SIMD_INLINE I popcount(I acc, I x) noexcept {
        const __m512i table =
            _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        const __m512i mask = _mm512_set1_epi8(0x0F);
        const __m512i low = _mm512_shuffle_epi8(table, _mm512_and_si512(x.v, mask));
        const __m512i high =
            _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(x.v, 4), mask));
        return {_mm512_add_epi32(
            acc.v, _mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512()))};
    }

    static KITH_SIMD_INLINE I lookup(I tables, I x) noexcept {
        return {_mm512_shuffle_epi8(tables.v, x.v)};
    }
    static KITH_SIMD_INLINE I low_nibbles(I x) noexcept {
        return {_mm512_and_si512(x.v, _mm512_set1_epi8(0x0F))};
    }
    static KITH_SIMD_INLINE I high_nibbles(I x) noexcept {
        return low_nibbles({_mm512_srli_epi16(x.v, 4)});
    }
    static KITH_SIMD_INLINE I low_nibbles_by_4(I x) noexcept {
        return {_mm512_and_si512(_mm512_slli_epi16(x.v, 2), _mm512_set1_epi8(0x3C))};
    }
    static KITH_SIMD_INLINE I high_nibbles_by_4(I x) noexcept {
        return {_mm512_and_si512(_mm512_srli_epi16(x.v, 2), _mm512_set1_epi8(0x3C))};
    }
    static KITH_SIMD_INLINE I add_u16(I a, I b) noexcept { return {_mm512_add_epi16(a.v, b.v)}; }
    static KITH_SIMD_INLINE I add_high_bytes(I a, I x) noexcept {
        return {_mm512_add_epi16(a.v, _mm512_srli_epi16(x.v, 8))};
    }
    static KITH_SIMD_INLINE I without_high_bytes(I a, I high) noexcept {
        return {_mm512_sub_epi16(a.v, _mm512_slli_epi16(high.v, 8))};
    }
    static KITH_SIMD_INLINE void store_sums(std::uint16_t* to, I a, I b, I c, I d) noexcept {
        const __m512i ab = sum_halves(a.v, b.v);
        const __m512i cd = sum_halves(c.v, d.v);
        store_bytes(to, {_mm512_add_epi16(_mm512_shuffle_i32x4(ab, cd, 0x88),
                                          _mm512_shuffle_i32x4(ab, cd, 0xDD))});
    }
    static KITH_SIMD_INLINE std::uint32_t at_most_bits(const std::uint16_t* words,
                                                       std::uint16_t most) noexcept {
        return _cvtmask32_u32(_mm512_cmple_epu16_mask(
            load_bytes(words).v, _mm512_set1_epi16(static_cast<short>(most))));
    }
    static KITH_SIMD_INLINE F load(const std::uint16_t* p) noexcept {
        return F(_mm512_cvtepi32_ps(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))));
    }

private:
    static KITH_SIMD_INLINE __mmask16 mask16(std::size_t n) noexcept {
        return static_cast<__mmask16>(_bzhi_u32(0xFFFFu, static_cast<unsigned>(n)));
    }
    static KITH_SIMD_INLINE void split(__m512i x, F& even, F& odd) noexcept {
        even = F(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)));
        odd = F(_mm512_castsi512_ps(
            _mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)))));
    }
    static KITH_SIMD_INLINE __m512i lane_order() noexcept {
        return _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
    }
    /// Lower half: the two halves of a added up; upper half: those of b. A blend goes where a shuffle cannot, hence one of each.
    static KITH_SIMD_INLINE __m512 halves(__m512 a, __m512 b) noexcept {
        return _mm512_add_ps(_mm512_mask_blend_ps(0xFF00, a, b), _mm512_shuffle_f32x4(a, b, 0x4E));
    }
    /// Of two such registers, the quarters a, b, c, d.
    static KITH_SIMD_INLINE __m512 quarters(__m512 ab, __m512 cd) noexcept {
        return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88),
                             _mm512_shuffle_f32x4(ab, cd, 0xDD));
    }
    static KITH_SIMD_INLINE __m512i halves(__m512i a, __m512i b) noexcept {
        return _mm512_add_epi32(_mm512_mask_blend_epi32(0xFF00, a, b),
                                _mm512_shuffle_i32x4(a, b, 0x4E));
    }
    static KITH_SIMD_INLINE __m512i sum_halves(__m512i a, __m512i b) noexcept {
        return _mm512_add_epi16(_mm512_mask_blend_epi32(0xFF00, a, b),
                                _mm512_shuffle_i32x4(a, b, 0x4E));
    }
    static KITH_SIMD_INLINE __m512i quarters(__m512i ab, __m512i cd) noexcept {
        return _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88),
                                _mm512_shuffle_i32x4(ab, cd, 0xDD));
    }
};

template <>
struct Isa<arch::Avx512> : Avx512Isa<arch::Avx512> {};

#if defined(KITH_SIMD_HAS_AVX512_VNNI)
template <>
struct Isa<arch::Avx512Vnni> : Avx512Isa<arch::Avx512Vnni> {
    static constexpr bool byte_products = true;

    /// acc += products of unsigned bytes of a and signed bytes of b, four to a lane, without saturation.
    static KITH_SIMD_INLINE I dot_bytes(I acc, I a, I b) noexcept {
        return {_mm512_dpbusd_epi32(acc.v, a.v, b.v)};
    }
    template <int largest>
    static KITH_SIMD_INLINE I dot_codes(I acc, I a, I b) noexcept {
        return dot_bytes(acc, a, b);
    }
    static KITH_SIMD_INLINE I dot_small(I acc, I a, I b) noexcept { return dot_bytes(acc, a, b); }
    static KITH_SIMD_INLINE I l2_small(I acc, I a, I b) noexcept {
        const I d = {_mm512_abs_epi8(_mm512_sub_epi8(a.v, b.v))};
        return dot_small(acc, d, d);
    }
    static KITH_SIMD_INLINE I popcount(I acc, I x) noexcept {
        return {_mm512_add_epi32(acc.v, _mm512_popcnt_epi64(x.v))};
    }
};
#endif

}  // namespace kith::simd

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#endif
