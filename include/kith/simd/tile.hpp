// SPDX-License-Identifier: Apache-2.0
//
// Register tiles: a block of rows against a panel of queries, the inner kernel of the batched exact search. Vector lanes are queries (the
// panel is transposed once and serves every row), rows are read where they lie and broadcast element by element, so rows need no
// packing. A tile of `tile_rows` x 2 registers of sums stays in registers for the whole depth; then its values meet
// the queries' thresholds, and only those that beat them are written. The shape is the one of Goto and van de Geijn 2008,
// "Anatomy of high-performance matrix multiplication", with the packed side being the queries.
//
// One template for floats and bytes: a TileOps says what a 32-bit word of the panel holds (one float, four bytes, two 16-bit integers)
// and how a word of a row is multiplied in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/integer_kernels.hpp"
#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

inline constexpr std::size_t tile_max_rows =
    1024;  // rows a call may have; any bound would do, hits are 32-bit
inline constexpr std::size_t tile_word = 4;  // bytes of a word

template <class Arch>
struct FloatTileOps {
    using Isa = simd::Isa<Arch>;
    using Element = float;
    using V = typename Isa::F;
    static constexpr std::size_t per_word = 1;
    static constexpr bool staged = false;

    static KITH_SIMD_INLINE V zero() noexcept { return Isa::zero(); }
    static KITH_SIMD_INLINE V load_panel(const void* p) noexcept {
        return Isa::load(static_cast<const float*>(p));
    }
    static KITH_SIMD_INLINE V broadcast_word(const void* p) noexcept {
        return Isa::broadcast(load_word<Arch, float>(static_cast<const unsigned char*>(p)));
    }
    static KITH_SIMD_INLINE void multiply(V& acc, const V& panel, const V& row) noexcept {
        acc = Isa::fma(panel, row, acc);
    }
};

/// Four bytes a word; queries are moved by 128 so that the product has one signed side: u8 rows stay unsigned, i8 rows signed.
template <class Arch, class T>
struct IntegerTileOps {
    using Isa = simd::Isa<Arch>;
    using Element = T;
    using V = typename Isa::I;
    static constexpr std::size_t per_word = 4;
    static constexpr bool staged = false;
    static constexpr bool is_signed = static_cast<T>(-1) < T{0};
    static constexpr std::int32_t row_factor =
        is_signed ? -128 : 128;  // correction = row_factor * sum(row)

    static KITH_SIMD_INLINE V zero() noexcept { return Isa::zero_i(); }
    static KITH_SIMD_INLINE V load_panel(const void* p) noexcept { return Isa::load_bytes(p); }
    static KITH_SIMD_INLINE V broadcast_word(const void* p) noexcept {
        return Isa::broadcast_i(
            load_word<Arch, std::int32_t>(static_cast<const unsigned char*>(p)));
    }
    static KITH_SIMD_INLINE void multiply(V& acc, const V& panel, const V& row) noexcept {
        if constexpr (is_signed)
            acc = Isa::dot_bytes(acc, panel, row);
        else
            acc = Isa::dot_bytes(acc, row, panel);
    }
    /// A query's element as it lies in the panel.
    static KITH_SIMD_INLINE void store_element(unsigned char* word, std::size_t j, T x) noexcept {
        word[j] = static_cast<unsigned char>(static_cast<unsigned char>(x) ^ 0x80u);
    }
};

/// Two 16-bit integers a word; rows are widened into a small buffer first.
template <class Arch, class T>
    requires(!Isa<Arch>::byte_products)
struct IntegerTileOps<Arch, T> {
    using Isa = simd::Isa<Arch>;
    using Element = T;
    using V = typename Isa::I;
    static constexpr std::size_t per_word = 2;
    static constexpr bool staged = true;
    static constexpr std::int32_t row_factor = 0;

    static KITH_SIMD_INLINE V zero() noexcept { return Isa::zero_i(); }
    static KITH_SIMD_INLINE V load_panel(const void* p) noexcept { return Isa::load_bytes(p); }
    static KITH_SIMD_INLINE V broadcast_word(const void* p) noexcept {
        return Isa::broadcast_i(
            load_word<Arch, std::int32_t>(static_cast<const unsigned char*>(p)));
    }
    static KITH_SIMD_INLINE void multiply(V& acc, const V& panel, const V& row) noexcept {
        acc = Isa::dot_i16(acc, panel, row);
    }
    static KITH_SIMD_INLINE void store_element(unsigned char* word, std::size_t j, T x) noexcept {
        const auto wide = static_cast<std::int16_t>(x);
        __builtin_memcpy(word + 2 * j, &wide, 2);
    }
};

