// SPDX-License-Identifier: Apache-2.0
//
// What the tests of scalar codes of 8 and of 4 bits share: checks that hold for any ScalarSpace.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/space/scalar_space.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace scalar {

using namespace test;  // NOLINT

template <class T>
MatrixView<const T> view_of(const Vectors& vectors) {
    const auto matrix = vectors.view();
    REQUIRE(matrix.type == element_traits<T>::type);
    return {static_cast<const T*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

template <class S>
struct Type { using type = S; };

template <class D>
bool same_bits(const std::vector<D>& a, const std::vector<D>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(D)) == 0;
}

template <class S>
bool same_rows(const S& a, const S& b) {
    if (a.size() != b.size() || a.dim() != b.dim()) return false;
    for (Slot slot = 0; slot < a.size(); ++slot)
        if (std::memcmp(a.codes().rows().row(slot), b.codes().rows().row(slot), a.row_bytes()) != 0) return false;
    return true;
}

template <class S>
std::vector<typename S::distance_type> scores(const S& space, std::span<const typename S::query_type> query) {
    typename S::scorer_scratch scratch;
    const auto scorer = space.scorer(query, scratch);
    std::vector<typename S::distance_type> one(space.size());
    for (Slot slot = 0; slot < space.size(); ++slot) one[slot] = scorer(slot);
    return one;
}

/// A scorer's three shapes.
template <class S>
void check_shapes(const S& space, std::span<const typename S::query_type> query) {
    using D = typename S::distance_type;
    const std::size_t n = space.size();
    typename S::scorer_scratch scratch;
    const auto scorer = space.scorer(query, scratch);
    const auto one = scores(space, query);
    std::vector<D> run(n);
    for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, n / 2, n - 1}) {
        scorer.run(0, cut, run.data());
        scorer.run(cut, n - cut, run.data() + cut);
        CHECK(same_bits(one, run));
    }
    std::vector<Slot> slots(n);
    std::vector<D> gathered(n), expected(n);
    for (std::size_t i = 0; i < n; ++i) {
        slots[i] = static_cast<Slot>(i * 37 % n);
        expected[i] = one[slots[i]];
    }
    scorer.gather(slots, gathered.data());
    CHECK(same_bits(gathered, expected));
}

template <class S>
std::vector<typename S::query_type> query_row(const Vectors& rows, std::size_t row) {
    std::vector<typename S::query_type> out(rows.cols());
    for (std::size_t d = 0; d < rows.cols(); ++d) out[d] = static_cast<typename S::query_type>(rows.value(row, d));
    return out;
}

/// Rows that a space takes, or queries: floats about an offset, bytes about 100 with 25 in place of 1.
template <class T>
Vectors some_rows(std::size_t n, std::size_t d, std::uint64_t seed, double offset) {
    if (FloatElement<T>) return Vectors::normal(element_traits<T>::type, n, d, seed, offset);
    return Vectors::fill(ElementType::u8, n, d, [=, random = Random(seed)](std::size_t i) {
        return std::clamp(100 + 25 * (offset + random.normal(i)), 0.0, 255.0);
    });
}

/// How far a reported number may be from the truth: what quantising moves a row and a query, in this metric.
template <class S>
double allowed_error(const S& space, double truth, const Vectors& rows) {
    constexpr std::string_view metric = S::metric_type::name;
    const auto d = static_cast<double>(space.dim());
    const double moved = 2 * 0.75 * static_cast<double>(space.codec().step()) * std::sqrt(d);  // both ends; a few values are clipped
    double largest = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) largest = std::max(largest, std::sqrt(reference_distance("l2", rows, i, rows, 0)) + 1);
    if (metric == "l1") return moved * std::sqrt(d);
    if (metric == "euclidean") return moved;
    if (metric == "cosine") return moved * 1.5;
    if (metric == "l2") return 2 * std::sqrt(truth) * moved + moved * moved;
    return moved * largest * 2;
}

/// scorer(slot), gather, run and distance agree to the bit; a decoded row is its row.
template <class S>
void check_agreement(std::size_t (*row_bytes)(std::size_t)) {
    using T = typename S::element_type;
    using Q = typename S::query_type;
    STATIC_REQUIRE(Space<S>);
    STATIC_REQUIRE(GrowableSpace<S>);
    STATIC_REQUIRE(PersistableSpace<S>);
    for (const std::size_t d : {1, 16, 33, 100, 128, 259})
        for (const std::size_t n : {2, 130}) {
            CAPTURE(d, n);
            const auto rows = some_rows<T>(n, d, d + n, 0.7);
            const auto space = S::train_and_encode(view_of<T>(rows));
            REQUIRE(space.size() == n);
            REQUIRE(space.dim() == d);
            REQUIRE(space.row_bytes() == row_bytes(d));
            std::vector<Q> query(d);
            for (const Slot row : {Slot{0}, static_cast<Slot>(n / 2)}) {
                space.read_query(row, query);
                std::vector<typename S::distance_type> pairs(n);
                for (Slot slot = 0; slot < n; ++slot) {
                    pairs[slot] = space.distance(row, slot);
                    CHECK(pairs[slot] == space.distance(slot, row));
                }
                CHECK(same_bits(scores(space, query), pairs));
                check_shapes(space, query);
            }
            check_shapes(space, query_row<S>(some_rows<Q>(1, d, 99, 0), 0));
        }
}

