// SPDX-License-Identifier: Apache-2.0
//
// The 8-bit codec: what is encoded comes back within half a step, a decoded row has its own codes, training finds a
// good step for awkward data.
#include "kith/quantize/scalar.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

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

MatrixView<const float> view_of(const std::vector<float>& values, std::size_t cols) {
    return {values.data(), values.size() / cols, cols};
}

double total_error(const Sq8Codec& codec, MatrixView<const float> rows) {
    double total = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) total += codec.squared_error(rows.row(i));
    return total;
}

/// A codec that reaches from the lowest to the highest value in each dimension.
Sq8Codec whole_range(MatrixView<const float> rows) {
    std::vector<float> low(rows.cols(), 1e30f), high(rows.cols(), -1e30f), centres(rows.cols());
    float range = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i)
        for (std::size_t d = 0; d < rows.cols(); ++d) {
            low[d] = std::min(low[d], rows.row(i)[d]);
            high[d] = std::max(high[d], rows.row(i)[d]);
            range = std::max(range, high[d] - low[d]);
        }
    for (std::size_t d = 0; d < rows.cols(); ++d)
        centres[d] = (low[d] + high[d]) / 2 + range / 510;  // levels -128 .. 127
    return {centres, range / 255};
}

bool same(const Sq8Codec& a, const Sq8Codec& b) {
    return a.dim() == b.dim() && a.step() == b.step() &&
           std::memcmp(a.centres().data(), b.centres().data(), a.dim() * sizeof(float)) == 0;
}

template <class T>
void check_round_trip() {
    const auto rows = Vectors::normal(element_traits<T>::type, 300, 37, 4, 3.0, 2.0);
    const auto view = view_of<T>(rows);
    const auto codec = Sq8Codec::train(view);
    const auto step = static_cast<double>(codec.step());
    std::vector<std::uint8_t> codes(37), again(37);
    std::vector<std::int8_t> levels(37), levels_again(37);
    std::vector<float> decoded(37), from_levels(37);
    std::size_t clipped = 0;
    for (std::size_t i = 0; i < 300; ++i) {
        codec.encode(view.row(i), 1.0f, codes.data());
        codec.encode(view.row(i), 1.0f, levels.data());
        codec.decode(codes.data(), decoded.data());
        codec.decode(levels.data(), from_levels.data());
        CHECK(decoded == from_levels);
        double error = 0;
        for (std::size_t d = 0; d < 37; ++d) {
            REQUIRE(int{codes[d]} - 128 == int{levels[d]});
            const double off = std::abs(rows.value(i, d) - static_cast<double>(decoded[d]));
            if (codes[d] != 0 && codes[d] != 255)
                REQUIRE(off <= 0.5001 * step);
            else
                clipped += off > 0.5001 * step ? 1 : 0;
            error += off * off;
        }
        CHECK(codec.squared_error(view.row(i)) == Approx(error));
        codec.encode(decoded.data(), 1.0f, again.data());
        CHECK(again == codes);
        std::fill(again.begin(), again.end(), std::uint8_t{0});
        CHECK(codec.is_decoded(decoded.data(), again.data()));
        CHECK(again == codes);
        CHECK(codec.is_decoded(decoded.data(), levels_again.data()));
        CHECK(levels_again == levels);
        decoded[36] = std::nextafter(decoded[36], 100.0f);
        CHECK_FALSE(codec.is_decoded(decoded.data(), again.data()));
    }
    CHECK(clipped < 300 * 37 / 500);
    CHECK(step < 2.0 * 8 / 255);  // four standard deviations to each side
}

}  // namespace

TEST_CASE("values come back within half a step, and a decoded row has its own codes",
          "[quantize]") {
    check_round_trip<float>();
    check_round_trip<Half>();
    check_round_trip<BFloat16>();
}

TEST_CASE("codes are the nearest levels, the outermost ones beyond the window", "[quantize]") {
    const Sq8Codec codec({1.0f, -2.0f}, 0.5f);
    const auto levels = [&](float a, float b, float scale) {
        const float row[2] = {a, b};
        std::int8_t out[2];
        codec.encode(row, scale, out);
        return std::pair<int, int>(out[0], out[1]);
    };
    CHECK(levels(1.0f, -2.0f, 1.0f) == std::pair(0, 0));
    CHECK(levels(1.24f, -2.24f, 1.0f) == std::pair(0, 0));
    CHECK(levels(1.26f, -2.26f, 1.0f) == std::pair(1, -1));
    CHECK(levels(3.0f, 2.0f, 2.0f) == std::pair(10, 12));
    CHECK(levels(1e30f, -1e30f, 1.0f) == std::pair(127, -128));
    constexpr float infinity = std::numeric_limits<float>::infinity();
    CHECK(levels(infinity, -infinity, 1.0f) == std::pair(127, -128));
    CHECK(levels(std::numeric_limits<float>::quiet_NaN(), 61.5f, 1.0f) == std::pair(-128, 127));
    CHECK(codec.value(std::int8_t{-128}, 0) == -63.0f);
    CHECK(codec.value(std::uint8_t{255}, 1) == 61.5f);
}

