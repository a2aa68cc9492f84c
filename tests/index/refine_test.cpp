// SPDX-License-Identifier: Apache-2.0
//
// Refine: with enough candidates it is the exact scan, to the bit; with few it finds nearly all, and every distance
// it reports is exact. The rows and their codes stay slot for slot through all changes and files.
#include "kith/index/refine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "kith/index/flat.hpp"
#include "kith/index/hnsw.hpp"
#include "kith/index/keyed.hpp"
#include "kith/index/vamana.hpp"
#include "kith/space/sq8_space.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

template <class M, class T>
using FlatSq8 = Refine<Flat<Sq8Space<M, T>>>;
template <class M, class T>
using HnswSq8 = Refine<Hnsw<Sq8Space<M, T>>>;

template <class T>
MatrixView<const T> view_of(const Vectors& vectors) {
    const auto matrix = vectors.view();
    REQUIRE(matrix.type == element_traits<T>::type);
    return {static_cast<const T*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

template <class I>
I build(const Vectors& rows, const typename I::build_params& params = {}, Executor& executor = inline_executor()) {
    using S = typename I::space_type;
    using T = typename S::element_type;
    return I::build(S(Rows<T>::borrow(view_of<T>(rows))), params, 1, executor);
}

template <class I>
typename I::search_params refine(float factor) {
    typename I::search_params params;
    params.refine = factor;
    return params;
}

bool same(const Results& a, const Results& b) {
    for (std::size_t i = 0; i < a.queries(); ++i)
        if (!std::ranges::equal(a.ids(i), b.ids(i)) || !std::ranges::equal(a.distances(i), b.distances(i))) return false;
    return a.queries() == b.queries();
}

bool same(const RangeResults& a, const RangeResults& b) {
    return a.offsets == b.offsets && a.ids == b.ids && a.distances == b.distances;
}

/// Calls check(type of index) for metrics and elements that differ in how they are coded.
template <class Check>
void for_each_metric(Check check) {
    const auto one = [&]<class I>(I*) {
        INFO(I::file_label());
        check(static_cast<I*>(nullptr));
    };
    one(static_cast<FlatSq8<L2, float>*>(nullptr));
    one(static_cast<FlatSq8<Euclidean, Half>*>(nullptr));
    one(static_cast<FlatSq8<L1, BFloat16>*>(nullptr));
    one(static_cast<FlatSq8<Cosine, Half>*>(nullptr));
    one(static_cast<FlatSq8<InnerProduct, float>*>(nullptr));
}

/// How many of the first k of each query are found, of k.
double recall(const Results& found, const Results& exact) {
    std::size_t right = 0, all = 0;
    for (std::size_t i = 0; i < exact.queries(); ++i) {
        all += exact.count(i);
        for (const Id id : found.ids(i)) right += std::ranges::count(exact.ids(i), id) > 0 ? 1 : 0;
    }
    return static_cast<double>(right) / static_cast<double>(all);
}

}  // namespace

TEST_CASE("enough candidates make the exact scan, to the bit", "[refine]") {
    for_each_metric([]<class I>(I*) {
        STATIC_REQUIRE(Index<I>);
        STATIC_REQUIRE(Buildable<I>);
        STATIC_REQUIRE(Insertable<I>);
        STATIC_REQUIRE(Persistable<I>);
        using S = typename I::space_type;
        const auto rows = Vectors::normal(element_traits<typename S::element_type>::type, 500, 24, 1, 0.4);
        const auto queries = Vectors::normal(ElementType::f32, 12, 24, 2, 0.4);
        const Keyed refined(build<I>(rows));
        const Keyed exact(build<Flat<S>>(rows));
        Bitset few(500), most(500);
        for (std::size_t slot = 0; slot < 500; ++slot) {
            if (slot % 50 == 7) few.set(slot);
            if (slot % 7 != 3) most.set(slot);
        }
        for (const std::size_t k : {1, 10, 499, 500, 600}) {
            CAPTURE(k);
            const auto params = refine<I>(500);
            CHECK(same(refined.search(view_of<float>(queries), k, params), exact.search(view_of<float>(queries), k)));
            for (const Bitset* bits : {&few, &most}) {
                const BitsetFilter filter(bits->view());
                CHECK(same(refined.search(view_of<float>(queries), k, params, {&filter, 1}),
                           exact.search(view_of<float>(queries), k, {}, {&filter, 1})));
            }
        }
    });
}

TEST_CASE("few candidates find nearly all, with exact distances in their order", "[refine]") {
    for_each_metric([]<class I>(I*) {
        using S = typename I::space_type;
        const auto rows = Vectors::normal(element_traits<typename S::element_type>::type, 3000, 32, 3);
        const auto queries = Vectors::normal(ElementType::f32, 40, 32, 4);
        const Keyed refined(build<I>(rows));
        const Keyed exact(build<Flat<S>>(rows));
        const auto truth = exact.search(view_of<float>(queries), 10);
        const auto all = exact.search(view_of<float>(queries), 3000);
        const auto found = refined.search(view_of<float>(queries), 10);
        const auto codes = refined.search(view_of<float>(queries), 10, refine<I>(1));
        CHECK(recall(found, truth) >= 0.99);
        CHECK(recall(codes, truth) >= 0.93);
        CHECK(recall(found, truth) >= recall(codes, truth));
        for (std::size_t i = 0; i < queries.rows(); ++i) {
            REQUIRE(found.count(i) == 10);
            std::size_t at = 0;  // a subsequence of all rows in order, with their distances
            for (std::size_t j = 0; j < 10; ++j) {
                while (at < 3000 && all.ids(i)[at] != found.ids(i)[j]) ++at;
                REQUIRE(at < 3000);
                CHECK(all.distances(i)[at] == found.distances(i)[j]);
            }
        }
        CHECK(found.stats.distances == queries.rows() * (3000 + 15));
        CHECK(codes.stats.distances == queries.rows() * (3000 + 10));
    });
}

TEST_CASE("a radius finds what the exact scan finds", "[refine]") {
    for_each_metric([]<class I>(I*) {
        using S = typename I::space_type;
        const auto rows = Vectors::normal(element_traits<typename S::element_type>::type, 2000, 16, 5);
        const auto queries = Vectors::normal(ElementType::f32, 8, 16, 6);
        const Keyed refined(build<I>(rows));
        const Keyed exact(build<Flat<S>>(rows));
        const auto all = exact.search(view_of<float>(queries), 2000);
        Bitset third(2000);
        for (std::size_t slot = 0; slot < 2000; slot += 3) third.set(slot);
        const BitsetFilter filter(third.view());
        for (const std::size_t rank : {0, 1, 30, 300, 1200, 1999}) {
            CAPTURE(rank);
            const auto radius = static_cast<double>(all.distances(0)[rank]);
            const auto truth = exact.range_search(view_of<float>(queries), radius);
            const auto found = refined.range_search(view_of<float>(queries), radius);
            CHECK(truth.ids.size() > rank);
            CHECK(same(found, truth));
            CHECK(same(refined.range_search(view_of<float>(queries), radius, {}, {&filter, 1}),
                       exact.range_search(view_of<float>(queries), radius, {}, {&filter, 1})));
        }
        const double infinity = std::numeric_limits<double>::infinity();
        const double far = S::metric_type::name == "ip" ? -infinity : infinity;
        CHECK(refined.range_search(view_of<float>(queries), far).ids.size() == 8 * 2000);
        CHECK(refined.range_search(view_of<float>(queries), -far).ids.empty());
        // What lies far out is not looked at.
        const auto near = refined.range_search(view_of<float>(queries), static_cast<double>(all.distances(0)[0]));
        CHECK(near.stats.distances < 8 * (2000 + 500));
    });
}

TEMPLATE_TEST_CASE("exact_links: built on the rows, walked on the codes", "[refine]", (HnswSq8<L2, float>), (Refine<Vamana<Sq8Space<L2, float>>>)) {
    using I = TestType;
    using Exact = typename I::inner_type::template over<typename I::space_type>;
    const Vectors rows = Vectors::normal(ElementType::f32, 1500, 24, 7);
    typename I::build_params params;
    const auto exact = build<Exact>(rows, params);
    params.exact_links = true;
    const I index = build<I>(rows, params);
    for (Slot slot = 0; slot < 1500; ++slot)
        REQUIRE(std::ranges::equal(index.inner().graph().base().neighbours(slot), exact.graph().base().neighbours(slot)));
    CHECK(index.params().exact_links);

    const Vectors queries = Vectors::normal(ElementType::f32, 20, 24, 8);
    Keyed keyed(I(build<I>(rows, params)));
    const auto before = keyed.search(view_of<float>(queries), 5);
    keyed.add(view_of<float>(queries));  // linked by codes from now on
    const auto after = keyed.search(view_of<float>(queries), 1);
    for (std::size_t q = 0; q < 20; ++q) {
        CHECK(before.count(q) == 5);
        CHECK(after.ids(q)[0] == static_cast<Id>(1500 + q));
    }
    check_error(ErrorCode::invalid_argument, {"exact_links", "refine"}, [&] { build<Exact>(rows, params); });
}

TEST_CASE("parameters: the inner index's and one more", "[refine]") {
    using P = HnswSq8<L2, float>::search_params;
    STATIC_REQUIRE(Params<P>);
    CHECK(known_params<P>() == "ef, refine");
    CHECK(to_string(P{}) == "ef=64,refine=1.5");
    const auto params = parse_params<P>({{"refine", 2.5}, {"ef", std::int64_t{7}}}, "hnsw");
    CHECK(params.refine == 2.5f);
    CHECK(params.ef == 7);
    CHECK_FALSE(params == P{});
    check_error(ErrorCode::invalid_argument, {"refine", "1", "0.5"}, [] { parse_params<P>({{"refine", 0.5}}, "hnsw"); });
    check_error(ErrorCode::invalid_argument, {"factor", "ef, refine"}, [] { parse_params<P>({{"factor", 2.0}}, "hnsw"); });
    CHECK(known_params<FlatSq8<L2, float>::search_params>() == "refine");
    CHECK(HnswSq8<Cosine, Half>::file_label() == "cosine/sq8+f16");
}

TEST_CASE("rows and codes that do not belong together are refused", "[refine]") {
    const auto rows = Vectors::normal(ElementType::f32, 20, 8, 7);
    const auto view = view_of<float>(rows);
    using S = DenseSpace<L2, float>;
    using C = Sq8Space<L2, float>;
    check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] {
        Refine<Flat<C>>(S(Rows<float>::borrow(view)), Flat(C::train_and_encode(view.slice(0, 19))));
    });
    check_error(ErrorCode::dimension_mismatch, {"8", "7"}, [&] {
        Refine<Flat<C>>(S(Rows<float>::borrow(view)), Flat(C::train_and_encode({view.data(), 20, 7, 8})));
    });
    const auto empty = Keyed(FlatSq8<L2, float>::build(S(Rows<float>(8))));
    CHECK(empty.search(view, 5).count(0) == 0);
    CHECK(empty.range_search(view, 5).ids.empty());
}

