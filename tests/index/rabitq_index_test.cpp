// SPDX-License-Identifier: Apache-2.0
//
// Graphs over RaBitQ codes: built on the codes or on the exact rows, changed, and refined, they find what an exact search finds.
#include <algorithm>
#include <set>
#include <vector>

#include "kith/index/hnsw.hpp"
#include "kith/index/refine.hpp"
#include "kith/index/vamana.hpp"
#include "kith/space/rabitq_space.hpp"
#include "support/catch.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

constexpr std::size_t dim = 40, k = 10;

MatrixView<const float> view_of(const Vectors& vectors) {
    const auto matrix = vectors.view();
    return {static_cast<const float*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

/// The share of the k nearest rows that are found.
template <class I>
double recall(const I& index, const Vectors& rows, float refine) {
    const DenseSpace<typename I::space_type::metric_type, float> exact(Rows<float>::borrow(view_of(rows)));
    const auto queries = Vectors::normal(ElementType::f32, 40, dim, 3);
    typename I::scratch_type scratch;
    typename I::search_params params;
    params.refine = refine;
    params.ef = 80;
    std::size_t found = 0;
    for (std::size_t q = 0; q < queries.rows(); ++q) {
        std::vector<Hit<float>> hits(k), truth(k);
        TopK<float> nearest{std::span(hits)}, wanted{std::span(truth)};
        const auto query = view_of(queries)[q];
        index.search(query, params, AllowAll{}, scratch, nearest);
        const auto scorer = exact.scorer(query);
        for (Slot slot = 0; slot < rows.rows(); ++slot) wanted.offer(slot, scorer(slot));
        std::set<Slot> right;
        for (const auto& hit : wanted.sorted()) right.insert(hit.slot);
        for (const auto& hit : nearest.sorted()) found += right.count(hit.slot);
    }
    return static_cast<double>(found) / static_cast<double>(k * queries.rows());
}

template <class I>
I build(const Vectors& rows, std::uint32_t bits, bool exact_links) {
    typename I::build_params params;
    params.exact_links = exact_links;
    return I::build(typename I::space_type(Rows<float>::borrow(view_of(rows))), params, 1, inline_executor(), {}, {.bits = bits});
}

}  // namespace

TEST_CASE("rabitq: graphs over codes find the nearest, by any metric", "[index][rabitq][quality]") {
    const auto rows = Vectors::normal(ElementType::f32, 1500, dim, 2);
    for (const bool exact : {false, true}) {
        CAPTURE(exact);
        CHECK(recall(build<Refine<Hnsw<RabitqSpace<L2, float>>>>(rows, 4, exact), rows, 2) > 0.97);
        CHECK(recall(build<Refine<Hnsw<RabitqSpace<Cosine, float>>>>(rows, 7, exact), rows, 1.5) > 0.97);
        CHECK(recall(build<Refine<Vamana<RabitqSpace<L2, float>>>>(rows, 2, exact), rows, 5) > 0.95);
    }
    CHECK(recall(build<Refine<Hnsw<RabitqSpace<L2, float>>>>(rows, 1, true), rows, 8) > 0.9);
    CHECK(recall(build<Refine<Hnsw<RabitqSpace<L2, float>>>>(rows, 1, false), rows, 8) > 0.85);
}

TEST_CASE("rabitq: rows are added to a graph over codes, and equal rows do no harm", "[index][rabitq]") {
    auto rows = Vectors::normal(ElementType::f32, 1200, dim, 5);
    for (std::size_t i = 0; i < 100; ++i)
        for (std::size_t d = 0; d < dim; ++d) rows.set(i, d, rows.value(0, d));
    using I = Refine<Hnsw<RabitqSpace<L2, float>>>;
    auto index = I::build(I::space_type(Rows<float>::copy(view_of(rows).slice(0, 800))), {}, 1, inline_executor(), {}, {.bits = 5});
    index.insert(view_of(rows).slice(800, 400));
    CHECK(index.size() == 1200);
    CHECK(recall(index, rows, 2) > 0.97);
}
