// SPDX-License-Identifier: Apache-2.0
//
// The three forms of a kernel (one, gather, run) written once, over an Op that says how a step of a row is added up. Rows are scored in
// groups so that a load of the query serves all of them, and the sums of a group are reduced together by a transposition. A row's
// own sums never depend on its group: every Op adds the elements of a row in one order, and the Isa reduces one register in the order
// in which it reduces a group.
//
// An Op has: T, Query (element types), Out, Isa, step (elements taken at once), Acc, Operand, Context and the static
//   Operand load(const Query*), load_partial(const Query*, n);  void add(Acc&, Operand, const T*), add_partial(..., n)
//   Context prepare(const Query*, dim)            once a call
//   finish(Context, const Acc (&)[group], norms)  group results in a vector; finish_one(Context, Acc, norm)
//   uses_norms                                    whether finish reads squared norms
// An Op whose rows do not go in step with the query has an accumulate<G>(q, rows, dim, acc) in place of what adds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

/// Adds up G rows, a step of each against the same step of a query.
template <class Op, std::size_t G>
KITH_SIMD_INLINE void accumulate_in_step(const typename Op::Query* q,
                                         const typename Op::T* const (&rows)[G], std::size_t dim,
                                         typename Op::Acc (&acc)[G]) noexcept {
    unroll<G>([&](auto g) KITH_SIMD_LAMBDA { acc[decltype(g)::value] = Op::zero(); });
    std::size_t k = 0;
    for (; k + Op::step <= dim; k += Op::step) {
        const typename Op::Operand operand = Op::load(q + k);
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
            Op::add(acc[decltype(g)::value], operand, rows[decltype(g)::value] + k);
        });
    }
    if (k < dim) {
        const std::size_t rest = dim - k;
        const typename Op::Operand operand = Op::load_partial(q + k, rest);
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
            Op::add_partial(acc[decltype(g)::value], operand, rows[decltype(g)::value] + k, rest);
        });
    }
}

/// Adds up G rows against a query.
template <class Op, std::size_t G>
KITH_SIMD_INLINE void accumulate_rows(const typename Op::Query* q,
                                      const typename Op::T* const (&rows)[G], std::size_t dim,
                                      typename Op::Acc (&acc)[G]) noexcept {
    if constexpr (requires { Op::template accumulate<G>(q, rows, dim, acc); }) {
        Op::template accumulate<G>(q, rows, dim, acc);
    } else {
        accumulate_in_step<Op>(q, rows, dim, acc);
    }
}

template <class Op>
struct Scan {
    using T = typename Op::T;
    using Query = typename Op::Query;
    using Out = typename Op::Out;
    using Acc = typename Op::Acc;
    using Context = typename Op::Context;
    static constexpr std::size_t group = Op::Isa::group;
    static constexpr std::size_t near_bytes = std::size_t{32} << 10;  // of the first cache

    KITH_SIMD_ENTRY static void run(const Query* q, RowsRef<T> rows, std::size_t first,
                                    std::size_t count, Out* out) noexcept {
        const Context context = Op::prepare(q, rows.dim);
        const T* base = rows.data + first * rows.stride;
        const std::int32_t* norms = Op::uses_norms ? rows.squared_norms + first : nullptr;
        std::size_t i = 0;
        if (count * rows.stride * sizeof(T) > near_bytes) {
            for (; i + group <= count; i += group)
                score_in_order(context, q, base + i * rows.stride, rows,
                               Op::uses_norms ? norms + i : nullptr, out + i);
        }
        const auto score = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t G = decltype(size)::value;
            for (; i + G <= count; i += G) {
                const T* block[G];
                std::int32_t some[G];
                unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                    constexpr std::size_t j = decltype(g)::value;
                    block[j] = base + (i + j) * rows.stride;
                    if constexpr (Op::uses_norms) some[j] = norms[i + j];
                });
                score_rows<G>(context, q, block, rows.dim, some, out + i);
            }
        };
        score(Index<group>{});
        if constexpr (group > 4) score(Index<4>{});
        score(Index<1>{});
    }

    KITH_SIMD_ENTRY static void gather(const Query* q, RowsRef<T> rows, const Slot* slots,
                                       std::size_t count, Out* out) noexcept {
        const Context context = Op::prepare(q, rows.dim);
        std::size_t i = 0;
        const auto score = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t G = decltype(size)::value;
            const std::size_t ahead = count - i - G;
            if (ahead >= G) {
                unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                    prefetch(rows, slots[i + G + decltype(g)::value]);
                });
            } else {
                for (std::size_t j = 0; j < ahead; ++j) prefetch(rows, slots[i + G + j]);
            }
            score_slots<G>(context, q, rows, slots + i, out + i);
            i += G;
        };
        while (i + group <= count) score(Index<group>{});
        // What is left of a group is filled up with its last row: a full group costs less than one row after the other.
        const auto score_rest = [&](auto size) KITH_SIMD_LAMBDA {
            constexpr std::size_t G = decltype(size)::value;
            Slot some[G];
            Out scores[G];
            unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
                constexpr std::size_t j = decltype(g)::value;
                some[j] = slots[i + j < count ? i + j : count - 1];
            });
            score_slots<G>(context, q, rows, some, scores);
            for (std::size_t j = 0; i < count; ++i, ++j) out[i] = scores[j];
        };
        if (i + 1 == count) return score(Index<1>{});
        if constexpr (group > 4) {
            if (i < count && i + 4 >= count) return score_rest(Index<4>{});
        }
        if (i < count) score_rest(Index<group>{});
    }