/// Reported distances are near those of the rows, and order them where they are far apart.
template <class S>
void check_distances() {
    using T = typename S::element_type;
    using Q = typename S::query_type;
    constexpr std::string_view metric = S::metric_type::name;
    const auto rows = some_rows<T>(400, 48, 3, 0.3);
    const auto queries = some_rows<Q>(10, 48, 4, 0.3);
    const auto space = S::train_and_encode(view_of<T>(rows));
    std::size_t wrong = 0, unordered = 0;
    for (std::size_t j = 0; j < queries.rows(); ++j) {
        const auto found = scores(space, query_row<S>(queries, j));
        for (std::size_t i = 0; i < rows.rows(); ++i) {
            const double truth = reference_distance(metric, queries, j, rows, i);
            const double reported = space.report(static_cast<double>(found[i]));
            wrong += std::abs(reported - truth) > allowed_error(space, truth, rows) ? 1 : 0;
            CHECK(space.internal(reported) == Approx(static_cast<double>(found[i])).margin(1e-3));
            for (const std::size_t k : {std::size_t{0}, std::size_t{200}}) {  // far apart in truth: in that order
                const double other = reference_distance(metric, queries, j, rows, k);
                const double gap = (is_similarity(metric) ? -1 : 1) * (other - truth);
                if (gap > 2 * allowed_error(space, std::max(truth, other), rows)) unordered += found[i] < found[k] ? 0 : 1;
            }
        }
    }
    CHECK(wrong == 0);
    CHECK(unordered == 0);
}

/// Rows that are appended, overwritten, moved and cut off.
template <class S>
void check_changes() {
    using T = typename S::element_type;
    const auto rows = some_rows<T>(600, 20, 5, 0.5);
    const auto view = view_of<T>(rows);
    const auto trained = S::train_and_encode(view);
    CHECK_NOTHROW(trained.validate("here"));
    S space(trained.codec());
    CHECK(space.size() == 0);
    space.append(view.slice(0, 10));
    space.append(view.slice(10, 590));
    CHECK(same_rows(space, trained));
    space.own_rows();
    space.move_row(599, 3);
    space.overwrite(7, view[500]);
    space.truncate(300);
    CHECK_NOTHROW(space.validate("here"));
    Vectors expected = Vectors::fill(rows.type(), 300, 20, [&](std::size_t i) {
        const std::size_t row = i / 20;
        return rows.value(row == 3 ? 599 : row == 7 ? 500 : row, i % 20);
    });
    S other(trained.codec());
    other.append(view_of<T>(expected));
    CHECK(same_rows(space, other));
    const auto query = query_row<S>(rows, 11);
    CHECK(same_bits(scores(space, query), scores(other, query)));
    check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.overwrite(0, view[1].first(19)); });
    check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.append({view.data(), 3, 19, 20}); });
    check_error(ErrorCode::invalid_argument, {"300"}, [&] { space.overwrite(300, view[1]); });
    CHECK(same_rows(space, other));
    CHECK_NOTHROW(space.validate("here"));
}

/// Codes are saved and loaded, and stay in the file.
template <class S>
void check_file() {
    const TempDir dir;
    using T = typename S::element_type;
    const auto rows = some_rows<T>(50, 23, 10, 0);
    const auto space = S::train_and_encode(view_of<T>(rows));
    FileInfo info;
    info.kind = "test";
    info.space = space.label();
    info.count = 50;
    info.dim = 23;
    SectionWriter writer(info);
    space.save(writer);
    writer.write(dir.path() / "codes");
    const SectionReader reader(dir.path() / "codes");
    reader.require_known(S::section_names());
    S loaded = S::load(reader);
    CHECK(loaded.codes().rows().kind() == RowsKind::mapped);
    CHECK_NOTHROW(loaded.validate("here"));
    CHECK(same_rows(space, loaded));
    CHECK(same_bits(scores(space, query_row<S>(rows, 3)), scores(loaded, query_row<S>(rows, 3))));
    loaded.overwrite(3, view_of<T>(rows)[4]);
    loaded.append(view_of<T>(rows).slice(0, 2));
    CHECK_NOTHROW(loaded.validate("here"));
    CHECK(loaded.distance(3, 4) == loaded.distance(4, 4));
}

}  // namespace scalar
