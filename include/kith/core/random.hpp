// SPDX-License-Identifier: Apache-2.0
//
// Counter-based random numbers: a draw is a pure function of (seed, stream, counter), so any thread can make draw i without
// having made the ones before, and a parallel build draws what a serial one would.
//
// The mixing function is SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"),
// applied twice with the stream folded in between. Not for cryptography.
#pragma once

#include <cmath>
#include <cstdint>

namespace kith {

namespace detail {

constexpr std::uint64_t mix64(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

}  // namespace detail

class Random {
public:
    constexpr explicit Random(std::uint64_t seed, std::uint64_t stream = 0) noexcept
        : key_(detail::mix64(seed + 0x9E3779B97F4A7C15ull * (detail::mix64(stream + 1) | 1u))) {}

    /// 64 uniform bits for counter i.
    constexpr std::uint64_t bits(std::uint64_t i) const noexcept {
        return detail::mix64(key_ + detail::mix64(i * 0x9E3779B97F4A7C15ull + 0x9E3779B97F4A7C15ull));
    }

    /// Uniform in [0, bound); bound > 0. Multiply-shift: the bias is below bound / 2^64.
    std::uint64_t below(std::uint64_t i, std::uint64_t bound) const noexcept {
        __extension__ using Wide = unsigned __int128;
        return static_cast<std::uint64_t>((static_cast<Wide>(bits(i)) * bound) >> 64);
    }

    /// Uniform in [0, 1), 53 bits.
    constexpr double uniform(std::uint64_t i) const noexcept {
        return static_cast<double>(bits(i) >> 11) * 0x1.0p-53;
    }

    /// Standard normal (Box and Muller 1958); uses its own two draws for each i.
    double normal(std::uint64_t i) const noexcept {
        const double u = 1.0 - uniform(2 * i);  // (0, 1]
        return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * uniform(2 * i + 1));
    }

private:
    std::uint64_t key_;
};

}  // namespace kith
