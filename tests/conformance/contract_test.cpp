// SPDX-License-Identifier: Apache-2.0
//
// The contract of every index over every space: results against brute force, filters, ranges, changes, files, threads.
#include <cmath>

#include "conformance/conformance.hpp"
#include "kith/any/near_duplicates.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace test;  // NOLINT

/// Checks searches for each k against brute force over base.
void check_searches(const Combination& c, const AnyIndex& index, const Vectors& base, const Vectors& queries,
                    std::initializer_list<std::size_t> ks, const std::vector<Id>& ids = {}) {
    std::vector<Results> results;
    for (const std::size_t k : ks) {
        results.push_back(index.search(queries.view(), k, c.kind.exhaustive));
        REQUIRE(results.back().k() == std::min(k, base.rows()));
    }
    for (std::size_t q = 0; q < queries.rows(); ++q) {
        const auto expected = brute_force(c.metric, base, queries, q, [](Id) { return true; }, ids);
        std::size_t which = 0;
        for (const std::size_t k : ks) {
            const auto& found = results[which++];
            const bool same = same_neighbours(c.metric, found.ids(q), found.distances(q), expected, k, tolerance(c));
            INFO(c.name() << " n=" << base.rows() << " d=" << base.cols() << " k=" << k << " query " << q);
            REQUIRE(same);
        }
    }
}

/// The same rows at the same distances; what it cost may differ.
bool same_rows(const Results& a, const Results& b) {
    bool same = a.queries() == b.queries();
    for (std::size_t q = 0; same && q < a.queries(); ++q)
        same = std::ranges::equal(a.ids(q), b.ids(q)) && std::ranges::equal(a.distances(q), b.distances(q));
    return same;
}

/// Of so many rows.
bool is_compact(const AnyIndex& index, std::size_t rows, const Combination& c) {
    return index.size() == rows && index.slots() >= rows && index.slots() <= rows + (rows == 0 ? 0 : c.kind.padding);
}

}  // namespace

TEST_CASE("every index finds what brute force finds, whatever n, d, k and the batch") {
    for (const auto& c : combinations())
        for (const std::size_t n : {0, 1, 2, 65, 700})
            for (const std::size_t d : {1, 7, 33, 100}) {
                if (d < c.kind.least_dim) continue;
                if (n == 700 && (d != 33 || c.kind.name() != "flat")) continue;  // the blocks and tiles of a scan
                const auto base = Vectors::whole(c.type, n, d, n + d);
                const auto index = build(c, base);
                REQUIRE(index.size() == n);
                for (const std::size_t nq : {1, 3, 37}) {
                    const auto queries = Vectors::whole(c.type, nq, d, 1000 + nq);
                    check_searches(c, index, base, queries, {std::size_t{1}, std::size_t{10}, n + 5});
                }
            }
}

TEST_CASE("equal rows come in the order of their ids, and only as many as asked for") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::fill(c.type, 300, 24, [](std::size_t i) { return i / 24 < 180 ? 1.0 : static_cast<double>(i % 5); });
        std::vector<Id> ids(base.rows());
        for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Id>(i * 7 % 300);  // a permutation
        const auto index = build(c, base, inline_executor(), ids);
        for (const std::size_t nq : {1, 20}) {
            const auto queries = Vectors::fill(c.type, nq, 24, [](std::size_t) { return 1.0; });
            check_searches(c, index, base, queries, {1, 5, 170, 300}, ids);
        }
    }
}

TEST_CASE("a batch, its queries one by one and five threads give the same bits") {
    ThreadPool two(2);
    ThreadPool five(5);
    for (const auto& c : combinations()) {
        if (!is_float(c.type)) continue;
        for (const double offset : {0.0, 30.0}) {  // far from the origin: where |q|^2 + |x|^2 - 2 q.x cancels
            const auto base = Vectors::normal(c.type, 620, 50, 1, offset);  // more than the rows that a scan seeds its bounds with
            const auto queries = Vectors::normal(c.type, 37, 50, 2, offset);
            const auto index = build(c, base);
            const auto batch = index.search(queries.view(), 10);
            REQUIRE(identical(batch, index.search(queries.view(), 10, {}, {}, two)));
            REQUIRE(identical(batch, index.search(queries.view(), 10, {}, {}, five)));
            for (std::size_t q = 0; q < queries.rows(); ++q) {
                const auto one = index.search(queries.row(q), 10);
                INFO(c.name() << " offset " << offset << " query " << q);
                REQUIRE(std::ranges::equal(one.ids(0), batch.ids(q)));
                REQUIRE(std::ranges::equal(one.distances(0), batch.distances(q)));
            }
        }
    }
}

