// SPDX-License-Identifier: Apache-2.0
//
// What the tests of IVF-PQ share: indexes of every kind, and the reference, which is brute force in double over what codes stand for.
#pragma once

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "index/ivf_support.hpp"
#include "kith/index/ivf_pq.hpp"

namespace test {

template <class I>
inline I build_pq(const Vectors& rows, const IvfPqParams& params, Executor& executor = inline_executor(), std::uint64_t seed = 1) {
    return I::build(view_of<typename I::space_type::element_type>(rows), params, seed, executor);
}

/// Calls check(type of index) for the metrics and some element types.
template <class Check>
void for_each_ivf_pq(Check check) {
    const auto one = [&]<class I>(I*) {
        INFO(I::space_type::file_label());
        check(static_cast<I*>(nullptr));
    };
    one(static_cast<IvfPq<L2, float>*>(nullptr));
    one(static_cast<IvfPq<InnerProduct, Half>*>(nullptr));
    one(static_cast<IvfPq<Cosine, float>*>(nullptr));
}

/// The number that a metric's scorer should give for two rows: the internal one, in double.
template <class M>
double true_distance(std::span<const float> q, std::span<const float> x) {
    double dot = 0, l2 = 0, length = 0;
    for (const float value : q) length += static_cast<double>(value) * static_cast<double>(value);
    const double scale = std::is_same_v<M, Cosine> ? 1 / std::sqrt(length) : 1;
    for (std::size_t i = 0; i < q.size(); ++i) {
        const double a = static_cast<double>(q[i]) * scale, b = static_cast<double>(x[i]);
        dot += a * b;
        l2 += (a - b) * (a - b);
    }
    return std::is_same_v<M, InnerProduct> ? -dot : l2;
}

/// How far distances of a list may be off: what floats lose, and with 4 bits half a step of the query's table for each code.
template <class S>
double allowed_error(const S& space, std::span<const float> query, MatrixView<const float> centroids, std::size_t list) {
    using M = typename S::metric_type;
    constexpr bool is_ip = std::is_same_v<M, InnerProduct>;
    const PqCodec& codec = space.codec();
    std::vector<float> point(query.size()), rotated(query.size()), table(codec.table_size());
    double size = 0, length = 0;
    for (const float value : query) length += static_cast<double>(value) * static_cast<double>(value);
    const double scale = std::is_same_v<M, Cosine> ? 1 / std::sqrt(length) : 1;
    for (std::size_t i = 0; i < query.size(); ++i) {
        const double q = static_cast<double>(query[i]) * scale, c = static_cast<double>(centroids[list][i]);
        double mean = 0;
        for (std::size_t other = 0; other < centroids.rows(); ++other) mean += static_cast<double>(centroids[other][i]) / static_cast<double>(centroids.rows());
        point[i] = static_cast<float>(is_ip ? q : 2 * (q - mean));
        size += std::abs(q * c) + (q - c) * (q - c) + (c - mean) * (c - mean);
    }
    if (space.residuals().rotation()) space.residuals().rotation()->apply(point.data(), rotated.data());
    else rotated = point;
    codec.dot_table(rotated.data(), table.data());
    double range = 0;
    for (std::size_t j = 0; j < codec.m(); ++j) {
        const auto [least, most] = std::minmax_element(table.begin() + static_cast<std::ptrdiff_t>(j * codec.centroids()),
                                                       table.begin() + static_cast<std::ptrdiff_t>((j + 1) * codec.centroids()));
        range = std::max(range, static_cast<double>(*most) - static_cast<double>(*least));
        size += std::abs(static_cast<double>(*most));
    }
    const double rounding = 2e-6 * (size + 1);
    return codec.bits() == 8 ? rounding : rounding + static_cast<double>(codec.m()) * 0.5 * 1.02 * range / 255;
}

/// The k nearest by the distances that the index's own space gives, ties by id.
template <class I, class Allowed>
std::vector<std::pair<double, Id>> scan_codes(const Keyed<I>& keyed, std::span<const float> query, Allowed allowed) {
    const auto& space = keyed.index().space();
    scorer_scratch_of<std::remove_cvref_t<decltype(space)>> scratch;
    const auto scorer = bind_query(space, query, scratch);
    std::vector<std::pair<double, Id>> found;
    for (Slot slot = 0; slot < keyed.slots(); ++slot)
        if (!keyed.index().is_vacant(slot) && allowed(slot)) found.emplace_back(static_cast<double>(scorer(slot)), keyed.ids().id(slot));
    std::sort(found.begin(), found.end());
    return found;
}

template <class I>
bool is_scan(const Keyed<I>& keyed, const Results& found, std::size_t q, const std::vector<std::pair<double, Id>>& expected, std::size_t k) {
    if (found.count(q) != std::min(k, expected.size())) return false;
    for (std::size_t i = 0; i < found.count(q); ++i)
        if (found.ids(q)[i] != expected[i].second || found.distances(q)[i] != static_cast<float>(keyed.index().space().report(expected[i].first))) return false;
    return true;
}

template <class I>
Keyed<I> reloaded(const Keyed<I>& keyed) {
    const auto bytes = keyed.to_bytes();
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer->begin());
    return Keyed<I>::load(SectionReader(buffer->span(), "m", buffer));
}

}  // namespace test
