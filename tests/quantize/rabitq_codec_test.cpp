// SPDX-License-Identifier: Apache-2.0
//
// RabitqCodec: estimates are right on average over rotations, errors keep to the bound and halve with each bit, codes are as near as the search over all
// scales finds; packing is reversible; rows without direction, constant, tiny and huge ones have codes.
#include "kith/quantize/rabitq_codec.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/quantize/rabitq_query.hpp"
#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

std::vector<float> normal(std::size_t n, std::uint64_t seed, double offset = 0) {
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(Random(seed).normal(i) + offset);
    return x;
}

struct Row {
    RabitqCodec::Coded coded;
    std::vector<std::uint8_t> packed, codes;
};

Row encode(const RabitqCodec& codec, const std::vector<float>& row) {
    RabitqCodec::Workspace space;
    space.reserve(codec.dim(), codec.padded_dim());
    std::copy(row.begin(), row.end(), space.row.data());
    Row found{{}, std::vector<std::uint8_t>(codec.code_bytes()), std::vector<std::uint8_t>(codec.padded_dim())};
    found.coded = codec.encode(space, found.packed.data());
    codec.unpack(found.packed.data(), found.codes.data());
    return found;
}

/// rescale <y, P v>, in double.
double estimate(const RabitqCodec& codec, const Row& row, const std::vector<float>& v) {
    std::vector<float> rotated(codec.padded_dim());
    codec.rotation().apply(v.data(), rotated.data());
    double sum = 0;
    for (std::size_t i = 0; i < rotated.size(); ++i) sum += (2 * row.codes[i] - codec.largest()) * static_cast<double>(rotated[i]);
    return static_cast<double>(row.coded.factors.rescale) * sum;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
}

/// epsilon = 1.
double deviation(const RabitqCodec& codec, const Row& row, const std::vector<float>& v) {
    const auto cosine = static_cast<double>(row.coded.factors.cosine);
    return std::sqrt(dot(v, v)) * static_cast<double>(row.coded.length) * std::sqrt(1 / (cosine * cosine) - 1) /
           std::sqrt(static_cast<double>(codec.padded_dim() - 1));
}

/// The largest cosine of all codes that rounding a at any scale can give: every change of a level, in order.
double best_cosine(const std::vector<float>& a, std::size_t bits) {
    const int most = (1 << (bits - 1)) - 1;
    std::vector<std::pair<double, std::size_t>> changes;
    double d = 0, squares = static_cast<double>(a.size()), norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double x = std::abs(static_cast<double>(a[i]));
        d += x;
        norm += x * x;
        for (int m = 1; m <= most && x > 0; ++m) changes.emplace_back(m / x, i);
    }
    std::sort(changes.begin(), changes.end());
    std::vector<int> levels(a.size(), 0);
    double best = d / std::sqrt(squares);
    for (const auto& [scale, i] : changes) {
        d += 2 * std::abs(static_cast<double>(a[i]));
        squares += 8.0 * ++levels[i];
        best = std::max(best, d / std::sqrt(squares));
    }
    return best / std::sqrt(norm);
}

}  // namespace

TEST_CASE("rabitq: estimates are unbiased over rotations, and as far off as theory says", "[quantize][rabitq]") {
    constexpr std::size_t dim = 48, trials = 600;  // padded to 64
    for (std::size_t bits = 1; bits <= 8; ++bits) {
        CAPTURE(bits);
        // Close to each other, so that a factor left out (a cosine, say) would show.
        const auto x = normal(dim, 1);
        auto v = normal(dim, 2);
        for (std::size_t i = 0; i < dim; ++i) v[i] = x[i] + 0.5f * v[i];
        const double truth = dot(x, v);
        double sum = 0, squares = 0, expected = 0;
        std::size_t within = 0, within_one = 0;
        for (std::uint64_t seed = 0; seed < trials; ++seed) {
            const RabitqCodec codec(bits, seed, std::vector<float>(dim, 0.0f));
            const Row row = encode(codec, x);
            const double off = estimate(codec, row, v) - truth, one = deviation(codec, row, v);
            sum += off;
            squares += off * off;
            expected += one * one;
            within += std::abs(off) <= 1.9 * one ? 1 : 0;
            within_one += std::abs(off) <= one ? 1 : 0;
        }
        const double spread = std::sqrt(squares / trials);
        CHECK(std::abs(sum / trials) < 4 * spread / std::sqrt(static_cast<double>(trials)));
        // The bound is for any v; for one that is near x only what is not along x counts.
        CHECK(spread < 1.1 * std::sqrt(expected / trials));
        CHECK(within > trials * 93 / 100);
        // What the estimator corrects would be seen: the cosine is far from 1 for its spread.
        if (bits <= 3) {
            const RabitqCodec codec(bits, 0, std::vector<float>(dim, 0.0f));
            const double lost = truth * (1 - std::pow(static_cast<double>(encode(codec, x).coded.factors.cosine), 2));
            CHECK(lost > 4 * spread / std::sqrt(static_cast<double>(trials)));
        }
        CHECK(within_one > trials * 6 / 10);
    }
}

