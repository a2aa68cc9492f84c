// SPDX-License-Identifier: Apache-2.0
//
// What k-means does with every row (quantize/nearest.hpp, quantize/kmeans.hpp): the nearest of many centroids, and the sums of clusters.
//
// The nearest centroid is a register tile like those of simd/tile.hpp, with the roles turned round: lanes are rows, packed once and scored
// against every centroid, and what leaves the tile are no hits but each row's least score so far, its centroid, and the second least, kept
// lane by lane: nothing is written for each pair, and nothing is reduced across lanes. The second least tells whoever calls whether
// rounding could have chosen wrongly. With few dimensions that costs as little as a kernel made for them: of d + 5 instructions for a pair of
// registers d multiply.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/isa/unroll.hpp"
#include "kith/simd/table.hpp"
#include "kith/simd/tile.hpp"

namespace kith::simd {

template <class Arch>
struct NearestKernel {
    using Ops = FloatTileOps<Arch>;
    using Isa = typename Ops::Isa;
    static constexpr std::size_t width = Isa::width;
    static constexpr std::size_t lanes = 2 * width;

    KITH_SIMD_ENTRY static void pack(const float* rows, std::size_t stride, std::size_t count,
                                     std::size_t dim, const float* centre, float* panel,
                                     float* squared_norms) noexcept {
        std::size_t j = 0;
        for (; j + 4 <= count; j += 4)
            pack_four(rows + j * stride, stride, dim, centre, panel + j, squared_norms + j);
        for (; j < lanes; ++j) {
            float norm = 0.0f;
            for (std::size_t k = 0; k < dim; ++k) {
                const float x = j < count ? rows[j * stride + k] - centre[k] : 0.0f;
                panel[k * lanes + j] = x;
                norm += x * x;
            }
            squared_norms[j] = norm;
        }
    }

    KITH_SIMD_ENTRY static void score(const float* panel, std::size_t dim, const float* centroids,
                                      std::size_t stride, std::size_t count, const float* bias,
                                      std::uint32_t first, NearestLanes best) noexcept {
        std::size_t c = 0;
        for (; c + Isa::tile_rows <= count; c += Isa::tile_rows)
            tile<Isa::tile_rows>(panel, dim, centroids + c * stride, stride, bias + c,
                                 first + static_cast<std::uint32_t>(c), best);
        for (; c + 4 <= count; c += 4)
            tile<4>(panel, dim, centroids + c * stride, stride, bias + c,
                    first + static_cast<std::uint32_t>(c), best);
        for (; c < count; ++c)
            tile<1>(panel, dim, centroids + c * stride, stride, bias + c,
                    first + static_cast<std::uint32_t>(c), best);
    }

private:
    typedef float Four __attribute__((vector_size(16)));

    static KITH_SIMD_INLINE Four load_four(const float* p) noexcept {
        Four x;
        __builtin_memcpy(&x, p, sizeof(x));
        return x;
    }
    static KITH_SIMD_INLINE void store_four(float* p, Four x) noexcept {
        __builtin_memcpy(p, &x, sizeof(x));
    }

