// SPDX-License-Identifier: Apache-2.0
//
// Bitset and BitsetView: one bit a slot, 64 a word; bits past the size are always zero, so that counting needs no mask.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kith {

/// Somebody else's bits. words: at least (size + 63) / 64; bits of the last word past `size` must be zero.
class BitsetView {
public:
    BitsetView() = default;
    BitsetView(const std::uint64_t* words, std::size_t size) noexcept : words_(words), size_(size) {}

    std::size_t size() const noexcept { return size_; }
    std::size_t word_count() const noexcept { return (size_ + 63) / 64; }
    const std::uint64_t* words() const noexcept { return words_; }

    /// False past the end: a filter made before rows were added does not allow the new ones.
    bool test(std::size_t i) const noexcept {
        return i < size_ && ((words_[i / 64] >> (i % 64)) & 1u) != 0;
    }

    /// O(size / 64).
    std::size_t count() const noexcept {
        std::size_t total = 0;
        for (std::size_t w = 0; w < word_count(); ++w)
            total += static_cast<std::size_t>(std::popcount(words_[w]));
        return total;
    }

    /// Of bits [first, last).
    std::size_t count(std::size_t first, std::size_t last) const noexcept {
        std::size_t total = 0;
        for_each_word(first, last, [&](std::size_t, std::uint64_t word) { total += static_cast<std::size_t>(std::popcount(word)); });
        return total;
    }

    /// visit(i) for each set bit, ascending.
    template <class Visit>
    void for_each_set(Visit&& visit) const {
        for_each_set(0, size_, visit);
    }
    /// Of bits [first, last).
    template <class Visit>
    void for_each_set(std::size_t first, std::size_t last, Visit&& visit) const {
        for_each_word(first, last, [&](std::size_t w, std::uint64_t word) {
            for (; word != 0; word &= word - 1) visit(w * 64 + static_cast<std::size_t>(std::countr_zero(word)));
        });
    }

private:
    /// visit(w, word) for the words that hold bits [first, last), other bits cleared.
    template <class Visit>
    void for_each_word(std::size_t first, std::size_t last, Visit&& visit) const {
        last = std::min(last, size_);
        if (first >= last) return;
        for (std::size_t w = first / 64; w <= (last - 1) / 64; ++w) {
            std::uint64_t word = words_[w];
            if (w == first / 64) word &= ~std::uint64_t{0} << (first % 64);
            if (w == (last - 1) / 64 && last % 64 != 0) word &= (std::uint64_t{1} << (last % 64)) - 1;
            visit(w, word);
        }
    }

    const std::uint64_t* words_ = nullptr;
    std::size_t size_ = 0;
};

class Bitset {
public:
    Bitset() = default;
    explicit Bitset(std::size_t size, bool value = false) { resize(size, value); }

    std::size_t size() const noexcept { return size_; }
    bool test(std::size_t i) const noexcept { return view().test(i); }
    std::size_t count() const noexcept { return view().count(); }
    void set(std::size_t i) noexcept { words_[i / 64] |= std::uint64_t{1} << (i % 64); }
    void reset(std::size_t i) noexcept { words_[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }
    void assign(std::size_t i, bool value) noexcept { value ? set(i) : reset(i); }
    void clear() noexcept { std::fill(words_.begin(), words_.end(), 0); }

    /// New bits get `value`.
    void resize(std::size_t size, bool value = false) {
        const std::size_t old = size_;
        words_.resize((size + 63) / 64, value ? ~std::uint64_t{0} : 0);
        size_ = size;
        if (value && size > old && old % 64 != 0) words_[old / 64] |= ~std::uint64_t{0} << (old % 64);
        if (size % 64 != 0) words_.back() &= (std::uint64_t{1} << (size % 64)) - 1;
    }

    Bitset& operator&=(BitsetView other) noexcept {
        combine(other, [](std::uint64_t a, std::uint64_t b) { return a & b; });
        return *this;
    }
    Bitset& operator|=(BitsetView other) noexcept {
        combine(other, [](std::uint64_t a, std::uint64_t b) { return a | b; });
        return *this;
    }
    void flip() noexcept {
        for (auto& word : words_) word = ~word;
        if (size_ % 64 != 0) words_.back() &= (std::uint64_t{1} << (size_ % 64)) - 1;
    }

    BitsetView view() const noexcept { return {words_.data(), size_}; }
    operator BitsetView() const noexcept { return view(); }  // NOLINT: a bitset is a view of itself

private:
    template <class Op>
    void combine(BitsetView other, Op op) noexcept {
        for (std::size_t w = 0; w < words_.size(); ++w)
            words_[w] = op(words_[w], w < other.word_count() ? other.words()[w] : 0);
        if (size_ % 64 != 0) words_.back() &= (std::uint64_t{1} << (size_ % 64)) - 1;
    }

    std::vector<std::uint64_t> words_;
    std::size_t size_ = 0;
};

}  // namespace kith