/// The sums of R rows and two registers of queries.
template <class Ops, std::size_t R>
struct TileSums {
    typename Ops::V v[R][2];
};

/// Adds `words` words of depth. Row r begins at rows + r * stride bytes.
template <class Ops, std::size_t R>
KITH_SIMD_INLINE void multiply_tile(TileSums<Ops, R>& sums, const unsigned char* panel,
                                    const unsigned char* rows, std::size_t stride,
                                    std::size_t words) noexcept {
    using V = typename Ops::V;
    constexpr std::size_t half = Ops::Isa::bytes;
    // Three rows hang on one pointer (p, p + stride, p + 2 * stride): twelve pointers would not fit into the registers.
    constexpr std::size_t bases = (R + 2) / 3;
    const unsigned char* base[bases];
    unroll<bases>([&](auto b) KITH_SIMD_LAMBDA {
        base[decltype(b)::value] = rows + 3 * decltype(b)::value * stride;
    });
    for (std::size_t k = 0; k < words; ++k) {
        const V q0 = Ops::load_panel(panel);
        const V q1 = Ops::load_panel(panel + half);
        unroll<R>([&](auto row) KITH_SIMD_LAMBDA {
            constexpr std::size_t r = decltype(row)::value;
            const V x = Ops::broadcast_word(base[r / 3] + (r % 3) * stride);
            Ops::multiply(sums.v[r][0], q0, x);
            Ops::multiply(sums.v[r][1], q1, x);
        });
        panel += 2 * half;
        unroll<bases>([&](auto b) KITH_SIMD_LAMBDA { base[decltype(b)::value] += tile_word; });
    }
}

/// Writes the (row, lane) whose bits are set; bits[r] has 2 * width of them. Rare, so not unrolled.
template <class Ops, std::size_t R>
KITH_SIMD_INLINE std::size_t append_hits(const std::uint32_t (&bits)[R], std::size_t first_row,
                                         TileHit* hits) noexcept {
    std::size_t count = 0;
    for (std::size_t r = 0; r < R; ++r)
        for (std::uint32_t rest = bits[r]; rest != 0; rest &= rest - 1)
            hits[count++] = {static_cast<std::uint32_t>(first_row + r),
                             static_cast<std::uint32_t>(__builtin_ctz(rest))};
    return count;
}

template <class Arch>
struct FloatTileKernel {
    using Ops = FloatTileOps<Arch>;
    using Isa = typename Ops::Isa;
    static constexpr std::size_t lanes = 2 * Isa::width;

    KITH_SIMD_ENTRY static void pack(const float* queries, std::size_t stride, std::size_t count,
                                     std::size_t dim, float* panel) noexcept {
        for (std::size_t k = 0; k < dim; ++k)
            for (std::size_t j = 0; j < lanes; ++j)
                panel[k * lanes + j] = j < count ? queries[j * stride + k] : 0.0f;
    }

    KITH_SIMD_ENTRY static std::size_t score(const float* panel, std::size_t dim, const float* rows,
                                             std::size_t stride, std::size_t row_count,
                                             const float* scale, const float* bias,
                                             const float* threshold, TileHit* hits) noexcept {
        std::size_t found = 0;
        std::size_t r = 0;
        for (; r + Isa::tile_rows <= row_count; r += Isa::tile_rows)
            found += tile<Isa::tile_rows>(panel, dim, rows, stride, r, scale, bias, threshold,
                                          hits + found);
        for (; r + 4 <= row_count; r += 4)
            found += tile<4>(panel, dim, rows, stride, r, scale, bias, threshold, hits + found);
        for (; r < row_count; ++r)
            found += tile<1>(panel, dim, rows, stride, r, scale, bias, threshold, hits + found);
        return found;
    }

private:
    template <std::size_t R>
    static KITH_SIMD_INLINE std::size_t tile(const float* panel, std::size_t dim, const float* rows,
                                             std::size_t stride, std::size_t first,
                                             const float* scale, const float* bias,
                                             const float* threshold, TileHit* hits) noexcept {
        TileSums<Ops, R> sums;
        unroll<R>([&](auto r) KITH_SIMD_LAMBDA {
            sums.v[decltype(r)::value][0] = Ops::zero();
            sums.v[decltype(r)::value][1] = Ops::zero();
        });
        multiply_tile<Ops, R>(sums, reinterpret_cast<const unsigned char*>(panel),
                              reinterpret_cast<const unsigned char*>(rows + first * stride),
                              stride * sizeof(float), dim);
        const auto limit0 = Isa::load(threshold);
        const auto limit1 = Isa::load(threshold + Isa::width);
        std::uint32_t bits[R];
        std::uint32_t any = 0;
        unroll<R>([&](auto row) KITH_SIMD_LAMBDA {
            constexpr std::size_t r = decltype(row)::value;
            const auto s = Isa::broadcast(scale[first + r]);
            const auto b = Isa::broadcast(bias[first + r]);
            bits[r] = Isa::not_ge_bits(Isa::fma(s, sums.v[r][0], b), limit0) |
                      Isa::not_ge_bits(Isa::fma(s, sums.v[r][1], b), limit1) << Isa::width;
            any |= bits[r];
        });
        return any == 0 ? 0 : append_hits<Ops, R>(bits, first, hits);
    }
};

