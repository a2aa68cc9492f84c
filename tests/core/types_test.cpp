// SPDX-License-Identifier: Apache-2.0
//
// Half and bfloat16 against arithmetic in double: every bit pattern widened, and narrowing at and beside every midpoint.
#include "kith/core/types.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

/// A small binary float: value of the bits, and rounding of a double to the nearest one, ties to even.
struct Format {
    int exponent_bits;
    int mantissa_bits;

    int bias() const { return (1 << (exponent_bits - 1)) - 1; }
    int least_exponent() const { return 1 - bias() - mantissa_bits; }  // of the last mantissa bit of a subnormal
    double largest() const { return std::ldexp(2.0 - std::ldexp(1.0, -mantissa_bits), bias()); }

    double value(std::uint32_t bits) const {
        const auto mantissa = static_cast<double>(bits & ((1u << mantissa_bits) - 1u));
        const auto exponent = static_cast<int>((bits >> mantissa_bits) & ((1u << exponent_bits) - 1u));
        const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
        if (exponent == (1 << exponent_bits) - 1) return mantissa == 0 ? sign * HUGE_VAL : std::nan("");
        if (exponent == 0) return sign * std::ldexp(mantissa, least_exponent());
        return sign * std::ldexp(mantissa + std::ldexp(1.0, mantissa_bits), exponent - bias() - mantissa_bits);
    }

    double rounded(double x) const {
        if (x == 0 || std::isinf(x)) return x;
        const int step = std::max(std::ilogb(x) - mantissa_bits, least_exponent());
        const double nearest = std::ldexp(std::nearbyint(std::ldexp(x, -step)), step);  // the default mode: ties to even
        return std::abs(nearest) > largest() ? std::copysign(HUGE_VAL, x) : nearest;
    }
};

constexpr Format half_format{5, 10};
constexpr Format bfloat16_format{8, 7};

/// Equal, zeros of the same sign; all NaNs are one.
bool same(double a, double b) {
    return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

/// Counts, because a million assertions cost more than what they assert.
struct Tally {
    std::size_t wrong = 0;
    std::uint32_t first = 0;
    void expect(bool right, std::uint32_t bits) {
        if (right) return;
        if (wrong++ == 0) first = bits;
    }
};

template <class Narrow>
void check_narrowing(const Format& format, Narrow narrow) {
    const auto inexact_neighbours = [&](std::uint32_t bits, Tally& tally) {
        // The midpoint of two neighbours has one mantissa bit more: a float holds it. Behind the largest comes 2^(bias + 1).
        const double low = format.value(bits);
        const double high = format.value(bits + 1);
        const double above = std::isinf(high) ? std::ldexp(1.0, format.bias() + 1) : high;
        const auto middle = static_cast<float>((low + above) / 2);
        for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, HUGE_VALF)})
            for (const float signed_x : {x, -x}) {
                const double expected = format.rounded(static_cast<double>(signed_x));
                tally.expect(same(static_cast<double>(to_float(narrow(signed_x))), expected), bits);
            }
        tally.expect((narrow(middle).bits & 1u) == 0, bits);
    };
    Tally tally;
    for (std::uint32_t bits = 0; !std::isinf(format.value(bits)); ++bits) inexact_neighbours(bits, tally);
    INFO("first wrong at the pattern " << tally.first);
    CHECK(tally.wrong == 0);
}

template <class Narrow>
void check_all_over(const Format& format, Narrow narrow) {
    Tally tally;
    for (std::uint64_t pattern = 0; pattern < (std::uint64_t{1} << 32); pattern += 4093) {
        const auto bits = static_cast<std::uint32_t>(pattern);
        const auto x = std::bit_cast<float>(bits);
        if (std::isnan(x)) tally.expect(std::isnan(to_float(narrow(x))), bits);
        else tally.expect(same(static_cast<double>(to_float(narrow(x))), format.rounded(static_cast<double>(x))), bits);
    }
    INFO("first wrong at the float pattern " << tally.first);
    CHECK(tally.wrong == 0);
}

}  // namespace

