// SPDX-License-Identifier: Apache-2.0
//
// Graph indexes beside their peers, one timing loop for all: one thread, one query at a time, k = 10, recall against speed.
//
//   bench_graph --base F --query F --gt F [--metric l2|cosine|ip] [--contender NAME]... [--peer LIB.so]... [--list]
//               [--sweep EF,EF,...] [--recall LOW,HIGH] [--repetitions 3] [--threads-build 2] [--cache DIR]
//               [--rebuild NAME]... [--build-only] [--rows N]
//
// Without files: datasets/photos-sift-10k, which says whether the program works and little else.
// --contender, --rebuild: all contenders whose name begins so. --gt: distances (f32; scores for ip) or ids (i32), best
// first.
// --recall: only values of ef with a recall in this range are timed, and one more on each side (default 0.85,0.995).
// --cache: built indexes are kept here with their build seconds and read back; delete what has become stale, or
// --rebuild it.
// --build-only: fills the cache.
// --rows: only the first N rows; the truth is then computed.
//
// Method: each index is built or read; one pass that is not timed finds recall and distances for each ef. Then,
// --repetitions times, each contender in turn (a noisy machine is noisy to all) runs one pass to warm up and then all
// its ef; a repetition lasts at least a fifth of a second, passes over all queries as often as that takes. The best
// repetition counts; the median is printed beside it.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string_view>

#include <dlfcn.h>

#include "graph_contender.hpp"
#include "graph_kith.hpp"
#include "graph_report.hpp"
#include "graph_workload.hpp"

namespace kith_bench {

#ifdef KITH_BENCH_HNSWLIB
void add_hnswlib(std::vector<Entry>& entries);  // peers/hnswlib.cpp
#endif

namespace {

using namespace kith;

// --- kith's contenders: this is the place to add one ----------------------------------------------------------------------

/// All kinds of index over rows of T under M. `where` ends their names: "l2-u8".
template <class M, class T>
void add_kinds(std::vector<Entry>& entries, MatrixView<const T> rows, const std::string& where) {
    using S = DenseSpace<M, T>;
    const auto space = [rows] { return S(Rows<T>::copy(rows)); };  // as the other libraries do, and out of a file's 4 KiB pages
    add_kith<Flat<S>>(entries, "kith-flat-" + where, space, {}, rows.rows() <= 20'000);  // slow, exact
    add_kith<Hnsw<S>>(entries, "kith-hnsw-m16-" + where, space, {.m = 16, .ef_construction = 200});
    add_kith<Vamana<S>>(entries, "kith-vamana-r32-" + where, space, {.r = 32, .l = 100});
    add_kith<Hnsw<S>>(entries, "kith-packed-m16-" + where, space, {.m = 16, .ef_construction = 200, .packed = true});
    add_kith<Vamana<S>>(entries, "kith-packed-r32-" + where, space, {.r = 32, .l = 100, .packed = true}, false);
    if constexpr (!IntegerElement<T>) {  // rows of a byte an element are their own codes
        add_kith<Refine<Hnsw<Sq8Space<M, T>>>>(entries, "kith-hnsw-m16-sq8-" + where, space, {.m = 16, .ef_construction = 200}, true, SetEfAndRefine{});
        add_kith<Refine<Hnsw<Sq8Space<M, T>>>>(entries, "kith-hnsw-m8-sq8-" + where, space, {.m = 8, .ef_construction = 200}, true, SetEfAndRefine{});
        add_kith<Refine<Vamana<Sq8Space<M, T>>>>(entries, "kith-vamana-r32-sq8-" + where, space, {.r = 32, .l = 100});
    }
}

template <class M>
void add_floats(std::vector<Entry>& entries, const Workload& work, const std::string& metric) {
    add_kinds<M>(entries, work.float_rows(), metric + "-f32");
}

void add_kith_contenders(std::vector<Entry>& entries, const Workload& work) {
    const FileElement element = work.base().element();
    switch (work.measure()) {
        case Measure::l2:
            if (element == FileElement::u8) add_kinds<L2>(entries, work.base_rows<std::uint8_t>(), "l2-u8");
            return add_floats<L2>(entries, work, "l2");
        case Measure::cosine:
            if (element == FileElement::f16) add_kinds<Cosine>(entries, work.base_rows<Half>(), "cosine-f16");
            return add_floats<Cosine>(entries, work, "cosine");
        case Measure::ip: return add_floats<InnerProduct>(entries, work, "ip");
    }
}

// --------------------------------------------------------------------------------------------------------------------------

struct Options {
    std::string base = KITH_BENCH_DATASETS "/photos-sift-10k/base.u8bin";
    std::string query = KITH_BENCH_DATASETS "/photos-sift-10k/query.u8bin";
    std::string truth = KITH_BENCH_DATASETS "/photos-sift-10k/gt_dist.fbin";
    Measure measure = Measure::l2;
    std::vector<std::string> contenders;
    std::vector<std::string> peers;
    std::vector<std::string> rebuild;
    std::vector<double> sweep;
    std::vector<double> recall{0.85, 0.995};
    std::size_t rows = 0;
    std::size_t repetitions = 3;
    std::size_t threads = 2;
    std::string cache;
    bool list = false;
    bool build_only = false;
};

std::vector<double> numbers(std::string_view name, const std::string& text) {
    std::vector<double> values;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        const std::string item = text.substr(at, comma - at);
        char* end = nullptr;
        const double value = std::strtod(item.c_str(), &end);
        if (item.empty() || *end != '\0' || !(value >= 0))
            fail(ErrorCode::invalid_argument, name, ": expected numbers, not '", text, "'");
        values.push_back(value);
        at = comma + 1;
    }
    return values;
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--list" || name == "--build-only") {
            (name == "--list" ? options.list : options.build_only) = true;
            continue;
        }
        if (i + 1 == argc) fail(ErrorCode::invalid_argument, "expected a value after ", name);
        const std::string value = argv[++i];
        const auto count = [&] { return static_cast<std::size_t>(std::max(1.0, numbers(name, value).front())); };
        if (name == "--base")
            options.base = value;
        else if (name == "--query")
            options.query = value;
        else if (name == "--gt")
            options.truth = value;
        else if (name == "--contender")
            options.contenders.push_back(value);
        else if (name == "--peer")
            options.peers.push_back(value);
        else if (name == "--rebuild")
            options.rebuild.push_back(value);
        else if (name == "--sweep")
            options.sweep = numbers(name, value);
        else if (name == "--recall")
            options.recall = numbers(name, value);
        else if (name == "--rows")
            options.rows = count();
        else if (name == "--repetitions")
            options.repetitions = count();
        else if (name == "--threads-build")
            options.threads = count();
        else if (name == "--cache")
            options.cache = value;
        else if (name == "--metric" && value == "l2")
            options.measure = Measure::l2;
        else if (name == "--metric" && value == "cosine")
            options.measure = Measure::cosine;
        else if (name == "--metric" && value == "ip")
            options.measure = Measure::ip;
        else
            fail(ErrorCode::invalid_argument, "unknown option ", name, " ", value, "; see the head of bench/graph.cpp");
    }
    if (options.recall.size() != 2) fail(ErrorCode::invalid_argument, "--recall: expected two numbers");
    return options;
}

