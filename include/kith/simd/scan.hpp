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
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

/// Adds up G rows against a query.
template <class Op, std::size_t G>
KITH_SIMD_INLINE void accumulate_rows(const typename Op::Query* q, const typename Op::T* const (&rows)[G],
                                      std::size_t dim, typename Op::Acc (&acc)[G]) noexcept {
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

template <class Op>
struct Scan {
    using T = typename Op::T;
    using Query = typename Op::Query;
    using Out = typename Op::Out;
    using Acc = typename Op::Acc;
    using Context = typename Op::Context;
    static constexpr std::size_t group = Op::Isa::group;
    static constexpr std::size_t line = 64;

    KITH_SIMD_ENTRY static void run(const Query* q, RowsRef<T> rows, std::size_t first, std::size_t count,
                                    Out* out) noexcept {
        const Context context = Op::prepare(q, rows.dim);
        const T* base = rows.data + first * rows.stride;
        std::size_t i = 0;
        for (; i + group <= count; i += group) {
            const T* block[group];
            unroll<group>([&](auto g) KITH_SIMD_LAMBDA {
                block[decltype(g)::value] = base + (i + decltype(g)::value) * rows.stride;
            });
            Acc acc[group];
            accumulate_rows<Op>(q, block, rows.dim, acc);
            const auto result = Op::finish(context, acc, Op::uses_norms ? rows.squared_norms + first + i : nullptr);
            __builtin_memcpy(out + i, &result, sizeof(result));
        }
        for (; i < count; ++i) {
            const std::int32_t norm = Op::uses_norms ? rows.squared_norms[first + i] : 0;
            out[i] = one_row(context, q, base + i * rows.stride, rows.dim, norm);
        }
    }

    KITH_SIMD_ENTRY static void gather(const Query* q, RowsRef<T> rows, const Slot* slots, std::size_t count,
                                       Out* out) noexcept {
        const Context context = Op::prepare(q, rows.dim);
        std::size_t i = 0;
        for (; i + group <= count; i += group) {
            const std::size_t ahead = i + 2 * group <= count ? group : 0;  // the last group looks at itself: no branch
            const T* block[group];
            std::int32_t norms[group];
            unroll<group>([&](auto g) KITH_SIMD_LAMBDA {
                constexpr std::size_t j = decltype(g)::value;
                block[j] = rows.data + slots[i + j] * rows.stride;
                prefetch(rows.data + slots[i + j + ahead] * rows.stride, rows.dim);
                if constexpr (Op::uses_norms) norms[j] = rows.squared_norms[slots[i + j]];
            });
            Acc acc[group];
            accumulate_rows<Op>(q, block, rows.dim, acc);
            const auto result = Op::finish(context, acc, norms);
            __builtin_memcpy(out + i, &result, sizeof(result));
        }
        for (; i < count; ++i) {
            const std::int32_t norm = Op::uses_norms ? rows.squared_norms[slots[i]] : 0;
            out[i] = one_row(context, q, rows.data + slots[i] * rows.stride, rows.dim, norm);
        }
    }

private:
    static KITH_SIMD_INLINE Out one_row(const Context& context, const Query* q, const T* row, std::size_t dim,
                                        std::int32_t norm) noexcept {
        const T* rows[1] = {row};
        Acc acc[1];
        accumulate_rows<Op>(q, rows, dim, acc);
        return Op::finish_one(context, acc[0], norm);
    }

    /// The first lines of a row; the processor's own prefetcher follows a long row once it is being read.
    static KITH_SIMD_INLINE void prefetch(const T* row, std::size_t dim) noexcept {
        const char* p = reinterpret_cast<const char*>(row);
        __builtin_prefetch(p);
        if (dim * sizeof(T) > line) __builtin_prefetch(p + line);
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
