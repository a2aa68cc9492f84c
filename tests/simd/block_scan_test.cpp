// SPDX-License-Identifier: Apache-2.0
//
// The scan of blocks of 4-bit codes: every table against plain loops, to the bit, for any number of queries; single
// vectors get what the scan gives them; and nothing is read or written outside the arrays.
#include <limits>

#include "simd/guarded.hpp"

namespace kith::simd::test {
namespace {

constexpr float untouched = -77.0f;

/// Blocks of codes and some queries. Scales have few bits, so that products with sums are exact.
struct Scan {
    std::size_t blocks, groups;
    std::vector<std::uint8_t> codes;
    std::vector<std::vector<std::uint8_t>> tables;
    std::vector<float> scales, offsets;

    std::uint32_t sum(std::size_t q, std::size_t block, std::size_t i) const {
        std::uint32_t total = 0;
        for (std::size_t g = 0; g < groups; ++g) {
            const std::uint8_t byte =
                codes[16 * (block * groups + g) + 2 * (i % 8) + (i / 8) % 2];
            total += tables[q][16 * g + (static_cast<unsigned>(byte >> (i < 16 ? 0 : 4)) & 15u)];
        }
        return total;
    }
    float distance(std::size_t q, std::uint32_t total) const {
        volatile float product = scales[q] * static_cast<float>(total);
        return product + offsets[q];
    }
};

Scan random_scan(std::size_t blocks, std::size_t groups, std::size_t queries, std::uint64_t seed) {
    Scan scan{blocks, groups, random_elements<std::uint8_t>(16 * blocks * groups, seed), {}, {}, {}};
    for (std::size_t q = 0; q < queries; ++q) {
        scan.tables.push_back(random_elements<std::uint8_t>(16 * groups, seed + 100 + q));
        scan.scales.push_back(groups <= 256 ? 0x1.a4p-7f : 0x1.ap-7f);
        scan.offsets.push_back(-1.37f * static_cast<float>(q + 1));
    }
    return scan;
}

/// What one call wrote.
struct Found {
    std::vector<std::vector<float>> out;
    std::vector<std::vector<std::uint32_t>> hits;
};

Found run(const KernelTable& t, const Scan& scan, const std::vector<std::int32_t>& most,
          const std::uint8_t* codes = nullptr) {
    Found found;
    std::vector<BlockQuery> queries;
    for (std::size_t q = 0; q < scan.tables.size(); ++q) {
        found.out.emplace_back(32 * scan.blocks + 1, untouched);
        found.hits.emplace_back(scan.blocks + 1, 0x77777777u);
    }
    for (std::size_t q = 0; q < scan.tables.size(); ++q)
        queries.push_back({scan.tables[q].data(), scan.scales[q], scan.offsets[q], most[q],
                           found.out[q].data(), found.hits[q].data()});
    t.scan32(codes != nullptr ? codes : scan.codes.data(), scan.blocks, scan.groups,
             queries.data(), queries.size());
    return found;
}

void check(const Scan& scan, const std::vector<std::int32_t>& most) {
    for_each_table([&](const KernelTable& t) {
        const Found found = run(t, scan, most);
        for (std::size_t q = 0; q < scan.tables.size(); ++q) {
            for (std::size_t b = 0; b < scan.blocks; ++b) {
                std::uint32_t expected = 0;
                for (std::size_t i = 0; i < 32; ++i)
                    if (static_cast<std::int64_t>(scan.sum(q, b, i)) <= most[q]) expected |= 1u << i;
                if (found.hits[q][b] != expected)
                    FAIL("groups " << scan.groups << ", query " << q << ", block " << b << ": hits "
                                   << found.hits[q][b] << " instead of " << expected);
                for (std::size_t i = 0; i < 32; ++i) {
                    const float wanted = expected == 0 ? untouched : scan.distance(q, scan.sum(q, b, i));
                    if (!same_bits(found.out[q][32 * b + i], wanted))
                        FAIL("groups " << scan.groups << ", query " << q << ", vector " << 32 * b + i
                                       << ": " << found.out[q][32 * b + i] << " instead of " << wanted);
                }
            }
            if (!same_bits(found.out[q].back(), untouched) || found.hits[q].back() != 0x77777777u)
                FAIL("wrote past the end");
        }
    });
}

constexpr std::int32_t all = std::numeric_limits<std::int32_t>::max();

}  // namespace

TEST_CASE("scanned distances are the reference's to the bit, for any number of queries") {
    for (const std::size_t groups : {4u, 8u, 12u, 16u, 20u, 64u, 252u, 256u, 260u, 516u})
        for (std::size_t queries = 1; queries <= 9; ++queries)
            check(random_scan(3, groups, queries, groups + queries), std::vector<std::int32_t>(queries, all));
    check(random_scan(0, 8, 2, 1), {all, all});
}

TEST_CASE("hits are sums up to the bound, each query's own") {
    for (const std::size_t groups : {4u, 16u, 256u, 260u}) {
        const Scan scan = random_scan(5, groups, 7, 3 * groups);
        const auto some = static_cast<std::int32_t>(scan.sum(2, 1, 9));
        check(scan, {all, -1, some, some - 1, 0, static_cast<std::int32_t>(255 * groups), -2000000000});
    }
}

TEST_CASE("rows' terms are added, and distances are what is compared") {
    constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const std::size_t groups : {4u, 16u, 256u, 260u})
        for (std::size_t count = 1; count <= 5; ++count) {
            constexpr std::size_t blocks = 5;
            const Scan scan = random_scan(blocks, groups, count, 11 * groups + count);
            auto terms = random_elements<float>(32 * blocks, groups);
            terms[40] = nan;
            terms[70] = infinity;
            const auto distance = [&](std::size_t q, std::size_t i) { return scan.distance(q, scan.sum(q, i / 32, i % 32)) + terms[i]; };
            const std::vector<float> bounds{distance(0, 9), infinity, -infinity, nan, 1e9f};
            for_each_table([&](const KernelTable& t) {
                std::vector<std::vector<float>> out(count, std::vector<float>(32 * blocks + 1, untouched));
                std::vector<std::vector<std::uint32_t>> hits(count, std::vector<std::uint32_t>(blocks + 1, 0x77777777u));
                std::vector<BlockQuery> queries;
                for (std::size_t q = 0; q < count; ++q)
                    queries.push_back({scan.tables[q].data(), scan.scales[q], scan.offsets[q], 0, out[q].data(), hits[q].data(), q == 4 ? nullptr : terms.data(), bounds[q]});
                if (count == 5) queries[4].most = all;  // one without terms among them
                t.scan32(scan.codes.data(), blocks, groups, queries.data(), count);
                for (std::size_t q = 0; q < count; ++q) {
                    for (std::size_t i = 0; i < 32 * blocks; ++i) {
                        const float wanted = q == 4 ? scan.distance(q, scan.sum(q, i / 32, i % 32)) : distance(q, i);
                        const bool hit = q == 4 || !(bounds[q] < infinity) || wanted <= bounds[q];
                        if ((hits[q][i / 32] >> i % 32 & 1u) != (hit ? 1u : 0u)) FAIL("groups " << groups << ", query " << q << ", row " << i << ": " << wanted << " with " << bounds[q]);
                        if (hit && !same_bits(out[q][i], wanted)) FAIL("groups " << groups << ", query " << q << ", row " << i << ": " << out[q][i] << " instead of " << wanted);
                    }
                    if (!same_bits(out[q].back(), untouched) || hits[q].back() != 0x77777777u) FAIL("wrote past the end");
                }
            });
        }
}

