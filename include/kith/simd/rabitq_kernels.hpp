// SPDX-License-Identifier: Apache-2.0
//
// Estimates from RaBitQ codes of 1 to 8 bits a dimension (quantize/rabitq_codec.hpp), row by row: products of a query in whole numbers with codes that
// are taken out of their bytes on the way.
//
// A code of `bits` bits is kept in parts of 8, 4, 2 or 1 bits, those that `bits` is the sum of, the most significant ones first. A part of W bits of all
// dim dimensions is a run of L = dim W / 8 bytes, and byte p holds dimensions p, L + p, 2 L + p, ... from its lowest bits up: a shift and a mask of a whole
// register give codes in the order of the query, whatever the register's length.
//
// The query is one or two planes of signed bytes, small enough that an instruction which adds up two products in 16 bits never saturates (simd/table.hpp).
// Sums are 32-bit integers, exact and so the same in any order; what is made of them takes the same few float operations in all shapes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

template <class Arch, std::size_t Bits>
struct RabitqScore {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;
    static constexpr std::size_t planes = RabitqQuery::planes_of(Bits);
    static constexpr std::size_t group = Isa::group;
    static constexpr std::size_t near_bytes = std::size_t{32} << 10;  // of the first cache

    KITH_SIMD_ENTRY static void run(const RabitqQuery& q, const std::uint8_t* rows, std::size_t stride, std::size_t count,
                                    float* out) noexcept {
        std::size_t i = 0;
        if (count * stride > near_bytes)
            for (; i + group <= count; i += group) score_in_order(q, rows + i * stride, stride, out + i);
        const auto score = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t G = decltype(size)::value;
            for (; i + G <= count; i += G) {
                const std::uint8_t* some[G];
                unroll<G>([&](auto g) KITH_SIMD_LAMBDA { some[decltype(g)::value] = rows + (i + decltype(g)::value) * stride; });
                score_rows<G>(q, some, out + i);
            }
        };
        score(Index<group>{});
        if constexpr (group > 4) score(Index<4>{});
        score(Index<1>{});
    }

    KITH_SIMD_ENTRY static void gather(const RabitqQuery& q, const std::uint8_t* rows, std::size_t stride, const Slot* slots,
                                       std::size_t count, float* out) noexcept {
        std::size_t i = 0;
        const auto score = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t G = decltype(size)::value;
            for (; i + G <= count; i += G) {
                const std::uint8_t* some[G];
                for (std::size_t j = i + G; j < count && j < i + 2 * G; ++j) prefetch(rows + slots[j] * stride, stride);
                unroll<G>([&](auto g) KITH_SIMD_LAMBDA { some[decltype(g)::value] = rows + slots[i + decltype(g)::value] * stride; });
                score_rows<G>(q, some, out + i);
            }
        };
        score(Index<group>{});
        if constexpr (group > 4) score(Index<4>{});
        score(Index<1>{});
    }

