// SPDX-License-Identifier: Apache-2.0
//
// What metrics report, and the way back that a radius takes.
#include "kith/metric/metric.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

constexpr double inf = std::numeric_limits<double>::infinity();

/// report is monotone up to its sign, internal undoes it, and the farthest number is reported as the farthest.
template <class M>
void check_reporting(M metric, bool similarity) {
    CAPTURE(std::string(M::name));
    const double sign = similarity ? -1 : 1;
    double before = -inf;
    for (const double internal : {0.0, 1e-300, 0.25, 1.0, 2.0, 1e10, 1e300, inf}) {
        CHECK(sign * metric.report(internal) >= before);
        before = sign * metric.report(internal);
        CHECK(metric.internal(metric.report(internal)) == Approx(internal).epsilon(1e-15));
    }
    CHECK(metric.report(inf) == sign * inf);
}

/// The least that a metric of one's own needs.
struct Chebyshev : ReportsAsIs {
    static constexpr std::string_view name = "chebyshev";
    float operator()(const float* a, const float* b, std::size_t dim) const {
        float most = 0;
        for (std::size_t i = 0; i < dim; ++i) most = std::max(most, std::abs(a[i] - b[i]));
        return most;
    }
};

struct Nameless : ReportsAsIs {
    float operator()(const float*, const float*, std::size_t) const { return 0; }
};

}  // namespace

TEST_CASE("metrics report their number and take it back", "[metric]") {
    check_reporting(L2{}, false);
    check_reporting(Euclidean{}, false);
    check_reporting(InnerProduct{}, true);
    check_reporting(Cosine{}, false);
    check_reporting(L1{}, false);
    check_reporting(Hamming{}, false);
    check_reporting(Jaccard{}, false);
    check_reporting(Chebyshev{}, false);
    CHECK(Euclidean::report(25) == 5);
    CHECK(Euclidean::internal(5) == 25);
    CHECK(Euclidean::internal(-1) == -inf);  // nothing is nearer than a negative radius
    CHECK(InnerProduct::report(-3) == 3);
    CHECK(InnerProduct::internal(3) == -3);
}

TEST_CASE("what models a metric, at compile time", "[metric]") {
    STATIC_REQUIRE(KernelMetric<L2, float>);
    STATIC_REQUIRE(KernelMetric<L2, Half>);
    STATIC_REQUIRE(KernelMetric<Cosine, std::int8_t>);
    STATIC_REQUIRE(KernelMetric<Hamming, Bits8>);
    STATIC_REQUIRE_FALSE(KernelMetric<Hamming, float>);
    STATIC_REQUIRE_FALSE(KernelMetric<L2, Bits8>);
    STATIC_REQUIRE_FALSE(KernelMetric<L2, double>);
    STATIC_REQUIRE_FALSE(CallableMetric<L2, float>);
    STATIC_REQUIRE(Metric<Chebyshev>);
    STATIC_REQUIRE(CallableMetric<Chebyshev, float>);
    STATIC_REQUIRE_FALSE(CallableMetric<Chebyshev, Half>);
    STATIC_REQUIRE_FALSE(KernelMetric<Chebyshev, float>);
    STATIC_REQUIRE_FALSE(Metric<Nameless>);
    STATIC_REQUIRE_FALSE(Metric<int>);
}

TEST_CASE("a lambda that captures is a metric that can be copied, moved and assigned", "[metric]") {
    float factor = 2;
    auto metric = CustomMetric([factor](const float* a, const float* b, std::size_t) { return factor * (a[0] - b[0]); });
    STATIC_REQUIRE(CallableMetric<decltype(metric), float>);
    STATIC_REQUIRE_FALSE(CallableMetric<decltype(metric), Half>);
    const float a = 5;
    const float b = 2;
    CHECK(metric(&a, &b, 1) == 6);
    auto copy = metric;
    CHECK(copy(&b, &a, 1) == -6);
    const auto moved = std::move(copy);
    CHECK(moved(&a, &b, 1) == 6);
    auto assigned = metric;
    assigned = moved;
    const auto& itself = assigned;
    assigned = itself;
    CHECK(assigned(&a, &b, 1) == 6);
    assigned = CustomMetric(metric);
    CHECK(assigned(&a, &b, 1) == 6);
}
