// SPDX-License-Identifier: Apache-2.0
//
// Files of format 1.0 as they were written when it was fixed. Every later version must read them, find in them what is found below, and,
// while it writes format 1.0, write the same bytes: links and codes depend on neither the instruction set nor the number of threads, as far as
// distances are exact, which whole numbers see to. A change of these files is a change of the format: docs/FORMAT.md comes first.
// KITH_GOLDEN=write writes anew those that today's code writes, and those that are missing.
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <vector>

#include "kith/any/registry.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

constexpr std::size_t n = 20;
constexpr std::size_t dim = 6;

/// Whole numbers from -6 to 6; row i + 13 equals row i.
double pattern(std::size_t i) {
    const std::size_t row = i / dim;
    const std::size_t col = i % dim;
    return static_cast<double>((row * 5 + col * col * 3 + row * col) % 13) - 6.0;
}

/// 20 rows of halves, no ids.
Vectors float_rows() {
    return Vectors::fill(ElementType::f32, n, dim, [](std::size_t i) { return 0.5 * pattern(i); });
}

/// 20 rows of bytes, one of them zero, with ids; one more was there and is gone.
[[maybe_unused]] Vectors byte_rows() {
    return Vectors::fill(ElementType::i8, n, dim, [](std::size_t i) { return i / dim == 11 ? 0.0 : 9.0 * pattern(i); });
}

AnyIndex build_float(const Vectors& rows) { return AnyIndex::build("flat", rows.view(), {.metric = "l2"}); }

[[maybe_unused]] AnyIndex build_byte(const Vectors& rows) {
    std::vector<Id> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<Id>((i * 13 + 5) % n * 1000);
    auto index = AnyIndex::build("flat", rows.view(), {.metric = "cosine", .ids = ids});
    index.add(rows.row(0), std::vector<Id>{90000});
    index.remove(std::vector<Id>{90000});
    return index;
}

/// Numbers without a pattern (the mixer of SplitMix64: Steele, Lea and Flood 2014).
std::uint64_t draw(std::uint64_t i) {
    std::uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) >> 16;
}

std::filesystem::path golden(std::string_view name) { return std::filesystem::path(KITH_TEST_DIR) / "golden" / name; }

constexpr std::size_t nodes = 60;
const ParamMap all_nodes{{"ef", std::int64_t{60}}};

/// 60 rows of bytes that a generator of its own draws, with ids; five are gone and left their slots vacant.
AnyIndex build_hnsw(Executor& executor = inline_executor()) {
    const auto rows = Vectors::fill(ElementType::u8, nodes, 16, [](std::size_t i) { return static_cast<double>(draw(i) % 200); });
    std::vector<Id> ids(nodes);
    for (std::size_t i = 0; i < nodes; ++i) ids[i] = static_cast<Id>((i * 7 + 3) % nodes * 10);
    auto index = AnyIndex::build("hnsw(m=4,ef_construction=40) over l2/u8", rows.view(), {.seed = 5, .copy = true, .ids = ids}, executor);
    index.remove(std::vector<Id>{30, 100, 240, 370, 590}, executor);
    return index;
}

/// Rows of 1 and -1, whose norms are 4.
[[maybe_unused]] Vectors sign_rows() {
    return Vectors::fill(ElementType::f32, nodes, 16, [](std::size_t i) { return draw(i + 5000) % 2 == 0 ? 1.0 : -1.0; });
}

[[maybe_unused]] AnyIndex build_vamana(const Vectors& rows, Executor& executor = inline_executor()) {
    return AnyIndex::build("vamana(r=32,l=40,packed=true) over cosine/f32", rows.view(), {.seed = 6}, executor);
}

/// Whole numbers; the first two rows span a range in which a code is one of them.
Vectors level_rows() {
    return Vectors::fill(ElementType::f32, nodes, 20, [](std::size_t i) {
        return i / 20 == 0 ? 0.0 : i / 20 == 1 ? 255.0 : static_cast<double>(draw(i + 9000) % 256);
    });
}

AnyIndex build_refined(const Vectors& rows, Executor& executor = inline_executor()) {
    return AnyIndex::build("hnsw(m=6,ef_construction=40) over l2/sq8, refine f32", rows.view(), {.seed = 7}, executor);
}

