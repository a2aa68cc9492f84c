// SPDX-License-Identifier: Apache-2.0
//
// k-means on data that breaks k-means: equal rows, fewer rows that differ than clusters, NaN, numbers too large for squares, zeros where
// directions count; and what it refuses.
#include "quantize/kmeans_reference.hpp"
#include "support/temp_dir.hpp"

using namespace test;  // NOLINT

TEST_CASE("rows that are equal, or nearly all", "[kmeans]") {
    ThreadPool pool(2);
    for (const std::uint32_t k : {1u, 4u, 100u})
        for (const bool plus_plus : {true, false})
            for (const bool spherical : {false, true})
                for (const std::size_t different : {1u, 2u, 3u, 30u}) {
                    // A constant dimension, and few rows that differ, each many times.
                    Values values(500 * 3);
                    for (std::size_t i = 0; i < 500; ++i) {
                        values[3 * i] = 7.0f;
                        values[3 * i + 1] = static_cast<float>(i % different) * 3.0f;
                        values[3 * i + 2] = static_cast<float>(i % different % 5) - 1.0f;
                    }
                    auto params = with(k, 40, 1e-3f);
                    params.plus_plus = plus_plus;
                    params.spherical = spherical;
                    INFO("k " << k << ", " << different << " different rows");
                    const KMeans result = kmeans(view_of(values, 3), params, 5, pool);
                    check_sane(result, k, 3);
                    if (k >= different) {
                        CHECK(result.report.objective.back() < 1e-9);
                        CHECK(result.report.converged);
                    }
                }
}

TEST_CASE("empty clusters split the largest", "[kmeans]") {
    // A sampled start in one of two groups only, by a stratum each: 3 of 4 rows are copies of one another.
    Values values(4000 * 2, 0.0f);
    for (std::size_t i = 0; i < 4000; ++i)
        if (i % 40 == 0)
            for (std::size_t d = 0; d < 2; ++d) values[2 * i + d] = static_cast<float>(Random(9).normal(2 * i + d));
    auto params = with(30, 60);
    params.plus_plus = false;
    const KMeans result = kmeans(view_of(values, 2), params, 1);
    check_sane(result, 30, 2);
    CHECK(result.report.reseeded > 0);
    CHECK(*std::min_element(result.report.sizes.begin(), result.report.sizes.end()) > 0);
    CHECK(result.report.sizes.size() == 30);
    CHECK(result.report.imbalance > 20);  // the rows that are equal stay together
}

TEST_CASE("as many clusters as rows, and one", "[kmeans]") {
    const Values values = normal(120 * 5, 10);
    const KMeans all = kmeans(view_of(values, 5), with(120, 50));
    check_sane(all, 120, 5);
    CHECK(all.report.objective.back() == 0);
    CHECK(all.report.imbalance == Approx(1));
    const KMeans one = kmeans(view_of(values, 5), with(1, 50));
    double mean = 0;
    for (std::size_t i = 0; i < 120; ++i) mean += static_cast<double>(values[5 * i]) / 120;
    CHECK(static_cast<double>(one.centroids.view().row(0)[0]) == Approx(mean).epsilon(1e-5));
    auto params = with(120, 50);
    params.hierarchical_from = 2;
    const KMeans split = kmeans(view_of(values, 5), params);
    check_sane(split, 120, 5);
    CHECK(split.report.objective.back() == 0);
}

TEST_CASE("rows with NaN or infinity take no part", "[kmeans]") {
    Values values = normal(1000 * 4, 11), clean;
    for (std::size_t i = 0; i < 1000; ++i) {
        if (i % 10 == 3) values[4 * i + i % 4] = i % 20 == 3 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
        else clean.insert(clean.end(), values.begin() + static_cast<std::ptrdiff_t>(4 * i), values.begin() + static_cast<std::ptrdiff_t>(4 * i + 4));
    }
    const KMeans result = kmeans(view_of(values, 4), with(16, 10));
    CHECK(result.report.training_rows == 900);
    CHECK(same(result, kmeans(view_of(clean, 4), with(16, 10))));
    test::check_error(ErrorCode::invalid_argument, {"950", "900", "1000", "finite"}, [&] { kmeans(view_of(values, 4), with(950)); });
    // A sample that happens to hold useless rows only is taken again, from all rows.
    Values rare(1000 * 2, std::numeric_limits<float>::infinity());
    for (std::size_t i = 990; i < 1000; ++i) rare[2 * i] = rare[2 * i + 1] = static_cast<float>(i);
    auto params = with(10, 3);
    params.rows_per_cluster = 5;
    CHECK(kmeans(view_of(rare, 2), params).report.training_rows == 10);
}

