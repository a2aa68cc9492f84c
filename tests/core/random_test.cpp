// SPDX-License-Identifier: Apache-2.0
//
// Random numbers: pinned values (files built from a seed must be the same for ever), independence of order, and sanity of the
// distributions. Seeds are fixed, so the statistical bounds below either hold for ever or never.
#include "kith/core/random.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "support/catch.hpp"

namespace {

using kith::Random;

}  // namespace

TEST_CASE("random numbers are what they were", "[random]") {
    // The finaliser against SplitMix64's published sequence for seed 0: its state advances by the golden ratio.
    constexpr std::uint64_t golden = 0x9E3779B97F4A7C15ull;
    STATIC_REQUIRE(kith::detail::mix64(golden) == 0xE220A8397B1DCDAFull);
    STATIC_REQUIRE(kith::detail::mix64(2 * golden) == 0x6E789E6AA1B965F4ull);
    STATIC_REQUIRE(kith::detail::mix64(3 * golden) == 0x06C45D188009454Full);
    // A model of the generator in another language gave these.
    STATIC_REQUIRE(Random(0).bits(0) == 0xCE225316A1A7B5FCull);
    STATIC_REQUIRE(Random(0).bits(1) == 0xD94367C58D06A2D0ull);
    STATIC_REQUIRE(Random(1, 2).bits(3) == 0xFB70CD06FFA1852Eull);
    STATIC_REQUIRE(Random(~0ull, ~0ull).bits(~0ull) == 0x445018E305810B78ull);
    CHECK(Random(42).below(7, 1000) == 464);
    STATIC_REQUIRE(Random(42).uniform(7) == 0x1.dbe79852bfe88p-2);
    CHECK(Random(42).normal(7) == Approx(1.5393814961290391).epsilon(1e-14));  // log and cos may differ in the last bit
}

TEST_CASE("draw i does not depend on the draws before", "[random]") {
    const Random random(7, 3);
    std::vector<std::uint64_t> forwards;
    for (std::uint64_t i = 0; i < 100; ++i) forwards.push_back(random.bits(i));
    for (std::uint64_t i = 100; i-- > 0;) CHECK(Random(7, 3).bits(i) == forwards[i]);
}

TEST_CASE("seeds and streams do not share draws", "[random]") {
    std::set<std::uint64_t> seen;
    for (std::uint64_t seed = 0; seed < 10; ++seed)
        for (std::uint64_t stream = 0; stream < 10; ++stream)
            for (std::uint64_t i = 0; i < 100; ++i) seen.insert(Random(seed, stream).bits(i));
    CHECK(seen.size() == 10'000);  // by chance two of 10,000 are equal with probability 3e-12
}

TEST_CASE("every bit is set half of the time, and flips half of the time from one draw to the next", "[random]") {
    constexpr std::uint64_t n = 20'000;
    for (const std::uint64_t seed : {0, 1, 12345}) {
        const Random random(seed);
        for (std::size_t bit = 0; bit < 64; ++bit) {
            double ones = 0;
            double flips = 0;
            for (std::uint64_t i = 0; i < n; ++i) {
                ones += static_cast<double>(random.bits(i) >> bit & 1u);
                flips += static_cast<double>((random.bits(i) ^ random.bits(i + 1)) >> bit & 1u);
            }
            // Five standard deviations of a fair coin: sqrt(n) / 2 each.
            const double allowed = 5 * std::sqrt(static_cast<double>(n)) / 2;
            CHECK(std::abs(ones - n / 2.0) < allowed);
            CHECK(std::abs(flips - n / 2.0) < allowed);
        }
    }
}

TEST_CASE("below is in range and uniform", "[random]") {
    const Random random(5);
    for (const std::uint64_t bound : {1, 2, 3, 10, 1000}) {
        std::vector<double> counts(bound);
        constexpr std::uint64_t n = 100'000;
        for (std::uint64_t i = 0; i < n; ++i) {
            const std::uint64_t x = random.below(i, bound);
            REQUIRE(x < bound);
            counts[x] += 1;
        }
        // Chi-squared with bound - 1 degrees of freedom: mean bound - 1, standard deviation sqrt(2 (bound - 1)).
        const double expected = static_cast<double>(n) / static_cast<double>(bound);
        double chi2 = 0;
        for (const double count : counts) chi2 += (count - expected) * (count - expected) / expected;
        const auto freedom = static_cast<double>(bound - 1);
        CHECK(chi2 <= freedom + 5 * std::sqrt(2 * freedom));
    }
    CHECK(random.below(0, ~std::uint64_t{0}) < ~std::uint64_t{0});
}

TEST_CASE("uniform numbers fill [0, 1)", "[random]") {
    const Random random(6);
    constexpr std::uint64_t n = 100'000;
    std::vector<double> values(n);
    for (std::uint64_t i = 0; i < n; ++i) values[i] = random.uniform(i);
    std::sort(values.begin(), values.end());
    CHECK(values.front() >= 0);
    CHECK(values.back() < 1);
    // Kolmogorov-Smirnov: sqrt(n) * the largest gap exceeds 1.95 with probability 0.001.
    double gap = 0;
    for (std::uint64_t i = 0; i < n; ++i)
        gap = std::max(gap, std::abs(values[i] - (static_cast<double>(i) + 0.5) / static_cast<double>(n)));
    CHECK(gap * std::sqrt(static_cast<double>(n)) < 1.95);
}

TEST_CASE("normal numbers have the moments of the normal distribution and are finite", "[random]") {
    const Random random(8);
    constexpr std::uint64_t n = 100'000;
    std::array<double, 5> moment{};
    for (std::uint64_t i = 0; i < n; ++i) {
        const double x = random.normal(i);
        REQUIRE(std::isfinite(x));
        double power = 1;
        for (double& sum : moment) {
            sum += power;
            power *= x;
        }
    }
    // Five standard deviations of a mean over n: those of x, x^2, x^3, x^4 are 1, sqrt 2, sqrt 15, sqrt 96.
    const double root = std::sqrt(static_cast<double>(n));
    CHECK(std::abs(moment[1] / n) < 5 * 1.0 / root);
    CHECK(std::abs(moment[2] / n - 1) < 5 * std::sqrt(2.0) / root);
    CHECK(std::abs(moment[3] / n) < 5 * std::sqrt(15.0) / root);
    CHECK(std::abs(moment[4] / n - 3) < 5 * std::sqrt(96.0) / root);
}
