// SPDX-License-Identifier: Apache-2.0
//
// The batched scan's promise: a tile scores otherwise than the scorer rounds, yet no row that the scorer puts within a query's bound may be
// missing from the tile's candidates, whatever the data. Held against the scorer itself, bound by bound; and end to end, where a
// batch must give to the bit what single queries give.
#include "kith/space/tile_scorer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kith/index/flat.hpp"
#include "kith/index/keyed.hpp"
#include "support/catch.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

constexpr std::size_t row_count = 150;
constexpr std::size_t query_count = 21;

/// A set of values, by the number of the element; rows first, then queries.
struct Recipe {
    std::string name;
    double (*value)(std::size_t row, std::size_t col, double normal);
};

double mixed(std::size_t row, double normal) { return normal * std::pow(10.0, static_cast<double>(row * 7 % 39) - 20.0); }

/// What float arithmetic is bad at. `normal` is a draw for this very element.
const std::vector<Recipe>& recipes() {
    static const std::vector<Recipe> all{
        {"plain", [](std::size_t, std::size_t, double x) { return x; }},
        {"huge offset", [](std::size_t, std::size_t, double x) { return 1e4 + x; }},
        {"huge offset, hair's breadths", [](std::size_t row, std::size_t col, double) { return 1000.0 + (col == row % 5 ? 0x1p-13 : 0.0); }},
        {"magnitudes from 1e-20 to 1e18", [](std::size_t row, std::size_t, double x) { return mixed(row, x); }},
        {"magnitudes in one row", [](std::size_t row, std::size_t col, double x) { return mixed(row + col, x); }},
        {"all tiny", [](std::size_t, std::size_t, double x) { return 1e-20 * x; }},
        {"products underflow", [](std::size_t row, std::size_t, double x) { return x * (row % 2 == 0 ? 1e-23 : 1e-24); }},
        {"all large", [](std::size_t, std::size_t, double x) { return 1e18 * x; }},
        {"norms overflow, distances not always", [](std::size_t row, std::size_t, double x) { return 2.5e18 * (x < 0 ? -1.0 : 1.0) * (1.0 + static_cast<double>(row % 4) / 8); }},
        {"duplicates", [](std::size_t row, std::size_t col, double) { return std::sin(static_cast<double>(row % 3 * 100 + col)); }},
        {"all the same", [](std::size_t, std::size_t, double) { return 0.1; }},
        {"zero rows among others", [](std::size_t row, std::size_t, double x) { return row % 3 == 0 ? 0.0 : x; }},
        {"nothing but zeros", [](std::size_t, std::size_t, double) { return 0.0; }},
        {"nearly parallel", [](std::size_t row, std::size_t col, double x) { return (1.0 + static_cast<double>(row)) * (std::cos(static_cast<double>(col)) + 1e-7 * x); }},
    };
    return all;
}

template <class T>
T convert(double x) {
    if constexpr (std::is_same_v<T, float>) return static_cast<float>(x);
    else if constexpr (std::is_same_v<T, Half>) return to_half(static_cast<float>(std::clamp(x, -60000.0, 60000.0)));
    else if constexpr (std::is_same_v<T, BFloat16>) return to_bfloat16(static_cast<float>(x));
    else return static_cast<T>(std::clamp(std::nearbyint(x), double{std::numeric_limits<T>::min()}, double{std::numeric_limits<T>::max()}));
}

/// n x d elements with a stride; what lies between the rows is NaN, or 127.
template <class T>
struct Matrix {
    std::size_t n, d, stride;
    std::vector<T> memory;

    template <class Value>
    Matrix(std::size_t rows, std::size_t cols, std::size_t gap, Value value)
        : n(rows), d(cols), stride(cols + gap), memory(rows * (cols + gap) + 1) {
        std::memset(static_cast<void*>(memory.data()), 0x7F, memory.size() * sizeof(T));
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < d; ++j) memory[i * stride + j] = value(i, j);
    }
    MatrixView<const T> view() const { return {memory.data(), n, d, stride}; }
};

/// For some bounds of each query: every row that the scorer has at the bound or nearer is among the tile's hits.
template <class S>
void check_candidates(const S& space, MatrixView<const typename S::query_type> queries) {
    using D = typename S::distance_type;
    TileScorer<S> tile;
    tile.load(space, queries);
    std::vector<std::vector<D>> distances(queries.rows(), std::vector<D>(space.size()));
    for (std::size_t j = 0; j < queries.rows(); ++j) space.scorer(queries[j]).run(0, space.size(), distances[j].data());
    std::vector<simd::TileHit> hits(tile.max_rows() * tile.lanes());
    std::size_t lost = 0;
    std::size_t strays = 0;
    for (const std::size_t rank : {std::size_t{0}, std::size_t{1}, space.size() / 3, space.size() - 1}) {
        std::vector<D> bounds(queries.rows());
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            auto sorted = distances[j];
            for (auto& distance : sorted)
                if (distance != distance) distance = farthest<D>();
            std::sort(sorted.begin(), sorted.end());
            bounds[j] = sorted[rank];
            tile.bound(j, bounds[j], true);
        }
        std::vector<char> hit(queries.rows() * space.size());
        for (std::size_t first = 0; first < space.size(); first += 64) {
            const std::size_t count = std::min<std::size_t>(64, space.size() - first);
            tile.block(space, first, count);
            for (std::size_t panel = 0; panel * tile.lanes() < queries.rows(); ++panel)
                for (std::size_t at = 0; at < count; at += tile.max_rows()) {
                    const std::size_t found = tile.score(panel, at, std::min(tile.max_rows(), count - at), hits.data());
                    for (std::size_t h = 0; h < found; ++h) {
                        const std::size_t j = panel * tile.lanes() + hits[h].lane;
                        if (j < queries.rows()) hit[j * space.size() + first + at + hits[h].row] = 1;
                    }
                }
        }
        for (std::size_t j = 0; j < queries.rows(); ++j)
            for (std::size_t i = 0; i < space.size(); ++i) {
                if (distances[j][i] <= bounds[j]) lost += hit[j * space.size() + i] == 0 ? 1 : 0;
                else if constexpr (std::is_integral_v<D>) strays += hit[j * space.size() + i] != 0 ? 1 : 0;
            }
    }
    CHECK(lost == 0);
    CHECK(strays == 0);  // integers are exact: no row too many either
}

