// SPDX-License-Identifier: Apache-2.0
//
// IdMap: which id each slot has, and which slot each id has. Slots are 0 .. slots()-1; each has one
// of the caller's ids or is vacant (invalid_id), as slots of indexes with stable slots can be.
//
// It takes the cheapest of three forms that fits, and changes form only when it is changed:
//   identity   slot i has id i; no memory. Until other ids are given or an inner row is removed.
//   ascending  8 bytes a slot; id to slot by binary search. While ids only grow, as those of most
//              data sets do.
//   hashed     8 bytes a slot and 4 to 10 more for an open-addressing table (linear probing;
//              deletion shifts back, so there are no tombstones). The only one with vacant slots.
//              Ids that were chosen to collide are met by hashing all anew with another salt.
// Const functions never change anything and so may run in many threads at once; lookups are O(1),
// or O(log n) when ascending. Changes are all or nothing; those that must follow a change of an
// index have a reserve function that is called before it and after which they cannot fail. Errors:
// already_exists (a duplicate id), invalid_argument (a negative id, too many rows), corrupt (from a
// file).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

class IdMap {
public:
    IdMap() = default;
    /// Slot i has id i.
    explicit IdMap(std::size_t size) { append(size); }
    /// The id of each slot, invalid_id for vacant ones.
    static IdMap of_slots(std::span<const Id> ids) {
        IdMap map;
        map.take(ids);
        return map;
    }

    /// Slots that have an id.
    std::size_t size() const noexcept { return live_; }
    bool empty() const noexcept { return live_ == 0; }
    /// Slots, the vacant ones among them.
    std::size_t slots() const noexcept { return slots_; }
    bool has_vacant() const noexcept { return live_ != slots_; }
    /// Whether slot i has id i for every slot.
    bool is_identity() const noexcept { return form_ == Form::identity; }
    /// The id that a row added without one gets: larger than any id there ever was.
    Id next_id() const noexcept { return next_id_; }

    /// invalid_id for a vacant slot. slot < slots().
    Id id(Slot slot) const noexcept { return is_identity() ? Id{slot} : ids_[slot]; }

    /// invalid_slot when no row has that id.
    Slot slot(Id id) const noexcept {
        if (id < 0) return invalid_slot;
        switch (form_) {
            case Form::identity:
                return static_cast<std::uint64_t>(id) < slots_ ? static_cast<Slot>(id)
                                                               : invalid_slot;
            case Form::ascending: {
                const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
                return found != ids_.end() && *found == id ? static_cast<Slot>(found - ids_.begin())
                                                           : invalid_slot;
            }
            case Form::hashed: return table_[position(id)];
        }
        return invalid_slot;
    }
    bool contains(Id id) const noexcept { return slot(id) != invalid_slot; }

    /// The id of each slot, invalid_id for vacant ones; empty for the identity.
    std::span<const Id> ids() const noexcept { return ids_; }

    /// `count` new slots with the ids next_id(), next_id() + 1, ...; returns the first of them.
    Id append(std::size_t count) {
        const Id first = next_id_;
        check_room(count);
        check_next_ids(count);
        if (is_identity() && static_cast<std::uint64_t>(first) == slots_) {
            grow(count);
            next_id_ += static_cast<Id>(count);
        } else {
            append(next_ids(count));
        }
        return first;
    }

    /// New slots with the given ids.
    void append(std::span<const Id> more) {
        check_new(more);
        for (const Id id : more)
            if (const Slot at = slot(id); at != invalid_slot)
                fail(ErrorCode::already_exists, "id ", id, " is taken by slot ", at);
        reserve(more);
        place_at_end(more);
    }

    /// The ids that rows without ids of their own get: next_id(), next_id() + 1, ...
    std::vector<Id> next_ids(std::size_t count) const {
        check_next_ids(count);
        std::vector<Id> ids(count);
        for (std::size_t i = 0; i < count; ++i) ids[i] = next_id_ + static_cast<Id>(i);
        return ids;
    }

