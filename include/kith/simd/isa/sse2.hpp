// SPDX-License-Identifier: Apache-2.0
//
// Isa<arch::Baseline>: what every x86-64 has (SSE2). The plainest version; the meaning of each operation is written here.
#pragma once

#include "kith/simd/arch.hpp"

#if defined(KITH_SIMD_X86)

#include <emmintrin.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kith/core/types.hpp"
#include "kith/simd/isa/bytes.hpp"

namespace kith::simd {

template <>
struct Isa<arch::Baseline> {
    using Arch = arch::Baseline;
    using F = xsimd::batch<float, xsimd::sse2>;
    struct I {
        __m128i v;
    };
    typedef std::uint32_t Lanes __attribute__((vector_size(16)));
    typedef float FloatLanes __attribute__((vector_size(16)));

    static constexpr std::size_t width = 4;   // floats in an F
    static constexpr std::size_t bytes = 16;  // bytes in an I
    static constexpr std::size_t group = 4;   // rows scored together
    static constexpr std::size_t tile_rows =
        5;  // rows of a register tile (times two registers of queries)
    static constexpr bool has_integer_tile = true;
    static constexpr bool byte_products =
        false;  // 4 x (unsigned byte * signed byte) in one instruction
    static constexpr bool byte_lookup = false;  // lookup and what goes with it, below
    static constexpr std::size_t scan_queries = 1;  // that share a pass over blocks of 4-bit codes

