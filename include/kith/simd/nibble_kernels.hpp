// SPDX-License-Identifier: Apache-2.0
//
// Rows of 4-bit levels, two to a byte: squared L2 and inner product, exact in 32 bits for up to 133,144 dimensions.
//
// A row of `bytes` bytes is blocks of 64, the last of what is left. In a block of n bytes, byte j holds dimension j of
// the block's 2 n in its low half and dimension n + j in its high half; so a line of memory is 128 dimensions, taken
// apart by a shift and a mask, and both halves meet a run of the query's bytes in their natural order:
//
//   l2     query: signed bytes -67 .. 127, quarters of a level       sum (q - 4 x)^2, x = 0 .. 15
//   dot    query: signed bytes                                       sum q (x - 8)
//
// A query has 2 * bytes elements. Where the vector has an odd number of dimensions, whoever packs fills up both sides
// with what adds nothing (level 8 of a row; 32 or 0 of a query). `one` is of two packed rows: 16 sum (a - b)^2, and
// sum (a - 8)(b - 8).
//
// Differences of l2 are at most 127, so that their squares are products of signed and of unsigned bytes alike: one
// instruction where there is VNNI, and two of them fit 16 bits where there is vpmaddubsw. Rows need no norms, which
// would be a second line of memory for each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kith/simd/scan.hpp"

namespace kith::simd {

/// What all operations on packed rows share: a step is a register of row bytes and two of query bytes.
template <class Arch, class QueryByte>
struct NibbleOpBase {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;
    using T = std::uint8_t;
    using Query = QueryByte;
    using Out = std::int32_t;
    using Acc = I;
    struct Operand {
        I low, high;
    };
    static constexpr std::size_t step = Isa::bytes;
    static constexpr bool uses_norms = false;

    static KITH_SIMD_INLINE Acc zero() noexcept { return Isa::zero_i(); }
};

/// Calls add(g, operand, codes) for all registers of G rows, and then for what is left of them, zeros behind it.
template <class Op, std::size_t G, class Add>
KITH_SIMD_INLINE void for_each_nibbles(const typename Op::Query* q, const std::uint8_t* const (&rows)[G],
                                       std::size_t bytes, Add add) noexcept {
    using Isa = typename Op::Isa;
    std::size_t k = 0;
    const auto block = [&](std::size_t n) KITH_SIMD_LAMBDA {
        const typename Op::Query* const low = q + 2 * k;
        const typename Op::Query* const high = low + n;
        std::size_t j = 0;
        for (; j + Op::step <= n; j += Op::step) {
            const typename Op::Operand operand = {Isa::load_bytes(low + j), Isa::load_bytes(high + j)};
            unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                add(g, operand, Isa::load_bytes(rows[decltype(g)::value] + k + j));
            });
        }
        if (j < n) {
            const std::size_t rest = n - j;
            const typename Op::Operand operand = {Isa::load_bytes_partial(low + j, rest),
                                                  Isa::load_bytes_partial(high + j, rest)};
            unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                add(g, operand, Isa::load_bytes_partial(rows[decltype(g)::value] + k + j, rest));
            });
        }
    };
    for (; k + nibble_block <= bytes; k += nibble_block) block(nibble_block);
    if (k < bytes) block(bytes - k);
}

/// Sums in `Acc`, as they are or moved by what prepare() found: the two scanning operations.
template <class Derived, class Base>
struct NibbleScanOp : Base {
    using Isa = typename Base::Isa;
    using Acc = typename Base::Acc;
    using Context = std::uint32_t;

    template <std::size_t G>
    static KITH_SIMD_INLINE void accumulate(const typename Base::Query* q, const std::uint8_t* const (&rows)[G],
                                            std::size_t bytes, Acc (&acc)[G]) noexcept {
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA { acc[decltype(g)::value] = Base::zero(); });
        for_each_nibbles<Base>(q, rows, bytes, [&](auto g, const auto& operand, auto codes) KITH_SIMD_LAMBDA {
            Derived::add(acc[decltype(g)::value], operand, codes);
        });
    }
    static KITH_SIMD_INLINE typename Isa::Lanes finish(Context offset, const Acc (&acc)[Isa::group],
                                                       typename Isa::Lanes) noexcept {
        return Isa::reduce(acc) + offset;
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(Context offset, const Acc& acc, std::int32_t) noexcept {
        return static_cast<std::int32_t>(static_cast<std::uint32_t>(Isa::reduce_one(acc)) + offset);
    }
};

template <class Arch>
struct NibbleL2Op : NibbleScanOp<NibbleL2Op<Arch>, NibbleOpBase<Arch, std::int8_t>> {
    using Base = NibbleOpBase<Arch, std::int8_t>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;