/// 60 rows of bytes around five places far apart, with ids, in five lists; three are gone, and two came that make one list longer than its run.
AnyIndex build_ivf(Executor& executor = inline_executor()) {
    const auto rows = Vectors::fill(ElementType::u8, nodes, 8, [](std::size_t i) {
        return static_cast<double>(20 + 50 * (i / 8 % 5) + draw(i + 12000) % 16);
    });
    std::vector<Id> ids(nodes);
    for (std::size_t i = 0; i < nodes; ++i) ids[i] = static_cast<Id>((i * 7 + 3) % nodes * 10);
    auto index = AnyIndex::build("ivf(nlist=5,graph_from=16384) over l2/u8", rows.view(), {.seed = 8, .ids = ids}, executor);
    index.remove(std::vector<Id>{30, 100, 240}, executor);
    const auto more = Vectors::fill(ElementType::u8, 2, 8, [](std::size_t i) { return static_cast<double>(120 + i); });
    index.add(more.view(), std::vector<Id>{7, 5}, NotFinite::reject, executor);
    return index;
}

/// The same rows in buckets, from which three are gone and to which two came.
AnyIndex build_lsh(Executor& executor = inline_executor()) {
    const auto rows = Vectors::fill(ElementType::u8, nodes, 8, [](std::size_t i) {
        return static_cast<double>(20 + 50 * (i / 8 % 5) + draw(i + 12000) % 16);
    });
    auto index = AnyIndex::build("lsh(tables=3,bits=5) over l2/u8", rows.view(), {.seed = 9}, executor);
    index.remove(std::vector<Id>{30, 31, 24}, executor);
    const auto more = Vectors::fill(ElementType::u8, 2, 8, [](std::size_t i) { return static_cast<double>(120 + i); });
    index.add(more.view(), std::vector<Id>{70, 75}, NotFinite::reject, executor);
    return index;
}

/// 60 rows of eight numbers, each one of two: no subspace has more kinds of sub-vectors than centroids, so that codes are exact on every machine.
Vectors two_valued_rows() {
    return Vectors::fill(ElementType::f32, nodes, 8, [](std::size_t i) { return static_cast<double>(draw(i + 15000) % 2 * (2 + i % 8)); });
}

/// The same around four places, which are their lists' centroids: to every row of a list there is one as far on the other side.
Vectors clustered_rows() {
    return Vectors::fill(ElementType::f32, 64, 8, [](std::size_t i) {
        const std::size_t row = i / 8, pair = row / 8, side = row / 4 % 2;
        const double offset = static_cast<double>(draw(pair * 8 + i % 8 + 17000) % 2) * 2 - 1;
        return 64.0 * static_cast<double>(row % 4) + (side == 0 ? offset : -offset);
    });
}

struct Expected {
    std::string_view spec;
    std::size_t size;
    std::size_t slots;
    std::vector<Id> ids;  // the nearest to the query
    std::vector<double> distances;
};

/// How a file came to be: by today's code; before the kind had all of today's parameters (graphs exact_links, lists graph_from), which saving adds; or before what is built
/// changed too (walks that expand several nodes at once, centroids that begin with any rows), or because centroids are no whole numbers, and compilers round them differently.
enum class Written { today, with_fewer_params, built_otherwise };

/// Same bytes, whether built now or loaded and saved again; found in the file as it lies.
void check_golden(std::string_view name, const AnyIndex& built, const std::vector<float>& query, const Expected& expected,
                  const ParamMap& params = {}, Written written = Written::today) {
    const char* mode = std::getenv("KITH_GOLDEN");
    if (mode != nullptr && std::string_view(mode) == "write" && (written == Written::today || !std::filesystem::exists(golden(name)))) built.save(golden(name));
    INFO(name);
    if (written == Written::today) CHECK(built.to_bytes() == read_bytes(golden(name)));
    REQUIRE_NOTHROW(verify_file(golden(name)));
    for (const bool mmap : {false, true}) {
        const auto loaded = AnyIndex::load(golden(name), {.mmap = mmap});
        CHECK(loaded.spec() == expected.spec);
        CHECK(loaded.size() == expected.size);
        CHECK(loaded.slots() == expected.slots);
        CHECK(loaded.dim() == query.size());
        if (written != Written::built_otherwise) CHECK(loaded.to_bytes() == built.to_bytes());
        const std::size_t k = expected.ids.size();
        const auto found = loaded.search({ElementType::f32, query.data(), 1, query.size(), query.size()}, k, params);
        CHECK(std::vector<Id>(found.ids(0).begin(), found.ids(0).end()) == expected.ids);
        for (std::size_t i = 0; i < k; ++i) CHECK(static_cast<double>(found.distances(0)[i]) == Approx(expected.distances[i]).epsilon(1e-5));
    }
}

}  // namespace

