// SPDX-License-Identifier: Apache-2.0
//
// Dense spaces: the three shapes of a scorer agree to the bit, with each other, with the distance of two rows and with the formulas.
#include "kith/space/dense.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kith/any/registry.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

template <class T>
MatrixView<const T> view_of(const Vectors& vectors) {
    const auto matrix = vectors.view();
    REQUIRE(matrix.type == element_traits<T>::type);
    return {static_cast<const T*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

/// Calls check with each space type of the registry.
template <class Check>
void for_each_space(Check check) {
    detail::any_of_types(detail::Spaces{}, [&](auto space) {
        using S = typename decltype(space)::type;
        INFO("space " << S::type_label());
        check(space);
        return false;
    });
}

template <class T>
Vectors test_rows(std::size_t n, std::size_t d, std::uint64_t seed) {
    constexpr auto type = element_traits<T>::type;
    if constexpr (FloatElement<T>) return Vectors::normal(type, n, d, seed, 0.5);
    else return Vectors::whole(type, n, d, seed);
}

Vectors first_rows(const Vectors& rows, std::size_t count) {
    return Vectors::fill(rows.type(), count, rows.cols(), [&](std::size_t i) { return rows.value(i / rows.cols(), i % rows.cols()); });
}

template <class D>
bool same_bits(const std::vector<D>& a, const std::vector<D>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(D)) == 0;
}

/// The metric's internal number in double, from the reference of what it reports.
template <class S>
double reference(const Vectors& a, std::size_t i, const Vectors& b, std::size_t j) {
    constexpr std::string_view metric = S::metric_type::name;
    const double reported = reference_distance(metric == "euclidean" ? "l2" : metric, a, i, b, j);
    return is_similarity(metric) ? -reported : reported;
}

/// All that a space of n rows must agree on, through the query that read_query makes of row `row`.
template <class S>
void check_scorer(const S& space, const Vectors& rows, std::size_t row) {
    using D = typename S::distance_type;
    const std::size_t n = space.size();
    std::vector<typename S::query_type> query(space.dim());
    space.read_query(static_cast<Slot>(row), query);
    const auto scorer = space.scorer(query);
    std::vector<D> one(n);
    std::vector<D> pairs(n);
    for (std::size_t i = 0; i < n; ++i) {
        one[i] = scorer(static_cast<Slot>(i));
        pairs[i] = space.distance(static_cast<Slot>(row), static_cast<Slot>(i));
    }
    CHECK(same_bits(one, pairs));

    std::vector<D> run(n);
    scorer.run(0, n, run.data());
    CHECK(same_bits(one, run));
    for (const std::size_t cut : {std::size_t{1}, n / 3, n / 2, n - 1}) {  // however the rows are grouped
        scorer.run(0, cut, run.data());
        scorer.run(cut, n - cut, run.data() + cut);
        CHECK(same_bits(one, run));
    }
    std::vector<Slot> slots(n);
    for (std::size_t i = 0; i < n; ++i) slots[i] = static_cast<Slot>(i * 37 % n);
    slots[n / 3] = slots[0];  // twice the same
    std::vector<D> gathered(n);
    scorer.gather(slots, gathered.data());
    std::vector<D> expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = one[slots[i]];
    CHECK(same_bits(gathered, expected));
    scorer.gather({}, nullptr);
    scorer.run(0, 0, nullptr);

    std::size_t wrong = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double truth = reference<S>(rows, row, rows, i);
        // Rounded sums of d terms: d 2^-24 of the sum of magnitudes, which for these rows is below 8 a dimension (i8: 64).
        const double allowed = std::is_integral_v<D> ? 0 : 1e-6 * static_cast<double>(space.dim() * 8 + 1);
        wrong += std::abs(static_cast<double>(one[i]) - truth) > allowed ? 1 : 0;
    }
    CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("scorer(slot), gather, run and distance agree to the bit and with the formulas", "[space]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        for (const std::size_t d : {1, 3, 16, 33, 100, 257})
            for (const std::size_t n : {2, 130}) {
                CAPTURE(d, n);
                const auto rows = test_rows<T>(n, d, d + n);
                const S space(Rows<T>::borrow(view_of<T>(rows)));
                REQUIRE(space.size() == n);
                REQUIRE(space.dim() == d);
                REQUIRE(space.dimensions() == d * dims_per_element<T>);
                REQUIRE(space.row_bytes() == d * sizeof(T));
                check_scorer(space, rows, n / 2);
            }
    });
}

TEST_CASE("borrowed rows with a stride, misaligned ones and copies of them are the same space", "[space]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        using D = typename S::distance_type;
        constexpr std::size_t n = 40, d = 37, stride = 51;
        const auto rows = test_rows<T>(n, d, 9);
        const auto dense = view_of<T>(rows);
        std::vector<T> spread(n * stride + 1);
        std::memset(static_cast<void*>(spread.data()), 0x7F, spread.size() * sizeof(T));  // NaN or large between the rows
        for (std::size_t i = 0; i < n; ++i) std::copy_n(dense.row(i), d, spread.data() + 1 + i * stride);
        const S a(Rows<T>::borrow(dense));
        const S b(Rows<T>::borrow(MatrixView<const T>(spread.data() + 1, n, d, stride)));
        const S c(Rows<T>::copy(b.rows().view()));
        CHECK(c.rows().kind() == RowsKind::owned);
        check_scorer(b, rows, 5);
        std::vector<D> from_a(n), from_b(n), from_c(n);
        std::vector<typename S::query_type> query(d);
        a.read_query(7, query);
        a.scorer(query).run(0, n, from_a.data());
        b.scorer(query).run(0, n, from_b.data());
        c.scorer(query).run(0, n, from_c.data());
        CHECK(same_bits(from_a, from_b));
        CHECK(same_bits(from_a, from_c));
    });
}