TEST_CASE("training reaches the whole range where that is best", "[quantize]") {
    std::vector<float> values(512 * 3);
    const Random random(5);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(random.uniform(i) * (i % 3 == 0 ? 10 : 1) + 100);
    const auto rows = view_of(values, 3);
    const auto codec = Sq8Codec::train(rows);
    CHECK(codec.step() * 255 > 9.8f);
    CHECK(codec.step() * 255 < 10.3f);
    CHECK(total_error(codec, rows) < 1.1 * total_error(whole_range(rows), rows));
}

TEST_CASE("training clips tails where that lowers the error", "[quantize]") {
    const Random random(6);
    constexpr std::size_t n = 4000, d = 16;
    std::vector<float> values(n * d);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(std::pow(random.normal(i), 7));
    const auto rows = view_of(values, d);
    for (const auto far : {FarRows::keep, FarRows::leave_out}) {
        const auto codec = Sq8Codec::train(rows, inline_executor(), 0, Unscaled{}, far);
        double least = std::numeric_limits<double>::infinity();
        for (double reach = 30; reach < 20000; reach *= 1.05)
            least = std::min(least, total_error(Sq8Codec(std::vector<float>(d, 0.0f),
                                                         static_cast<float>(2 * reach / 255)),
                                                rows));
        CHECK(total_error(codec, rows) < 1.02 * least);
        CHECK(total_error(codec, rows) < 0.9 * total_error(whole_range(rows), rows));
    }
}

TEST_CASE("a few rows far off do not make the others alike, unless they are to be kept",
          "[quantize]") {
    const Random random(6);
    constexpr std::size_t n = 4000, d = 16, good = n - 20;
    std::vector<float> values(n * d);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(random.normal(i));
    const auto rows = view_of(values, d);
    const double best = total_error(Sq8Codec::train(rows.slice(0, good)), rows.slice(0, good));
    for (std::size_t i = good; i < n; ++i) values[i * d + 3 + i % 2] = i % 4 == 0 ? 1e6f : 90.0f;
    const auto codec = Sq8Codec::train(rows);
    CHECK(total_error(codec, rows.slice(0, good)) < 1.05 * best);
    const auto kept = Sq8Codec::train(rows, inline_executor(), 0, Unscaled{}, FarRows::keep);
    CHECK(kept.squared_error(rows.row(n - 4)) < 0.001 * codec.squared_error(rows.row(n - 4)));
    // Many such rows are no accident.
    for (std::size_t i = 0; i < n; i += 50) values[i * d + 5] = 90.0f;
    CHECK(Sq8Codec::train(rows).step() * 255 > 80.0f);
}

TEST_CASE("windows of skewed dimensions lie where the values are", "[quantize]") {
    const Random random(7);
    constexpr std::size_t n = 3000, d = 8;
    std::vector<float> values(n * d);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(-std::log(1 - random.uniform(i)));  // mean 1, up to 10
    const auto rows = view_of(values, d);
    const auto codec = Sq8Codec::train(rows);
    for (const float centre : codec.centres()) CHECK(centre > 2.0f);
    CHECK(total_error(codec, rows) <= 1.02 * total_error(whole_range(rows), rows));
    CHECK(total_error(codec, rows) < static_cast<double>(n * d) * 1e-3);
}

TEST_CASE("zeros of sparse rows stay zeros", "[quantize]") {
    const Random random(8);
    std::vector<float> values(2000 * 6);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] =
            random.uniform(2 * i) < 0.8
                ? 0.0f
                : static_cast<float>(random.uniform(2 * i + 1) * (1 + static_cast<double>(i % 6)));
    const auto codec = Sq8Codec::train(view_of(values, 6));
    const std::vector<float> zeros(6, 0.0f);
    CHECK(codec.squared_error(zeros.data()) < 1e-10);
    CHECK(codec.step() < 6.5f / 255);
}

