// SPDX-License-Identifier: Apache-2.0
//
// Hamming and Jaccard distances of rows of bits, eight dimensions to a byte. Counts are exact; the Jaccard distance is
// (|a or b| - |a and b|) / |a or b|, one rounding of an exact quotient, and 0 when both are empty.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/scan.hpp"

namespace kith::simd {

template <class Arch>
struct HammingOp {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;
    using T = Bits8;
    using Query = Bits8;
    using Out = std::int32_t;
    using Acc = I;
    using Operand = I;
    struct Context {};
    static constexpr std::size_t step = Isa::bytes;
    static constexpr bool uses_norms = false;

    static KITH_SIMD_INLINE Context prepare(const T*, std::size_t) noexcept { return {}; }
    static KITH_SIMD_INLINE Acc zero() noexcept { return Isa::zero_i(); }
    static KITH_SIMD_INLINE Operand load(const T* q) noexcept { return Isa::load_bytes(q); }
    static KITH_SIMD_INLINE Operand load_partial(const T* q, std::size_t n) noexcept {
        return Isa::load_bytes_partial(q, n);
    }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        acc = Isa::popcount(acc, Isa::bit_xor(q, load(row)));
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        acc = Isa::popcount(acc, Isa::bit_xor(q, load_partial(row, n)));
    }
    static KITH_SIMD_INLINE typename Isa::Lanes finish(const Context&, const Acc (&acc)[Isa::group],
                                                       typename Isa::Lanes) noexcept {
        return Isa::reduce(acc);
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(const Context&, const Acc& acc,
                                                    std::int32_t) noexcept {
        return Isa::reduce_count(acc);
    }
};

template <class Arch>
struct JaccardOp {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;
    using T = Bits8;
    using Query = Bits8;
    using Out = float;
    struct Acc {
        I both, any;
    };
    using Operand = I;
    struct Context {};
    static constexpr std::size_t step = Isa::bytes;
    static constexpr bool uses_norms = false;

    static KITH_SIMD_INLINE Context prepare(const T*, std::size_t) noexcept { return {}; }
    static KITH_SIMD_INLINE Acc zero() noexcept { return {Isa::zero_i(), Isa::zero_i()}; }
    static KITH_SIMD_INLINE Operand load(const T* q) noexcept { return Isa::load_bytes(q); }
    static KITH_SIMD_INLINE Operand load_partial(const T* q, std::size_t n) noexcept {
        return Isa::load_bytes_partial(q, n);
    }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        count(acc, q, load(row));
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        count(acc, q, load_partial(row, n));
    }
    static KITH_SIMD_INLINE typename Isa::FloatLanes finish(const Context&,
                                                            const Acc (&acc)[Isa::group],
                                                            typename Isa::Lanes) noexcept {
        I both[Isa::group];
        I any[Isa::group];
        unroll<Isa::group>([&](auto g) KITH_SIMD_LAMBDA {
            both[decltype(g)::value] = acc[decltype(g)::value].both;
            any[decltype(g)::value] = acc[decltype(g)::value].any;
        });
        const typename Isa::Lanes common = Isa::reduce(both);
        const typename Isa::Lanes all = Isa::reduce(any);
        typename Isa::FloatLanes result;
        unroll<Isa::group>([&](auto g) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(g)::value;
            result[j] =
                ratio(static_cast<std::int32_t>(common[j]), static_cast<std::int32_t>(all[j]));
        });
        return result;
    }
    static KITH_SIMD_INLINE float finish_one(const Context&, const Acc& acc,
                                             std::int32_t) noexcept {
        return ratio(Isa::reduce_count(acc.both), Isa::reduce_count(acc.any));
    }

private:
    static KITH_SIMD_INLINE void count(Acc& acc, I a, I b) noexcept {
        acc.both = Isa::popcount(acc.both, Isa::bit_and(a, b));
        acc.any = Isa::popcount(acc.any, Isa::bit_or(a, b));
    }
    static KITH_SIMD_INLINE float ratio(std::int32_t both, std::int32_t any) noexcept {
        return any == 0 ? 0.0f : static_cast<float>(any - both) / static_cast<float>(any);
    }
};

}  // namespace kith::simd
