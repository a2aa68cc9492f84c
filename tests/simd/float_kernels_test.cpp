// SPDX-License-Identifier: Apache-2.0
//
// Float kernels of every table, every length from 0 to 1,030, against double precision.
#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

template <class T>
using Member = DistanceKernels<T, float> KernelTable::*;

/// A sum of n terms in c chains of additions has an error below (n / c + what reduces the chains) half-units of the sum of
/// the terms' sizes; forming a term costs up to three more (difference, square, product not fused).
double tolerance(const KernelTable& table, std::size_t dim, double magnitude) {
    const double chain = static_cast<double>(dim) / static_cast<double>(2 * width(table)) + 1.0;
    return (chain + 5.0 + 3.0) * 0x1p-24 * magnitude;
}

template <class T>
void check(Kind kind, Member<T> member) {
    constexpr std::size_t rows = 9;  // a whole group and one more, for every table
    const std::vector<T> data = random_elements<T>((rows + 1) * longest + 16, 1);
    const std::vector<T> other = random_elements<T>(longest, 2);
    const std::vector<float> query = random_elements<float>(longest, 3);
    std::vector<float> widened(longest);
    for (std::size_t i = 0; i < longest; ++i) widened[i] = to_float(other[i]);

    for (std::size_t dim = 0; dim <= longest; ++dim) {
        const std::size_t offset = dim % 7;  // rows at odd addresses
        const std::size_t stride = dim + dim % 3;
        const RowsRef<T> ref{data.data() + offset, stride, dim, nullptr};
        std::vector<Reference> expected(rows);
        for (std::size_t r = 0; r < rows; ++r)
            expected[r] = reference(kind, query.data(), ref.data + r * stride, dim);
        for_each_table([&](const KernelTable& table) {
            const auto& kernels = table.*member;
            float out[rows];
            kernels.run(query.data(), ref, 0, rows, out);
            for (std::size_t r = 0; r < rows; ++r) {
                const double error = std::abs(static_cast<double>(out[r]) - expected[r].value);
                if (!(error <= tolerance(table, dim, expected[r].magnitude)))
                    FAIL("dim " << dim << " row " << r << ": " << out[r] << " instead of "
                                << expected[r].value);
            }
            // One to one, and the same bits from a run whose query holds the same numbers.
            for (std::size_t r = 0; r < rows; r += 8) {
                const T* row = ref.data + r * stride;
                const float one = kernels.one(other.data(), row, dim);
                float same;
                kernels.run(widened.data(), ref, r, 1, &same);
                if (!same_bits(one, same)) FAIL("one and run differ, dim " << dim);
            }
        });
    }
}

template <class T>
void check_groups(Member<T> member) {
    const std::vector<T> data = random_elements<T>(20 * 800, 4);
    const std::vector<T> other = random_elements<T>(800, 5);
    std::vector<float> query(800);
    for (std::size_t i = 0; i < 800; ++i) query[i] = to_float(other[i]);
    for (const std::size_t dim : {0, 1, 5, 16, 31, 32, 33, 63, 100, 128, 333, 768})
        for_each_table([&](const KernelTable& table) {
            const RowsRef<T> rows{data.data() + 1, dim + 3, dim, nullptr};
            check_grouping(table.*member, query.data(), rows, [&](std::size_t r) {
                return (table.*member).one(other.data(), rows.data + r * rows.stride, dim);
            });
        });
}

}  // namespace

TEST_CASE("f32 kernels agree with double precision at every length") {
    check<float>(Kind::l2, &KernelTable::l2_f32);
    check<float>(Kind::dot, &KernelTable::dot_f32);
    check<float>(Kind::l1, &KernelTable::l1_f32);
}

TEST_CASE("f16 kernels agree with double precision at every length") {
    check<Half>(Kind::l2, &KernelTable::l2_f16);
    check<Half>(Kind::dot, &KernelTable::dot_f16);
    check<Half>(Kind::l1, &KernelTable::l1_f16);
}

TEST_CASE("bf16 kernels agree with double precision at every length") {
    check<BFloat16>(Kind::l2, &KernelTable::l2_bf16);
    check<BFloat16>(Kind::dot, &KernelTable::dot_bf16);
    check<BFloat16>(Kind::l1, &KernelTable::l1_bf16);
}

