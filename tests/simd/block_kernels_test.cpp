// SPDX-License-Identifier: Apache-2.0
//
// Estimates and scans of 32 packed vectors: every table against plain loops, to the bit; what counts as a hit; and
// nothing is read or written outside the arrays.
#include <limits>

#include "simd/guarded.hpp"

namespace kith::simd::test {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Block {
    std::vector<std::uint8_t> codes, table;
    std::vector<BFloat16> add, rescale;
    float base = 3.25f, scale = 0.0371f, offset = -17.3f;

    std::size_t groups() const { return codes.size() / 16; }
    std::uint32_t estimate(const KernelTable& t, float bound, float* out) const {
        return t.estimate32(codes.data(), table.data(), groups(), add.data(), rescale.data(), base,
                            scale, offset, bound, out);
    }
};

Block random_block(std::size_t groups, std::uint64_t seed) {
    Block block;
    block.codes = random_elements<std::uint8_t>(16 * groups, seed);
    block.table = random_elements<std::uint8_t>(16 * groups, seed + 1);
    block.add = random_elements<BFloat16>(32, seed + 2);
    block.rescale = random_elements<BFloat16>(32, seed + 3);
    return block;
}

/// Where vector i's code of a group lies: which byte, and by how many bits to shift it.
unsigned code_of(const std::uint8_t* group, std::size_t i) {
    const std::size_t byte = 2 * (i % 8) + (i / 8) % 2;
    return static_cast<unsigned>(group[byte] >> (i < 16 ? 0 : 4)) & 15u;
}

/// Every operation is rounded by itself, whatever the compiler fuses.
std::vector<float> expected(const Block& block) {
    std::vector<float> out(32);
    for (std::size_t i = 0; i < 32; ++i) {
        std::uint64_t sum = 0;
        for (std::size_t g = 0; g < block.groups(); ++g)
            sum += block.table[16 * g + code_of(&block.codes[16 * g], i)];
        volatile float x = block.scale * static_cast<float>(sum);
        x = x + block.offset;
        x = to_float(block.rescale[i]) * x;
        volatile float y = block.base + to_float(block.add[i]);
        out[i] = y + x;
    }
    return out;
}

void check(const Block& block) {
    const std::vector<float> reference = expected(block);
    for_each_table([&](const KernelTable& t) {
        REQUIRE(t.estimate32 != nullptr);
        for (const std::size_t pick : {std::size_t{0}, std::size_t{13}, std::size_t{31}}) {
            const float bound = reference[pick];
            std::vector<float> out(33, -77.0f);
            const std::uint32_t hits = block.estimate(t, bound, out.data());
            for (std::size_t i = 0; i < 32; ++i) {
                if (!same_bits(out[i], reference[i]))
                    FAIL("groups " << block.groups() << ", vector " << i << ": " << out[i]
                                   << " instead of " << reference[i]);
                if ((hits >> i & 1u) != (reference[i] < bound ? 1u : 0u))
                    FAIL("groups " << block.groups() << ", vector " << i << ": hit is wrong");
            }
            if (!same_bits(out[32], -77.0f)) FAIL("wrote past the end");
        }
    });
}

}  // namespace

TEST_CASE("estimates of 32 vectors are the reference's to the bit") {
    for (std::size_t groups = 4; groups <= 520; groups += 4) check(random_block(groups, groups));
    for (const std::size_t groups : {1024u, 2052u}) check(random_block(groups, groups));
}

TEST_CASE("sums of the largest bytes do not overflow") {
    for (const std::size_t groups : {4u, 252u, 256u, 260u, 508u, 512u, 516u, 4096u}) {
        Block block = random_block(groups, 5);
        block.table.assign(block.table.size(), 255);
        check(block);
        // One parity alone, so that what the lower byte lends to the upper one shows.
        for (std::size_t b = 0; b < block.codes.size(); ++b)
            block.codes[b] = b % 2 == 0 ? std::uint8_t{0x0F} : std::uint8_t{0xF0};
        for (std::size_t g = 0; g < groups; ++g) block.table[16 * g] = 0;
        check(block);
    }
}

TEST_CASE("a hit is an estimate not known to be at the bound or above") {
    Block block = random_block(8, 9);
    block.add[3] = to_bfloat16(nan);
    block.rescale[17] = to_bfloat16(nan);
    block.add[30] = to_bfloat16(infinity);
    block.rescale[30] = BFloat16{};
    for_each_table([&](const KernelTable& t) {
        std::vector<float> out(32);
        CHECK(block.estimate(t, infinity, out.data()) == ~(1u << 30));
        CHECK(out[30] == infinity);
        CHECK(block.estimate(t, -infinity, out.data()) == (1u << 3 | 1u << 17));
        CHECK(block.estimate(t, nan, out.data()) == ~0u);
        block.offset = nan;
        CHECK(block.estimate(t, 0.0f, out.data()) == ~0u);
        block.offset = -17.3f;
    });
}

TEST_CASE("estimates take arrays at any address and read nothing around them") {
    for (const std::size_t groups : {4u, 8u, 12u, 32u, 196u, 256u, 260u})
        for (const bool at_end : {false, true}) {
            const Block block = random_block(groups, 100 + groups);
            const std::vector<float> reference = expected(block);
            const Guarded codes = guarded_for(block.codes, at_end);
            const Guarded table = guarded_for(block.table, at_end);
            const Guarded add = guarded_for(block.add, at_end);
            const Guarded rescale = guarded_for(block.rescale, at_end);
            const Guarded out = guarded_for(reference, at_end);
            std::memcpy(codes.get<void>(), block.codes.data(), 16 * groups);
            std::memcpy(table.get<void>(), block.table.data(), 16 * groups);
            std::memcpy(add.get<void>(), block.add.data(), 64);
            std::memcpy(rescale.get<void>(), block.rescale.data(), 64);
            for_each_table([&](const KernelTable& t) {
                t.estimate32(codes.get<std::uint8_t>(), table.get<std::uint8_t>(), groups,
                             add.get<BFloat16>(), rescale.get<BFloat16>(), block.base, block.scale,
                             block.offset, 0.0f, out.get<float>());
                CHECK(std::memcmp(out.get<void>(), reference.data(), 128) == 0);
                // Codes and table at odd addresses.
                std::vector<std::uint8_t> moved(16 * groups + 7), moved_table(16 * groups + 3);
                std::memcpy(moved.data() + 7, block.codes.data(), 16 * groups);
                std::memcpy(moved_table.data() + 3, block.table.data(), 16 * groups);
                std::vector<float> again(32);
                t.estimate32(moved.data() + 7, moved_table.data() + 3, groups, block.add.data(),
                             block.rescale.data(), block.base, block.scale, block.offset, 0.0f,
                             again.data());
                CHECK(std::memcmp(again.data(), reference.data(), 128) == 0);
            });
        }
}

}  // namespace kith::simd::test
