// SPDX-License-Identifier: Apache-2.0
//
// Flat over product-quantised codes, the index called PQ: one query or a batch, filtered or not, gives what sorting all distances gives, to the bit;
// refined it is the exact scan; graphs walk over such codes; changes and files.
#include <algorithm>
#include <vector>

#include "kith/index/flat.hpp"
#include "kith/index/hnsw.hpp"
#include "kith/index/keyed.hpp"
#include "kith/index/refine.hpp"
#include "kith/index/vamana.hpp"
#include "kith/space/pq_space.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

template <class T>
MatrixView<const T> view_of(const Vectors& vectors) {
    const auto matrix = vectors.view();
    REQUIRE(matrix.type == element_traits<T>::type);
    return {static_cast<const T*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

PqParams shape(std::uint32_t m, std::uint32_t bits, bool opq = false) {
    PqParams params;
    params.m = m;
    params.bits = bits;
    params.opq = opq;
    return params;
}

template <class S>
struct Type { using type = S; };

/// check(type, bits) for spaces of 20 dimensions.
template <class Check>
void for_each_space(Check check) {
    const auto one = [&]<class S>(Type<S> type) {
        for (const std::uint32_t bits : {4u, 8u}) {
            INFO(S::file_label() << ", " << bits << " bits");
            check(type, bits);
        }
    };
    one(Type<PqSpace<L2, float>>{});
    one(Type<PqSpace<Cosine, Half>>{});
    one(Type<PqSpace<InnerProduct, float>>{});
}

/// All slots, by (distance, slot).
template <class S>
std::vector<Hit<float>> sorted_scores(const S& space, std::span<const float> query) {
    typename S::scorer_scratch scratch;
    const auto scorer = space.scorer(query, scratch);
    std::vector<Hit<float>> hits;
    for (Slot slot = 0; slot < space.size(); ++slot) hits.push_back({scorer(slot), slot});
    std::sort(hits.begin(), hits.end(), HitOrder<float>());
    return hits;
}

/// Whether what was found is the first k of those that are allowed.
template <class S, class Allowed>
bool first_of(const S& space, const Results& found, std::size_t query, std::size_t k, const std::vector<Hit<float>>& all, Allowed allowed) {
    std::size_t at = 0;
    for (const auto& hit : all) {
        if (!allowed(hit.slot) || at == k) continue;
        if (at >= found.count(query) || found.ids(query)[at] != static_cast<Id>(hit.slot) ||
            found.distances(query)[at] != static_cast<float>(space.report(static_cast<double>(hit.distance))))
            return false;
        ++at;
    }
    return at == found.count(query);
}

bool same(const Results& a, const Results& b) {
    for (std::size_t i = 0; i < a.queries(); ++i)
        if (!std::ranges::equal(a.ids(i), b.ids(i)) || !std::ranges::equal(a.distances(i), b.distances(i))) return false;
    return a.queries() == b.queries();
}

double recall(const Results& found, const Results& exact) {
    std::size_t right = 0, all = 0;
    for (std::size_t i = 0; i < exact.queries(); ++i) {
        all += exact.count(i);
        for (const Id id : found.ids(i)) right += std::ranges::count(exact.ids(i), id) > 0 ? 1 : 0;
    }
    return static_cast<double>(right) / static_cast<double>(all);
}

}  // namespace

TEST_CASE("PQ: one query or a batch finds what sorting all distances finds", "[pq]") {
    for_each_space([](auto type, std::uint32_t bits) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        for (const std::size_t n : {std::size_t{1}, std::size_t{100}, std::size_t{5000}}) {
            // Few different rows, so that many are as far as the k-th.
            const auto rows = Vectors::fill(element_traits<T>::type, n, 20, [random = Random(n)](std::size_t i) {
                return random.normal(i / 20 % 700 * 20 + i % 20);
            });
            const auto queries = Vectors::normal(ElementType::f32, 71, 20, 4);
            const Keyed index{Flat(S::train_and_encode(view_of<T>(rows), shape(5, bits)))};
            const S& space = index.index().space();
            Bitset few(n), most(n);
            for (std::size_t slot = 0; slot < n; ++slot) {
                if (slot % 50 == 7) few.set(slot);
                if (slot % 7 != 3) most.set(slot);
            }
            std::vector<std::vector<Hit<float>>> all;
            for (std::size_t j = 0; j < queries.rows(); ++j) all.push_back(sorted_scores(space, view_of<float>(queries)[j]));
            ThreadPool pool(3);
            for (const std::size_t k : {std::size_t{1}, std::size_t{10}, n + 3}) {
                CAPTURE(n, k);
                for (const std::size_t count : {1, 3, 4, 5, 9, 71}) {
                    const auto found = index.search(view_of<float>(queries).slice(0, count), k);
                    std::size_t wrong = 0;
                    for (std::size_t j = 0; j < count; ++j) wrong += !first_of(space, found, j, k, all[j], [](Slot) { return true; });
                    CHECK(wrong == 0);
                    CHECK(found.stats.distances == n * count);
                }
                CHECK(same(index.search(view_of<float>(queries), k), index.search(view_of<float>(queries), k, {}, {}, pool)));
                for (const Bitset* bits_of : {&few, &most}) {
                    const BitsetFilter filter(bits_of->view());
                    const auto found = index.search(view_of<float>(queries), k, {}, {&filter, 1});
                    std::size_t wrong = 0;
                    for (std::size_t j = 0; j < queries.rows(); ++j)
                        wrong += !first_of(space, found, j, k, all[j], [&](Slot slot) { return bits_of->test(slot); });
                    CHECK(wrong == 0);
                }
            }
        }
    });
}