TEST_CASE("added, replaced and removed by id, it is what the exact scan of the same rows is", "[refine]") {
    for_each_metric([]<class I>(I*) {
        using S = typename I::space_type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 600, 12, 8);
        const auto view = view_of<T>(rows);
        const auto first = Vectors::fill(rows.type(), 300, 12, [&](std::size_t i) { return rows.value(i / 12, i % 12); });
        Keyed refined(build<I>(first));
        std::map<Id, std::size_t> row_of;
        for (std::size_t i = 0; i < 300; ++i) row_of[static_cast<Id>(i)] = i;
        const auto check = [&] {
            Rows<T> left(12);
            std::vector<Id> ids;
            for (const auto& [id, row] : row_of) {
                left.append(view[row]);
                ids.push_back(id);
            }
            const Keyed exact(Flat(S(std::move(left))), ids);
            const auto queries = Vectors::normal(ElementType::f32, 6, 12, 9);
            CHECK(same(refined.search(view_of<float>(queries), 20, refine<I>(1000)), exact.search(view_of<float>(queries), 20)));
            CHECK_NOTHROW(refined.index().validate("here"));
            CHECK(refined.index().space().size() == refined.index().inner().space().size());
            CHECK(recall(refined.search(view_of<float>(queries), 10, refine<I>(3)), exact.search(view_of<float>(queries), 10)) > 0.95);
        };
        std::vector<Id> ids;
        for (std::size_t i = 300; i < 500; ++i) {
            ids.push_back(static_cast<Id>(2 * i));
            row_of[ids.back()] = i;
        }
        refined.add(view.slice(300, 200), ids);
        check();
        ids.clear();
        for (Id id = 0; id < 300; id += 2) {
            ids.push_back(id);
            row_of.erase(id);
        }
        refined.remove(ids);
        check();
        ids = {1, 3, 600, 5000};  // three that are there
        for (std::size_t i = 0; i < 4; ++i) row_of[ids[i]] = 500 + i;
        refined.add(view.slice(500, 4), ids);
        check();
        // The caller's rows are as they were.
        for (std::size_t i = 0; i < 300 * 12; ++i) REQUIRE(first.value(i / 12, i % 12) == rows.value(i / 12, i % 12));
    });
}