template <class Arch, class T>
struct IntegerTileKernel {
    using Ops = IntegerTileOps<Arch, T>;
    using Isa = typename Ops::Isa;
    static constexpr std::size_t lanes = 2 * Isa::width;
    static constexpr std::size_t panel_row = 2 * Isa::bytes;  // bytes of a word of all queries
    static constexpr std::size_t chunk =
        128;  // elements of a row that are widened at once, if they are

    KITH_SIMD_ENTRY static std::size_t panel_bytes(std::size_t dim) noexcept {
        return (dim + Ops::per_word - 1) / Ops::per_word * panel_row;
    }

    /// Places beyond dim and queries beyond count hold the operand 0, which adds nothing.
    KITH_SIMD_ENTRY static void pack(const T* queries, std::size_t stride, std::size_t count,
                                     std::size_t dim, void* panel) noexcept {
        auto* out = static_cast<unsigned char*>(panel);
        for (std::size_t k = 0; k < dim; k += Ops::per_word)
            for (std::size_t j = 0; j < lanes; ++j, out += tile_word) {
                __builtin_memset(out, 0, tile_word);
                for (std::size_t i = 0; i < Ops::per_word && k + i < dim && j < count; ++i)
                    Ops::store_element(out, i, queries[j * stride + k + i]);
            }
    }

    KITH_SIMD_ENTRY static void prepare_rows(const T* rows, std::size_t stride,
                                             std::size_t row_count, std::size_t dim,
                                             std::int32_t* correction,
                                             std::int32_t* squared_norm) noexcept {
        using Dot = IntegerDotOp<Arch, T>;
        for (std::size_t r = 0; r < row_count; ++r) {
            const T* row = rows + r * stride;
            squared_norm[r] = static_cast<std::int32_t>(Dot::square(row, dim));
            // With byte products, what a query lacks in a scan is what a row lacks here: 128 times its sum, same sign.
            correction[r] = static_cast<std::int32_t>(Dot::prepare(row, dim).offset);
        }
    }

    KITH_SIMD_ENTRY static std::size_t score(const void* panel, std::size_t dim, const T* rows,
                                             std::size_t stride, std::size_t row_count,
                                             std::int32_t factor, const std::int32_t* bias,
                                             const std::int32_t* threshold,
                                             TileHit* hits) noexcept {
        const Call call{static_cast<const unsigned char*>(panel),
                        dim,
                        rows,
                        stride,
                        factor == -2 ? 1 : 0,
                        bias,
                        threshold};
        std::size_t found = 0;
        std::size_t r = 0;
        for (; r + Isa::tile_rows <= row_count; r += Isa::tile_rows)
            found += tile<Isa::tile_rows>(call, r, hits + found);
        for (; r + 4 <= row_count; r += 4) found += tile<4>(call, r, hits + found);
        for (; r < row_count; ++r) found += tile<1>(call, r, hits + found);
        return found;
    }

private:
    struct Call {
        const unsigned char* panel;
        std::size_t dim;
        const T* rows;
        std::size_t stride;
        int doubling;
        const std::int32_t* bias;
        const std::int32_t* threshold;
    };

