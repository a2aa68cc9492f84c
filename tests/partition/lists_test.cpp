// SPDX-License-Identifier: Apache-2.0
//
// Lists: every slot in one run, every row in its list and never moved, held against a dictionary; and files that say otherwise.
#include "kith/partition/lists.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "kith/core/random.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT
using test::check_error;

/// The list of each live slot.
using Model = std::map<Slot, std::uint32_t>;

void check(const Lists& lists, const Model& model) {
    REQUIRE(lists.size() == model.size());
    Model seen;
    std::size_t slots = 0, runs = 0;
    std::vector<bool> covered(lists.slots());
    for (std::size_t list = 0; list < lists.count(); ++list) {
        std::size_t live = 0;
        Slot end = 0;
        lists.for_each_run(list, [&](const Lists::Run& run) {
            REQUIRE(run.list == list);
            REQUIRE(run.first >= end);  // in the order of slots
            REQUIRE(run.used <= run.slots);
            end = run.first + run.slots;
            REQUIRE(end <= lists.slots());
            for (Slot slot = run.first; slot < end; ++slot) {
                REQUIRE_FALSE(covered[slot]);
                covered[slot] = true;
                REQUIRE(lists.list_of(slot) == list);
                if (slot >= run.first + run.used) REQUIRE(lists.is_vacant(slot));
            }
            if (run.used > 0) REQUIRE_FALSE(lists.is_vacant(run.first + run.used - 1));
            slots += run.slots;
            ++runs;
        });
        lists.for_each_row(list, [&](Slot slot) {
            seen.emplace(slot, static_cast<std::uint32_t>(list));
            ++live;
        });
        REQUIRE(lists.size(list) == live);
    }
    REQUIRE(slots == lists.slots());
    REQUIRE(runs == lists.runs());
    REQUIRE(seen == model);
    REQUIRE(lists.has_vacant() == (model.size() != slots));
    for (Slot slot = 0; slot < lists.slots(); ++slot) REQUIRE(lists.is_vacant(slot) == !model.contains(slot));
}

std::vector<std::byte> bytes_of(const Lists& lists) {
    SectionWriter writer({.kind = "lists", .space = "none", .count = lists.slots(), .dim = 1});
    lists.save(writer);
    return writer.to_bytes();
}

Lists load(const std::vector<std::byte>& bytes, std::size_t count, std::size_t slots) {
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer->begin());
    return Lists::load(SectionReader(buffer->span(), "m", buffer), count, slots);
}

Lists load(const std::vector<std::uint32_t>& runs, const std::vector<Slot>& vacant, std::size_t count, std::size_t slots) {
    SectionWriter writer({.kind = "lists", .space = "none", .count = slots, .dim = 1});
    writer.add_copy("ivf_runs", std::span<const std::uint32_t>(runs));
    if (!vacant.empty()) writer.add_copy("vacant", std::span<const Slot>(vacant));
    return load(writer.to_bytes(), count, slots);
}

}  // namespace

TEST_CASE("arranged rows stand list by list, in their order", "[lists]") {
    const std::vector<std::uint32_t> list_of{2, 0, 2, 5, 0, 2, 0};
    std::vector<Slot> row_of;
    check(Lists::arrange(list_of, 6, 1, row_of), {{0, 0}, {1, 0}, {2, 0}, {3, 2}, {4, 2}, {5, 2}, {6, 5}});
    CHECK(row_of == std::vector<Slot>{1, 4, 6, 0, 2, 5, 3});
    const Lists aligned = Lists::arrange(list_of, 6, 4, row_of);
    check(aligned, {{0, 0}, {1, 0}, {2, 0}, {4, 2}, {5, 2}, {6, 2}, {8, 5}});
    CHECK(row_of == std::vector<Slot>{1, 4, 6, invalid_slot, 0, 2, 5, invalid_slot, 3, invalid_slot, invalid_slot, invalid_slot});
    CHECK(aligned.compact_slots(1) == 7);
    check(Lists::arrange({}, 3, 1, row_of), {});
    CHECK(row_of.empty());
    check(Lists(), {});
}