TEST_CASE("what says nothing about rows to come still makes a codec", "[quantize]") {
    const auto check_sane = [](const Sq8Codec& codec) {
        CHECK(std::isnormal(codec.step()));
        CHECK(codec.step() > 0);
        for (const float centre : codec.centres()) CHECK(std::isfinite(centre));
    };
    SECTION("no rows") {
        const auto codec = Sq8Codec::train(MatrixView<const float>(nullptr, 0, 5));
        check_sane(codec);
        CHECK(codec.dim() == 5);
    }
    SECTION("one row, which is kept exactly, and room around it") {
        const std::vector<float> row{3, -4, 0};
        const auto codec = Sq8Codec::train(view_of(row, 3));
        check_sane(codec);
        CHECK(codec.squared_error(row.data()) == 0);
        const std::vector<float> other{-3, 3, 1};
        CHECK(codec.squared_error(other.data()) < 0.01);
    }
    SECTION("equal rows, and all zero") {
        for (const float x : {0.0f, 7.0f}) {
            const std::vector<float> values(40, x);
            const auto codec = Sq8Codec::train(view_of(values, 4));
            check_sane(codec);
            CHECK(codec.squared_error(values.data()) == 0);
        }
    }
    SECTION("a constant dimension among others is kept exactly, however large") {
        std::vector<float> values(200 * 2);
        for (std::size_t i = 0; i < 200; ++i) {
            values[2 * i] = 1e6f;
            values[2 * i + 1] = static_cast<float>(i) / 200;
        }
        const auto codec = Sq8Codec::train(view_of(values, 2));
        check_sane(codec);
        CHECK(codec.step() < 0.01f);
        for (std::size_t i = 0; i < 200; ++i)
            CHECK(codec.squared_error(values.data() + 2 * i) < 1e-4);
    }
    SECTION("the largest and the smallest floats") {
        for (const float x : {3.4e38f, 1e-42f}) {
            const std::vector<float> values{x, -x, -x, x, 0, 0};
            const auto codec = Sq8Codec::train(view_of(values, 2));
            check_sane(codec);
            std::vector<float> decoded(2);
            std::vector<std::uint8_t> codes(2);
            codec.encode(values.data(), 1.0f, codes.data());
            codec.decode(codes.data(), decoded.data());
            CHECK(std::isfinite(decoded[0]));
            CHECK(std::isfinite(decoded[1]));
        }
    }
    SECTION("rows that are not finite are left out") {
        const auto rows = Vectors::normal(ElementType::f32, 100, 4, 8);
        auto spoilt = Vectors::normal(ElementType::f32, 100, 4, 8);
        spoilt.set(17, 2, std::numeric_limits<double>::quiet_NaN());
        spoilt.set(90, 0, std::numeric_limits<double>::infinity());
        const auto codec = Sq8Codec::train(view_of<float>(spoilt));
        check_sane(codec);
        CHECK(codec.step() == Approx(Sq8Codec::train(view_of<float>(rows)).step()).epsilon(0.2));
        const std::vector<float> nothing(12, std::numeric_limits<float>::quiet_NaN());
        check_sane(Sq8Codec::train(view_of(nothing, 4)));
    }
    check_error(ErrorCode::dimension_mismatch, {"0"},
                [] { Sq8Codec::train(MatrixView<const float>(nullptr, 0, 0)); });
    check_error(ErrorCode::dimension_mismatch, {"0"}, [] { Sq8Codec({}, 1.0f); });
}

TEST_CASE("training depends on rows and seed alone", "[quantize]") {
    const auto rows = Vectors::normal(ElementType::f32, 20000, 4, 9);  // more than the sample
    const auto view = view_of<float>(rows);
    ThreadPool pool(3);
    const auto codec = Sq8Codec::train(view);
    CHECK(same(codec, Sq8Codec::train(view, pool)));
    const auto other = Sq8Codec::train(view, pool, 1);
    CHECK_FALSE(same(codec, other));
    CHECK(total_error(other, view) == Approx(total_error(codec, view)).epsilon(0.05));
}

TEST_CASE("rows of half precision train and encode like the floats they stand for", "[quantize]") {
    const auto halves = Vectors::normal(ElementType::f16, 150, 9, 10);
    const auto floats = Vectors::fill(ElementType::f32, 150, 9,
                                      [&](std::size_t i) { return halves.value(i / 9, i % 9); });
    const auto codec = Sq8Codec::train(view_of<Half>(halves));
    CHECK(same(codec, Sq8Codec::train(view_of<float>(floats))));
    std::vector<std::uint8_t> a(9), b(9);
    for (std::size_t i = 0; i < 150; ++i) {
        codec.encode(view_of<Half>(halves).row(i), 0.5f, a.data());
        codec.encode(view_of<float>(floats).row(i), 0.5f, b.data());
        CHECK(a == b);
    }
}
