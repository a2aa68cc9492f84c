// SPDX-License-Identifier: Apache-2.0
//
// Kernels over rows of packed 4-bit levels, of every table, are exact: every length from 0 to 520 bytes, the extreme values, the largest
// dimension; their shapes agree, and a row that is unpacked to a query is at the distance of the two rows.
#include <algorithm>

#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// Dimension i of a packed row, as simd/nibble_kernels.hpp describes the layout.
int level_of(const std::uint8_t* row, std::size_t bytes, std::size_t i) {
    const std::size_t begin = i / 128 * 64;
    const std::size_t n = std::min<std::size_t>(64, bytes - begin);
    const std::size_t j = i % 128;
    return j < n ? row[begin + j] & 15 : row[begin + j - n] >> 4;
}

std::int64_t l2_of(const std::int8_t* q, const std::uint8_t* row, std::size_t bytes) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < 2 * bytes; ++i) {
        const std::int64_t d = q[i] - 4 * level_of(row, bytes, i);
        sum += d * d;
    }
    return sum;
}

std::int64_t dot_of(const std::int8_t* q, const std::uint8_t* row, std::size_t bytes) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < 2 * bytes; ++i) sum += q[i] * (level_of(row, bytes, i) - 8);
    return sum;
}

std::vector<std::int8_t> quarters(std::size_t n, std::uint64_t seed) {
    std::vector<std::int8_t> q = random_elements<std::int8_t>(n, seed);
    for (auto& x : q) x = static_cast<std::int8_t>(x < -67 ? x + 128 : x);
    return q;
}

/// A packed row as a query of either kind.
std::vector<std::int8_t> row_as_quarters(const std::uint8_t* row, std::size_t bytes) {
    std::vector<std::int8_t> q(2 * bytes);
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<std::int8_t>(4 * level_of(row, bytes, i));
    return q;
}
std::vector<std::int8_t> row_as_levels(const std::uint8_t* row, std::size_t bytes) {
    std::vector<std::int8_t> q(2 * bytes);
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<std::int8_t>(level_of(row, bytes, i) - 8);
    return q;
}

template <class Reference>
void check_rows(NibbleKernels KernelTable::*member, const std::int8_t* q, const RowsRef<std::uint8_t>& rows, std::size_t count,
                Reference reference) {
    std::vector<std::int64_t> expected(count);
    for (std::size_t r = 0; r < count; ++r) expected[r] = reference(q, rows.data + r * rows.stride, rows.dim);
    for_each_table([&](const KernelTable& table) {
        std::vector<std::int32_t> out(count);
        (table.*member).run(q, rows, 0, count, out.data());
        for (std::size_t r = 0; r < count; ++r)
            if (out[r] != expected[r])
                FAIL("bytes " << rows.dim << " row " << r << ": " << out[r] << ", expected " << expected[r]);
    });
}

}  // namespace

TEST_CASE("kernels over packed 4-bit levels are exact at every length") {
    constexpr std::size_t count = 9, most = 520;
    const Bytes data = random_elements<std::uint8_t>((count + 1) * most + 16, 51);
    const auto query = quarters(2 * most + 1, 52);
    const auto signed_query = random_elements<std::int8_t>(2 * most + 1, 53);
    for (std::size_t bytes = 0; bytes <= most; ++bytes) {
        const RowsRef<std::uint8_t> rows{data.data() + bytes % 7, bytes + bytes % 3, bytes, nullptr};
        check_rows(&KernelTable::l2_n4, query.data() + 1, rows, count, l2_of);
        check_rows(&KernelTable::dot_n4, signed_query.data() + 1, rows, count, dot_of);
        const std::uint8_t* const a = rows.data;
        const std::uint8_t* const b = rows.data + 5 * rows.stride;
        const std::int64_t l2 = l2_of(row_as_quarters(a, bytes).data(), b, bytes);
        const std::int64_t dot = dot_of(row_as_levels(a, bytes).data(), b, bytes);
        for_each_table([&](const KernelTable& table) {
            if (table.l2_n4.one(a, b, bytes) != l2 || table.l2_n4.one(b, a, bytes) != l2) FAIL("l2 of two rows, bytes " << bytes);
            if (table.dot_n4.one(a, b, bytes) != dot || table.dot_n4.one(b, a, bytes) != dot) FAIL("dot of two rows, bytes " << bytes);
        });
    }
}

TEST_CASE("kernels over packed 4-bit levels are exact for extreme values up to the largest dimension") {
    constexpr std::size_t count = 9;
    for (const std::size_t bytes : {1, 16, 63, 64, 65, 200, 66572})
        for (const unsigned code : {0x00u, 0xFFu, 0x0Fu, 0xF0u, 0x88u}) {
            const Bytes data(bytes * count, static_cast<std::uint8_t>(code));
            const RowsRef<std::uint8_t> rows{data.data(), bytes, bytes, nullptr};
            for (const std::int8_t q : {std::int8_t{-67}, std::int8_t{127}, std::int8_t{32}})
                check_rows(&KernelTable::l2_n4, std::vector<std::int8_t>(2 * bytes, q).data(), rows, count, l2_of);
            for (const std::int8_t q : {std::int8_t{-128}, std::int8_t{127}, std::int8_t{0}})
                check_rows(&KernelTable::dot_n4, std::vector<std::int8_t>(2 * bytes, q).data(), rows, count, dot_of);
            const Bytes other(bytes, static_cast<std::uint8_t>(~code));
            const std::int64_t l2 = l2_of(row_as_quarters(other.data(), bytes).data(), data.data(), bytes);
            const std::int64_t dot = dot_of(row_as_levels(other.data(), bytes).data(), data.data(), bytes);
            for_each_table([&](const KernelTable& table) {
                CHECK(table.l2_n4.one(other.data(), data.data(), bytes) == l2);
                CHECK(table.dot_n4.one(other.data(), data.data(), bytes) == dot);
            });
        }
}

TEST_CASE("scores of packed 4-bit levels do not depend on how rows are grouped") {
    const Bytes data = random_elements<std::uint8_t>(20 * 400, 54);
    for (const std::size_t bytes : {0, 1, 15, 32, 50, 64, 100, 167, 384}) {
        const RowsRef<std::uint8_t> rows{data.data() + 1, bytes + 3, bytes, nullptr};
        const auto row = row_as_quarters(data.data() + 7, bytes);
        const auto levels = row_as_levels(data.data() + 7, bytes);
        for_each_table([&](const KernelTable& table) {
            check_grouping(table.l2_n4, row.data(), rows, [&](std::size_t r) {
                return table.l2_n4.one(data.data() + 7, rows.data + r * rows.stride, bytes);
            });
            check_grouping(table.dot_n4, levels.data(), rows, [&](std::size_t r) {
                return table.dot_n4.one(data.data() + 7, rows.data + r * rows.stride, bytes);
            });
        });
    }
}

TEST_CASE("a run over packed 4-bit levels that is longer than the first cache is exact") {
    constexpr std::size_t bytes = 65, count = 603;
    const Bytes data = random_elements<std::uint8_t>(count * bytes, 55);
    const RowsRef<std::uint8_t> rows{data.data(), bytes, bytes, nullptr};
    check_rows(&KernelTable::l2_n4, quarters(2 * bytes, 56).data(), rows, count, l2_of);
    check_rows(&KernelTable::dot_n4, random_elements<std::int8_t>(2 * bytes, 57).data(), rows, count, dot_of);
}

}  // namespace kith::simd::test