private:
    template <std::size_t G>
    static KITH_SIMD_INLINE void score_slots(const Context& context, const Query* q, const RowsRef<T>& rows,
                                             const Slot* slots, Out* out) noexcept {
        const T* block[G];
        std::int32_t norms[G];
        unroll<G>([&](auto g) KITH_SIMD_LAMBDA {
            constexpr std::size_t j = decltype(g)::value;
            block[j] = rows.data + slots[j] * rows.stride;
            if constexpr (Op::uses_norms) norms[j] = rows.squared_norms[slots[j]];
        });
        score_rows<G>(context, q, block, rows.dim, norms, out);
    }

    /// G rows: a whole group, a part of one, or one row.
    template <std::size_t G>
    static KITH_SIMD_INLINE void score_rows(const Context& context, const Query* q,
                                            const T* const (&rows)[G], std::size_t dim,
                                            const std::int32_t (&norms)[G], Out* out) noexcept {
        Acc part[G];
        accumulate_rows<Op>(q, rows, dim, part);
        if constexpr (G == 1) {
            *out = Op::finish_one(context, part[0], Op::uses_norms ? norms[0] : 0);
        } else {
            // A part of a group is repeated to fill it up: the compiler reduces the equal halves once.
            Acc acc[group];
            typename Op::Isa::Lanes squares = {};
            unroll<group>([&](auto g) KITH_SIMD_LAMBDA {
                constexpr std::size_t j = decltype(g)::value;
                acc[j] = part[j % G];
                if constexpr (Op::uses_norms) squares[j] = static_cast<std::uint32_t>(norms[j % G]);
            });
            const auto result = Op::finish(context, acc, squares);
            __builtin_memcpy(out, &result, G * sizeof(Out));
        }
    }

    /// A group of contiguous rows, read one after the other. It loads the query for each of them, but the processor's prefetcher sees
    /// one stream in place of many; from memory that is three times faster, and beyond the first cache never slower.
    static KITH_SIMD_INLINE void score_in_order(const Context& context, const Query* q,
                                                const T* row, const RowsRef<T>& rows,
                                                const std::int32_t* norms, Out* out) noexcept {
        Acc acc[group];
        for (std::size_t j = 0; j < group; ++j, row += rows.stride) {
            const T* block[1] = {row};
            Acc one[1];
            accumulate_rows<Op>(q, block, rows.dim, one);
            acc[j] = one[0];
        }
        typename Op::Isa::Lanes squares = {};
        if constexpr (Op::uses_norms) __builtin_memcpy(&squares, norms, sizeof(squares));
        const auto result = Op::finish(context, acc, squares);
        __builtin_memcpy(out, &result, sizeof(result));
    }

    /// The first line of a row: it brings the page's translation too, and what follows is read in order.
    static KITH_SIMD_INLINE void prefetch(const RowsRef<T>& rows, Slot slot) noexcept {
        __builtin_prefetch(rows.data + slot * rows.stride);
        if constexpr (Op::uses_norms) __builtin_prefetch(rows.squared_norms + slot);
    }
};

/// The one-to-one kernel of an Op whose query is a row.
template <class Op>
struct Pair {
    using T = typename Op::T;
    KITH_SIMD_ENTRY static typename Op::Out one(const T* a, const T* b, std::size_t dim) noexcept {
        const T* rows[1] = {b};
        typename Op::Acc acc[1];
        accumulate_rows<Op>(a, rows, dim, acc);
        return Op::finish_one(Op::prepare(a, dim), acc[0], 0);
    }
};

}  // namespace kith::simd
