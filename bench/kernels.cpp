// SPDX-License-Identifier: Apache-2.0
//
// How near the kernels come to the machine: scans of rows in the first cache and tiles of rows in the second against a register-only
// loop of multiply-adds timed in this program, and the one-to-one kernels against SimSIMD's where KITH_BENCH_SIMSIMD is defined.
//
// Each figure is the best of many short batches, so that a busy machine costs repetitions and not truth. One multiply-add is two
// operations, for integers too. bench_kernels [table]: the table to measure, by default the best.
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "peak.hpp"
#include "kith/core/buffer.hpp"
#include "kith/core/random.hpp"
#include "kith/simd/kernels.hpp"

#if defined(KITH_BENCH_SIMSIMD)
#define SIMSIMD_NATIVE_F16 0
#define SIMSIMD_NATIVE_BF16 0
// Its own best for this processor, whatever this file is compiled for; the sets that g++ 12 cannot compile are left out.
#if defined(__x86_64__)
#define SIMSIMD_TARGET_HASWELL 1
#define SIMSIMD_TARGET_SKYLAKE 1
#define SIMSIMD_TARGET_ICE 1
#define SIMSIMD_TARGET_GENOA 1
#define SIMSIMD_TARGET_SAPPHIRE 0
#define SIMSIMD_TARGET_TURIN 0
#define SIMSIMD_TARGET_SIERRA 0
#endif
#include <simsimd/simsimd.h>
#endif

