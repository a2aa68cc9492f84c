// SPDX-License-Identifier: Apache-2.0
//
// Recall that is asked for: measured on an index's own rows, it has to hold for queries that are none of them; and what was measured is kept, in files too, and measured again when rows
// have come or gone.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kith/any/registry.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace kith;  // NOLINT
using namespace test;  // NOLINT

constexpr std::size_t dim = 16;

/// Rows around 40 centres; other rows of the same kind for another seed.
Vectors clustered(ElementType type, std::size_t rows, std::uint64_t seed) {
    const Random centre(7), spread(seed, 1), which(seed, 2);
    return Vectors::fill(type, rows, dim, [&](std::size_t i) {
        const std::size_t row = i / dim, d = i % dim;
        return std::round(60 + 20 * centre.normal(which.below(row, 40) * dim + d) + 12 * spread.normal(i));
    });
}

AnyIndex built(const std::string& spec, const Vectors& base, double target, const std::string& metric = "l2", Executor& executor = inline_executor()) {
    BuildOptions options;
    options.metric = metric;
    options.target_recall = target;
    return AnyIndex::build(spec, base.view(), options, executor);
}

double recall(const Results& found, const Results& exact) {
    double hits = 0, wanted = 0;
    for (std::size_t q = 0; q < found.queries(); ++q) {
        const auto truth = exact.ids(q);
        for (const Id id : found.ids(q)) hits += std::find(truth.begin(), truth.end(), id) != truth.end() ? 1 : 0;
        wanted += static_cast<double>(truth.size());
    }
    return hits / wanted;
}

ParamMap aiming(double target) { return {{"target_recall", target}}; }

}  // namespace

TEST_CASE("calibration: the recall that is asked for holds for queries that no row is", "[calibration][quality]") {
    ThreadPool pool(2);
    constexpr std::size_t n = 4000;
    const auto base = clustered(ElementType::f32, n, 1), queries = clustered(ElementType::f32, 500, 2);
    for (const std::string metric : {"l2", "ip", "cosine"}) {
        const auto flat = built("flat", base, 0, metric);
        const auto exact10 = flat.search(queries.view(), 10), exact50 = flat.search(queries.view(), 50);
        for (const std::string spec : {"hnsw(m=8)", "vamana(r=24)", "vamana(r=32,packed=true)", "ivf(nlist=60)", "ivf_pq(nlist=40,m=8,bits=4), refine f32",
                                       "hnsw(m=8) over sq8, refine f32", "ivf(nlist=60) over rabitq(bits=1), refine f32", "lsh(tables=8,bits=8)"}) {
            if (metric != "l2" && spec != "vamana(r=32,packed=true)" && spec != "ivf(nlist=60)") continue;
            const auto index = built(spec, base, 0.9, metric, pool);
            REQUIRE(index.recall_curve().has_value());
            double before = 0;
            for (const double target : {0.7, 0.9, 0.97}) {
                CAPTURE(spec, metric, target);
                const auto found = index.search(queries.view(), 10, aiming(target));
                CHECK(recall(found, exact10) >= target - 0.01);
                CHECK(recall(index.search(queries.view(), 50, aiming(target)), exact50) >= target - 0.01);
                CHECK(static_cast<double>(found.stats.distances) >= before);
                CHECK(found.stats.distances < 500 * n);
                before = static_cast<double>(found.stats.distances);
            }
            // Who says nothing gets what the index was built for.
            CHECK(index.search(queries.view(), 10).stats.distances == index.search(queries.view(), 10, aiming(0.9)).stats.distances);
        }
    }
}

TEST_CASE("calibration: a row that is left out is on no way and in no result", "[calibration]") {
    const auto base = clustered(ElementType::f32, 600, 1);
    const auto flat = built("flat", base, 0);
    const auto exact = flat.search(base.view(), 6);
    for (const std::string spec : {"flat", "hnsw(m=8)", "vamana(r=24)", "vamana(r=32,packed=true)", "ivf(nlist=10)", "lsh(tables=4,bits=6)", "hnsw(m=8) over sq8, refine f32"}) {
        CAPTURE(spec);
        const auto index = built(spec, base, 0.5);
        // The curve's end is exhaustive, or nearly: nothing but the row itself is missing from what a search for it finds.
        REQUIRE(index.recall_curve()->best(10) > 0.98);
        const auto again = index.search(base.view(), 1, aiming(1));
        std::size_t itself = 0;
        for (std::size_t q = 0; q < 600; ++q) itself += again.distances(q)[0] == 0 ? 1 : 0;
        CHECK(itself == 600);  // nothing of what was left out stays so
    }
    CHECK(recall(flat.search(base.view(), 6), exact) == 1);
}

