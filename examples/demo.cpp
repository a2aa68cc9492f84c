// SPDX-License-Identifier: Apache-2.0
//
// make demo: exact search over real SIFT descriptors, with everything measured or computed on the spot.
//
// Usage: demo [directory with base.u8bin, query.u8bin, gt_ids.ibin, gt_dist.fbin]
// Fails (exit status 1) when recall@10 against the ground truth is not 1.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kith/kith.hpp"

namespace {

using Byte = std::uint8_t;
using Index = kith::Keyed<kith::Flat<kith::DenseSpace<kith::L2, Byte>>>;
using Queries = kith::MatrixView<const Byte>;

constexpr std::size_t k = 10;

struct Data {
    explicit Data(const std::filesystem::path& directory)
        : base(directory / "base.u8bin"),
          query(directory / "query.u8bin"),
          truth(directory / "gt_dist.fbin") {
        if (query.dim() != base.dim() || truth.rows() != query.rows() || truth.cols() < k ||
            base.rows() < k)
            kith::fail(kith::ErrorCode::dimension_mismatch, "the files in ", directory.string(),
                       " do not belong together");
    }

    kith::VectorFile base;
    kith::VectorFile query;
    kith::VectorFile truth;  // the distances of the true neighbours, nearest first
};

/// What anybody would write first: one multiplication at a time, in double precision.
double naive_squared_l2(const Byte* a, const Byte* b, std::size_t dim) {
    double sum = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        sum += difference * difference;
    }
    return sum;
}

double naive_scan(const Byte* query, Queries base) {
    std::vector<std::pair<double, std::size_t>> all(base.rows());
    for (std::size_t i = 0; i < base.rows(); ++i)
        all[i] = {naive_squared_l2(query, base.row(i), base.cols()), i};
    std::partial_sort(all.begin(), all.begin() + k, all.end());
    return all[k - 1].first;
}

/// Seconds that one call takes: the best of several rounds, which is what the machine can do undisturbed.
template <class Work>
double seconds(Work&& work) {
    using clock = std::chrono::steady_clock;
    double best = 1e9;
    const auto enough = clock::now() + std::chrono::milliseconds(200);
    do {
        const auto begin = clock::now();
        work();
        best = std::min(best, std::chrono::duration<double>(clock::now() - begin).count());
    } while (clock::now() < enough);
    return best;
}

/// The share of results that are true neighbours: as near as the k-th true one, so that any of several rows at the
/// same distance counts. The distances are computed here, not taken from the index's word.
double recall(const kith::Results& results, Queries queries, Queries base,
              kith::MatrixView<const float> truth) {
    std::size_t right = 0;
    for (std::size_t q = 0; q < queries.rows(); ++q) {
        std::vector<kith::Id> ids(results.ids(q).begin(), results.ids(q).end());
        std::sort(ids.begin(), ids.end());
        ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
        for (const kith::Id id : ids) {
            const Byte* row = base.row(static_cast<std::size_t>(id));
            right += naive_squared_l2(queries.row(q), row, base.cols()) <=
                             static_cast<double>(truth.row(q)[k - 1])
                         ? 1
                         : 0;
        }
    }
    return static_cast<double>(right) / static_cast<double>(queries.rows() * k);
}

std::string grouped(std::uint64_t number) {
    std::string text = std::to_string(number);
    for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
    return text;
}

void print_setting(const Data& data, const Index& index, const std::string& directory) {
    const auto& rows = index.index().space().rows();
    std::string tables;
    for (const auto* table : kith::simd::available_tables())
        tables += std::string(tables.empty() ? "" : ", ") + table->name;
    std::printf("\nExact nearest neighbours among SIFT descriptors of photographs\n\n");
    std::printf("  data      %s: %s base and %s query vectors of %zu bytes\n", directory.c_str(),
                grouped(data.base.rows()).c_str(), grouped(data.query.rows()).c_str(),
                data.base.dim());
    std::printf("  index     %s over %s; rows %s, %zu bytes of them copied\n",
                std::string(Index::index_type::kind).c_str(), index.index().space().label().c_str(),
                rows.kind() == kith::RowsKind::mapped ? "mapped from the file" : "in memory",
                rows.bytes());
    std::printf("  kernels   %s (this machine runs %s; KITH_ARCH=name picks one)\n\n",
                kith::simd::kernels().name, tables.c_str());
}

void print_neighbours(const kith::Results& results, std::size_t query) {
    std::printf("  The %zu nearest neighbours of query %zu, by squared L2 distance\n\n",
                results.count(query), query);
    std::printf("    rank       id   distance\n    ----   ------   --------\n");
    for (std::size_t i = 0; i < results.count(query); ++i)
        std::printf("    %4zu   %6lld   %8s\n", i + 1,
                    static_cast<long long>(results.ids(query)[i]),
                    grouped(static_cast<std::uint64_t>(results.distances(query)[i])).c_str());
    std::printf("\n");
}

void print_speed(const Index& index, Queries queries, Queries base) {
    kith::BatchScratch<Index::index_type> scratch;
    kith::Results one(1, k);
    kith::Results all(queries.rows(), k);
    std::size_t next = 0;
    const auto turn = [&] { return next = (next + 1) % queries.rows(); };
    double kept = 0;  // so that the loop's work is not optimised away
    const double naive = seconds([&] { kept += naive_scan(queries.row(turn()), base); });
    const double single = seconds([&] {
        index.search(queries.slice(turn(), 1), k, {}, {}, kith::inline_executor(), scratch,
                     one.view());
    });
    std::printf("  one query, naive loop in double     %9.1f us\n", kept >= 0 ? naive * 1e6 : 0);
    std::printf("  one query, kith                     %9.1f us   %.1f times faster\n",
                single * 1e6, naive / single);
    const std::size_t most = std::max(1u, std::thread::hardware_concurrency());
    for (const std::size_t threads : {std::size_t{1}, most}) {
        kith::ThreadPool pool(threads);
        const double batch =
            seconds([&] { index.search(queries, k, {}, {}, pool, scratch, all.view()); });
        std::printf("  batch of %4zu, kith, %2zu thread%s      %9s queries/s\n", queries.rows(),
                    threads, threads == 1 ? " " : "s",
                    grouped(static_cast<std::uint64_t>(static_cast<double>(queries.rows()) / batch))
                        .c_str());
        if (most == 1) break;
    }
}

int run(const std::string& directory) {
    const Data data(directory);
    const auto base = data.base.view<Byte>();
    const auto queries = data.query.view<Byte>();
    const Index index(kith::Flat(
        kith::DenseSpace<kith::L2, Byte>(kith::Rows<Byte>::map(base, data.base.keep_alive()))));

    const kith::Results results = index.search(queries, k);
    print_setting(data, index, directory);
    print_neighbours(results, 0);
    std::printf("  distances computed                  %9s   for %zu queries\n",
                grouped(results.stats.distances).c_str(), queries.rows());
    print_speed(index, queries, base);
    const double found = recall(results, queries, base, data.truth.view<float>());
    std::printf("  recall@%zu against the ground truth       %.3f\n\n", k, found);
    if (found == 1.0) return 0;
    std::fprintf(stderr, "expected a recall of 1: this search is exact\n");
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc > 1 ? argv[1] : "datasets/photos-sift-10k");
    } catch (const kith::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
