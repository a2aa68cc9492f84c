// SPDX-License-Identifier: Apache-2.0
//
// The small parts, by Google Benchmark: what a row costs a collector, a filter, the checksum, the id map; what a search costs beside its distances.
// For finding out what a change did to one of them, not for comparing with anybody.
#include <benchmark/benchmark.h>

#include <vector>

#include "kith/core/crc32c.hpp"
#include "kith/kith.hpp"
#include "kith/storage/id_map.hpp"

namespace {

using namespace kith;

std::vector<float> uniform(std::size_t n) {
    const Random random(1);
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(random.uniform(i));
    return values;
}

/// k nearest of 100,000 distances in random order.
void top_k(benchmark::State& state) {
    const auto distances = uniform(100'000);
    std::vector<Hit<float>> storage(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        TopK<float> nearest{std::span(storage)};
        for (std::size_t i = 0; i < distances.size(); ++i)
            if (!(distances[i] > nearest.bound())) nearest.offer(static_cast<Slot>(i), distances[i]);
        benchmark::DoNotOptimize(nearest.sorted().data());
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(distances.size()));
}
BENCHMARK(top_k)->Arg(1)->Arg(10)->Arg(100)->Arg(1000);

void checksum(benchmark::State& state) {
    const std::vector<std::byte> bytes(1 << 20);
    for (auto _ : state) benchmark::DoNotOptimize(crc32c(bytes));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(checksum);

/// Id to slot in a map whose ids are in no order.
void id_lookup(benchmark::State& state) {
    const Random random(2);
    std::vector<Id> ids(1'000'000);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Id>(detail::mix64(i) >> 1);
    IdMap map;
    map.append(ids);
    std::size_t i = 0;
    for (auto _ : state) benchmark::DoNotOptimize(map.slot(ids[random.below(++i, ids.size())]));
}
BENCHMARK(id_lookup);

void finite_check(benchmark::State& state) {
    const auto values = uniform(1 << 20);
    const MatrixView<const float> rows(values.data(), 1 << 10, 1 << 10);
    for (auto _ : state) benchmark::DoNotOptimize(first_not_finite(rows));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(values.size() * sizeof(float)));
}
BENCHMARK(finite_check);

/// One query over few rows, all rows allowed or one in `range(1)` of them: what is not distances shows.
void search_flat(benchmark::State& state) {
    const auto rows = static_cast<std::size_t>(state.range(0));
    const std::size_t dim = 128;
    const auto base = uniform(rows * dim);
    const Keyed index(Flat(DenseSpace<L2, float>(Rows<float>::borrow(MatrixView<const float>(base.data(), rows, dim)))));
    Bitset bits(rows);
    for (std::size_t i = 0; i < rows; i += static_cast<std::size_t>(state.range(1))) bits.set(i);
    const BitsetFilter filter(bits);
    const auto filters = state.range(1) == 1 ? std::span<const BitsetFilter>() : std::span(&filter, 1);
    BatchScratch<Flat<DenseSpace<L2, float>>> scratch;
    Results results(1, std::min<std::size_t>(10, rows));
    const ResultView out = results.view();
    for (auto _ : state)
        index.search(MatrixView<const float>(base.data(), 1, dim), 10, {}, filters, inline_executor(), scratch, out);
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(rows));
}
BENCHMARK(search_flat)->Args({1, 1})->Args({1000, 1})->Args({1000, 2})->Args({1000, 10})->Args({100'000, 1})->Args({100'000, 100});

}  // namespace

BENCHMARK_MAIN();