TEST_CASE("rows come and go, and none changes its slot", "[lists]") {
    for (const std::size_t alignment : {1, 8, 32}) {
        const Random random(3 + alignment);
        std::uint64_t draws = 0;
        const auto below = [&](std::size_t bound) { return static_cast<std::uint32_t>(random.below(draws++, bound)); };
        constexpr std::size_t count = 7;
        std::vector<std::uint32_t> list_of(100);
        for (auto& list : list_of) list = below(count - 1);  // the last stays empty for a while
        std::vector<Slot> row_of;
        Lists lists = Lists::arrange(list_of, count, alignment, row_of);
        Model model;
        for (Slot slot = 0; slot < row_of.size(); ++slot)
            if (row_of[slot] != invalid_slot) model.emplace(slot, list_of[row_of[slot]]);
        check(lists, model);
        for (std::size_t step = 0; step < 300; ++step) {
            if (below(5) < 3) {
                std::vector<std::uint32_t> wanted(1 + below(step % 10 == 0 ? 120 : 4));
                for (auto& list : wanted) list = below(3) == 0 ? 2 : below(count);
                const std::size_t most = lists.slots_after(wanted.size());
                const std::size_t before = lists.slots();
                const Lists::Placement placement = lists.place(wanted);
                check(lists, model);  // nothing yet
                lists.reserve(placement);
                REQUIRE(placement.slots.size() == wanted.size());
                for (std::size_t i = 0; i < wanted.size(); ++i) {
                    REQUIRE(model.emplace(placement.slots[i], wanted[i]).second);
                    if (placement.slots[i] < before) REQUIRE(lists.list_of(placement.slots[i]) == wanted[i]);
                }
                for (const auto& run : placement.opened) REQUIRE(run.slots % Lists::least_run == 0);
                lists.take(placement);
                REQUIRE(lists.slots() == placement.end);
                REQUIRE(lists.slots() <= most);
            } else {
                std::set<Slot> gone;
                for (std::uint32_t i = below(9); i > 0 && !model.empty(); --i)
                    gone.insert(std::next(model.begin(), below(model.size()))->first);
                for (const Slot slot : gone) model.erase(slot);
                lists.remove(std::vector<Slot>(gone.begin(), gone.end()));
            }
            check(lists, model);
            if (step % 50 == 49) {
                const Lists loaded = load(bytes_of(lists), count, lists.slots());
                check(loaded, model);
                REQUIRE(bytes_of(loaded) == bytes_of(lists));
                std::vector<Slot> old_of;
                const Lists packed = lists.compacted(alignment, old_of);
                REQUIRE(packed.slots() == lists.compact_slots(alignment));
                REQUIRE(packed.slots() == old_of.size());
                Model moved;
                for (Slot slot = 0; slot < old_of.size(); ++slot)
                    if (old_of[slot] != invalid_slot) moved.emplace(slot, model.at(old_of[slot]));
                check(packed, moved);
                REQUIRE(packed.runs() <= count);
                if (alignment == 1) REQUIRE_FALSE(packed.has_vacant());
                if (step % 100 == 99) {
                    lists = load(bytes_of(packed), count, packed.slots());
                    model = moved;
                }
            }
        }
        // All that is left goes, and its slots are taken again before there are new ones.
        std::vector<Slot> all;
        for (const auto& [slot, list] : model) all.push_back(slot);
        lists.remove(all);
        check(lists, {});
        const std::size_t slots = lists.slots();
        const Lists::Placement placement = lists.place(std::vector<std::uint32_t>(20, 2));
        CHECK(placement.end == slots);
        CHECK(placement.opened.empty());
    }
}

TEST_CASE("a list that grows row by row has few runs and little that waits", "[lists]") {
    Lists lists(2);
    for (std::size_t i = 0; i < 20000; ++i) {
        const auto placement = lists.place(std::vector<std::uint32_t>{static_cast<std::uint32_t>(i % 100 == 0 ? 1 : 0)});
        lists.reserve(placement);
        lists.take(placement);
        REQUIRE(lists.slots() - lists.size() <= 20000 / Lists::spare_share + 2 * Lists::least_run);
    }
    CHECK(lists.runs() < 100);
    CHECK(lists.size(1) == 200);
}

TEST_CASE("files of runs that cannot be are refused", "[lists]") {
    check(load({1, 3, 2, 0, 2, 2, 1, 1, 1}, {}, 2, 6), {{0, 1}, {1, 1}, {3, 0}, {4, 0}, {5, 1}});
    check(load({1, 3, 3, 0, 2, 2}, {0, 1, 3}, 2, 5), {{2, 1}, {4, 0}});
    check(load(std::vector<std::uint32_t>{}, {}, 0, 0), {});
    const auto refused = [](const std::vector<std::uint32_t>& runs, const std::vector<Slot>& vacant, std::size_t count, std::size_t slots) {
        check_error(ErrorCode::corrupt, {vacant.empty() ? "'ivf_runs'" : "'vacant'"}, [&] { load(runs, vacant, count, slots); });
    };
    refused({0, 3}, {}, 1, 3);
    refused({1, 3, 3}, {}, 1, 3);                    // no such list
    refused({0, 0, 0}, {}, 1, 0);                    // an empty run
    refused({0, 3, 4}, {}, 1, 3);                    // more in use than there are
    refused({0, 3, 3}, {}, 1, 2);                    // more slots than the space
    refused({0, 3, 3}, {}, 1, 4);                    // fewer
    refused({0, 3, 3, 0, 0xFFFFFFFF, 1}, {}, 1, 5);  // a sum that wraps
    refused({}, {}, 1, 1);
    refused({0, 3, 2}, {2}, 1, 3);     // is vacant anyway
    refused({0, 3, 3}, {3}, 1, 3);     // outside
    refused({0, 3, 3}, {1, 1}, 1, 3);  // twice
    refused({0, 3, 3}, {1, 0}, 1, 3);  // descending
}