    /// Whether these can be ids of new rows: from 0 on, and none of them twice (ids that are taken
    /// are not looked for). Throws Error{invalid_argument, already_exists}.
    void check_new(std::span<const Id> ids) const {
        check_room(ids.size());
        bool ascending = true;
        for (std::size_t i = 0; i < ids.size(); ++i) {
            if (ids[i] < 0 || ids[i] == std::numeric_limits<Id>::max())
                fail(ErrorCode::invalid_argument, "expected ids from 0 to ",
                     std::numeric_limits<Id>::max() - 1, ", got ", ids[i], " at position ", i);
            if (i > 0 && ids[i] <= ids[i - 1]) ascending = false;
        }
        if (ascending) return;
        std::vector<Id> sorted(ids.begin(), ids.end());
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end())
            fail(ErrorCode::already_exists, "id ", *twice, " is given twice");
    }

    /// Makes room, so that assign() of these ids, which have passed check_new(), cannot fail when
    /// vacant slots are used before new ones. Nothing else changes.
    void reserve(std::span<const Id> ids) {
        const Form needed = form_after(ids);
        if (needed == Form::identity) return;
        reserve_ids(std::max(slots_, live_ + ids.size()));
        if (needed == Form::hashed) reserve_table(live_ + ids.size());
    }

    /// The same for vacate(), also when assign() of `more` ids comes behind it, to slots anywhere
    /// below `slots` where that is given.
    void reserve_vacancies(std::size_t more = 0, std::size_t slots = 0) {
        reserve_ids(std::max({slots_, live_ + more, slots}));
        reserve_table(live_ + more);
    }

    /// Gives ids that nobody has to slots that are vacant or new; the new ones are slots(), slots()
    /// + 1, ... in this order. Cannot fail after reserve().
    void assign(std::span<const Slot> slots, std::span<const Id> ids) {
        if (is_end(slots)) return place_at_end(ids);
        make_hashed(ids.size());
        std::size_t end = slots_;
        for (const Slot slot : slots) end = std::max<std::size_t>(end, std::size_t{slot} + 1);
        reserve_ids(end);
        ids_.resize(end, invalid_id);
        slots_ = end;
        for (std::size_t i = 0; i < slots.size(); ++i) put(slots[i], ids[i]);
    }

    /// Takes the ids of these slots, distinct and not vacant. Cannot fail after
    /// reserve_vacancies().
    void vacate(std::span<const Slot> slots) {
        if (slots.empty()) return;
        make_hashed(0);
        for (const Slot slot : slots) {
            erase(ids_[slot]);
            ids_[slot] = invalid_id;
        }
        live_ -= slots.size();
    }

    /// Vacant slots at the end, up to `count` slots in all.
    void extend(std::size_t count) {
        if (count <= slots_) return;
        make_hashed(0);
        reserve_ids(count);
        ids_.resize(count, invalid_id);
        slots_ = count;
    }

    /// Memory for compact(), to so many slots where some stay vacant.
    std::vector<Id> room_for_compact(std::size_t slots = 0) const {
        std::vector<Id> room;
        room.reserve(std::max(slots, live_));
        return room;
    }

    /// Slot i becomes what old_of[i] was, or vacant where that is invalid_slot; old_of names all
    /// size() slots that are not vacant. `room` is of room_for_compact(): with it, and where slots
    /// are vacant or reserve_vacancies() was called, this cannot fail. O(n).
    void compact(std::span<const Slot> old_of, std::vector<Id> room) {
        for (const Slot old : old_of) room.push_back(old == invalid_slot ? invalid_id : id(old));
        ids_ = std::move(room);
        slots_ = ids_.size();
        form_ = Form::hashed;
        if (equals_identity()) {
            ids_ = std::vector<Id>();
            table_ = std::vector<Slot>();
            form_ = Form::identity;
        } else if (!has_vacant() && std::is_sorted(ids_.begin(), ids_.end())) {
            table_ = std::vector<Slot>();
            form_ = Form::ascending;
        } else {
            reserve_table(live_);
            rehash();
        }
    }

    /// Frees a slot in O(1) (an inner one of an ascending map: O(n), once). The last slot's id
    /// moves to it, as the last row does; nothing moves when it was itself the last. No slot is
    /// vacant. slot < size().
    void swap_remove(Slot slot) {
        const auto last = static_cast<Slot>(slots_ - 1);
        if (slot != last) {
            make_hashed(0);
            erase(ids_[slot]);
            table_[position(ids_[last])] = slot;
            ids_[slot] = ids_[last];
            ids_.pop_back();
            --slots_;
            --live_;
        } else {
            truncate(last);
        }
    }

    /// Keeps the first `count` slots.
    void truncate(std::size_t count) noexcept {
        if (count >= slots_) return;
        std::size_t gone = slots_ - count;
        if (form_ == Form::hashed) {
            gone = 0;
            for (std::size_t slot = count; slot < slots_; ++slot) {
                if (ids_[slot] == invalid_id) continue;
                erase(ids_[slot]);
                ++gone;
            }
        }
        if (form_ != Form::identity) ids_.resize(count);
        slots_ = count;
        live_ -= gone;
    }

    /// Own memory in bytes.
    std::size_t bytes() const noexcept {
        return ids_.capacity() * sizeof(Id) + table_.capacity() * sizeof(Slot);
    }

    /// How far the worst placed id is from where its hash says, for tests; 0 unless hashed. O(n).
    std::size_t longest_probe() const noexcept {
        std::size_t longest = 0;
        if (form_ == Form::hashed)
            for (std::size_t at = 0; at < table_.size(); ++at)
                if (table_[at] != invalid_slot)
                    longest = std::max(longest, distance_from_home(at, ids_[table_[at]]));
        return longest;
    }

    /// Adds the sections "ids" and "next_id" where they are needed; this map must stay until the
    /// file is written.
    void save(SectionWriter& writer) const {
        if (!is_identity() && !equals_identity()) writer.add("ids", ids());
        if (next_id_ != natural_next_id())
            writer.add_copy("next_id", std::span<const Id>(&next_id_, 1));
    }

    /// The map of an index with `count` slots. Throws Error{corrupt} unless ids are unique and not
    /// negative, but for invalid_id, the mark of vacant slots.
    static IdMap load(const SectionReader& reader, std::uint64_t count) {
        if (count > max_rows)
            fail(ErrorCode::corrupt, reader.name(), ": expected at most ", max_rows, " rows, got ",
                 count);
        IdMap map;
        if (reader.contains("ids")) {
            const auto ids = reader.section<Id>("ids", count);
            try {
                map.take(ids);
            } catch (const Error& error) {
                fail(ErrorCode::corrupt, reader.name(), ": section 'ids': ", error.what());
            }
        } else {
            map.append(static_cast<std::size_t>(count));
        }
        if (reader.contains("next_id")) {
            const Id next = reader.section<Id>("next_id", 1)[0];
            if (next < map.next_id_)
                fail(ErrorCode::corrupt, reader.name(), ": section 'next_id': expected at least ",
                     map.next_id_, ", got ", next);
            map.next_id_ = next;
        }
        return map;
    }