namespace {

template <Space S>
struct Faulty : Flat<S> {
    static inline bool fault = false;
    explicit Faulty(S space) : Flat<S>(std::move(space)) {}
    static Faulty build(S space, const NoParams& = {}, std::uint64_t = 0, Executor& = inline_executor(), const Progress& = {}) {
        return Faulty(std::move(space));
    }
    std::vector<Slot> insert(rows_view_of<S> rows, Executor& executor, const Progress& progress) {
        if (fault) fail(ErrorCode::cancelled, "insert");
        return Flat<S>::insert(rows, executor, progress);
    }
};

}  // namespace

TEST_CASE("an insertion that the inner index refuses leaves the rows as they were", "[refine]") {
    using I = Refine<Faulty<Sq8Space<L2, float>>>;
    const auto rows = Vectors::normal(ElementType::f32, 50, 8, 10);
    const auto first = Vectors::normal(ElementType::f32, 30, 8, 11);
    I index = build<I>(first);
    Faulty<Sq8Space<L2, float>>::fault = true;
    check_error(ErrorCode::cancelled, {"insert"}, [&] { index.insert(view_of<float>(rows)); });
    CHECK(index.space().size() == 30);
    CHECK_NOTHROW(index.space().validate("here"));
    Faulty<Sq8Space<L2, float>>::fault = false;
    const auto slots = index.insert(view_of<float>(rows));
    REQUIRE(slots.size() == 50);
    CHECK(slots.front() == 30);
    CHECK(slots.back() == 79);
    CHECK(index.space().size() == 80);
}

