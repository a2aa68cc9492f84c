// SPDX-License-Identifier: Apache-2.0
//
// The coordinate of the largest magnitude: what a cross-polytope hashes a rotated vector to (hash/vector_hash.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/wide.hpp"

namespace kith::simd {

template <class Arch>
struct Largest {
    /// The first i with the largest |x[i]|; n >= 1. A NaN is never the largest; 0 where there is nothing else.
    /// Once for the magnitude and once, from the end, for where it is met first: in two chains each, and without a branch that depends on what is there.
    KITH_SIMD_ENTRY static std::size_t first(const float* x, std::size_t n) noexcept {
        constexpr std::size_t step = 2 * lanes;
        const std::size_t whole = n / step * step;
        Floats a = Floats{} - 1, b = a;
        for (std::size_t i = 0; i < whole; i += step) {
            a = larger(magnitudes(x + i), a);
            b = larger(magnitudes(x + i + lanes), b);
        }
        float most = highest(larger(a, b));
        for (std::size_t i = whole; i < n; ++i) most = magnitude(x[i]) > most ? magnitude(x[i]) : most;

        std::size_t found = n;
        for (std::size_t i = n; i > whole; --i) found = magnitude(x[i - 1]) == most ? i - 1 : found;
        const Floats sought = Floats{} + most;
        Ints lane;
        for (std::size_t i = 0; i < lanes; ++i) lane[i] = static_cast<std::int32_t>(i);
        Ints in_a = Ints{} + static_cast<std::int32_t>(n), in_b = in_a;
        for (std::size_t i = whole; i > 0; i -= step) {
            const Ints at = lane + static_cast<std::int32_t>(i - step);
            in_a = (magnitudes(x + i - step) == sought) ? at : in_a;
            in_b = (magnitudes(x + i - lanes) == sought) ? at + static_cast<std::int32_t>(lanes) : in_b;
        }
        const auto vector = static_cast<std::size_t>(lowest(in_b < in_a ? in_b : in_a));
        found = vector < found ? vector : found;
        return found < n ? found : 0;
    }

private:
    static constexpr std::size_t lanes = wide_lanes<Arch>;
    using Floats = typename Vector<lanes>::type;
    using Ints = typename Vector<lanes>::ints;

    static_assert(lanes == 4 || lanes == 8);

    static KITH_SIMD_INLINE float magnitude(float x) noexcept { return x < 0 ? -x : x; }
    static KITH_SIMD_INLINE Floats magnitudes(const float* p) noexcept {
        Ints bits;
        __builtin_memcpy(&bits, p, sizeof(bits));
        return (Floats)(bits & 0x7FFFFFFF);
    }
    static KITH_SIMD_INLINE Floats larger(Floats a, Floats b) noexcept { return a > b ? a : b; }
    /// Half against half, until one lane is left.
    static KITH_SIMD_INLINE float highest(Floats x) noexcept {
        if constexpr (lanes == 8) {
            x = larger(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
            x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
            x = larger(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
        } else {
            x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
            x = larger(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));
        }
        return x[0];
    }
    static KITH_SIMD_INLINE std::int32_t lowest(Ints x) noexcept {
        const auto lower = [](Ints a, Ints b) { return a < b ? a : b; };
        if constexpr (lanes == 8) {
            x = lower(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
            x = lower(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
            x = lower(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
        } else {
            x = lower(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
            x = lower(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));
        }
        return x[0];
    }
};

}  // namespace kith::simd