    static KITH_SIMD_INLINE void pack_four(const float* rows, std::size_t stride, std::size_t dim,
                                           const float* centre, float* panel,
                                           float* squared_norms) noexcept {
        const float* const r0 = rows;
        const float* const r1 = rows + stride;
        const float* const r2 = rows + 2 * stride;
        const float* const r3 = rows + 3 * stride;
        Four norms = {};
        std::size_t k = 0;
        for (; k + 4 <= dim; k += 4) {
            const Four m = load_four(centre + k);
            const Four a = load_four(r0 + k) - m, b = load_four(r1 + k) - m;
            const Four c = load_four(r2 + k) - m, d = load_four(r3 + k) - m;
            const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
            const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            const Four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            const Four columns[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                                     __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                                     __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                                     __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
            unroll<4>([&](auto i) KITH_SIMD_LAMBDA {
                constexpr std::size_t column = decltype(i)::value;
                store_four(panel + (k + column) * lanes, columns[column]);
                norms += columns[column] * columns[column];
            });
        }
        for (; k < dim; ++k) {
            const Four x = Four{r0[k], r1[k], r2[k], r3[k]} - centre[k];
            store_four(panel + k * lanes, x);
            norms += x * x;
        }
        store_four(squared_norms, norms);
    }

    /// A centroid's number as the bits of a float: it is only ever moved.
    static KITH_SIMD_INLINE typename Isa::F broadcast_number(std::uint32_t number) noexcept {
        float bits;
        __builtin_memcpy(&bits, &number, sizeof(bits));
        return Isa::broadcast(bits);
    }

    template <std::size_t R>
    static KITH_SIMD_INLINE void tile(const float* panel, std::size_t dim, const float* centroids,
                                      std::size_t stride, const float* bias, std::uint32_t first,
                                      const NearestLanes& best) noexcept {
        TileSums<Ops, R> sums;
        unroll<R>([&](auto row) KITH_SIMD_LAMBDA {
            constexpr std::size_t r = decltype(row)::value;
            sums.v[r][0] = sums.v[r][1] = Isa::broadcast(bias[r]);
        });
        multiply_tile<Ops, R>(sums, reinterpret_cast<const unsigned char*>(panel),
                              reinterpret_cast<const unsigned char*>(centroids),
                              stride * sizeof(float), dim);
        auto* const numbers = reinterpret_cast<float*>(best.number);
        unroll<2>([&](auto side) KITH_SIMD_LAMBDA {
            constexpr std::size_t half = decltype(side)::value;
            constexpr std::size_t at = half * width;
            auto least = Isa::load(best.least + at);
            auto second = Isa::load(best.second + at);
            auto number = Isa::load(numbers + at);
            unroll<R>([&](auto row) KITH_SIMD_LAMBDA {
                constexpr std::size_t r = decltype(row)::value;
                const auto score = sums.v[r][half];
                number = Isa::select_less(
                    score, least, broadcast_number(first + static_cast<std::uint32_t>(r)), number);
                second = Isa::min(second, Isa::max(score, least));
                least = Isa::min(score, least);
            });
            Isa::store(best.least + at, least);
            Isa::store(best.second + at, second);
            Isa::store(numbers + at, number);
        });
    }
};

template <class Arch>
struct SumRows {
    /// Rows are added one after the other, four to each load of the sums.
    KITH_SIMD_ENTRY static void add(const float* rows, std::size_t stride, const Slot* slots,
                                    std::size_t count, std::size_t dim, double* sums) noexcept {
        std::size_t i = 0;
        for (; i + 4 <= count; i += 4) {
            const std::size_t ahead = i + 8 <= count ? i + 4 : i;
            const float* const r0 = rows + slots[i] * stride;
            const float* const r1 = rows + slots[i + 1] * stride;
            const float* const r2 = rows + slots[i + 2] * stride;
            const float* const r3 = rows + slots[i + 3] * stride;
            const float* const n0 = rows + slots[ahead] * stride;
            const float* const n1 = rows + slots[ahead + 1] * stride;
            const float* const n2 = rows + slots[ahead + 2] * stride;
            const float* const n3 = rows + slots[ahead + 3] * stride;
            std::size_t k = 0;
            for (; k + lanes <= dim; k += lanes) {
                __builtin_prefetch(n0 + k);
                __builtin_prefetch(n1 + k);
                __builtin_prefetch(n2 + k);
                __builtin_prefetch(n3 + k);
                Doubles sum;
                __builtin_memcpy(&sum, sums + k, sizeof(sum));
                add_eight(sum, r0 + k);
                add_eight(sum, r1 + k);
                add_eight(sum, r2 + k);
                add_eight(sum, r3 + k);
                __builtin_memcpy(sums + k, &sum, sizeof(sum));
            }
            for (; k < dim; ++k) {
                double sum = sums[k];
                sum += static_cast<double>(r0[k]);
                sum += static_cast<double>(r1[k]);
                sum += static_cast<double>(r2[k]);
                sum += static_cast<double>(r3[k]);
                sums[k] = sum;
            }
        }
        for (; i < count; ++i) {
            const float* const row = rows + slots[i] * stride;
            for (std::size_t k = 0; k < dim; ++k) sums[k] += static_cast<double>(row[k]);
        }
    }

private:
    // Of one size everywhere: compilers split what is wider than a register, and shorter vectors of floats they would take apart.
    static constexpr std::size_t lanes = 8;
    typedef double Doubles __attribute__((vector_size(64)));
    typedef float Floats __attribute__((vector_size(32)));

    static KITH_SIMD_INLINE void add_eight(Doubles& sum, const float* p) noexcept {
        Floats x;
        __builtin_memcpy(&x, p, sizeof(x));
        sum += __builtin_convertvector(x, Doubles);
    }
};

/// n bytes as floats, in order.
template <class Arch, class T>
struct WidenBytes {
    KITH_SIMD_ENTRY static void widen(const T* from, std::size_t n, float* to) noexcept {
        typedef T Bytes __attribute__((vector_size(16)));
        typedef std::int16_t Words __attribute__((vector_size(32)));
        typedef std::int32_t Integers __attribute__((vector_size(64)));
        typedef float Floats __attribute__((vector_size(64)));
        std::size_t i = 0;
        for (; i + sizeof(Bytes) <= n; i += sizeof(Bytes)) {
            Bytes bytes;
            __builtin_memcpy(&bytes, from + i, sizeof(bytes));
            const Words words = __builtin_convertvector(bytes, Words);
            const Integers integers = __builtin_convertvector(words, Integers);
            const Floats floats = __builtin_convertvector(integers, Floats);
            __builtin_memcpy(to + i, &floats, sizeof(floats));
        }
        for (; i < n; ++i) to[i] = static_cast<float>(from[i]);
    }
};

template <class Arch>
constexpr NearestTile nearest_tile() noexcept {
    using Kernel = NearestKernel<Arch>;
    return {Kernel::lanes, &Kernel::pack, &Kernel::score};
}

}  // namespace kith::simd
