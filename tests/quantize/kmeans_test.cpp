// SPDX-License-Identifier: Apache-2.0
//
// k-means against Lloyd's steps written out plainly, and its promises: the objective never rises, the same bits for any number of threads,
// no data that it fails on, two levels about as good as one.
#include "kith/quantize/kmeans.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;
using Values = std::vector<float>;

MatrixView<const float> view_of(const Values& values, std::size_t cols) { return {values.data(), values.size() / cols, cols}; }

Values normal(std::size_t n, std::uint64_t seed, double scale = 1, double offset = 0) {
    const Random random(seed, 3);
    Values x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(offset + scale * random.normal(i));
    return x;
}

/// Rows around `groups` centres that lie far from each other.
Values grouped(std::size_t rows, std::size_t cols, std::size_t groups, std::uint64_t seed, double spread = 0.5) {
    const Random random(seed, 4), centres(seed, 5);
    Values x(rows * cols);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t d = 0; d < cols; ++d)
            x[i * cols + d] = static_cast<float>(10 * centres.normal(i % groups * cols + d) + spread * random.normal(i * cols + d));
    return x;
}

KMeansParams with(std::uint32_t clusters, std::uint32_t iterations = 20, float tolerance = 0) {
    KMeansParams params;
    params.clusters = clusters;
    params.iterations = iterations;
    params.tolerance = tolerance;
    params.rows_per_cluster = 0;
    return params;
}

double squared(const float* a, const float* b, std::size_t dim) {
    double sum = 0;
    for (std::size_t d = 0; d < dim; ++d) sum += (static_cast<double>(a[d]) - static_cast<double>(b[d])) * (static_cast<double>(a[d]) - static_cast<double>(b[d]));
    return sum;
}

std::size_t plain_nearest(MatrixView<const float> centroids, const float* row, double& least) {
    std::size_t best = 0;
    least = std::numeric_limits<double>::infinity();
    for (std::size_t c = 0; c < centroids.rows(); ++c) {
        const double distance = squared(centroids.row(c), row, centroids.cols());
        if (distance < least) {
            least = distance;
            best = c;
        }
    }
    return best;
}

double mean_distance(MatrixView<const float> centroids, MatrixView<const float> rows) {
    double sum = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        double least = 0;
        plain_nearest(centroids, rows.row(i), least);
        sum += least;
    }
    return sum / static_cast<double>(rows.rows());
}

/// One step, in double; clusters without rows stay where they are. The mean squared distance to the new centroids.
double plain_step(Values& centroids, MatrixView<const float> rows, std::vector<std::uint32_t>& sizes) {
    const std::size_t dim = rows.cols(), k = centroids.size() / dim;
    std::vector<double> sums(centroids.size(), 0.0);
    std::vector<std::size_t> nearest(rows.rows());
    sizes.assign(k, 0);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        double least = 0;
        nearest[i] = plain_nearest(view_of(centroids, dim), rows.row(i), least);
        ++sizes[nearest[i]];
        for (std::size_t d = 0; d < dim; ++d) sums[nearest[i] * dim + d] += static_cast<double>(rows.row(i)[d]);
    }
    for (std::size_t c = 0; c < k; ++c)
        for (std::size_t d = 0; d < dim && sizes[c] != 0; ++d) centroids[c * dim + d] = static_cast<float>(sums[c * dim + d] / static_cast<double>(sizes[c]));
    double objective = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) objective += squared(&centroids[nearest[i] * dim], rows.row(i), dim);
    return objective / static_cast<double>(rows.rows());
}

bool same(const KMeans& a, const KMeans& b) {
    const auto x = a.centroids.view(), y = b.centroids.view();
    return x.rows() == y.rows() && x.cols() == y.cols() && std::memcmp(x.data(), y.data(), x.rows() * x.cols() * sizeof(float)) == 0 &&
           a.report.objective == b.report.objective && a.report.sizes == b.report.sizes && a.report.reseeded == b.report.reseeded &&
           a.report.converged == b.report.converged;
}

