// SPDX-License-Identifier: Apache-2.0
//
// Isa<arch::Neon>: AArch64 with Advanced SIMD and nothing optional. isa/sse2.hpp says what each operation means.
#pragma once

#include "kith/simd/arch.hpp"

#if defined(KITH_SIMD_NEON)

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kith/core/types.hpp"
#include "kith/simd/isa/bytes.hpp"

namespace kith::simd {

template <>
struct Isa<arch::Neon> {
    using Arch = arch::Neon;
    using F = xsimd::batch<float, xsimd::neon64>;
    struct I {
        uint8x16_t v;
    };
    typedef std::uint32_t Lanes __attribute__((vector_size(16)));
    typedef float FloatLanes __attribute__((vector_size(16)));

    static constexpr std::size_t width = 4;
    static constexpr std::size_t bytes = 16;
    static constexpr std::size_t group = 4;
    static constexpr std::size_t tile_rows = 8;
    static constexpr bool has_integer_tile = false;
    static constexpr bool byte_products = false;
    static constexpr bool byte_lookup = true;
    static constexpr std::size_t scan_queries = 4;

    static KITH_SIMD_INLINE F zero() noexcept { return F(vdupq_n_f32(0.0f)); }
    static KITH_SIMD_INLINE F broadcast(float x) noexcept { return F(vdupq_n_f32(x)); }
    static KITH_SIMD_INLINE F load(const float* p) noexcept { return F(vld1q_f32(p)); }
    static KITH_SIMD_INLINE F load_partial(const float* p, std::size_t n) noexcept {
        return F(vreinterpretq_f32_u8(load_bytes_partial(p, 4 * n).v));
    }
    static KITH_SIMD_INLINE F load(const Half* p) noexcept {
        return F(
            vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(p)))));
    }
    static KITH_SIMD_INLINE F load_partial(const Half* p, std::size_t n) noexcept {
        const std::uint64_t word =
            load_tail8<Arch>(reinterpret_cast<const unsigned char*>(p), 2 * n);
        return F(vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(word))));
    }
    static KITH_SIMD_INLINE F load(const BFloat16* p) noexcept {
        const uint16x4_t h = vreinterpret_u16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(p)));
        return F(vreinterpretq_f32_u32(vshll_n_u16(h, 16)));
    }
    static KITH_SIMD_INLINE void store(float* p, F x) noexcept { vst1q_f32(p, x); }

    static KITH_SIMD_INLINE void load_split(const BFloat16* p, F& even, F& odd) noexcept {
        split(load_bytes(p).v, even, odd);
    }
    static KITH_SIMD_INLINE void load_split_partial(const BFloat16* p, std::size_t n, F& even,
                                                    F& odd) noexcept {
        split(load_bytes_partial(p, 2 * n).v, even, odd);
    }
    static KITH_SIMD_INLINE void split_floats(F& a, F& b) noexcept {
        const float32x4_t even = vuzp1q_f32(a, b);
        const float32x4_t odd = vuzp2q_f32(a, b);
        a = F(even);
        b = F(odd);
    }

    static KITH_SIMD_INLINE F fma(F a, F b, F c) noexcept { return F(vfmaq_f32(c, a, b)); }
    static KITH_SIMD_INLINE float fma(float a, float b, float c) noexcept {
        return __builtin_fmaf(a, b, c);
    }
    static KITH_SIMD_INLINE void keep_apart(float& x) noexcept { __asm__("" : "+w"(x)); }
    static KITH_SIMD_INLINE std::uint32_t not_ge_bits(F a, F b) noexcept {
        const uint32x4_t weight = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(vmvnq_u32(vcgeq_f32(a, b)), weight));
    }
    static KITH_SIMD_INLINE F min(F a, F b) noexcept { return F(vminq_f32(a, b)); }
    static KITH_SIMD_INLINE F max(F a, F b) noexcept { return F(vmaxq_f32(a, b)); }
    static KITH_SIMD_INLINE F select_less(F a, F b, F x, F y) noexcept {
        return F(vbslq_f32(vcltq_f32(a, b), x, y));
    }

    /// Order: (0+1) + (2+3).
    static KITH_SIMD_INLINE FloatLanes reduce(const F (&x)[group]) noexcept {
        return (FloatLanes)vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3]));
    }
    static KITH_SIMD_INLINE float reduce_one(F x) noexcept {
        const float32x4_t t = vpaddq_f32(x, x);
        return vgetq_lane_f32(vpaddq_f32(t, t), 0);
    }

    static KITH_SIMD_INLINE I zero_i() noexcept { return {vdupq_n_u8(0)}; }
    static KITH_SIMD_INLINE I broadcast_i(std::int32_t x) noexcept {
        return {vreinterpretq_u8_s32(vdupq_n_s32(x))};
    }
    static KITH_SIMD_INLINE std::uint32_t less_bits(I a, I b) noexcept {
        const uint32x4_t weight = {1, 2, 4, 8};
        return vaddvq_u32(
            vandq_u32(vcltq_s32(vreinterpretq_s32_u8(a.v), vreinterpretq_s32_u8(b.v)), weight));
    }
    static KITH_SIMD_INLINE void store_bytes(void* p, I x) noexcept {
        vst1q_u8(static_cast<std::uint8_t*>(p), x.v);
    }
    static KITH_SIMD_INLINE I load_bytes(const void* p) noexcept {
        return {vld1q_u8(static_cast<const std::uint8_t*>(p))};
    }
    static KITH_SIMD_INLINE I load_bytes_partial(const void* p, std::size_t n) noexcept {
        const Words16 w = load_tail16<Arch>(static_cast<const unsigned char*>(p), n);
        return {vcombine_u8(vcreate_u8(w.low), vcreate_u8(w.high))};
    }
    static KITH_SIMD_INLINE I add(I a, I b) noexcept {
        return {
            vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a.v), vreinterpretq_u32_u8(b.v)))};
    }
    static KITH_SIMD_INLINE I bit_and(I a, I b) noexcept { return {vandq_u8(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_or(I a, I b) noexcept { return {vorrq_u8(a.v, b.v)}; }
    static KITH_SIMD_INLINE I bit_xor(I a, I b) noexcept { return {veorq_u8(a.v, b.v)}; }
    static KITH_SIMD_INLINE I flip(I a) noexcept { return {veorq_u8(a.v, vdupq_n_u8(0x80))}; }
    static KITH_SIMD_INLINE Lanes reduce(const I (&x)[group]) noexcept {
        const int32x4_t ab = vpaddq_s32(vreinterpretq_s32_u8(x[0].v), vreinterpretq_s32_u8(x[1].v));
        const int32x4_t cd = vpaddq_s32(vreinterpretq_s32_u8(x[2].v), vreinterpretq_s32_u8(x[3].v));
        return (Lanes)vpaddq_s32(ab, cd);
    }
    static KITH_SIMD_INLINE std::int32_t reduce_one(I x) noexcept {
        return vaddvq_s32(vreinterpretq_s32_u8(x.v));
    }
    static KITH_SIMD_INLINE std::int32_t reduce_count(I x) noexcept { return reduce_one(x); }

    /// Bytes stay bytes: NEON multiplies them into 16 bits directly.
    template <class Byte>
    struct WideOf {
        uint8x16_t v;
    };
    template <class Byte>
    static KITH_SIMD_INLINE WideOf<Byte> widen(I x, Byte) noexcept {
        return {x.v};
    }
    static KITH_SIMD_INLINE I dot(I acc, WideOf<std::uint8_t> a, WideOf<std::uint8_t> b) noexcept {
        uint32x4_t sum = vreinterpretq_u32_u8(acc.v);
        sum = vpadalq_u16(sum, vmull_u8(vget_low_u8(a.v), vget_low_u8(b.v)));
        sum = vpadalq_u16(sum, vmull_high_u8(a.v, b.v));
        return {vreinterpretq_u8_u32(sum)};
    }
    static KITH_SIMD_INLINE I dot(I acc, WideOf<std::int8_t> a, WideOf<std::int8_t> b) noexcept {
        const int8x16_t x = vreinterpretq_s8_u8(a.v);
        const int8x16_t y = vreinterpretq_s8_u8(b.v);
        int32x4_t sum = vreinterpretq_s32_u8(acc.v);
        sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
        sum = vpadalq_s16(sum, vmull_high_s8(x, y));
        return {vreinterpretq_u8_s32(sum)};
    }
    template <int shift, int mask>
    static KITH_SIMD_INLINE I fields(I x) noexcept {
        if constexpr (shift > 0) return {vandq_u8(vshrq_n_u8(x.v, shift), vdupq_n_u8(mask))};
        else return {vandq_u8(x.v, vdupq_n_u8(mask))};
    }
    template <int largest>
    static KITH_SIMD_INLINE I dot_codes(I acc, I a, I b) noexcept {
        if constexpr (largest < 128)
            return dot(acc, widen(a, std::int8_t{}), widen(b, std::int8_t{}));
        const int8x16_t q = vreinterpretq_s8_u8(b.v);
        const int16x8_t low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a.v)));
        const int16x8_t high = vreinterpretq_s16_u16(vmovl_high_u8(a.v));
        const int16x8_t q_low = vmovl_s8(vget_low_s8(q)), q_high = vmovl_high_s8(q);
        int32x4_t sum = vreinterpretq_s32_u8(acc.v);
        sum = vmlal_s16(sum, vget_low_s16(low), vget_low_s16(q_low));
        sum = vmlal_high_s16(sum, low, q_low);
        sum = vmlal_s16(sum, vget_low_s16(high), vget_low_s16(q_high));
        sum = vmlal_high_s16(sum, high, q_high);
        return {vreinterpretq_u8_s32(sum)};
    }
    static KITH_SIMD_INLINE I dot_small(I acc, I a, I b) noexcept {
        return dot(acc, widen(a, std::int8_t{}), widen(b, std::int8_t{}));
    }
    static KITH_SIMD_INLINE I l2_small(I acc, I a, I b) noexcept {
        const auto d = widen({vsubq_u8(a.v, b.v)}, std::int8_t{});
        return dot(acc, d, d);
    }
    static KITH_SIMD_INLINE I difference(I a, I b) noexcept { return {vabdq_u8(a.v, b.v)}; }
    static KITH_SIMD_INLINE I l1(I acc, I a, I b) noexcept {
        return add_bytes(acc, vabdq_u8(a.v, b.v));
    }
    static KITH_SIMD_INLINE I popcount(I acc, I x) noexcept {
        return add_bytes(acc, vcntq_u8(x.v));
    }

    static KITH_SIMD_INLINE I lookup(I tables, I x) noexcept { return {vqtbl1q_u8(tables.v, x.v)}; }
    static KITH_SIMD_INLINE I low_nibbles(I x) noexcept {
        return {vandq_u8(x.v, vdupq_n_u8(0x0F))};
    }
    static KITH_SIMD_INLINE I high_nibbles(I x) noexcept { return {vshrq_n_u8(x.v, 4)}; }
    static KITH_SIMD_INLINE I low_nibbles_by_4(I x) noexcept {
        return {vandq_u8(vshlq_n_u8(x.v, 2), vdupq_n_u8(0x3C))};
    }
    static KITH_SIMD_INLINE I high_nibbles_by_4(I x) noexcept {
        return {vandq_u8(vshrq_n_u8(x.v, 2), vdupq_n_u8(0x3C))};
    }
    static KITH_SIMD_INLINE I add_u16(I a, I b) noexcept {
        return {
            vreinterpretq_u8_u16(vaddq_u16(vreinterpretq_u16_u8(a.v), vreinterpretq_u16_u8(b.v)))};
    }
    static KITH_SIMD_INLINE I add_high_bytes(I a, I x) noexcept {
        return {vreinterpretq_u8_u16(
            vsraq_n_u16(vreinterpretq_u16_u8(a.v), vreinterpretq_u16_u8(x.v), 8))};
    }
    static KITH_SIMD_INLINE I without_high_bytes(I a, I high) noexcept {
        return {vreinterpretq_u8_u16(vsubq_u16(vreinterpretq_u16_u8(a.v),
                                               vshlq_n_u16(vreinterpretq_u16_u8(high.v), 8)))};
    }
    static KITH_SIMD_INLINE void store_sums(std::uint16_t* to, I a, I b, I c, I d) noexcept {
        vst1q_u16(to, vreinterpretq_u16_u8(a.v));
        vst1q_u16(to + 8, vreinterpretq_u16_u8(b.v));
        vst1q_u16(to + 16, vreinterpretq_u16_u8(c.v));
        vst1q_u16(to + 24, vreinterpretq_u16_u8(d.v));
    }
    static KITH_SIMD_INLINE std::uint32_t at_most_bits(const std::uint16_t* words,
                                                       std::uint16_t most) noexcept {
        const uint16x8_t bound = vdupq_n_u16(most);
        const uint8x8_t weight = {1, 2, 4, 8, 16, 32, 64, 128};
        const auto eight = [&](const std::uint16_t* p) KITH_SIMD_LAMBDA {
            const uint8x8_t below = vmovn_u16(vcleq_u16(vld1q_u16(p), bound));
            return static_cast<std::uint32_t>(vaddv_u8(vand_u8(below, weight)));
        };
        return eight(words) | eight(words + 8) << 8 | eight(words + 16) << 16 |
               eight(words + 24) << 24;
    }
    static KITH_SIMD_INLINE F load(const std::uint16_t* p) noexcept {
        return F(vcvtq_f32_u32(vmovl_u16(vld1_u16(p))));
    }

private:
    static KITH_SIMD_INLINE I add_bytes(I acc, uint8x16_t x) noexcept {
        return {vreinterpretq_u8_u32(vpadalq_u16(vreinterpretq_u32_u8(acc.v), vpaddlq_u8(x)))};
    }
    static KITH_SIMD_INLINE void split(uint8x16_t x, F& even, F& odd) noexcept {
        const uint32x4_t words = vreinterpretq_u32_u8(x);
        even = F(vreinterpretq_f32_u32(vshlq_n_u32(words, 16)));
        odd = F(vreinterpretq_f32_u32(vandq_u32(words, vdupq_n_u32(0xFFFF0000u))));
    }
};

}  // namespace kith::simd

#endif