    template <std::size_t R>
    static KITH_SIMD_INLINE std::size_t tile(const Call& call, std::size_t first,
                                             TileHit* hits) noexcept {
        TileSums<Ops, R> sums;
        unroll<R>([&](auto r) KITH_SIMD_LAMBDA {
            sums.v[decltype(r)::value][0] = Ops::zero();
            sums.v[decltype(r)::value][1] = Ops::zero();
        });
        if constexpr (Ops::staged)
            multiply_widened<R>(sums, call, call.rows + first * call.stride);
        else
            multiply_in_place<R>(sums, call, call.rows + first * call.stride);
        const auto limit0 = Isa::load_bytes(call.threshold);
        const auto limit1 = Isa::load_bytes(call.threshold + Isa::width);
        std::uint32_t bits[R];
        std::uint32_t any = 0;
        unroll<R>([&](auto row) KITH_SIMD_LAMBDA {
            constexpr std::size_t r = decltype(row)::value;
            const auto b = Isa::broadcast_i(call.bias[first + r]);
            bits[r] =
                Isa::less_bits(Isa::sub(b, Isa::shift_left(sums.v[r][0], call.doubling)), limit0) |
                Isa::less_bits(Isa::sub(b, Isa::shift_left(sums.v[r][1], call.doubling)), limit1)
                    << Isa::width;
            any |= bits[r];
        });
        return any == 0 ? 0 : append_hits<Ops, R>(bits, first, hits);
    }

    template <std::size_t R>
    static KITH_SIMD_INLINE void multiply_in_place(TileSums<Ops, R>& sums, const Call& call,
                                                   const T* rows) noexcept {
        const std::size_t words = call.dim / tile_word;
        multiply_tile<Ops, R>(sums, call.panel, reinterpret_cast<const unsigned char*>(rows),
                              call.stride, words);
        const std::size_t rest = call.dim % tile_word;
        if (rest == 0) return;
        unsigned char last[R * tile_word] = {};
        for (std::size_t r = 0; r < R; ++r)
            for (std::size_t i = 0; i < rest; ++i)
                last[r * tile_word + i] =
                    static_cast<unsigned char>(rows[r * call.stride + words * tile_word + i]);
        multiply_tile<Ops, R>(sums, call.panel + words * panel_row, last, tile_word, 1);
    }

    /// n elements as 16-bit integers, and a zero after an odd number of them.
    static KITH_SIMD_INLINE void widen_row(const T* row, std::size_t n,
                                           std::int16_t* wide) noexcept {
        typedef T Bytes __attribute__((vector_size(16)));
        typedef std::int16_t Words __attribute__((vector_size(32)));
        std::size_t i = 0;
        for (; i + sizeof(Bytes) <= n; i += sizeof(Bytes)) {
            Bytes bytes;
            __builtin_memcpy(&bytes, row + i, sizeof(bytes));
            const Words words = __builtin_convertvector(bytes, Words);
            __builtin_memcpy(wide + i, &words, sizeof(words));
        }
        for (; i < n; ++i) wide[i] = static_cast<std::int16_t>(row[i]);
        if (n % 2 != 0) wide[n] = 0;
    }

    template <std::size_t R>
    static KITH_SIMD_INLINE void multiply_widened(TileSums<Ops, R>& sums, const Call& call,
                                                  const T* rows) noexcept {
        std::int16_t wide[R * chunk];
        for (std::size_t k = 0; k < call.dim; k += chunk) {
            const std::size_t n = call.dim - k < chunk ? call.dim - k : chunk;
            for (std::size_t r = 0; r < R; ++r)
                widen_row(rows + r * call.stride + k, n, wide + r * chunk);
            multiply_tile<Ops, R>(sums, call.panel + k / 2 * panel_row,
                                  reinterpret_cast<const unsigned char*>(wide),
                                  chunk * sizeof(std::int16_t), (n + 1) / 2);
        }
    }
};

template <class Arch>
constexpr FloatTile float_tile() noexcept {
    using Kernel = FloatTileKernel<Arch>;
    return {Kernel::lanes, tile_max_rows, &Kernel::pack, &Kernel::score};
}

template <class Arch, class T>
constexpr IntegerTile<T> integer_tile() noexcept {
    if constexpr (Isa<Arch>::has_integer_tile) {
        using Kernel = IntegerTileKernel<Arch, T>;
        return {Kernel::lanes, tile_max_rows,         &Kernel::panel_bytes,
                &Kernel::pack, &Kernel::prepare_rows, &Kernel::score};
    } else {
        return {};
    }
}

}  // namespace kith::simd
