// SPDX-License-Identifier: Apache-2.0
//
// The nearest centroid of each row: exactly what measuring against every centroid finds, whatever the data, the shape and the threads.
#include "kith/quantize/nearest.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kith/core/random.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;

/// rows x cols of T, each row `gap` elements longer than it needs to be.
template <class T>
struct Matrix {
    std::size_t rows, cols, stride;
    std::vector<T> values;

    Matrix(std::size_t rows_, std::size_t cols_, std::size_t gap = 0) : rows(rows_), cols(cols_), stride(cols_ + gap), values(rows_ * stride) {}

    template <class Value>
    static Matrix fill(std::size_t rows, std::size_t cols, std::size_t gap, Value value) {
        Matrix m(rows, cols, gap);
        for (std::size_t i = 0; i < m.values.size(); ++i) m.values[i] = convert(value(i));
        return m;
    }
    static Matrix normal(std::size_t rows, std::size_t cols, std::uint64_t seed, std::size_t gap = 0, double scale = 1, double offset = 0) {
        return fill(rows, cols, gap, [=, random = Random(seed)](std::size_t i) { return offset + scale * random.normal(i); });
    }
    /// Whole numbers from 0 to `most`: every distance is exact, and many are equal.
    static Matrix whole(std::size_t rows, std::size_t cols, std::uint64_t seed, std::uint64_t most, std::size_t gap = 0) {
        return fill(rows, cols, gap, [=, random = Random(seed)](std::size_t i) { return static_cast<double>(random.below(i, most + 1)); });
    }