    // Floats. Every load takes any address; *_partial reads n <= width elements and fills up with zeros.
    static KITH_SIMD_INLINE F zero() noexcept { return F(_mm_setzero_ps()); }
    static KITH_SIMD_INLINE F broadcast(float x) noexcept { return F(_mm_set1_ps(x)); }
    static KITH_SIMD_INLINE F load(const float* p) noexcept { return F(_mm_loadu_ps(p)); }
    static KITH_SIMD_INLINE F load_partial(const float* p, std::size_t n) noexcept {
        return F(_mm_castsi128_ps(tail(p, 4 * n)));
    }
    static KITH_SIMD_INLINE F load(const Half* p) noexcept {
        return widen_half(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    }
    static KITH_SIMD_INLINE F load_partial(const Half* p, std::size_t n) noexcept {
        return widen_half(_mm_cvtsi64_si128(static_cast<long long>(
            load_tail8<Arch>(reinterpret_cast<const unsigned char*>(p), 2 * n))));
    }
    static KITH_SIMD_INLINE F load(const BFloat16* p) noexcept {
        const __m128i h = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        return F(_mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), h)));
    }
    static KITH_SIMD_INLINE void store(float* p, F x) noexcept { _mm_storeu_ps(p, x); }

    /// 2 * width bfloat16: those at even places and those at odd ones. One load, a shift and a mask: cheaper than widening in order.
    static KITH_SIMD_INLINE void load_split(const BFloat16* p, F& even, F& odd) noexcept {
        split(load_bytes(p).v, even, odd);
    }
    static KITH_SIMD_INLINE void load_split_partial(const BFloat16* p, std::size_t n, F& even,
                                                    F& odd) noexcept {
        split(load_bytes_partial(p, 2 * n).v, even, odd);
    }
    /// Two registers of floats in order, into the order of load_split.
    static KITH_SIMD_INLINE void split_floats(F& a, F& b) noexcept {
        const __m128 even = _mm_shuffle_ps(a, b, 0x88);
        const __m128 odd = _mm_shuffle_ps(a, b, 0xDD);
        a = F(even);
        b = F(odd);
    }

    /// a * b + c. xsimd 8.1 multiplies and adds in two steps on every architecture kith uses, hence here.
    static KITH_SIMD_INLINE F fma(F a, F b, F c) noexcept {
        return F(_mm_add_ps(_mm_mul_ps(a, b), c));
    }
    static KITH_SIMD_INLINE float fma(float a, float b, float c) noexcept { return a * b + c; }
    /// No instruction: the compiler may not put this number into a register with others, however alike what is done to them.
    static KITH_SIMD_INLINE void keep_apart(float& x) noexcept { __asm__("" : "+x"(x)); }

    /// Bit j: a[j] < b[j].
    static KITH_SIMD_INLINE std::uint32_t not_ge_bits(F a, F b) noexcept {
        return static_cast<std::uint32_t>(_mm_movemask_ps(_mm_cmpnge_ps(a, b)));
    }
    /// Lane by lane: the lesser, the greater, and x where a < b, else y. No NaN.
    static KITH_SIMD_INLINE F min(F a, F b) noexcept { return F(_mm_min_ps(a, b)); }
    static KITH_SIMD_INLINE F max(F a, F b) noexcept { return F(_mm_max_ps(a, b)); }
    static KITH_SIMD_INLINE F select_less(F a, F b, F x, F y) noexcept {
        const __m128 less = _mm_cmplt_ps(a, b);
        return F(_mm_or_ps(_mm_and_ps(less, x), _mm_andnot_ps(less, y)));
    }

    /// The sums of `group` registers, and of one. The two add in the same order: (0+2) + (1+3) of the 4-lane sums.
    static KITH_SIMD_INLINE FloatLanes reduce(const F (&x)[group]) noexcept {
        const __m128 ab =
            _mm_add_ps(_mm_shuffle_ps(x[0], x[1], 0x44), _mm_shuffle_ps(x[0], x[1], 0xEE));
        const __m128 cd =
            _mm_add_ps(_mm_shuffle_ps(x[2], x[3], 0x44), _mm_shuffle_ps(x[2], x[3], 0xEE));
        return (FloatLanes)_mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xDD));
    }
    static KITH_SIMD_INLINE float reduce_one(F x) noexcept {
        const __m128 t = _mm_add_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 0x55)));
    }

    // Bytes and 32-bit integers.
    static KITH_SIMD_INLINE I zero_i() noexcept { return {_mm_setzero_si128()}; }
    static KITH_SIMD_INLINE I broadcast_i(std::int32_t x) noexcept { return {_mm_set1_epi32(x)}; }
    static KITH_SIMD_INLINE I load_bytes(const void* p) noexcept {
        return {_mm_loadu_si128(static_cast<const __m128i*>(p))};
    }
    static KITH_SIMD_INLINE I load_bytes_partial(const void* p, std::size_t n) noexcept {
        return {tail(p, n)};
    }
    static KITH_SIMD_INLINE void store_bytes(void* p, I x) noexcept {
        _mm_storeu_si128(static_cast<__m128i*>(p), x.v);
    }
    static KITH_SIMD_INLINE I add(I a, I b) noexcept { return {_mm_add_epi32(a.v, b.v)}; }
    static KITH_SIMD_INLINE I sub(I a, I b) noexcept { return {_mm_sub_epi32(a.v, b.v)}; }
    static KITH_SIMD_INLINE I shift_left(I a, int n) noexcept {
        return {_mm_sll_epi32(a.v, _mm_cvtsi32_si128(n))};
    }
    static KITH_SIMD_INLINE I bit_and(I a, I b) noexcept { return {_mm_and_si128(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_or(I a, I b) noexcept { return {_mm_or_si128(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_xor(I a, I b) noexcept { return {_mm_xor_si128(a.v, b.v)}; }
    /// Adds 128 to each byte: signed to unsigned and back.
    static KITH_SIMD_INLINE I flip(I a) noexcept {
        return {_mm_xor_si128(a.v, _mm_set1_epi8(-128))};
    }
    static KITH_SIMD_INLINE std::uint32_t less_bits(I a, I b) noexcept {
        return static_cast<std::uint32_t>(
            _mm_movemask_ps(_mm_castsi128_ps(_mm_cmplt_epi32(a.v, b.v))));
    }
    static KITH_SIMD_INLINE Lanes reduce(const I (&x)[group]) noexcept {
        const __m128i ab =
            _mm_add_epi32(_mm_unpacklo_epi32(x[0].v, x[1].v), _mm_unpackhi_epi32(x[0].v, x[1].v));
        const __m128i cd =
            _mm_add_epi32(_mm_unpacklo_epi32(x[2].v, x[3].v), _mm_unpackhi_epi32(x[2].v, x[3].v));
        return (Lanes)_mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
    }
    static KITH_SIMD_INLINE std::int32_t reduce_one(I x) noexcept {
        const __m128i t = _mm_add_epi32(x.v, _mm_unpackhi_epi64(x.v, x.v));
        return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0x55)));
    }
    /// The same for sums that popcount and l1 made: on x86 they leave the odd lanes zero.
    static KITH_SIMD_INLINE std::int32_t reduce_count(I x) noexcept {
        return _mm_cvtsi128_si32(_mm_add_epi32(x.v, _mm_unpackhi_epi64(x.v, x.v)));
    }

    /// Bytes as two registers of 16-bit integers, in an order that all operands share.
    struct Wide {
        __m128i low, high;
    };
    static KITH_SIMD_INLINE Wide widen(I x, std::uint8_t) noexcept {
        return {_mm_unpacklo_epi8(x.v, _mm_setzero_si128()),
                _mm_unpackhi_epi8(x.v, _mm_setzero_si128())};
    }
    static KITH_SIMD_INLINE Wide widen(I x, std::int8_t) noexcept {
        return {_mm_srai_epi16(_mm_unpacklo_epi8(x.v, x.v), 8),
                _mm_srai_epi16(_mm_unpackhi_epi8(x.v, x.v), 8)};
    }
    /// acc += a . b, products of pairs in 32-bit lanes.
    static KITH_SIMD_INLINE I dot(I acc, Wide a, Wide b) noexcept {
        return {_mm_add_epi32(
            acc.v, _mm_add_epi32(_mm_madd_epi16(a.low, b.low), _mm_madd_epi16(a.high, b.high)))};
    }
    /// acc += products of bytes a (0 .. 127) and signed bytes b, of which two fit 16 bits.
    static KITH_SIMD_INLINE I dot_small(I acc, I a, I b) noexcept {
        return dot(acc, widen(a, std::int8_t{}), widen(b, std::int8_t{}));
    }
    /// acc += (a - b)^2 of signed bytes, which must differ by at most 127.
    static KITH_SIMD_INLINE I l2_small(I acc, I a, I b) noexcept {
        const Wide d = widen({_mm_sub_epi8(a.v, b.v)}, std::int8_t{});
        return dot(acc, d, d);
    }
    /// acc += a . b of registers that hold 16-bit integers.
    static KITH_SIMD_INLINE I dot_i16(I acc, I a, I b) noexcept {
        return {_mm_add_epi32(acc.v, _mm_madd_epi16(a.v, b.v))};
    }
    /// Of every byte the bits from `shift` on that `mask` keeps.
    template <int shift, int mask>
    static KITH_SIMD_INLINE I fields(I x) noexcept {
        return {_mm_and_si128(_mm_srli_epi16(x.v, shift), _mm_set1_epi8(static_cast<char>(mask)))};
    }
    /// acc += a . b of unsigned bytes a, each at most `largest`, and signed bytes b, where no two products that lie side by side add up to 2^15.
    template <int largest>
    static KITH_SIMD_INLINE I dot_codes(I acc, I a, I b) noexcept {
        return dot(acc, widen(a, std::uint8_t{}), widen(b, std::int8_t{}));
    }
    /// |a - b| of unsigned bytes.
    static KITH_SIMD_INLINE I difference(I a, I b) noexcept {
        return {_mm_sub_epi8(_mm_max_epu8(a.v, b.v), _mm_min_epu8(a.v, b.v))};
    }
    /// acc += sum of |a - b| of unsigned bytes.
    static KITH_SIMD_INLINE I l1(I acc, I a, I b) noexcept {
        return {_mm_add_epi32(acc.v, _mm_sad_epu8(a.v, b.v))};
    }
    /// acc += number of one bits.
    static KITH_SIMD_INLINE I popcount(I acc, I x) noexcept {
        const __m128i m1 = _mm_set1_epi8(0x55);
        const __m128i m2 = _mm_set1_epi8(0x33);
        const __m128i m4 = _mm_set1_epi8(0x0F);
        __m128i v = _mm_sub_epi8(x.v, _mm_and_si128(_mm_srli_epi16(x.v, 1), m1));
        v = _mm_add_epi8(_mm_and_si128(v, m2), _mm_and_si128(_mm_srli_epi16(v, 2), m2));
        v = _mm_and_si128(_mm_add_epi8(v, _mm_srli_epi16(v, 4)), m4);
        return {_mm_add_epi32(acc.v, _mm_sad_epu8(v, _mm_setzero_si128()))};
    }

    /// The halves of every byte, and four times those.
    static KITH_SIMD_INLINE I low_nibbles(I x) noexcept {
        return {_mm_and_si128(x.v, _mm_set1_epi8(0x0F))};
    }
    static KITH_SIMD_INLINE I high_nibbles(I x) noexcept {
        return low_nibbles({_mm_srli_epi16(x.v, 4)});
    }
    static KITH_SIMD_INLINE I low_nibbles_by_4(I x) noexcept {
        return {_mm_and_si128(_mm_slli_epi16(x.v, 2), _mm_set1_epi8(0x3C))};
    }
    static KITH_SIMD_INLINE I high_nibbles_by_4(I x) noexcept {
        return {_mm_and_si128(_mm_srli_epi16(x.v, 2), _mm_set1_epi8(0x3C))};
    }

    // SSE2 cannot look bytes up in a register. The others also have, for 16-byte tables (simd/block_sums.hpp):
    //   lookup(tables, x)              byte i of x (0 .. 15) picks one of the 16 bytes of table i / 16
    //   add_u16(a, b)                  sums of 16-bit integers
    //   add_high_bytes(a, x)           a + (x >> 8), in 16-bit integers
    //   without_high_bytes(a, high)    a - (high << 8), in 16-bit integers
    //   store_sums(to, a, b, c, d)     the 8 sums over all 16-byte lanes of a, then of b, c and d

    /// Bit i: words[i] <= most, for 32 words.
    static KITH_SIMD_INLINE std::uint32_t at_most_bits(const std::uint16_t* words,
                                                       std::uint16_t most) noexcept {
        const __m128i bound = _mm_set1_epi16(static_cast<short>(most));
        const auto half = [&](const std::uint16_t* p) KITH_SIMD_LAMBDA {
            const __m128i zero = _mm_setzero_si128();
            const __m128i a = _mm_cmpeq_epi16(_mm_subs_epu16(load_bytes(p).v, bound), zero);
            const __m128i b = _mm_cmpeq_epi16(_mm_subs_epu16(load_bytes(p + 8).v, bound), zero);
            return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(a, b)));
        };
        return half(words) | half(words + 16) << 16;
    }

    /// `width` unsigned 16-bit integers.
    static KITH_SIMD_INLINE F load(const std::uint16_t* p) noexcept {
        const __m128i h = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        return F(_mm_cvtepi32_ps(_mm_unpacklo_epi16(h, _mm_setzero_si128())));
    }

private:
    static KITH_SIMD_INLINE __m128i tail(const void* p, std::size_t n) noexcept {
        const Words16 w = load_tail16<Arch>(static_cast<const unsigned char*>(p), n);
        return _mm_set_epi64x(static_cast<long long>(w.high), static_cast<long long>(w.low));
    }
    static KITH_SIMD_INLINE void split(__m128i x, F& even, F& odd) noexcept {
        even = F(_mm_castsi128_ps(_mm_slli_epi32(x, 16)));
        odd = F(_mm_castsi128_ps(_mm_and_si128(x, _mm_set1_epi32(static_cast<int>(0xFFFF0000u)))));
    }
    /// The exponent is moved by a multiplication with 2^112, which also normalises subnormals; all ones stay all ones.
    static KITH_SIMD_INLINE F widen_half(__m128i four) noexcept {
        const __m128i h = _mm_unpacklo_epi16(four, _mm_setzero_si128());
        const __m128i magnitude = _mm_and_si128(h, _mm_set1_epi32(0x7FFF));
        const __m128i sign = _mm_slli_epi32(_mm_xor_si128(h, magnitude), 16);
        const __m128i special = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7BFF)),
                                              _mm_set1_epi32(0x7F800000));
        const __m128 scaled = _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32(magnitude, 13)),
                                         _mm_castsi128_ps(_mm_set1_epi32(0x77800000)));
        return F(_mm_or_ps(scaled, _mm_castsi128_ps(_mm_or_si128(sign, special))));
    }
};

}  // namespace kith::simd

#endif
