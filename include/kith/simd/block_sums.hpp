// SPDX-License-Identifier: Apache-2.0
//
// Sums over tables of 16 bytes, for 32 vectors at once, from 4-bit codes that lie side by side: a register is a table
// of 16 bytes, a byte shuffle looks up 16, 32 or 64 codes in it, and no code is ever unpacked to memory. (André,
// Kermarrec and Le Scouarnec 2015, "Cache locality is not enough", and 2017, "Accelerated nearest neighbor search with
// Quick ADC".)
//
// The block of codes, the same bytes for every instruction set (quantize/pq_codes.hpp and quantize/rabitq.hpp pack
// it): a group is one table's worth of codes, 16 bytes; group g begins at byte 16 g, as table g does. Of its byte b,
// with i = b / 2,
//
//   b even   low nibble: code of vector i        high nibble: code of vector 16 + i
//   b odd    low nibble: code of vector 8 + i    high nibble: code of vector 24 + i
//
// so a register holds 1, 2 or 4 groups. The bytes that a shuffle finds are added up as if they were 16-bit integers:
// one sum of whole words and one of their upper bytes, from which the sum of the lower bytes follows modulo 2^16.
// Nothing is widened in the loop, the even bytes' sums are vectors 0-7 and the odd ones' 8-15, in order. 16 bits hold
// 256 groups; who has longer codes adds them up in chunks of that.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"

namespace kith::simd {

template <class Arch>
struct BlockSums {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;
    static constexpr std::size_t chunk = 256;  // groups whose bytes a 16-bit sum holds

    /// sums[q][i]: what the codes of vector i find in the tables of query q. groups is a multiple of 4, at most chunk.
    template <std::size_t Q>
    static KITH_SIMD_INLINE void add(const std::uint8_t* codes,
                                     const std::uint8_t* const (&tables)[Q], std::size_t groups,
                                     std::uint16_t (&sums)[Q][32]) noexcept {
        if constexpr (Isa::byte_lookup) {
            add_bytes<Q>(codes, tables, groups, sums);
        } else {
            for (std::size_t q = 0; q < Q; ++q) add_one_by_one(codes, tables[q], groups, sums[q]);
        }
    }

    /// The sum of one vector alone.
    static KITH_SIMD_INLINE std::uint32_t add_one(const std::uint8_t* codes,
                                                  const std::uint8_t* table, std::size_t groups,
                                                  std::size_t vector) noexcept {
        if constexpr (Isa::byte_lookup) {
            alignas(64) std::uint16_t sums[32];
            add_half(codes, table, groups, vector >= 16, sums);
            return sums[vector % 16];
        } else {
            codes += 2 * (vector % 8) + vector / 8 % 2;
            const unsigned shift = vector < 16 ? 0 : 4;
            std::uint32_t sum = 0;
            for (std::size_t g = 0; g < groups; ++g)
                sum += table[16 * g + (static_cast<unsigned>(codes[16 * g] >> shift) & 15u)];
            return sum;
        }
    }

private:
    /// Whole words and upper bytes of what was looked up.
    struct Pair {
        I words, odd;
        KITH_SIMD_INLINE void add(I x) noexcept {
            words = Isa::add_u16(words, x);
            odd = Isa::add_high_bytes(odd, x);
        }
        KITH_SIMD_INLINE I even() const noexcept { return Isa::without_high_bytes(words, odd); }
    };

    template <std::size_t Q>
    static KITH_SIMD_INLINE void add_bytes(const std::uint8_t* codes,
                                           const std::uint8_t* const (&tables)[Q],
                                           std::size_t groups,
                                           std::uint16_t (&sums)[Q][32]) noexcept {
        Pair low[Q], high[Q];
        unroll<Q>([&](auto q) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(q)::value;
            low[j] = high[j] = {Isa::zero_i(), Isa::zero_i()};
        });
        const std::size_t bytes = 16 * groups;
        for (std::size_t k = 0; k < bytes; k += 64) {
            unroll<64 / Isa::bytes>([&](auto step) KITH_SIMD_LAMBDA {
                const std::size_t at = k + decltype(step)::value * Isa::bytes;
                const I packed = Isa::load_bytes(codes + at);
                const I low_codes = Isa::low_nibbles(packed);
                const I high_codes = Isa::high_nibbles(packed);
                unroll<Q>([&](auto q) KITH_SIMD_LAMBDA {
                    constexpr std::size_t j = decltype(q)::value;
                    const I table = Isa::load_bytes(tables[j] + at);
                    low[j].add(Isa::lookup(table, low_codes));
                    high[j].add(Isa::lookup(table, high_codes));
                });
            });
        }
        unroll<Q>([&](auto q) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(q)::value;
            Isa::store_sums(sums[j], low[j].even(), low[j].odd, high[j].even(), high[j].odd);
        });
    }

    /// The first 16 of sums: those of vectors 0-15, or of 16-31.
    static KITH_SIMD_INLINE void add_half(const std::uint8_t* codes, const std::uint8_t* table,
                                          std::size_t groups, bool upper,
                                          std::uint16_t (&sums)[32]) noexcept {
        Pair pair{Isa::zero_i(), Isa::zero_i()};
        const auto add = [&](auto nibbles) KITH_SIMD_LAMBDA {
            for (std::size_t k = 0; k < 16 * groups; k += 64)
                unroll<64 / Isa::bytes>([&](auto step) KITH_SIMD_LAMBDA {
                    const std::size_t at = k + decltype(step)::value * Isa::bytes;
                    pair.add(Isa::lookup(Isa::load_bytes(table + at),
                                         nibbles(Isa::load_bytes(codes + at))));
                });
        };
        if (upper) add([](I x) KITH_SIMD_LAMBDA { return Isa::high_nibbles(x); });
        else add([](I x) KITH_SIMD_LAMBDA { return Isa::low_nibbles(x); });
        Isa::store_sums(sums, pair.even(), pair.odd, Isa::zero_i(), Isa::zero_i());
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