TEST_CASE("calibration: the same on any number of threads, and the same out of a file", "[calibration]") {
    const auto base = clustered(ElementType::f32, 2000, 1), queries = clustered(ElementType::f32, 50, 2);
    ThreadPool pool(3);
    const TempDir directory;
    for (const std::string spec : {"flat", "hnsw(m=8)", "ivf(nlist=20)", "hnsw(m=8) over sq8, refine f32", "flat over pq(m=4,bits=4)"}) {
        CAPTURE(spec);
        const auto one = built(spec, base, 0.9), many = built(spec, base, 0.9, "l2", pool);
        CHECK(one.to_bytes() == many.to_bytes());
        one.save(directory / "index.kith");
        const auto loaded = AnyIndex::load(directory / "index.kith");
        CHECK(loaded.to_bytes() == one.to_bytes());
        CHECK_NOTHROW(verify_file(directory / "index.kith"));
        REQUIRE(loaded.recall_curve().has_value());
        CHECK(loaded.recall_curve()->target == 0.9);
        CHECK(loaded.recall_curve()->rows == 2000);
        const auto found = loaded.search(queries.view(), 10), expected = one.search(queries.view(), 10);
        CHECK(found.stats == expected.stats);
        for (std::size_t q = 0; q < 50; ++q) CHECK(std::ranges::equal(found.ids(q), expected.ids(q)));
    }
}

TEST_CASE("calibration: what cannot be asked for is said", "[calibration]") {
    const auto base = clustered(ElementType::f32, 1000, 1);
    const auto plain = built("hnsw(m=8)", base, 0);
    CHECK_FALSE(plain.recall_curve().has_value());
    check_error(ErrorCode::unsupported, {"hnsw", "calibrate()"}, [&] { plain.search(base.view(), 10, aiming(0.9)); });
    const auto index = built("hnsw(m=8)", base, 0.9);
    check_error(ErrorCode::invalid_argument, {"target_recall", "1.5"}, [&] { index.search(base.view(), 10, aiming(1.5)); });
    check_error(ErrorCode::invalid_argument, {"target_recall", "fast"}, [&] { index.search(base.view(), 10, {{"target_recall", std::string("fast")}}); });
    check_error(ErrorCode::invalid_argument, {"target_recall", "others"}, [&] { index.search(base.view(), 10, {{"target_recall", 0.9}, {"ef", std::int64_t{10}}}); });
    check_error(ErrorCode::invalid_argument, {"target_recall", "-1"}, [&] { built("flat", base, -1); });
    auto codes = built("flat over pq(m=2,bits=4)", base, 0.95);
    CHECK(codes.recall_curve()->best(10) < 0.7);
    CHECK(codes.search(base.view(), 10).k() == 10);  // as good as it gets
    check_error(ErrorCode::unsupported, {"pq", "0.95", "refine"}, [&] { codes.search(base.view(), 10, aiming(0.95)); });
    check_error(ErrorCode::unsupported, {"codes"}, [&] { codes.calibrate(0.9); });
    std::size_t reports = 0;
    BuildOptions options;
    options.target_recall = 0.9;
    options.progress = Progress([&](std::string_view phase, std::size_t, std::size_t) {
        reports += phase == "calibrate" ? 1 : 0;
        return phase != "calibrate";
    });
    check_error(ErrorCode::cancelled, {}, [&] { AnyIndex::build("hnsw(m=8)", base.view(), options); });
    CHECK(reports == 1);
}

TEST_CASE("calibration: measured again when rows have come or gone", "[calibration][quality]") {
    const auto all = clustered(ElementType::f32, 3000, 1), queries = clustered(ElementType::f32, 400, 2);
    const auto part = [&](std::size_t first, std::size_t count) {
        AnyMatrix rows = all.view();
        rows.data = static_cast<const float*>(rows.data) + first * rows.stride;
        rows.rows = count;
        return rows;
    };
    const auto exact = built("flat", all, 0).search(queries.view(), 10);
    for (const std::string spec : {"hnsw(m=6)", "ivf(nlist=30)", "lsh(tables=6,bits=7)"}) {
        CAPTURE(spec);
        BuildOptions options;
        options.target_recall = 0.9;
        options.copy = true;
        auto index = AnyIndex::build(spec, part(0, 400), options);
        CHECK(index.recall_curve()->rows == 400);
        index.add(part(400, 50));
        CHECK(index.recall_curve()->rows == 400);  // an eighth more: as before
        index.add(part(450, 2550));
        CHECK(index.recall_curve()->rows == 3000);
        CHECK(index.recall_curve()->target == 0.9);
        CHECK(recall(index.search(queries.view(), 10), exact) >= 0.89);
        std::vector<Id> gone(1500);
        for (std::size_t i = 0; i < gone.size(); ++i) gone[i] = static_cast<Id>(2 * i);
        index.remove(gone);
        CHECK(index.recall_curve()->rows == 1500);

        auto empty = AnyIndex::build(spec, part(0, 0), options);
        CHECK(empty.search(queries.view(), 10).k() == 0);
        empty.add(part(0, 1));
        empty.add(part(1, 2999));
        CHECK(empty.recall_curve()->rows == 3000);
        CHECK(empty.search(queries.view(), 10).k() == 10);
    }
}