void check_sane(const KMeans& result, std::size_t clusters, std::size_t cols) {
    REQUIRE(result.centroids.rows() == clusters);
    REQUIRE(result.centroids.cols() == cols);
    for (std::size_t c = 0; c < clusters; ++c)
        for (const float x : result.centroids.view()[c]) REQUIRE(std::isfinite(x));
    const KMeansReport& report = result.report;
    for (std::size_t i = 0; i < report.objective.size(); ++i) {
        INFO("iteration " << i);
        REQUIRE(std::isfinite(report.objective[i]));
        REQUIRE(report.objective[i] >= 0);
        if (i > 0) REQUIRE(report.objective[i] <= report.objective[i - 1] * (1 + 1e-6));
    }
    if (report.sizes.empty()) return;
    REQUIRE(report.sizes.size() == clusters);
    REQUIRE(std::accumulate(report.sizes.begin(), report.sizes.end(), std::size_t{0}) == report.training_rows);
    REQUIRE(report.imbalance >= 1 - 1e-12);
    REQUIRE(report.imbalance <= static_cast<double>(clusters) * (1 + 1e-12));
}

Values fixture() {
    std::ifstream in(std::string(KITH_SOURCE_DIR) + "/datasets/photos-sift-10k/base.u8bin", std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    REQUIRE(bytes.size() == 8 + 10000 * 128);
    Values x(10000 * 128);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<unsigned char>(bytes[8 + i]));
    return x;
}

}  // namespace

TEST_CASE("Lloyd's steps are those of the plain algorithm", "[kmeans]") {
    for (const std::size_t dim : {1u, 2u, 8u, 33u})
        for (const std::uint32_t k : {1u, 2u, 7u, 40u}) {
            const Values values = normal(800 * dim, dim + k, 2, 5);
            const auto rows = view_of(values, dim);
            const KMeans start = kmeans(rows, with(k, 0), 9);
            CHECK(start.report.objective.empty());
            CHECK(start.report.sizes.empty());
            Values plain(start.centroids.view().data(), start.centroids.view().data() + k * dim);
            std::vector<std::uint32_t> sizes;
            std::vector<double> objective;
            for (std::uint32_t steps = 1; steps <= 4; ++steps) {
                objective.push_back(plain_step(plain, rows, sizes));
                const KMeans result = kmeans(rows, with(k, steps), 9);
                if (result.report.reseeded != 0 || result.report.objective.size() < steps) break;
                INFO("dim " << dim << ", k " << k << ", steps " << steps);
                REQUIRE(result.report.sizes == sizes);
                for (std::uint32_t i = 0; i < steps; ++i) REQUIRE(result.report.objective[i] == Approx(objective[i]).epsilon(1e-5).margin(1e-9));
                for (std::size_t i = 0; i < plain.size(); ++i)
                    REQUIRE(static_cast<double>(result.centroids.view().data()[i]) == Approx(static_cast<double>(plain[i])).epsilon(1e-5).margin(1e-5));
            }
        }
}

TEST_CASE("the objective never rises, and is what it says", "[kmeans]") {
    for (const std::size_t dim : {2u, 16u, 100u})
        for (const std::uint32_t k : {3u, 50u, 300u})
            for (const bool plus_plus : {true, false}) {
                const Values values = grouped(2000, dim, 70, k);
                auto params = with(k, 30);
                params.plus_plus = plus_plus;
                const KMeans result = kmeans(view_of(values, dim), params, 1);
                check_sane(result, k, dim);
                // Rows are no farther from the nearest centroid than from the one whose mean they are in.
                const double now = mean_distance(result.centroids.view(), view_of(values, dim));
                CHECK(now <= result.report.objective.back() * (1 + 1e-6));
                if (result.report.converged) CHECK(now == Approx(result.report.objective.back()).epsilon(1e-6));
            }
}

TEST_CASE("k-means stops when little is gained, or nothing", "[kmeans]") {
    const Values values = normal(3000 * 8, 3);
    const KMeans eager = kmeans(view_of(values, 8), with(20, 1000, 0.01f)), patient = kmeans(view_of(values, 8), with(20, 1000, 0));
    for (const KMeans* result : {&eager, &patient}) {
        CHECK(result->report.converged);
        CHECK(result->report.objective.size() < 1000);
    }
    CHECK(eager.report.objective.size() < patient.report.objective.size());
    CHECK(patient.report.objective.back() < eager.report.objective.back());
    const auto& objective = eager.report.objective;
    CHECK(objective[objective.size() - 2] - objective.back() <= 0.01 * objective[objective.size() - 2]);
    CHECK_FALSE(kmeans(view_of(values, 8), with(20, 2, 0)).report.converged);
}

