// SPDX-License-Identifier: Apache-2.0
//
// What the kernels' tests share: random rows, scalar references in double precision or 64-bit integers, and the sweep over tables.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/simd/kernels.hpp"
#include "support/catch.hpp"

namespace kith::simd::test {

inline constexpr std::size_t longest = 1030;

template <class T>
T random_element(const Random& random, std::uint64_t i) {
    if constexpr (FloatElement<T>) {
        // Magnitudes from 2^-6 to 2^6, so that sums round.
        const float x = static_cast<float>(
            random.normal(i) *
            std::exp2(static_cast<double>(random.below(i + (1u << 30), 13)) - 6.0));
        if constexpr (std::is_same_v<T, Half>)
            return to_half(x);
        else if constexpr (std::is_same_v<T, BFloat16>)
            return to_bfloat16(x);
        else
            return x;
    } else if constexpr (std::is_same_v<T, Bits8>) {
        return {static_cast<std::uint8_t>(random.bits(i))};
    } else {
        return static_cast<T>(random.bits(i));
    }
}

template <class T>
std::vector<T> random_elements(std::size_t n, std::uint64_t seed) {
    const Random random(seed);
    std::vector<T> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = random_element<T>(random, i);
    return x;
}

inline double value(float x) { return static_cast<double>(x); }
inline double value(Half x) { return static_cast<double>(to_float(x)); }
inline double value(BFloat16 x) { return static_cast<double>(to_float(x)); }
inline std::int64_t value(std::int8_t x) { return x; }
inline std::int64_t value(std::uint8_t x) { return x; }

/// A distance and the sum of the absolute values of what was added up, which its rounding error is measured by.
struct Reference {
    double value = 0.0;
    double magnitude = 0.0;
};

enum class Kind { l2, dot, l1 };

template <class Q, class T>
Reference reference(Kind kind, const Q* q, const T* x, std::size_t dim) {
    Reference r;
    for (std::size_t i = 0; i < dim; ++i) {
        const double a = static_cast<double>(value(q[i]));
        const double b = static_cast<double>(value(x[i]));
        const double term =
            kind == Kind::l2 ? (a - b) * (a - b) : (kind == Kind::dot ? a * b : std::abs(a - b));
        r.value += term;
        r.magnitude += std::abs(term);
    }
    return r;
}

template <class T>
std::int64_t exact_reference(Kind kind, const T* q, const T* x, std::size_t dim) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        const std::int64_t a = value(q[i]);
        const std::int64_t b = value(x[i]);
        sum += kind == Kind::l2 ? (a - b) * (a - b) : (kind == Kind::dot ? a * b : std::abs(a - b));
    }
    return sum;
}

/// Floats in one of the table's registers.
inline std::size_t width(const KernelTable& table) { return table.tile_f32.lanes / 2; }

template <class T>
bool same_bits(const T& a, const T& b) {
    return std::memcmp(&a, &b, sizeof(T)) == 0;
}

/// Calls f(table) for every table that runs here.
template <class F>
void for_each_table(F f) {
    for (const KernelTable* table : available_tables()) {
        INFO("table " << table->name);
        f(*table);
    }
}

/// Slots of `count` rows in a scrambled order.
inline std::vector<Slot> scrambled_slots(std::size_t count) {
    std::vector<Slot> slots(count);
    for (std::size_t i = 0; i < count; ++i) slots[i] = static_cast<Slot>((i * 7 + 3) % count);
    return slots;
}

/// run and gather agree with `one_of(row)` to the bit, for every number of rows up to 19 and wherever a run begins; neither writes
/// past the end of its output.
template <class Kernels, class T, class OneOf>
void check_grouping(const Kernels& kernels, const typename Kernels::Query* q, RowsRef<T> rows,
                    OneOf one_of) {
    using D = decltype(one_of(std::size_t{0}));
    constexpr std::size_t most = 19;
    const D untouched = static_cast<D>(-77);
    std::vector<D> expected(most);
    for (std::size_t i = 0; i < most; ++i) expected[i] = one_of(i);
    for (std::size_t first = 0; first < most; first += 5)
        for (std::size_t count = 0; first + count <= most; ++count) {
            std::vector<D> out(count + 1, untouched);
            kernels.run(q, rows, first, count, out.data());
            for (std::size_t i = 0; i < count; ++i)
                if (!same_bits(out[i], expected[first + i]))
                    FAIL("run(" << first << ", " << count << ") at " << i);
            if (!same_bits(out[count], untouched)) FAIL("run wrote past its end, count " << count);
        }
    const std::vector<Slot> slots = scrambled_slots(most);
    for (std::size_t count = 0; count <= most; ++count) {
        std::vector<D> out(count + 1, untouched);
        kernels.gather(q, rows, slots.data(), count, out.data());
        for (std::size_t i = 0; i < count; ++i)
            if (!same_bits(out[i], expected[slots[i]])) FAIL("gather of " << count << " at " << i);
        if (!same_bits(out[count], untouched)) FAIL("gather wrote past its end, count " << count);
    }
}

}  // namespace kith::simd::test
