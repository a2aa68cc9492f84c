// SPDX-License-Identifier: Apache-2.0
//
// Tables of 16 floats to bytes: the numbers of plain loops, to the bit.
#include <algorithm>
#include <limits>

#include "simd/guarded.hpp"

namespace kith::simd::test {
namespace {

/// Calls check(table of kernels) for those that have them.
template <class Check>
void for_each_wide(Check check) {
    for_each_table([&](const KernelTable& t) {
        REQUIRE((t.byte_tables.range == nullptr) == (t.byte_tables.steps == nullptr));
        if (t.byte_tables.range != nullptr) check(t);
    });
}

}  // namespace

TEST_CASE("least entries, ranges and steps of tables of 16 floats") {
    for (const std::size_t m : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 392}) {
        auto table = random_elements<float>(16 * m, m);
        for (std::size_t i = 0; i < table.size(); ++i) table[i] = table[i] * static_cast<float>(1 + i / 16 % 5) - static_cast<float>(i / 16);
        double offsets[8] = {}, widest = 0;
        for (std::size_t j = 0; j < m; ++j) {
            const auto [least, most] = std::minmax_element(table.begin() + static_cast<std::ptrdiff_t>(16 * j), table.begin() + static_cast<std::ptrdiff_t>(16 * j + 16));
            offsets[j % 8] += static_cast<double>(*least);
            widest = std::max(widest, static_cast<double>(*most) - static_cast<double>(*least));
        }
        const float inverse = static_cast<float>(255 / widest);
        for_each_wide([&](const KernelTable& t) {
            std::vector<std::uint8_t> bytes(16 * m + 1, 77);
            double found[8], range = -1;
            CHECK(t.byte_tables.range(table.data(), m, bytes.data(), found, range));
            CHECK(range == widest);
            for (std::size_t i = 0; i < 8; ++i) CHECK(found[i] == offsets[i]);
            t.byte_tables.steps(table.data(), m, inverse, bytes.data());
            for (std::size_t j = 0; j < m; ++j) {
                const float least = *std::min_element(table.begin() + static_cast<std::ptrdiff_t>(16 * j), table.begin() + static_cast<std::ptrdiff_t>(16 * j + 16));
                for (std::size_t c = 0; c < 16; ++c) {
                    const volatile float above = table[16 * j + c] - least;  // each operation rounded, as in the kernel
                    const volatile float scaled = above * inverse;
                    const float steps = scaled + 0.5f;
                    const auto expected = static_cast<int>(std::min(steps, 255.0f));
                    if (bytes[16 * j + c] != expected) FAIL("entry " << c << " of table " << j << " of " << m << ": " << int{bytes[16 * j + c]} << ", expected " << expected);
                }
            }
            CHECK(bytes[16 * m] == 77);
        });
    }
}

TEST_CASE("tables that are not finite are told") {
    for_each_wide([](const KernelTable& t) {
        for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
            for (const std::size_t at : {0u, 15u, 16u, 255u, 256u, 271u}) {
                auto table = random_elements<float>(272, 1);
                std::vector<std::uint8_t> bytes(272);
                double offsets[8], range;
                CHECK(t.byte_tables.range(table.data(), 17, bytes.data(), offsets, range));
                table[at] = bad;
                CHECK_FALSE(t.byte_tables.range(table.data(), 17, bytes.data(), offsets, range));
            }
    });
}

TEST_CASE("tables of bytes are made without a look outside") {
    for (const std::size_t m : {1u, 16u, 19u})
        for (const bool at_end : {false, true}) {
            const auto entries = random_elements<float>(16 * m, 1);
            const Guarded table = guarded_for(entries, at_end), bytes(16 * m, at_end), offsets(8 * sizeof(double), at_end);
            std::memcpy(table.get<void>(), entries.data(), 4 * entries.size());
            for_each_wide([&](const KernelTable& t) {
                double range;
                CHECK(t.byte_tables.range(table.get<float>(), m, bytes.get<std::uint8_t>(), offsets.get<double>(), range));
                t.byte_tables.steps(table.get<float>(), m, 1.0f, bytes.get<std::uint8_t>());
            });
        }
}

}  // namespace kith::simd::test
