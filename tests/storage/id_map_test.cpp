// SPDX-License-Identifier: Apache-2.0
#include "kith/storage/id_map.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "kith/core/random.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using kith::ErrorCode;
using kith::Id;
using kith::IdMap;
using kith::invalid_slot;
using kith::Slot;

std::span<const Id> span(const std::vector<Id>& ids) { return ids; }

/// model: the id of each slot, -1 for vacant ones.
void check_equal(const IdMap& map, const std::vector<Id>& model) {
    REQUIRE(map.slots() == model.size());
    std::size_t live = 0;
    for (std::size_t i = 0; i < model.size(); ++i) {
        REQUIRE(map.id(static_cast<Slot>(i)) == model[i]);
        if (model[i] == kith::invalid_id) continue;
        REQUIRE(map.slot(model[i]) == i);
        ++live;
    }
    REQUIRE(map.size() == live);
    REQUIRE(map.has_vacant() == (live != model.size()));
    REQUIRE(map.slot(kith::invalid_id) == invalid_slot);
}

/// The file's bytes, 64-byte aligned.
kith::AlignedBuffer<std::byte> aligned(const std::vector<std::byte>& bytes) {
    kith::AlignedBuffer<std::byte> buffer(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer.begin());
    return buffer;
}

std::vector<std::byte> save(const IdMap& map) {
    kith::SectionWriter writer({.kind = "test", .space = "l2/f32", .count = map.slots(), .dim = 1});
    map.save(writer);
    return writer.to_bytes();
}

IdMap load(const std::vector<std::byte>& bytes) {
    const auto buffer = aligned(bytes);
    const kith::SectionReader reader(buffer.span());
    return IdMap::load(reader, reader.info().count);
}

IdMap load_ids(const std::vector<Id>& ids, std::uint64_t count, const Id* next = nullptr) {
    kith::SectionWriter writer({.kind = "test", .space = "l2/f32", .count = count, .dim = 1});
    writer.add("ids", span(ids));
    if (next != nullptr) writer.add("next_id", std::span<const Id>(next, 1));
    return load(writer.to_bytes());
}

}  // namespace

TEST_CASE("the identity costs nothing", "[ids]") {
    IdMap map(1000);
    CHECK(map.is_identity());
    CHECK(map.bytes() == 0);
    CHECK(map.append(5) == 1000);
    map.append(span({1005, 1006}));  // what it would have given anyway
    CHECK(map.is_identity());
    CHECK(map.bytes() == 0);
    CHECK(map.id(1006) == 1006);
    CHECK(map.slot(1006) == 1006);
    CHECK(map.slot(1007) == invalid_slot);
    CHECK(map.slot(-1) == invalid_slot);
    CHECK(map.slot(std::numeric_limits<Id>::max()) == invalid_slot);
    map.truncate(3);
    CHECK(map.size() == 3);
    CHECK(map.append(1) == 1007);  // ids are not given twice
    check_equal(map, {0, 1, 2, 1007});
}

TEST_CASE("an id map does what a vector and a map do", "[ids]") {
    const Id range = GENERATE(Id{40}, Id{100000}, std::numeric_limits<Id>::max() - 1);
    IdMap map;
    std::vector<Id> model;
    const kith::Random random(3, static_cast<std::uint64_t>(range));
    for (std::uint64_t step = 0; step < 3000; ++step) {
        const auto action = random.below(step * 10, 10);
        const auto at = model.empty() ? 0 : random.below(step * 10 + 1, model.size());
        if (action < 5 || model.empty()) {
            std::vector<Id> more;
            for (std::uint64_t i = 0; i < random.below(step * 10 + 2, 4); ++i)
                more.push_back(static_cast<Id>(
                    random.below(step * 10 + 3 + i, static_cast<std::uint64_t>(range))));
            bool taken = false;
            for (std::size_t i = 0; i < more.size(); ++i)
                taken = taken || std::find(model.begin(), model.end(), more[i]) != model.end() ||
                        std::find(more.begin(), more.begin() + static_cast<long>(i), more[i]) !=
                            more.begin() + static_cast<long>(i);
            if (taken) {
                test::check_error(ErrorCode::already_exists, {"id "}, [&] { map.append(more); });
            } else {
                map.append(more);
                model.insert(model.end(), more.begin(), more.end());
            }
        } else if (action < 6 && range < 1000000) {
            const Id first = map.append(2);
            model.push_back(first);
            model.push_back(first + 1);
        } else if (action < 9) {
            map.swap_remove(static_cast<Slot>(at));
            model[at] = model.back();
            model.pop_back();
        } else if (at + 3 > model.size()) {
            map.truncate(at);
            model.resize(at);
        }
        REQUIRE(map.size() == model.size());
        if (step % 10 == 0) check_equal(map, model);
        if (step % 100 == 0) {
            const IdMap loaded = load(save(map));
            check_equal(loaded, model);
            REQUIRE(loaded.next_id() == map.next_id());
        }
    }
    check_equal(map, model);
}