TEST_CASE("clusters are found where there are clusters", "[kmeans]") {
    // With k-means++ the start has one row of nearly every group, and the steps do the rest.
    for (const std::size_t groups : {10u, 40u}) {
        const Values values = grouped(4000, 12, groups, 5, 0.2);
        auto params = with(static_cast<std::uint32_t>(groups), 50);
        const double best = 12 * 0.2 * 0.2;
        CHECK(kmeans(view_of(values, 12), params, 2).report.objective.back() < 3 * best);
        params.plus_plus = false;
        CHECK(kmeans(view_of(values, 12), params, 2).report.objective.back() > 20 * best);
    }
}

TEST_CASE("k-means++ draws by squared distance", "[kmeans]") {
    // Three places: 600 rows, 300 rows at distance 1, 100 at distance 3 from both. From the first place the next is the second with
    // probability 300 / (300 + 900), and so on: the frequencies over many seeds say whether rounds and rejections change them.
    Values values(3000, 0.0f);
    for (std::size_t i = 600; i < 900; ++i) values[3 * i] = 1.0f;
    for (std::size_t i = 900; i < 1000; ++i) {
        values[3 * i] = 0.5f;
        values[3 * i + 1] = static_cast<float>(std::sqrt(8.75));
    }
    const auto place = [&](const float* x) { return x[0] == 0 ? 0 : x[0] == 1 ? 1 : 2; };
    constexpr int trials = 4000;
    double seconds[3][3] = {};
    for (int seed = 0; seed < trials; ++seed) {
        const KMeans start = kmeans(view_of(values, 3), with(2, 0), static_cast<std::uint64_t>(seed));
        seconds[place(start.centroids.view().row(0))][place(start.centroids.view().row(1))] += 1;
    }
    const auto share = [&](int first, int second) { return seconds[first][second] / (seconds[first][0] + seconds[first][1] + seconds[first][2]); };
    CHECK((seconds[0][0] + seconds[0][1] + seconds[0][2]) / trials == Approx(0.6).margin(0.03));
    CHECK(share(0, 1) == Approx(0.25).margin(0.04));
    CHECK(share(1, 0) == Approx(600.0 / 1500).margin(0.05));
    CHECK(share(2, 0) == Approx(2.0 / 3).margin(0.1));
    for (const int first : {0, 1, 2}) CHECK(share(first, first) == 0);
}

TEST_CASE("rounds of draws have the distribution of single draws", "[kmeans]") {
    // The mean potential after 60 draws, by rounds and by the book.
    const Values values = grouped(1500, 4, 200, 6, 1.0);
    const auto rows = view_of(values, 4);
    double by_rounds = 0, by_the_book = 0;
    constexpr std::uint64_t trials = 30;
    for (std::uint64_t seed = 0; seed < trials; ++seed) {
        by_rounds += mean_distance(kmeans(rows, with(60, 0), seed).centroids.view(), rows) / trials;
        const Random random(seed, 99);
        std::vector<double> distances(1500, std::numeric_limits<double>::infinity());
        std::size_t last = random.below(0, 1500);
        for (std::uint64_t k = 1; k <= 60; ++k) {
            double sum = 0;
            for (std::size_t i = 0; i < 1500; ++i) sum += distances[i] = std::min(distances[i], squared(rows.row(i), rows.row(last), 4));
            if (k == 60) by_the_book += sum / 1500 / trials;
            double target = sum * random.uniform(k);
            for (last = 0; last < 1499 && target >= distances[last]; ++last) target -= distances[last];
        }
    }
    CHECK(by_rounds == Approx(by_the_book).epsilon(0.03));
}

TEST_CASE("the same bits for any number of threads", "[kmeans]") {
    const Values values = grouped(6000, 24, 30, 7, 3.0);
    for (const bool spherical : {false, true})
        for (const std::uint32_t hierarchical_from : {4096u, 100u}) {
            auto params = with(120, 5);
            params.spherical = spherical;
            params.hierarchical_from = hierarchical_from;
            params.rows_per_cluster = 40;
            const KMeans alone = kmeans(view_of(values, 24), params, 3);
            check_sane(alone, 120, 24);
            CHECK(alone.report.training_rows == 4800);
            for (const std::size_t threads : {2u, 3u, 7u}) {
                ThreadPool pool(threads);
                CHECK(same(kmeans(view_of(values, 24), params, 3, pool), alone));
            }
            CHECK_FALSE(same(kmeans(view_of(values, 24), params, 4), alone));
        }
}

