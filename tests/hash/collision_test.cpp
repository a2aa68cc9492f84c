// SPDX-License-Identifier: Apache-2.0
//
// Theory as a test: how often functions of each family give two vectors the same value is what the formula of that family says. Bounds are four standard errors of what is counted, and what
// the formula itself leaves out where it says so; each family is also shown to fail the formulas of the others.
#include "kith/hash/collision.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kith/hash/bit_hash.hpp"
#include "kith/hash/sketch.hpp"
#include "kith/hash/vector_hash.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT

constexpr std::size_t functions = 400, trials = 100;

/// Standard error of a share p of all draws. Draws of one pair share their vectors, and fast rotations are not quite independent of each other: a little more is allowed.
double four_errors(double p) { return 4 * std::sqrt(p * (1 - p) / static_cast<double>(functions * trials)) + 0.002; }

struct Pair {
    std::vector<float> a, b;
};

/// Two vectors in random directions, at this angle; of lengths 1 and 3, which no family of directions looks at.
Pair at_angle(std::size_t dim, double angle, std::uint64_t trial) {
    const Random random(trial, 77);
    std::vector<double> u(dim), v(dim);
    double uu = 0, uv = 0, vv = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        u[i] = random.normal(i);
        v[i] = random.normal(dim + i);
        uu += u[i] * u[i];
        uv += u[i] * v[i];
    }
    for (std::size_t i = 0; i < dim; ++i) {
        v[i] -= uv / uu * u[i];
        vv += v[i] * v[i];
    }
    Pair pair{std::vector<float>(dim), std::vector<float>(dim)};
    for (std::size_t i = 0; i < dim; ++i) {
        pair.a[i] = static_cast<float>(u[i] / std::sqrt(uu));
        pair.b[i] = static_cast<float>(3 * (std::cos(angle) * u[i] / std::sqrt(uu) + std::sin(angle) * v[i] / std::sqrt(vv)));
    }
    return pair;
}

/// Two vectors at this distance: Euclidean, in a random direction; or Manhattan, spread unevenly over the coordinates.
Pair at_distance(std::size_t dim, double distance, bool manhattan, std::uint64_t trial) {
    const Random random(trial, 78);
    Pair pair{std::vector<float>(dim), std::vector<float>(dim)};
    std::vector<double> off(dim);
    double length = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        pair.a[i] = static_cast<float>(5 * random.normal(i));
        off[i] = manhattan ? std::pow(random.normal(dim + i), 3) : random.normal(dim + i);
        length += manhattan ? std::abs(off[i]) : off[i] * off[i];
    }
    if (!manhattan) length = std::sqrt(length);
    for (std::size_t i = 0; i < dim; ++i) pair.b[i] = pair.a[i] + static_cast<float>(off[i] / length * distance);
    return pair;
}

/// The share of tables of one function that give both the same key.
template <class Make>
double measured(VectorFamily family, std::size_t dim, float width, Make make) {
    double same = 0;
    VectorHash::Scratch scratch;
    std::vector<std::uint64_t> a(functions), b(functions);
    for (std::size_t trial = 0; trial < trials; ++trial) {
        const VectorHash hash(family, dim, functions, 1, 0, width, trial + 1);
        const Pair pair = make(trial);
        hash.keys(pair.a.data(), a.data(), scratch);
        hash.keys(pair.b.data(), b.data(), scratch);
        for (std::size_t t = 0; t < functions; ++t) same += a[t] == b[t] ? 1 : 0;
    }
    return same / static_cast<double>(functions * trials);
}

}  // namespace

TEST_CASE("hyperplanes: vectors share a bit with probability 1 - angle / pi", "[hash][quality]") {
    for (const double angle : {0.1, 0.5, 1.0, 1.5707963, 2.5}) {
        CAPTURE(angle);
        const double share = measured(VectorFamily::hyperplane, 24, 1, [&](std::size_t trial) { return at_angle(24, angle, trial); });
        CHECK(std::abs(share - hyperplane_collision(angle)) < four_errors(share));
        CHECK(std::abs(share - cross_polytope_collision(angle, 32)) > four_errors(share));
    }
    CHECK(hyperplane_collision(0) == 1);
    CHECK(hyperplane_collision(3.141592653589793) == Approx(0).margin(1e-12));
}

TEST_CASE("cross-polytopes: vectors share a pole as often as the integral says", "[hash][quality]") {
    for (const std::size_t dim : {64, 128, 100})
        for (const double angle : {0.2, 0.5, 0.8, 1.2}) {
            CAPTURE(dim, angle);
            const std::size_t coordinates = RotationChain::padded(dim);
            const double share = measured(VectorFamily::cross_polytope, dim, 1, [&](std::size_t trial) { return at_angle(dim, angle, trial); });
            // The integral takes coordinates of a rotated vector for independent, and has 60 steps a side.
            CHECK(std::abs(share - cross_polytope_collision(angle, coordinates)) < four_errors(share) + 0.006);
            CHECK(std::abs(share - hyperplane_collision(angle)) > 0.1);
            CHECK(std::abs(share - cross_polytope_collision(1.25 * angle, coordinates)) > four_errors(share) + 0.006);
        }
    CHECK(cross_polytope_collision(0.001, 128) > 0.98);
}

