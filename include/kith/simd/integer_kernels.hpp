// SPDX-License-Identifier: Apache-2.0
//
// Squared L2, inner product and L1 of 8-bit integer rows, exact in 32 bits for dim <= 33025.
//
// Where one instruction multiplies bytes (VNNI's vpdpbusd), it takes unsigned times signed. So one side is moved by 128 with a flipped
// top bit, and the sum of the other side, times 128, is put right at the end:
//   u8: q.x = q.(x - 128) + 128 sum(q)        i8: q.x = q.(x + 128) - 128 sum(q)
// Elsewhere bytes are widened to 16 bits (never vpmaddubsw: it saturates). Scanning for L2 uses |q|^2 + |x|^2 - 2 q.x with the
// rows' norms; the one-to-one form has no norms and squares the differences. Arithmetic is modulo 2^32, results fit in an int32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/scan.hpp"

namespace kith::simd {

/// What all operations on 8-bit rows share: a register of bytes is a step.
template <class Arch, class Element>
struct IntegerOpBase {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;
    using T = Element;
    using Query = Element;
    using Out = std::int32_t;
    static constexpr std::size_t step = Isa::bytes;
    static constexpr bool is_signed = static_cast<T>(-1) < T{0};
    static constexpr bool uses_norms = false;

    static KITH_SIMD_INLINE I zero() noexcept { return Isa::zero_i(); }
    /// As unsigned bytes in the same order.
    static KITH_SIMD_INLINE I to_unsigned(I x) noexcept {
        if constexpr (is_signed)
            return Isa::flip(x);
        else
            return x;
    }
    /// acc += products of x as it is and y with its top bit flipped, whichever of them is then the unsigned one.
    static KITH_SIMD_INLINE I dot_flipped(I acc, I x, I y) noexcept {
        if constexpr (is_signed)
            return Isa::dot_bytes(acc, Isa::flip(y), x);
        else
            return Isa::dot_bytes(acc, x, Isa::flip(y));
    }
    static KITH_SIMD_INLINE I sum(I acc, I x) noexcept {
        const I ones = Isa::broadcast_i(0x01010101);
        if constexpr (is_signed)
            return Isa::dot_bytes(acc, ones, x);
        else
            return Isa::dot_bytes(acc, x, ones);
    }
    /// What dot_flipped lacks, given sum(x).
    static constexpr std::uint32_t correction(std::uint32_t sum) noexcept {
        return is_signed ? 0u - (sum << 7) : sum << 7;
    }
};

/// f(register) over a query, the last one filled up with zeros.
template <class Base, class F>
KITH_SIMD_INLINE void for_each_register(const typename Base::T* q, std::size_t dim, F f) noexcept {
    std::size_t k = 0;
    for (; k + Base::step <= dim; k += Base::step) f(Base::Isa::load_bytes(q + k));
    if (k < dim) f(Base::Isa::load_bytes_partial(q + k, dim - k));
}

/// Inner products of many rows with a query: the sum of products, `offset` added by finish.
template <class Arch, class T>
struct IntegerDotOp : IntegerOpBase<Arch, T> {
    using Base = IntegerOpBase<Arch, T>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;
    using Acc = I;
    struct Operand {
        decltype(Isa::widen(I{}, T{})) v;
    };
    struct Context {
        std::uint32_t offset;
    };

    static KITH_SIMD_INLINE Context prepare(const T*, std::size_t) noexcept { return {0}; }
    static KITH_SIMD_INLINE std::uint32_t square(const T* q, std::size_t dim) noexcept {
        I acc = Isa::zero_i();
        for_each_register<Base>(q, dim, [&](I x) KITH_SIMD_LAMBDA {
            acc = Isa::dot(acc, Isa::widen(x, T{}), Isa::widen(x, T{}));
        });
        return static_cast<std::uint32_t>(Isa::reduce_one(acc));
    }
    static KITH_SIMD_INLINE Operand load(const T* q) noexcept {
        return {Isa::widen(Isa::load_bytes(q), T{})};
    }
    static KITH_SIMD_INLINE Operand load_partial(const T* q, std::size_t n) noexcept {
        return {Isa::widen(Isa::load_bytes_partial(q, n), T{})};
    }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        acc = Isa::dot(acc, q.v, Isa::widen(Isa::load_bytes(row), T{}));
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        acc = Isa::dot(acc, q.v, Isa::widen(Isa::load_bytes_partial(row, n), T{}));
    }
    static KITH_SIMD_INLINE typename Isa::Lanes finish(const Context& c,
                                                       const Acc (&acc)[Isa::group],
                                                       typename Isa::Lanes) noexcept {
        return Isa::reduce(acc) + c.offset;
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(const Context& c, const Acc& acc,
                                                    std::int32_t) noexcept {
        return static_cast<std::int32_t>(static_cast<std::uint32_t>(Isa::reduce_one(acc)) +
                                         c.offset);
    }
};

/// The same with byte products.
template <class Arch, class T>
    requires(Isa<Arch>::byte_products)
struct IntegerDotOp<Arch, T> : IntegerOpBase<Arch, T> {
    using Base = IntegerOpBase<Arch, T>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;
    using Acc = I;
    using Operand = I;
    struct Context {
        std::uint32_t offset;
    };