TEST_CASE("scanned sums of the largest bytes do not overflow") {
    for (const std::size_t groups : {252u, 256u, 260u, 512u, 4096u}) {
        Scan scan = random_scan(2, groups, 5, 5);
        for (auto& table : scan.tables) table.assign(table.size(), 255);
        scan.scales.assign(5, 0x1p-7f);
        const auto sum = static_cast<std::int32_t>(255 * groups);
        check(scan, {all, sum, sum - 1, 65535, 65534});
    }
}

TEST_CASE("single vectors of blocks are what the scan makes of them") {
    for (const std::size_t groups : {4u, 12u, 64u, 256u, 260u, 772u}) {
        const Scan scan = random_scan(4, groups, 1, 70 + groups);
        const std::vector<Slot> slots = scrambled_slots(128);
        for_each_table([&](const KernelTable& t) {
            for (std::size_t count = 0; count <= slots.size(); count += count < 8 ? 1 : 40) {
                std::vector<float> out(count + 1, untouched);
                t.gather32(scan.codes.data(), groups, scan.tables[0].data(), scan.scales[0],
                           scan.offsets[0], slots.data(), count, out.data());
                for (std::size_t i = 0; i < count; ++i)
                    if (!same_bits(out[i], scan.distance(0, scan.sum(0, slots[i] / 32, slots[i] % 32))))
                        FAIL("groups " << groups << ", slot " << slots[i]);
                if (!same_bits(out[count], untouched)) FAIL("wrote past the end");
            }
        });
    }
}

TEST_CASE("scans take arrays at any address and read nothing around them") {
    for (const std::size_t groups : {4u, 8u, 32u, 260u})
        for (const bool at_end : {false, true}) {
            const Scan scan = random_scan(2, groups, 3, 200 + groups);
            const Guarded codes = guarded_for(scan.codes, at_end);
            const Guarded table = guarded_for(scan.tables[0], at_end);
            const Guarded out(64 * sizeof(float), at_end), hits(2 * sizeof(std::uint32_t), at_end);
            std::memcpy(codes.get<void>(), scan.codes.data(), scan.codes.size());
            std::memcpy(table.get<void>(), scan.tables[0].data(), scan.tables[0].size());
            const Slot slots[2] = {63, 0};
            for_each_table([&](const KernelTable& t) {
                const BlockQuery one{table.get<std::uint8_t>(), scan.scales[0], scan.offsets[0], all,
                                     out.get<float>(), hits.get<std::uint32_t>()};
                for (std::size_t count = 1; count <= 4; ++count) {
                    const std::vector<BlockQuery> same(count, one);
                    t.scan32(codes.get<std::uint8_t>(), 2, groups, same.data(), count);
                }
                CHECK(same_bits(out.get<float>()[63], scan.distance(0, scan.sum(0, 1, 31))));
                float single[2];
                t.gather32(codes.get<std::uint8_t>(), groups, table.get<std::uint8_t>(), scan.scales[0],
                           scan.offsets[0], slots, 2, single);
                CHECK(same_bits(single[0], out.get<float>()[63]));
                std::vector<std::uint8_t> moved(scan.codes.size() + 7);
                std::memcpy(moved.data() + 7, scan.codes.data(), scan.codes.size());
                const Found found = run(t, scan, {all, all, all}, moved.data() + 7);
                CHECK(same_bits(found.out[0][63], single[0]));
            });
        }
}

}  // namespace kith::simd::test