private:
    enum class Form : std::uint8_t { identity, ascending, hashed };

    void check_room(std::size_t count) const {
        if (count > max_rows - live_)
            fail(ErrorCode::invalid_argument, "expected at most ", max_rows, " rows, got ", live_,
                 " and ", count, " more");
    }

    void check_next_ids(std::size_t count) const {
        if (static_cast<std::uint64_t>(std::numeric_limits<Id>::max() - next_id_) < count)
            fail(ErrorCode::invalid_argument, "no ids are left above ", next_id_);
    }

    /// The form that these ids need when they come behind all others.
    Form form_after(std::span<const Id> more) const noexcept {
        Form form = form_;
        Id before = slots_ == 0 ? invalid_id : id(static_cast<Slot>(slots_ - 1));
        for (std::size_t i = 0; i < more.size() && form != Form::hashed; ++i) {
            if (static_cast<std::uint64_t>(more[i]) != slots_ + i && form == Form::identity)
                form = Form::ascending;
            if (more[i] <= before) form = Form::hashed;
            before = more[i];
        }
        return form;
    }

    bool is_end(std::span<const Slot> slots) const noexcept {
        for (std::size_t i = 0; i < slots.size(); ++i)
            if (slots[i] != slots_ + i) return false;
        return true;
    }

    void grow(std::size_t count) noexcept {
        slots_ += count;
        live_ += count;
    }

    /// Ids that are new and different, behind all others.
    void place_at_end(std::span<const Id> more) {
        const Form form = form_after(more);
        if (form == Form::identity) {
            grow(more.size());
        } else if (form == Form::ascending) {
            leave_identity(slots_ + more.size());
            ids_.insert(ids_.end(), more.begin(), more.end());
            grow(more.size());
        } else {
            make_hashed(more.size());
            reserve_ids(slots_ + more.size());
            for (const Id id : more) {
                ids_.push_back(invalid_id);
                put(static_cast<Slot>(slots_++), id);
            }
        }
        if (!more.empty())
            next_id_ = std::max(next_id_, *std::max_element(more.begin(), more.end()) + 1);
    }

    /// The slots of a file, vacant ones among them, into an empty map.
    void take(std::span<const Id> ids) {
        if (std::find(ids.begin(), ids.end(), invalid_id) == ids.end()) return append(ids);
        std::vector<Id> live;
        live.reserve(ids.size());
        for (const Id id : ids)
            if (id != invalid_id) live.push_back(id);
        check_new(live);
        make_hashed(live.size());
        ids_.resize(ids.size(), invalid_id);
        slots_ = ids.size();
        for (std::size_t slot = 0; slot < ids.size(); ++slot)
            if (ids[slot] != invalid_id) put(static_cast<Slot>(slot), ids[slot]);
    }

    /// Whether slot i has id i for every slot, in whatever form.
    bool equals_identity() const noexcept {
        if (is_identity()) return true;
        for (std::size_t slot = 0; slot < ids_.size(); ++slot)
            if (ids_[slot] != static_cast<Id>(slot)) return false;
        return true;
    }

    /// The value of next_id that needs no section: what load computes without it.
    Id natural_next_id() const noexcept {
        if (is_identity()) return static_cast<Id>(slots_);
        const auto largest = std::max_element(ids_.begin(), ids_.end());
        return largest == ids_.end() ? 0 : *largest + 1;
    }

    void leave_identity(std::size_t room) {
        if (form_ != Form::identity) return;
        ids_.clear();
        ids_.reserve(std::max(room, slots_));
        for (std::size_t i = 0; i < slots_; ++i) ids_.push_back(static_cast<Id>(i));
        form_ = Form::ascending;
    }

    /// Room for the ids of `slots` slots, whatever the form.
    void reserve_ids(std::size_t slots) {
        if (slots > ids_.capacity())
            ids_.reserve(ids_.empty() ? slots : std::max(slots, ids_.size() + ids_.size() / 2));
    }

    // The table: slots at the hashed positions of their ids, capacity a power of two, at most 5/8
    // full. It may be there, empty, before the form is hashed.

    std::size_t home(Id id) const noexcept {
        return static_cast<std::size_t>(detail::mix64(static_cast<std::uint64_t>(id) ^ salt_)) &
               (table_.size() - 1);
    }

    std::size_t distance_from_home(std::size_t at, Id id) const noexcept {
        return (at - home(id)) & (table_.size() - 1);
    }

    /// Where an id is, or the empty place where it would go.
    std::size_t position(Id id) const noexcept {
        std::size_t at = home(id);
        while (table_[at] != invalid_slot && ids_[table_[at]] != id)
            at = (at + 1) & (table_.size() - 1);
        return at;
    }

    /// A new id for a vacant slot.
    void put(Slot slot, Id id) noexcept {
        const std::size_t at = position(id);
        table_[at] = slot;
        ids_[slot] = id;
        ++live_;
        next_id_ = std::max(next_id_, id + 1);
        // Runs this long come by chance less than once in the age of the universe (at 5/8 full they
        // are O(log n) long; Knuth, TAOCP vol. 3, 6.4): somebody chose the ids for it.
        if (distance_from_home(at, id) > longest_run) {
            const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
            salt_ = detail::mix64(salt_ + static_cast<std::uint64_t>(now) +
                                  reinterpret_cast<std::uintptr_t>(table_.data()));
            rehash();
        }
    }

    /// Fills the table with the ids as they are.
    void rehash() noexcept {
        std::fill(table_.begin(), table_.end(), invalid_slot);
        for (std::size_t slot = 0; slot < ids_.size(); ++slot)
            if (ids_[slot] != invalid_id)
                table_[position(ids_[slot])] = static_cast<Slot>(slot);
    }

    /// Removes an id and closes the gap behind it (Knuth, TAOCP vol. 3, 6.4, algorithm R).
    void erase(Id id) noexcept {
        const std::size_t mask = table_.size() - 1;
        std::size_t gap = position(id);
        for (std::size_t at = (gap + 1) & mask; table_[at] != invalid_slot; at = (at + 1) & mask) {
            if (distance_from_home(at, ids_[table_[at]]) < ((at - gap) & mask))
                continue;  // its home lies behind the gap: it stays
            table_[gap] = table_[at];
            gap = at;
        }
        table_[gap] = invalid_slot;
    }

    void reserve_table(std::size_t count) {
        std::size_t capacity = std::max<std::size_t>(table_.size(), 16);
        while (capacity / 8 * 5 < count) capacity *= 2;
        if (capacity == table_.size()) return;
        std::vector<Slot> larger(capacity, invalid_slot);
        std::swap(table_, larger);
        if (form_ == Form::hashed) rehash();
    }

    /// From any form, with room for `more` ids.
    void make_hashed(std::size_t more) {
        reserve_table(live_ + more);
        if (form_ == Form::hashed) return;
        leave_identity(slots_ + more);
        form_ = Form::hashed;
        rehash();
    }

    static constexpr std::size_t longest_run = 512;

    std::vector<Id> ids_;      // empty for the identity
    std::vector<Slot> table_;  // what it holds counts when hashed
    std::size_t slots_ = 0;
    std::size_t live_ = 0;
    Id next_id_ = 0;
    std::uint64_t salt_ = 0;
    Form form_ = Form::identity;
};

}  // namespace kith