TEST_CASE("numbers whose squares no float holds", "[kmeans]") {
    const Values values = grouped(600, 5, 12, 12);
    const KMeans expected = kmeans(view_of(values, 5), with(12, 20));
    for (const int exponent : {-130, -100, -70, 70, 100, 122}) {
        Values scaled = values;
        for (float& x : scaled) x = std::ldexp(x, exponent);
        const KMeans result = kmeans(view_of(scaled, 5), with(12, 20));
        INFO("exponent " << exponent);
        check_sane(result, 12, 5);
        CHECK(result.report.sizes == expected.report.sizes);
        CHECK(std::ldexp(result.report.objective.back(), -2 * exponent) == Approx(expected.report.objective.back()).epsilon(1e-4));
    }
    Values mixed = values;  // one row a billion times a billion farther than the others
    mixed[7] = 1e19f;
    const KMeans result = kmeans(view_of(mixed, 5), with(13, 20));
    check_sane(result, 13, 5);
    CHECK(std::count(result.report.sizes.begin(), result.report.sizes.end(), 1u) >= 1);
    CHECK(std::count(result.report.sizes.begin(), result.report.sizes.end(), 0u) == 0);
}

TEST_CASE("spherical centroids have length 1 and gather directions", "[kmeans]") {
    Values values = grouped(3000, 10, 15, 13, 1.0);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] *= static_cast<float>(1 + i / 10 % 7);  // lengths say nothing
    for (std::size_t i = 0; i < 20; ++i) std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(i * 1490), 10, 0.0f);
    auto params = with(15, 40);
    params.spherical = true;
    const KMeans result = kmeans(view_of(values, 10), params, 2);
    check_sane(result, 15, 10);
    CHECK(result.report.training_rows == 2980);
    double sum = 0;
    for (std::size_t c = 0; c < 15; ++c) {
        double norm = 0;
        for (const float x : result.centroids.view()[c]) norm += static_cast<double>(x) * static_cast<double>(x);
        REQUIRE(norm == Approx(1).epsilon(1e-6));
    }
    for (std::size_t i = 0; i < 3000; ++i) {
        double norm = 0, most = -1;
        for (std::size_t d = 0; d < 10; ++d) norm += static_cast<double>(values[10 * i + d]) * static_cast<double>(values[10 * i + d]);
        if (norm == 0) continue;
        for (std::size_t c = 0; c < 15; ++c) {
            double dot = 0;
            for (std::size_t d = 0; d < 10; ++d) dot += static_cast<double>(values[10 * i + d]) * static_cast<double>(result.centroids.view().row(c)[d]);
            most = std::max(most, dot / std::sqrt(norm));
        }
        sum += 2 - 2 * most;
    }
    CHECK(sum / 2980 <= result.report.objective.back() * (1 + 1e-6));
    CHECK(sum / 2980 == Approx(result.report.objective.back()).epsilon(0.01));
    Values zeros(100 * 3, 0.0f);
    test::check_error(ErrorCode::invalid_argument, {"5", "0", "not zero"}, [&] {
        auto of_zeros = with(5);
        of_zeros.spherical = true;
        kmeans(view_of(zeros, 3), of_zeros);
    });
    // Opposite directions cancel: the centroid stays a direction.
    Values opposite;
    for (int i = 0; i < 50; ++i)
        for (const float x : {1.0f, 0.0f, -1.0f, 0.0f}) opposite.push_back(x);
    auto one = with(1, 5);
    one.spherical = true;
    check_sane(kmeans(view_of(opposite, 2), one), 1, 2);
}

TEST_CASE("what k-means cannot do is refused", "[kmeans]") {
    const Values values = normal(100 * 4, 15);
    test::check_error(ErrorCode::invalid_argument, {"101", "100"}, [&] { kmeans(view_of(values, 4), with(101)); });
    test::check_error(ErrorCode::invalid_argument, {"at least 1 cluster", "0"}, [&] { kmeans(view_of(values, 4), with(0)); });
    test::check_error(ErrorCode::invalid_argument, {"8", "0"}, [&] { kmeans(MatrixView<const float>(nullptr, 0, 4), with(8)); });
    test::check_error(ErrorCode::dimension_mismatch, {"at least 1 element"}, [&] { kmeans(MatrixView<const float>(values.data(), 10, 0), with(8)); });
    CHECK(parse_params<KMeansParams>(parse_param_list("clusters=12,spherical=true", "test"), "k-means").clusters == 12);
    CHECK(to_string(KMeansParams{}) ==
          "clusters=256,iterations=20,tolerance=0.001,rows_per_cluster=256,plus_plus=true,spherical=false,hierarchical_from=4096");
    test::check_error(ErrorCode::invalid_argument, {"tolerance", "1.5"},
                      [] { parse_params<KMeansParams>({{"tolerance", 1.5}}, "k-means"); });
}