    static T convert(double x) {
        if constexpr (std::is_same_v<T, Half>) return to_half(static_cast<float>(x));
        else if constexpr (std::is_same_v<T, BFloat16>) return to_bfloat16(static_cast<float>(x));
        else if constexpr (std::is_integral_v<T>) return static_cast<T>(std::clamp<double>(x, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
        else return static_cast<T>(x);
    }

    MatrixView<const T> view() const { return {values.data(), rows, cols, stride}; }
    T& at(std::size_t i, std::size_t d) { return values[i * stride + d]; }
};

/// Against the kernel that defines what nearest means.
template <class T>
void check_exact(const Matrix<float>& centroids, const Matrix<T>& rows, Executor& executor = inline_executor()) {
    std::vector<std::uint32_t> nearest(rows.rows, 77), alone(rows.rows, 77);
    std::vector<float> distances(rows.rows, 77.0f), found(centroids.rows), row(rows.cols);
    assign_nearest(centroids.view(), rows.view(), nearest, distances, executor);
    assign_nearest(centroids.view(), rows.view(), alone, {}, executor);
    CHECK(alone == nearest);
    for (std::size_t i = 0; i < rows.rows; ++i) {
        for (std::size_t d = 0; d < rows.cols; ++d) row[d] = to_float(rows.view().row(i)[d]);
        simd::kernels().l2_f32.run(row.data(), {centroids.values.data(), centroids.stride, centroids.cols}, 0, centroids.rows, found.data());
        std::uint32_t best = 0;
        float least = std::numeric_limits<float>::infinity();
        for (std::uint32_t c = 0; c < centroids.rows; ++c)
            if (found[c] < least) {
                least = found[c];
                best = c;
            }
        if (nearest[i] != best || distances[i] != least)
            FAIL("row " << i << " of " << rows.rows << " x " << rows.cols << ", " << centroids.rows << " centroids: " << nearest[i] << " at "
                        << distances[i] << ", not " << best << " at " << least);
    }
}

template <class T>
void check_type() {
    for (const std::size_t dim : {1u, 2u, 3u, 4u, 7u, 8u, 16u, 25u, 64u, 128u, 130u})
        for (const std::size_t k : {1u, 2u, 5u, 16u, 100u, 256u}) {
            const double scale = IntegerElement<T> ? 20 : 1, offset = IntegerElement<T> ? 60 : 0;
            const auto centroids = Matrix<float>::normal(k, dim, dim + k, k % 3, scale, offset);
            check_exact(centroids, Matrix<T>::normal(300, dim, dim, dim % 2, scale, offset));
        }
}

}  // namespace

TEST_CASE("the nearest centroid is exact for every element type and shape", "[nearest]") {
    check_type<float>();
    check_type<Half>();
    check_type<BFloat16>();
    check_type<std::int8_t>();
    check_type<std::uint8_t>();
}

TEST_CASE("the nearest centroid is the one that arithmetic in double finds", "[nearest]") {
    const auto centroids = Matrix<float>::normal(300, 48, 1), rows = Matrix<float>::normal(1000, 48, 2);
    std::vector<std::uint32_t> nearest(1000);
    std::vector<float> distances(1000);
    assign_nearest(centroids.view(), rows.view(), nearest, distances);
    for (std::size_t i = 0; i < 1000; ++i) {
        double least = 1e30, own = 0;
        for (std::size_t c = 0; c < 300; ++c) {
            double sum = 0;
            for (std::size_t d = 0; d < 48; ++d) {
                const double difference = static_cast<double>(rows.view().row(i)[d]) - static_cast<double>(centroids.view().row(c)[d]);
                sum += difference * difference;
            }
            least = std::min(least, sum);
            if (c == nearest[i]) own = sum;
        }
        REQUIRE(own <= least * (1 + 1e-5));
        REQUIRE(static_cast<double>(distances[i]) == Approx(own).epsilon(1e-5));
    }
}

TEST_CASE("ties go to the smaller centroid", "[nearest]") {
    for (const std::size_t dim : {1u, 2u, 5u, 32u})
        for (const std::size_t k : {2u, 17u, 300u}) {
            const auto centroids = Matrix<float>::whole(k, dim, 3, 2);
            const auto rows = Matrix<std::uint8_t>::whole(500, dim, 4, 3);
            check_exact(centroids, rows);
            std::vector<std::uint32_t> nearest(500);
            assign_nearest(centroids.view(), rows.view(), nearest, {});
            for (std::size_t i = 0; i < 500; ++i) {
                int least = 1 << 30;
                std::uint32_t first = 0;
                for (std::uint32_t c = 0; c < k; ++c) {
                    int sum = 0;
                    for (std::size_t d = 0; d < dim; ++d) {
                        const int difference = int{rows.view().row(i)[d]} - static_cast<int>(centroids.view().row(c)[d]);
                        sum += difference * difference;
                    }
                    if (sum < least) {
                        least = sum;
                        first = c;
                    }
                }
                REQUIRE(nearest[i] == first);
            }
        }
}

TEST_CASE("copies of centroids: the first of them", "[nearest]") {
    auto centroids = Matrix<float>::normal(90, 20, 5);
    for (std::size_t c = 30; c < 90; ++c)
        for (std::size_t d = 0; d < 20; ++d) centroids.at(c, d) = centroids.at(c % 30, d);
    const auto rows = Matrix<float>::normal(400, 20, 6);
    check_exact(centroids, rows);
    std::vector<std::uint32_t> nearest(400);
    assign_nearest(centroids.view(), rows.view(), nearest, {});
    for (const std::uint32_t c : nearest) CHECK(c < 30);
}

TEST_CASE("few rows and many give the same", "[nearest]") {
    const auto centroids = Matrix<float>::normal(200, 24, 7), rows = Matrix<float>::normal(700, 24, 8);
    std::vector<std::uint32_t> together(700), some(700);
    std::vector<float> distances(700), others(700);
    NearestCentroid nearest(centroids.view());
    nearest.assign(rows.view(), together, distances);
    for (std::size_t at = 0, count = 1; at < 700; at += count, count = std::min<std::size_t>(count * 2, 700 - at))
        nearest.assign(rows.view().slice(at, count), std::span(some).subspan(at, count), std::span(others).subspan(at, count));
    CHECK(some == together);
    CHECK(others == distances);
}

TEST_CASE("numbers far from zero, and of every size", "[nearest]") {
    for (const double offset : {1e3, 1e6, -1e8}) check_exact(Matrix<float>::normal(70, 33, 9, 0, 1, offset), Matrix<float>::normal(200, 33, 10, 0, 1, offset));
    for (const double scale : {1e-30, 1e-20, 1e-10, 1e10, 1e18, 1e19, 1e37})
        check_exact(Matrix<float>::normal(70, 33, 11, 0, scale), Matrix<float>::normal(200, 33, 12, 0, scale));
    // Rows and centroids of very different lengths.
    const Random random(13);
    const auto spread = [&](std::size_t i) { return random.normal(i) * std::exp2(static_cast<double>(random.below(i / 20 + 100000, 60)) - 30.0); };
    check_exact(Matrix<float>::fill(70, 20, 0, spread), Matrix<float>::fill(200, 20, 0, [&](std::size_t i) { return spread(i + 7777); }));
}

TEST_CASE("NaN and infinity in rows or centroids spoil nothing else", "[nearest]") {
    constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const float bad : {infinity, -infinity, nan, 3e38f}) {
        auto centroids = Matrix<float>::normal(40, 9, 14), rows = Matrix<float>::normal(300, 9, 15);
        rows.at(5, 3) = rows.at(200, 0) = bad;
        check_exact(centroids, rows);
        std::vector<std::uint32_t> nearest(300);
        std::vector<float> distances(300);
        assign_nearest(centroids.view(), rows.view(), nearest, distances);
        CHECK(nearest[5] == 0);
        CHECK(distances[5] == infinity);
        centroids.at(0, 8) = centroids.at(17, 2) = bad;
        check_exact(centroids, rows);
        assign_nearest(centroids.view(), rows.view(), nearest, distances);
        for (std::size_t i = 0; i < 300; ++i)
            if (i != 5 && i != 200) REQUIRE((nearest[i] != 0 && nearest[i] != 17));
    }
    check_exact(Matrix<float>::fill(3, 4, 0, [](std::size_t) { return 1e300; }), Matrix<float>::normal(100, 4, 16));
}

