// SPDX-License-Identifier: Apache-2.0
//
// Distances of 32 vectors at once from 4-bit codes laid out as simd/block_sums.hpp says: estimates for the neighbours
// of a graph's node (NGT-QG; SymphonyQG, SIGMOD 2025), and the scan of blocks of product-quantised codes (André,
// Kermarrec and Le Scouarnec 2015 and 2017), for one query or several.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "kith/simd/block_sums.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

template <class Arch>
struct BlockKernels {
    /// KernelTable::estimate32. About groups * 11 / (Isa::bytes / 16) instructions.
    KITH_SIMD_ENTRY static std::uint32_t estimate32(const std::uint8_t* codes,
                                                    const std::uint8_t* table, std::size_t groups,
                                                    const BFloat16* add, const BFloat16* rescale,
                                                    float base, float scale, float offset,
                                                    float bound, float* out) noexcept {
        F sums[registers];
        add_up(codes, table, groups, sums);
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

    /// KernelTable::scan32. Queries go in pairs or fours where there are registers for their sums: a code is loaded and taken
    /// apart once for all of them.
    KITH_SIMD_ENTRY static void scan32(const std::uint8_t* codes, std::size_t blocks,
                                       std::size_t groups, const BlockQuery* queries,
                                       std::size_t count) noexcept {
        const auto scan = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t Q = decltype(size)::value;
            for (; count >= Q; queries += Q, count -= Q) {
                if (groups <= Sums::chunk) scan_short<Q>(codes, blocks, groups, queries);
                else scan_long(codes, blocks, groups, queries, Q);
            }
        };
        scan(Index<Isa::scan_queries>{});
        if constexpr (Isa::scan_queries > 2) scan(Index<2>{});
        if constexpr (Isa::scan_queries > 1) scan(Index<1>{});
    }

    /// KernelTable::gather32.
    KITH_SIMD_ENTRY static void gather32(const std::uint8_t* codes, std::size_t groups,
                                         const std::uint8_t* table, float scale, float offset,
                                         const Slot* slots, std::size_t count,
                                         float* out) noexcept {
        const std::size_t block_bytes = 16 * groups;
        const std::size_t ahead = block_bytes < prefetched ? block_bytes : prefetched;
        for (std::size_t i = 0; i < count; ++i) {
            if (i + 1 < count) {
                const std::uint8_t* next = codes + slots[i + 1] / 32 * block_bytes;
                for (std::size_t at = 0; at < ahead; at += 64) __builtin_prefetch(next + at);
            }
            const std::uint8_t* block = codes + slots[i] / 32 * block_bytes;
            std::uint32_t sum = 0;
            for (std::size_t done = 0; done < groups; done += Sums::chunk) {
                const std::size_t rest = groups - done;
                sum += Sums::add_one(block + 16 * done, table + 16 * done,
                                     rest < Sums::chunk ? rest : Sums::chunk, slots[i] % 32);
            }
            out[i] = scale * static_cast<float>(sum) + offset;
        }
    }

private:
    using Isa = simd::Isa<Arch>;
    using Sums = BlockSums<Arch>;
    using F = typename Isa::F;
    static constexpr std::size_t width = Isa::width;
    static constexpr std::size_t registers = 32 / width;
    static constexpr std::size_t prefetched = 512;  // bytes of a block; by then the processor has understood

