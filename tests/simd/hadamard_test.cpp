// SPDX-License-Identifier: Apache-2.0
//
// A round of a fast rotation: every table against the definition of the transform, and to the bit against every other table.
#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

/// Where the transform leaves coordinate i: blocks of 16 are transposed as 4 x 4 matrices.
std::size_t place_of(std::size_t i) { return i / 16 * 16 + i % 4 * 4 + i % 16 / 4; }

}  // namespace

TEST_CASE("hadamard: signs of common bits, transposed within sixteens", "[simd]") {
    const Random random(4);
    for (std::size_t n = 16; n <= 4096; n *= 2) {
        std::vector<float> x(n), factors(n);
        std::vector<double> product(n);
        for (std::size_t i = 0; i < n; ++i) {
            x[i] = static_cast<float>(random.normal(i));
            factors[i] = (random.bits(n + i) & 1u) != 0 ? -0.25f : 0.25f;
            product[i] = static_cast<double>(x[i]) * static_cast<double>(factors[i]);
        }
        std::vector<double> expected(n, 0.0);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t k = 0; k < n; ++k) expected[place_of(i)] += std::popcount(i & k) % 2 == 0 ? product[k] : -product[k];
        std::vector<float> first;
        for (const KernelTable* table : available_tables()) {
            CAPTURE(table->name, n);
            for (std::size_t offset = 0; offset < 4; ++offset) {
                std::vector<float> moved(n + 8, 7.0f), moved_factors(n + 4);
                std::copy(x.begin(), x.end(), moved.begin() + static_cast<std::ptrdiff_t>(offset));
                std::copy(factors.begin(), factors.end(), moved_factors.begin() + static_cast<std::ptrdiff_t>(offset));
                table->hadamard_f32(moved_factors.data() + offset, moved.data() + offset, n);
                const std::vector<float> found(moved.begin() + static_cast<std::ptrdiff_t>(offset), moved.begin() + static_cast<std::ptrdiff_t>(offset + n));
                if (first.empty()) first = found;
                CHECK(found == first);
                CHECK(std::all_of(moved.begin(), moved.begin() + static_cast<std::ptrdiff_t>(offset), [](float v) { return v == 7.0f; }));
                CHECK(std::all_of(moved.begin() + static_cast<std::ptrdiff_t>(offset + n), moved.end(), [](float v) { return v == 7.0f; }));
            }
        }
        double worst = 0;
        for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(static_cast<double>(first[i]) - expected[i]));
        CHECK(worst < 1e-5 * std::sqrt(static_cast<double>(n)));
    }
}

}  // namespace kith::simd::test
