// SPDX-License-Identifier: Apache-2.0
//
// The smallest vocabulary of kith: how a row is numbered, what it is made of, what a search finds.
//
// A Slot is the dense internal number of a row (0 .. size-1); structures, kernels and filters speak slots. An Id is the
// caller's own key. The two never mix: ids become slots, and slots ids, at the border (storage/id_map.hpp).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

namespace kith {

using Slot = std::uint32_t;
using Id = std::int64_t;  // not negative; signed because numpy's and every database's keys are

inline constexpr Slot invalid_slot = std::numeric_limits<Slot>::max();
inline constexpr Id invalid_id = -1;
inline constexpr std::size_t max_rows = invalid_slot;  // slots are 32 bits: one index holds fewer rows than this

static_assert(std::endian::native == std::endian::little, "kith's files and kernels are little-endian");

/// IEEE 754 binary16, storage only: kernels widen it to float.
struct Half {
    std::uint16_t bits = 0;
    friend bool operator==(Half, Half) = default;
};

/// bfloat16 (the upper half of a float), storage only.
struct BFloat16 {
    std::uint16_t bits = 0;
    friend bool operator==(BFloat16, BFloat16) = default;
};

/// Eight binary dimensions, dimension 8i + j in bit 7 - j of byte i (the order of numpy.packbits).
struct Bits8 {
    std::uint8_t bits = 0;
    friend bool operator==(Bits8, Bits8) = default;
};

/// Exact. Subnormals, infinities and NaN included.
constexpr float to_float(Half h) noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16;
    const std::uint32_t exponent = (h.bits >> 10) & 0x1Fu;
    const std::uint32_t mantissa = h.bits & 0x3FFu;
    if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
        const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
        return sign != 0 ? -magnitude : magnitude;
    }
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
    return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

/// Exact.
constexpr float to_float(BFloat16 b) noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(b.bits) << 16);
}

constexpr float to_float(float x) noexcept { return x; }
constexpr float to_float(std::int8_t x) noexcept { return static_cast<float>(x); }
constexpr float to_float(std::uint8_t x) noexcept { return static_cast<float>(x); }

/// Round to nearest, ties to even; overflow becomes infinity, NaN stays NaN.
constexpr Half to_half(float x) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return {static_cast<std::uint16_t>(sign | 0x7E00u)};
    if (magnitude >= 0x47800000u) return {static_cast<std::uint16_t>(sign | 0x7C00u)};  // >= 65536
    if (magnitude < 0x38800000u) {  // below 2^-14: the result is a multiple of 2^-24
        if (magnitude < 0x33000000u) return {sign};
        const std::uint32_t shift = 126u - (magnitude >> 23);
        const std::uint32_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
        const std::uint32_t rest = mantissa & ((1u << shift) - 1u);
        const std::uint32_t half = 1u << (shift - 1u);
        std::uint32_t rounded = mantissa >> shift;
        if (rest > half || (rest == half && (rounded & 1u) != 0)) ++rounded;
        return {static_cast<std::uint16_t>(sign | rounded)};
    }
    const std::uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
    return {static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

/// Round to nearest, ties to even; NaN stays NaN.
constexpr BFloat16 to_bfloat16(float x) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

/// What one element of a row is. The values are part of the file format (docs/FORMAT.md).
enum class ElementType : std::uint8_t { f32 = 1, f16 = 2, bf16 = 3, i8 = 4, u8 = 5, b1 = 6 };

template <class T>
struct element_traits;
template <>
struct element_traits<float> { static constexpr auto type = ElementType::f32; };
template <>
struct element_traits<Half> { static constexpr auto type = ElementType::f16; };
template <>
struct element_traits<BFloat16> { static constexpr auto type = ElementType::bf16; };
template <>
struct element_traits<std::int8_t> { static constexpr auto type = ElementType::i8; };
template <>
struct element_traits<std::uint8_t> { static constexpr auto type = ElementType::u8; };
template <>
struct element_traits<Bits8> { static constexpr auto type = ElementType::b1; };

template <class T>
concept Element = requires { element_traits<T>::type; } && std::is_trivially_copyable_v<T>;

template <class T>
concept FloatElement = std::is_same_v<T, float> || std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>;

template <class T>
concept IntegerElement = std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t>;

constexpr std::string_view name(ElementType type) noexcept {
    switch (type) {
        case ElementType::f32: return "f32";
        case ElementType::f16: return "f16";
        case ElementType::bf16: return "bf16";
        case ElementType::i8: return "i8";
        case ElementType::u8: return "u8";
        case ElementType::b1: return "b1";
    }
    return "unknown";
}

constexpr std::size_t element_bytes(ElementType type) noexcept {
    return type == ElementType::f32 ? 4 : (type == ElementType::f16 || type == ElementType::bf16 ? 2 : 1);
}

/// Dimensions held by one stored element: 8 for packed bits, 1 for all others.
template <Element T>
inline constexpr std::size_t dims_per_element = std::is_same_v<T, Bits8> ? 8 : 1;

/// Which distance a scorer works in: 8-bit integers and bits are scored exactly in 32-bit integers.
template <Element T>
using score_type_t = std::conditional_t<IntegerElement<T>, std::int32_t, float>;

}  // namespace kith