TEST_CASE("format 1.0: rows of f32 under l2", "[golden]") {
    const auto rows = float_rows();
    const auto index = build_float(rows);
    check_golden("flat-l2-f32-v1.0.kith", index, {0.5f, -1, 0, 2, 1, -0.5f}, {"flat over l2/f32", n, n, {1, 14, 6, 19, 7, 9},
                 {10.75, 10.75, 12.5, 12.5, 13.0, 13.5}});
    auto loaded = AnyIndex::load(golden("flat-l2-f32-v1.0.kith"));
    loaded.add(rows.row(0));
    CHECK(loaded.contains(20));
}

#if !defined(KITH_FEW_SPACES)
TEST_CASE("format 1.0: rows of i8 under cosine, with ids and the next of them", "[golden]") {
    const auto rows = byte_rows();
    const auto index = build_byte(rows);
    check_golden("flat-cosine-i8-ids-v1.0.kith", index, {3, -1, 0, 5, 2, -4}, {"flat over cosine/i8", n, n, {4000, 13000, 16000, 3000, 12000, 1000},
                 {0.400681, 0.400681, 0.505587, 0.536890, 0.536890, 0.804248}});
    auto loaded = AnyIndex::load(golden("flat-cosine-i8-ids-v1.0.kith"));
    CHECK(loaded.contains(8000));
    CHECK_FALSE(loaded.contains(90000));
    loaded.add(rows.row(0));
    CHECK(loaded.contains(90001));
}
#endif

TEST_CASE("format 1.0: hnsw over u8 under l2, with ids and vacant slots", "[golden]") {
    const auto index = build_hnsw();
    const Expected expected{"hnsw(m=4,ef_construction=40,extend_candidates=false,keep_pruned=true,packed=false,exact_links=false) over l2/u8", 55, 60,
                            {570, 10, 460, 430, 250, 440}, {31401, 32669, 33358, 33417, 33606, 33931}};
    check_golden("hnsw-l2-u8-vacant-v1.0.kith", index, std::vector<float>(16, 100), expected, all_nodes, Written::with_fewer_params);
    check_golden("hnsw-l2-u8-vacant-exact-links-v1.0.kith", index, std::vector<float>(16, 100), expected, all_nodes);
    ThreadPool pool(3);
    CHECK(build_hnsw(pool).to_bytes() == index.to_bytes());
    auto loaded = AnyIndex::load(golden("hnsw-l2-u8-vacant-v1.0.kith"));
    CHECK(loaded.contains(0));
    CHECK_FALSE(loaded.contains(370));
    const auto row = Vectors::fill(ElementType::u8, 1, 16, [](std::size_t) { return 100.0; });
    loaded.add(row.view());
    const auto found = loaded.search(row.view(), 1);
    CHECK(found.ids(0)[0] == 591);
    CHECK(found.distances(0)[0] == 0);
    loaded.compact();
    CHECK(loaded.slots() == 56);
    CHECK_NOTHROW(loaded.validate("compacted"));
}

#if !defined(KITH_FEW_SPACES)
TEST_CASE("format 1.0: packed vamana over f32 under cosine", "[golden]") {
    const auto rows = sign_rows();
    const auto index = build_vamana(rows);
    std::vector<float> query(16, 1);
    for (const std::size_t i : {1, 2, 7, 11, 12}) query[i] = -1;
    query[0] = 3;
    const Expected expected{"vamana(r=32,l=40,alpha=1.2,passes=2,packed=true,exact_links=false) over cosine/f32", 60, 60, {7, 35, 54, 55, 3, 10},
                            {0.489690, 0.489690, 0.489690, 0.591752, 0.693814, 0.693814}};
    check_golden("vamana-packed-cosine-f32-v1.0.kith", index, query, expected, all_nodes, Written::built_otherwise);
    check_golden("vamana-packed-cosine-f32-exact-links-v1.0.kith", index, query, expected, all_nodes);
    ThreadPool pool(3);
    CHECK(build_vamana(rows, pool).to_bytes() == index.to_bytes());
    auto loaded = AnyIndex::load(golden("vamana-packed-cosine-f32-v1.0.kith"));
    loaded.remove(std::vector<Id>{0});
    loaded.add(rows.row(0));
    CHECK(loaded.contains(60));
    CHECK_NOTHROW(loaded.validate("changed"));
}
#endif

