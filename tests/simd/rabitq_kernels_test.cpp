// SPDX-License-Identifier: Apache-2.0
//
// RaBitQ's kernels: every table against plain loops over unpacked codes, to the bit where the sums are what is asked for; single rows, groups and gathered
// rows alike; the largest numbers do not overflow, and nothing is read outside of rows and planes.
#include <limits>

#include "simd/guarded.hpp"

namespace kith::simd::test {
namespace {

constexpr float untouched = -77.0f;

/// Rows of codes, packed by the plainest loop there is, and a query.
struct Codes {
    std::size_t dim, bits, count, stride;
    std::vector<std::uint8_t> levels;  // count x dim
    std::vector<std::uint8_t> rows;
    std::vector<std::int32_t> q;
    std::vector<std::int8_t> planes;
    RabitqQuery query;

    std::int32_t largest() const { return (1 << bits) - 1; }
    std::int64_t sum(std::size_t row) const {
        std::int64_t total = 0;
        for (std::size_t j = 0; j < dim; ++j) total += std::int64_t{2 * levels[row * dim + j] - largest()} * q[j];
        return total;
    }
    RabitqFactors factors(std::size_t row) const {
        RabitqFactors found;
        std::memcpy(&found, rows.data() + row * stride, sizeof found);
        return found;
    }
};

void pack_row(const std::uint8_t* levels, std::size_t dim, std::size_t bits, std::uint8_t* to) {
    std::size_t shift = bits;
    for (const std::size_t width : {8u, 4u, 2u, 1u}) {
        if ((bits & width) == 0) continue;
        shift -= width;
        const std::size_t length = dim * width / 8;
        for (std::size_t j = 0; j < dim; ++j)
            to[j % length] = static_cast<std::uint8_t>(to[j % length] | ((levels[j] >> shift) & ((1u << width) - 1)) << (j / length * width));
        to += length;
    }
}

void set_query(Codes& codes, std::int32_t most, std::uint64_t seed) {
    const bool two = codes.bits >= 6;
    const Random random(seed);
    codes.q.resize(codes.dim);
    codes.planes.assign((two ? 2 : 1) * (codes.dim + RabitqQuery::padding), 99);  // padding may hold anything
    std::int32_t total = 0;
    for (std::size_t j = 0; j < codes.dim; ++j) {
        const auto q = static_cast<std::int32_t>(random.below(j, static_cast<std::uint64_t>(2 * most + 1))) - most;
        codes.q[j] = seed == 0 ? (j % 2 == 0 ? most : -most) : seed == 1 ? most : q;
        total += codes.q[j];
        if (!two) {
            codes.planes[j] = static_cast<std::int8_t>(codes.q[j]);
        } else {
            const std::int32_t low = ((codes.q[j] + 64) & 127) - 64;
            codes.planes[j] = static_cast<std::int8_t>((codes.q[j] - low) / 128);
            codes.planes[j + codes.dim + RabitqQuery::padding] = static_cast<std::int8_t>(low);
        }
    }
    codes.query.planes = codes.planes.data();
    codes.query.dim = codes.dim;
    codes.query.offset = codes.largest() * total;
}

Codes random_codes(std::size_t dim, std::size_t bits, std::size_t count, std::uint64_t seed) {
    Codes codes{dim, bits, count, sizeof(RabitqFactors) + dim / 8 * bits + seed % 3, {}, {}, {}, {}, {}};
    codes.levels = random_elements<std::uint8_t>(count * dim, seed);
    for (auto& level : codes.levels) level = static_cast<std::uint8_t>(level & codes.largest());
    codes.rows.resize(count * codes.stride);
    for (std::size_t i = 0; i < count; ++i) {
        // Few bits, so that products with sums are as exact as sums are.
        const RabitqFactors factors{static_cast<float>(i % 7), static_cast<float>(1 + i % 3), 0.5f};
        std::memcpy(codes.rows.data() + i * codes.stride, &factors, sizeof factors);
        pack_row(codes.levels.data() + i * dim, dim, bits, codes.rows.data() + i * codes.stride + sizeof factors);
    }
    set_query(codes, bits >= 6 ? 8127 : 127, seed + 2);
    return codes;
}

/// add 0 and scales of 1: what comes out is the sum, as a float.
void only_sums(Codes& codes) {
    const RabitqFactors factors{0.0f, 1.0f, 1.0f};
    for (std::size_t i = 0; i < codes.count; ++i) std::memcpy(codes.rows.data() + i * codes.stride, &factors, sizeof factors);
    codes.query.dot_scale = 1.0f;
}

void check_sums(const Codes& codes) {
    for_each_table([&](const KernelTable& t) {
        std::vector<float> out(codes.count + 1, untouched);
        t.rabitq.run[codes.bits - 1](codes.query, codes.rows.data(), codes.stride, codes.count, out.data());
        for (std::size_t i = 0; i < codes.count; ++i)
            if (!same_bits(out[i], static_cast<float>(codes.sum(i))))
                FAIL("dim " << codes.dim << ", bits " << codes.bits << ", row " << i << ": " << out[i] << " instead of " << codes.sum(i));
        if (!same_bits(out[codes.count], untouched)) FAIL("wrote past the end");
    });
}

}  // namespace

TEST_CASE("sums of codes and query are exact, for all numbers of bits and dimensions") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t dim : {32u, 64u, 96u, 128u, 160u, 224u, 256u, 480u, 512u, 544u, 1024u}) {
            Codes codes = random_codes(dim, bits, 11, dim + bits);
            only_sums(codes);
            check_sums(codes);
        }
}