TEST_CASE("results are right on rounded data too, within what rounding explains") {
    for (const auto& c : combinations()) {
        if (!is_float(c.type)) continue;
        const auto base = Vectors::normal(c.type, 300, 60, 3);
        const auto queries = Vectors::normal(c.type, 20, 60, 4);
        const auto results = build(c, base).search(queries.view(), 10, c.kind.exhaustive);
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            const auto expected = brute_force(c.metric, base, queries, q);
            INFO(c.name() << " query " << q);
            // Values up to about 250 (l2), 64 terms: 64 * 2^-24 relative to the sum of magnitudes.
            REQUIRE(same_neighbours(c.metric, results.ids(q), results.distances(q), expected, 10, 1e-3));
        }
    }
}

TEST_CASE("filters of none, one, some and all; one for each query; never violated") {
    for (const auto& c : combinations()) {
        const std::size_t n = 200;
        const auto base = Vectors::whole(c.type, n, 20, 5);
        const auto index = build(c, base);
        std::vector<Bitset> sets;   // of slots
        std::vector<Bitset> masks;  // of ids
        for (const std::size_t step : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{50}, n, n + 1}) {
            std::vector<Id> ids;
            for (std::size_t i = step == n + 1 ? n : step - 1; i < n; i += step) ids.push_back(static_cast<Id>(i));
            sets.push_back(index.slots_of(ids));
            REQUIRE(sets.back().count() == ids.size());
            masks.emplace_back(n);
            for (const Id id : ids) masks.back().set(static_cast<std::size_t>(id));
        }
        for (const std::size_t nq : {1, 18}) {
            const auto queries = Vectors::whole(c.type, nq, 20, 6);
            std::vector<BitsetView> each;
            for (std::size_t q = 0; q < nq; ++q) each.push_back(sets[q % sets.size()]);
            const auto mixed = index.search(queries.view(), 10, c.kind.exhaustive, each);
            for (std::size_t s = 0; s < sets.size(); ++s) {
                const BitsetView one = sets[s];
                const auto shared = index.search(queries.view(), 10, c.kind.exhaustive, std::span(&one, 1));
                for (std::size_t q = 0; q < nq; ++q) {
                    const auto expected = brute_force(c.metric, base, queries, q, [&](Id id) { return masks[s].test(static_cast<std::size_t>(id)); });
                    INFO(c.name() << " filter " << s << " query " << q);
                    REQUIRE(shared.count(q) == std::min<std::size_t>(10, expected.size()));
                    REQUIRE(same_neighbours(c.metric, shared.ids(q), shared.distances(q), expected, 10, tolerance(c)));
                    if (q % sets.size() == s) REQUIRE(std::ranges::equal(mixed.ids(q), shared.ids(q)));
                }
            }
        }
    }
}

TEST_CASE("range search finds all rows within the radius, and those that a result says are at it") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 200, 16, 7);
        const auto queries = Vectors::whole(c.type, 5, 16, 8);
        const auto index = build(c, base);
        const auto context = index.context();
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            const auto expected = brute_force(c.metric, base, queries, q);
            const auto near = index.search(queries.row(q), 40, c.kind.exhaustive);
            const double radius = static_cast<double>(near.distances(0)[39]);
            const auto found = index.range_search(queries.row(q), radius, c.kind.exhaustive, {}, inline_executor(), *context);
            INFO(c.name() << " query " << q << " radius " << radius);
            REQUIRE(found.offsets.size() == 2);
            REQUIRE(found.offsets[1] >= 40);
            const double sign = is_similarity(c.metric) ? -1 : 1;
            const double slack = exact_on_whole_numbers(c.metric) ? 1e-6 : 2e-6;
            const auto within = std::count_if(expected.begin(), expected.end(), [&](const Neighbour& n) { return sign * n.distance <= sign * radius + slack; });
            REQUIRE(found.ids.size() <= static_cast<std::size_t>(within));
            REQUIRE(same_neighbours(c.metric, found.ids, found.distances, expected, found.ids.size(), tolerance(c)));
        }
        const double nothing = is_similarity(c.metric) ? 1e9 : -1;
        REQUIRE(index.range_search(queries.view(), nothing, c.kind.exhaustive, {}, inline_executor(), *context).ids.empty());
    }
}

