// SPDX-License-Identifier: Apache-2.0
//
// Lists: which slots belong to which list of a partition (the inverted file of Sivic and Zisserman 2003, "Video Google: A text retrieval approach to object
// matching in videos", ICCV). It knows slots only; rows stay in the space, so that a list can be scanned whatever rows are made of.
//
// A list is a chain of runs, each of contiguous slots; every slot is in one run, and runs stand in the order of their slots. What a build arranges has one run a list
// and no vacant slot (but those that keep runs aligned). Added rows take the vacant slots of their list, else open a run behind all others that has room for more of its list: an
// eighth of it, so that a list that grows has O(log size) runs and at most an eighth of its slots in waiting. Removed rows leave vacant slots. No row ever changes its slot;
// compacted() says where rows would stand if all was arranged anew.
//
// Memory: 20 bytes a run, 16 a list, a bit a slot. Finding a slot's list: O(log runs).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kith/core/bitset.hpp"
#include "kith/core/error.hpp"
#include "kith/core/types.hpp"
#include "kith/space/residual.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

class Lists {
public:
    /// Slots [first, first + slots) of one list; those from first + used on are vacant, and so may be others.
    struct Run {
        Slot first;
        std::uint32_t slots;
        std::uint32_t used;
        std::uint32_t list;
        std::uint32_t next;  // run of the same list
    };

    /// Where added rows go: made by place(), which changes nothing, and done by take().
    struct Placement {
        std::vector<Slot> slots;   // of each row
        std::vector<Run> opened;   // behind all runs, in this order
        std::size_t end = 0;       // slots there will be
    };

    static constexpr std::uint32_t none = 0xFFFFFFFF;
    static constexpr std::size_t least_run = 32;     // slots of a run that is opened for added rows; always a multiple of it
    static constexpr std::size_t spare_share = 8;    // of a list that grows: 1 / spare_share is room for more

    explicit Lists(std::size_t count = 0) : lists_(count) {}

    /// Rows in the order of their lists, those of one list in their own order. list_of: the list of each row, below `count`. row_of becomes the row of
    /// each slot, invalid_slot where runs end before a multiple of `alignment`. O(rows).
    static Lists arrange(std::span<const std::uint32_t> list_of, std::size_t count, std::size_t alignment, std::vector<Slot>& row_of) {
        std::vector<std::uint32_t> sizes(count);
        for (const std::uint32_t list : list_of) ++sizes[list];
        std::vector<std::size_t> next;
        Lists lists = sized(sizes, alignment, next);
        row_of.assign(lists.slots(), invalid_slot);
        for (std::size_t row = 0; row < list_of.size(); ++row) row_of[next[list_of[row]]++] = static_cast<Slot>(row);
        return lists;
    }

    std::size_t count() const noexcept { return lists_.size(); }
    std::size_t runs() const noexcept { return runs_.size(); }
    std::size_t slots() const noexcept { return slots_; }
    /// Slots that are not vacant.
    std::size_t size() const noexcept { return live_; }
    std::size_t size(std::size_t list) const noexcept { return lists_[list].live; }
    bool has_vacant() const noexcept { return live_ != slots_; }
    bool is_vacant(Slot slot) const noexcept { return vacant_.test(slot); }
    BitsetView vacant() const noexcept { return vacant_.view(); }
    std::uint32_t list_of(Slot slot) const noexcept { return runs_[run_of(slot)].list; }
    std::size_t memory_bytes() const noexcept { return runs_.size() * sizeof(Run) + lists_.size() * sizeof(List) + vacant_.size() / 8; }

    /// For spaces that must know what belongs to which list.
    std::vector<SlotRun> runs_of_slots() const { return runs_of_slots(runs_); }
    static std::vector<SlotRun> runs_of_slots(std::span<const Run> runs) {
        std::vector<SlotRun> result;
        result.reserve(runs.size());
        for (const Run& run : runs) result.push_back({run.first, run.list});
        return result;
    }

    /// visit(run), in the order of slots.
    template <class Visit>
    void for_each_run(std::size_t list, Visit&& visit) const {
        for (std::uint32_t run = lists_[list].head; run != none; run = runs_[run].next) visit(runs_[run]);
    }

    /// visit(slot) for the list's rows, in the order of slots.
    template <class Visit>
    void for_each_row(std::size_t list, Visit&& visit) const {
        for_each_run(list, [&](const Run& run) {
            for (Slot slot = run.first; slot < run.first + run.used; ++slot)
                if (!vacant_.test(slot)) visit(slot);
        });
    }

