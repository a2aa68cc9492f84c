// SPDX-License-Identifier: Apache-2.0
//
// Integer and bit kernels of every table are exact: every length from 0 to 1,030, the extreme values, the largest dimension.
#include <bit>

#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

template <class T>
using Member = DistanceKernels<T, std::int32_t> KernelTable::*;

template <class T>
std::vector<std::int32_t> norms_of(const RowsRef<T>& rows, std::size_t count) {
    const std::vector<T> zero(rows.dim);
    std::vector<std::int32_t> norms(count);
    for (std::size_t r = 0; r < count; ++r)
        norms[r] = static_cast<std::int32_t>(
            exact_reference(Kind::l2, zero.data(), rows.data + r * rows.stride, rows.dim));
    return norms;
}

template <class T>
void check_rows(Kind kind, Member<T> member, const T* query, RowsRef<T> rows, std::size_t count) {
    const std::vector<std::int32_t> norms = norms_of(rows, count);
    rows.squared_norms = norms.data();
    std::vector<std::int64_t> expected(count);
    for (std::size_t r = 0; r < count; ++r)
        expected[r] = exact_reference(kind, query, rows.data + r * rows.stride, rows.dim);
    for_each_table([&](const KernelTable& table) {
        std::vector<std::int32_t> out(count);
        (table.*member).run(query, rows, 0, count, out.data());
        for (std::size_t r = 0; r < count; ++r) {
            const std::int32_t one =
                (table.*member).one(query, rows.data + r * rows.stride, rows.dim);
            if (out[r] != expected[r] || one != expected[r])
                FAIL("dim " << rows.dim << " row " << r << ": run " << out[r] << ", one " << one
                            << ", expected " << expected[r]);
        }
    });
}

template <class T>
void check(Kind kind, Member<T> member) {
    constexpr std::size_t count = 9;
    const std::vector<T> data = random_elements<T>((count + 1) * longest + 16, 11);
    const std::vector<T> query = random_elements<T>(longest + 1, 12);
    for (std::size_t dim = 0; dim <= longest; ++dim)
        check_rows<T>(kind, member, query.data() + 1,
                      {data.data() + dim % 7, dim + dim % 3, dim, nullptr}, count);
}

template <class T>
void check_extremes(Kind kind, Member<T> member) {
    constexpr std::size_t count = 9;
    using Limits = std::numeric_limits<T>;
    for (const std::size_t dim : {1, 63, 64, 200, 33025})
        for (const T a : {Limits::min(), Limits::max(), T{0}, T{1}})
            for (const T b : {Limits::min(), Limits::max(), T{0}}) {
                const std::vector<T> query(dim, a);
                const std::vector<T> data(dim * count, b);
                check_rows<T>(kind, member, query.data(), {data.data(), dim, dim, nullptr}, count);
            }
}

template <class T>
void check_groups(Member<T> member) {
    const std::vector<T> data = random_elements<T>(20 * 800, 14);
    const std::vector<T> query = random_elements<T>(800, 15);
    for (const std::size_t dim : {0, 1, 31, 64, 100, 128, 333, 768}) {
        RowsRef<T> rows{data.data() + 1, dim + 3, dim, nullptr};
        const std::vector<std::int32_t> norms = norms_of(rows, 19);
        rows.squared_norms = norms.data();
        for_each_table([&](const KernelTable& table) {
            check_grouping(table.*member, query.data(), rows, [&](std::size_t r) {
                return (table.*member).one(query.data(), rows.data + r * rows.stride, dim);
            });
        });
    }
}

struct BitCounts {
    std::int32_t differing = 0, both = 0, any = 0;
};

BitCounts count_bits(const Bits8* a, const Bits8* b, std::size_t bytes) {
    BitCounts c;
    for (std::size_t i = 0; i < bytes; ++i) {
        const unsigned x = a[i].bits, y = b[i].bits;
        c.differing += std::popcount(x ^ y);
        c.both += std::popcount(x & y);
        c.any += std::popcount(x | y);
    }
    return c;
}

}  // namespace

TEST_CASE("i8 kernels are exact at every length") {
    check<std::int8_t>(Kind::l2, &KernelTable::l2_i8);
    check<std::int8_t>(Kind::dot, &KernelTable::dot_i8);
    check<std::int8_t>(Kind::l1, &KernelTable::l1_i8);
}

TEST_CASE("u8 kernels are exact at every length") {
    check<std::uint8_t>(Kind::l2, &KernelTable::l2_u8);
    check<std::uint8_t>(Kind::dot, &KernelTable::dot_u8);
    check<std::uint8_t>(Kind::l1, &KernelTable::l1_u8);
}