TEST_CASE("near duplicates are the pairs within the threshold, each once, and the groups that they make") {
    const std::size_t n = 300;
    const Random random(3);
    const auto base = Vectors::fill(ElementType::u8, n, 6, [&](std::size_t i) { return static_cast<double>(random.below(i % 6 + 6 * (i / 6 % 100), 200) + (i / 600) * (i % 6 == 0 ? 1 : 0)); });
    std::vector<Id> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<Id>(1000 - 2 * i);  // rows i, i + 100 and i + 200 differ by 1 each in the first element
    for (const char* spec : {"flat", "lsh(tables=6,bits=6)"}) {
        INFO(spec);
        BuildOptions options;
        options.ids = ids;
        const auto index = AnyIndex::build(spec, base.view(), options);
        std::size_t expected = 0;
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < i; ++j) {
                double distance = 0;
                for (std::size_t d = 0; d < 6; ++d) distance += std::pow(base.value(i, d) - base.value(j, d), 2);
                expected += distance <= 1 ? 1 : 0;
            }
        const auto found = near_duplicates(index, 1.0);
        CHECK(expected == 200);
        CHECK(found.pairs.size() == expected);
        for (const auto& pair : found.pairs) {
            CHECK(pair.second - pair.first == 200);
            CHECK(pair.distance == 1.0f);
        }
        CHECK(std::is_sorted(found.pairs.begin(), found.pairs.end(), [](const auto& a, const auto& b) { return std::pair(a.first, a.second) < std::pair(b.first, b.second); }));
        const auto groups = duplicate_groups(found.pairs);
        REQUIRE(groups.size() == 100);
        for (const auto& group : groups) CHECK(group == std::vector<Id>{group[0], group[0] + 200, group[0] + 400});
        CHECK(near_duplicates(index, -1.0).pairs.empty());
    }
    CHECK(duplicate_groups({}).empty());
}

TEST_CASE("adding, replacing, removing and compacting agree with a dictionary") {
    for (const auto& c : combinations()) {
        const std::size_t d = 12;
        const auto pool = Vectors::whole(c.type, 200, d, 9);
        const auto start = Vectors::whole(c.type, 50, d, 9);  // borrowed until the first change: must outlive it
        auto index = build(c, start);
        std::vector<std::pair<Id, std::size_t>> model;  // id -> row of the pool (the first 50 rows are the pool's)
        for (std::size_t i = 0; i < 50; ++i) model.emplace_back(static_cast<Id>(i), i);
        const auto put = [&](Id id, std::size_t row) {
            std::erase_if(model, [&](const auto& entry) { return entry.first == id; });
            model.emplace_back(id, row);
        };
        const Random random(11);
        std::size_t next = 50;
        for (std::size_t step = 0; step < 48; ++step) {
            const auto action = random.below(step, 4);
            if (action < 2 && next + 3 <= pool.rows()) {
                // Two new ids around one that is there, or three new ones.
                std::vector<Id> ids{static_cast<Id>(1000 + next), static_cast<Id>(5 + 7919 * next), static_cast<Id>(100000 + next)};
                if (action == 1) ids[1] = model[random.below(500 + step, model.size())].first;
                index.add(pool.slice(next, 3), ids);
                for (std::size_t i = 0; i < 3; ++i) put(ids[i], next + i);
                next += 3;
            } else if (action == 2 || step % 3 != 0) {
                std::vector<Id> ids;
                for (std::size_t i = 0; i < 2; ++i) {
                    const std::size_t victim = random.below(1000 + 2 * step + i, model.size());
                    ids.push_back(model[victim].first);
                    model.erase(model.begin() + static_cast<std::ptrdiff_t>(victim));
                }
                index.remove(ids);
                REQUIRE_FALSE(index.contains(ids[0]));
            } else {
                index.compact();
                REQUIRE(is_compact(index, model.size(), c));
            }
            if (step % 12 != 11) continue;
            Vectors live(c.type, model.size(), d);
            std::vector<Id> ids;
            for (std::size_t i = 0; i < model.size(); ++i) {
                ids.push_back(model[i].first);
                for (std::size_t col = 0; col < d; ++col) live.set(i, col, pool.value(model[i].second, col));
            }
            REQUIRE(index.size() == model.size());
            std::vector<Id> held(index.size());
            index.copy_ids(held);
            REQUIRE(std::ranges::is_permutation(held, ids));
            REQUIRE(index.live_slots().count() == model.size());
            for (const std::size_t nq : {1, 9}) check_searches(c, index, live, Vectors::whole(c.type, nq, d, 70 + step), {10}, ids);
        }
    }
}

