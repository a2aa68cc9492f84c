// SPDX-License-Identifier: Apache-2.0
//
// IVF: recall against speed, one query at a time and in a batch, beside the exact scan of the same rows on the same thread.
//
//   bench_ivf [--base F --query F --gt F] [--metric l2|cosine|ip] [--nlist N,N,...] [--nprobe N,N,...] [--sample N] [--repetitions N] [--threads-build N] [--queries N]
//
// Without files: datasets/photos-sift-10k, which says whether the program works and little else. Rows are searched as they lie (u8 under l2, f16 under cosine, f32); f32 rows
// under l2 and cosine also as 8-bit codes, refined. --nlist 0 is the square root of the number of rows. Queries: all of the file, or the first --queries; a batch is all of them.
//
// Method: one thread. For each nprobe a pass over all queries that is not timed; then, --repetitions times, one pass of single queries and one batch. The best counts.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "graph_workload.hpp"

namespace kith_bench {

namespace {

using namespace kith;

struct Options {
    std::string base = KITH_BENCH_DATASETS "/photos-sift-10k/base.u8bin";
    std::string query = KITH_BENCH_DATASETS "/photos-sift-10k/query.u8bin";
    std::string truth = KITH_BENCH_DATASETS "/photos-sift-10k/gt_dist.fbin";
    Measure measure = Measure::l2;
    std::vector<std::uint32_t> nlist{0}, nprobe{1, 2, 4, 8, 16, 32, 64};
    std::uint32_t sample = IvfParams{}.sample;
    std::size_t repetitions = 3, threads = 2, queries = ~std::size_t{0};
};

std::vector<std::uint32_t> numbers(const std::string& text) {
    std::vector<std::uint32_t> values;
    for (std::size_t at = 0; at <= text.size(); at = std::min(text.find(',', at), text.size()) + 1)
        values.push_back(static_cast<std::uint32_t>(std::strtoul(text.c_str() + at, nullptr, 10)));
    return values;
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        const std::string value = argv[i + 1];
        if (name == "--base") options.base = value;
        else if (name == "--query") options.query = value;
        else if (name == "--gt") options.truth = value;
        else if (name == "--nlist") options.nlist = numbers(value);
        else if (name == "--nprobe") options.nprobe = numbers(value);
        else if (name == "--sample") options.sample = numbers(value)[0];
        else if (name == "--repetitions") options.repetitions = numbers(value)[0];
        else if (name == "--threads-build") options.threads = numbers(value)[0];
        else if (name == "--queries") options.queries = numbers(value)[0];
        else if (name == "--metric") options.measure = value == "ip" ? Measure::ip : value == "cosine" ? Measure::cosine : Measure::l2;
        else fail(ErrorCode::invalid_argument, "unknown option ", name, "; see the head of bench/ivf.cpp");
    }
    return options;
}

double fact(const ParamMap& facts, std::string_view name) {
    for (const auto& [key, value] : facts)
        if (key == name) return std::holds_alternative<double>(value) ? std::get<double>(value) : static_cast<double>(std::get<std::int64_t>(value));
    return 0;
}

template <class Work>
double seconds(Work work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Queries a second, one by one and in a batch: the best of all repetitions.
template <Index I>
void measure(const Keyed<I>& keyed, MatrixView<const query_of<I>> queries, const typename I::search_params& params, const Workload& work, std::size_t repetitions,
             const char* what) {
    constexpr std::size_t k = Workload::k;
    BatchScratch<I> scratch;
    Results found(queries.rows(), k);
    const ResultView all = found.view();
    const auto batch = [&] { return keyed.search(queries, k, params, {}, inline_executor(), scratch, all); };
    const auto singles = [&] {
        for (std::size_t q = 0; q < queries.rows(); ++q)
            keyed.search(queries.slice(q, 1), k, params, {}, inline_executor(), scratch, {all.ids.slice(q, 1), all.distances.slice(q, 1), all.counts + q});
    };
    const SearchStats stats = batch();
    std::size_t right = 0;
    std::vector<std::uint32_t> ids(k);
    for (std::size_t q = 0; q < queries.rows(); ++q) {
        std::copy_n(all.ids.row(q), k, ids.begin());
        right += work.correct(q, ids.data(), k);
    }
    double one = 1e30, many = 1e30;
    for (std::size_t r = 0; r < repetitions; ++r) {
        one = std::min(one, seconds(singles));
        many = std::min(many, seconds(batch));
    }
    const auto n = static_cast<double>(queries.rows());
    std::printf("  %-12s recall@10 %.4f  distances %9.0f  one by one %9.0f qps  batch %9.0f qps\n", what, static_cast<double>(right) / (n * k),
                static_cast<double>(stats.distances) / n, n / one, n / many);
    std::fflush(stdout);
}

template <class I, class MakeSpace>
void sweep(const char* name, MakeSpace space, MatrixView<const query_of<I>> queries, const Workload& work, const Options& options) {
    ThreadPool pool(options.threads);
    for (const std::uint32_t nlist : options.nlist) {
        std::optional<Keyed<I>> keyed;
        const double built = seconds([&] { keyed.emplace(I::build(space(), {.nlist = nlist, .sample = options.sample}, 1, pool, Progress{})); });
        const ParamMap facts = keyed->index().describe();
        std::printf("%s, %.0f lists, imbalance %.2f, built in %.2f s by %zu threads, %.0f bytes a row\n", name, fact(facts, "nlist"), fact(facts, "imbalance"), built, options.threads,
                    static_cast<double>(keyed->index().memory_bytes() + keyed->ids().bytes()) / static_cast<double>(keyed->size()));
        for (const std::uint32_t nprobe : options.nprobe) {
            typename I::search_params params;
            params.nprobe = nprobe;
            measure(*keyed, queries, params, work, options.repetitions, ("nprobe " + std::to_string(nprobe)).c_str());
        }
    }
}

template <class M, class T>
void run(MatrixView<const T> rows, MatrixView<const query_of<Flat<DenseSpace<M, T>>>> queries, const Workload& work, const Options& options) {
    using S = DenseSpace<M, T>;
    const auto space = [rows] { return S(Rows<T>::borrow(rows)); };
    queries = queries.slice(0, std::min(queries.rows(), options.queries));
    std::printf("%s, %zu x %zu, %zu queries\n", S::type_label().c_str(), rows.rows(), rows.cols(), queries.rows());
    measure(Keyed(Flat<S>(space())), queries, {}, work, options.repetitions, "exact scan");
    sweep<Ivf<S>>("ivf", space, queries, work, options);
    if constexpr (std::is_same_v<T, float> && !std::is_same_v<M, InnerProduct>) sweep<Refine<Ivf<Sq8Space<M, T>>>>("ivf over sq8, refine f32", space, queries, work, options);
}

int run(const Options& options) {
    const Workload work(options.base, options.query, options.truth, options.measure);
    const FileElement element = work.base().element();
    switch (options.measure) {
        case Measure::l2:
            if (element == FileElement::u8) run<L2>(work.base().view<std::uint8_t>(), work.query().view<std::uint8_t>(), work, options);
            run<L2>(work.float_rows(), work.float_queries(), work, options);
            break;
        case Measure::cosine:
            if (element == FileElement::f16) run<Cosine>(work.base().view<Half>(), work.float_queries(), work, options);
            else run<Cosine>(work.float_rows(), work.float_queries(), work, options);
            break;
        case Measure::ip: run<InnerProduct>(work.float_rows(), work.float_queries(), work, options); break;
    }
    return 0;
}

}  // namespace

}  // namespace kith_bench

int main(int argc, char** argv) {
    try {
        return kith_bench::run(kith_bench::parse(argc, argv));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_ivf: %s\n", error.what());
        return 1;
    }
}