TEST_CASE("every element type trains as its values do", "[kmeans]") {
    std::vector<std::uint8_t> bytes(900 * 6);
    std::vector<std::int8_t> integers(bytes.size());
    std::vector<Half> halves(bytes.size());
    std::vector<BFloat16> bfloats(bytes.size());
    Values floats(bytes.size()), strided(900 * 10, 1e9f);
    const Random random(8);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::uint8_t>(random.below(i, 100));
        integers[i] = static_cast<std::int8_t>(bytes[i]);
        floats[i] = bytes[i];
        halves[i] = to_half(floats[i]);
        bfloats[i] = to_bfloat16(floats[i]);
        strided[i / 6 * 10 + i % 6] = floats[i];
    }
    for (const std::uint32_t sample : {0u, 30u}) {
        auto params = with(20, 6);
        params.rows_per_cluster = sample;
        const KMeans expected = kmeans(view_of(floats, 6), params);
        CHECK(same(kmeans(MatrixView<const std::uint8_t>(bytes.data(), 900, 6), params), expected));
        CHECK(same(kmeans(MatrixView<const std::int8_t>(integers.data(), 900, 6), params), expected));
        CHECK(same(kmeans(MatrixView<const Half>(halves.data(), 900, 6), params), expected));
        CHECK(same(kmeans(MatrixView<const BFloat16>(bfloats.data(), 900, 6), params), expected));
        CHECK(same(kmeans(MatrixView<const float>(strided.data(), 900, 6, 10), params), expected));
    }
}

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

TEST_CASE("two levels are about as good as one", "[kmeans]") {
    const Values values = fixture();
    for (const std::uint32_t k : {64u, 400u}) {
        auto params = with(k, 12);
        const KMeans flat = kmeans(view_of(values, 128), params, 1);
        params.hierarchical_from = 2;
        const KMeans split = kmeans(view_of(values, 128), params, 1);
        check_sane(split, k, 128);
        CHECK(split.report.objective.size() == 3);
        const double ratio = split.report.objective.back() / flat.report.objective.back();
        INFO("k " << k << ": " << split.report.objective.back() << " by two levels, " << flat.report.objective.back() << " by one; imbalance "
                  << split.report.imbalance << " and " << flat.report.imbalance);
        CHECK(ratio < 1.03);
        CHECK(ratio > 0.97);
    }
}

TEST_CASE("a sample is enough", "[kmeans]") {
    const Values values = fixture();
    auto params = with(16, 15);
    const double all = kmeans(view_of(values, 128), params).report.objective.back();
    params.rows_per_cluster = 100;
    const KMeans sampled = kmeans(view_of(values, 128), params);
    CHECK(sampled.report.training_rows == 1600);
    CHECK(mean_distance(sampled.centroids.view(), view_of(values, 128)) < 1.05 * all);
}

TEST_CASE("progress rises, and a training can be cancelled anywhere", "[kmeans]") {
    const Values values = grouped(3000, 8, 20, 14);
    for (const std::uint32_t hierarchical_from : {4096u, 10u}) {
        auto params = with(60, 8, 1e-3f);
        params.hierarchical_from = hierarchical_from;
        std::size_t calls = 0, last = 0, total = 0;
        kmeans(view_of(values, 8), params, 0, inline_executor(), Progress([&](std::string_view phase, std::size_t done, std::size_t all) {
                   CHECK(phase == "train");
                   CHECK(done >= last);
                   CHECK(done <= all);
                   if (calls > 0) CHECK(all == total);
                   ++calls;
                   last = done;
                   total = all;
                   return true;
               }));
        CHECK(last == total);
        CHECK(calls > 8);
        for (const std::size_t after : {std::size_t{0}, std::size_t{1}, calls / 2, calls - 1}) {
            std::size_t seen = 0;
            test::check_error(ErrorCode::cancelled, {"train"}, [&] {
                kmeans(view_of(values, 8), params, 0, inline_executor(),
                       Progress([&](std::string_view, std::size_t, std::size_t) { return seen++ < after; }));
            });
        }
    }
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