TEST_CASE("calibration: rows that are no numbers, equal rows, ids of the caller, codes that are scanned", "[calibration]") {
    const auto queries = clustered(ElementType::f32, 200, 2);
    auto base = clustered(ElementType::f32, 1200, 1);
    for (std::size_t row = 0; row < 1200; row += 10) base.set(row, 3, std::nan(""));
    BuildOptions options;
    options.target_recall = 0.9;
    options.not_finite = NotFinite::allow;
    const auto holes = AnyIndex::build("hnsw(m=8)", base.view(), options);
    CHECK(holes.recall_curve()->best(10) > 0.9);
    CHECK(holes.recall_curve()->queries < 300);

    const auto equal = Vectors::fill(ElementType::f32, 300, dim, [](std::size_t i) { return static_cast<double>(i % dim); });
    CHECK(built("hnsw(m=8) over sq8", equal, 0.9).recall_curve()->best(10) == 1);

    const auto rows = clustered(ElementType::f32, 1200, 1);
    std::vector<Id> ids(1200);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Id>(1000 + i * 7 % 1200);
    options.ids = ids;
    for (const std::string spec : {"hnsw(m=8)", "ivf(nlist=12)", "hnsw(m=8) over sq8"}) {
        CAPTURE(spec);
        auto index = AnyIndex::build(spec, rows.view(), options);
        const double best = index.recall_curve()->best(10);
        CHECK(best > 0.9);
        if (spec.find("sq8") != std::string::npos) continue;
        index.calibrate(0.9);
        CHECK(index.recall_curve()->best(10) == best);
    }
    const auto scanned = built("flat over pq(m=4,bits=4), refine f32", rows, 0.9);
    CHECK(scanned.recall_curve()->best(10) > 0.9);
    CHECK(scanned.search(queries.view(), std::size_t{1} << 40).k() == 1200);

    // Lists that were split need other nprobe.
    options = {};
    options.target_recall = 0.9;
    options.copy = true;
    AnyMatrix few = rows.view();
    few.rows = 60;
    auto lists = AnyIndex::build("ivf", few, options);
    AnyMatrix more = rows.view();
    more.data = static_cast<const float*>(more.data) + 60 * more.stride;
    more.rows = 1140;
    lists.add(more);
    lists.rebalance();
    CHECK(recall(lists.search(queries.view(), 10), built("flat", rows, 0).search(queries.view(), 10)) >= 0.88);
}

TEST_CASE("calibration: parameters between those that were measured", "[calibration]") {
    RecallCurve curve;
    curve.parameters = {"ef"};
    curve.points = {{10, {10}, 0.5, 0, 100}, {10, {40}, 0.9, 0, 300}, {10, {160}, 0.99, 0, 1000}, {100, {100}, 0.8, 0, 900}, {100, {400}, 1, 0, 2000}};
    const auto ef = [&](double target, std::size_t k) { return std::get<std::int64_t>(curve.params_for(target, k).at(0).second); };
    CHECK(ef(0.2, 10) == 10);
    CHECK(ef(0.5, 10) == 10);
    CHECK(ef(0.7, 10) == 20);  // half way, of the logarithm
    CHECK(ef(0.9, 10) == 40);
    CHECK(ef(0.999, 10) == 160);  // the best there is
    CHECK(ef(0.9, 1) == 40);
    CHECK(ef(0.9, 50) == 200);
    CHECK(ef(0.9, 200) == 400);  // twice as many as were looked for
    for (double target = 0.5; target < 1; target += 0.01) CHECK(ef(target, 10) <= ef(target + 0.01, 10));
    curve.points[1].error = 0.05;
    CHECK(ef(0.9, 10) > 40);
    CHECK(curve.best(10) == Approx(0.99));
    CHECK(RecallCurve().params_for(0.9, 10).empty());
    curve.parameters = {"nprobe", "refine"};
    curve.points = {{10, {1, 1}, 0.5, 0, 1}, {10, {4, 2.25}, 0.9, 0, 2}};
    const auto both = curve.params_for(0.7, 10);
    CHECK(std::get<std::int64_t>(both[0].second) == 2);
    CHECK(std::get<double>(both[1].second) == Approx(1.5));
}
