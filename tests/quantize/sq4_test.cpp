// SPDX-License-Identifier: Apache-2.0
//
// The 4-bit codec and its packing: what is encoded comes back within half a step, training is as good as a search over all steps,
// bytes decode to bytes, packed codes come back.
#include <cmath>
#include <limits>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/quantize/nibbles.hpp"
#include "kith/quantize/scalar.hpp"
#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

MatrixView<const float> view_of(const std::vector<float>& values, std::size_t cols) {
    return {values.data(), values.size() / cols, cols};
}

double mean_error(const Sq4Codec& codec, MatrixView<const float> rows) {
    double total = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) total += codec.squared_error(rows.row(i));
    return total / static_cast<double>(rows.rows() * rows.cols());
}

std::vector<float> normal(std::size_t n, std::uint64_t seed, double offset = 0) {
    std::vector<float> values(n);
    const Random random(seed);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(offset + random.normal(i));
    return values;
}

}  // namespace

TEST_CASE("codes of 4 bits are the nearest of 16 levels, the outermost ones beyond the window", "[quantize][sq4]") {
    const Sq4Codec codec({1.0f, -2.0f}, 0.5f);
    const auto levels = [&](float a, float b, float scale) {
        const float row[2] = {a, b};
        std::int8_t out[2];
        std::uint8_t codes[2];
        codec.encode(row, scale, out);
        codec.encode(row, scale, codes);
        CHECK((codes[0] == out[0] + 8 && codes[1] == out[1] + 8));
        return std::pair<int, int>(out[0], out[1]);
    };
    CHECK(levels(1.0f, -2.0f, 1.0f) == std::pair(0, 0));
    CHECK(levels(1.26f, -2.26f, 1.0f) == std::pair(1, -1));
    CHECK(levels(1.5f, 0.5f, 2.0f) == std::pair(4, 6));
    CHECK(levels(1e30f, -1e30f, 1.0f) == std::pair(7, -8));
    CHECK(levels(std::numeric_limits<float>::quiet_NaN(), 1.0f, 1.0f) == std::pair(-8, 6));
    CHECK(codec.value(std::int8_t{-8}, 0) == -3.0f);
    CHECK(codec.value(std::uint8_t{15}, 1) == 1.5f);
}

TEST_CASE("a query may be finer than rows and reach beyond them", "[quantize][sq4]") {
    const std::vector<float> values = normal(300 * 19, 3, 2.0);
    const auto rows = view_of(values, 19);
    const auto codec = Sq4Codec::train(rows);
    const auto step = static_cast<double>(codec.step());
    std::vector<std::int8_t> levels(19), quarters(19);
    std::vector<float> decoded(19);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        codec.encode_query(rows.row(i), 1.0f, quarters.data());
        for (std::size_t d = 0; d < 19; ++d) {  // none is so far out that it would be clipped
            const double value = static_cast<double>(codec.centres()[d]) + step * (quarters[d] - 32) / 4;
            REQUIRE(std::abs(value - static_cast<double>(rows.row(i)[d])) <= 0.5001 / 4 * step);
        }
        codec.encode(rows.row(i), 1.0f, levels.data());
        codec.decode(levels.data(), decoded.data());
        codec.encode_query(decoded.data(), 1.0f, quarters.data());
        for (std::size_t d = 0; d < 19; ++d) REQUIRE(quarters[d] == 4 * levels[d] + 32);
    }
    const std::vector<float> far(19, 1e30f);
    codec.encode_query(far.data(), 1.0f, quarters.data());
    CHECK(quarters == std::vector<std::int8_t>(19, 95));
    codec.encode_query(far.data(), -1.0f, quarters.data());
    CHECK(quarters == std::vector<std::int8_t>(19, -32));
}

TEST_CASE("16 levels lie where they lose least", "[quantize][sq4]") {
    SECTION("normal values: 0.0115 of the variance is the least that equal steps can lose (Max 1960)") {
        const std::vector<float> values = normal(8000 * 8, 4);
        CHECK(mean_error(Sq4Codec::train(view_of(values, 8)), view_of(values, 8)) < 0.0123);
    }
    SECTION("uniform values: a step of a sixteenth of the range") {
        std::vector<float> values(8000 * 4);
        const Random random(5);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.uniform(i));
        CHECK(mean_error(Sq4Codec::train(view_of(values, 4)), view_of(values, 4)) < 1.1 / (16 * 16 * 12));
    }
    SECTION("zeros of sparse rows stay zeros") {
        std::vector<float> values(4000 * 4);
        const Random random(6);
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = random.uniform(2 * i) < 0.8 ? 0.0f : static_cast<float>(random.uniform(2 * i + 1));
        const auto codec = Sq4Codec::train(view_of(values, 4));
        const std::vector<float> zeros(4, 0.0f);
        CHECK(codec.squared_error(zeros.data()) < 1e-10);
    }
}

TEST_CASE("bytes: 16 neighbouring values are exact, decoded rows are bytes", "[quantize][sq4]") {
    const Random random(7);
    for (const unsigned range : {1u, 2u, 16u, 40u, 256u}) {
        CAPTURE(range);
        std::vector<std::uint8_t> values(1000 * 5), codes(5), again(5), decoded(5);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>((256 - range) / 2 + random.below(i, range));
        const MatrixView<const std::uint8_t> rows(values.data(), 1000, 5);
        const auto codec = Sq4Codec::train(rows);
        CHECK(codec.step() >= 1.0f);
        for (std::size_t i = 0; i < 1000; ++i) {
            codec.encode(rows.row(i), 1.0f, codes.data());
            codec.decode(codes.data(), decoded.data());
            for (std::size_t d = 0; d < 5; ++d) {
                const int off = std::abs(int{decoded[d]} - int{rows.row(i)[d]});
                REQUIRE(off <= (range <= 16 ? 0 : static_cast<int>(range / 16)));
            }
            REQUIRE(codec.is_decoded(decoded.data(), again.data()));
            REQUIRE(again == codes);
        }
    }
}

TEST_CASE("packed codes come back, a line holds 128 dimensions, level 0 fills up", "[quantize][sq4]") {
    const Random random(8);
    for (std::size_t dim = 1; dim < 400; ++dim) {
        std::vector<std::uint8_t> codes(dim), row(packed_nibbles(dim));
        std::vector<std::int8_t> levels(dim);
        for (std::size_t i = 0; i < dim; ++i) {
            codes[i] = static_cast<std::uint8_t>(random.below(i + 1000 * dim, 16));
            levels[i] = static_cast<std::int8_t>(codes[i] - 8);
        }
        pack_nibbles(codes.data(), dim, row.data());
        std::size_t next = 0, wrong = 0;
        for_each_nibble(row.data(), dim, [&](std::size_t i, int code) {
            wrong += i == next++ && code == codes[i] ? 0 : 1;
        });
        CHECK((next == dim && wrong == 0));
        CHECK(nibble_behind(row.data(), dim) == 8);
        std::vector<std::uint8_t> same(row.size());
        pack_nibbles(levels.data(), dim, same.data());
        CHECK(same == row);
        if (dim >= 128) CHECK((row[5] & 15) == codes[5]);
        if (dim >= 128) CHECK(row[5] >> 4 == codes[69]);
    }
}