    static KITH_SIMD_INLINE Context prepare(const T* q, std::size_t dim) noexcept {
        I acc = Isa::zero_i();
        for_each_register<Base>(q, dim, [&](I x) KITH_SIMD_LAMBDA { acc = Base::sum(acc, x); });
        return {Base::correction(static_cast<std::uint32_t>(Isa::reduce_one(acc)))};
    }
    static KITH_SIMD_INLINE std::uint32_t square(const T* q, std::size_t dim) noexcept {
        I acc = Isa::zero_i();
        for_each_register<Base>(q, dim,
                                [&](I x) KITH_SIMD_LAMBDA { acc = Base::dot_flipped(acc, x, x); });
        return static_cast<std::uint32_t>(Isa::reduce_one(acc)) + prepare(q, dim).offset;
    }
    static KITH_SIMD_INLINE Operand load(const T* q) noexcept { return Isa::load_bytes(q); }
    static KITH_SIMD_INLINE Operand load_partial(const T* q, std::size_t n) noexcept {
        return Isa::load_bytes_partial(q, n);
    }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        acc = Base::dot_flipped(acc, q, Isa::load_bytes(row));
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        acc = Base::dot_flipped(acc, q, Isa::load_bytes_partial(row, n));
    }
    static KITH_SIMD_INLINE typename Isa::Lanes finish(const Context& c,
                                                       const Acc (&acc)[Isa::group],
                                                       typename Isa::Lanes) noexcept {
        return Isa::reduce(acc) + c.offset;
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(const Context& c, const Acc& acc,
                                                    std::int32_t) noexcept {
        return static_cast<std::int32_t>(static_cast<std::uint32_t>(Isa::reduce_one(acc)) +
                                         c.offset);
    }
};

/// Squared L2 of many rows: |q|^2 + |x|^2 - 2 q.x.
template <class Arch, class T>
struct IntegerL2Op : IntegerDotOp<Arch, T> {
    using Dot = IntegerDotOp<Arch, T>;
    using Isa = typename Dot::Isa;
    using Acc = typename Dot::Acc;
    using Context = typename Dot::Context;
    static constexpr bool uses_norms = true;

    static KITH_SIMD_INLINE Context prepare(const T* q, std::size_t dim) noexcept {
        return {Dot::square(q, dim) - 2 * Dot::prepare(q, dim).offset};
    }
    static KITH_SIMD_INLINE typename Isa::Lanes finish(const Context& c,
                                                       const Acc (&acc)[Isa::group],
                                                       typename Isa::Lanes norms) noexcept {
        return norms + c.offset - 2 * Isa::reduce(acc);
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(const Context& c, const Acc& acc,
                                                    std::int32_t norm) noexcept {
        return static_cast<std::int32_t>(static_cast<std::uint32_t>(norm) + c.offset -
                                         2 * static_cast<std::uint32_t>(Isa::reduce_one(acc)));
    }
};

template <class Arch, class T>
struct IntegerL1Op : IntegerOpBase<Arch, T> {
    using Base = IntegerOpBase<Arch, T>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;
    using Acc = I;
    using Operand = I;
    struct Context {};

    static KITH_SIMD_INLINE Context prepare(const T*, std::size_t) noexcept { return {}; }
    static KITH_SIMD_INLINE Operand load(const T* q) noexcept {
        return Base::to_unsigned(Isa::load_bytes(q));
    }
    static KITH_SIMD_INLINE Operand load_partial(const T* q, std::size_t n) noexcept {
        return Base::to_unsigned(Isa::load_bytes_partial(q, n));
    }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        acc = Isa::l1(acc, q, load(row));
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        acc = Isa::l1(acc, q, load_partial(row, n));
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

/// One-to-one squared L2 without norms.
template <class Arch, class T>
struct IntegerPairL2Op : IntegerL1Op<Arch, T> {
    using Base = IntegerOpBase<Arch, T>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;
    using Acc = I;
    using Operand = I;
    using L1 = IntegerL1Op<Arch, T>;

    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        add_squares(acc, Isa::difference(q, L1::load(row)));
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        add_squares(acc, Isa::difference(q, L1::load_partial(row, n)));
    }

