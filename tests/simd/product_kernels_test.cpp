// SPDX-License-Identifier: Apache-2.0
//
// Product quantisation's kernels: table entries and nearest centroids against double precision, the scan of 8-bit codes
// against plain loops to the bit, whatever rows are grouped with; pairs of codes are what a scan finds for them.
#include <algorithm>
#include <limits>

#include "simd/guarded.hpp"

namespace kith::simd::test {
namespace {

struct Codebooks {
    std::size_t dim, m, count;
    std::vector<float> by_centroid, by_dimension;

    std::size_t first(std::size_t j) const { return j * (dim / m) + std::min(j, dim % m); }
    std::size_t length(std::size_t j) const { return first(j + 1) - first(j); }
    const float* centroid(std::size_t j, std::size_t c) const { return &by_centroid[first(j) * count + c * length(j)]; }
    CodebooksRef ref() const { return {by_dimension.data(), by_centroid.data(), dim, m, count}; }
};

Codebooks random_books(std::size_t dim, std::size_t m, std::size_t count, std::uint64_t seed) {
    Codebooks books{dim, m, count, random_elements<float>(dim * count, seed), {}};
    books.by_dimension.resize(dim * count);
    for (std::size_t j = 0; j < m; ++j)
        for (std::size_t c = 0; c < count; ++c)
            for (std::size_t k = 0; k < books.length(j); ++k)
                books.by_dimension[(books.first(j) + k) * count + c] = books.centroid(j, c)[k];
    return books;
}

/// Calls check(dim, m, count) for subspaces of equal and of different lengths.
template <class Check>
void for_each_shape(Check check) {
    for (const std::size_t count : {16u, 256u})
        for (const auto& [dim, m] : {std::pair{1u, 1u}, {2u, 2u}, {7u, 3u}, {16u, 16u}, {33u, 8u}, {128u, 16u}, {100u, 33u}})
            check(dim, m, count);
}

std::vector<std::uint8_t> random_codes(std::size_t n, std::size_t count, std::uint64_t seed) {
    auto codes = random_elements<std::uint8_t>(n, seed);
    for (auto& code : codes) code = static_cast<std::uint8_t>(code % count);
    return codes;
}

}  // namespace

TEST_CASE("tables hold the distances of sub-vectors from centroids") {
    for_each_shape([](std::size_t dim, std::size_t m, std::size_t count) {
        const Codebooks books = random_books(dim, m, count, dim + count);
        const auto q = random_elements<float>(dim, 3);
        for_each_table([&](const KernelTable& t) {
            for (const Kind kind : {Kind::l2, Kind::dot}) {
                std::vector<float> table(m * count + 1, -77.0f);
                (kind == Kind::l2 ? t.product.l2_table : t.product.dot_table)(q.data(), books.ref(), table.data());
                for (std::size_t j = 0; j < m; ++j)
                    for (std::size_t c = 0; c < count; ++c) {
                        const Reference r = reference(kind, &q[books.first(j)], books.centroid(j, c), books.length(j));
                        const double error = std::abs(static_cast<double>(table[j * count + c]) - (kind == Kind::l2 ? r.value : -r.value));
                        if (!(error <= (static_cast<double>(books.length(j)) + 2) * 0x1p-24 * r.magnitude))
                            FAIL("dim " << dim << ", m " << m << ", subspace " << j << ", centroid " << c << ": off by " << error);
                    }
                if (!same_bits(table[m * count], -77.0f)) FAIL("wrote past the end");
            }
        });
    });
}

TEST_CASE("a code is the nearest centroid's, the first of equal ones") {
    for_each_shape([](std::size_t dim, std::size_t m, std::size_t count) {
        Codebooks books = random_books(dim, m, count, 7 * dim + count);
        const Random random(dim);
        for_each_table([&](const KernelTable& t) {
            std::vector<float> table(m * count);
            std::vector<std::uint8_t> codes(m + 1, 0x77);
            for (std::uint64_t seed = 0; seed < 20; ++seed) {
                auto q = random_elements<float>(dim, seed);
                if (seed % 4 == 0)  // a centroid itself
                    for (std::size_t j = 0; j < m; ++j)
                        std::copy_n(books.centroid(j, random.below(seed * m + j, count)), books.length(j), &q[books.first(j)]);
                t.product.encode(q.data(), books.ref(), codes.data());
                t.product.l2_table(q.data(), books.ref(), table.data());
                for (std::size_t j = 0; j < m; ++j) {
                    const float* entries = &table[j * count];
                    if (codes[j] != std::min_element(entries, entries + count) - entries)
                        FAIL("dim " << dim << ", m " << m << ", subspace " << j << ": code " << int{codes[j]});
                }
                if (codes[m] != 0x77) FAIL("wrote past the end");
            }
        });
    });
    // All centroids alike, then all but one; NaN is near to nothing.
    for (const std::size_t count : {16u, 256u}) {
        Codebooks books = random_books(6, 2, count, 1);
        std::fill(books.by_dimension.begin(), books.by_dimension.end(), 1.0f);
        const std::vector<float> q{1, 2, 3, 4, 5, 6};
        const std::vector<float> unknown(6, std::numeric_limits<float>::quiet_NaN());
        for_each_table([&](const KernelTable& t) {
            std::uint8_t codes[2] = {9, 9};
            t.product.encode(q.data(), books.ref(), codes);
            CHECK((codes[0] == 0 && codes[1] == 0));
            codes[0] = codes[1] = 9;
            t.product.encode(unknown.data(), books.ref(), codes);
            CHECK((codes[0] == 0 && codes[1] == 0));
            for (std::size_t c = count; c-- > 0;) {
                books.by_dimension[3 * count + c] = 2.0f;
                t.product.encode(q.data(), books.ref(), codes);
                books.by_dimension[3 * count + c] = 1.0f;
                if (codes[1] != c) FAIL("code " << int{codes[1]} << " instead of " << c);
            }
        });
    }
}

TEST_CASE("scans of 8-bit codes add up their table entries, to the bit") {
    const std::size_t n = 19;
    for (std::size_t m = 1; m <= 70; ++m) {
        const std::size_t stride = m + m % 3;
        const auto table = random_elements<float>(256 * m, m);
        const auto codes = random_elements<std::uint8_t>(n * stride, m + 1);
        const float bias = -3.7f;
        std::vector<float> expected(n);
        for (std::size_t i = 0; i < n; ++i) {
            float even = 0, odd = 0;
            for (std::size_t j = 0; j < m; ++j) (j % 2 == 0 ? even : odd) += table[256 * j + codes[i * stride + j]];
            expected[i] = bias + (even + odd);
        }
        const std::vector<Slot> slots = scrambled_slots(n);
        for_each_table([&](const KernelTable& t) {
            for (std::size_t count = 0; count <= n; ++count) {
                std::vector<float> out(count + 1, -77.0f), gathered(count + 1, -77.0f);
                t.product.run(table.data(), m, codes.data(), stride, count, bias, out.data());
                t.product.gather(table.data(), m, codes.data(), stride, slots.data(), count, bias, gathered.data());
                for (std::size_t i = 0; i < count; ++i) {
                    if (!same_bits(out[i], expected[i])) FAIL("m " << m << ": run of " << count << " at " << i);
                    if (!same_bits(gathered[i], expected[slots[i]])) FAIL("m " << m << ": gather of " << count << " at " << i);
                }
                if (!same_bits(out[count], -77.0f) || !same_bits(gathered[count], -77.0f)) FAIL("wrote past the end");
            }
        });
    }
}

TEST_CASE("a pair of codes is as far apart as a scan says, both ways") {
    for_each_shape([](std::size_t dim, std::size_t m, std::size_t count) {
        const Codebooks books = random_books(dim, m, count, dim + 2 * count);
        const auto a = random_codes(m, count, 4), b = random_codes(m, count, 5);
        std::vector<float> centroids(dim), table(m * 256);
        for (std::size_t j = 0; j < m; ++j) std::copy_n(books.centroid(j, a[j]), books.length(j), &centroids[books.first(j)]);
        for_each_table([&](const KernelTable& t) {
            for (const bool l2 : {true, false}) {
                std::vector<float> entries(m * count);
                (l2 ? t.product.l2_table : t.product.dot_table)(centroids.data(), books.ref(), entries.data());
                for (std::size_t j = 0; j < m; ++j) std::copy_n(&entries[j * count], count, &table[j * 256]);
                float scanned = 0;
                t.product.run(table.data(), m, b.data(), m, 1, 0.0f, &scanned);
                const auto between = l2 ? t.product.l2_between : t.product.dot_between;
                CHECK(same_bits(between(books.ref(), a.data(), b.data()), scanned));
                CHECK(same_bits(between(books.ref(), b.data(), a.data()), scanned));
                if (l2) CHECK(between(books.ref(), a.data(), a.data()) == 0.0f);
            }
        });
    });
}

TEST_CASE("product kernels read nothing outside their arrays") {
    for (const auto& shape : {std::pair{7u, 3u}, {16u, 16u}, {40u, 5u}, {25u, 25u}})
        for (const std::size_t count : {16u, 256u})
            for (const bool at_end : {false, true}) {
                const std::size_t dim = shape.first, m = shape.second;  // names that lambdas may use, for older clangs
                const Codebooks books = random_books(dim, m, count, 1);
                const auto q = random_elements<float>(dim, 2);
                const auto rows = random_codes(9 * m, count, 3);
                const Guarded by_dimension = guarded_for(books.by_dimension, at_end);
                const Guarded by_centroid = guarded_for(books.by_centroid, at_end);
                const Guarded query = guarded_for(q, at_end), codes = guarded_for(rows, at_end);
                const Guarded table(m * 256 * sizeof(float), at_end), encoded(m, at_end), out(9 * sizeof(float), at_end);
                std::memcpy(by_dimension.get<void>(), books.by_dimension.data(), 4 * dim * count);
                std::memcpy(by_centroid.get<void>(), books.by_centroid.data(), 4 * dim * count);
                std::memcpy(query.get<void>(), q.data(), 4 * dim);
                std::memcpy(codes.get<void>(), rows.data(), rows.size());
                const CodebooksRef ref{by_dimension.get<float>(), by_centroid.get<float>(), dim, m, count};
                for_each_table([&](const KernelTable& t) {
                    t.product.encode(query.get<float>(), ref, encoded.get<std::uint8_t>());
                    t.product.l2_table(query.get<float>(), ref, table.get<float>());
                    t.product.dot_table(query.get<float>(), ref, table.get<float>());
                    CHECK(t.product.l2_between(ref, codes.get<std::uint8_t>(), encoded.get<std::uint8_t>()) >= 0.0f);
                    if (count < 256) return;
                    const Slot slots[9] = {8, 7, 6, 5, 4, 3, 2, 1, 0};
                    t.product.run(table.get<float>(), m, codes.get<std::uint8_t>(), m, 9, 0.0f, out.get<float>());
                    const float first = out.get<float>()[0];
                    t.product.gather(table.get<float>(), m, codes.get<std::uint8_t>(), m, slots, 9, 0.0f, out.get<float>());
                    CHECK(same_bits(first, out.get<float>()[8]));
                });
            }
}

}  // namespace kith::simd::test
