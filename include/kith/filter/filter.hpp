// SPDX-License-Identifier: Apache-2.0
//
// Filters: what a search may return. A filter speaks slots; ids become slots at the border. It is an argument of the search, with a null
// object (AllowAll) that compiles away, so that there is one search loop and no flag in it.
//
// count() is exact where it is cheap to know, and lets an index choose its plan (walk, or scan the few that match).
#pragma once

#include <concepts>
#include <cstddef>
#include <utility>

#include "kith/core/bitset.hpp"
#include "kith/core/types.hpp"

namespace kith {

/// trivial: allows everything. count(n): how many of the slots [0, n) it allows.
template <class F>
concept Filter = requires(const F& filter, Slot slot, std::size_t rows) {
    { F::trivial } -> std::convertible_to<bool>;
    { filter.allows(slot) } -> std::same_as<bool>;
    { filter.count(rows) } -> std::same_as<std::size_t>;
};

struct AllowAll {
    static constexpr bool trivial = true;
    constexpr bool allows(Slot) const noexcept { return true; }
    constexpr std::size_t count(std::size_t rows) const noexcept { return rows; }
};

/// Allows the slots whose bit is set; slots past the bitset's end are not allowed. Counts once, when it is made.
class BitsetFilter {
public:
    static constexpr bool trivial = false;

    explicit BitsetFilter(BitsetView bits) noexcept : bits_(bits), count_(bits.count()) {}

    bool allows(Slot slot) const noexcept { return bits_.test(slot); }
    std::size_t count(std::size_t) const noexcept { return count_; }
    BitsetView bits() const noexcept { return bits_; }

private:
    BitsetView bits_;
    std::size_t count_;
};

/// Allows the slots for which the callable says true. count() asks all of them.
template <std::predicate<Slot> F>
class PredicateFilter {
public:
    static constexpr bool trivial = false;

    explicit PredicateFilter(F predicate) : predicate_(std::move(predicate)) {}

    bool allows(Slot slot) const { return predicate_(slot); }
    std::size_t count(std::size_t rows) const {
        std::size_t total = 0;
        for (std::size_t slot = 0; slot < rows; ++slot) total += allows(static_cast<Slot>(slot)) ? 1 : 0;
        return total;
    }

private:
    [[no_unique_address]] F predicate_;
};

}  // namespace kith