TEST_CASE("saved and loaded, rows and codes stay in the file", "[refine]") {
    const TempDir dir;
    for_each_metric([&]<class I>(I*) {
        using S = typename I::space_type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 200, 16, 12);
        const auto queries = Vectors::normal(ElementType::f32, 5, 16, 13);
        const Keyed saved(build<I>(rows));
        saved.save(dir.path() / "index");
        Keyed<I> loaded = Keyed<I>::load(SectionReader(dir.path() / "index"));
        CHECK(loaded.index().space().rows().kind() == RowsKind::mapped);
        CHECK(loaded.index().inner().space().codes().rows().kind() == RowsKind::mapped);
        CHECK_NOTHROW(loaded.index().validate("here"));
        CHECK(same(saved.search(view_of<float>(queries), 10), loaded.search(view_of<float>(queries), 10)));
        loaded.add(view_of<T>(rows).slice(0, 3));
        loaded.remove(std::vector<Id>{4, 100});
        CHECK(loaded.size() == 201);
        CHECK_NOTHROW(loaded.index().validate("here"));
        ThreadPool pool(3);
        CHECK(saved.to_bytes() == Keyed(build<I>(rows, {}, pool)).to_bytes());
        // A file of the rows alone is no such index, nor is this one of the rows alone.
        const Keyed plain(build<Flat<S>>(rows));
        plain.save(dir.path() / "plain");
        CHECK_THROWS_AS(Keyed<I>::load(SectionReader(dir.path() / "plain")), Error);
        CHECK_THROWS_AS(Keyed<Flat<S>>::load(SectionReader(dir.path() / "index")), Error);
    });
}

