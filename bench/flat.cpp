// SPDX-License-Identifier: Apache-2.0
//
// How near Flat comes to the machine, each figure beside its bound, measured in this program:
//   one query      bytes scanned per second : a plain sum over the same memory
//   a batch        multiply-adds per second : a register-only loop of the kernel table's widest multiply-add
//
// bench_flat [rows [dim]]: random rows, 1,000,000 x 128 by default. Exact search does the same work on any data, so random rows will do here;
// the comparison with a peer (bench/compare_faiss.py) takes real ones. Medians of several repetitions.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "peak.hpp"
#include "kith/kith.hpp"

namespace {

using namespace kith;

volatile float sink;

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

template <class F>
double seconds(F run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class F>
double median_seconds(int repetitions, F run) {
    std::vector<double> times;
    for (int i = 0; i < repetitions; ++i) times.push_back(seconds(run));
    return median(times);
}

template <class F, class G>
std::pair<double, double> median_seconds_in_turn(int repetitions, F first, G second) {
    std::vector<double> a;
    std::vector<double> b;
    for (int i = 0; i < repetitions; ++i) {
        a.push_back(seconds(first));
        b.push_back(seconds(second));
    }
    return {median(a), median(b)};
}

/// Sixteen independent sums: memory is the limit, not the adds.
float plain_sum(const float* x, std::size_t n) {
    using Vector = float __attribute__((vector_size(16), aligned(4)));
    Vector sums[16] = {};
    for (std::size_t i = 0; i + 64 <= n; i += 64)
        for (std::size_t j = 0; j < 16; ++j) sums[j] += *reinterpret_cast<const Vector*>(x + i + 4 * j);
    Vector all = {};
    for (const auto& sum : sums) all += sum;
    return all[0] + all[1] + all[2] + all[3];
}

template <class M, class T>
void bench(const char* name, const AlignedBuffer<T>& base, std::size_t dim, double peak) {
    using Space = DenseSpace<M, T>;
    using Query = typename Space::query_type;
    const std::size_t rows = base.size() / dim;
    constexpr std::size_t batch = 1000;
    const Keyed index(Flat(Space(Rows<T>::borrow(MatrixView<const T>(base.data(), rows, dim)))));
    std::vector<Query> queries(batch * dim);
    for (std::size_t i = 0; i < queries.size(); ++i) {
        if constexpr (std::is_same_v<Query, float>) queries[i] = to_float(base[(i * 7919) % base.size()]) * 1.01f;
        else queries[i] = base[(i * 7919) % base.size()];
    }
    BatchScratch<Flat<Space>> scratch;
    const MatrixView<const Query> all(queries.data(), batch, dim);
    Results results(batch, 10);
    const ResultView out = results.view();
    std::size_t next = 0;
    // In turn, as the bandwidth of a shared machine comes and goes.
    const auto [sum, one] = median_seconds_in_turn(
        21, [&] { sink = plain_sum(reinterpret_cast<const float*>(base.data()), base.size() * sizeof(T) / sizeof(float)); },
        [&] {
            const ResultView first{out.ids.slice(0, 1), out.distances.slice(0, 1), out.counts};
            index.search(all.slice(next++ % batch, 1), 10, {}, {}, inline_executor(), scratch, first);
        });
    const double bandwidth = static_cast<double>(base.size() * sizeof(T)) / one;
    std::printf("%-10s  one query %5.1f GB/s, %4.2f of a plain sum  |  of the f32 peak, in batches of", name, bandwidth * 1e-9,
                sum / one);
    for (const std::size_t size : {std::size_t{4}, std::size_t{8}, std::size_t{16}, std::size_t{32}, batch}) {
        const ResultView some{out.ids.slice(0, size), out.distances.slice(0, size), out.counts};
        const double time =
            median_seconds(3, [&] { index.search(all.slice(0, size), 10, {}, {}, inline_executor(), scratch, some); });
        const double operations = 2.0 * static_cast<double>(base.size()) * static_cast<double>(size) / time;
        std::printf("  %zu: %4.2f", size, operations / peak);
        if (size == batch) std::printf(" (%.0f GOP/s, %.0f QPS)", operations * 1e-9, static_cast<double>(size) / time);
    }
    std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t rows = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000;
    const std::size_t dim = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 128;
    AlignedBuffer<float> base(rows * dim);
    AlignedBuffer<std::uint8_t> bytes(rows * dim);
    const Random random(1);
    for (std::size_t i = 0; i < base.size(); ++i) {
        bytes[i] = static_cast<std::uint8_t>(random.bits(i));
        base[i] = static_cast<float>(bytes[i]);
    }
    const double peak = kith_bench::multiply_add_peak(simd::kernels());
    std::printf("%zu x %zu, kernels %s, one thread: multiply-add peak %.1f GFLOP/s\n", rows, dim, simd::kernels().name,
                peak * 1e-9);
    bench<L2>("l2 f32", base, dim, peak);
    bench<InnerProduct>("ip f32", base, dim, peak);
    bench<Cosine>("cosine f32", base, dim, peak);
    bench<L2>("l2 u8", bytes, dim, peak);
    bench<InnerProduct>("ip u8", bytes, dim, peak);
}