TEST_CASE("rabitq: errors keep to their bound as often as a normal variable would", "[quantize][rabitq]") {
    constexpr std::size_t dim = 128, pairs = 1000;
    for (const std::size_t bits : {1u, 2u, 4u, 8u}) {
        CAPTURE(bits);
        const RabitqCodec codec(bits, 5, std::vector<float>(dim, 0.25f));
        std::size_t in[3] = {};
        for (std::uint64_t i = 0; i < pairs; ++i) {
            const auto x = normal(dim, 10 + i), v = normal(dim, 100000 + i);
            auto delta = x;
            for (float& element : delta) element -= 0.25f;
            const Row row = encode(codec, x);
            const double off = std::abs(estimate(codec, row, v) - dot(delta, v)) / deviation(codec, row, v);
            in[0] += off <= 1 ? 1 : 0;
            in[1] += off <= 1.9 ? 1 : 0;
            in[2] += off <= 3.5 ? 1 : 0;
        }
        CHECK(std::abs(static_cast<double>(in[0]) / pairs - 0.683) < 0.06);
        CHECK(std::abs(static_cast<double>(in[1]) / pairs - 0.943) < 0.03);
        CHECK(in[2] >= pairs - 5);
    }
}

TEST_CASE("rabitq: each bit halves the error", "[quantize][rabitq]") {
    double before = 0;
    for (std::size_t bits = 1; bits <= 8; ++bits) {
        CAPTURE(bits);
        const RabitqCodec codec(bits, 6, std::vector<float>(256, 0.0f));
        double tan = 0;
        for (std::uint64_t i = 0; i < 50; ++i) {
            const auto cosine = static_cast<double>(encode(codec, normal(256, i)).coded.factors.cosine);
            tan += std::sqrt(1 / (cosine * cosine) - 1) / 50;
        }
        if (bits == 1) CHECK(tan == Approx(std::sqrt(1.5707963 - 1)).epsilon(0.03));  // cosine^2 = 2 / pi
        else CHECK((tan < before / 1.75 && tan > before / 2.4));
        before = tan;
    }
}

TEST_CASE("rabitq: codes are nearly the best of all scales", "[quantize][rabitq][quality]") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t dim : {1u, 3u, 32u, 100u, 256u, 600u}) {
            double lost = 0, least = 0;  // squares of what a direction loses
            for (std::uint64_t seed = 0; seed < 20; ++seed) {
                CAPTURE(bits, dim, seed);
                auto x = normal(dim, seed + 1);
                if (seed % 4 == 1)
                    for (std::size_t i = 1; i < dim; ++i) x[i] *= 0.01f;  // one coordinate that is far larger
                if (seed % 4 == 2)
                    for (float& element : x) element = element > 0 ? 1.0f : 3.0f;
                const RabitqCodec codec(bits, seed, std::vector<float>(dim, 0.0f));
                std::vector<float> rotated(codec.padded_dim());
                codec.rotation().apply(x.data(), rotated.data());
                const Row row = encode(codec, x);
                const double best = best_cosine(rotated, bits), found = static_cast<double>(row.coded.factors.cosine);
                CHECK(found <= best + 1e-6);
                // Where there are few different sizes, the cosine is anything but smooth.
                const bool smooth = dim >= 32 && seed % 4 != 2;
                if (smooth) CHECK(1 - found * found <= (bits <= 4 ? 1.1 : 3) * (1 - best * best) + 2.5e-5);
                lost += smooth ? 1 - found * found : 0;
                least += smooth ? 1 - best * best : 0;
                // The numbers beside the code are the code's.
                double d = 0, squares = 0;
                for (std::size_t i = 0; i < rotated.size(); ++i) {
                    const double y = 2 * row.codes[i] - codec.largest();
                    d += y * static_cast<double>(rotated[i]);
                    squares += y * y;
                }
                CHECK(d / std::sqrt(squares * dot(rotated, rotated)) == Approx(found).epsilon(1e-6));
                CHECK(dot(rotated, rotated) / d == Approx(static_cast<double>(row.coded.factors.rescale)).epsilon(1e-6));
                CHECK(std::sqrt(dot(x, x)) == Approx(static_cast<double>(row.coded.length)).epsilon(1e-5));
            }
            CAPTURE(bits, dim);
            CHECK(lost <= (bits <= 6 ? 1.01 : 1.15) * least + 40e-6);
        }
}

