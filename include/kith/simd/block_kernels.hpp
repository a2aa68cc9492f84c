// SPDX-License-Identifier: Apache-2.0
//
// Estimated distances of 32 vectors at once from 4-bit codes that lie side by side: a register is a table of 16
// bytes, a byte shuffle looks up 16, 32 or 64 codes in it, and no code is ever unpacked to memory. (André, Kermarrec
// and Le Scouarnec 2015, "Cache locality is not enough", and 2017, "Accelerated nearest neighbor search with Quick
// ADC"; for the neighbours of a graph's node as NGT-QG and SymphonyQG, SIGMOD 2025, have it.)
//
// The block of codes, the same bytes for every instruction set (quantize/rabitq.hpp packs it): a group is one table's
// worth of codes, 16 bytes; group g begins at byte 16 g, as table g does. Of its byte b, with i = b / 2,
//
//   b even   low nibble: code of vector i        high nibble: code of vector 16 + i
//   b odd    low nibble: code of vector 8 + i    high nibble: code of vector 24 + i
//
// so a register holds 1, 2 or 4 groups. The bytes that a shuffle finds are added up as if they were 16-bit integers:
// one sum of whole words and one of their upper bytes, from which the sum of the lower bytes follows modulo 2^16.
// Nothing is widened in the loop, the even bytes' sums are vectors 0-7 and the odd ones' 8-15, in order. 16 bits hold
// 256 groups; longer codes are added up in chunks of that, as floats, exact below 2^24.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"

namespace kith::simd {

template <class Arch>
struct BlockEstimate {
    /// KernelTable::estimate32. About groups * 11 / (Isa::bytes / 16) instructions.
    KITH_SIMD_ENTRY static std::uint32_t estimate32(const std::uint8_t* codes,
                                                    const std::uint8_t* table, std::size_t groups,
                                                    const BFloat16* add, const BFloat16* rescale,
                                                    float base, float scale, float offset,
                                                    float bound, float* out) noexcept {
        F sums[registers];
        add_chunk(codes, table, groups < chunk ? groups : chunk, sums);
        for (std::size_t done = chunk; done < groups; done += chunk) {
            F more[registers];
            const std::size_t rest = groups - done;
            add_chunk(codes + 16 * done, table + 16 * done, rest < chunk ? rest : chunk, more);
            unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
                constexpr std::size_t j = decltype(r)::value;
                sums[j] = sums[j] + more[j];
            });
        }
        const F bases = Isa::broadcast(base);
        const F scales = Isa::broadcast(scale);
        const F offsets = Isa::broadcast(offset);
        const F bounds = Isa::broadcast(bound);
        std::uint32_t hits = 0;
        unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(r)::value;
            const F product = Isa::load(rescale + j * width) * (scales * sums[j] + offsets);
            const F estimate = (bases + Isa::load(add + j * width)) + product;
            Isa::store(out + j * width, estimate);
            hits |= Isa::not_ge_bits(estimate, bounds) << (j * width);
        });
        return hits;
    }

private:
    using Isa = simd::Isa<Arch>;
    using F = typename Isa::F;
    using I = typename Isa::I;
    static constexpr std::size_t width = Isa::width;
    static constexpr std::size_t registers = 32 / width;
    static constexpr std::size_t chunk = 256;  // groups whose bytes a 16-bit sum holds

    static KITH_SIMD_INLINE void add_chunk(const std::uint8_t* codes, const std::uint8_t* table,
                                           std::size_t groups, F (&sums)[registers]) noexcept {
        alignas(64) std::uint16_t words[32];
        if constexpr (Isa::byte_lookup)
            add_bytes(codes, table, groups, words);
        else
            add_one_by_one(codes, table, groups, words);
        unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(r)::value;
            sums[j] = Isa::load(words + j * width);
        });
    }

    static KITH_SIMD_INLINE void add_bytes(const std::uint8_t* codes, const std::uint8_t* table,
                                           std::size_t groups, std::uint16_t* sums) noexcept {
        I low = Isa::zero_i(), low_odd = low, high = low, high_odd = low;
        const std::size_t bytes = 16 * groups;
        for (std::size_t k = 0; k < bytes; k += 64) {
            unroll<64 / Isa::bytes>([&](auto step) KITH_SIMD_LAMBDA {
                const std::size_t at = k + decltype(step)::value * Isa::bytes;
                const I packed = Isa::load_bytes(codes + at);
                const I tables = Isa::load_bytes(table + at);
                const I x = Isa::lookup(tables, Isa::low_nibbles(packed));
                const I y = Isa::lookup(tables, Isa::high_nibbles(packed));
                low = Isa::add_u16(low, x);
                low_odd = Isa::add_high_bytes(low_odd, x);
                high = Isa::add_u16(high, y);
                high_odd = Isa::add_high_bytes(high_odd, y);
            });
        }
        Isa::store_sums(sums, Isa::without_high_bytes(low, low_odd), low_odd,
                        Isa::without_high_bytes(high, high_odd), high_odd);
    }

    static KITH_SIMD_INLINE void add_one_by_one(const std::uint8_t* codes,
                                                const std::uint8_t* table, std::size_t groups,
                                                std::uint16_t* sums) noexcept {
        for (std::size_t i = 0; i < 32; ++i) sums[i] = 0;
        for (std::size_t g = 0; g < groups; ++g, codes += 16, table += 16)
            for (std::size_t b = 0; b < 16; ++b) {
                const std::size_t i = b / 2 + 8 * (b % 2);
                sums[i] = static_cast<std::uint16_t>(sums[i] + table[codes[b] & 15u]);
                sums[16 + i] = static_cast<std::uint16_t>(sums[16 + i] + table[codes[b] >> 4]);
            }
    }
};

}  // namespace kith::simd