TEST_CASE("format 1.0: hnsw over 8-bit codes under l2, refined with f32", "[golden]") {
    const auto rows = level_rows();
    const auto index = build_refined(rows);
    std::vector<float> query(20);
    for (std::size_t i = 0; i < query.size(); ++i) query[i] = static_cast<float>(i * 11) + 0.25f;
    const Expected expected{"hnsw(m=6,ef_construction=40,extend_candidates=false,keep_pruned=true,packed=false,exact_links=false) over l2/sq8, refine f32", 60, 60,
                            {41, 4, 36, 20, 26, 57}, {72127.25, 95708.25, 106122.25, 116166.75, 120940.75, 124185.75}};
    const ParamMap params{{"ef", std::int64_t{60}}, {"refine", 4.0}};
    check_golden("hnsw-l2-sq8-f32-v1.0.kith", index, query, expected, params, Written::with_fewer_params);
    check_golden("hnsw-l2-sq8-f32-exact-links-v1.0.kith", index, query, expected, params);
    ThreadPool pool(3);
    CHECK(build_refined(rows, pool).to_bytes() == index.to_bytes());
    auto loaded = AnyIndex::load(golden("hnsw-l2-sq8-f32-v1.0.kith"));
    loaded.remove(std::vector<Id>{0});
    loaded.add(rows.row(0));
    CHECK(loaded.search(rows.row(0), 1).ids(0)[0] == 60);
    CHECK_NOTHROW(loaded.validate("changed"));
}

TEST_CASE("format 1.0: lists over u8 under l2, with ids, vacant slots and a run for rows that came later", "[golden]") {
    const auto index = build_ivf();
    Expected expected{"ivf(nlist=5,iterations=20,sample=128,graph_from=4096) over l2/u8", 59, 92, {5, 120, 270, 420, 470, 70}, {60, 120, 131, 139, 166, 208}};
    check_golden("ivf-l2-u8-v1.0.kith", index, std::vector<float>(8, 130), expected, {{"nprobe", std::int64_t{2}}}, Written::built_otherwise);
    expected.spec = "ivf(nlist=5,iterations=20,sample=128,graph_from=16384) over l2/u8";  // as the file says, whatever today's default is
    check_golden("ivf-l2-u8-graph-from-v1.0.kith", index, std::vector<float>(8, 130), expected, {{"nprobe", std::int64_t{2}}});
    ThreadPool pool(3);
    CHECK(build_ivf(pool).to_bytes() == index.to_bytes());
    auto loaded = AnyIndex::load(golden("ivf-l2-u8-v1.0.kith"));
    CHECK(loaded.contains(5));
    CHECK_FALSE(loaded.contains(240));
    loaded.rebalance();
    CHECK(loaded.slots() == 59);
    CHECK_NOTHROW(loaded.validate("rebalanced"));
}

TEST_CASE("format 1.0: buckets of three tables over u8 under l2, with vacant slots", "[golden]") {
    const auto index = build_lsh();
    const Expected expected{"lsh(tables=3,bits=5,hashes=0,family=auto,width=0,centre=true,target_recall=0) over l2/u8", 59, 62, {70, 37, 1, 26, 21, 6}, {92, 192, 16676, 17164, 17791, 17807}};
    check_golden("lsh-l2-u8-v1.0.kith", index, std::vector<float>(8, 126), expected, {{"probes", std::int64_t{12}}});
    ThreadPool pool(3);
    CHECK(build_lsh(pool).to_bytes() == index.to_bytes());
    auto loaded = AnyIndex::load(golden("lsh-l2-u8-v1.0.kith"));
    CHECK(loaded.contains(75));
    CHECK_FALSE(loaded.contains(30));
    CHECK_NOTHROW(loaded.validate("loaded"));
}