TEST_CASE("compacting changes no result and leaves no slot vacant") {
    const TempDir dir;
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 150, 16, 21);
        const auto queries = Vectors::whole(c.type, 5, 16, 22);
        auto index = build(c, base);
        std::vector<Id> gone;
        for (Id id = 0; id < 150; id += 3) gone.push_back(id);
        index.remove(gone);
        const auto before = index.search(queries.view(), 200, c.kind.exhaustive);
        index.save(dir / "vacant.kith");
        index.compact();
        INFO(c.name());
        REQUIRE(is_compact(index, 100, c));
        REQUIRE(same_rows(index.search(queries.view(), 200, c.kind.exhaustive), before));
        REQUIRE(same_rows(AnyIndex::load(dir / "vacant.kith").search(queries.view(), 200, c.kind.exhaustive), before));
        REQUIRE(same_rows(AnyIndex::load(dir / "vacant.kith").search(queries.view(), 7, c.kind.exhaustive),
                          index.search(queries.view(), 7, c.kind.exhaustive)));
        const auto bytes = index.to_bytes();
        index.compact();
        REQUIRE(index.to_bytes() == bytes);
        index.add(base.slice(0, 1), std::vector<Id>{0});
        REQUIRE(index.size() == 101);
        std::vector<Id> all(101);
        index.copy_ids(all);
        index.remove(all);
        index.compact();
        REQUIRE(index.slots() == 0);
        REQUIRE(index.search(queries.view(), 3).k() == 0);
    }
}

TEST_CASE("a cursor gives every row once, nearest first, and stops") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 120, 16, 23);
        const auto query = Vectors::whole(c.type, 1, 16, 24);
        auto index = build(c, base);
        for (const bool removed : {false, true}) {
            if (removed) index.remove(std::vector<Id>{4, 5, 119});
            const auto all = index.search(query.view(), 120, c.kind.exhaustive);
            INFO(c.name() << (removed ? " after removals" : ""));
            // In order where the search is exact; complete, each row once, whatever the search.
            for (const bool exact : {true, false}) {
                auto cursor = index.iterate(query.view(), exact ? c.kind.exhaustive : ParamMap{});
                std::vector<Id> ids;
                std::vector<float> distances;
                for (auto more = cursor.next(1); !more.empty(); more = cursor.next(11)) {
                    ids.insert(ids.end(), more.ids.begin(), more.ids.end());
                    distances.insert(distances.end(), more.distances.begin(), more.distances.end());
                }
                REQUIRE(cursor.next(5).empty());
                REQUIRE(cursor.stats().distances > 0);
                if (exact) {
                    REQUIRE(std::ranges::equal(ids, all.ids(0)));
                    REQUIRE(std::ranges::equal(distances, all.distances(0)));
                } else {
                    REQUIRE(std::ranges::is_permutation(ids, all.ids(0)));
                }
            }
            std::vector<Id> wanted;
            for (Id id = 1; id < 120; id += 2)
                if (index.contains(id)) wanted.push_back(id);
            auto some = index.iterate(query.view(), c.kind.exhaustive, index.slots_of(wanted));
            const auto first = some.next(20);
            REQUIRE(first.size() == 20);
            auto rest = some.next(1000).ids;
            rest.insert(rest.end(), first.ids.begin(), first.ids.end());
            REQUIRE(std::ranges::is_permutation(rest, wanted));
        }
        check_error(ErrorCode::dimension_mismatch, {"one query", "120"}, [&] { index.iterate(base.view()); });
        check_error(ErrorCode::invalid_argument, {"eff"}, [&] { index.iterate(query.view(), {{"eff", std::int64_t{3}}}); });
    }
}

