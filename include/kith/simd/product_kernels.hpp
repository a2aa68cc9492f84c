// SPDX-License-Identifier: Apache-2.0
//
// Product quantisation with 8-bit codes (Jégou, Douze and Schmid 2011, "Product quantization for nearest neighbor
// search"): encoding, a query's tables, and the scan that adds up table entries (ADC).
//
// A table wants the distances of one short sub-vector from 256 centroids. Its register therefore holds one dimension
// of several centroids, not several dimensions of one: nothing is left over, however short sub-vectors are, and
// nothing is added up across a register.
//
// The scan is loads: one for eight codes, one for each entry, which is added from memory. Gather instructions load no
// faster (André, Kermarrec and Le Scouarnec 2015, "Cache locality is not enough", found so too). What can be had is
// overlap: four rows at a time with two sums each keep eight additions going.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

/// One dimension's part of a table entry; `scalar` is the same arithmetic for one entry.
struct EntryL2 {
    template <class Isa>
    static KITH_SIMD_INLINE typename Isa::F prepare(float q) noexcept {
        return Isa::broadcast(q);
    }
    template <class Isa>
    static KITH_SIMD_INLINE typename Isa::F add(typename Isa::F sum, typename Isa::F q,
                                                typename Isa::F c) noexcept {
        const typename Isa::F difference = q - c;
        return Isa::fma(difference, difference, sum);
    }
    template <class Isa>
    static KITH_SIMD_INLINE float scalar(float sum, float q, float c) noexcept {
        const float difference = q - c;
        return Isa::fma(difference, difference, sum);
    }
};
struct EntryDot {
    template <class Isa>
    static KITH_SIMD_INLINE typename Isa::F prepare(float q) noexcept {
        return Isa::broadcast(-q);
    }
    template <class Isa>
    static KITH_SIMD_INLINE typename Isa::F add(typename Isa::F sum, typename Isa::F q,
                                                typename Isa::F c) noexcept {
        return Isa::fma(q, c, sum);
    }
    template <class Isa>
    static KITH_SIMD_INLINE float scalar(float sum, float q, float c) noexcept {
        return Isa::fma(-q, c, sum);
    }
};

template <class Arch>
struct ProductCode {
    /// About dim * count / Isa::width * 3 instructions, and as many for each other function over all centroids.
    KITH_SIMD_ENTRY static void encode(const float* x, const CodebooksRef& books,
                                       std::uint8_t* codes) noexcept {
        for_each_subspace(books, [&](std::size_t j, std::size_t first, std::size_t length) KITH_SIMD_LAMBDA {
            codes[j] = nearest(x + first, books.by_dimension + first * books.count, books.count, length);
        });
    }

    template <class Entry>
    KITH_SIMD_ENTRY static void table(const float* q, const CodebooksRef& books,
                                      float* out) noexcept {
        for_each_subspace(books, [&](std::size_t j, std::size_t first, std::size_t length) KITH_SIMD_LAMBDA {
            for_each_centroids<Entry>(
                q + first, books.by_dimension + first * books.count, books.count, length,
                [&](std::size_t c, F entries) KITH_SIMD_LAMBDA { Isa::store(out + j * books.count + c, entries); });
        });
    }

    template <class Entry>
    KITH_SIMD_ENTRY static float between(const CodebooksRef& books, const std::uint8_t* a,
                                         const std::uint8_t* b) noexcept {
        float even = 0.0f, odd = 0.0f;
        for_each_subspace(books, [&](std::size_t j, std::size_t first, std::size_t length) KITH_SIMD_LAMBDA {
            const float* book = books.by_centroid + first * books.count;
            const float* x = book + a[j] * length;
            const float* y = book + b[j] * length;
            float entry = 0.0f;
            for (std::size_t k = 0; k < length; ++k)
                entry = Entry::template scalar<Isa>(entry, x[k], y[k]);
            (j % 2 == 0 ? even : odd) += entry;
        });
        return 0.0f + (even + odd);
    }

    KITH_SIMD_ENTRY static void run(const float* table, std::size_t m, const std::uint8_t* codes,
                                    std::size_t stride, std::size_t count, float bias,
                                    float* out) noexcept {
        add_up_rows(table, m, count, bias, out, [&](std::size_t i) KITH_SIMD_LAMBDA { return codes + i * stride; },
                    [](std::size_t) KITH_SIMD_LAMBDA {});
    }

    KITH_SIMD_ENTRY static void gather(const float* table, std::size_t m, const std::uint8_t* codes,
                                       std::size_t stride, const Slot* slots, std::size_t count,
                                       float bias, float* out) noexcept {
        add_up_rows(table, m, count, bias, out,
                    [&](std::size_t i) KITH_SIMD_LAMBDA { return codes + slots[i] * stride; },
                    [&](std::size_t i) KITH_SIMD_LAMBDA {
                        if (i < count) __builtin_prefetch(codes + slots[i] * stride);
                    });
    }

private:
    using Isa = simd::Isa<Arch>;
    using F = typename Isa::F;
    static constexpr std::size_t width = Isa::width;
    static constexpr std::size_t group = 4;  // rows whose sums are kept apart

