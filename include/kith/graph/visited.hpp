// SPDX-License-Identifier: Apache-2.0
//
// VisitedSet: which slots a walk has seen. One bit a slot (a million slots fit in a second-level cache), cleared by undoing what was set, so
// that a walk costs what it visits and not what there is.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "kith/core/bitset.hpp"
#include "kith/core/buffer.hpp"
#include "kith/core/types.hpp"

namespace kith {

class VisitedSet {
public:
    /// Nothing seen of `slots` slots, but that those in `hidden` count as seen already.
    void begin(std::size_t slots, BitsetView hidden = {}) {
        const std::size_t words = (slots + 63) / 64;
        if (words > words_.size()) {
            words_.reserve_discarding(words + words / 2);
            touched_.clear();
            dirty_ = 0;
        }
        clear();
        if (hidden.size() != 0) {
            dirty_ = std::min(words, hidden.word_count());
            std::memcpy(words_.data(), hidden.words(), dirty_ * sizeof(std::uint64_t));
        }
        if (left_out_ < slots) insert(left_out_);
    }

    /// One more slot counts as seen from the beginning of every walk from now on; invalid_slot: none.
    void leave_out(Slot slot) noexcept { left_out_ = slot; }
    Slot left_out() const noexcept { return left_out_; }

    /// Marks a slot; true if it was not marked. slot < slots.
    bool insert(Slot slot) noexcept {
        std::uint64_t& word = words_[slot / 64];
        const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
        if ((word & bit) != 0) return false;
        word |= bit;
        touched_.push_back(slot);
        return true;
    }

    /// Marks the slots of a row up to the first that is not below `slots`, and returns those that were not marked, in their order; until the next change.
    /// Without a branch that depends on what was marked: it could not be predicted.
    std::span<const Slot> insert_all(const Slot* row, std::size_t length, std::size_t slots) {
        const std::size_t before = touched_.size();
        touched_.resize(before + length);
        Slot* const fresh = touched_.data() + before;
        std::size_t count = 0;
        for (std::size_t i = 0; i < length && row[i] < slots; ++i) {
            std::uint64_t& word = words_[row[i] / 64];
            const std::uint64_t bit = std::uint64_t{1} << (row[i] % 64);
            fresh[count] = row[i];
            count += (word & bit) == 0 ? 1 : 0;
            word |= bit;
        }
        touched_.resize(before + count);
        return {fresh, count};
    }

    bool contains(Slot slot) const noexcept { return ((words_[slot / 64] >> (slot % 64)) & 1u) != 0; }

    /// In the order in which they were marked.
    const std::vector<Slot>& touched() const noexcept { return touched_; }

private:
    void clear() noexcept {
        if (dirty_ != 0) {
            std::memset(words_.data(), 0, words_.size() * sizeof(std::uint64_t));
        } else {
            for (const Slot slot : touched_) words_[slot / 64] = 0;
        }
        dirty_ = 0;
        touched_.clear();
    }

    AlignedBuffer<std::uint64_t> words_;
    std::vector<Slot> touched_;
    Slot left_out_ = invalid_slot;
    std::size_t dirty_ = 0;  // words that were copied from hidden slots
};

}  // namespace kith
