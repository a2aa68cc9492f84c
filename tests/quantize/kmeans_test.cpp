// SPDX-License-Identifier: Apache-2.0
//
// k-means against Lloyd's steps written out plainly, and its promises: the objective never rises, the same bits for any number of threads,
// draws as the book has them, two levels about as good as one.
#include <fstream>
#include <iterator>
#include <string>

#include "quantize/kmeans_reference.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace test;  // NOLINT

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

TEST_CASE("two levels are about as good as one", "[kmeans][quality]") {
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
