// SPDX-License-Identifier: Apache-2.0
//
// Marks: the rows that buckets gave, each once, and given back in the order of their slots, which memory is read fastest in. Two levels of bits: a bit a slot, and a
// bit for each 4096 slots that says whether there is any; giving back clears both, so that a search costs what it marked.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kith/core/bitset.hpp"
#include "kith/core/buffer.hpp"
#include "kith/core/types.hpp"

namespace kith {

class Marks {
public:
    /// Room for `slots` slots, none marked.
    void begin(std::size_t slots) {
        if (dirty_) clear();  // someone threw
        slots_ = slots;
        const std::size_t words = (slots + 63) / 64, groups = (words + group - 1) / group;
        if (words > words_.size()) {
            groups_.reserve_discarding((words + words / 2 + group - 1) / group / 64 + 1);
            words_.reserve_discarding(words + words / 2);
        }
        group_words_ = groups / 64 + 1;
    }

    /// Marks slots (those that do not exist are passed over); returns how many were not marked before.
    std::size_t add(const Slot* slots, std::size_t count) noexcept {
        std::size_t fresh = 0;
        dirty_ = true;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t slot = slots[i];
            if (slot >= slots_) continue;  // of a hostile file
            std::uint64_t& word = words_[slot / 64];
            const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
            fresh += (word & bit) == 0 ? 1 : 0;
            word |= bit;
            groups_[slot / (64 * group * 64)] |= std::uint64_t{1} << (slot / (64 * group) % 64);
        }
        marked_ += fresh;
        return fresh;
    }

    std::size_t marked() const noexcept { return marked_; }
    /// How many of them `keep(w, word)` leaves, which is asked for 64 at a time.
    template <class Keep>
    std::size_t count(Keep&& keep) const {
        std::size_t total = 0;
        for_each_word([&](std::size_t w) { total += static_cast<std::size_t>(std::popcount(keep(w, words_[w]))); });
        return total;
    }

    void clear() noexcept {
        for_each_word([&](std::size_t w) { words_[w] = 0; });
        for (std::size_t g = 0; g < group_words_; ++g) groups_[g] = 0;
        dirty_ = false;
        marked_ = 0;
    }

    /// visit(slot) for every marked slot, rising, of those that `keep(w, word)` leaves of each 64; nothing is marked afterwards.
    template <class Keep, class Visit>
    void take(Keep&& keep, Visit&& visit) {
        for_each_word([&](std::size_t w) {
            for (std::uint64_t word = keep(w, words_[w]); word != 0; word &= word - 1) visit(static_cast<Slot>(w * 64 + static_cast<std::size_t>(std::countr_zero(word))));
        });
        clear();
    }

private:
    static constexpr std::size_t group = 64;  // words behind one bit

    /// visit(w) for the words that have marks.
    template <class Visit>
    void for_each_word(Visit&& visit) const {
        for (std::size_t g = 0; g < group_words_; ++g)
            for (std::uint64_t some = groups_[g]; some != 0; some &= some - 1) {
                const std::size_t first = (g * 64 + static_cast<std::size_t>(std::countr_zero(some))) * group;
                for (std::size_t w = first; w < first + group && w * 64 < slots_; ++w)
                    if (words_[w] != 0) visit(w);
            }
    }

    AlignedBuffer<std::uint64_t> words_;
    AlignedBuffer<std::uint64_t> groups_;
    std::size_t slots_ = 0;
    std::size_t group_words_ = 0;
    std::size_t marked_ = 0;
    bool dirty_ = false;
};

}  // namespace kith
