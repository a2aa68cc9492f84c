// SPDX-License-Identifier: Apache-2.0
//
// The parts of LSH: probing gives every set of perturbations once, by rising cost; buckets hold what a map would; keys differ from perturbed keys by what perturbations say.
#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "kith/hash/bit_hash.hpp"
#include "kith/hash/buckets.hpp"
#include "kith/hash/marks.hpp"
#include "kith/hash/prepare.hpp"
#include "kith/hash/vector_hash.hpp"
#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

/// Every set of perturbations of a table, no two of one function: key and cost.
std::multimap<std::uint64_t, float> all_sets(const HashedQuery& query, std::size_t table) {
    const std::size_t first = table == 0 ? 0 : query.ends[table - 1];
    const std::size_t count = query.ends[table] - first;
    std::multimap<std::uint64_t, float> sets;
    for (std::size_t mask = 1; mask < (std::size_t{1} << count); ++mask) {
        std::set<std::uint32_t> functions;
        std::uint64_t key = query.keys[table];
        float cost = 0;
        std::size_t members = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if ((mask >> i & 1u) == 0) continue;
            const auto& one = query.perturbations[first + i];
            functions.insert(one.function);
            key += one.difference;
            cost += one.cost;
            ++members;
        }
        if (functions.size() == members) sets.emplace(key, cost);
    }
    return sets;
}

}  // namespace

TEST_CASE("probes: every set once, the cheapest first, over all tables", "[hash]") {
    const Random random(5);
    HashedQuery query;
    query.begin(3);
    std::uint64_t draw = 0;
    for (std::uint32_t table = 0; table < 3; ++table) {
        query.keys[table] = std::uint64_t{table} << 40;
        for (std::uint32_t function = 0; function < 4; ++function)
            for (std::uint32_t other = 0; other < 2; ++other) query.perturbations.push_back({static_cast<float>(random.uniform(draw++)), function, std::uint64_t{1} << (8 * function + other)});
        query.end_table();
    }
    ProbeSequence sequence;
    sequence.begin(query);
    std::vector<std::multimap<std::uint64_t, float>> left;
    for (std::size_t table = 0; table < 3; ++table) left.push_back(all_sets(query, table));
    CHECK(left[0].size() == 3 * 3 * 3 * 3 - 1);
    ProbeSequence::Probe probe;
    float before = 0;
    std::size_t count = 0;
    for (; sequence.next(probe); ++count) {
        const auto found = left[probe.table].find(probe.key);
        REQUIRE(found != left[probe.table].end());
        CHECK(found->second >= before - 1e-5f);
        before = found->second;
        left[probe.table].erase(found);
    }
    CHECK(count == 3 * 80);
    CHECK_FALSE(sequence.next(probe));
}

TEST_CASE("vector hashes: a query's keys are its row's, and its perturbations those of other vectors", "[hash]") {
    const Random random(9);
    const std::size_t dim = 12, tables = 20;
    VectorHash::Scratch scratch;
    for (const auto family : {VectorFamily::hyperplane, VectorFamily::cross_polytope, VectorFamily::gaussian, VectorFamily::cauchy}) {
        const std::size_t functions = 3;
        const VectorHash hash(family, dim, tables, functions, 4, family == VectorFamily::cauchy ? 60.0f : 1.5f, 3);  // Cauchy projections jump far
        std::vector<float> x(dim), y(dim);
        for (std::size_t i = 0; i < dim; ++i) x[i] = static_cast<float>(random.normal(i));
        std::vector<std::uint64_t> keys(tables), moved(tables);
        HashedQuery query;
        hash.keys(x.data(), keys.data(), scratch);
        hash.query(x.data(), query, scratch);
        CHECK(query.keys == keys);
        REQUIRE(query.ends.size() == tables);
        std::size_t hits = 0, misses = 0;
        for (std::uint64_t trial = 0; trial < 200; ++trial) {  // vectors nearby: where a key differs it is by some perturbations
            for (std::size_t i = 0; i < dim; ++i) y[i] = x[i] + 0.2f * static_cast<float>(random.normal(1000 + trial * dim + i));
            hash.keys(y.data(), moved.data(), scratch);
            for (std::size_t t = 0; t < tables; ++t) {
                if (moved[t] == keys[t]) continue;
                const auto sets = query.ends[t] - (t == 0 ? 0 : query.ends[t - 1]) <= 12 ? all_sets(query, t) : std::multimap<std::uint64_t, float>();
                if (sets.empty()) {
                    ProbeSequence sequence;
                    sequence.begin(query);
                    ProbeSequence::Probe probe;
                    bool found = false;
                    for (std::size_t i = 0; i < 20000 && !found && sequence.next(probe); ++i) found = probe.table == t && probe.key == moved[t];
                    ++(found ? hits : misses);
                } else {
                    ++(sets.count(moved[t]) != 0 ? hits : misses);
                }
            }
        }
        CAPTURE(static_cast<int>(family), hits, misses);
        CHECK(hits > 100);
        // Poles beyond those that are considered, projections two intervals away: of Cauchy ones there are many.
        CHECK((family == VectorFamily::cauchy ? misses : 8 * misses) <= hits);
        for (const std::uint64_t key : keys)
            if (hash.key_bits() < 64) CHECK(key < std::uint64_t{1} << hash.key_bits());
    }
}

