// SPDX-License-Identifier: Apache-2.0
#include "kith/storage/id_map.hpp"

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

void check_equal(const IdMap& map, const std::vector<Id>& model) {
    REQUIRE(map.size() == model.size());
    for (std::size_t i = 0; i < model.size(); ++i) {
        REQUIRE(map.id(static_cast<Slot>(i)) == model[i]);
        REQUIRE(map.slot(model[i]) == i);
    }
}

/// The file's bytes, 64-byte aligned.
kith::AlignedBuffer<std::byte> aligned(const std::vector<std::byte>& bytes) {
    kith::AlignedBuffer<std::byte> buffer(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer.begin());
    return buffer;
}

std::vector<std::byte> save(const IdMap& map) {
    kith::SectionWriter writer({.kind = "test", .space = "l2/f32", .count = map.size(), .dim = 1});
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
                test::check_error(ErrorCode::already_exists, {"taken by slot"},
                                  [&] { map.append(more); });
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
    test::check_error(ErrorCode::corrupt, {"'ids'", "taken"}, [] { load_ids({4, 2, 4}, 3); });
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
