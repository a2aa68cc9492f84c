// SPDX-License-Identifier: Apache-2.0
//
// What the tests of IVF share: spaces of every kind, rows for them, and what a search must find, by the exact scan or by the lists as they are.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kith/index/flat.hpp"
#include "kith/index/ivf.hpp"
#include "kith/index/keyed.hpp"
#include "kith/space/sq8_space.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace test {

using namespace kith;  // NOLINT

template <class T>
MatrixView<const T> view_of(const Vectors& vectors) {
    const auto matrix = vectors.view();
    REQUIRE(matrix.type == element_traits<T>::type);
    return {static_cast<const T*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

/// The rows as a space: as they are, or as codes.
template <class S>
S space_of(const Vectors& rows) {
    using T = typename S::element_type;
    if constexpr (requires { S::train_and_encode(view_of<T>(rows)); }) return S::train_and_encode(view_of<T>(rows), inline_executor(), 1);
    else return S(Rows<T>::borrow(view_of<T>(rows)));
}

/// Rows around a few centres, some rows twice.
template <class T>
Vectors clustered(std::size_t n, std::size_t d, std::uint64_t seed, std::size_t centres = 12) {
    const auto type = element_traits<T>::type;
    const Random random(seed), centre(77);  // the same centres for rows and queries
    return Vectors::fill(type, n, d, [&](std::size_t i) {
        const std::size_t row = i / d % 31 == 30 ? i / d - 1 : i / d;
        const std::size_t at = random.below(1000000 + row, centres);
        const double noise = random.normal(row * d + i % d);
        const double middle = centre.normal(at * d + i % d);
        if (type == ElementType::b1) {
            int byte = 0;  // bits of the centre, one in eight turned over
            for (std::size_t bit = 0; bit < 8; ++bit) {
                const bool one = centre.below(8 * (at * d + i % d) + bit, 2) == 0;
                byte |= (one != (random.below(8 * (row * d + i % d) + bit + 5000000, 8) == 0) ? 1 : 0) << bit;
            }
            return static_cast<double>(byte);
        }
        if (type == ElementType::u8) return std::clamp(std::round(100 + 30 * middle + 12 * noise), 0.0, 255.0);
        if (type == ElementType::i8) return std::clamp(std::round(40 * middle + 16 * noise), -128.0, 127.0);
        return 2 * middle + 0.8 * noise;
    });
}

template <class S>
Vectors rows_for(std::size_t n, std::size_t d, std::uint64_t seed) {
    return clustered<typename S::element_type>(n, d, seed);
}
template <class S>
Vectors queries_for(std::size_t n, std::size_t d, std::uint64_t seed) {
    return clustered<typename S::query_type>(n, d, seed);
}

/// Calls check(type of space) for every kind of space that can be partitioned.
template <class Check>
void for_each_space(Check check) {
    const auto one = [&]<class S>(S*) {
        INFO(S::type_label());
        check(static_cast<S*>(nullptr));
    };
    one(static_cast<DenseSpace<L2, float>*>(nullptr));
    one(static_cast<DenseSpace<InnerProduct, float>*>(nullptr));
    one(static_cast<DenseSpace<Cosine, float>*>(nullptr));
    one(static_cast<DenseSpace<Euclidean, Half>*>(nullptr));
    one(static_cast<DenseSpace<L1, BFloat16>*>(nullptr));
    one(static_cast<DenseSpace<L2, std::uint8_t>*>(nullptr));
    one(static_cast<DenseSpace<Cosine, std::int8_t>*>(nullptr));
    one(static_cast<DenseSpace<InnerProduct, std::int8_t>*>(nullptr));
    one(static_cast<DenseSpace<Hamming, Bits8>*>(nullptr));
    one(static_cast<Sq8Space<L2, float>*>(nullptr));
    one(static_cast<Sq8Space<InnerProduct, float>*>(nullptr));
    one(static_cast<Sq8Space<Cosine, Half>*>(nullptr));
}

inline bool same(const Results& a, const Results& b) {
    for (std::size_t i = 0; i < a.queries(); ++i)
        if (!std::ranges::equal(a.ids(i), b.ids(i)) || !std::ranges::equal(a.distances(i), b.distances(i))) return false;
    return a.queries() == b.queries();
}

inline bool same(const RangeResults& a, const RangeResults& b) {
    return a.offsets == b.offsets && a.ids == b.ids && a.distances == b.distances;
}

inline IvfSearchParams probe(std::uint32_t nprobe, float stop = 0) { return {nprobe, stop}; }
inline const IvfSearchParams everywhere = probe(1u << 30);

/// How many of the exact results are found.
inline double recall(const Results& found, const Results& exact) {
    std::size_t right = 0, all = 0;
    for (std::size_t i = 0; i < exact.queries(); ++i) {
        all += exact.count(i);
        for (const Id id : found.ids(i)) right += std::ranges::count(exact.ids(i), id) > 0 ? 1 : 0;
    }
    return static_cast<double>(right) / static_cast<double>(all);
}

/// Lists by how near their centroids are to a query, in double: what `Coarse` ranks by, written down once more.
template <class S>
std::vector<std::uint32_t> ranked_lists(const Ivf<S>& index, const Vectors& queries, std::size_t query) {
    using M = typename S::metric_type;
    const auto centroids = index.centroids();
    const bool bits = queries.type() == ElementType::b1;
    std::vector<double> q(centroids.cols());
    for (std::size_t i = 0; i < q.size(); ++i)
        q[i] = bits ? static_cast<double>(static_cast<int>(queries.value(query, i / 8)) >> (7 - i % 8) & 1) : queries.value(query, i);
    double length = 0;
    for (const double x : q) length += x * x;
    std::vector<std::pair<double, std::uint32_t>> order;
    for (std::size_t list = 0; list < centroids.rows(); ++list) {
        double dot = 0, l2 = 0, spread = 0;
        for (std::size_t i = 0; i < q.size(); ++i) {
            const auto c = static_cast<double>(centroids.row(list)[i]);
            dot += q[i] * c;
            l2 += (q[i] - c) * (q[i] - c);
        }
        if (std::is_same_v<M, InnerProduct>) spread = static_cast<double>(centroids.row(list)[q.size()]);  // lies behind the centroid
        order.emplace_back(std::is_same_v<centroid_metric<M>, InnerProduct> ? -dot - spread * std::sqrt(length) : l2, static_cast<std::uint32_t>(list));
    }
    std::sort(order.begin(), order.end());
    std::vector<std::uint32_t> lists;
    for (const auto& [distance, list] : order) lists.push_back(list);
    return lists;
}

}  // namespace test
