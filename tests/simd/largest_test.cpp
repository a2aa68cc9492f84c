// SPDX-License-Identifier: Apache-2.0
//
// The coordinate of the largest magnitude: every table against a loop, at every length and place in memory, with ties, signs and what is no number.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "simd/guarded.hpp"
#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

std::size_t largest_of(const std::vector<float>& x) {
    std::size_t best = 0;
    float most = -1;
    for (std::size_t i = 0; i < x.size(); ++i)
        if (std::abs(x[i]) > most) most = std::abs(x[best = i]);
    return best;
}

}  // namespace

TEST_CASE("largest: the first of the largest magnitude", "[simd]") {
    const Random random(5);
    std::uint64_t drawn = 0;
    for (std::size_t n = 1; n <= 200; n = n < 70 ? n + 1 : n + 13)
        for (std::size_t round = 0; round < 8; ++round) {
            std::vector<float> x(n);
            for (float& v : x) v = static_cast<float>(round % 2 == 0 ? random.normal(drawn) : static_cast<double>(random.below(drawn, 7)) - 3), ++drawn;
            constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
            if (round >= 4)
                for (std::size_t i = round % 3; i < n; i += 3) x[i] = nan;
            if (round == 6) x[random.below(++drawn, n)] = -infinity;
            if (round == 7) std::fill(x.begin(), x.end(), n % 2 == 0 ? nan : -0.0f);
            const std::size_t expected = largest_of(x);
            for (const KernelTable* table : available_tables()) {
                CAPTURE(table->name, n, round);
                const Guarded rows = guarded_for(x, round % 2 == 0);
                std::copy(x.begin(), x.end(), rows.get<float>());
                CHECK(table->largest_f32(rows.get<float>(), n) == expected);
            }
        }
}

}  // namespace kith::simd::test