TEST_CASE("vector hashes: what is not finite, and nothing at all, has keys too", "[hash]") {
    const float inf = std::numeric_limits<float>::infinity();
    for (const auto family : {VectorFamily::hyperplane, VectorFamily::cross_polytope, VectorFamily::gaussian, VectorFamily::cauchy}) {
        const VectorHash hash(family, 3, 4, 2, 0, 1, 3);
        VectorHash::Scratch scratch;
        HashedQuery query;
        for (const auto& x : {std::vector<float>{0, 0, 0}, {inf, 0, 1}, {std::numeric_limits<float>::quiet_NaN(), 1, 2}, {3e38f, -3e38f, 1}}) {
            std::vector<std::uint64_t> keys(4);
            hash.keys(x.data(), keys.data(), scratch);
            hash.query(x.data(), query, scratch);
            CHECK(query.keys == keys);
            ProbeSequence sequence;
            sequence.begin(query);
            ProbeSequence::Probe probe;
            for (int i = 0; i < 50; ++i) sequence.next(probe);
        }
    }
}

TEST_CASE("buckets hold what a map would: sorted, chained, removed, sorted in, renumbered", "[hash]") {
    for (const std::size_t key_bits : {6, 64}) {
        const std::size_t tables = 3;
        const Random random(11);
        std::uint64_t draw = 0;
        std::vector<std::map<Buckets::Number, std::set<Slot>>> expected(tables);
        Buckets buckets(tables, key_bits, 500);
        CHECK(buckets.count() == (key_bits == 6 ? 64u : 512u));
        const auto some_key = [&] { return key_bits == 6 ? random.below(draw++, 64) : random.bits(random.below(draw++, 300)); };
        std::vector<Buckets::Number> numbers(tables * 500);
        for (std::size_t t = 0; t < tables; ++t)
            for (Slot i = 0; i < 500; ++i) {
                numbers[t * 500 + i] = buckets.number(some_key());
                REQUIRE(numbers[t * 500 + i] < buckets.count());
                expected[t][numbers[t * 500 + i]].insert(i);
            }
        buckets.sort(numbers, 500, inline_executor());
        Bitset vacant(900);
        const auto check = [&] {
            for (std::size_t t = 0; t < tables; ++t)
                for (std::size_t b = 0; b < buckets.count(); ++b) {
                    std::set<Slot> found;
                    buckets.for_each(t, static_cast<Buckets::Number>(b), [&](const Slot* slots, std::size_t count) {
                        for (std::size_t i = 0; i < count; ++i)
                            if (!vacant.test(slots[i])) CHECK(found.insert(slots[i]).second);
                    });
                    const auto wanted = expected[t].find(static_cast<Buckets::Number>(b));
                    CHECK(found == (wanted == expected[t].end() ? std::set<Slot>() : wanted->second));
                }
        };
        check();
        buckets.reserve(400);
        for (Slot slot = 500; slot < 900; ++slot) {
            std::vector<Buckets::Number> mine(tables);
            for (std::size_t t = 0; t < tables; ++t) {
                mine[t] = buckets.number(some_key());
                expected[t][mine[t]].insert(slot);
            }
            buckets.add(slot, mine.data());
        }
        CHECK(buckets.chained() == 400);
        check();
        for (Slot slot = 0; slot < 900; slot += 3) {
            vacant.set(slot);
            for (auto& table : expected)
                for (auto& [number, slots] : table) slots.erase(slot);
        }
        for (auto& table : expected) std::erase_if(table, [](const auto& bucket) { return bucket.second.empty(); });
        check();
        buckets.sort_in(vacant);
        CHECK(buckets.chained() == 0);
        CHECK(buckets.sorted() == 600);
        check();
        CHECK_NOTHROW(buckets.validate("here", 600, 900, vacant, {}));
        std::vector<Slot> old_of;
        for (Slot slot = 0; slot < 900; ++slot)
            if (!vacant.test(slot)) old_of.push_back(slot);
        buckets.renumber(old_of, 900, vacant, inline_executor());
        std::vector<Slot> new_of(900, invalid_slot);
        for (std::size_t i = 0; i < old_of.size(); ++i) new_of[old_of[i]] = static_cast<Slot>(i);
        for (auto& table : expected)
            for (auto& [number, slots] : table) {
                std::set<Slot> renamed;
                for (const Slot slot : slots) renamed.insert(new_of[slot]);
                slots = std::move(renamed);
            }
        vacant = Bitset(600);
        check();
        CHECK_NOTHROW(buckets.validate("here", 600, 600, {}, {}));
    }
}