bool begins_with_any(const std::string& name, const std::vector<std::string>& prefixes) {
    for (const std::string& prefix : prefixes)
        if (name.compare(0, prefix.size(), prefix) == 0) return true;
    return false;
}

void load_peer(const std::string& path, std::vector<Entry>& entries) {
    void* library = dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) fail(ErrorCode::io, dlerror());
    void* symbol = dlsym(library, "kith_bench_contenders");
    if (symbol == nullptr) fail(ErrorCode::not_found, path, " has no kith_bench_contenders");
    reinterpret_cast<void (*)(std::vector<Entry>&)>(symbol)(entries);
}

/// "photos-sift-1000000x128-hnswlib-m16-efc200" in the cache's directory.
std::filesystem::path cache_path(const Options& options, const Workload& work, const std::string& name) {
    const auto set = std::filesystem::absolute(options.base).parent_path().filename().string();
    return std::filesystem::path(options.cache) /
           (set + "-" + std::to_string(work.rows()) + "x" + std::to_string(work.base().dim()) + "-" + name);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void build_or_load(Contender& contender, Summary& summary, const Options& options, const Workload& work) {
    const auto path = cache_path(options, work, summary.name);
    const std::string seconds_path = path.string() + ".seconds";
    if (!options.cache.empty() && !begins_with_any(summary.name, options.rebuild)) {
        std::ifstream in(seconds_path);
        if (in >> summary.build_seconds >> summary.build_cpu_seconds >> summary.build_threads) {
            contender.load(path.string());
            return;
        }
    }
    std::fprintf(stderr, "building %s ...\n", summary.name.c_str());
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t cpu = std::clock();  // of all threads: what the machine's other users do shows less in it
    contender.build(options.threads);
    summary.build_seconds = seconds_since(start);
    summary.build_cpu_seconds = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
    summary.build_threads = options.threads;
    if (options.cache.empty()) return;
    std::filesystem::create_directories(options.cache);
    contender.save(path.string());
    // Written last: an index without it is not complete, or cannot be saved.
    if (std::filesystem::exists(path))
        std::ofstream(seconds_path) << summary.build_seconds << ' ' << summary.build_cpu_seconds << ' '
                                    << summary.build_threads << '\n';
}

/// Recall and distances for each ef, smallest first, until the highest recall asked for is reached; which of them to time.
std::vector<Point> explore(Contender& contender, const Options& options, const Workload& work) {
    std::vector<std::size_t> sweep;
    for (const double ef : options.sweep) sweep.push_back(static_cast<std::size_t>(ef));
    if (sweep.empty()) sweep = contender.sweep();
    std::sort(sweep.begin(), sweep.end());
    std::vector<Point> points;
    std::vector<std::uint32_t> ids(Workload::k);
    contender.count_distances(true);
    contender.take_distances();
    for (const std::size_t ef : sweep) {
        contender.set_ef(ef);
        std::size_t right = 0;
        for (std::size_t q = 0; q < work.queries(); ++q)
            right += work.correct(q, ids.data(), contender.search(q, Workload::k, ids.data()));
        const auto queries = static_cast<double>(work.queries());
        Point point{ef, static_cast<double>(right) / (queries * static_cast<double>(Workload::k)), 0};
        point.distances = static_cast<double>(contender.take_distances()) / queries;
        points.push_back(point);
        if (point.recall >= options.recall[1]) break;
    }
    contender.count_distances(false);
    for (std::size_t i = 0; i < points.size(); ++i)
        points[i].timed = i + 1 == points.size() || points[i + 1].recall >= options.recall[0];
    return points;
}

volatile std::uint32_t sink;

/// Queries per second of passes over all queries that last `least` seconds together.
double speed(Contender& contender, const Workload& work, double least) {
    std::vector<std::uint32_t> ids(Workload::k);
    std::size_t passes = 0;
    double seconds = 0;
    const auto start = std::chrono::steady_clock::now();
    do {
        for (std::size_t q = 0; q < work.queries(); ++q) {
            contender.search(q, Workload::k, ids.data());
            sink = ids[0];
        }
        ++passes;
        seconds = seconds_since(start);
    } while (seconds < least);
    return static_cast<double>(passes * work.queries()) / seconds;
}

void run(const Options& options) {
    const Workload work(options.base, options.query, options.truth, options.measure, options.rows);
    std::vector<Entry> entries;
#ifdef KITH_BENCH_HNSWLIB
    add_hnswlib(entries);
#endif
    for (const std::string& peer : options.peers) load_peer(peer, entries);
    add_kith_contenders(entries, work);
    if (options.list) {
        for (const Entry& entry : entries)
            std::printf("%s%s\n", entry.name.c_str(), entry.by_default ? "" : " (when named)");
        return;
    }
    std::printf("%s: %zu x %zu %s, %zu queries; kith's kernels: %s\n", options.base.c_str(), work.rows(),
                work.base().dim(), std::string(name(work.base().element())).c_str(), work.queries(), simd::kernels().name);

    std::vector<std::unique_ptr<Contender>> contenders;
    std::vector<Summary> summaries;
    for (const Entry& entry : entries) {
        if (options.contenders.empty() ? !entry.by_default : !begins_with_any(entry.name, options.contenders)) continue;
        Summary summary{entry.name};
        auto contender = entry.make(work.float_data());
        build_or_load(*contender, summary, options, work);
        if (options.build_only) continue;
        summary.bytes_per_row = static_cast<double>(contender->memory_bytes()) / static_cast<double>(work.rows());
        summary.points = explore(*contender, options, work);
        contenders.push_back(std::move(contender));
        summaries.push_back(std::move(summary));
    }

    if (options.build_only) return;
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t repetition = 0; repetition < options.repetitions; ++repetition) {
        for (std::size_t c = 0; c < contenders.size(); ++c) {
            bool warm = false;
            for (Point& point : summaries[c].points) {
                if (!point.timed) continue;
                contenders[c]->set_ef(point.ef);
                if (!warm) speed(*contenders[c], work, 0.0);
                warm = true;
                point.qps.push_back(speed(*contenders[c], work, 0.2));
            }
        }
    }
    for (const Summary& summary : summaries) print_points(summary.name, summary.points);
    if (!summaries.empty()) print_summaries(summaries);
    std::printf("%zu repetitions, %.0f s of measuring\n", options.repetitions, seconds_since(start));
}

}  // namespace
}  // namespace kith_bench

int main(int argc, char** argv) try {
    kith_bench::run(kith_bench::parse(argc, argv));
    return 0;
} catch (const std::exception& error) {
    std::cerr << "bench_graph: " << error.what() << '\n';
    return 1;
}