TEST_CASE("a file gives back the index: loaded, mapped, in memory, and written again byte for byte") {
    const TempDir dir;
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 200, 24, 12);
        const auto queries = Vectors::whole(c.type, 9, 24, 13);
        auto index = build(c, base);
        const std::vector<Id> gone{3, 77};
        index.remove(gone);
        const auto before = index.search(queries.view(), 10, c.kind.exhaustive);
        index.save(dir / "index.kith");
        for (const bool mmap : {true, false}) {
            auto loaded = AnyIndex::load(dir / "index.kith", {.mmap = mmap});
            INFO(c.name() << (mmap ? " mapped" : " read"));
            REQUIRE(loaded.spec() == index.spec());
            REQUIRE(identical(loaded.search(queries.view(), 10, c.kind.exhaustive), before));
            REQUIRE(loaded.to_bytes() == index.to_bytes());
            loaded.remove(std::vector<Id>{5});  // a mapped index becomes its own when it is changed
            REQUIRE(loaded.size() == 197);
            loaded.save(dir / "index.kith");  // onto the file that it came from
            REQUIRE(AnyIndex::load(dir / "index.kith").size() == 197);
            index.save(dir / "index.kith");
        }
        REQUIRE_NOTHROW(verify_file(dir / "index.kith"));
    }
}

TEST_CASE("same data, same seed, same bytes, whatever the number of threads") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 200, 24, 14);
        const auto reference = build(c, base).to_bytes();
        for (const std::size_t threads : {2, 5}) {
            ThreadPool pool(threads);
            REQUIRE(build(c, base, pool).to_bytes() == reference);
        }
    }
}

TEST_CASE("a warm search allocates nothing") {
    ThreadPool pool(2);
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 200, 24, 15);
        const auto queries = Vectors::whole(c.type, 40, 24, 16);
        const auto index = build(c, base);
        const auto context = index.context();
        Bitset bits(base.rows(), true);
        bits.reset(7);
        const BitsetView filter = bits;
        Results results(40, 10);
        const ResultView all = results.view();
        const ResultView first{all.ids.slice(0, 1), all.distances.slice(0, 1), all.counts};
        const auto search_all = [&](std::span<const BitsetView> filters) {
            index.search(queries.view(), 10, c.kind.exhaustive, filters, inline_executor(), all, *context);
            index.search(queries.row(0), 10, c.kind.exhaustive, filters, inline_executor(), first, *context);
            index.search(queries.view(), 10, c.kind.exhaustive, filters, pool, all, *context);
        };
        for (int warm = 0; warm < 8; ++warm) {  // each worker must have had its turn at a whole batch
            search_all({});
            search_all(std::span(&filter, 1));
        }
        const std::size_t before = allocation_count();
        index.search(queries.view(), 10, c.kind.exhaustive, {}, inline_executor(), all, *context);
        index.search(queries.row(0), 10, c.kind.exhaustive, {}, inline_executor(), first, *context);
        index.search(queries.view(), 10, c.kind.exhaustive, std::span(&filter, 1), inline_executor(), all, *context);
        index.search(queries.row(0), 10, c.kind.exhaustive, std::span(&filter, 1), inline_executor(), first, *context);
        const std::size_t after = allocation_count();  // before INFO, which allocates
        INFO(c.name());
        REQUIRE(after == before);
    }
}

TEST_CASE("building borrows rows and says so; a copy owns them") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 50, 24, 17);
        if (!c.kind.borrows) continue;
        const auto flat = AnyIndex::build("flat", base.view(), {.metric = c.metric});
        REQUIRE(flat.memory_bytes() >= 50 * base.cols() * element_bytes(c.type));
        if (c.kind.name() != "flat") REQUIRE(build(c, base).memory_bytes() > flat.memory_bytes());  // a structure weighs something
        REQUIRE(fact(build(c, base), "storage") == "borrowed");
        REQUIRE(fact(AnyIndex::build(c.kind.spec, base.view(), {.metric = c.metric, .copy = true}), "storage") == "owned");
    }
}

TEST_CASE("statistics add up") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 133, 24, 18);
        const auto queries = Vectors::whole(c.type, 11, 24, 19);
        const auto index = build(c, base);
        SearchStats sum;
        for (std::size_t q = 0; q < 11; ++q) sum += index.search(queries.row(q), 5).stats;
        const auto batch = index.search(queries.view(), 5);
        REQUIRE(batch.stats == sum);
        REQUIRE(sum.distances > 0);
        REQUIRE(sum.bytes >= sum.distances);
        if (c.kind.spec == "flat") REQUIRE(sum.distances == 133 * 11);
    }
}
