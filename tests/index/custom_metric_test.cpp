// SPDX-License-Identifier: Apache-2.0
//
// A metric of one's own through everything that an index does: single queries, batches, ranges, filters, changes. The metric here weighs
// dimensions and is not symmetric, so that swapped arguments would show.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kith/kith.hpp"
#include "support/catch.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

constexpr std::size_t dim = 7;

/// Weighted squared differences; a dimension in which the row lies above the query counts threefold.
auto asymmetric(const std::vector<float>& weights) {
    return CustomMetric([&weights](const float* query, const float* row, std::size_t n) {
        float sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const float difference = query[i] - row[i];
            sum += weights[i] * difference * difference * (difference < 0 ? 3.0f : 1.0f);
        }
        return sum;
    });
}

const std::vector<float>& weights() {
    static const std::vector<float> values{1, 2, 0, 4, 1, 0.5f, 8};
    return values;
}

using Weighted = decltype(asymmetric(weights()));
using WeightedSpace = DenseSpace<Weighted, float>;

struct Data {
    Vectors base = Vectors::whole(ElementType::f32, 400, dim, 1);
    Vectors queries = Vectors::whole(ElementType::f32, 21, dim, 2);

    MatrixView<const float> base_view() const { return view(base); }
    MatrixView<const float> query_view() const { return view(queries); }
    static MatrixView<const float> view(const Vectors& v) {
        return {static_cast<const float*>(v.view().data), v.rows(), v.cols()};
    }
    Keyed<Flat<WeightedSpace>> index() const { return Keyed(Flat(WeightedSpace(Rows<float>::borrow(base_view()), asymmetric(weights())))); }

    /// Brute force with formulas of its own; whole numbers, so that float sums are exact.
    template <class Allowed>
    std::vector<Neighbour> nearest(std::size_t query, Allowed allowed) const {
        std::vector<Neighbour> found;
        for (std::size_t i = 0; i < base.rows(); ++i) {
            double sum = 0;
            for (std::size_t c = 0; c < dim; ++c) {
                const double over = base.value(i, c) - queries.value(query, c);
                sum += static_cast<double>(weights()[c]) * over * over * (over > 0 ? 3 : 1);
            }
            if (allowed(static_cast<Id>(i))) found.push_back({static_cast<Id>(i), sum});
        }
        std::sort(found.begin(), found.end(), [](const Neighbour& a, const Neighbour& b) {
            return std::pair(a.distance, a.id) < std::pair(b.distance, b.id);
        });
        return found;
    }
    std::vector<Neighbour> nearest(std::size_t query) const {
        return nearest(query, [](Id) { return true; });
    }
};

}  // namespace

TEST_CASE("a lambda that captures: single queries and batches find what brute force finds", "[metric][index]") {
    STATIC_REQUIRE(Space<WeightedSpace>);
    STATIC_REQUIRE(GrowableSpace<WeightedSpace>);
    STATIC_REQUIRE_FALSE(PersistableSpace<WeightedSpace>);  // a file cannot hold a lambda
    STATIC_REQUIRE(BlockSearchable<Flat<WeightedSpace>>);
    STATIC_REQUIRE_FALSE(Persistable<Flat<WeightedSpace>>);
    STATIC_REQUIRE_FALSE(TileSpace<WeightedSpace>);
    const Data data;
    const auto index = data.index();
    ThreadPool pool(3);
    for (const std::size_t k : {1, 10, 500}) {
        const auto batch = index.search(data.query_view(), k);
        const auto threaded = index.search(data.query_view(), k, {}, {}, pool);
        for (std::size_t q = 0; q < data.queries.rows(); ++q) {
            const auto expected = data.nearest(q);
            const auto single = index.search(data.query_view().slice(q, 1), k);
            CHECK(same_neighbours("custom", batch.ids(q), batch.distances(q), expected, k));
            CHECK(same_neighbours("custom", threaded.ids(q), threaded.distances(q), expected, k));
            CHECK(same_neighbours("custom", single.ids(0), single.distances(0), expected, k));
        }
    }
}

TEST_CASE("a lambda that captures: ranges and filters", "[metric][index]") {
    const Data data;
    const auto index = data.index();
    for (const bool most : {true, false}) {  // most rows, few rows: the two plans of a filtered scan
        Bitset bits(data.base.rows(), most);
        for (std::size_t i = 0; i < data.base.rows(); i += 9) bits.assign(i, !most);
        const std::vector<BitsetFilter> filter{BitsetFilter(bits)};
        const auto allowed = [&](Id id) { return bits.test(static_cast<std::size_t>(id)); };
        const auto results = index.search(data.query_view(), 10, {}, filter);
        for (std::size_t q = 0; q < data.queries.rows(); ++q) {
            const auto expected = data.nearest(q, allowed);
            CHECK(same_neighbours("custom", results.ids(q), results.distances(q), expected, 10));
            const double radius = expected[20].distance;
            const auto within = index.range_search(data.query_view().slice(q, 1), radius, {}, filter);
            const auto count = static_cast<std::size_t>(
                std::count_if(expected.begin(), expected.end(), [&](const Neighbour& n) { return n.distance <= radius; }));
            CHECK(within.ids.size() == count);
            CHECK(same_neighbours("custom", within.ids, within.distances, expected, count));
        }
    }
}

TEST_CASE("a lambda that captures: rows come and go, indexes move", "[metric][index]") {
    const Data data;
    auto first = data.index();
    first.remove(std::vector<Id>{0, 399, 17});
    first.add(data.base_view().slice(17, 1), std::vector<Id>{17});
    first.add(data.base_view().slice(0, 1), std::vector<Id>{0});
    auto second = std::move(first);
    Keyed index = data.index();
    index = std::move(second);
    const auto results = index.search(data.query_view(), 30);
    for (std::size_t q = 0; q < data.queries.rows(); ++q)
        CHECK(same_neighbours("custom", results.ids(q), results.distances(q), data.nearest(q, [](Id id) { return id != 399; }), 30));
}