TEST_CASE("every half and bfloat16 widens to its value and comes back as itself", "[types]") {
    Tally halves;
    Tally brains;
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const Half h{static_cast<std::uint16_t>(bits)};
        const BFloat16 b{static_cast<std::uint16_t>(bits)};
        halves.expect(same(static_cast<double>(to_float(h)), half_format.value(bits)), bits);
        brains.expect(same(static_cast<double>(to_float(b)), bfloat16_format.value(bits)), bits);
        if (std::isnan(to_float(h))) halves.expect(std::isnan(to_float(to_half(to_float(h)))), bits);
        else halves.expect(to_half(to_float(h)) == h, bits);
        if (std::isnan(to_float(b))) brains.expect(std::isnan(to_float(to_bfloat16(to_float(b)))), bits);
        else brains.expect(to_bfloat16(to_float(b)) == b, bits);
    }
    INFO("first wrong: half " << halves.first << ", bfloat16 " << brains.first);
    CHECK(halves.wrong == 0);
    CHECK(brains.wrong == 0);
}

TEST_CASE("narrowing rounds to nearest, ties to even, at and beside every midpoint", "[types]") {
    check_narrowing(half_format, [](float x) { return to_half(x); });
    check_narrowing(bfloat16_format, [](float x) { return to_bfloat16(x); });
}

TEST_CASE("narrowing agrees with arithmetic in double all over the floats", "[types]") {
    check_all_over(half_format, [](float x) { return to_half(x); });
    check_all_over(bfloat16_format, [](float x) { return to_bfloat16(x); });
}

TEST_CASE("the borders of half and bfloat16", "[types]") {
    STATIC_REQUIRE(to_half(65504.0f).bits == 0x7BFF);
    STATIC_REQUIRE(to_half(65519.996f).bits == 0x7BFF);
    STATIC_REQUIRE(to_half(65520.0f).bits == 0x7C00);   // half way to 65536: the even side is infinity
    STATIC_REQUIRE(to_half(1e30f).bits == 0x7C00);
    STATIC_REQUIRE(to_half(-1e30f).bits == 0xFC00);
    STATIC_REQUIRE(to_half(0x1p-24f).bits == 1);
    STATIC_REQUIRE(to_half(0x1p-25f).bits == 0);        // half way to zero, which is even
    STATIC_REQUIRE(to_half(0x1.000002p-25f).bits == 1);
    STATIC_REQUIRE(to_half(-0x1p-26f).bits == 0x8000);
    STATIC_REQUIRE(to_half(0x1.FFFFFEp-15f).bits == 0x0400);  // a subnormal that rounds up to the least normal
    STATIC_REQUIRE(to_bfloat16(3.4028235e38f).bits == 0x7F80);
    STATIC_REQUIRE(to_bfloat16(-0.0f).bits == 0x8000);
    // Payloads that do not survive narrowing must not turn a NaN into an infinity.
    for (const std::uint32_t nan : {0x7F800001u, 0xFF800001u, 0x7FC00000u, 0x7FFFFFFFu}) {
        const auto x = std::bit_cast<float>(nan);
        CHECK(std::isnan(to_float(to_half(x))));
        CHECK(std::isnan(to_float(to_bfloat16(x))));
        CHECK((to_half(x).bits >> 15) == (nan >> 31));
        CHECK((to_bfloat16(x).bits >> 15) == (nan >> 31));
    }
}

TEST_CASE("element types: names, sizes, score types", "[types]") {
    CHECK(name(element_traits<float>::type) == "f32");
    CHECK(name(element_traits<Half>::type) == "f16");
    CHECK(name(element_traits<BFloat16>::type) == "bf16");
    CHECK(name(element_traits<std::int8_t>::type) == "i8");
    CHECK(name(element_traits<std::uint8_t>::type) == "u8");
    CHECK(name(element_traits<Bits8>::type) == "b1");
    CHECK(name(static_cast<ElementType>(0)) == "unknown");
    STATIC_REQUIRE(element_bytes(element_traits<float>::type) == sizeof(float));
    STATIC_REQUIRE(element_bytes(element_traits<Half>::type) == sizeof(Half));
    STATIC_REQUIRE(element_bytes(element_traits<BFloat16>::type) == sizeof(BFloat16));
    STATIC_REQUIRE(element_bytes(element_traits<Bits8>::type) == sizeof(Bits8));
    // The numbers are part of the file format.
    STATIC_REQUIRE(static_cast<int>(ElementType::f32) == 1);
    STATIC_REQUIRE(static_cast<int>(ElementType::b1) == 6);
    STATIC_REQUIRE(dims_per_element<Bits8> == 8);
    STATIC_REQUIRE(dims_per_element<Half> == 1);
    STATIC_REQUIRE(std::is_same_v<score_type_t<std::int8_t>, std::int32_t>);
    STATIC_REQUIRE(std::is_same_v<score_type_t<Half>, float>);
    STATIC_REQUIRE(!Element<double>);
}