TEST_CASE("p-stable projections: vectors share an interval as the integral over their distance says", "[hash][quality]") {
    for (const double distance : {0.5, 1.0, 2.0, 5.0}) {
        CAPTURE(distance);
        const float width = 2;
        const double euclidean = measured(VectorFamily::gaussian, 20, width, [&](std::size_t trial) { return at_distance(20, distance, false, trial); });
        CHECK(std::abs(euclidean - gaussian_collision(distance, 2)) < four_errors(euclidean));
        CHECK(std::abs(euclidean - cauchy_collision(distance, 2)) > four_errors(euclidean));
        const double manhattan = measured(VectorFamily::cauchy, 20, width, [&](std::size_t trial) { return at_distance(20, distance, true, trial); });
        CHECK(std::abs(manhattan - cauchy_collision(distance, 2)) < four_errors(manhattan));
        CHECK(std::abs(manhattan - gaussian_collision(distance, 2)) > four_errors(manhattan));
    }
    CHECK(gaussian_collision(0, 1) == 1);
    CHECK(cauchy_collision(0, 1) == 1);
    CHECK(gaussian_collision(1e9, 1) < 1e-6);
}

TEST_CASE("sampled bits and MinHash: shares of bits that agree, and of set bits that are in both", "[hash][quality]") {
    const std::size_t bytes = 16, dims = 8 * bytes;
    for (const std::size_t different : {4, 20, 60}) {
        double sampled = 0, first = 0, jaccard = 0;
        BitHash::Scratch scratch;
        std::vector<std::uint64_t> a(functions), b(functions);
        for (std::size_t trial = 0; trial < trials; ++trial) {
            const Random random(trial, 79);
            std::vector<Bits8> x(bytes), y(bytes);
            std::vector<bool> in_x(dims), in_y(dims);
            for (std::size_t i = 0; i < dims; ++i) in_x[i] = in_y[i] = random.uniform(i) < 0.4;
            for (std::size_t i = 0; i < different; ++i) in_y[(i * 37 + trial) % dims] = !in_x[(i * 37 + trial) % dims];  // 37 and 128 have no common factor
            double both = 0, any = 0;
            for (std::size_t i = 0; i < dims; ++i) {
                if (in_x[i]) x[i / 8].bits = static_cast<std::uint8_t>(x[i / 8].bits | (0x80u >> (i % 8)));
                if (in_y[i]) y[i / 8].bits = static_cast<std::uint8_t>(y[i / 8].bits | (0x80u >> (i % 8)));
                both += in_x[i] && in_y[i] ? 1 : 0;
                any += in_x[i] || in_y[i] ? 1 : 0;
            }
            jaccard += (1 - both / any) / static_cast<double>(trials);
            for (const auto family : {BitFamily::bit_sampling, BitFamily::minhash}) {
                const BitHash hash(family, bytes, functions, 1, trial + 1);
                hash.keys(x.data(), a.data(), scratch);
                hash.keys(y.data(), b.data(), scratch);
                for (std::size_t t = 0; t < functions; ++t) (family == BitFamily::minhash ? first : sampled) += a[t] == b[t] ? 1 : 0;
            }
        }
        sampled /= static_cast<double>(functions * trials);
        first /= static_cast<double>(functions * trials);
        CAPTURE(different, jaccard);
        CHECK(std::abs(sampled - bit_collision(static_cast<double>(different), static_cast<double>(dims))) < four_errors(sampled));
        CHECK(std::abs(first - minhash_collision(jaccard)) < four_errors(first));
        CHECK(std::abs(first - bit_collision(static_cast<double>(different), static_cast<double>(dims))) > four_errors(first));
    }
}

TEST_CASE("sketches of sets differ in (1 - J) / 2 of their bits", "[hash]") {
    const std::size_t bits = 4096;
    std::vector<std::uint64_t> items, offsets{0};
    const auto add = [&](std::uint64_t first, std::uint64_t last) {
        for (std::uint64_t item = first; item < last; ++item) items.push_back(item * 1000003);
        offsets.push_back(items.size());
    };
    add(0, 100);
    add(0, 100);
    add(50, 150);   // J = 1/3
    add(10, 100);   // 9/10
    add(200, 300);  // 0
    add(0, 0);
    items.insert(items.begin() + 100, items.begin(), items.begin() + 40);  // the first set once more, some items twice
    for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] += 40;
    std::reverse(items.begin(), items.begin() + 140);
    ThreadPool pool(2);
    const auto rows = sketch_sets(items, offsets, bits, 3, pool);
    CHECK(std::equal(rows.begin(), rows.end(), sketch_sets(items, offsets, bits, 3).begin(), [](Bits8 a, Bits8 b) { return a.bits == b.bits; }));
    const auto differ = [&](std::size_t a, std::size_t b) {
        int count = 0;
        for (std::size_t i = 0; i < bits / 8; ++i) count += std::popcount(static_cast<unsigned>(rows[a * bits / 8 + i].bits ^ rows[b * bits / 8 + i].bits));
        return static_cast<double>(count) / static_cast<double>(bits);
    };
    const double error = 4 * 0.5 / std::sqrt(static_cast<double>(bits));
    CHECK(differ(0, 1) == 0);
    CHECK(std::abs(differ(0, 2) - 1.0 / 3) < error);
    CHECK(std::abs(differ(0, 3) - 0.05) < error);
    CHECK(std::abs(differ(0, 4) - 0.5) < error);
    for (std::size_t i = 0; i < bits / 8; ++i) CHECK(rows[5 * bits / 8 + i].bits == 0);
    test::check_error(ErrorCode::invalid_argument, {"multiple of 8", "12"}, [&] { sketch_sets(items, offsets, 12); });
    test::check_error(ErrorCode::invalid_argument, {"offsets", "530"}, [&] { sketch_sets(items, std::vector<std::uint64_t>{0, 5}, 16); });
}
