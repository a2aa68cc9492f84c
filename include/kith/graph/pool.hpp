// SPDX-License-Identifier: Apache-2.0
//
// CandidatePool: the ef nearest nodes that a walk has met, nearest first, each with a mark that says whether it was expanded. One sorted array takes the
// place of the two heaps of the HNSW paper's algorithm 2: with ef of tens to hundreds a binary search and a short memmove are
// cheaper than two heap operations, and the next node to expand is found by moving a cursor.
//
// Not for more than 2^31 slots: the mark is the top bit of the slot.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kith/core/buffer.hpp"
#include "kith/core/topk.hpp"
#include "kith/core/types.hpp"

namespace kith {

/// Graphs hold at most this many slots.
inline constexpr std::size_t max_graph_slots = std::size_t{1} << 31;

template <class D>
class CandidatePool {
public:
    using Entry = Hit<D>;  // slot with the mark

    /// Empty, for at most `capacity` candidates (at least 1).
    void reset(std::size_t capacity) {
        entries_.reserve_discarding(capacity + 1);
        capacity_ = capacity;
        size_ = 0;
        next_ = 0;
    }

    std::size_t size() const noexcept { return size_; }
    std::size_t capacity() const noexcept { return capacity_; }
    bool full() const noexcept { return size_ == capacity_; }
    Slot slot(std::size_t i) const noexcept { return entries_[i].slot & ~expanded; }
    D distance(std::size_t i) const noexcept { return entries_[i].distance; }

    /// What a candidate must be nearer than to enter a full pool.
    D bound() const noexcept { return full() ? entries_[size_ - 1].distance : farthest<D>(); }

    /// O(log ef) comparisons and a move of what is farther. False when it is too far. Among equals the first to come stays first.
    bool offer(Slot slot, D distance) noexcept {
        if (full() && !(distance < entries_[size_ - 1].distance)) return false;
        Entry* const data = entries_.data();
        std::size_t low = 0;
        for (std::size_t length = size_; length > 0;) {
            const std::size_t half = length / 2;
            const bool after = !(distance < data[low + half].distance);
            low = after ? low + half + 1 : low;
            length = after ? length - half - 1 : half;
        }
        std::memmove(static_cast<void*>(data + low + 1), data + low, (size_ - low) * sizeof(Entry));
        data[low] = {distance, slot};
        size_ += full() ? 0 : 1;
        next_ = std::min(next_, low);
        return true;
    }

    /// offer() for a slot that may be in the pool already, with another distance: the nearer one counts. O(ef).
    bool offer_again(Slot slot, D distance) noexcept {
        for (std::size_t i = next_; i < size_; ++i) {
            if ((entries_[i].slot & ~expanded) != slot) continue;
            if (!(distance < entries_[i].distance)) return false;
            std::memmove(static_cast<void*>(entries_.data() + i), entries_.data() + i + 1, (size_ - i - 1) * sizeof(Entry));
            --size_;
            settle_next();
            break;
        }
        return offer(slot, distance);
    }

    bool has_next() const noexcept { return next_ < size_; }
    /// The nearest candidate that was not expanded; has_next().
    Slot next() const noexcept { return entries_[next_].slot; }
    D next_distance() const noexcept { return entries_[next_].distance; }

    /// The same, marked as expanded.
    Slot pop() noexcept {
        const Slot slot = entries_[next_].slot;
        entries_[next_].slot |= expanded;
        settle_next();
        return slot;
    }

private:
    static constexpr Slot expanded = Slot{1} << 31;

    void settle_next() noexcept {
        while (next_ < size_ && (entries_[next_].slot & expanded) != 0) ++next_;
    }

    AlignedBuffer<Entry> entries_;
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
    std::size_t next_ = 0;  // the first that is not expanded, or size_
};

}  // namespace kith
