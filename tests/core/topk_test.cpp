// SPDX-License-Identifier: Apache-2.0
#include "kith/core/topk.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/core/results.hpp"
#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

template <class D>
using Hits = std::vector<Hit<D>>;

/// All hits by (distance, id), NaN as infinity; the first k of them.
template <class D>
Hits<D> sorted_reference(Hits<D> hits, std::size_t k, const std::vector<Id>& ids) {
    if constexpr (std::is_floating_point_v<D>)
        for (auto& hit : hits)
            if (std::isnan(hit.distance)) hit.distance = std::numeric_limits<D>::infinity();
    std::stable_sort(hits.begin(), hits.end(), [&](const Hit<D>& a, const Hit<D>& b) {
        const Id id_a = ids.empty() ? Id{a.slot} : ids[a.slot];
        const Id id_b = ids.empty() ? Id{b.slot} : ids[b.slot];
        return std::pair(a.distance, id_a) < std::pair(b.distance, id_b);
    });
    hits.resize(std::min(k, hits.size()));
    return hits;
}

template <class D>
void check_topk(const Hits<D>& hits, std::size_t k, const std::vector<Id>& ids) {
    Hits<D> storage(k);
    TopK<D> nearest(std::span<Hit<D>>(storage), ids.empty() ? nullptr : ids.data());
    std::size_t lost = 0;
    for (const auto& hit : hits) {
        const D before = nearest.bound();
        nearest.offer(hit.slot, hit.distance);
        if (nearest.bound() > before) ++lost;  // the bound never widens
    }
    CHECK(lost == 0);
    const auto expected = sorted_reference(hits, k, ids);
    CHECK(nearest.size() == expected.size());
    if (k > 0 && hits.size() >= k) CHECK(nearest.bound() == expected.back().distance);
    const auto found = nearest.sorted();
    REQUIRE(found.size() == expected.size());
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
        wrong += found[i].slot != expected[i].slot || found[i].distance != expected[i].distance ? 1 : 0;
    CHECK(wrong == 0);
}

/// Few distinct distances, so that most decisions are ties.
template <class D>
Hits<D> tied_hits(std::size_t n, std::uint64_t distinct, std::uint64_t seed) {
    Hits<D> hits(n);
    for (std::size_t i = 0; i < n; ++i)
        hits[i] = {static_cast<D>(Random(seed).below(i, distinct)), static_cast<Slot>(i)};
    return hits;
}

std::vector<Id> shuffled_ids(std::size_t n) {
    std::vector<Id> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<Id>((i * 7919 + 13) % n * 1'000'000'000'000);  // 7919 is prime to each n
    return ids;
}

}  // namespace

TEST_CASE("top-k is the front of the sorted list, ties by id", "[topk]") {
    for (const std::size_t n : {0, 1, 2, 10, 100, 1000})
        for (const std::size_t k : {0, 1, 2, 3, 10, 64, 100, 1000, 2000})
            for (const std::uint64_t distinct : {1, 3, 50, 1'000'000}) {
                CAPTURE(n, k, distinct);
                check_topk(tied_hits<float>(n, distinct, n + k), k, {});
                check_topk(tied_hits<float>(n, distinct, n + k), k, shuffled_ids(n));
                check_topk(tied_hits<std::int32_t>(n, distinct, n + k), k, {});
                check_topk(tied_hits<std::int32_t>(n, distinct, n + k), k, shuffled_ids(n));
            }
}

TEST_CASE("top-k of ascending, descending and alternating distances", "[topk]") {
    for (const std::size_t k : {1, 7, 100}) {
        Hits<float> up, down, both;
        for (Slot i = 0; i < 200; ++i) {
            up.push_back({static_cast<float>(i), i});
            down.push_back({static_cast<float>(200 - i), i});
            both.push_back({static_cast<float>(i % 2 == 0 ? i : 400 - i), i});
        }
        check_topk(up, k, {});
        check_topk(down, k, {});
        check_topk(both, k, {});
    }
}

TEST_CASE("NaN counts as infinitely far, and infinitely far rows are results too", "[topk]") {
    const float inf = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Hits<float> hits{{nan, 0}, {inf, 1}, {-inf, 2}, {3, 3}, {nan, 4}, {0, 5}, {-0.0f, 6}, {inf, 7}, {-inf, 8}};
    for (std::size_t k = 0; k <= hits.size() + 1; ++k) {
        CAPTURE(k);
        check_topk(hits, k, {});
        check_topk(hits, k, {8, 7, 6, 5, 4, 3, 2, 1, 0});
    }
    std::vector<Hit<float>> storage(3);
    TopK<float> nearest{std::span<Hit<float>>(storage)};
    for (const Slot slot : {5u, 2u, 9u, 1u}) nearest.offer(slot, nan);
    const auto found = nearest.sorted();
    REQUIRE(found.size() == 3);
    CHECK(found[0].slot == 1);
    CHECK(found[1].slot == 2);
    CHECK(found[2].slot == 5);
    CHECK(found[0].distance == inf);
}

TEST_CASE("the largest int32 is an ordinary distance", "[topk]") {
    const std::int32_t most = std::numeric_limits<std::int32_t>::max();
    const std::int32_t least = std::numeric_limits<std::int32_t>::min();
    const Hits<std::int32_t> hits{{most, 0}, {most, 1}, {least, 2}, {0, 3}, {most, 4}};
    for (std::size_t k = 0; k <= 6; ++k) check_topk(hits, k, {});
}

TEST_CASE("k = 0 keeps nothing and lets nothing pass its bound", "[topk]") {
    TopK<float> none{std::span<Hit<float>>()};
    CHECK(none.full());
    CHECK(none.bound() == std::numeric_limits<float>::lowest());
    none.offer(1, -std::numeric_limits<float>::infinity());
    CHECK(none.sorted().empty());
}

TEST_CASE("a radius is inclusive and a NaN is not within it", "[topk]") {
    std::vector<Hit<float>> found;
    WithinRadius<float> near(2.0f, found);
    CHECK(near.bound() == 2.0f);
    near.offer(0, 2.0f);
    near.offer(1, std::nextafter(2.0f, 3.0f));
    near.offer(2, std::numeric_limits<float>::quiet_NaN());
    near.offer(3, -5.0f);
    REQUIRE(found.size() == 2);
    CHECK(found[0].slot == 0);
    CHECK(found[1].slot == 3);
    STATIC_REQUIRE(Collector<TopK<float>>);
    STATIC_REQUIRE(Collector<TopK<std::int32_t>>);
    STATIC_REQUIRE(Collector<WithinRadius<float>>);
}

TEST_CASE("results that own their memory show only what was found", "[results]") {
    Results results(3, 4);
    const ResultView view = results.view();
    CHECK(view.queries() == 3);
    CHECK(view.k() == 4);
    for (std::size_t q = 0; q < 3; ++q) {
        CHECK(results.count(q) == 0);
        for (std::size_t i = 0; i < 4; ++i) CHECK(view.ids.row(q)[i] == invalid_id);
    }
    view.ids.row(1)[0] = 42;
    view.distances.row(1)[0] = 0.5f;
    view.counts[1] = 1;
    CHECK(results.ids(1).size() == 1);
    CHECK(results.ids(1)[0] == 42);
    CHECK(results.distances(1)[0] == 0.5f);
    CHECK(results.ids(0).empty());
    const Results empty(5, 0);
    CHECK(empty.ids(4).empty());
    SearchStats a{1, 2, 3, 4, 5};
    a += SearchStats{10, 20, 30, 40, 50};
    CHECK(a == SearchStats{11, 22, 33, 44, 55});
}