namespace {

using namespace kith;
using namespace kith::simd;

volatile float sink;

using kith_bench::best_seconds;

constexpr std::size_t dims[] = {128, 768, 1536};

template <class T>
T element(std::uint64_t i) {
    const Random random(7);
    if constexpr (std::is_same_v<T, float>)
        return static_cast<float>(random.normal(i));
    else if constexpr (std::is_same_v<T, Half>)
        return to_half(static_cast<float>(random.normal(i)));
    else if constexpr (std::is_same_v<T, BFloat16>)
        return to_bfloat16(static_cast<float>(random.normal(i)));
    else if constexpr (std::is_same_v<T, Bits8>)
        return {static_cast<std::uint8_t>(random.bits(i))};
    else
        return static_cast<T>(random.bits(i));
}

template <class T>
AlignedBuffer<T> elements(std::size_t n, std::uint64_t from = 0) {
    AlignedBuffer<T> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = element<T>(from + i);
    return x;
}

template <class T, class D>
void bench_scan(const char* name, const DistanceKernels<T, D>& kernels, double peak) {
    using Query = query_element_t<T>;
    for (const std::size_t dim : dims) {
        // As many whole groups of rows as leave room for the query in 32 KiB.
        std::size_t count = (31000 - dim * sizeof(Query)) / (dim * sizeof(T));
        count = count >= 64 ? 64 : (count >= 8 ? count / 8 * 8 : count / 4 * 4);
        const AlignedBuffer<T> data = elements<T>(count * dim);
        const AlignedBuffer<Query> query = elements<Query>(dim, 1u << 20);
        const AlignedBuffer<std::int32_t> norms(count);
        AlignedBuffer<D> out(count);
        std::vector<Slot> slots(count);
        for (std::size_t i = 0; i < count; ++i) slots[i] = static_cast<Slot>((i * 5 + 3) % count);
        const RowsRef<T> rows{data.data(), dim, dim, norms.data()};
        const double operations = 2.0 * static_cast<double>(dim * count);
        const double run =
            operations / best_seconds([&] { kernels.run(query.data(), rows, 0, count, out.data()); });
        const double gather =
            operations /
            best_seconds([&] { kernels.gather(query.data(), rows, slots.data(), count, out.data()); });
        std::printf(
            "%-10s d=%-5zu rows=%-3zu run %6.1f GOP/s %5.2f of peak   gather %6.1f GOP/s %5.2f of "
            "peak\n",
            name, dim, count, run * 1e-9, run / peak, gather * 1e-9, gather / peak);
    }
}

void bench_float_tile(const FloatTile& tile, double peak) {
    for (const std::size_t dim :
         {std::size_t{128}, std::size_t{768}, std::size_t{1024}, std::size_t{1536}}) {
        const std::size_t count = 480 * 128 / dim / 12 * 12;  // 240 KiB
        const AlignedBuffer<float> data = elements<float>(count * dim),
                                   queries = elements<float>(tile.lanes * dim, 99);
        AlignedBuffer<float> panel(tile.lanes * dim), scale(count), bias(count),
            threshold(tile.lanes);
        for (std::size_t i = 0; i < count; ++i) scale[i] = -2.0f;
        for (std::size_t j = 0; j < tile.lanes; ++j) threshold[j] = -1e30f;
        std::vector<TileHit> hits(count * tile.lanes);
        tile.pack(queries.data(), dim, tile.lanes, dim, panel.data());
        const double t = best_seconds([&] {
            sink = static_cast<float>(tile.score(panel.data(), dim, data.data(), dim, count,
                                                 scale.data(), bias.data(), threshold.data(),
                                                 hits.data()));
        });
        const double pack =
            best_seconds([&] { tile.pack(queries.data(), dim, tile.lanes, dim, panel.data()); });
        const double rate = 2.0 * static_cast<double>(dim * count * tile.lanes) / t;
        std::printf(
            "tile f32   d=%-5zu rows=%-3zu %6.1f GOP/s %5.2f of peak   pack %.2f ns an element\n",
            dim, count, rate * 1e-9, rate / peak,
            pack * 1e9 / static_cast<double>(dim * tile.lanes));
    }
}

template <class T>
void bench_integer_tile(const char* name, const IntegerTile<T>& tile, double peak) {
    if (tile.score == nullptr) return;
    for (const std::size_t dim :
         {std::size_t{128}, std::size_t{768}, std::size_t{1024}, std::size_t{1536}}) {
        const std::size_t count = 960 * 128 / dim / 12 * 12;
        const AlignedBuffer<T> data = elements<T>(count * dim),
                               queries = elements<T>(tile.lanes * dim, 99);
        AlignedBuffer<std::int32_t> bias(count), correction(count), norms(count),
            threshold(tile.lanes);
        for (std::size_t j = 0; j < tile.lanes; ++j)
            threshold[j] = std::numeric_limits<std::int32_t>::min();
        AlignedBuffer<unsigned char> panel(tile.panel_bytes(dim));
        std::vector<TileHit> hits(count * tile.lanes);
        tile.pack(queries.data(), dim, tile.lanes, dim, panel.data());
        const double t = best_seconds([&] {
            sink = static_cast<float>(tile.score(panel.data(), dim, data.data(), dim, count, -2,
                                                 bias.data(), threshold.data(), hits.data()));
        });
        const double prepare = best_seconds([&] {
            tile.prepare_rows(data.data(), dim, count, dim, correction.data(), norms.data());
        });
        const double pack =
            best_seconds([&] { tile.pack(queries.data(), dim, tile.lanes, dim, panel.data()); });
        const double rate = 2.0 * static_cast<double>(dim * count * tile.lanes) / t;
        std::printf(
            "%-10s d=%-5zu rows=%-3zu %6.1f GOP/s %5.2f of FMA peak   pack %.2f ns, prepare_rows "
            "%.3f ns an element\n",
            name, dim, count, rate * 1e-9, rate / peak,
            pack * 1e9 / static_cast<double>(dim * tile.lanes),
            prepare * 1e9 / static_cast<double>(dim * count));
    }
}

template <class T, class D>
void bench_one(const char* name, const DistanceKernels<T, D>& kernels, [[maybe_unused]] int metric,
               [[maybe_unused]] int type) {
    for (const std::size_t dim : dims) {
        const std::size_t length = std::is_same_v<T, Bits8> ? dim / 8 : dim;
        const AlignedBuffer<T> a = elements<T>(length), b = elements<T>(length, 5000);
        const double ours =
            best_seconds([&] { sink = static_cast<float>(kernels.one(a.data(), b.data(), length)); });
        std::printf("one %-12s d=%-5zu %7.2f ns", name, dim, ours * 1e9);
#if defined(KITH_BENCH_SIMSIMD)
        simsimd_kernel_punned_t kernel = nullptr;
        simsimd_capability_t capability = simsimd_cap_serial_k;
        simsimd_find_kernel_punned(static_cast<simsimd_metric_kind_t>(metric),
                                   static_cast<simsimd_datatype_t>(type), simsimd_capabilities(),
                                   simsimd_cap_any_k, &kernel, &capability);
        if (kernel != nullptr) {
            const auto peer =
                reinterpret_cast<simsimd_metric_dense_punned_t>(reinterpret_cast<void*>(kernel));
            simsimd_distance_t result = 0;
            const double theirs = best_seconds([&] {
                peer(a.data(), b.data(), length, &result);
                sink = static_cast<float>(result);
            });
            std::printf("   SimSIMD %7.2f ns (set %3u)   ours is %.2f times as fast", theirs * 1e9,
                        static_cast<unsigned>(capability), theirs / ours);
        }
#endif
        std::printf("\n");
    }
}

#if defined(KITH_BENCH_SIMSIMD)
constexpr int peer_l2 = simsimd_metric_l2sq_k, peer_dot = simsimd_metric_dot_k,
              peer_hamming = simsimd_metric_hamming_k, peer_jaccard = simsimd_metric_jaccard_k,
              peer_f32 = simsimd_datatype_f32_k, peer_f16 = simsimd_datatype_f16_k,
              peer_bf16 = simsimd_datatype_bf16_k, peer_i8 = simsimd_datatype_i8_k,
              peer_u8 = simsimd_datatype_u8_k, peer_b8 = simsimd_datatype_b8_k;
#else
constexpr int peer_l2 = 0, peer_dot = 0, peer_hamming = 0, peer_jaccard = 0, peer_f32 = 0,
              peer_f16 = 0, peer_bf16 = 0, peer_i8 = 0, peer_u8 = 0, peer_b8 = 0;
#endif

}  // namespace

