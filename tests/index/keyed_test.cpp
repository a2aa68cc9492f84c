// SPDX-License-Identifier: Apache-2.0
//
// Ids in front of slots: what Keyed adds to an index.
#include "kith/index/keyed.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kith/index/flat.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT
using test::check_error;

using Line = DenseSpace<L2, float>;
using Points = Keyed<Flat<Line>>;

/// Row i is the point i on a line.
const std::vector<float>& points() {
    static const std::vector<float> values = [] {
        std::vector<float> v(100);
        for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
        return v;
    }();
    return values;
}

MatrixView<const float> rows(std::size_t first, std::size_t count) { return {points().data() + first, count, 1}; }

Flat<Line> flat(std::size_t n) { return Flat(Line(Rows<float>::borrow(rows(0, n)))); }

Points with_ids(const std::vector<Id>& ids) { return Points(flat(ids.size()), ids); }

std::vector<Id> nearest(const Points& index, float at, std::size_t k = 3) {
    const auto results = index.search({&at, 1, 1}, k);
    return {results.ids(0).begin(), results.ids(0).end()};
}

std::vector<std::size_t> set_bits(const Bitset& bits) {
    std::vector<std::size_t> set;
    bits.view().for_each_set([&](std::size_t i) { set.push_back(i); });
    return set;
}

}  // namespace

TEST_CASE("results carry the caller's ids, equal distances in their order", "[keyed]") {
    const Points plain(flat(5));
    CHECK(plain.slot_ids() == nullptr);
    CHECK(nearest(plain, 2) == std::vector<Id>{2, 1, 3});
    const auto index = with_ids({50, 7, 1'000'000'000'000, 3, 9});
    CHECK(index.slot_ids() != nullptr);
    CHECK(nearest(index, 2) == std::vector<Id>{1'000'000'000'000, 3, 7});  // slots 1 and 3 tie: id 3 before id 7
    CHECK(index.contains(7));
    CHECK_FALSE(index.contains(0));
    CHECK_FALSE(index.contains(-1));
    CHECK(nearest(index, 0, 99).size() == 5);
}

TEST_CASE("ids that do not fit the rows are refused", "[keyed]") {
    const auto make = [](std::vector<Id> ids) { return [ids = std::move(ids)] { Points(flat(3), ids); }; };
    check_error(ErrorCode::dimension_mismatch, {"3", "2"}, make({1, 2}));
    check_error(ErrorCode::already_exists, {"5"}, make({5, 1, 5}));
    check_error(ErrorCode::invalid_argument, {"-4"}, make({1, -4, 2}));
}

TEST_CASE("k of 0 and results of another width are refused", "[keyed]") {
    const Points index(flat(5));
    const float at = 1;
    const MatrixView<const float> query(&at, 1, 1);
    check_error(ErrorCode::invalid_argument, {"k", "at least 1"}, [&] { index.search(query, 0); });
    BatchScratch<Flat<Line>> scratch;
    Results narrow(1, 2);
    check_error(ErrorCode::dimension_mismatch, {"3 columns", "2"},
                [&] { index.search(query, 3, {}, {}, inline_executor(), scratch, narrow.view()); });
    Results tall(2, 3);
    check_error(ErrorCode::dimension_mismatch, {"1 queries", "2"},
                [&] { index.search(query, 3, {}, {}, inline_executor(), scratch, tall.view()); });
}

TEST_CASE("slots of ids and of masks, where ids are not slots", "[keyed]") {
    const auto index = with_ids({5, 0, 9, 2});
    CHECK(set_bits(index.slots_of(std::vector<Id>{9, 5, 77, -1, 9})) == std::vector<std::size_t>{0, 2});
    CHECK(index.slots_of(std::vector<Id>{}).count() == 0);
    CHECK(index.slots_of(std::vector<Id>{}).size() == 4);
    std::vector<std::uint8_t> mask(10);
    mask[0] = 1;
    mask[2] = 255;
    mask[4] = 1;  // nobody's id
    CHECK(set_bits(index.slots_of_mask(mask)) == std::vector<std::size_t>{1, 3});
    mask.resize(200, 1);  // longer than needed is fine where ids have gaps
    CHECK(set_bits(index.slots_of_mask(mask)) == std::vector<std::size_t>{1, 3});
    check_error(ErrorCode::dimension_mismatch, {"10 values", "up to 9", "got 9"}, [&] { index.slots_of_mask(std::vector<std::uint8_t>(9)); });
    const Points plain(flat(4));
    CHECK(set_bits(plain.slots_of_mask(std::vector<std::uint8_t>{0, 1, 0, 1})) == std::vector<std::size_t>{1, 3});
    for (const std::size_t wrong : {0, 3, 5})
        check_error(ErrorCode::dimension_mismatch, {"4", std::to_string(wrong)},
                    [&] { plain.slots_of_mask(std::vector<std::uint8_t>(wrong)); });
}