    /// As floats, which hold whole numbers below 2^24.
    static KITH_SIMD_INLINE void add_up(const std::uint8_t* codes, const std::uint8_t* table,
                                        std::size_t groups, F (&sums)[registers]) noexcept {
        add_chunk(codes, table, groups < Sums::chunk ? groups : Sums::chunk, sums);
        for (std::size_t done = Sums::chunk; done < groups; done += Sums::chunk) {
            F more[registers];
            const std::size_t rest = groups - done;
            add_chunk(codes + 16 * done, table + 16 * done,
                      rest < Sums::chunk ? rest : Sums::chunk, more);
            unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
                constexpr std::size_t j = decltype(r)::value;
                sums[j] = sums[j] + more[j];
            });
        }
    }

    static KITH_SIMD_INLINE void add_chunk(const std::uint8_t* codes, const std::uint8_t* table,
                                           std::size_t groups, F (&sums)[registers]) noexcept {
        alignas(64) std::uint16_t words[1][32];
        Sums::template add<1>(codes, {table}, groups, words);
        unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(r)::value;
            sums[j] = Isa::load(words[0] + j * width);
        });
    }

    /// Codes whose sums fit into 16 bits. Most blocks hold nothing near: those cost no float.
    template <std::size_t Q>
    static KITH_SIMD_INLINE void scan_short(const std::uint8_t* codes, std::size_t blocks,
                                            std::size_t groups,
                                            const BlockQuery* queries) noexcept {
        const std::uint8_t* tables[Q];
        for (std::size_t q = 0; q < Q; ++q) tables[q] = queries[q].table;
        for (std::size_t b = 0; b < blocks; ++b, codes += 16 * groups) {
            alignas(64) std::uint16_t words[Q][32];
            Sums::template add<Q>(codes, tables, groups, words);
            for (std::size_t q = 0; q < Q; ++q) {
                const BlockQuery& query = queries[q];
                if (query.terms != nullptr) {
                    F sums[registers];
                    unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
                        constexpr std::size_t j = decltype(r)::value;
                        sums[j] = Isa::load(words[q] + j * width);
                    });
                    store_with_terms(query, sums, b);
                    continue;
                }
                constexpr std::int32_t largest = 0xFFFF;
                const std::uint32_t hits =
                    query.most < 0 ? 0u
                                   : Isa::at_most_bits(words[q], static_cast<std::uint16_t>(
                                         query.most < largest ? query.most : largest));
                query.hits[b] = hits;
                if (hits == 0) continue;
                F sums[registers];
                unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
                    constexpr std::size_t j = decltype(r)::value;
                    sums[j] = Isa::load(words[q] + j * width);
                });
                store_distances(query, sums, query.out + 32 * b);
            }
        }
    }

    static KITH_SIMD_INLINE void scan_long(const std::uint8_t* codes, std::size_t blocks,
                                           std::size_t groups, const BlockQuery* queries,
                                           std::size_t count) noexcept {
        constexpr std::int32_t largest = (1 << 24) - 1;
        for (std::size_t b = 0; b < blocks; ++b, codes += 16 * groups)
            for (std::size_t q = 0; q < count; ++q) {
                const BlockQuery& query = queries[q];
                F sums[registers];
                add_up(codes, query.table, groups, sums);
                if (query.terms != nullptr) {
                    store_with_terms(query, sums, b);
                    continue;
                }
                const F above = Isa::broadcast(
                    static_cast<float>((query.most < largest ? query.most : largest) + 1));
                std::uint32_t hits = 0;
                unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
                    constexpr std::size_t j = decltype(r)::value;
                    hits |= Isa::not_ge_bits(sums[j], above) << (j * width);
                });
                query.hits[b] = hits;
                if (hits != 0) store_distances(query, sums, query.out + 32 * b);
            }
    }

    /// Block b of a query that has terms. Whether a compiler fuses the first addition does not matter where products are exact.
    static KITH_SIMD_INLINE void store_with_terms(const BlockQuery& query,
                                                  const F (&sums)[registers],
                                                  std::size_t b) noexcept {
        const F scales = Isa::broadcast(query.scale);
        const F offsets = Isa::broadcast(query.offset);
        const F bounds = Isa::broadcast(query.bound);
        const float* const terms = query.terms + 32 * b;
        F distances[registers];
        std::uint32_t beyond = 0;
        unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(r)::value;
            distances[j] = (scales * sums[j] + offsets) + Isa::load(terms + j * width);
            beyond |= Isa::not_ge_bits(bounds, distances[j]) << (j * width);
        });
        const std::uint32_t hits = query.bound < std::numeric_limits<float>::infinity() ? ~beyond : ~0u;
        query.hits[b] = hits;
        if (hits == 0) return;
        unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(r)::value;
            Isa::store(query.out + 32 * b + j * width, distances[j]);
        });
    }

    static KITH_SIMD_INLINE void store_distances(const BlockQuery& query,
                                                 const F (&sums)[registers],
                                                 float* out) noexcept {
        const F scales = Isa::broadcast(query.scale);
        const F offsets = Isa::broadcast(query.offset);
        unroll<registers>([&](auto r) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(r)::value;
            Isa::store(out + j * width, scales * sums[j] + offsets);
        });
    }
};

}  // namespace kith::simd
