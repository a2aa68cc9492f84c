// SPDX-License-Identifier: Apache-2.0
//
// The filter of 8-bit codes: bytes are the floats' steps rounded down, sums of them are exact and compared as such, and what they bound is never below the bound.
#include <algorithm>
#include <limits>

#include "simd/guarded.hpp"

namespace kith::simd::test {
namespace {

constexpr std::size_t numbers_of_codes[] = {1, 2, 15, 16, 17, 31, 32, 33, 98, 255, 256};

/// Calls check(table of kernels) for those that have the filter.
template <class Check>
void for_each_filter(Check check) {
    for_each_table([&](const KernelTable& t) {
        REQUIRE((t.byte_filter.tabulate == nullptr) == (t.byte_filter.within == nullptr));
        if (t.byte_filter.within != nullptr) check(t);
    });
}

}  // namespace

TEST_CASE("bytes of a table are whole steps above its least entries") {
    for (const std::size_t m : numbers_of_codes) {
        auto table = random_elements<float>(256 * m, m);
        for (std::size_t j = 0; j < m; ++j)
            for (std::size_t c = 0; c < 256; ++c) table[256 * j + c] += static_cast<float>(j) - 3.0f;
        for_each_filter([&](const KernelTable& t) {
            std::vector<std::uint8_t> bytes(256 * m + 1, 77);
            ByteTable scale;
            t.byte_filter.tabulate(table.data(), m, bytes.data(), scale);
            float range = 0;
            double offset = 0, magnitude = 0;
            for (std::size_t j = 0; j < m; ++j) {
                const auto [least, most] = std::minmax_element(table.begin() + static_cast<std::ptrdiff_t>(256 * j), table.begin() + static_cast<std::ptrdiff_t>(256 * (j + 1)));
                range = std::max(range, *most - *least);
                offset += static_cast<double>(*least);
                magnitude += std::abs(static_cast<double>(*least));
            }
            CHECK(scale.scale == range / 255.0f);
            CHECK(scale.offset == Approx(offset));
            CHECK(scale.magnitude == Approx(magnitude + static_cast<double>(m) * static_cast<double>(range)));
            for (std::size_t j = 0; j < m; ++j) {
                const float least = *std::min_element(table.begin() + static_cast<std::ptrdiff_t>(256 * j), table.begin() + static_cast<std::ptrdiff_t>(256 * (j + 1)));
                for (std::size_t c = 0; c < 256; ++c) {
                    const double steps = (static_cast<double>(table[256 * j + c]) - static_cast<double>(least)) / static_cast<double>(scale.scale);
                    const double byte = bytes[256 * j + c];
                    if (!(byte <= steps + 1e-3 && byte >= steps - 1 - 1e-3)) FAIL("code " << c << " of subspace " << j << ": " << byte << " for " << steps);
                }
            }
            CHECK(bytes[256 * m] == 77);
        });
    }
}

TEST_CASE("a table that is not finite, or all of whose entries are alike, bounds nothing") {
    for_each_filter([&](const KernelTable& t) {
        std::vector<std::uint8_t> bytes(512);
        for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
            for (const std::size_t at : {0u, 17u, 255u, 256u, 511u}) {
                auto table = random_elements<float>(512, 1);
                table[at] = bad;
                ByteTable scale{7.0f, 0, 0};
                t.byte_filter.tabulate(table.data(), 2, bytes.data(), scale);
                CHECK(scale.scale == 0.0f);
            }
        ByteTable scale{7.0f, 0, 0};
        t.byte_filter.tabulate(std::vector<float>(512, 3.0f).data(), 2, bytes.data(), scale);
        CHECK(scale.scale == 0.0f);
    });
}

TEST_CASE("rows whose bytes add up to no more than a bound are found, whatever lies beside them") {
    for (const std::size_t m : numbers_of_codes)
        for (const std::size_t count : {1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 200, 256}) {
            const std::size_t stride = m + count % 3;
            const auto bytes = random_elements<std::uint8_t>(256 * m, m + 1), codes = random_elements<std::uint8_t>(count * stride, count);
            std::vector<std::uint32_t> sums(count);
            for (std::size_t i = 0; i < count; ++i)
                for (std::size_t j = 0; j < m; ++j) sums[i] += bytes[256 * j + codes[i * stride + j]];
            auto sorted = sums;
            std::sort(sorted.begin(), sorted.end());
            for_each_filter([&](const KernelTable& t) {
                for (const std::uint32_t most : {0u, sorted[0], sorted[count / 2], sorted[count / 2] == 0 ? 0u : sorted[count / 2] - 1, sorted.back(), 65535u}) {
                    std::vector<std::uint32_t> hits((count + 31) / 32 + 1, 0xABCDu);
                    t.byte_filter.within(bytes.data(), m, codes.data(), stride, count, {static_cast<float>(most)}, hits.data());
                    CHECK(hits.back() == 0xABCDu);
                    for (std::size_t i = 0; i < 32 * (hits.size() - 1); ++i)
                        if ((hits[i / 32] >> i % 32 & 1u) != (i < count && sums[i] <= most ? 1u : 0u)) FAIL("row " << i << " of " << count << ", " << m << " codes, bound " << most);
                }
            });
        }
}

TEST_CASE("each row has a limit of its own where rows have terms") {
    constexpr std::size_t m = 20;
    const auto bytes = random_elements<std::uint8_t>(256 * m, 3);
    for (const std::size_t count : {1, 16, 17, 31, 48, 63, 64, 100, 256}) {
        const auto codes = random_elements<std::uint8_t>(count * m, count + 1);
        auto terms = random_elements<float>(count, count + 2);  // below 1 in absolute value
        if (count > 40) {
            terms[5] = std::numeric_limits<float>::infinity();
            terms[36] = -std::numeric_limits<float>::infinity();
            terms[20] = std::numeric_limits<float>::quiet_NaN();
        }
        for_each_filter([&](const KernelTable& t) {
            for (const float slack : {0.0f, 64.0f}) {
                const ByteLimits limits{2560.0f, 1024.0f, slack, terms.data()};  // powers of two: exact but for the last bit of a sum
                std::vector<std::uint32_t> hits((count + 31) / 32 + 1, 0xABCDu);
                t.byte_filter.within(bytes.data(), m, codes.data(), m, count, limits, hits.data());
                CHECK(hits.back() == 0xABCDu);
                for (std::size_t i = 0; i < count; ++i) {
                    double sum = 0;
                    for (std::size_t j = 0; j < m; ++j) sum += bytes[256 * j + codes[i * m + j]];
                    const double limit = 2560.0 - 1024.0 * static_cast<double>(terms[i]) + static_cast<double>(slack) * std::abs(static_cast<double>(terms[i]));
                    if (std::abs(sum - limit) < 0.01 && sum != limit) continue;
                    const bool expected = !(sum > limit);
                    if ((hits[i / 32] >> i % 32 & 1u) != (expected ? 1u : 0u)) FAIL("row " << i << " of " << count << ": " << sum << " with " << limit);
                }
                if (count % 32 != 0) CHECK(hits[count / 32] >> count % 32 == 0);
            }
        });
    }
}

TEST_CASE("the filter reads nothing outside its arrays") {
    for (const std::size_t m : {1u, 5u, 16u, 20u})
        for (const std::size_t count : {1u, 33u, 64u, 70u})
            for (const bool at_end : {false, true}) {
                const auto entries = random_elements<float>(256 * m, 1);
                const auto rows = random_elements<std::uint8_t>(count * m, 2);
                const Guarded table = guarded_for(entries, at_end), codes = guarded_for(rows, at_end), bytes(256 * m, at_end), hits(4 * ((count + 31) / 32), at_end), terms(4 * count, at_end);
                std::memcpy(table.get<void>(), entries.data(), 4 * entries.size());
                std::memcpy(codes.get<void>(), rows.data(), rows.size());
                std::memset(terms.get<void>(), 0, 4 * count);
                for_each_filter([&](const KernelTable& t) {
                    ByteTable scale;
                    t.byte_filter.tabulate(table.get<float>(), m, bytes.get<std::uint8_t>(), scale);
                    t.byte_filter.within(bytes.get<std::uint8_t>(), m, codes.get<std::uint8_t>(), m, count, {65535.0f, 1.0f, 1.0f, terms.get<float>()}, hits.get<std::uint32_t>());
                    CHECK(hits.get<std::uint32_t>()[0] != 0);
                });
            }
}

}  // namespace kith::simd::test
