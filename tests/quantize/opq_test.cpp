// SPDX-License-Identifier: Apache-2.0
//
// OPQ: what comes out is a rotation, no round makes the error worse, and rows whose variance is spread unevenly lose less after it; what
// cannot be trained on does no harm.
#include "kith/quantize/opq_training.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT
using test::check_error;

MatrixView<const float> view_of(const std::vector<float>& values, std::size_t cols) { return {values.data(), values.size() / cols, cols}; }

PqParams shape(std::uint32_t m, std::uint32_t bits) {
    PqParams params;
    params.m = m;
    params.bits = bits;
    return params;
}

/// Gaussian rows whose variances fall by `ratio` from one direction to the next; with `mixed` the directions are not the axes.
std::vector<float> correlated(std::size_t n, std::size_t dim, double ratio, bool mixed, std::uint64_t seed, double offset = 0) {
    const Random random(seed), axes(12);
    std::vector<double> mix(dim * dim);
    for (std::size_t i = 0; i < dim * dim; ++i) mix[i] = mixed ? axes.normal(i) : (i % (dim + 1) == 0 ? 1.0 : 0.0);
    for (std::size_t i = 0; i < dim; ++i) {  // Gram-Schmidt
        for (std::size_t j = 0; j < i; ++j) {
            double along = 0;
            for (std::size_t d = 0; d < dim; ++d) along += mix[i * dim + d] * mix[j * dim + d];
            for (std::size_t d = 0; d < dim; ++d) mix[i * dim + d] -= along * mix[j * dim + d];
        }
        double norm = 0;
        for (std::size_t d = 0; d < dim; ++d) norm += mix[i * dim + d] * mix[i * dim + d];
        for (std::size_t d = 0; d < dim; ++d) mix[i * dim + d] /= std::sqrt(norm);
    }
    std::vector<float> rows(n * dim);
    for (std::size_t i = 0; i < n; ++i) {
        std::vector<double> row(dim, offset);
        for (std::size_t j = 0; j < dim; ++j) {
            const double value = random.normal(i * dim + j) * std::pow(ratio, static_cast<double>(j) / 2);
            for (std::size_t d = 0; d < dim; ++d) row[d] += value * mix[j * dim + d];
        }
        for (std::size_t d = 0; d < dim; ++d) rows[i * dim + d] = static_cast<float>(row[d]);
    }
    return rows;
}

/// The largest entry of R R' - I.
double off_orthogonal(const OpqRotation& rotation) {
    const std::size_t dim = rotation.dim();
    double worst = 0;
    for (std::size_t i = 0; i < dim; ++i)
        for (std::size_t j = 0; j <= i; ++j) {
            double sum = i == j ? -1 : 0;
            for (std::size_t d = 0; d < dim; ++d) sum += double(rotation.matrix()[i * dim + d]) * double(rotation.matrix()[j * dim + d]);
            worst = std::max(worst, std::abs(sum));
        }
    return worst;
}

std::vector<float> rotated(const OpqRotation& rotation, const std::vector<float>& rows) {
    std::vector<float> out(rows.size());
    rotation.apply_rows(view_of(rows, rotation.dim()), out.data());
    return out;
}

}  // namespace

TEST_CASE("opq: a rotation is applied, to many rows as to one, and taken back", "[opq]") {
    for (const std::size_t dim : {1, 5, 32, 100}) {
        const auto rows = correlated(300, dim, 0.9, true, dim);
        const OpqRotation rotation = detail::principal_rotation(view_of(rows, dim), 1, inline_executor());
        CHECK(off_orthogonal(rotation) < 1e-5);
        const auto turned = rotated(rotation, rows);
        ThreadPool pool(3);
        std::vector<float> by_many(rows.size()), one(dim), back(dim);
        rotation.apply_rows(view_of(rows, dim), by_many.data(), pool);
        CHECK(turned == by_many);
        for (const std::size_t i : {0, 7, 299}) {
            rotation.apply(rows.data() + i * dim, one.data());
            CHECK(std::equal(one.begin(), one.end(), turned.data() + i * dim));
            for (std::size_t d = 0; d < dim; ++d) {
                double expected = 0;
                for (std::size_t k = 0; k < dim; ++k) expected += double(rotation.matrix()[d * dim + k]) * double(rows[i * dim + k]);
                CHECK(double(one[d]) == Approx(expected).margin(1e-5));
            }
            rotation.apply_inverse(one.data(), back.data());
            for (std::size_t d = 0; d < dim; ++d) CHECK(back[d] == Approx(rows[i * dim + d]).margin(1e-5));
        }
    }
    const OpqRotation identity(3);
    std::vector<float> x{1, 2, 3}, y(3);
    identity.apply(x.data(), y.data());
    CHECK(x == y);
    check_error(ErrorCode::dimension_mismatch, {"3 x 3", "8"}, [] { OpqRotation(3, std::vector<float>(8)); });
}

