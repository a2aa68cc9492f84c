// SPDX-License-Identifier: Apache-2.0
//
// The tiles report exactly the pairs that beat their thresholds: floats up to rounding, integers exactly.
#include <limits>

#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

constexpr std::size_t row_count =
    30;  // two register tiles of every table, a tile of four, single rows

std::vector<std::size_t> depths() {
    std::vector<std::size_t> d;
    for (std::size_t i = 0; i <= 130; ++i) d.push_back(i);
    for (const std::size_t i : {255, 256, 257, 300, 513, 768, 1024, 1030}) d.push_back(i);
    return d;
}

void check_float_tile(const KernelTable& table, std::size_t dim, const std::vector<float>& data,
                      const std::vector<float>& queries) {
    const FloatTile& tile = table.tile_f32;
    const std::size_t lanes = tile.lanes;
    const std::size_t used = lanes - 3;
    const std::size_t stride = dim + dim % 5;
    std::vector<float> panel(lanes * dim + 1, 42.0f), scale(row_count), bias(row_count),
        threshold(lanes);
    const Random random(31);
    for (std::size_t r = 0; r < row_count; ++r) {
        scale[r] = r % 2 == 0 ? -2.0f : -0.5f;
        bias[r] = static_cast<float>(random.normal(r));
    }
    for (std::size_t j = 0; j < lanes; ++j)
        threshold[j] = j < used ? static_cast<float>(random.normal(1000 + j))
                                : -std::numeric_limits<float>::infinity();
    tile.pack(queries.data(), dim, used, dim, panel.data());
    REQUIRE(panel[lanes * dim] == 42.0f);
    std::vector<TileHit> hits(row_count * lanes);
    const std::size_t found = tile.score(panel.data(), dim, data.data() + 1, stride, row_count,
                                         scale.data(), bias.data(), threshold.data(), hits.data());
    std::vector<char> hit(row_count * lanes, 0);
    for (std::size_t i = 0; i < found; ++i) {
        REQUIRE(hits[i].row < row_count);
        REQUIRE(hits[i].lane < used);
        REQUIRE(hit[hits[i].row * lanes + hits[i].lane]++ == 0);
    }
    for (std::size_t r = 0; r < row_count; ++r)
        for (std::size_t j = 0; j < used; ++j) {
            const Reference dot =
                reference(Kind::dot, queries.data() + j * dim, data.data() + 1 + r * stride, dim);
            const double score =
                static_cast<double>(scale[r]) * dot.value + static_cast<double>(bias[r]);
            const double slack = (static_cast<double>(dim) + 4.0) * 0x1p-23 *
                                 (2.0 * dot.magnitude + std::abs(static_cast<double>(bias[r])));
            const double limit = static_cast<double>(threshold[j]);
            const bool reported = hit[r * lanes + j] != 0;
            if ((score < limit - slack && !reported) || (score > limit + slack && reported))
                FAIL("dim " << dim << " row " << r << " lane " << j << ": " << score << " against "
                            << limit);
        }
}

template <class T>
void check_integer_tile(const KernelTable& table, const IntegerTile<T>& tile, std::size_t dim,
                        std::size_t stride, const std::vector<T>& data,
                        const std::vector<T>& queries, std::int32_t factor) {
    if (tile.score == nullptr) return;
    const std::size_t lanes = tile.lanes;
    const std::size_t used = lanes - 3;
    std::vector<unsigned char> panel(tile.panel_bytes(dim) + 1, 42);
    tile.pack(queries.data(), dim, used, dim, panel.data());
    REQUIRE(panel.back() == 42);
    std::vector<std::int32_t> correction(row_count), norms(row_count), bias(row_count),
        threshold(lanes);
    tile.prepare_rows(data.data() + 1, stride, row_count, dim, correction.data(), norms.data());
    const auto row = [&](std::size_t r) { return data.data() + 1 + r * stride; };
    for (std::size_t r = 0; r < row_count; ++r) {
        REQUIRE(norms[r] == exact_reference(Kind::dot, row(r), row(r), dim));
        const std::uint32_t base = factor == -2 ? static_cast<std::uint32_t>(norms[r]) : 0u;
        bias[r] = static_cast<std::int32_t>(base + static_cast<std::uint32_t>(factor) *
                                                       static_cast<std::uint32_t>(correction[r]));
    }
    // A query's threshold is the score of one of the rows: as many rows on either side, and a tie that must not be reported.
    const auto score = [&](std::size_t r, std::size_t j) {
        return (factor == -2 ? std::int64_t{norms[r]} : 0) +
               factor * exact_reference(Kind::dot, queries.data() + j * dim, row(r), dim);
    };
    for (std::size_t j = 0; j < lanes; ++j)
        threshold[j] = j < used ? static_cast<std::int32_t>(score(j % row_count, j))
                                : std::numeric_limits<std::int32_t>::min();
    std::vector<TileHit> hits(row_count * lanes);
    const std::size_t found = tile.score(panel.data(), dim, data.data() + 1, stride, row_count,
                                         factor, bias.data(), threshold.data(), hits.data());
    std::vector<char> hit(row_count * lanes, 0);
    for (std::size_t i = 0; i < found; ++i) ++hit[hits[i].row * lanes + hits[i].lane];
    for (std::size_t r = 0; r < row_count; ++r)
        for (std::size_t j = 0; j < lanes; ++j)
            if (hit[r * lanes + j] != (j < used && score(r, j) < threshold[j] ? 1 : 0))
                FAIL(table.name << " dim " << dim << " row " << r << " lane " << j << " hit "
                                << int{hit[r * lanes + j]});
}

template <class T>
void check_integer_tiles(IntegerTile<T> KernelTable::*member) {
    const std::vector<T> data = random_elements<T>(row_count * (longest + 5) + 1, 34);
    const std::vector<T> queries = random_elements<T>(64 * longest, 35);
    for (const std::size_t dim : depths())
        for_each_table([&](const KernelTable& table) {
            check_integer_tile(table, table.*member, dim, dim + dim % 5, data, queries, -2);
            check_integer_tile(table, table.*member, dim, dim + dim % 5, data, queries, -1);
        });
}

}  // namespace

TEST_CASE("the float tile reports the pairs below their thresholds") {
    const std::vector<float> data = random_elements<float>(row_count * (longest + 5) + 1, 32);
    const std::vector<float> queries = random_elements<float>(64 * longest, 33);
    for (const std::size_t dim : depths())
        for_each_table(
            [&](const KernelTable& table) { check_float_tile(table, dim, data, queries); });
}

TEST_CASE("the integer tiles report exactly the pairs below their thresholds") {
    check_integer_tiles<std::int8_t>(&KernelTable::tile_i8);
    check_integer_tiles<std::uint8_t>(&KernelTable::tile_u8);
}

TEST_CASE("integer tiles are exact at the largest dimension with extreme values") {
    const std::size_t dim = 33025;
    const std::vector<std::uint8_t> high(row_count * dim + 1, 255);
    const std::vector<std::uint8_t> queries(64 * dim, 255);
    const std::vector<std::int8_t> low(row_count * dim + 1, -128);
    const std::vector<std::int8_t> signed_queries(64 * dim, -128);
    for_each_table([&](const KernelTable& table) {
        check_integer_tile(table, table.tile_u8, dim, dim, high, queries, -2);
        check_integer_tile(table, table.tile_i8, dim, dim, low, signed_queries, -2);
        check_integer_tile(table, table.tile_u8, dim, dim, high, queries, -1);
        check_integer_tile(table, table.tile_i8, dim, dim, low, signed_queries, -1);
    });
}

}  // namespace kith::simd::test