TEST_CASE("the largest codes and queries neither saturate nor overflow") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t dim : {96u, 992u})
            for (const std::uint64_t signs : {0u, 1u})
                for (const std::uint8_t level : {std::uint8_t{0}, std::uint8_t{255}}) {
                    Codes codes = random_codes(dim, bits, 5, 3);
                    std::fill(codes.levels.begin(), codes.levels.end(), static_cast<std::uint8_t>(level & codes.largest()));
                    codes.rows.assign(codes.rows.size(), level);
                    only_sums(codes);
                    set_query(codes, bits >= 6 ? 8127 : 127, signs);
                    codes.query.dot_scale = 1.0f;
                    check_sums(codes);
                }
}

TEST_CASE("factors make distances of sums, between rows with the cosine") {
    Codes codes = random_codes(64, 4, 20, 8);
    codes.query.base = 3.0f;
    codes.query.add_scale = -0.5f;
    codes.query.dot_scale = 0.25f;
    for (const bool between : {false, true}) {
        codes.query.between_rows = between;
        for_each_table([&](const KernelTable& t) {
            std::vector<float> out(codes.count);
            t.rabitq.run[3](codes.query, codes.rows.data(), codes.stride, codes.count, out.data());
            for (std::size_t i = 0; i < codes.count; ++i) {
                const RabitqFactors f = codes.factors(i);
                const double scale = 0.25 * static_cast<double>(f.rescale) * (between ? static_cast<double>(f.cosine) : 1.0);
                CHECK(static_cast<double>(out[i]) == 3.0 - 0.5 * static_cast<double>(f.add) + scale * static_cast<double>(codes.sum(i)));
            }
        });
    }
}

TEST_CASE("a row's estimate does not depend on what it is scored with") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t dim : {32u, 160u, 768u}) {
            Codes codes = random_codes(dim, bits, 130, dim + bits);  // past the first cache, in part
            codes.query.base = 0.1f;
            codes.query.add_scale = 0.3f;
            codes.query.dot_scale = 0.7f;
            const std::vector<Slot> slots = scrambled_slots(codes.count);
            for_each_table([&](const KernelTable& t) {
                const auto run = t.rabitq.run[bits - 1];
                const auto gather = t.rabitq.gather[bits - 1];
                std::vector<float> one(codes.count), out(codes.count + 1, untouched);
                for (std::size_t i = 0; i < codes.count; ++i) run(codes.query, codes.rows.data() + i * codes.stride, codes.stride, 1, &one[i]);
                for (const std::size_t count : {0u, 1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 13u, 16u, 23u, 130u}) {
                    out.assign(codes.count + 1, untouched);
                    run(codes.query, codes.rows.data(), codes.stride, count, out.data());
                    for (std::size_t i = 0; i < count; ++i)
                        if (!same_bits(out[i], one[i])) FAIL("run: bits " << bits << ", dim " << dim << ", row " << i << " of " << count);
                    if (!same_bits(out[count], untouched)) FAIL("run wrote past the end");
                    out.assign(codes.count + 1, untouched);
                    gather(codes.query, codes.rows.data(), codes.stride, slots.data(), count, out.data());
                    for (std::size_t i = 0; i < count; ++i)
                        if (!same_bits(out[i], one[slots[i]])) FAIL("gather: bits " << bits << ", dim " << dim << ", row " << i << " of " << count);
                    if (!same_bits(out[count], untouched)) FAIL("gather wrote past the end");
                }
            });
        }
}

TEST_CASE("nothing is read around rows and planes") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t dim : {32u, 96u, 352u})
            for (const bool at_end : {false, true}) {
                Codes codes = random_codes(dim, bits, 9, 3 * dim);
                only_sums(codes);
                const Guarded rows = guarded_for(codes.rows, at_end), planes = guarded_for(codes.planes, at_end);
                std::memcpy(rows.get<void>(), codes.rows.data(), codes.rows.size());
                std::memcpy(planes.get<void>(), codes.planes.data(), codes.planes.size());
                RabitqQuery query = codes.query;
                query.planes = planes.get<std::int8_t>();
                const std::vector<Slot> slots = scrambled_slots(9);
                for_each_table([&](const KernelTable& t) {
                    std::vector<float> out(9);
                    t.rabitq.run[bits - 1](query, rows.get<std::uint8_t>(), codes.stride, 9, out.data());
                    CHECK(same_bits(out[8], static_cast<float>(codes.sum(8))));
                    t.rabitq.gather[bits - 1](query, rows.get<std::uint8_t>(), codes.stride, slots.data(), 9, out.data());
                    CHECK(same_bits(out[0], static_cast<float>(codes.sum(slots[0]))));
                });
            }
}

}  // namespace kith::simd::test
