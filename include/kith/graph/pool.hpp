// SPDX-License-Identifier: Apache-2.0
//
// CandidatePool: the ef nearest nodes that a walk has met, nearest first, each with a mark that says whether it was expanded. One sorted array takes the
// place of the two heaps of the HNSW paper's algorithm 2: with ef of tens to hundreds, counting who is nearer, 16 at a time and without a
// branch, and a short memmove are cheaper than two heap operations, and the next node to expand is found by moving a cursor.
//
// Not for more than 2^31 slots: the mark is the top bit of the slot.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kith/core/buffer.hpp"
#include "kith/core/topk.hpp"
#include "kith/core/types.hpp"

namespace kith {

/// Graphs hold at most this many slots.
inline constexpr std::size_t max_graph_slots = std::size_t{1} << 31;

template <class D>
class CandidatePool {
    static_assert(sizeof(D) == 4);

public:
    /// Empty, for at most `capacity` candidates (at least 1).
    void reset(std::size_t capacity) {
        const std::size_t room = (capacity + 1 + lanes - 1) / lanes * lanes;
        distances_.reserve_discarding(room);
        slots_.reserve_discarding(room);
        // Behind the last candidate, up to the end of its 16, there is nothing that counts as nearer or as equal to a slot.
        std::fill_n(distances_.data(), room, farthest<D>());
        std::fill_n(slots_.data(), room, invalid_slot);
        capacity_ = capacity;
        size_ = 0;
        next_ = 0;
    }

    std::size_t size() const noexcept { return size_; }
    std::size_t capacity() const noexcept { return capacity_; }
    bool full() const noexcept { return size_ == capacity_; }
    Slot slot(std::size_t i) const noexcept { return slots_[i] & ~expanded; }
    D distance(std::size_t i) const noexcept { return distances_[i]; }

    /// What a candidate must be nearer than to enter a full pool.
    D bound() const noexcept { return full() ? distances_[size_ - 1] : farthest<D>(); }

    /// O(ef / 16). False when it is too far. Among equals the first to come stays first.
    bool offer(Slot slot, D distance) noexcept {
        if (full() && !(distance < distances_[size_ - 1])) return false;
        const std::size_t at = count_not_farther(distance);
        make_room(distances_.data(), at);
        make_room(slots_.data(), at);
        distances_[at] = distance;
        slots_[at] = slot;
        if (full()) {  // one place is spare, and nobody's
            distances_[size_] = farthest<D>();
            slots_[size_] = invalid_slot;
        } else {
            ++size_;
        }
        next_ = std::min(next_, at);
        return true;
    }

    /// offer() for a slot that may be in the pool already, not expanded, with another distance: the nearer one counts.
    bool offer_again(Slot slot, D distance) noexcept {
        const std::size_t at = find(slot);
        if (at < size_) {
            if (!(distance < distances_[at])) return false;
            const std::size_t behind = size_ - at;  // with the first place behind the last, which is empty
            std::memmove(distances_.data() + at, distances_.data() + at + 1, behind * sizeof(D));
            std::memmove(slots_.data() + at, slots_.data() + at + 1, behind * sizeof(Slot));
            --size_;
            settle_next();
        }
        return offer(slot, distance);
    }

    bool has_next() const noexcept { return next_ < size_; }
    /// The nearest candidate that was not expanded; has_next().
    Slot next() const noexcept { return slots_[next_]; }

    /// The one after it, or invalid_slot.
    Slot second() const noexcept {
        std::size_t i = next_ + 1;
        while (i < size_ && (slots_[i] & expanded) != 0) ++i;
        return i < size_ ? slots_[i] : invalid_slot;
    }

    /// next(), marked as expanded.
    Slot pop() noexcept {
        const Slot slot = slots_[next_];
        slots_[next_] |= expanded;
        settle_next();
        return slot;
    }

private:
    static constexpr Slot expanded = Slot{1} << 31;
    static constexpr std::size_t lanes = 16;
    typedef D Distances __attribute__((vector_size(lanes * sizeof(D))));
    typedef std::uint32_t Words __attribute__((vector_size(lanes * sizeof(Slot))));

    /// Moves what lies from `at` to the end up by one place, from the back, a vector at a time; what is carried over below `at` lands where it was.
    template <class T>
    void make_room(T* data, std::size_t at) const noexcept {
        typedef T Vector __attribute__((vector_size(lanes * sizeof(T))));
        std::size_t i = size_;
        for (; i >= at + lanes; i -= lanes) {
            Vector x;
            std::memcpy(&x, data + i - lanes, sizeof x);
            std::memcpy(data + i - lanes + 1, &x, sizeof x);
        }
        for (; i > at; --i) data[i] = data[i - 1];
    }

    void settle_next() noexcept {
        while (next_ < size_ && (slots_[next_] & expanded) != 0) ++next_;
    }

    typedef std::uint32_t Quarter __attribute__((vector_size(4 * sizeof(Slot))));

    static std::size_t sum(const Words& counts) noexcept {
        Quarter part[4];
        std::memcpy(part, &counts, sizeof part);
        const Quarter total = (part[0] + part[1]) + (part[2] + part[3]);
        return (total[0] + total[1]) + (total[2] + total[3]);
    }

    /// Where a distance goes, behind its equals.
    std::size_t count_not_farther(D distance) const noexcept {
        Words counts = {};
        const Distances wanted = Distances{} + distance;
        for (std::size_t i = 0; i < size_; i += lanes) {
            Distances x;
            std::memcpy(&x, distances_.data() + i, sizeof x);
            counts -= (Words)(x <= wanted);
        }
        return std::min(sum(counts), size_);
    }

    /// Where a slot that was not expanded is, or size().
    std::size_t find(Slot slot) const noexcept {
        Words equal = {};
        for (std::size_t i = 0; i < size_; i += lanes) {
            Words x;
            std::memcpy(&x, slots_.data() + i, sizeof x);
            equal |= (Words)(x == slot);
        }
        if (sum(equal) == 0) return size_;
        return static_cast<std::size_t>(std::find(slots_.data(), slots_.data() + size_, slot) - slots_.data());
    }

    AlignedBuffer<D> distances_;
    AlignedBuffer<Slot> slots_;
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
    std::size_t next_ = 0;  // the first that is not expanded, or size_
};

}  // namespace kith