TEST_CASE("integer kernels are exact for extreme values up to the largest dimension") {
    check_extremes<std::int8_t>(Kind::l2, &KernelTable::l2_i8);
    check_extremes<std::int8_t>(Kind::dot, &KernelTable::dot_i8);
    check_extremes<std::int8_t>(Kind::l1, &KernelTable::l1_i8);
    check_extremes<std::uint8_t>(Kind::l2, &KernelTable::l2_u8);
    check_extremes<std::uint8_t>(Kind::dot, &KernelTable::dot_u8);
    check_extremes<std::uint8_t>(Kind::l1, &KernelTable::l1_u8);
}

TEST_CASE("integer scores do not depend on how rows are grouped") {
    check_groups<std::int8_t>(&KernelTable::l2_i8);
    check_groups<std::int8_t>(&KernelTable::dot_i8);
    check_groups<std::int8_t>(&KernelTable::l1_i8);
    check_groups<std::uint8_t>(&KernelTable::l2_u8);
    check_groups<std::uint8_t>(&KernelTable::dot_u8);
    check_groups<std::uint8_t>(&KernelTable::l1_u8);
}

TEST_CASE("a run that is longer than the first cache is exact") {
    constexpr std::size_t dim = 130, count = 603;
    const std::vector<std::uint8_t> data = random_elements<std::uint8_t>(count * dim, 16);
    const std::vector<std::uint8_t> query = random_elements<std::uint8_t>(dim, 17);
    check_rows<std::uint8_t>(Kind::l2, &KernelTable::l2_u8, query.data(),
                             {data.data(), dim, dim, nullptr}, count);
    check_rows<std::uint8_t>(Kind::dot, &KernelTable::dot_u8, query.data(),
                             {data.data(), dim, dim, nullptr}, count);
    check_rows<std::uint8_t>(Kind::l1, &KernelTable::l1_u8, query.data(),
                             {data.data(), dim, dim, nullptr}, count);
}

TEST_CASE("bit kernels are exact at every length") {
    constexpr std::size_t count = 9;
    const std::vector<Bits8> data = random_elements<Bits8>((count + 1) * longest + 16, 21);
    const std::vector<Bits8> query = random_elements<Bits8>(longest, 22);
    for (std::size_t bytes = 0; bytes <= longest; ++bytes) {
        const RowsRef<Bits8> rows{data.data() + bytes % 7, bytes + bytes % 3, bytes, nullptr};
        for_each_table([&](const KernelTable& table) {
            std::int32_t hamming[count];
            float jaccard[count];
            table.hamming_b1.run(query.data(), rows, 0, count, hamming);
            table.jaccard_b1.run(query.data(), rows, 0, count, jaccard);
            for (std::size_t r = 0; r < count; ++r) {
                const Bits8* row = rows.data + r * rows.stride;
                const BitCounts c = count_bits(query.data(), row, bytes);
                const float distance =
                    c.any == 0 ? 0.0f
                               : static_cast<float>(c.any - c.both) / static_cast<float>(c.any);
                if (hamming[r] != c.differing ||
                    table.hamming_b1.one(query.data(), row, bytes) != c.differing)
                    FAIL("hamming, bytes " << bytes << " row " << r);
                if (jaccard[r] != distance ||
                    table.jaccard_b1.one(query.data(), row, bytes) != distance)
                    FAIL("jaccard, bytes " << bytes << " row " << r);
            }
        });
    }
}

TEST_CASE("bit scores do not depend on how rows are grouped; empty sets are at distance zero") {
    const std::vector<Bits8> data = random_elements<Bits8>(20 * 300, 23);
    const std::vector<Bits8> query = random_elements<Bits8>(300, 24);
    const std::vector<Bits8> zero(300);
    const std::vector<Bits8> ones(300, Bits8{255});
    for (const std::size_t bytes : {0, 1, 16, 64, 65, 192, 250})
        for_each_table([&](const KernelTable& table) {
            const RowsRef<Bits8> rows{data.data() + 1, bytes + 3, bytes, nullptr};
            check_grouping(table.hamming_b1, query.data(), rows, [&](std::size_t r) {
                return table.hamming_b1.one(query.data(), rows.data + r * rows.stride, bytes);
            });
            check_grouping(table.jaccard_b1, query.data(), rows, [&](std::size_t r) {
                return table.jaccard_b1.one(query.data(), rows.data + r * rows.stride, bytes);
            });
            CHECK(table.jaccard_b1.one(zero.data(), zero.data(), bytes) == 0.0f);
            CHECK(table.jaccard_b1.one(zero.data(), ones.data(), bytes) ==
                  (bytes == 0 ? 0.0f : 1.0f));
            CHECK(table.hamming_b1.one(zero.data(), ones.data(), bytes) ==
                  static_cast<std::int32_t>(8 * bytes));
        });
}

}  // namespace kith::simd::test