TEST_CASE("marks: each slot once, rising; nothing is left", "[hash]") {
    Marks marks;
    const Random random(2);
    const auto everything = [](std::size_t, std::uint64_t word) { return word; };
    for (const std::size_t slots : {1, 64, 70, 5000, 600000}) {
        marks.begin(slots);
        std::set<Slot> expected;
        for (std::uint64_t i = 0; i < 300; ++i) {
            const Slot slot = static_cast<Slot>(random.below(i, slots + 3));  // some that do not exist
            const std::size_t fresh = marks.add(&slot, 1);
            CHECK(fresh == (slot < slots && expected.insert(slot).second ? 1u : 0u));
        }
        CHECK(marks.marked() == expected.size());
        CHECK(marks.count(everything) == expected.size());
        CHECK(marks.count([](std::size_t, std::uint64_t) { return std::uint64_t{0}; }) == 0);
        std::vector<Slot> given;
        marks.take(everything, [&](Slot slot) { given.push_back(slot); });
        CHECK(given == std::vector<Slot>(expected.begin(), expected.end()));
        CHECK(marks.count(everything) == 0);
        const Slot last = static_cast<Slot>(slots - 1);
        marks.add(&last, 1);
        marks.clear();
        CHECK(marks.count(everything) == 0);
    }
}

TEST_CASE("preparation: rows of any norm get length 1 and keep the order of their products", "[hash]") {
    const HashPreparation augment(LengthRule::augment, 2, 5, {});
    std::vector<float> out(3);
    for (const auto& row : {std::vector<float>{3, 4}, {1, 0}, {0, 0}}) {
        augment.row(row.data(), out.data());
        CHECK(out[0] * out[0] + out[1] * out[1] + out[2] * out[2] == Approx(1));
    }
    const std::vector<float> large{30, 40};  // larger than what was known: no NaN
    augment.row(large.data(), out.data());
    CHECK(out[2] == 0);
    augment.query(large.data(), out.data());
    CHECK(out[0] == Approx(0.6));
    CHECK(out[1] == Approx(0.8));
    CHECK(out[2] == 0);
    const HashPreparation one(LengthRule::one, 2, 0, {0.5f, 0.5f});
    out.resize(2);
    one.row(large.data(), out.data());
    CHECK(out[0] == Approx(0.1f));
    const std::vector<float> zero{0, 0};
    one.query(zero.data(), out.data());
    CHECK(out == std::vector<float>{-0.5f, -0.5f});
}