TEST_CASE("opq: components are dealt out so that products of variances are balanced", "[opq]") {
    const auto check = [](const std::vector<double>& variances, std::size_t m, double slack) {
        const std::size_t dim = variances.size();
        const auto component = detail::allocate_components(variances, m);
        CHECK(std::set<std::size_t>(component.begin(), component.end()).size() == dim);
        std::vector<double> logs(m, 0.0);
        for (std::size_t j = 0, at = 0; j < m; ++j)
            for (std::size_t k = 0; k < dim / m + (j < dim % m ? 1 : 0); ++k, ++at) logs[j] += std::log(variances[component[at]]);
        const auto [least, most] = std::minmax_element(logs.begin(), logs.end());
        CHECK(*most - *least <= slack);
    };
    check({16, 8, 4, 2}, 2, 1e-9);            // 16 * 2 and 8 * 4
    check({1e-3, 5e-4, 2.5e-4, 1.25e-4}, 2, 1e-9);  // variances below 1
    check({9, 9, 9, 9, 9, 9}, 3, 1e-9);
    std::vector<double> falling(64);
    for (std::size_t i = 0; i < 64; ++i) falling[i] = std::pow(0.8, static_cast<double>(i));
    check(falling, 8, 1.0);  // one after the other: 12 between the first and the last
    const auto zeros = detail::allocate_components({1, 0, 0, 0, 0}, 2);
    CHECK(std::set<std::size_t>(zeros.begin(), zeros.end()).size() == 5);
}

TEST_CASE("opq: no round makes the error worse, and rows lose less", "[opq]") {
    for (const auto& [dim, m, bits] : {std::tuple{16u, 4u, 4u}, {18u, 4u, 4u}, {16u, 2u, 8u}})
        for (const double offset : {0.0, 20.0}) {
            CAPTURE(dim, m, bits, offset);
            const auto rows = correlated(6000, dim, 0.7, true, 3, offset), fresh = correlated(2000, dim, 0.7, true, 4, offset);
            const auto params = shape(m, bits);
            const auto [rotation, report] = train_opq(view_of(rows, dim), params, 5);
            CHECK(off_orthogonal(rotation) < 1e-5);
            REQUIRE(report.errors.size() >= 2);
            for (std::size_t i = 1; i < report.errors.size(); ++i) CHECK(report.errors[i] <= report.errors[i - 1] * (1 + 1e-6));
            const double plain = PqCodec::train(view_of(rows, dim), params, 5).codec.mean_squared_error(view_of(fresh, dim));
            const auto turned = rotated(rotation, rows), turned_fresh = rotated(rotation, fresh);
            const double optimised = PqCodec::train(view_of(turned, dim), params, 5).codec.mean_squared_error(view_of(turned_fresh, dim));
            CHECK(optimised < 0.8 * plain);
        }
}

