// SPDX-License-Identifier: Apache-2.0
//
// Searches are const: many threads search one index at once, each with its own scratch, on their own or over one shared pool, and
// find what one thread finds. Also run under ThreadSanitizer.
#include <algorithm>
#include <thread>
#include <vector>

#include "conformance/conformance.hpp"
#include "kith/kith.hpp"
#include "support/catch.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

constexpr std::size_t callers = 4;

/// work(caller) on as many threads at once; returns how many of them were content.
template <class Work>
std::size_t at_once(Work work) {
    std::vector<char> good(callers, 0);
    std::vector<std::thread> threads;
    for (std::size_t caller = 0; caller < callers; ++caller)
        threads.emplace_back([&, caller] { good[caller] = work(caller) ? 1 : 0; });
    for (auto& thread : threads) thread.join();
    return static_cast<std::size_t>(std::count(good.begin(), good.end(), 1));
}

/// The same neighbours; how many rows were scored for them may depend on how a filtered batch was dealt out.
bool same_rows(const Results& a, const Results& b) {
    bool same = a.queries() == b.queries();
    for (std::size_t q = 0; same && q < a.queries(); ++q)
        same = std::ranges::equal(a.ids(q), b.ids(q)) && std::ranges::equal(a.distances(q), b.distances(q));
    return same;
}

}  // namespace

TEST_CASE("many threads search one typed index with their own scratch", "[concurrent]") {
    using S = DenseSpace<L2, float>;
    const auto base = Vectors::normal(ElementType::f32, 500, 20, 1);
    const auto queries = Vectors::normal(ElementType::f32, 40, 20, 2);
    const MatrixView<const float> rows(static_cast<const float*>(base.view().data), 500, 20);
    const MatrixView<const float> all(static_cast<const float*>(queries.view().data), 40, 20);
    std::vector<Id> ids(500);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Id>(i * 7 % 500);
    const Keyed index(Flat(S(Rows<float>::borrow(rows))), ids);
    const auto expected = index.search(all, 7);
    ThreadPool pool(3);
    for (const bool shared : {false, true}) {
        Executor& executor = shared ? static_cast<Executor&>(pool) : inline_executor();
        const auto content = at_once([&](std::size_t caller) {
            BatchScratch<Flat<S>> scratch;
            bool same = true;
            for (std::size_t round = 0; round < 5; ++round) {
                // Batches of different sizes, so that callers are in different code at the same time.
                const std::size_t count = caller % 2 == 0 ? 40 : 1 + caller + round;
                Results results(count, 7);
                results.stats = index.search(all.slice(0, count), 7, {}, {}, executor, scratch, results.view());
                same = same && results.stats.distances == count * 500;
                for (std::size_t q = 0; q < count; ++q)
                    same = same && std::ranges::equal(results.ids(q), expected.ids(q)) &&
                           std::ranges::equal(results.distances(q), expected.distances(q));
            }
            return same;
        });
        CHECK(content == callers);
    }
}

TEST_CASE("many threads search, filter and range-search one erased index", "[concurrent]") {
    ThreadPool pool(2);
    for (const auto& c : combinations()) {
        if (c.type != ElementType::f32 && c.type != ElementType::i8 && c.type != ElementType::b1) continue;
        const auto base = Vectors::whole(c.type, 200, 16, 3);
        const auto queries = Vectors::whole(c.type, 12, 16, 4);
        const auto index = build(c, base);
        Bitset bits(200);
        for (std::size_t i = 0; i < 200; i += 3) bits.set(i);
        const BitsetView filter = bits;
        const auto plain = index.search(queries.view(), 5, c.kind.exhaustive);
        const auto filtered = index.search(queries.view(), 5, c.kind.exhaustive, std::span(&filter, 1));
        const double radius = static_cast<double>(plain.distances(0)[4]);
        const auto context = index.context();
        const auto near = index.range_search(queries.view(), radius, c.kind.exhaustive, {}, inline_executor(), *context);
        const auto content = at_once([&](std::size_t caller) {
            Executor& executor = caller == 0 ? inline_executor() : static_cast<Executor&>(pool);
            const auto own = index.context();
            const auto found = index.range_search(queries.view(), radius, c.kind.exhaustive, {}, executor, *own);
            return identical(index.search(queries.view(), 5, c.kind.exhaustive, {}, executor), plain) &&
                   same_rows(index.search(queries.view(), 5, c.kind.exhaustive, std::span(&filter, 1), executor), filtered) &&
                   found.ids == near.ids && found.distances == near.distances && found.offsets == near.offsets &&
                   index.contains(static_cast<Id>(caller)) && index.slots_of_mask(std::vector<std::uint8_t>(200, 1)).count() == 200;
        });
        INFO(c.name());
        CHECK(content == callers);
    }
}