TEST_CASE("a warm refined search allocates nothing", "[refine]") {
    for_each_metric([]<class I>(I*) {
        using T = typename I::space_type::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 800, 16, 14);
        const auto queries = Vectors::normal(ElementType::f32, 6, 16, 15);
        const Keyed index(build<I>(rows));
        BatchScratch<I> scratch;
        Results results(6, 10);
        const auto run = [&] { index.search(view_of<float>(queries), 10, {}, {}, inline_executor(), scratch, results.view()); };
        run();
        const std::size_t before = allocation_count();
        run();
        const std::size_t after = allocation_count();
        CHECK(after == before);
    });
}

TEST_CASE("a graph over codes: built, searched, changed with stable slots, compacted, saved", "[refine]") {
    using I = HnswSq8<L2, float>;
    STATIC_REQUIRE(Insertable<I>);
    STATIC_REQUIRE(Persistable<I>);
    using S = I::space_type;
    const auto rows = Vectors::normal(ElementType::f32, 1500, 16, 16);
    const auto view = view_of<float>(rows);
    const auto queries = Vectors::normal(ElementType::f32, 30, 16, 17);
    const auto first = Vectors::fill(ElementType::f32, 1000, 16, [&](std::size_t i) { return rows.value(i / 16, i % 16); });
    Keyed index(build<I>(first));
    std::map<Id, std::size_t> row_of;
    for (std::size_t i = 0; i < 1000; ++i) row_of[static_cast<Id>(i)] = i;
    const auto check = [&](const Keyed<I>& one) {
        Rows<float> left(16);
        std::vector<Id> ids;
        for (const auto& [id, row] : row_of) {
            left.append(view[row]);
            ids.push_back(id);
        }
        const Keyed exact(Flat(S(std::move(left))), ids);
        const auto truth = exact.search(view_of<float>(queries), 10);
        const auto found = one.search(view_of<float>(queries), 10);
        CHECK(recall(found, truth) > 0.95);
        for (std::size_t i = 0; i < found.queries(); ++i) {
            REQUIRE(found.count(i) == 10);
            for (std::size_t j = 0; j < 10; ++j) {
                const auto row = row_of.find(found.ids(i)[j]);
                REQUIRE(row != row_of.end());
                CHECK(static_cast<double>(found.distances(i)[j]) == Approx(reference_distance("l2", queries, i, rows, row->second)));
            }
        }
        CHECK(one.index().space().size() == one.index().inner().space().size());
        CHECK_NOTHROW(one.index().validate("here"));
    };
    check(index);
    std::vector<Id> gone;
    for (Id id = 0; id < 1000; id += 4) gone.push_back(id);
    for (const Id id : gone) row_of.erase(id);
    index.remove(gone);
    check(index);
    std::vector<Id> ids;
    for (std::size_t i = 1000; i < 1500; ++i) {  // 250 into vacant slots, 250 behind
        ids.push_back(static_cast<Id>(i));
        row_of[ids.back()] = i;
    }
    index.add(view.slice(1000, 500), ids);
    CHECK(index.index().space().size() == 1250);
    check(index);
    index.remove(std::vector<Id>{1, 2, 3, 1400});
    for (const Id id : {1, 2, 3, 1400}) row_of.erase(id);
    const TempDir dir;
    index.save(dir.path() / "graph");
    check(Keyed<I>::load(SectionReader(dir.path() / "graph")));
    index.compact();
    CHECK(index.index().space().size() == row_of.size());
    check(index);
    CHECK(index.index().memory_bytes() > index.index().space().memory_bytes() + row_of.size() * 16);
    CHECK_FALSE(index.index().describe().empty());
}
