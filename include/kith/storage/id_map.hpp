// SPDX-License-Identifier: Apache-2.0
//
// IdMap: which id each slot has, and which slot each id has. Slots are dense (0 .. size-1), ids are
// the caller's.
//
// It takes the cheapest of three forms that fits, and changes form only when it is changed:
//   identity   slot i has id i; no memory. Until other ids are given or an inner row is removed.
//   ascending  8 bytes a row; id to slot by binary search. While ids only grow, as those of most
//              data sets do.
//   hashed     8 bytes a row and 4 to 10 more for an open-addressing table (linear probing;
//              deletion shifts back, so there are no tombstones).
// Const functions never change anything and so may run in many threads at once; lookups are O(1),
// or O(log n) when ascending. Changes are all or nothing. Errors: already_exists (a duplicate id),
// invalid_argument (a negative id, too many rows), corrupt (from a file).
#pragma once

#include <algorithm>
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

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    /// Whether slot i has id i for every slot.
    bool is_identity() const noexcept { return form_ == Form::identity; }
    /// The id that a row added without one gets: larger than any id there ever was.
    Id next_id() const noexcept { return next_id_; }

    /// slot < size().
    Id id(Slot slot) const noexcept { return is_identity() ? Id{slot} : ids_[slot]; }

    /// invalid_slot when no row has that id.
    Slot slot(Id id) const noexcept {
        if (id < 0) return invalid_slot;
        switch (form_) {
            case Form::identity:
                return static_cast<std::uint64_t>(id) < size_ ? static_cast<Slot>(id)
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

    /// All ids in the order of slots; empty for the identity.
    std::span<const Id> ids() const noexcept { return ids_; }

    /// `count` new slots with the ids next_id(), next_id() + 1, ...; returns the first of them.
    Id append(std::size_t count) {
        check_room(count);
        if (static_cast<std::uint64_t>(std::numeric_limits<Id>::max() - next_id_) < count)
            fail(ErrorCode::invalid_argument, "no ids are left above ", next_id_);
        const Id first = next_id_;
        if (is_identity() && static_cast<std::uint64_t>(first) == size_) {
            size_ += count;
            next_id_ += static_cast<Id>(count);
            return first;
        }
        if (count == 0) return first;
        std::vector<Id> more(count);
        for (std::size_t i = 0; i < count; ++i) more[i] = first + static_cast<Id>(i);
        append(more);
        return first;
    }

    /// New slots with the given ids.
    void append(std::span<const Id> more) {
        check_room(more.size());
        if (more.empty()) return;
        const Shape shape = examine(more);
        if (shape.continues_identity) {
            size_ += more.size();
            next_id_ = std::max(next_id_, static_cast<Id>(size_));
            return;
        }
        const Form old_form = form_;
        const std::size_t old_size = size_;
        leave_identity(more.size());
        ids_.insert(ids_.end(), more.begin(), more.end());
        size_ = ids_.size();
        try {
            if (form_ == Form::ascending && !shape.continues_ascending) {
                build_table();
            } else if (form_ == Form::hashed) {
                reserve_table(size_);
                for (std::size_t slot = old_size; slot < size_; ++slot)
                    insert(static_cast<Slot>(slot));
            }
        } catch (...) {
            undo_append(old_form, old_size);
            throw;
        }
        next_id_ = std::max(next_id_, shape.largest + 1);
    }

    /// Frees a slot in O(1) (an inner one of an ascending map: O(n), once). The last slot's id
    /// moves to it, as the last row does; nothing moves when it was itself the last. slot < size().
    void swap_remove(Slot slot) {
        const auto last = static_cast<Slot>(size_ - 1);
        if (slot != last) {
            leave_identity(0);
            if (form_ == Form::ascending) build_table();
            erase(ids_[slot]);
            table_[position(ids_[last])] = slot;
            ids_[slot] = ids_[last];
            ids_.pop_back();
            --size_;
        } else {
            truncate(last);
        }
    }

    /// Keeps the first `count` slots.
    void truncate(std::size_t count) noexcept {
        if (count >= size_) return;
        if (form_ == Form::hashed)
            for (std::size_t slot = count; slot < size_; ++slot) erase(ids_[slot]);
        if (form_ != Form::identity) ids_.resize(count);
        size_ = count;
    }

    /// Own memory in bytes.
    std::size_t bytes() const noexcept {
        return ids_.capacity() * sizeof(Id) + table_.capacity() * sizeof(Slot);
    }

    /// Adds the sections "ids" and "next_id" where they are needed; this map must stay until the
    /// file is written.
    void save(SectionWriter& writer) const {
        if (!is_identity()) writer.add("ids", ids());
        if (next_id_ != natural_next_id())
            writer.add_copy("next_id", std::span<const Id>(&next_id_, 1));
    }

    /// The map of an index with `count` rows. Throws Error{corrupt} unless ids are unique and not
    /// negative.
    static IdMap load(const SectionReader& reader, std::uint64_t count) {
        if (count > max_rows)
            fail(ErrorCode::corrupt, reader.name(), ": expected at most ", max_rows, " rows, got ",
                 count);
        IdMap map;
        if (reader.contains("ids")) {
            const auto ids = reader.section<Id>("ids", count);
            try {
                map.append(ids);
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

    struct Shape {
        Id largest = -1;
        bool continues_identity = false;
        bool continues_ascending = false;
    };

    void check_room(std::size_t count) const {
        if (count > max_rows - size_)
            fail(ErrorCode::invalid_argument, "expected at most ", max_rows, " rows, got ", size_,
                 " and ", count, " more");
    }

    /// Refuses negative ids, the largest (it has no successor) and, where order shows them,
    /// duplicates.
    Shape examine(std::span<const Id> more) const {
        Shape shape;
        shape.continues_identity = is_identity();
        shape.continues_ascending = form_ != Form::hashed;
        Id before = size_ == 0 ? -1 : id(static_cast<Slot>(size_ - 1));
        for (std::size_t i = 0; i < more.size(); ++i) {
            const Id id = more[i];
            if (id < 0 || id == std::numeric_limits<Id>::max())
                fail(ErrorCode::invalid_argument, "expected ids from 0 to ",
                     std::numeric_limits<Id>::max() - 1, ", got ", id, " at position ", i);
            if (static_cast<std::uint64_t>(id) != size_ + i) shape.continues_identity = false;
            if (id <= before) shape.continues_ascending = false;
            before = id;
            shape.largest = std::max(shape.largest, id);
        }
        return shape;
    }

    /// The value of next_id that needs no section: what load computes without it.
    Id natural_next_id() const noexcept {
        if (is_identity()) return static_cast<Id>(size_);
        const auto largest = std::max_element(ids_.begin(), ids_.end());
        return largest == ids_.end() ? 0 : *largest + 1;
    }

    void leave_identity(std::size_t room) {
        if (form_ != Form::identity) return;
        std::vector<Id> ids;
        ids.reserve(size_ + room);
        for (std::size_t i = 0; i < size_; ++i) ids.push_back(static_cast<Id>(i));
        ids_ = std::move(ids);
        form_ = Form::ascending;
    }

    void undo_append(Form old_form, std::size_t old_size) noexcept {
        if (old_form == Form::hashed) {
            // Slots whose id is not in the table, or belongs to an older slot, were never inserted.
            for (std::size_t slot = old_size; slot < size_; ++slot)
                if (const std::size_t at = position(ids_[slot]); table_[at] == slot)
                    erase(ids_[slot]);
        } else {
            table_ = {};
        }
        ids_.resize(old_form == Form::identity ? 0 : old_size);
        size_ = old_size;
        form_ = old_form;
    }

    // The table: slots at the hashed positions of their ids, capacity a power of two, at most 5/8
    // full.

    std::size_t home(Id id) const noexcept {
        return static_cast<std::size_t>(detail::mix64(static_cast<std::uint64_t>(id))) &
               (table_.size() - 1);
    }

    /// Where an id is, or the empty place where it would go.
    std::size_t position(Id id) const noexcept {
        std::size_t at = home(id);
        while (table_[at] != invalid_slot && ids_[table_[at]] != id)
            at = (at + 1) & (table_.size() - 1);
        return at;
    }

    void insert(Slot slot) {
        const std::size_t at = position(ids_[slot]);
        if (table_[at] != invalid_slot)
            fail(ErrorCode::already_exists, "id ", ids_[slot], " is taken by slot ", table_[at]);
        table_[at] = slot;
    }

    /// Removes an id and closes the gap behind it (Knuth, TAOCP vol. 3, 6.4, algorithm R).
    void erase(Id id) noexcept {
        const std::size_t mask = table_.size() - 1;
        std::size_t gap = position(id);
        for (std::size_t at = (gap + 1) & mask; table_[at] != invalid_slot; at = (at + 1) & mask) {
            const std::size_t from_home = (at - home(ids_[table_[at]])) & mask;
            if (from_home < ((at - gap) & mask))
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
        std::vector<Slot> old(capacity, invalid_slot);
        std::swap(table_, old);
        for (const Slot slot : old)
            if (slot != invalid_slot) table_[position(ids_[slot])] = slot;
    }

    /// From ascending to hashed; a duplicate leaves the caller to undo.
    void build_table() {
        table_ = {};
        reserve_table(size_);
        for (std::size_t slot = 0; slot < size_; ++slot) insert(static_cast<Slot>(slot));
        form_ = Form::hashed;
    }

    std::vector<Id> ids_;      // empty for the identity
    std::vector<Slot> table_;  // empty unless hashed
    std::size_t size_ = 0;
    Id next_id_ = 0;
    Form form_ = Form::identity;
};

}  // namespace kith
