// SPDX-License-Identifier: Apache-2.0
//
// The first NaN or infinity of an array, at memory speed. An element is finite when its exponent bits are not all ones, i.e. when its bits
// without the sign, as an integer, do not exceed those of the largest finite number: the test is three integer operations a register
// and works under -ffast-math. A block that fails is searched element by element.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kith/core/types.hpp"
#include "kith/simd/isa/isa.hpp"

namespace kith::simd {

template <class T>
struct FiniteBits;
template <>
struct FiniteBits<float> {
    using Word = std::int32_t;
    static constexpr Word magnitude = 0x7FFFFFFF, largest = 0x7F7FFFFF;
};
template <>
struct FiniteBits<Half> {
    using Word = std::int16_t;
    static constexpr Word magnitude = 0x7FFF, largest = 0x7BFF;
};
template <>
struct FiniteBits<BFloat16> {
    using Word = std::int16_t;
    static constexpr Word magnitude = 0x7FFF, largest = 0x7F7F;
};

template <class Arch, class T>
struct Finite {
    KITH_SIMD_ENTRY static std::size_t first_not_finite(const T* x, std::size_t n) noexcept {
        std::size_t i = 0;
        for (; i + block <= n; i += block)
            if (!block_is_finite(x + i)) break;
        for (; i < n; ++i) {
            Word word;
            __builtin_memcpy(&word, x + i, sizeof(word));
            if ((word & Bits::magnitude) > Bits::largest) return i;
        }
        return n;
    }

private:
    using Bits = FiniteBits<T>;
    using Word = typename Bits::Word;
    static constexpr std::size_t bytes = Isa<Arch>::bytes;
    static constexpr std::size_t lanes = bytes / sizeof(Word);
    static constexpr std::size_t block = 16 * lanes;
    typedef Word Words __attribute__((vector_size(bytes)));

    static KITH_SIMD_INLINE bool block_is_finite(const T* x) noexcept {
        Words excess = {};
        for (std::size_t i = 0; i < block; i += lanes) {
            Words words;
            __builtin_memcpy(&words, x + i, sizeof(words));
            excess |= Bits::largest - (words & Bits::magnitude);  // negative where not finite
        }
        std::uint64_t folded[bytes / 8];
        __builtin_memcpy(folded, &excess, sizeof(excess));
        std::uint64_t any = 0;
        for (std::size_t i = 0; i < bytes / 8; ++i) any |= folded[i];
        return (any & (sizeof(Word) == 4 ? 0x8000000080000000u : 0x8000800080008000u)) == 0;
    }
};

}  // namespace kith::simd