TEST_CASE("ascending ids need no table", "[ids]") {
    IdMap map;
    map.append(span({2, 5, 9}));
    map.append(span({20, 1000000}));
    CHECK(map.bytes() <= 8 * 10);
    check_equal(map, {2, 5, 9, 20, 1000000});
    CHECK(map.slot(3) == invalid_slot);
    CHECK(map.next_id() == 1000001);
    map.append(span({3}));  // no longer ascending
    check_equal(map, {2, 5, 9, 20, 1000000, 3});
}

TEST_CASE("a refused append changes nothing", "[ids]") {
    const auto refuse = [](IdMap& map, const std::vector<Id>& model) {
        const Id next = map.next_id();
        const bool identity = map.is_identity();
        test::check_error(ErrorCode::already_exists, {"2"}, [&] {
            map.append(span({500, 400, 2}));
        });
        test::check_error(ErrorCode::already_exists, {"400"}, [&] {
            map.append(span({400, 500, 400}));
        });
        test::check_error(ErrorCode::invalid_argument, {"-1", "position 1"}, [&] {
            map.append(span({500, -1}));
        });
        test::check_error(ErrorCode::invalid_argument, {"expected ids"},
                          [&] { map.append(span({std::numeric_limits<Id>::max()})); });
        test::check_error(ErrorCode::invalid_argument, {"at most"},
                          [&] { map.append(kith::max_rows); });
        CHECK(map.next_id() == next);
        CHECK(map.is_identity() == identity);
        check_equal(map, model);
        CHECK_FALSE(map.contains(500));
    };
    IdMap identity(3);
    refuse(identity, {0, 1, 2});
    IdMap ascending;
    ascending.append(span({2, 7}));
    refuse(ascending, {2, 7});
    IdMap hashed;
    hashed.append(span({7, 2, 5}));
    refuse(hashed, {7, 2, 5});
    hashed.append(span({500, 400}));
    check_equal(hashed, {7, 2, 5, 500, 400});
}

TEST_CASE("ids do not run out silently", "[ids]") {
    IdMap map;
    map.append(span({std::numeric_limits<Id>::max() - 1}));
    test::check_error(ErrorCode::invalid_argument, {"no ids are left"},
                      [&] { map.append(std::size_t{1}); });
    CHECK(map.size() == 1);
}

TEST_CASE("ids from a file are checked", "[ids]") {
    check_equal(load_ids({4, 2}, 2), {4, 2});
    CHECK(load_ids({}, 0).empty());
    test::check_error(ErrorCode::corrupt, {"'ids'", "4", "twice"}, [] { load_ids({4, 2, 4}, 3); });
    test::check_error(ErrorCode::corrupt, {"'ids'", "4", "twice"}, [] {
        load_ids({4, -1, 4}, 3);
    });
    test::check_error(ErrorCode::corrupt, {"'ids'", "-2"}, [] { load_ids({4, -1, -2}, 3); });
    check_equal(load_ids({4, -1, 2, -1}, 4), {4, -1, 2, -1});
    check_equal(load_ids({-1, -1}, 2), {-1, -1});
    test::check_error(ErrorCode::corrupt, {"'ids'", "-2"}, [] { load_ids({4, -2}, 2); });
    test::check_error(ErrorCode::corrupt, {"'ids'", "2 elements", "3"}, [] {
        load_ids({4, 2}, 3);
    });
    const Id next = 4;
    test::check_error(ErrorCode::corrupt, {"'next_id'", "5", "4"}, [&] {
        load_ids({4, 2}, 2, &next);
    });
    kith::SectionWriter writer(
        {.kind = "t", .space = "s", .count = kith::max_rows + std::uint64_t{1}, .dim = 1});
    test::check_error(ErrorCode::corrupt, {"at most"}, [&] { load(writer.to_bytes()); });

    IdMap map(3);
    map.swap_remove(2);
    const IdMap loaded = load(save(map));
    CHECK(loaded.is_identity());
    CHECK(loaded.next_id() == 3);
}