TEST_CASE("adding is all or nothing", "[keyed]") {
    auto index = with_ids({10, 20, 30});
    const auto before = index.to_bytes();
    check_error(ErrorCode::already_exists, {"40", "twice"}, [&] { index.add(rows(50, 2), std::vector<Id>{40, 40}); });
    check_error(ErrorCode::dimension_mismatch, {"2 ids", "3"}, [&] { index.add(rows(50, 2), std::vector<Id>{40, 41, 42}); });
    check_error(ErrorCode::dimension_mismatch, {"1 elements", "2"}, [&] { index.add({points().data(), 2, 2}); });
    CHECK(index.to_bytes() == before);
    const auto nan = std::vector<float>{1, std::nanf("")};
    check_error(ErrorCode::not_finite, {"row 1"}, [&] { index.add({nan.data(), 2, 1}, std::vector<Id>{10, 40}); });
    CHECK(index.to_bytes() == before);
    index.add(rows(50, 1), std::vector<Id>{5});
    index.add(rows(60, 2));  // the next free ids: above the largest there ever was
    CHECK(nearest(index, 61, 3) == std::vector<Id>{32, 31, 5});
    index.add(rows(0, 0));
    CHECK(index.size() == 6);
}

TEST_CASE("a row whose id is there replaces that row", "[keyed]") {
    auto index = with_ids({10, 20, 30});
    index.add(rows(50, 4), std::vector<Id>{40, 20, 41, 10});  // one new, one old, one new, one old
    CHECK(index.size() == 5);
    CHECK(nearest(index, 51, 1) == std::vector<Id>{20});
    CHECK(nearest(index, 53, 1) == std::vector<Id>{10});
    CHECK(nearest(index, 0, 5) == std::vector<Id>{30, 40, 20, 41, 10});
    CHECK(index.ids().slot(10) == 0);  // rows that are replaced keep their slots
    CHECK(index.ids().slot(20) == 1);
    CHECK(points()[0] == 0);  // the memory that was borrowed is as it was
    Points plain(flat(3));
    plain.add(rows(70, 2), std::vector<Id>{2, 0});
    CHECK(plain.slot_ids() == nullptr);
    CHECK(nearest(plain, 70, 3) == std::vector<Id>{2, 0, 1});
    index.compact();  // nothing is ever vacant here
    CHECK(index.size() == 5);
}

TEST_CASE("an id that was removed is free, but is not given out again", "[keyed]") {
    Points index(flat(3));
    index.remove(std::vector<Id>{2});
    index.add(rows(70, 1));
    CHECK(nearest(index, 70, 1) == std::vector<Id>{3});
    index.add(rows(80, 1), std::vector<Id>{2});
    CHECK(nearest(index, 80, 1) == std::vector<Id>{2});
}

TEST_CASE("removing is all or nothing, and may empty the index", "[keyed]") {
    auto index = with_ids({10, 20, 30, 40});
    const auto before = index.to_bytes();
    check_error(ErrorCode::not_found, {"99"}, [&] { index.remove(std::vector<Id>{10, 99}); });
    check_error(ErrorCode::invalid_argument, {"10", "twice"}, [&] { index.remove(std::vector<Id>{10, 20, 10}); });
    index.remove(std::vector<Id>{});
    CHECK(index.to_bytes() == before);
    index.remove(std::vector<Id>{10});  // the last row moves into its slot
    CHECK(nearest(index, 3) == std::vector<Id>{40, 30, 20});
    check_error(ErrorCode::not_found, {"10"}, [&] { index.remove(std::vector<Id>{10}); });
    index.remove(std::vector<Id>{20, 40, 30});
    CHECK(index.size() == 0);
    CHECK(nearest(index, 1, 5).empty());
    const float at = 1;
    CHECK(index.range_search({&at, 1, 1}, 1e9).ids.empty());
    CHECK(index.slots_of_mask(std::vector<std::uint8_t>(50, 1)).size() == 0);
    check_error(ErrorCode::not_found, {"30"}, [&] { index.remove(std::vector<Id>{30}); });
    index.add(rows(5, 2));
    CHECK(nearest(index, 6, 5) == std::vector<Id>{42, 41});
}