TEST_CASE("PQ: a radius finds what is within it", "[pq]") {
    for_each_space([](auto type, std::uint32_t bits) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 3000, 20, 5);
        const auto queries = Vectors::normal(ElementType::f32, 5, 20, 6);
        const Keyed index{Flat(S::train_and_encode(view_of<T>(rows), shape(5, bits)))};
        const auto all = index.search(view_of<float>(queries), 3000);
        for (const std::size_t rank : {0, 40, 2999}) {
            const auto found = index.range_search(view_of<float>(queries), static_cast<double>(all.distances(0)[rank]));
            std::size_t within = 0;
            while (within < 3000 && all.distances(0)[within] == all.distances(0)[rank]) ++within;
            CHECK(found.offsets[1] > rank);
            CHECK(std::equal(found.ids.begin(), found.ids.begin() + static_cast<std::ptrdiff_t>(found.offsets[1]), all.ids(0).begin()));
            CHECK((found.offsets[1] == 3000 || all.distances(0)[found.offsets[1]] != all.distances(0)[rank]));
        }
    });
}

TEST_CASE("PQ: a warm search allocates nothing", "[pq]") {
    for (const std::uint32_t bits : {4u, 8u})
        for (const bool opq : {false, true}) {
            using S = PqSpace<L2, float>;
            const auto rows = Vectors::normal(ElementType::f32, 2000, 20, 5);
            const auto queries = Vectors::normal(ElementType::f32, 40, 20, 6);
            const Flat<S> index(S::train_and_encode(view_of<float>(rows), shape(5, bits, opq)));
            BatchScratch<Flat<S>> scratch;
            Results out(40, 10);
            for (const std::size_t count : {std::size_t{1}, std::size_t{40}}) {
                const ResultView view{out.view().ids.slice(0, count), out.view().distances.slice(0, count), out.view().counts};
                const auto search = [&] { search_batch(index, view_of<float>(queries).slice(0, count), {}, {}, nullptr, inline_executor(), scratch, view); };
                search();
                const std::size_t before = allocation_count();
                search();
                CHECK(allocation_count() == before);
            }
        }
}