TEST_CASE("opq: rows that are best cut as they are stay so", "[opq]") {
    // Each subspace has as many places as codes, spread alike: without a rotation nothing is lost, and principal components mix all of them.
    const Random random(21);
    const std::size_t n = 4000, dim = 8, m = 4;
    std::vector<float> rows(n * dim);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < m; ++j) {
            const std::uint64_t place = random.below(i * m + j, 16);
            for (std::size_t d = 0; d < dim / m; ++d) rows[i * dim + j * (dim / m) + d] = static_cast<float>(random.normal(1'000'000 + (j * 16 + place) * 2 + d));
        }
    const auto params = shape(m, 4);
    const auto [rotation, report] = train_opq(view_of(rows, dim), params, 5);
    CHECK(report.errors.front() == report.unrotated_error);
    const auto turned = rotated(rotation, rows);
    const double plain = PqCodec::train(view_of(rows, dim), params, 5).codec.mean_squared_error(view_of(rows, dim));
    CHECK(PqCodec::train(view_of(turned, dim), params, 5).codec.mean_squared_error(view_of(turned, dim)) <= plain + 1e-3);

    const auto spread = correlated(4000, dim, 0.5, true, 6);  // where directions differ, the components are the start
    const auto other = train_opq(view_of(spread, dim), params, 5).report;
    CHECK(other.errors.front() < 0.9 * other.unrotated_error);
}

TEST_CASE("opq: rounds improve on the principal components where the data is not Gaussian", "[opq]") {
    // Four independent pairs, each on a circle: no two of their eight directions have different variances, so the components are arbitrary.
    const Random random(8);
    const std::size_t n = 6000, dim = 8;
    std::vector<float> rows(n * dim);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t pair = 0; pair < 4; ++pair) {
            const double angle = 6.283185307179586 * random.uniform(4 * i + pair);
            rows[i * dim + pair] = static_cast<float>(std::cos(angle));
            rows[i * dim + 4 + pair] = static_cast<float>(std::sin(angle));
        }
    auto params = shape(4, 4);
    params.opq_iterations = 40;
    const auto [rotation, report] = train_opq(view_of(rows, dim), params, 1);
    CHECK(report.errors.back() < 0.9 * report.errors.front());
    params.opq_iterations = 0;
    CHECK(train_opq(view_of(rows, dim), params, 1).report.errors.size() == 1);
}

TEST_CASE("opq: the same for any number of threads", "[opq]") {
    const auto rows = correlated(3000, 12, 0.8, true, 6);
    ThreadPool pool(3);
    const auto a = train_opq(view_of(rows, 12), shape(3, 4), 1);
    const auto b = train_opq(view_of(rows, 12), shape(3, 4), 1, pool);
    CHECK(std::ranges::equal(a.rotation.matrix(), b.rotation.matrix()));
    CHECK(a.report.errors == b.report.errors);
}

TEST_CASE("opq: few, equal and constant rows still give a rotation", "[opq]") {
    const auto trained = [](const std::vector<float>& rows, std::size_t dim, std::uint32_t m) { return train_opq(view_of(rows, dim), shape(m, 4)); };
    CHECK(off_orthogonal(trained({}, 6, 2).rotation) == 0);
    CHECK(off_orthogonal(trained({1, 2, 3, 4, 5, 6}, 6, 2).rotation) < 1e-5);
    CHECK(off_orthogonal(trained(std::vector<float>(6 * 500, 0.0f), 6, 2).rotation) < 1e-5);
    CHECK(off_orthogonal(trained(std::vector<float>(6 * 500, 3.0f), 6, 2).rotation) < 1e-5);
    CHECK(off_orthogonal(trained({1, 2, 3}, 1, 1).rotation) < 1e-6);
    auto flat = correlated(1000, 6, 0.9, false, 7);
    for (std::size_t i = 0; i < 1000; ++i) flat[i * 6 + 2] = flat[i * 6 + 4] = 5.0f;
    const auto [rotation, report] = trained(flat, 6, 3);
    CHECK(off_orthogonal(rotation) < 1e-5);
    CHECK(std::isfinite(report.errors.back()));
    check_error(ErrorCode::invalid_argument, {"6", "7"}, [&] { trained(flat, 6, 7); });
    const Progress stop([](std::string_view phase, std::size_t done, std::size_t) { return phase != "rotate" || done < 1; });
    check_error(ErrorCode::cancelled, {"rotate"}, [&] { train_opq(view_of(flat, 6), shape(3, 4), 0, inline_executor(), stop); });
}
