// SPDX-License-Identifier: Apache-2.0
//
// Squared L2, inner product and L1 of float rows: f32, f16 and bf16, against a float query.
//
// Every row has two sums, so that a single row is not bound by the latency of one chain of additions: two consecutive
// registers for f32 and f16, the even and the odd places for bf16. Half-precision elements are widened exactly; all arithmetic is
// float, fused where the instruction set fuses. O(dim) a row; error below (dim / (2 * width) + 8) * 2^-24 of the sum of
// the absolute terms.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/scan.hpp"

namespace kith::simd {

struct FloatL2 {
    template <class Isa>
    static KITH_SIMD_INLINE void add(typename Isa::F& acc, typename Isa::F a,
                                     typename Isa::F b) noexcept {
        const typename Isa::F difference = a - b;
        acc = Isa::fma(difference, difference, acc);
    }
};
struct FloatDot {
    template <class Isa>
    static KITH_SIMD_INLINE void add(typename Isa::F& acc, typename Isa::F a,
                                     typename Isa::F b) noexcept {
        acc = Isa::fma(a, b, acc);
    }
};
struct FloatL1 {
    template <class Isa>
    static KITH_SIMD_INLINE void add(typename Isa::F& acc, typename Isa::F a,
                                     typename Isa::F b) noexcept {
        acc = acc + xsimd::abs(a - b);
    }
};

/// Two registers of a row or a query.
template <class Isa>
struct FloatPair {
    typename Isa::F even, odd;
};

template <class Isa, class E>
KITH_SIMD_INLINE FloatPair<Isa> load_pair(const E* p) noexcept {
    return {Isa::load(p), Isa::load(p + Isa::width)};
}
template <class Isa, class E>
KITH_SIMD_INLINE FloatPair<Isa> load_pair_partial(const E* p, std::size_t n) noexcept {
    if (n <= Isa::width) return {Isa::load_partial(p, n), Isa::zero()};
    return {Isa::load(p), Isa::load_partial(p + Isa::width, n - Isa::width)};
}
template <class Isa>
KITH_SIMD_INLINE FloatPair<Isa> load_pair(const BFloat16* p) noexcept {
    FloatPair<Isa> x;
    Isa::load_split(p, x.even, x.odd);
    return x;
}
template <class Isa>
KITH_SIMD_INLINE FloatPair<Isa> load_pair_partial(const BFloat16* p, std::size_t n) noexcept {
    FloatPair<Isa> x;
    Isa::load_split_partial(p, n, x.even, x.odd);
    return x;
}

template <class Arch, class Metric, class RowElement, class QueryElement>
struct FloatOp {
    using Isa = simd::Isa<Arch>;
    using F = typename Isa::F;
    using T = RowElement;
    using Query = QueryElement;
    using Out = float;
    using Acc = FloatPair<Isa>;
    using Operand = FloatPair<Isa>;
    struct Context {};
    static constexpr std::size_t step = 2 * Isa::width;
    static constexpr bool uses_norms = false;
    /// A float query has to be brought into the order in which rows of bfloat16 are read.
    static constexpr bool reorder = std::is_same_v<T, BFloat16> && std::is_same_v<Query, float>;

    static KITH_SIMD_INLINE Context prepare(const Query*, std::size_t) noexcept { return {}; }
    static KITH_SIMD_INLINE Acc zero() noexcept { return {Isa::zero(), Isa::zero()}; }
    static KITH_SIMD_INLINE Operand load(const Query* q) noexcept {
        Operand x = load_pair<Isa>(q);
        if constexpr (reorder) Isa::split_floats(x.even, x.odd);
        return x;
    }
    static KITH_SIMD_INLINE Operand load_partial(const Query* q, std::size_t n) noexcept {
        Operand x = load_pair_partial<Isa>(q, n);
        if constexpr (reorder) Isa::split_floats(x.even, x.odd);
        return x;
    }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        const FloatPair<Isa> x = load_pair<Isa>(row);
        Metric::template add<Isa>(acc.even, q.even, x.even);
        Metric::template add<Isa>(acc.odd, q.odd, x.odd);
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        const FloatPair<Isa> x = load_pair_partial<Isa>(row, n);
        Metric::template add<Isa>(acc.even, q.even, x.even);
        Metric::template add<Isa>(acc.odd, q.odd, x.odd);
    }
    static KITH_SIMD_INLINE typename Isa::FloatLanes finish(const Context&,
                                                            const Acc (&acc)[Isa::group],
                                                            typename Isa::Lanes) noexcept {
        F sums[Isa::group];
        unroll<Isa::group>([&](auto g) KITH_SIMD_LAMBDA {
            sums[decltype(g)::value] = acc[decltype(g)::value].even + acc[decltype(g)::value].odd;
        });
        return Isa::reduce(sums);
    }
    static KITH_SIMD_INLINE float finish_one(const Context&, const Acc& acc,
                                             std::int32_t) noexcept {
        return Isa::reduce_one(acc.even + acc.odd);
    }
};

template <class Arch, class Metric, class T>
constexpr DistanceKernels<T, float> float_kernels() noexcept {
    using Rows = Scan<FloatOp<Arch, Metric, T, float>>;
    return {&Pair<FloatOp<Arch, Metric, T, T>>::one, &Rows::gather, &Rows::run};
}

/// n elements as floats, in order.
template <class Arch, class T>
struct Widen {
    KITH_SIMD_ENTRY static void widen(const T* from, std::size_t n, float* to) noexcept {
        using Isa = simd::Isa<Arch>;
        std::size_t i = 0;
        for (; i + Isa::width <= n; i += Isa::width) Isa::store(to + i, Isa::load(from + i));
        for (; i < n; ++i) to[i] = scalar(from[i]);
    }

private:
    static KITH_SIMD_INLINE float scalar(T x) noexcept {
        const T padded[simd::Isa<Arch>::width] = {x};
        float lanes[simd::Isa<Arch>::width];
        simd::Isa<Arch>::store(lanes, simd::Isa<Arch>::load(padded));
        return lanes[0];
    }
};

}  // namespace kith::simd