TEST_CASE("float scores do not depend on how rows are grouped") {
    check_groups<float>(&KernelTable::l2_f32);
    check_groups<float>(&KernelTable::dot_f32);
    check_groups<float>(&KernelTable::l1_f32);
    check_groups<Half>(&KernelTable::l2_f16);
    check_groups<Half>(&KernelTable::dot_f16);
    check_groups<Half>(&KernelTable::l1_f16);
    check_groups<BFloat16>(&KernelTable::l2_bf16);
    check_groups<BFloat16>(&KernelTable::dot_bf16);
    check_groups<BFloat16>(&KernelTable::l1_bf16);
}

TEST_CASE("a long run, which is read row by row, has the bits of a short one") {
    constexpr std::size_t dim = 130, count = 203;
    const std::vector<float> data = random_elements<float>(count * dim, 7);
    const std::vector<float> query = random_elements<float>(dim, 8);
    const RowsRef<float> rows{data.data(), dim, dim, nullptr};
    for_each_table([&](const KernelTable& table) {
        for (const auto& kernels : {table.l2_f32, table.dot_f32, table.l1_f32}) {
            std::vector<float> out(count), piece(1);
            kernels.run(query.data(), rows, 0, count, out.data());
            for (std::size_t i = 0; i < count; ++i) {
                kernels.run(query.data(), rows, i, 1, piece.data());
                REQUIRE(same_bits(out[i], piece[0]));
            }
        }
    });
}

TEST_CASE("identical rows are at distance zero and infinities stay infinite") {
    for_each_table([](const KernelTable& table) {
        const std::vector<float> x = random_elements<float>(97, 6);
        CHECK(table.l2_f32.one(x.data(), x.data(), x.size()) == 0.0f);
        CHECK(table.l1_f32.one(x.data(), x.data(), x.size()) == 0.0f);
        std::vector<float> y = x;
        y[96] = std::numeric_limits<float>::infinity();
        CHECK(std::isinf(table.l2_f32.one(x.data(), y.data(), x.size())));
        const Half big{0x7BFF}, inf{0x7C00}, one{0x3C00};
        CHECK(table.dot_f16.one(&big, &one, 1) == 65504.0f);
        CHECK(std::isinf(table.dot_f16.one(&inf, &one, 1)));
    });
}

TEST_CASE("every half and bfloat16 widens exactly") {
    std::vector<Half> halves(65536);
    std::vector<BFloat16> bfloats(65536);
    for (std::size_t i = 0; i < 65536; ++i) {
        halves[i].bits = static_cast<std::uint16_t>(i);
        bfloats[i].bits = static_cast<std::uint16_t>(i);
    }
    for_each_table([&](const KernelTable& table) {
        // One short, so that the last elements take the path of a rest.
        std::vector<float> a(65536), b(65536);
        table.widen_f16(halves.data(), 65536, a.data());
        table.widen_bf16(bfloats.data(), 65536, b.data());
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < 65536; ++i) {
            const float half = to_float(halves[i]);
            const float bfloat = to_float(bfloats[i]);
            wrong += std::isnan(half) ? !std::isnan(a[i]) : !same_bits(a[i], half);
            wrong += std::isnan(bfloat) ? !std::isnan(b[i]) : !same_bits(b[i], bfloat);
        }
        CHECK(wrong == 0);
        for (std::size_t n = 0; n < 40; ++n) {
            std::vector<float> out(n + 1, -7.0f);
            table.widen_f16(halves.data() + 15000, n, out.data());
            for (std::size_t i = 0; i < n; ++i) REQUIRE(out[i] == to_float(halves[15000 + i]));
            REQUIRE(out[n] == -7.0f);
            table.widen_bf16(bfloats.data() + 15000, n, out.data());
            for (std::size_t i = 0; i < n; ++i) REQUIRE(out[i] == to_float(bfloats[15000 + i]));
            REQUIRE(out[n] == -7.0f);
        }
    });
}

}  // namespace kith::simd::test