TEST_CASE("rabitq: codes are packed into bits and come back", "[quantize][rabitq]") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t dim : {1u, 32u, 33u, 96u, 520u}) {
            const RabitqCodec codec(bits, 0, std::vector<float>(dim, 0.0f));
            REQUIRE(codec.padded_dim() == (dim + 31) / 32 * 32);
            REQUIRE(codec.code_bytes() == codec.padded_dim() * bits / 8);
            std::vector<std::uint8_t> codes(codec.padded_dim()), packed(codec.code_bytes()), back(codec.padded_dim());
            for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(Random(dim).below(i, 1u << bits));
            codec.pack(codes.data(), packed.data());
            codec.unpack(packed.data(), back.data());
            CHECK(codes == back);
        }
}

TEST_CASE("rabitq: a rotation is undone", "[quantize][rabitq]") {
    for (const std::size_t dim : {1u, 31u, 32u, 96u, 100u, 128u, 960u, 1000u, 1024u}) {
        const Rotation rotation(dim, dim);
        const auto x = normal(dim, 3);
        std::vector<float> y(rotation.padded_dim());
        rotation.apply(x.data(), y.data());
        rotation.apply_inverse(y.data());
        double off = 0;
        for (std::size_t i = 0; i < y.size(); ++i) off = std::max(off, std::abs(static_cast<double>(y[i]) - (i < dim ? static_cast<double>(x[i]) : 0)));
        CHECK(off < 1e-5);
    }
}

TEST_CASE("rabitq: decoded rows are near, nearer with each bit", "[quantize][rabitq]") {
    double before = 1e9;
    const auto x = normal(100, 4, 2);
    for (std::size_t bits = 1; bits <= 8; ++bits) {
        const RabitqCodec codec(bits, 1, normal(100, 9, 2));
        const Row row = encode(codec, x);
        std::vector<float> decoded(codec.padded_dim());
        std::vector<std::uint8_t> codes(codec.padded_dim());
        codec.decode(row.packed.data(), row.coded.factors, codes.data(), decoded.data());
        double off = 0;
        for (std::size_t i = 0; i < 100; ++i) off += std::pow(static_cast<double>(decoded[i]) - static_cast<double>(x[i]), 2);
        CHECK(off < before / 2);
        before = off;
    }
    CHECK(before < 0.03);
}

TEST_CASE("rabitq: rows at the centre, tiny, huge and not finite have codes", "[quantize][rabitq]") {
    for (std::size_t bits = 1; bits <= 8; ++bits) {
        CAPTURE(bits);
        const RabitqCodec codec(bits, 1, std::vector<float>(40, 1.0f));
        const auto centre = encode(codec, std::vector<float>(40, 1.0f)).coded;
        CHECK((centre.factors.rescale == 0 && centre.factors.cosine == 1 && centre.length == 0));
        for (const float scale : {1e-20f, 1e-35f, 1e30f, 1e37f}) {
            auto x = normal(40, 3);
            for (float& element : x) element *= scale;
            const RabitqCodec at_zero(bits, 1, std::vector<float>(40, 0.0f));
            const auto coded = encode(at_zero, x).coded;
            CHECK((std::isfinite(coded.factors.rescale) && std::isfinite(coded.length) && coded.factors.cosine > 0 && coded.factors.cosine <= 1));
            if (scale > 1e-30f) CHECK(coded.length == Approx(scale * std::sqrt(static_cast<float>(dot(normal(40, 3), normal(40, 3))))));
        }
        for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::max()}) {
            auto x = normal(40, 3);
            x[7] = bad;
            x[8] = -bad;
            const auto coded = encode(codec, x).coded;
            CHECK((std::isfinite(coded.factors.rescale) && std::isfinite(coded.length) && coded.length > 1e30f));
        }
    }
}