TEST_CASE("rows that are appended, moved and cut off take what is kept beside them along", "[space]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        STATIC_REQUIRE(GrowableSpace<S>);
        STATIC_REQUIRE(PersistableSpace<S>);
        const auto rows = test_rows<T>(60, 20, 3);
        S space(Rows<T>::borrow(view_of<T>(rows).slice(0, 10)));
        space.append(view_of<T>(rows).slice(10, 50));
        CHECK(space.size() == 60);
        check_scorer(space, rows, 55);
        space.own_rows();
        space.move_row(59, 3);
        space.truncate(30);
        space.overwrite(7, view_of<T>(rows)[40]);
        Vectors left = first_rows(rows, 30);
        for (std::size_t col = 0; col < 20; ++col) {
            left.set(3, col, rows.value(59, col));
            left.set(7, col, rows.value(40, col));
        }
        check_scorer(space, left, 3);
        CHECK_NOTHROW(space.validate("here"));
        const S fresh(Rows<T>::copy(view_of<T>(left)));
        if constexpr (S::keeps_factors)
            for (Slot slot = 0; slot < 30; ++slot) CHECK(*space.factors().row(slot) == *fresh.factors().row(slot));
        S borrowed(Rows<T>::borrow(view_of<T>(rows).slice(0, 10)));
        borrowed.overwrite(9, view_of<T>(rows)[50]);  // into a copy: the caller's row 9 stays
        check_scorer(space, left, 7);
        CHECK(std::memcmp(borrowed.rows().row(9), view_of<T>(rows).row(50), 20 * sizeof(T)) == 0);
        CHECK(std::memcmp(view_of<T>(rows).row(9), view_of<T>(rows).row(50), 20 * sizeof(T)) != 0);
        check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { borrowed.overwrite(0, view_of<T>(rows)[1].first(19)); });
        check_error(ErrorCode::invalid_argument, {"10"}, [&] { borrowed.overwrite(10, view_of<T>(rows)[1]); });
        CHECK_NOTHROW(borrowed.validate("here"));
        space.truncate(0);
        CHECK(space.size() == 0);
        space.append(view_of<T>(rows).slice(0, 5));
        check_scorer(space, first_rows(rows, 5), 4);
    });
}

TEST_CASE("factors: squared norms in integers, inverse norms of rows, zero for what has no direction", "[space]") {
    const auto rows = Vectors::fill(ElementType::u8, 3, 4, [](std::size_t i) { return i < 4 ? 0.0 : i < 8 ? 255.0 : 3.0; });
    const DenseSpace<L2, std::uint8_t> integers(Rows<std::uint8_t>::borrow(view_of<std::uint8_t>(rows)));
    CHECK(*integers.factors().row(0) == 0);
    CHECK(*integers.factors().row(1) == 4 * 255 * 255);
    CHECK(*integers.factors().row(2) == 36);
    const DenseSpace<Cosine, std::uint8_t> angles(Rows<std::uint8_t>::borrow(view_of<std::uint8_t>(rows)));
    CHECK(*angles.factors().row(0) == 0.0f);
    CHECK(*angles.factors().row(2) == 1.0f / 6.0f);
    CHECK(angles.distance(0, 0) == 1.0f);  // a zero row is at distance 1 from everything, itself included
    CHECK(angles.distance(0, 1) == 1.0f);
    CHECK(angles.distance(2, 0) == 1.0f);
    CHECK(angles.distance(1, 2) == Approx(0.0).margin(1e-6));
    // Norms are taken in double: neither 1e30^2 nor 1e-30^2 exists as a float.
    for (const float scale : {1e18f, 1e30f, 1e-18f, 1e-30f}) {
        const std::vector<float> far{3 * scale, 4 * scale};
        const DenseSpace<Cosine, float> space(Rows<float>::borrow({far.data(), 1, 2}));
        CHECK(static_cast<double>(*space.factors().row(0)) == Approx(1.0 / (5.0 * static_cast<double>(scale))).epsilon(1e-6));
    }
    const std::vector<float> tiny{1e-45f, 0};  // 1 / |x| is too large for a float: as good as zero
    CHECK(*DenseSpace<Cosine, float>(Rows<float>::borrow({tiny.data(), 1, 2})).factors().row(0) == 0.0f);
}

TEST_CASE("a space with the wrong factors does not validate", "[space]") {
    const auto rows = Vectors::whole(ElementType::i8, 5, 8, 1);
    const auto view = view_of<std::int8_t>(rows);
    std::vector<std::int32_t> norms(5, 1);
    const DenseSpace<L2, std::int8_t> space(Rows<std::int8_t>::borrow(view), L2{}, Rows<std::int32_t>::copy({norms.data(), 5, 1}));
    check_error(ErrorCode::corrupt, {"here", "squared_norms", "row 0"}, [&] { space.validate("here"); });
    const std::vector<float> bad{1, 2, std::numeric_limits<float>::quiet_NaN(), 4};
    const DenseSpace<L2, float> nan(Rows<float>::borrow({bad.data(), 2, 2}));
    check_error(ErrorCode::corrupt, {"there", "row 1", "finite"}, [&] { nan.validate("there"); });
}

TEST_CASE("labels name metric and element, and go with the registry", "[space]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const S space(Rows<T>(8));
        CHECK(space.label() == S::type_label());
        CHECK(space.size() == 0);
    });
}