TEST_CASE("slots become vacant and get other ids, as in a vector and a map", "[ids]") {
    const kith::Random random(5);
    for (const bool identity : {true, false}) {
        IdMap map;
        std::vector<Id> model;
        Id next = 0;
        if (identity) {
            map = IdMap(50);
            for (Id id = 0; id < 50; ++id) model.push_back(id);
            next = 50;
        }
        std::size_t compactions = 0;
        for (std::uint64_t step = 0; step < 1500; ++step) {
            const auto action = random.below(step * 100, 10);
            std::vector<Slot> live;
            std::vector<Slot> vacant;
            for (std::size_t i = 0; i < model.size(); ++i)
                (model[i] < 0 ? vacant : live).push_back(static_cast<Slot>(i));
            if (action < 5) {
                const std::size_t count = random.below(step * 100 + 1, 8);
                std::vector<Slot> to;
                std::vector<Id> ids;
                for (std::size_t i = 0; i < count; ++i) {
                    to.push_back(i < vacant.size() ? vacant[vacant.size() - 1 - i]
                                                   : static_cast<Slot>(model.size() + i - vacant.size()));
                    ids.push_back(action < 3 ? next++
                                             : static_cast<Id>(random.below(step * 100 + 2 + i, 1u << 30)) * 1000 + 1'000'000 +
                                                   static_cast<Id>(i));
                }
                if (std::any_of(ids.begin(), ids.end(), [&](Id id) { return map.contains(id); })) continue;
                for (const Id id : ids) next = std::max(next, id + 1);
                map.reserve(ids);
                check_equal(map, model);
                map.assign(to, ids);
                for (std::size_t i = 0; i < count; ++i) {
                    if (to[i] >= model.size()) model.resize(to[i] + 1, -1);
                    model[to[i]] = ids[i];
                }
            } else if (action < 9 && live.size() > 5) {
                std::vector<Slot> gone;
                for (std::size_t i = 0; i < live.size(); ++i)
                    if (random.below(step * 100 + 20 + i % 70, 4) == 0) gone.push_back(live[i]);
                map.reserve_vacancies();
                check_equal(map, model);
                map.vacate(gone);
                for (const Slot slot : gone) model[slot] = -1;
            } else if (step % 3 == 0 && !vacant.empty()) {
                std::vector<Slot> order = live;
                if (step % 2 == 0) std::reverse(order.begin(), order.end());
                auto room = map.room_for_compact();
                map.compact(order, std::move(room));
                std::vector<Id> compacted;
                for (const Slot old : order) compacted.push_back(model[old]);
                model = compacted;
                ++compactions;
            }
            check_equal(map, model);
            REQUIRE(map.next_id() == next);
            if (step % 50 == 0) {
                const IdMap loaded = load(save(map));
                check_equal(loaded, model);
                REQUIRE(loaded.next_id() == map.next_id());
            }
        }
        CHECK(compactions > 5);
    }
}

TEST_CASE("a map that is the identity again costs nothing again, and files do not tell", "[ids]") {
    IdMap map(10);
    map.reserve_vacancies();
    map.vacate(std::vector<Slot>{8, 9});
    check_equal(map, {0, 1, 2, 3, 4, 5, 6, 7, -1, -1});
    map.compact(std::vector<Slot>{0, 1, 2, 3, 4, 5, 6, 7}, map.room_for_compact());
    CHECK(map.is_identity());
    CHECK(map.bytes() == 0);
    CHECK(map.next_id() == 10);
    IdMap other(8);
    other.append(span({9}));
    other.truncate(8);
    CHECK(other.next_id() == 10);
    CHECK(save(other) == save(map));
}

TEST_CASE("what was reserved for needs no memory", "[ids]") {
    // Changes that follow a reserve do not allocate, in any form: bytes() counts capacities.
    for (const std::vector<Id>& start : {std::vector<Id>{0, 1, 2}, std::vector<Id>{2, 5, 9}, std::vector<Id>{9, 2, 5}}) {
        IdMap map;
        map.append(start);
        std::vector<Id> more;
        std::vector<Slot> to;
        for (std::size_t i = 0; i < 100; ++i) {
            more.push_back(static_cast<Id>(1000 - i));
            to.push_back(static_cast<Slot>(3 + i));
        }
        map.reserve(more);
        const std::size_t before = map.bytes();
        map.assign(to, more);
        CHECK(map.bytes() == before);
        map.reserve_vacancies(50);
        const std::size_t vacancies = map.bytes();
        map.vacate(to);
        map.assign(std::span(to).first(50), std::span(more).last(50));
        CHECK(map.bytes() == vacancies);
        CHECK(map.size() == 53);
    }
}

TEST_CASE("ids chosen to collide are hashed anew", "[ids]") {
    // All have one home in tables of up to 2^13 places.
    constexpr std::size_t wanted = 3000;
    std::vector<Id> hostile;
    for (Id id = 0; hostile.size() < wanted; ++id)
        if ((kith::detail::mix64(static_cast<std::uint64_t>(id)) & 0x1FFF) == 77) hostile.push_back(id);
    std::reverse(hostile.begin(), hostile.end());  // not ascending
    IdMap map;
    map.append(hostile);
    check_equal(map, hostile);
    // With one home for all, the last of them would be 3000 places away from it.
    CHECK(map.longest_probe() < 600);
    const IdMap loaded = load(save(map));
    CHECK(loaded.longest_probe() < 600);
    std::vector<Slot> odd;
    std::vector<Id> model = hostile;
    for (std::size_t i = 1; i < wanted; i += 2) {
        odd.push_back(static_cast<Slot>(i));
        model[i] = -1;
    }
    map.vacate(odd);
    check_equal(map, model);
}