int main(int argc, char** argv) {
    const KernelTable* named = argc > 1 ? find_table(argv[1]) : nullptr;
    const KernelTable& t = named != nullptr ? *named : kernels();
    const double peak = kith_bench::multiply_add_peak(t);
    std::printf("kernels %s, multiply-add peak %.1f GOP/s\n", t.name, peak * 1e-9);

    bench_scan("l2 f32", t.l2_f32, peak);
    bench_scan("dot f32", t.dot_f32, peak);
    bench_scan("l1 f32", t.l1_f32, peak);
    bench_scan("l2 f16", t.l2_f16, peak);
    bench_scan("dot f16", t.dot_f16, peak);
    bench_scan("l2 bf16", t.l2_bf16, peak);
    bench_scan("dot bf16", t.dot_bf16, peak);
    bench_scan("l2 i8", t.l2_i8, peak);
    bench_scan("dot i8", t.dot_i8, peak);
    bench_scan("l2 u8", t.l2_u8, peak);
    bench_scan("dot u8", t.dot_u8, peak);
    bench_scan("l1 u8", t.l1_u8, peak);
    bench_float_tile(t.tile_f32, peak);
    bench_integer_tile("tile i8", t.tile_i8, peak);
    bench_integer_tile("tile u8", t.tile_u8, peak);
    bench_one("l2 f32", t.l2_f32, peer_l2, peer_f32);
    bench_one("dot f32", t.dot_f32, peer_dot, peer_f32);
    bench_one("l2 f16", t.l2_f16, peer_l2, peer_f16);
    bench_one("dot f16", t.dot_f16, peer_dot, peer_f16);
    bench_one("l2 bf16", t.l2_bf16, peer_l2, peer_bf16);
    bench_one("dot bf16", t.dot_bf16, peer_dot, peer_bf16);
    bench_one("l2 i8", t.l2_i8, peer_l2, peer_i8);
    bench_one("dot i8", t.dot_i8, peer_dot, peer_i8);
    bench_one("l2 u8", t.l2_u8, peer_l2, peer_u8);
    bench_one("dot u8", t.dot_u8, peer_dot, peer_u8);
    bench_one("hamming b1", t.hamming_b1, peer_hamming, peer_b8);
    bench_one("jaccard b1", t.jaccard_b1, peer_jaccard, peer_b8);
    std::printf("multiply-add peak at the end %.1f GOP/s\n", kith_bench::multiply_add_peak(t) * 1e-9);
}
