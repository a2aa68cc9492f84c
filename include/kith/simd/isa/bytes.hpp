// SPDX-License-Identifier: Apache-2.0
//
// Reading the last few bytes of a row without touching the byte after it: two overlapping loads and a shift, where an
// instruction set has no masked load. Templates on Arch only to keep their symbols apart.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/arch.hpp"

namespace kith::simd {

template <class Arch, class U>
KITH_SIMD_INLINE U load_word(const unsigned char* p) noexcept {
    U value;
    __builtin_memcpy(&value, p, sizeof(U));
    return value;
}

/// n <= 8 bytes, zero-extended.
template <class Arch>
KITH_SIMD_INLINE std::uint64_t load_tail8(const unsigned char* p, std::size_t n) noexcept {
    if (n >= 8) return load_word<Arch, std::uint64_t>(p);
    if (n >= 4) {
        const std::uint64_t high = load_word<Arch, std::uint32_t>(p + n - 4);
        return load_word<Arch, std::uint32_t>(p) | (high << (8 * (n - 4)));
    }
    if (n >= 2) {
        const std::uint64_t high = load_word<Arch, std::uint16_t>(p + n - 2);
        return load_word<Arch, std::uint16_t>(p) | (high << (8 * (n - 2)));
    }
    return n == 0 ? 0 : *p;
}

struct Words16 {
    std::uint64_t low, high;
};

/// n <= 16 bytes, zero-extended.
template <class Arch>
KITH_SIMD_INLINE Words16 load_tail16(const unsigned char* p, std::size_t n) noexcept {
    if (n <= 8) return {load_tail8<Arch>(p, n), 0};
    return {load_word<Arch, std::uint64_t>(p),
            load_word<Arch, std::uint64_t>(p + n - 8) >> (8 * (16 - n))};
}

}  // namespace kith::simd