    static KITH_SIMD_INLINE std::uint32_t prepare(const std::int8_t*, std::size_t) noexcept { return 0; }
    static KITH_SIMD_INLINE void add(I& acc, const typename Base::Operand& q, I codes) noexcept {
        acc = Isa::l2_small(acc, q.low, Isa::low_nibbles_by_4(codes));
        acc = Isa::l2_small(acc, q.high, Isa::high_nibbles_by_4(codes));
    }
};

/// sum q x, and -8 sum q.
template <class Arch>
struct NibbleDotOp : NibbleScanOp<NibbleDotOp<Arch>, NibbleOpBase<Arch, std::int8_t>> {
    using Base = NibbleOpBase<Arch, std::int8_t>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;

    static KITH_SIMD_INLINE std::uint32_t prepare(const std::int8_t* q, std::size_t bytes) noexcept {
        const I eights = Isa::broadcast_i(0x08080808);
        const std::size_t dim = 2 * bytes;
        I acc = Isa::zero_i();
        std::size_t k = 0;
        for (; k + Base::step <= dim; k += Base::step) acc = Isa::dot_small(acc, eights, Isa::load_bytes(q + k));
        if (k < dim) acc = Isa::dot_small(acc, eights, Isa::load_bytes_partial(q + k, dim - k));
        return 0u - static_cast<std::uint32_t>(Isa::reduce_one(acc));
    }
    static KITH_SIMD_INLINE void add(I& acc, const typename Base::Operand& q, I codes) noexcept {
        acc = Isa::dot_small(acc, Isa::low_nibbles(codes), q.low);
        acc = Isa::dot_small(acc, Isa::high_nibbles(codes), q.high);
    }
};

/// Two packed rows, a register of each at a time.
template <class Derived, class Arch>
struct NibblePairOp : NibbleOpBase<Arch, std::uint8_t> {
    using Base = NibbleOpBase<Arch, std::uint8_t>;
    using Isa = typename Base::Isa;
    using I = typename Base::I;
    using Operand = typename Base::Operand;
    using Context = std::size_t;  // bytes

    static KITH_SIMD_INLINE Context prepare(const std::uint8_t*, std::size_t bytes) noexcept { return bytes; }
    static KITH_SIMD_INLINE Operand split(I codes) noexcept {
        return {Isa::low_nibbles(codes), Isa::high_nibbles(codes)};
    }
    static KITH_SIMD_INLINE Operand load(const std::uint8_t* p) noexcept { return split(Isa::load_bytes(p)); }
    static KITH_SIMD_INLINE Operand load_partial(const std::uint8_t* p, std::size_t n) noexcept {
        return split(Isa::load_bytes_partial(p, n));
    }
    static KITH_SIMD_INLINE void add(I& acc, const Operand& a, const std::uint8_t* row) noexcept {
        Derived::add_split(acc, a, load(row));
    }
    static KITH_SIMD_INLINE void add_partial(I& acc, const Operand& a, const std::uint8_t* row,
                                             std::size_t n) noexcept {
        Derived::add_split(acc, a, load_partial(row, n));
    }
};

template <class Arch>
struct NibblePairL2Op : NibblePairOp<NibblePairL2Op<Arch>, Arch> {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;

    template <class Operand>
    static KITH_SIMD_INLINE void add_split(I& acc, const Operand& a, const Operand& b) noexcept {
        acc = Isa::l2_small(Isa::l2_small(acc, a.low, b.low), a.high, b.high);
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(std::size_t, const I& acc, std::int32_t) noexcept {
        return 16 * Isa::reduce_one(acc);
    }
};

/// (a - 8)(b - 8) = a b - 8 (a + b) + 64; nothing of the first two comes of the zeros behind a row.
template <class Arch>
struct NibblePairDotOp : NibblePairOp<NibblePairDotOp<Arch>, Arch> {
    using Isa = simd::Isa<Arch>;
    using I = typename Isa::I;

    template <class Operand>
    static KITH_SIMD_INLINE void add_split(I& acc, const Operand& a, const Operand& b) noexcept {
        const I less_8 = Isa::broadcast_i(static_cast<std::int32_t>(0xF8F8F8F8u));
        acc = Isa::dot_small(Isa::dot_small(acc, a.low, b.low), a.high, b.high);
        acc = Isa::dot_small(acc, Isa::add(a.low, b.low), less_8);
        acc = Isa::dot_small(acc, Isa::add(a.high, b.high), less_8);
    }
    static KITH_SIMD_INLINE std::int32_t finish_one(std::size_t bytes, const I& acc, std::int32_t) noexcept {
        return Isa::reduce_one(acc) + static_cast<std::int32_t>(128 * bytes);
    }
};

template <class Rows, class One>
constexpr NibbleKernels nibble_kernels() noexcept {
    return {&Pair<One>::one, &Scan<Rows>::gather, &Scan<Rows>::run};
}

}  // namespace kith::simd