    static KITH_SIMD_INLINE std::int32_t finish_one(const typename L1::Context&, const Acc& acc,
                                                    std::int32_t) noexcept {
        return Isa::reduce_one(acc);
    }

private:
    static KITH_SIMD_INLINE void add_squares(Acc& acc, I d) noexcept {
        const auto wide = Isa::widen(d, std::uint8_t{});
        acc = Isa::dot(acc, wide, wide);
    }
};

template <class I>
struct IntegerSums {
    I products, sum;
};

/// One-to-one with byte products: the sum for the correction is taken on the way, d.d = d.(d - 128) + 128 sum(d).
template <class Arch, class T>
    requires(Isa<Arch>::byte_products)
struct IntegerPairL2Op<Arch, T> : IntegerL1Op<Arch, T> {
    using Base = IntegerOpBase<Arch, std::uint8_t>;  // differences are unsigned whatever T is
    using Isa = typename Base::Isa;
    using I = typename Base::I;
    using Acc = IntegerSums<I>;
    using Operand = I;
    using L1 = IntegerL1Op<Arch, T>;
    using Context = typename L1::Context;

    static KITH_SIMD_INLINE Acc zero() noexcept { return {Isa::zero_i(), Isa::zero_i()}; }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        add_squares(acc, Isa::difference(q, L1::load(row)));
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        add_squares(acc, Isa::difference(q, L1::load_partial(row, n)));
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(const Context&, const Acc& acc,
                                                    std::int32_t) noexcept {
        return Isa::reduce_one(Isa::add(acc.products, Isa::shift_left(acc.sum, 7)));
    }

private:
    static KITH_SIMD_INLINE void add_squares(Acc& acc, I d) noexcept {
        acc.products = Base::dot_flipped(acc.products, d, d);
        acc.sum = Base::sum(acc.sum, d);
    }
};

template <class Arch, class T>
struct IntegerPairDotOp : IntegerDotOp<Arch, T> {};

template <class Arch, class T>
    requires(Isa<Arch>::byte_products)
struct IntegerPairDotOp<Arch, T> : IntegerOpBase<Arch, T> {
    using Base = IntegerOpBase<Arch, T>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;
    using Acc = IntegerSums<I>;
    using Operand = I;
    struct Context {};

    static KITH_SIMD_INLINE Context prepare(const T*, std::size_t) noexcept { return {}; }
    static KITH_SIMD_INLINE Acc zero() noexcept { return {Isa::zero_i(), Isa::zero_i()}; }
    static KITH_SIMD_INLINE Operand load(const T* q) noexcept { return Isa::load_bytes(q); }
    static KITH_SIMD_INLINE Operand load_partial(const T* q, std::size_t n) noexcept {
        return Isa::load_bytes_partial(q, n);
    }
    static KITH_SIMD_INLINE void add(Acc& acc, const Operand& q, const T* row) noexcept {
        acc.products = Base::dot_flipped(acc.products, q, Isa::load_bytes(row));
        acc.sum = Base::sum(acc.sum, q);
    }
    static KITH_SIMD_INLINE void add_partial(Acc& acc, const Operand& q, const T* row,
                                             std::size_t n) noexcept {
        acc.products = Base::dot_flipped(acc.products, q, Isa::load_bytes_partial(row, n));
        acc.sum = Base::sum(acc.sum, q);
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(const Context&, const Acc& acc,
                                                    std::int32_t) noexcept {
        const I moved = Isa::shift_left(acc.sum, 7);
        if constexpr (Base::is_signed)
            return Isa::reduce_one(Isa::sub(acc.products, moved));
        else
            return Isa::reduce_one(Isa::add(acc.products, moved));
    }
};

/// Rows: the Op that scans; One: the Op that compares two.
template <class Rows, class One>
constexpr DistanceKernels<typename Rows::T, typename Rows::Out> distance_kernels() noexcept {
    return {&Pair<One>::one, &Scan<Rows>::gather, &Scan<Rows>::run};
}

}  // namespace kith::simd