private:
    /// The first lines of a row; the processor's prefetcher goes on from there.
    static KITH_SIMD_INLINE void prefetch(const std::uint8_t* row, std::size_t bytes) noexcept {
        __builtin_prefetch(row);
        if (bytes > 64) __builtin_prefetch(row + 64);
    }

    template <std::size_t G>
    static KITH_SIMD_INLINE void score_rows(const RabitqQuery& q, const std::uint8_t* const (&rows)[G], float* out) noexcept {
        I sums[G];
        add_up(q, rows, sums);
        if constexpr (G == 1) {
            out[0] = estimate(q, rows[0], static_cast<std::uint32_t>(Isa::reduce_one(sums[0])));
        } else {
            // A part of a group is repeated to fill it up: the compiler reduces the equal halves once.
            I all[group];
            unroll<group>([&](auto g) KITH_SIMD_LAMBDA { all[decltype(g)::value] = sums[decltype(g)::value % G]; });
            const typename Isa::Lanes lanes = Isa::reduce(all);
            unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                constexpr std::size_t j = decltype(g)::value;
                out[j] = estimate(q, rows[j], lanes[j]);
            });
        }
    }

    /// A group of contiguous rows, one after the other: one stream for the processor's prefetcher (simd/scan.hpp).
    static KITH_SIMD_INLINE void score_in_order(const RabitqQuery& q, const std::uint8_t* rows, std::size_t stride, float* out) noexcept {
        I sums[group];
        for (std::size_t j = 0; j < group; ++j) {
            const std::uint8_t* one[1] = {rows + j * stride};
            I sum[1];
            add_up(q, one, sum);
            sums[j] = sum[0];
        }
        const typename Isa::Lanes lanes = Isa::reduce(sums);
        unroll<group>([&](auto g) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(g)::value;
            out[j] = estimate(q, rows + j * stride, lanes[j]);
        });
    }

    /// sums: registers whose lanes add up to sum of u_j q_j, modulo 2^32.
    template <std::size_t G>
    static KITH_SIMD_INLINE void add_up(const RabitqQuery& q, const std::uint8_t* const (&rows)[G], I (&sums)[G]) noexcept {
        I part[planes][G];
        unroll<planes * G>([&](auto g) KITH_SIMD_LAMBDA { part[decltype(g)::value / G][decltype(g)::value % G] = Isa::zero_i(); });
        const std::uint8_t* codes[G];
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA { codes[decltype(g)::value] = rows[decltype(g)::value] + sizeof(RabitqFactors); });
        if constexpr ((Bits & 8) != 0) add_part<8>(q, codes, part);
        if constexpr ((Bits & 4) != 0) add_part<4>(q, codes, part);
        if constexpr ((Bits & 2) != 0) add_part<2>(q, codes, part);
        if constexpr ((Bits & 1) != 0) add_part<1>(q, codes, part);
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(g)::value;
            if constexpr (planes == 1) sums[j] = part[0][j];
            else sums[j] = Isa::add(doubled<7>(part[0][j]), part[1][j]);
        });
    }

    /// Moves the sums of more significant parts up, adds those of this one, and goes on to the next part of the rows.
    template <std::size_t W, std::size_t G>
    static KITH_SIMD_INLINE void add_part(const RabitqQuery& q, const std::uint8_t* (&codes)[G], I (&part)[planes][G]) noexcept {
        if constexpr (Bits >= 2 * W)  // there are more significant ones
            unroll<planes * G>([&](auto g) KITH_SIMD_LAMBDA {
                I& sum = part[decltype(g)::value / G][decltype(g)::value % G];
                sum = doubled<W>(sum);
            });
        const std::size_t length = q.dim * W / 8;
        std::size_t p = 0;
        for (; p + Isa::bytes <= length; p += Isa::bytes)
            add_register<W>(q, p, length, part, [&](std::size_t g) KITH_SIMD_LAMBDA { return Isa::load_bytes(codes[g] + p); });
        if (p < length)
            add_register<W>(q, p, length, part,
                            [&](std::size_t g) KITH_SIMD_LAMBDA { return Isa::load_bytes_partial(codes[g] + p, length - p); });
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA { codes[decltype(g)::value] += length; });
    }

    /// Codes past the end of a part are zero, so that it does not matter what they are multiplied with.
    template <std::size_t W, std::size_t G, class Load>
    static KITH_SIMD_INLINE void add_register(const RabitqQuery& q, std::size_t p, std::size_t length, I (&part)[planes][G],
                                              Load load) noexcept {
        constexpr int largest = (1 << W) - 1;
        I bytes[G];
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA { bytes[decltype(g)::value] = load(decltype(g)::value); });
        unroll<8 / W>([&](auto field) KITH_SIMD_LAMBDA {
            constexpr std::size_t k = decltype(field)::value;
            I from[planes];
            unroll<planes>([&](auto plane) KITH_SIMD_LAMBDA {
                constexpr std::size_t h = decltype(plane)::value;
                from[h] = Isa::load_bytes(q.planes + h * (q.dim + RabitqQuery::padding) + k * length + p);
            });
            unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                constexpr std::size_t j = decltype(g)::value;
                const I code = W == 8 ? bytes[j] : Isa::template fields<static_cast<int>(k * W), largest>(bytes[j]);
                unroll<planes>([&](auto plane) KITH_SIMD_LAMBDA {
                    constexpr std::size_t h = decltype(plane)::value;
                    part[h][j] = Isa::template dot_codes<largest>(part[h][j], code, from[h]);
                });
            });
        });
    }

    /// 2^times x.
    template <std::size_t times>
    static KITH_SIMD_INLINE I doubled(I x) noexcept {
        unroll<times>([&](auto) KITH_SIMD_LAMBDA { x = Isa::add(x, x); });
        return x;
    }

    static KITH_SIMD_INLINE float estimate(const RabitqQuery& q, const std::uint8_t* row, std::uint32_t sum) noexcept {
        RabitqFactors factors;
        __builtin_memcpy(&factors, row, sizeof(factors));
        const auto s = static_cast<std::int32_t>(2 * sum - static_cast<std::uint32_t>(q.offset));
        const float rescale = q.between_rows ? factors.rescale * factors.cosine : factors.rescale;
        return Isa::fma(q.dot_scale * rescale, static_cast<float>(s), Isa::fma(q.add_scale, factors.add, q.base));
    }
};

template <class Arch>
constexpr RabitqKernels rabitq_kernels() noexcept {
    return {{&RabitqScore<Arch, 1>::run, &RabitqScore<Arch, 2>::run, &RabitqScore<Arch, 3>::run, &RabitqScore<Arch, 4>::run,
             &RabitqScore<Arch, 5>::run, &RabitqScore<Arch, 6>::run, &RabitqScore<Arch, 7>::run, &RabitqScore<Arch, 8>::run},
            {&RabitqScore<Arch, 1>::gather, &RabitqScore<Arch, 2>::gather, &RabitqScore<Arch, 3>::gather, &RabitqScore<Arch, 4>::gather,
             &RabitqScore<Arch, 5>::gather, &RabitqScore<Arch, 6>::gather, &RabitqScore<Arch, 7>::gather, &RabitqScore<Arch, 8>::gather}};
}

}  // namespace kith::simd