TEST_CASE("PQ, refined: with enough candidates the exact scan, in batches as one by one", "[pq]") {
    for_each_space([](auto type, std::uint32_t bits) {
        using C = typename decltype(type)::type;
        using T = typename C::element_type;
        using I = Refine<Flat<C>>;
        using S = typename I::space_type;
        STATIC_REQUIRE(Buildable<I>);
        STATIC_REQUIRE(BlockSearchable<I>);
        const auto rows = Vectors::normal(element_traits<T>::type, 2000, 20, 1, 0.2);
        const auto queries = Vectors::normal(ElementType::f32, 30, 20, 2, 0.2);
        const PqParams codec = shape(bits == 4 ? 10 : 5, bits);
        const Keyed refined(I::build(S(Rows<T>::borrow(view_of<T>(rows))), {}, 1, inline_executor(), {}, codec));
        CHECK(refined.index().inner().space().params() == codec);
        const Keyed exact(Flat(S(Rows<T>::borrow(view_of<T>(rows)))));
        Bitset some(2000);
        for (std::size_t slot = 0; slot < 2000; slot += 3) some.set(slot);
        const BitsetFilter filter(some.view());
        typename I::search_params all, few;
        all.refine = 1000;
        few.refine = 8;
        CHECK(same(refined.search(view_of<float>(queries), 10, all), exact.search(view_of<float>(queries), 10)));
        CHECK(same(refined.search(view_of<float>(queries), 10, all, {&filter, 1}), exact.search(view_of<float>(queries), 10, {}, {&filter, 1})));
        const auto truth = exact.search(view_of<float>(queries), 10);
        const auto batch = refined.search(view_of<float>(queries), 10, few);
        CHECK(recall(batch, truth) > 0.9);
        SearchStats stats;
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            const auto one = refined.search(view_of<float>(queries).slice(j, 1), 10, few);
            CHECK(std::ranges::equal(one.ids(0), batch.ids(j)));
            CHECK(std::ranges::equal(one.distances(0), batch.distances(j)));
            stats += one.stats;
        }
        CHECK(stats == batch.stats);
        CHECK(refined.search(view_of<float>(queries), 3000, few).count(7) == 2000);
    });
}

TEST_CASE("graphs walk over product-quantised codes", "[pq]") {
    for_each_space([](auto type, std::uint32_t bits) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 600, 20, 7);
        const auto queries = Vectors::normal(ElementType::f32, 20, 20, 8);
        const auto codes = [&](std::size_t n) { return S::train_and_encode(view_of<T>(rows).slice(0, n), shape(10, bits)); };
        const Keyed scan{Flat(codes(600))};
        const auto truth = scan.search(view_of<float>(queries), 10);
        Keyed hnsw(Hnsw<S>::build(codes(600), {}, 1));
        CHECK(recall(hnsw.search(view_of<float>(queries), 10, {.ef = 600}), truth) > 0.99);
        const Keyed vamana(Vamana<S>::build(codes(600), {}, 1));
        CHECK(recall(vamana.search(view_of<float>(queries), 10, {.ef = 600}), truth) > 0.99);
        const std::vector<Id> ids{3, 4, 5};
        hnsw.remove(ids);
        hnsw.add(view_of<T>(rows).slice(0, 3), ids);
        CHECK(hnsw.search(view_of<float>(queries), 10, {.ef = 100}).count(0) == 10);
        CHECK_NOTHROW(hnsw.index().validate("here"));
    });
}

TEST_CASE("PQ: rows are added, replaced and removed by id, saved and loaded", "[pq]") {
    const TempDir dir;
    for_each_space([&](auto type, std::uint32_t bits) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 500, 20, 9);
        const auto queries = Vectors::normal(ElementType::f32, 6, 20, 10);
        const auto view = view_of<T>(rows);
        Keyed index{Flat(S::train_and_encode(view.slice(0, 333), shape(5, bits)))};
        const auto check = [&](const Keyed<Flat<S>>& one) {
            const auto found = one.search(view_of<float>(queries), 20);
            for (std::size_t j = 0; j < queries.rows(); ++j) {
                const auto expected = sorted_scores(one.index().space(), view_of<float>(queries)[j]);
                REQUIRE(found.count(j) == 20);
                for (std::size_t i = 0; i < 20; ++i)
                    CHECK(found.distances(j)[i] == static_cast<float>(one.index().space().report(static_cast<double>(expected[i].distance))));
            }
        };
        index.add(view.slice(333, 167));
        check(index);
        std::vector<Id> ids;
        for (Id id = 0; id < 500; id += 3) ids.push_back(id);
        index.remove(ids);
        CHECK(index.size() == 333);
        check(index);
        ids = {1, 2, 700};
        index.add(view.slice(0, 3), ids);
        CHECK(index.size() == 334);
        check(index);
        index.save(dir.path() / "pq", {});
        auto loaded = Keyed<Flat<S>>::load(SectionReader(dir.path() / "pq"));
        CHECK_NOTHROW(loaded.index().validate("here"));
        check(loaded);
        CHECK(same(index.search(view_of<float>(queries), 20), loaded.search(view_of<float>(queries), 20)));
        ids = {2};
        loaded.remove(ids);
        loaded.add(view.slice(7, 1), ids);
        check(loaded);
    });
}
