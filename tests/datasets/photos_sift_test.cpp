// SPDX-License-Identifier: Apache-2.0
//
// The committed fixture (datasets/photos-sift-10k) is what it says: its ground truth is recomputed here in integers and
// with readers of its own, so that a mistake in the library's readers or kernels cannot hide in it.
#include "support/catch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace {

template <class T>
struct Table {
    std::size_t rows = 0;
    std::size_t columns = 0;
    std::vector<T> values;

    const T* row(std::size_t i) const { return values.data() + i * columns; }
};

/// uint32 rows, uint32 columns, then the values, all little-endian (like every machine this runs on).
template <class T>
Table<T> read_table(const std::string& file) {
    std::ifstream in(std::string(KITH_SOURCE_DIR) + "/datasets/photos-sift-10k/" + file,
                     std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in),
                                  std::istreambuf_iterator<char>()};
    INFO(file);
    REQUIRE(bytes.size() >= 8);
    std::uint32_t shape[2];
    std::memcpy(shape, bytes.data(), sizeof shape);
    Table<T> table{shape[0], shape[1], {}};
    REQUIRE(bytes.size() == 8 + table.rows * table.columns * sizeof(T));
    table.values.resize(table.rows * table.columns);
    std::memcpy(table.values.data(), bytes.data() + 8, bytes.size() - 8);
    return table;
}

std::int64_t squared_l2(const std::uint8_t* a, const std::uint8_t* b, std::size_t dim) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        const std::int64_t difference = std::int64_t{a[i]} - std::int64_t{b[i]};
        sum += difference * difference;
    }
    return sum;
}

}  // namespace

TEST_CASE("the fixture's ground truth is exact, ties by smaller id", "[datasets]") {
    const auto base = read_table<std::uint8_t>("base.u8bin");
    const auto query = read_table<std::uint8_t>("query.u8bin");
    const auto ids = read_table<std::int32_t>("gt_ids.ibin");
    const auto distances = read_table<float>("gt_dist.fbin");
    REQUIRE(base.rows == 10'000);
    REQUIRE(base.columns == 128);
    REQUIRE(query.rows == 100);
    REQUIRE(query.columns == 128);
    REQUIRE(ids.rows == query.rows);
    REQUIRE(ids.columns == 100);
    REQUIRE(distances.rows == ids.rows);
    REQUIRE(distances.columns == ids.columns);

    const std::size_t k = ids.columns;
    std::size_t wrong = 0;
    std::size_t ties = 0;
    std::vector<std::pair<std::int64_t, std::int32_t>> all(base.rows);
    for (std::size_t q = 0; q < query.rows; ++q) {
        for (std::size_t i = 0; i < base.rows; ++i) {
            all[i] = {squared_l2(query.row(q), base.row(i), base.columns),
                      static_cast<std::int32_t>(i)};
        }
        std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(k), all.end());
        for (std::size_t j = 0; j < k; ++j) {
            // Below 2^24, so float holds it exactly.
            wrong += ids.row(q)[j] != all[j].second ||
                     distances.row(q)[j] != static_cast<float>(all[j].first);
            ties += j > 0 && all[j].first == all[j - 1].first;
        }
    }
    CHECK(wrong == 0);
    CHECK(ties > 0);  // otherwise the fixture could not show that the tie rule is kept
}