/// Batches give what single queries give, with ids that go against the order of slots, so that a row lost among equals would show.
template <class S>
void check_batches(S space, MatrixView<const typename S::query_type> queries) {
    std::vector<Id> ids(space.size());
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Id>(ids.size() - i);
    const Keyed index(Flat<S>(std::move(space)), ids);
    std::size_t different = 0;
    for (const std::size_t k : {std::size_t{1}, std::size_t{10}, index.size()}) {
        const auto batch = index.search(queries, k);
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            const auto one = index.search(queries.slice(j, 1), k);
            different += std::ranges::equal(one.ids(0), batch.ids(j)) && std::ranges::equal(one.distances(0), batch.distances(j)) ? 0 : 1;
        }
    }
    CHECK(different == 0);
}

template <class M, class T>
void check_all() {
    using S = DenseSpace<M, T>;
    using Query = typename S::query_type;
    if (!TileScorer<S>::available()) return;
    for (const auto& recipe : recipes())
        for (const std::size_t d : {1, 17, 96})
            for (const std::size_t gap : {0, 5}) {
                INFO(M::name << " over " << name(element_traits<T>::type) << ", " << recipe.name << ", d " << d << ", gap " << gap);
                const Random random(d);
                const Matrix<T> rows(row_count, d, gap, [&](std::size_t i, std::size_t j) {
                    return convert<T>(recipe.value(i, j, random.normal(i * d + j)));
                });
                // Every other query is a row: distances of zero, and ties with it.
                const Matrix<Query> queries(query_count, d, gap, [&](std::size_t i, std::size_t j) {
                    const std::size_t row = i % 2 == 0 ? i * 7 % row_count : row_count + i;
                    return convert<Query>(recipe.value(row, j, random.normal(row * d + j)));
                });
                if constexpr (FloatElement<T>)
                    if (first_not_finite(rows.view()) != row_count || first_not_finite(queries.view()) != query_count) continue;
                check_candidates(S(Rows<T>::borrow(rows.view())), queries.view());
                check_batches(S(Rows<T>::borrow(rows.view())), queries.view());
            }
}

}  // namespace

TEST_CASE("float tiles lose no row, whatever the data: f32", "[tile]") {
    check_all<L2, float>();
    check_all<Euclidean, float>();
    check_all<InnerProduct, float>();
    check_all<Cosine, float>();
}

TEST_CASE("float tiles lose no row, whatever the data: f16 and bf16", "[tile]") {
    check_all<L2, Half>();
    check_all<InnerProduct, Half>();
    check_all<Cosine, Half>();
    check_all<L2, BFloat16>();
    check_all<InnerProduct, BFloat16>();
    check_all<Cosine, BFloat16>();
}

TEST_CASE("integer tiles have exactly the rows within the bound", "[tile]") {
    check_all<L2, std::int8_t>();
    check_all<InnerProduct, std::int8_t>();
    check_all<L2, std::uint8_t>();
    check_all<InnerProduct, std::uint8_t>();
}

TEST_CASE("integer tiles are exact at the largest dimension and the largest values", "[tile]") {
    constexpr std::size_t d = DenseSpace<L2, std::uint8_t>::max_integer_dim;
    const auto extreme = [](std::size_t i, std::size_t j) { return i % 3 == 0 ? 1 : i % 3 == 1 ? 0 : static_cast<int>(j % 2); };
    const Matrix<std::uint8_t> bytes(9, d, 0, [&](std::size_t i, std::size_t j) { return static_cast<std::uint8_t>(255 * extreme(i, j)); });
    const Matrix<std::int8_t> signed_bytes(9, d, 0, [&](std::size_t i, std::size_t j) { return static_cast<std::int8_t>(255 * extreme(i, j) - 128); });
    if (TileScorer<DenseSpace<L2, std::uint8_t>>::available()) {
        check_candidates(DenseSpace<L2, std::uint8_t>(Rows<std::uint8_t>::borrow(bytes.view())), bytes.view());
        check_candidates(DenseSpace<InnerProduct, std::uint8_t>(Rows<std::uint8_t>::borrow(bytes.view())), bytes.view());
        check_candidates(DenseSpace<L2, std::int8_t>(Rows<std::int8_t>::borrow(signed_bytes.view())), signed_bytes.view());
        check_candidates(DenseSpace<InnerProduct, std::int8_t>(Rows<std::int8_t>::borrow(signed_bytes.view())), signed_bytes.view());
    }
    const Keyed index(Flat(DenseSpace<L2, std::uint8_t>(Rows<std::uint8_t>::borrow(bytes.view()))));
    const auto results = index.search(bytes.view(), 9);
    CHECK(results.distances(0)[8] == 255.0f * 255.0f * static_cast<float>(d));
}