TEST_CASE("many centroids, many dimensions, many threads", "[nearest]") {
    ThreadPool pool(3);
    check_exact(Matrix<float>::normal(5000, 8, 17), Matrix<float>::normal(3000, 8, 18), pool);
    check_exact(Matrix<float>::normal(70, 3000, 19), Matrix<float>::normal(200, 3000, 20), pool);
    check_exact(Matrix<float>::normal(1100, 96, 21), Matrix<Half>::normal(1500, 96, 22), pool);
}

TEST_CASE("directions: the nearest centroid of length 1 has the largest cosine", "[nearest]") {
    auto centroids = Matrix<float>::normal(60, 14, 23);
    for (std::size_t c = 0; c < 60; ++c) {
        double norm = 0;
        for (std::size_t d = 0; d < 14; ++d) norm += static_cast<double>(centroids.at(c, d)) * static_cast<double>(centroids.at(c, d));
        for (std::size_t d = 0; d < 14; ++d) centroids.at(c, d) = static_cast<float>(static_cast<double>(centroids.at(c, d)) / std::sqrt(norm));
    }
    constexpr std::size_t count = 16384 + 300;  // more than are brought to length 1 at a time
    auto rows = Matrix<std::int8_t>::normal(count, 14, 24, 1, 30);
    for (std::size_t d = 0; d < 14; ++d) rows.at(9, d) = 0;
    std::vector<std::uint32_t> nearest(count), others(count);
    std::vector<float> distances(count);
    ThreadPool pool(2);
    assign_nearest_direction(centroids.view(), rows.view(), nearest, distances);
    assign_nearest_direction(centroids.view(), rows.view(), others, {}, pool);
    CHECK(others == nearest);
    for (std::size_t i = 0; i < count; i += 7) {
        double norm = 0, most = -2, own = -2;
        for (std::size_t d = 0; d < 14; ++d) norm += static_cast<double>(rows.at(i, d)) * static_cast<double>(rows.at(i, d));
        for (std::size_t c = 0; c < 60; ++c) {
            double dot = 0;
            for (std::size_t d = 0; d < 14; ++d) dot += static_cast<double>(rows.at(i, d)) * static_cast<double>(centroids.at(c, d));
            most = std::max(most, dot / std::sqrt(norm));
            if (c == nearest[i]) own = dot / std::sqrt(norm);
        }
        REQUIRE(own >= most - 1e-6);
        REQUIRE(static_cast<double>(distances[i]) == Approx(2 - 2 * own).margin(1e-5));
    }
    CHECK(distances[9] == Approx(1).margin(1e-6));
    test::check_error(ErrorCode::dimension_mismatch, {"14", "13"}, [&] {
        assign_nearest_direction(centroids.view(), MatrixView<const std::int8_t>(rows.values.data(), 10, 13), std::span(nearest).first(10), {});
    });
    test::check_error(ErrorCode::dimension_mismatch, {"16684", "10"},
                      [&] { assign_nearest_direction(centroids.view(), rows.view(), std::span(nearest).first(10), {}); });
}

TEST_CASE("assignments of wrong shapes are refused", "[nearest]") {
    const auto centroids = Matrix<float>::normal(4, 6, 1), rows = Matrix<float>::normal(10, 6, 1), longer = Matrix<float>::normal(10, 7, 1);
    std::vector<std::uint32_t> nearest(10);
    std::vector<float> distances(10);
    test::check_error(ErrorCode::dimension_mismatch, {"6", "7"}, [&] { assign_nearest(centroids.view(), longer.view(), nearest, {}); });
    test::check_error(ErrorCode::invalid_argument, {"at least 1 centroid"},
                      [&] { assign_nearest<float>(centroids.view().slice(0, 0), rows.view(), nearest, {}); });
    test::check_error(ErrorCode::dimension_mismatch, {"10", "9"},
                      [&] { assign_nearest(centroids.view(), rows.view(), std::span(nearest).first(9), {}); });
    test::check_error(ErrorCode::dimension_mismatch, {"10", "3"},
                      [&] { assign_nearest(centroids.view(), rows.view(), nearest, std::span(distances).first(3)); });
    assign_nearest<float>(centroids.view(), rows.view().slice(0, 0), {}, {});
}