    /// Slots for new rows, whose lists are list_of: vacant ones of their list, then those of runs behind all others. O(rows log rows + slots of full lists / 64).
    Placement place(std::span<const std::uint32_t> list_of) const {
        Placement placement;
        placement.slots.resize(list_of.size());
        placement.end = slots_;
        std::vector<std::uint32_t> order(list_of.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
        std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return list_of[a] < list_of[b]; });
        for (std::size_t first = 0, last = 0; first < order.size(); first = last) {
            const std::uint32_t list = list_of[order[first]];
            while (last < order.size() && list_of[order[last]] == list) ++last;
            place(list, std::span(order).subspan(first, last - first), placement);
        }
        return placement;
    }

    /// How many slots there can be, at most, when so many rows more are in.
    std::size_t slots_after(std::size_t rows) const noexcept {
        const std::size_t touched = std::min(rows, count());
        std::size_t largest = 0;
        for (const List& list : lists_) largest = std::max<std::size_t>(largest, list.live);
        const std::size_t grown = std::min<std::size_t>(live_, touched * largest) + rows;
        return slots_ + rows + grown / spare_share + 2 * least_run * touched;
    }

    /// Memory for take(). Nothing else changes.
    void reserve(const Placement& placement) {
        if (runs_.size() + placement.opened.size() > runs_.capacity()) runs_.reserve(runs_.size() + runs_.size() / 2 + placement.opened.size());
        if (placement.end > vacant_.size()) vacant_.resize(placement.end, true);
    }
    void take(const Placement& placement) noexcept {
        for (const Run& run : placement.opened) append(run.list, run.slots, 0);
        for (const Slot slot : placement.slots) {
            Run& run = runs_[run_of(slot)];
            run.used = std::max(run.used, slot - run.first + 1);
            ++lists_[run.list].live;
            vacant_.reset(slot);
        }
        live_ += placement.slots.size();
    }

    /// The slots, distinct and not vacant, become vacant.
    void remove(std::span<const Slot> gone) noexcept {
        for (const Slot slot : gone) {
            Run& run = runs_[run_of(slot)];
            --lists_[run.list].live;
            vacant_.set(slot);
            while (run.used > 0 && vacant_.test(run.first + run.used - 1)) --run.used;
        }
        live_ -= gone.size();
    }

    /// The same lists as if they were arranged anew. old_of becomes the old slot of each new one, invalid_slot where it is vacant.
    Lists compacted(std::size_t alignment, std::vector<Slot>& old_of) const {
        std::vector<std::uint32_t> sizes(count());
        for (std::size_t list = 0; list < count(); ++list) sizes[list] = lists_[list].live;
        std::vector<std::size_t> next;
        Lists lists = sized(sizes, alignment, next);
        old_of.assign(lists.slots(), invalid_slot);
        for (std::size_t list = 0; list < count(); ++list) for_each_row(list, [&](Slot slot) { old_of[next[list]++] = slot; });
        return lists;
    }
    /// How many slots that would take.
    std::size_t compact_slots(std::size_t alignment) const noexcept {
        std::size_t total = 0;
        for (const List& list : lists_) total += round_up(list.live, alignment);
        return total;
    }

    /// Adds the sections "ivf_runs" (list, slots and used slots of each run) and, where vacant slots lie before used ones, "vacant".
    void save(SectionWriter& writer) const {
        std::vector<std::uint32_t> runs;
        std::vector<Slot> holes;
        for (const Run& run : runs_) {
            runs.insert(runs.end(), {run.list, run.slots, run.used});
            vacant().for_each_set(run.first, run.first + run.used, [&](std::size_t slot) { holes.push_back(static_cast<Slot>(slot)); });
        }
        writer.add_copy("ivf_runs", std::span<const std::uint32_t>(runs));
        if (!holes.empty()) writer.add_copy("vacant", std::span<const Slot>(holes));
    }

    /// The lists of a space of `slots` slots. Safe for any bytes; throws Error{corrupt} unless each slot is in one run of a list below `count`.
    static Lists load(const SectionReader& reader, std::size_t count, std::size_t slots) {
        const auto runs = reader.section<std::uint32_t>("ivf_runs");
        if (runs.size() % 3 != 0) fail(ErrorCode::corrupt, reader.name(), ": section 'ivf_runs' has ", runs.size(), " elements, expected three for each run");
        Lists lists(count);
        lists.runs_.reserve(runs.size() / 3);
        lists.vacant_.resize(slots, true);
        for (std::size_t i = 0; i < runs.size(); i += 3) {
            const std::uint32_t list = runs[i], size = runs[i + 1], used = runs[i + 2];
            if (list >= count || size == 0 || used > size || size > slots - lists.slots_)
                fail(ErrorCode::corrupt, reader.name(), ": section 'ivf_runs': run ", i / 3, " is of list ", list, " and has ", used, " of ", size,
                     " slots in use, expected a list below ", count, " and at most ", slots - lists.slots_, " slots");
            lists.append(list, size, used);
        }
        if (lists.slots_ != slots) fail(ErrorCode::corrupt, reader.name(), ": section 'ivf_runs': expected ", slots, " slots, got ", lists.slots_);
        if (reader.contains("vacant")) lists.take_holes(reader.section<Slot>("vacant"), reader.name());
        return lists;
    }

    static std::vector<std::string_view> section_names() { return {"ivf_runs", "vacant"}; }