TEST_CASE("any order of adding and removing leaves ids with their rows", "[keyed]") {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const Random random(seed);
        Points index(flat(10));
        std::vector<std::pair<Id, std::size_t>> model;  // id, position of its row in points()
        for (std::size_t i = 0; i < 10; ++i) model.emplace_back(static_cast<Id>(i), i);
        for (std::uint64_t step = 0; step < 200; ++step) {
            if (random.below(step, 2) == 0 && !model.empty()) {
                const std::size_t victim = random.below(1000 + step, model.size());
                index.remove(std::vector<Id>{model[victim].first});
                model.erase(model.begin() + static_cast<std::ptrdiff_t>(victim));
            } else {
                const std::size_t row = random.below(2000 + step, 100);
                const auto id = static_cast<Id>(1000 * step + random.below(3000 + step, 1000) + 10);
                index.add(rows(row, 1), std::vector<Id>{id});
                model.emplace_back(id, row);
            }
            REQUIRE(index.size() == model.size());
            std::size_t wrong = 0;
            for (const auto& [id, row] : model) {
                const Slot slot = index.ids().slot(id);
                wrong += slot >= index.size() || *index.index().space().rows().row(slot) != points()[row] ? 1 : 0;
            }
            REQUIRE(wrong == 0);
        }
    }
}

TEST_CASE("a cursor gives every row once, nearest first", "[keyed][iterate]") {
    const auto index = with_ids({50, 7, 1'000'000'000'000, 3, 9, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78,
                                 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99});
    const float at = 2;
    const auto all = index.search({&at, 1, 1}, 1000);
    for (const std::size_t step : {1, 7, 16, 40, 1000}) {
        auto cursor = index.iterate({&at, 1});
        Neighbours given;
        for (;;) {
            const auto more = cursor.next(step);
            REQUIRE(more.ids.size() == more.distances.size());
            REQUIRE(more.size() == std::min(step, index.size() - given.size()));
            if (more.empty()) break;
            given.ids.insert(given.ids.end(), more.ids.begin(), more.ids.end());
            given.distances.insert(given.distances.end(), more.distances.begin(), more.distances.end());
        }
        CHECK(std::ranges::equal(given.ids, all.ids(0)));
        CHECK(std::ranges::equal(given.distances, all.distances(0)));
        CHECK(cursor.next(1).empty());
        CHECK(cursor.next(0).empty());
        CHECK(cursor.stats().distances >= index.size());
    }
    auto some = index.iterate({&at, 1}, {}, index.slots_of(std::vector<Id>{9, 50, 99}));
    CHECK(some.next(2).ids == std::vector<Id>{9, 50});  // equally far
    CHECK(some.next(2).ids == std::vector<Id>{99});
    CHECK(some.next(2).empty());
    CHECK(index.iterate({&at, 1}, {}, Bitset(index.slots())).next(5).empty());
    CHECK(Points(flat(0)).iterate({&at, 1}).next(5).empty());
    const float wide[2] = {1, 2};
    check_error(ErrorCode::dimension_mismatch, {"1", "2"}, [&] { index.iterate(wide); });
    const float nan = std::nanf("");
    check_error(ErrorCode::not_finite, {"query"}, [&] { index.iterate({&nan, 1}); });
}

TEST_CASE("a file of another kind, space or metric is refused by name", "[keyed]") {
    const auto bytes = with_ids({3, 1, 2}).to_bytes();
    const auto aligned = [](const std::vector<std::byte>& from) {
        auto buffer = std::make_shared<AlignedBuffer<std::byte>>(from.size());
        std::copy(from.begin(), from.end(), buffer->begin());
        return SectionReader(buffer->span(), "a.kith", buffer);
    };
    const auto reader = aligned(bytes);
    const auto loaded = Points::load(reader);
    CHECK(loaded.to_bytes() == bytes);
    CHECK(nearest(loaded, 0, 3) == std::vector<Id>{3, 1, 2});
    check_error(ErrorCode::type_mismatch, {"a.kith", "l2/f32", "cosine/f32"}, [&] { Keyed<Flat<DenseSpace<Cosine, float>>>::load(reader); });
    check_error(ErrorCode::type_mismatch, {"l2/f32", "l1/f32"}, [&] { Keyed<Flat<DenseSpace<L1, float>>>::load(reader); });
    check_error(ErrorCode::type_mismatch, {"l2/f32", "l2/u8"}, [&] { Keyed<Flat<DenseSpace<L2, std::uint8_t>>>::load(reader); });
    SectionWriter writer({.kind = "hnsw", .space = "l2/f32", .count = 3, .dim = 1});
    check_error(ErrorCode::type_mismatch, {"'hnsw'", "'flat'"}, [&] { Points::load(aligned(writer.to_bytes())); });
}