TEST_CASE("format 1.0: codes of a product quantiser, 4 and 8 bits, under l2", "[golden]") {
    const auto rows = two_valued_rows();
    const std::vector<float> query{1, 0, 4, 0, 6, 0, 8, 0};
    for (const int bits : {4, 8}) {
        const std::string spec = "flat over pq(m=3,bits=" + std::to_string(bits) + ")";
        const auto index = AnyIndex::build(spec, rows.view(), {.metric = "l2", .seed = 9});
        const Expected expected = bits == 4 ? Expected{"flat over l2/pq(m=3,bits=4,opq=false,iterations=20,opq_iterations=20,rows_per_centroid=256)", 60, 60, {16}, {10.0986328125}}
                                            : Expected{"flat over l2/pq(m=3,bits=8,opq=false,iterations=20,opq_iterations=20,rows_per_centroid=256)", 60, 60,
                                                       {16, 15, 51, 30, 36, 50}, {10, 17, 17, 26, 26, 26}};
        check_golden("pq" + std::to_string(bits) + "-l2-f32-v1.0.kith", index, query, expected);
        ThreadPool pool(3);
        CHECK(AnyIndex::build(spec, rows.view(), {.metric = "l2", .seed = 9}, pool).to_bytes() == index.to_bytes());
    }
}

TEST_CASE("format 1.0: lists of residuals' codes under l2, refined with f32, with a row gone and one come", "[golden]") {
    const auto rows = clustered_rows();
    const auto build = [&](Executor& executor) {
        auto index = AnyIndex::build("ivf_pq(nlist=4,m=2,bits=4,graph_from=16384), refine f32", rows.view(), {.metric = "l2", .seed = 10}, executor);
        index.remove(std::vector<Id>{5}, executor);
        index.add(rows.row(9), std::vector<Id>{1000}, NotFinite::reject, executor);
        return index;
    };
    const auto index = build(inline_executor());
    // The first file is from when lists had tables and rows no terms.
    for (const auto name : {"ivf-pq-l2-f32-v1.0.kith", "ivf-pq-l2-f32-terms-v1.0.kith"})
        check_golden(name, index, std::vector<float>{64, 65, 66, 64, 63, 64, 62, 64}, {"ivf_pq(nlist=4,m=2,bits=4,opq=false,iterations=20,sample=128,pq_iterations=20,opq_iterations=20,pq_sample=256,graph_from=16384) over l2/f32, refine f32", 64, 128,
                      {9, 45, 1000, 1, 17, 29}, {10, 10, 10, 14, 14, 14}},
                     {{"nprobe", std::int64_t{2}}, {"refine", 64.0}}, Written::built_otherwise);
    ThreadPool pool(3);
    CHECK(build(pool).to_bytes() == index.to_bytes());
    for (const auto name : {"ivf-pq-l2-f32-v1.0.kith", "ivf-pq-l2-f32-terms-v1.0.kith"}) {
        auto loaded = AnyIndex::load(golden(name));
        loaded.validate(name);
        loaded.rebalance();
        CHECK_NOTHROW(loaded.validate("rebalanced"));
    }
}

TEST_CASE("format 1.0: 4-bit codes under l2", "[golden]") {
    const auto rows = Vectors::fill(ElementType::f32, nodes, 20, [](std::size_t i) { return i / 20 == 0 ? 0.0 : i / 20 == 1 ? 15.0 : static_cast<double>(draw(i + 19000) % 16); });
    const auto index = AnyIndex::build("flat over sq4", rows.view(), {.metric = "l2", .seed = 11});
    check_golden("sq4-l2-f32-v1.0.kith", index, std::vector<float>(20, 7), {"flat over l2/sq4", 60, 60, {30}, {222.9828186}});
}

TEST_CASE("format 1.0: RaBitQ codes in lists under l2, refined with f32", "[golden]") {
    const auto rows = sign_rows();
    const auto build = [&](Executor& executor) {
        return AnyIndex::build("ivf(nlist=4,graph_from=16384) over rabitq(bits=3), refine f32", rows.view(), {.metric = "l2", .seed = 12}, executor);
    };
    const auto index = build(inline_executor());
    std::vector<float> query(16, 1.0f);
    check_golden("ivf-l2-rabitq-f32-v1.0.kith", index, query, {"ivf(nlist=4,iterations=20,sample=128,graph_from=16384) over l2/rabitq(bits=3), refine f32", 60, 60, {17, 5, 9, 51, 55, 7}, {12, 16, 16, 16, 16, 20}},
                 {{"nprobe", std::int64_t{4}}, {"refine", 60.0}});
    ThreadPool pool(3);
    CHECK(build(pool).to_bytes() == index.to_bytes());
}