    /// visit(j, first dimension, length).
    template <class Visit>
    static KITH_SIMD_INLINE void for_each_subspace(const CodebooksRef& books, Visit visit) noexcept {
        const std::size_t length = books.dim / books.m;
        const std::size_t longer = books.dim % books.m;
        std::size_t first = 0;
        for (std::size_t j = 0; j < books.m; ++j) {
            const std::size_t own = length + (j < longer ? 1 : 0);
            visit(j, first, own);
            first += own;
        }
    }

    /// visit(c, entries of centroids c .. c + width), in order.
    template <class Entry, class Visit>
    static KITH_SIMD_INLINE void for_each_centroids(const float* q, const float* book,
                                                    std::size_t count, std::size_t length,
                                                    Visit visit) noexcept {
        std::size_t c = 0;
        const auto some = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t R = decltype(size)::value;  // registers; eight chains hide the latency of a fused addition
            for (; c + R * width <= count; c += R * width) {
                F sums[R];
                unroll<R>([&](auto r) KITH_SIMD_LAMBDA { sums[decltype(r)::value] = Isa::zero(); });
                for (std::size_t k = 0; k < length; ++k) {
                    const F value = Entry::template prepare<Isa>(q[k]);
                    const float* row = book + k * count + c;
                    unroll<R>([&](auto r) KITH_SIMD_LAMBDA {
                        constexpr std::size_t i = decltype(r)::value;
                        sums[i] = Entry::template add<Isa>(sums[i], value, Isa::load(row + i * width));
                    });
                }
                unroll<R>([&](auto r) KITH_SIMD_LAMBDA {
                    constexpr std::size_t i = decltype(r)::value;
                    visit(c + i * width, sums[i]);
                });
            }
        };
        some(Index<8>{});
        some(Index<1>{});
    }

    /// The least squared distance of each lane and its centroid, without a branch; then the least of the lanes.
    static KITH_SIMD_INLINE std::uint8_t nearest(const float* x, const float* book,
                                                 std::size_t count, std::size_t length) noexcept {
        alignas(64) float distances[width], places[width];
        for (std::size_t i = 0; i < width; ++i) places[i] = static_cast<float>(i);
        F best = Isa::broadcast(std::numeric_limits<float>::infinity());
        F best_at = Isa::load(places);
        F at = best_at;
        for_each_centroids<EntryL2>(x, book, count, length, [&](std::size_t, F entries) KITH_SIMD_LAMBDA {
            const auto nearer = entries < best;
            best = xsimd::select(nearer, entries, best);
            best_at = xsimd::select(nearer, at, best_at);
            at = at + Isa::broadcast(static_cast<float>(width));
        });
        Isa::store(distances, best);
        Isa::store(places, best_at);
        std::size_t least = 0;
        for (std::size_t i = 1; i < width; ++i)
            if (distances[i] < distances[least] ||
                (distances[i] == distances[least] && places[i] < places[least]))
                least = i;
        return static_cast<std::uint8_t>(places[least]);
    }

    template <class RowAt, class Prefetch>
    static KITH_SIMD_INLINE void add_up_rows(const float* table, std::size_t m, std::size_t count,
                                             float bias, float* out, RowAt row_at,
                                             Prefetch prefetch) noexcept {
        std::size_t i = 0;
        const auto add_up = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t G = decltype(size)::value;
            for (; i + G <= count; i += G) {
                const std::uint8_t* rows[G];
                unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                    rows[decltype(g)::value] = row_at(i + decltype(g)::value);
                    prefetch(i + G + decltype(g)::value);
                });
                add_up_group<G>(table, m, rows, bias, out + i);
            }
        };
        add_up(Index<group>{});
        add_up(Index<1>{});
    }

    template <std::size_t G>
    static KITH_SIMD_INLINE void add_up_group(const float* table, std::size_t m,
                                              const std::uint8_t* const (&rows)[G], float bias,
                                              float* out) noexcept {
        float even[G] = {}, odd[G] = {};
        std::size_t j = 0;
        for (; j + 8 <= m; j += 8, table += 8 * 256) {
            std::uint64_t codes[G];
            unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                constexpr std::size_t i = decltype(g)::value;
                __builtin_memcpy(&codes[i], rows[i] + j, 8);
            });
            unroll<4>([&](auto pair) KITH_SIMD_LAMBDA {
                constexpr std::size_t k = 2 * decltype(pair)::value;
                unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                    constexpr std::size_t i = decltype(g)::value;
                    even[i] += table[256 * k + (codes[i] >> (8 * k) & 255u)];
                    odd[i] += table[256 * (k + 1) + (codes[i] >> (8 * k + 8) & 255u)];
                    Isa::keep_apart(even[i]);
                    Isa::keep_apart(odd[i]);
                });
            });
        }
        for (; j < m; ++j, table += 256)
            unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                constexpr std::size_t i = decltype(g)::value;
                (j % 2 == 0 ? even[i] : odd[i]) += table[rows[i][j]];
            });
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
            constexpr std::size_t i = decltype(g)::value;
            out[i] = bias + (even[i] + odd[i]);
        });
    }
};

template <class Arch>
constexpr ProductKernels product_kernels() noexcept {
    using Code = ProductCode<Arch>;
    return {&Code::encode,
            &Code::template table<EntryL2>,
            &Code::template table<EntryDot>,
            &Code::template between<EntryL2>,
            &Code::template between<EntryDot>,
            &Code::run,
            &Code::gather};
}

}  // namespace kith::simd
