// SPDX-License-Identifier: Apache-2.0
//
// Rotations keep lengths and angles, are the same bits everywhere, and spread whatever they are given. Seeds are
// fixed, so the statistical bounds below either hold for ever or never.
#include "kith/quantize/rotation.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kith/core/random.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace {

using kith::Random;
using kith::Rotation;
using Vector = std::vector<float>;

constexpr std::size_t dims[] = {1,   3,   16,  31,  32,  33,  64,  96,   100,
                                128, 200, 512, 480, 784, 960, 992, 1000, 1024};

Vector rotated(const Rotation& rotation, const Vector& x) {
    Vector y(rotation.padded_dim() + 1, -77.0f);
    rotation.apply(x.data(), y.data());
    REQUIRE(y.back() == -77.0f);
    y.pop_back();
    return y;
}

Vector unit(std::size_t dim, std::size_t i) {
    Vector x(dim, 0.0f);
    x[i] = 1.0f;
    return x;
}

Vector random_vector(std::size_t dim, std::uint64_t seed) {
    const Random random(seed, 99);
    Vector x(dim);
    for (std::size_t i = 0; i < dim; ++i) x[i] = static_cast<float>(random.normal(i));
    return x;
}

double dot(const Vector& x, const Vector& y) {
    double sum = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i)
        sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    return sum;
}

/// D^2 times the mean fourth power of a unit vector's coordinates: 3 for Gaussian ones, 1 when all are equally large,
/// D for a basis vector.
double fourth_moment(const Vector& y) {
    double sum = 0.0;
    for (const float v : y) sum += std::pow(static_cast<double>(v), 4.0);
    return sum * static_cast<double>(y.size());
}

}  // namespace

TEST_CASE("a rotation pads to a multiple of 32", "[rotation]") {
    for (const std::size_t dim : dims) {
        const Rotation rotation(dim, 1);
        CHECK(rotation.dim() == dim);
        CHECK(rotation.seed() == 1);
        CHECK(rotation.padded_dim() == (dim + 31) / 32 * 32);
    }
    CHECK(Rotation().padded_dim() == 0);
}

TEST_CASE("a rotation keeps norms and inner products", "[rotation]") {
    for (const std::size_t dim : dims)
        for (const std::uint64_t seed : {0ull, 7ull, ~0ull}) {
            INFO("dim " << dim << ", seed " << seed);
            const Rotation rotation(dim, seed);
            const Vector x = random_vector(dim, seed + 1), y = random_vector(dim, seed + 2);
            const Vector px = rotated(rotation, x), py = rotated(rotation, y);
            const double size = std::sqrt(dot(x, x) * dot(y, y));
            CHECK(std::abs(dot(px, px) / dot(x, x) - 1.0) < 1e-6);
            CHECK(std::abs(dot(px, py) - dot(x, y)) < 1e-6 * size);
        }
}

TEST_CASE("a rotation's columns are orthonormal", "[rotation]") {
    for (const std::size_t dim : {1u, 3u, 31u, 32u, 33u, 96u, 100u, 128u, 200u}) {
        const Rotation rotation(dim, 5);
        std::vector<Vector> columns;
        for (std::size_t i = 0; i < dim; ++i) columns.push_back(rotated(rotation, unit(dim, i)));
        double worst = 0.0;
        for (std::size_t i = 0; i < dim; ++i)
            for (std::size_t j = 0; j <= i; ++j)
                worst =
                    std::max(worst, std::abs(dot(columns[i], columns[j]) - (i == j ? 1.0 : 0.0)));
        INFO("dim " << dim);
        CHECK(worst < 1e-6);
    }
}

TEST_CASE("basis vectors and flat vectors come out spread like Gaussian ones", "[rotation]") {
    for (const std::size_t dim : dims) {
        const double padded = static_cast<double>(Rotation(dim, 0).padded_dim());
        double largest = 0.0, moments = 0.0;
        std::size_t count = 0;
        for (std::uint64_t seed = 0; seed < 40; ++seed) {
            const Rotation rotation(dim, seed);
            std::vector<Vector> inputs;
            for (const std::size_t i : {std::size_t{0}, dim / 2, dim - 1})
                inputs.push_back(unit(dim, i));
            inputs.emplace_back(dim, static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim))));
            for (const Vector& x : inputs) {
                const Vector y = rotated(rotation, x);
                for (const float v : y)
                    largest = std::max(largest, std::abs(static_cast<double>(v)));
                moments += fourth_moment(y);
                ++count;
            }
        }
        INFO("dim " << dim << ": largest " << largest * std::sqrt(padded)
                    << " / sqrt(D), fourth moment " << moments / static_cast<double>(count));
        // 160 D Gaussians stay below 5.2; on the sphere the fourth moment is 3 D / (D + 2).
        CHECK(largest * std::sqrt(padded) < 6.0);
        CHECK(std::abs(moments / static_cast<double>(count) - 3.0 * padded / (padded + 2.0)) < 0.5);
    }
}

TEST_CASE("rotations are what they were", "[rotation]") {
    // Files hold what was rotated: these bits never change, on no machine.
    const auto checksum = [](std::size_t dim, std::uint64_t seed) {
        Vector x(dim);
        for (std::size_t i = 0; i < dim; ++i)
            x[i] = static_cast<float>(static_cast<int>(Random(seed, 77).below(i, 2001)) - 1000) /
                   64.0f;
        const Vector y = rotated(Rotation(dim, seed), x);
        std::uint32_t sum = 0;
        for (const float v : y) sum = sum * 31 + std::bit_cast<std::uint32_t>(v);
        return sum;
    };
    CHECK(checksum(1, 1) == 0x4C3CA33Au);
    CHECK(checksum(32, 2) == 0x391A5F14u);
    CHECK(checksum(100, 3) == 0x1C4B7846u);
    CHECK(checksum(200, 4) == 0x0D55D21Cu);
    CHECK(checksum(784, 5) == 0xFD0C6802u);
    CHECK(checksum(1024, 6) == 0x785ED4C8u);
}

TEST_CASE("another seed is another rotation", "[rotation]") {
    const Vector x = random_vector(100, 1);
    CHECK(rotated(Rotation(100, 1), x) == rotated(Rotation(100, 1), x));
    const Vector a = rotated(Rotation(100, 1), x), b = rotated(Rotation(100, 2), x);
    CHECK(std::abs(dot(a, b)) < 0.4 * dot(a, a));
    const Rotation copy = Rotation(100, 2);
    CHECK(rotated(copy, x) == b);
}

TEST_CASE("rotating allocates nothing", "[rotation]") {
    const Rotation rotation(200, 1);
    const Vector x = random_vector(200, 1);
    Vector y(rotation.padded_dim());
    const std::size_t before = test::allocation_count();
    rotation.apply(x.data(), y.data());
    CHECK(test::allocation_count() == before);
}
