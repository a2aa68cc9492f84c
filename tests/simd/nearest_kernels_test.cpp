// SPDX-License-Identifier: Apache-2.0
//
// The kernels of k-means: packed panels and their norms, the least two scores of each row, sums of rows, bytes as floats.
#include <algorithm>
#include <limits>

#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<std::size_t> depths() {
    std::vector<std::size_t> d;
    for (std::size_t i = 1; i <= 70; ++i) d.push_back(i);
    for (const std::size_t i : {127, 128, 129, 256, 300, 1030}) d.push_back(i);
    return d;
}

/// Small whole numbers: every product and every sum is exact, so that scores can be compared with ==, and many are equal.
std::vector<float> whole_numbers(std::size_t n, std::uint64_t seed, std::uint64_t range) {
    const Random random(seed);
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(static_cast<double>(random.below(i, 2 * range + 1)) - static_cast<double>(range));
    return x;
}

struct Panel {
    std::vector<float> values, norms, least, second;
    std::vector<std::uint32_t> number;

    Panel(const NearestTile& tile, const float* rows, std::size_t stride, std::size_t count, std::size_t dim, const float* centre)
        : values(tile.lanes * dim + 1, 42.0f), norms(tile.lanes + 1, 42.0f), least(tile.lanes, infinity), second(tile.lanes, infinity),
          number(tile.lanes, 77) {
        tile.pack(rows, stride, count, dim, centre, values.data(), norms.data());
    }

    NearestLanes lanes() { return {least.data(), second.data(), number.data()}; }
};

/// Exact data: whatever is scored in whatever pieces, the least two scores and the first centroid of the least.
void check_scores(const KernelTable& table, std::size_t dim, std::size_t centroids, std::uint64_t range) {
    const NearestTile& tile = table.nearest_f32;
    const std::size_t stride = dim + dim % 3;
    const std::size_t count = tile.lanes - 1;
    const std::vector<float> rows = whole_numbers(count * stride + 1, dim, range);
    const std::vector<float> others = whole_numbers(centroids * stride + 1, dim + 1000, range);
    const std::vector<float> bias = whole_numbers(centroids, 3, 2);
    const std::vector<float> centre(dim, 0.0f);
    Panel panel(tile, rows.data() + 1, stride, count, dim, centre.data());
    const std::size_t part = centroids / 3;  // a first call, and one that goes on
    tile.score(panel.values.data(), dim, others.data() + 1, stride, part, bias.data(), 5, panel.lanes());
    tile.score(panel.values.data(), dim, others.data() + 1 + part * stride, stride, centroids - part, bias.data() + part,
               static_cast<std::uint32_t>(5 + part), panel.lanes());
    for (std::size_t j = 0; j < count; ++j) {
        double least = 1e30, second = 1e30;
        std::size_t number = 0;
        for (std::size_t c = 0; c < centroids; ++c) {
            const double score = static_cast<double>(bias[c]) +
                                 reference(Kind::dot, rows.data() + 1 + j * stride, others.data() + 1 + c * stride, dim).value;
            if (score < least) {
                second = least;
                least = score;
                number = 5 + c;
            } else {
                second = std::min(second, score);
            }
        }
        if (static_cast<double>(panel.least[j]) != least || panel.number[j] != number ||
            (centroids > 1 ? static_cast<double>(panel.second[j]) != second : panel.second[j] != infinity))
            FAIL("dim " << dim << ", " << centroids << " centroids, lane " << j << ": " << panel.least[j] << ", " << panel.second[j] << " of "
                        << panel.number[j] << ", not " << least << ", " << second << " of " << number);
    }
}

void check_rounding(const KernelTable& table, std::size_t dim) {
    const NearestTile& tile = table.nearest_f32;
    constexpr std::size_t centroids = 37;
    const std::vector<float> rows = random_elements<float>(tile.lanes * dim, 51), others = random_elements<float>(centroids * dim, 52);
    const std::vector<float> bias = random_elements<float>(centroids, 53), centre = random_elements<float>(dim, 54);
    Panel panel(tile, rows.data(), dim, tile.lanes, dim, centre.data());
    tile.score(panel.values.data(), dim, others.data(), dim, centroids, bias.data(), 0, panel.lanes());
    std::vector<float> moved(dim);
    for (std::size_t j = 0; j < tile.lanes; ++j) {
        for (std::size_t k = 0; k < dim; ++k) moved[k] = rows[j * dim + k] - centre[k];
        std::vector<double> scores(centroids);
        double slack = 0;
        for (std::size_t c = 0; c < centroids; ++c) {
            const Reference dot = reference(Kind::dot, moved.data(), others.data() + c * dim, dim);
            scores[c] = dot.value + static_cast<double>(bias[c]);
            slack = std::max(slack, (static_cast<double>(dim) + 2.0) * 0x1p-24 * (dot.magnitude + std::abs(static_cast<double>(bias[c]))));
        }
        const double chosen = scores[panel.number[j]];
        std::sort(scores.begin(), scores.end());
        if (std::abs(static_cast<double>(panel.least[j]) - scores[0]) > slack || chosen > scores[0] + 2 * slack ||
            std::abs(static_cast<double>(panel.second[j]) - scores[1]) > slack)
            FAIL("dim " << dim << ", lane " << j << ": " << panel.least[j] << ", " << panel.second[j] << " not " << scores[0] << ", " << scores[1]);
    }
}