TEST_CASE("rabitq: queries in whole numbers are near, and sums fit", "[quantize][rabitq]") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t n : {32u, 1024u, 33024u}) {
            CAPTURE(bits, n);
            for (const bool flat : {false, true}) {
                const auto v = flat ? std::vector<float>(n, 3.0f) : normal(n, 5);
                std::vector<std::int8_t> planes(detail::rabitq_plane_bytes(n, bits));
                const auto found = detail::quantize_rabitq_query(v.data(), n, bits, planes.data());
                std::int64_t sum = 0, size = 0;
                double off = 0;
                for (std::size_t i = 0; i < n; ++i) {
                    const std::int64_t q = bits >= 6 ? 128 * planes[i] + planes[i + n + simd::RabitqQuery::padding] : planes[i];
                    if (bits >= 6) REQUIRE((std::abs(planes[i]) <= 64 && std::abs(planes[i + n + simd::RabitqQuery::padding]) <= 64));
                    REQUIRE(planes[i] >= -127);
                    sum += q;
                    size += std::abs(q);
                    off += std::pow(static_cast<double>(v[i]) - static_cast<double>(found.step) * static_cast<double>(q), 2);
                }
                CHECK(sum == found.sum);
                CHECK(size * ((1 << bits) - 1) < 0x7FFFFFFF);
                CHECK(off == Approx(found.residual).epsilon(1e-6).margin(1e-12));
                const double lost = std::sqrt(off / dot(v, v));
                CHECK(lost < (bits < 6 ? 0.015 : n > 2000 ? 0.004 : 0.0002));
            }
        }
    std::vector<std::int8_t> planes(detail::rabitq_plane_bytes(32, 4), 5);
    for (const float bad : {0.0f, 1e-38f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        const auto found = detail::quantize_rabitq_query(std::vector<float>(32, bad).data(), 32, 4, planes.data());
        CHECK((found.step == 0 && found.sum == 0 && planes[3] == 0));
    }
}

TEST_CASE("rabitq: a row's codes as a query are its odd numbers", "[quantize][rabitq]") {
    for (std::size_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t n : {32u, 512u, 4064u}) {
            CAPTURE(bits, n);
            std::vector<std::uint8_t> codes(n);
            for (const bool full : {false, true}) {
                for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(full ? (1u << bits) - 1 : i % (1u << bits));
                std::vector<std::int8_t> planes(detail::rabitq_plane_bytes(n, bits));
                std::int64_t sum = 0, wrong = 0;
                const std::int32_t found = detail::rabitq_row_query(codes.data(), n, bits, planes.data());
                for (std::size_t i = 0; i < n; ++i) {
                    const std::int32_t y = 2 * codes[i] - ((1 << bits) - 1);
                    const std::int32_t q = bits >= 6 ? 128 * planes[i] + planes[i + n + simd::RabitqQuery::padding] : planes[i];
                    const std::int32_t most = bits == 8 ? 64 : 127;  // products with codes of 8 bits are larger
                    wrong += q != y || std::abs(planes[i]) > most || (bits >= 6 && std::abs(planes[i + n + simd::RabitqQuery::padding]) > most) ? 1 : 0;
                    sum += y;
                }
                CHECK(wrong == 0);
                CHECK(found == sum);
            }
        }
}

TEST_CASE("rabitq: shapes that cannot be are refused", "[quantize][rabitq]") {
    CHECK_THROWS_AS(RabitqCodec(0, 0, std::vector<float>(4)), Error);
    CHECK_THROWS_AS(RabitqCodec(9, 0, std::vector<float>(4)), Error);
    CHECK_THROWS_AS(RabitqCodec(4, 0, std::vector<float>()), Error);
    CHECK_THROWS_AS(RabitqCodec(4, 0, std::vector<float>(RabitqCodec::max_dim + 1)), Error);
}