private:
    struct List {
        std::uint32_t head = none;
        std::uint32_t tail = none;
        std::uint32_t live = 0;
        std::uint32_t slots = 0;
    };

    static std::size_t round_up(std::size_t value, std::size_t step) noexcept { return (value + step - 1) / step * step; }

    /// One run for each list that has rows. next: the first slot of each list.
    static Lists sized(std::span<const std::uint32_t> sizes, std::size_t alignment, std::vector<std::size_t>& next) {
        std::size_t total = 0;
        for (const std::uint32_t size : sizes) total += round_up(size, alignment);
        if (total >= max_rows) fail(ErrorCode::unsupported, "an index holds fewer than ", max_rows, " slots, not ", total);
        Lists lists(sizes.size());
        lists.runs_.reserve(sizes.size());
        lists.vacant_.resize(total, true);
        next.resize(sizes.size());
        for (std::size_t list = 0; list < sizes.size(); ++list) {
            next[list] = lists.slots_;
            if (sizes[list] != 0) lists.append(list, round_up(sizes[list], alignment), sizes[list]);
        }
        return lists;
    }

    /// A run behind all others whose first `used` slots hold rows. There is memory for it.
    void append(std::size_t list, std::size_t slots, std::size_t used) noexcept {
        const auto run = static_cast<std::uint32_t>(runs_.size());
        const auto l = static_cast<std::uint32_t>(list);
        runs_.push_back({static_cast<Slot>(slots_), static_cast<std::uint32_t>(slots), static_cast<std::uint32_t>(used), l, none});
        List& owner = lists_[list];
        (owner.head == none ? owner.head : runs_[owner.tail].next) = run;
        owner.tail = run;
        owner.slots += static_cast<std::uint32_t>(slots);
        owner.live += static_cast<std::uint32_t>(used);
        for (std::size_t slot = slots_; slot < slots_ + used; ++slot) vacant_.reset(slot);
        slots_ += slots;
        live_ += used;
    }

    /// The rows `order` of one list.
    void place(std::uint32_t list, std::span<const std::uint32_t> order, Placement& placement) const {
        std::size_t placed = 0;
        for (std::uint32_t run = lists_[list].live == lists_[list].slots ? none : lists_[list].head; run != none && placed < order.size(); run = runs_[run].next) {
            const std::size_t first = runs_[run].first;
            vacant().for_each_set(first, first + runs_[run].slots, [&](std::size_t slot) {
                if (placed < order.size()) placement.slots[order[placed++]] = static_cast<Slot>(slot);
            });
        }
        if (placed == order.size()) return;
        const std::size_t spare = (lists_[list].live + order.size()) / spare_share;
        const std::size_t slots = round_up(std::max({order.size() - placed, spare, least_run}), least_run);
        if (slots >= max_rows - placement.end)
            fail(ErrorCode::unsupported, "an index holds fewer than ", max_rows, " slots, not ", placement.end + slots);
        placement.opened.push_back({static_cast<Slot>(placement.end), static_cast<std::uint32_t>(slots), static_cast<std::uint32_t>(order.size() - placed), list, none});
        for (std::size_t i = placed; i < order.size(); ++i) placement.slots[order[i]] = static_cast<Slot>(placement.end + i - placed);
        placement.end += slots;
    }

    /// The slots of a file that are vacant though later ones of their runs are not.
    void take_holes(std::span<const Slot> holes, std::string_view source) {
        for (std::size_t i = 0; i < holes.size(); ++i) {
            const bool known = holes[i] < slots_ && !vacant_.test(holes[i]);
            if (!known || (i > 0 && holes[i] <= holes[i - 1]))
                fail(ErrorCode::corrupt, source, ": section 'vacant': expected ascending slots that are in use, got ", holes[i]);
            vacant_.set(holes[i]);
            --lists_[runs_[run_of(holes[i])].list].live;
            --live_;
        }
    }

    std::size_t run_of(Slot slot) const noexcept {
        const auto after = std::upper_bound(runs_.begin(), runs_.end(), slot, [](Slot s, const Run& run) { return s < run.first; });
        return static_cast<std::size_t>(after - runs_.begin()) - 1;
    }

    std::vector<Run> runs_;    // in the order of their slots
    std::vector<List> lists_;
    Bitset vacant_;            // may have room for more slots than there are
    std::size_t slots_ = 0;
    std::size_t live_ = 0;
};

}  // namespace kith