template <class T>
void check_bytes(void (*widen)(const T*, std::size_t, float*)) {
    const std::vector<T> from = random_elements<T>(201, 8);
    for (std::size_t n = 0; n <= 200; ++n) {
        std::vector<float> to(n + 1, 42.0f);
        widen(from.data() + 1, n, to.data());
        for (std::size_t i = 0; i < n; ++i)
            if (to[i] != static_cast<float>(from[i + 1])) FAIL("n " << n << ", element " << i << ": " << to[i]);
        if (to[n] != 42.0f) FAIL("n " << n << ": written past the end");
    }
}

}  // namespace

TEST_CASE("a panel holds its rows less the centre, transposed, and their norms") {
    for_each_table([](const KernelTable& table) {
        const NearestTile& tile = table.nearest_f32;
        for (const std::size_t dim : depths())
            for (const std::size_t count : {std::size_t{1}, std::size_t{3}, tile.lanes - 3, tile.lanes}) {
                const std::size_t stride = dim + dim % 3;
                const std::vector<float> rows = random_elements<float>(count * stride + 1, 41), centre = random_elements<float>(dim, 42);
                const Panel panel(tile, rows.data() + 1, stride, count, dim, centre.data());
                for (std::size_t j = 0; j < tile.lanes; ++j) {
                    double norm = 0;
                    for (std::size_t k = 0; k < dim; ++k) {
                        const float expected = j < count ? rows[1 + j * stride + k] - centre[k] : 0.0f;
                        if (panel.values[k * tile.lanes + j] != expected) FAIL("dim " << dim << ", lane " << j << ", element " << k);
                        norm += static_cast<double>(expected) * static_cast<double>(expected);
                    }
                    if (std::abs(static_cast<double>(panel.norms[j]) - norm) > static_cast<double>(dim) * 0x1p-23 * norm)
                        FAIL("dim " << dim << ", norm of lane " << j << ": " << panel.norms[j] << ", not " << norm);
                }
                REQUIRE(panel.values.back() == 42.0f);
                REQUIRE(panel.norms.back() == 42.0f);
            }
    });
}

TEST_CASE("the nearest tile keeps the least two scores and the first centroid of the least") {
    for_each_table([](const KernelTable& table) {
        for (const std::size_t dim : depths()) check_scores(table, dim, 50, dim < 8 ? 2 : 9);  // few dimensions: many ties
        for (std::size_t centroids = 1; centroids <= 40; ++centroids) check_scores(table, 3, centroids, 1);
    });
}

TEST_CASE("the nearest tile's scores are right up to rounding") {
    for_each_table([](const KernelTable& table) {
        for (const std::size_t dim : depths()) check_rounding(table, dim);
    });
}

TEST_CASE("sums of rows are the same bits on every instruction set") {
    const std::vector<float> rows = random_elements<float>(64 * 140, 61);
    const Random random(62);
    for (const std::size_t dim : {1, 2, 7, 8, 9, 16, 31, 128, 135})
        for (const std::size_t count : {0, 1, 3, 4, 5, 8, 30}) {
            std::vector<Slot> slots(count);
            for (std::size_t i = 0; i < count; ++i) slots[i] = static_cast<Slot>(random.below(i, 64));  // some twice
            std::vector<double> expected(dim + 1, 0.5);
            for (const Slot slot : slots)
                for (std::size_t d = 0; d < dim; ++d) expected[d] += static_cast<double>(rows[slot * 140 + d]);
            for_each_table([&](const KernelTable& table) {
                std::vector<double> sums(dim + 1, 0.5);
                table.add_rows_f32(rows.data(), 140, slots.data(), count, dim, sums.data());
                if (sums != expected) FAIL("dim " << dim << ", " << count << " rows");
            });
        }
}

TEST_CASE("bytes are widened exactly") {
    for_each_table([](const KernelTable& table) {
        check_bytes<std::int8_t>(table.widen_i8);
        check_bytes<std::uint8_t>(table.widen_u8);
    });
}

}  // namespace kith::simd::test
