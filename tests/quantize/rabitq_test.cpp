// SPDX-License-Identifier: Apache-2.0
//
// One-bit codes relative to a centre: the factors against the paper's estimator in double precision, the table
// against exact sums, the kernels on packed codes, and the estimator's statistics: no bias, and an error as large as
// the paper says. Seeds are fixed, so the statistical bounds either hold for ever or never.
#include "kith/quantize/rabitq.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/quantize/rotation.hpp"
#include "kith/simd/kernels.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace {

using namespace kith;
using rabitq::Estimate;
using rabitq::Factors;
using Vector = std::vector<float>;
using Code = std::vector<std::uint8_t>;

Vector random_vector(std::size_t dim, std::uint64_t seed, double mean = 0.0) {
    const Random random(seed, 31);
    Vector x(dim);
    for (std::size_t i = 0; i < dim; ++i) x[i] = static_cast<float>(mean + random.normal(i));
    return x;
}

/// towards a by `share` of the way from b, and as much noise again.
Vector near(const Vector& a, const Vector& b, double share, std::uint64_t seed) {
    const Vector noise = random_vector(a.size(), seed);
    Vector x(a.size());
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<float>(static_cast<double>(b[i]) +
                                  share * (static_cast<double>(a[i]) - static_cast<double>(b[i])) +
                                  share * static_cast<double>(noise[i]));
    return x;
}

double dot(const Vector& x, const Vector& y) {
    double sum = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i)
        sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    return sum;
}

double squared_distance(const Vector& x, const Vector& y) {
    return dot(x, x) + dot(y, y) - 2.0 * dot(x, y);
}

/// The distance that is estimated, and that of the query to the centre.
double distance(Estimate estimate, const Vector& q, const Vector& x) {
    return estimate == Estimate::squared_l2 ? squared_distance(q, x) : -dot(q, x);
}

bool bit(const Code& code, std::size_t i) { return (code[i / 8] >> (7 - i % 8) & 1u) != 0; }

/// S - sum(q) / 2.
double centred_sum(const Code& code, const Vector& q) {
    double sum = 0.0;
    for (std::size_t i = 0; i < q.size(); ++i)
        sum += static_cast<double>(q[i]) * (bit(code, i) ? 0.5 : -0.5);
    return sum;
}

constexpr Estimate estimates[] = {Estimate::squared_l2, Estimate::negated_dot};

/// Everything about one triple, rotated.
struct Triple {
    Vector x, c, q;
    Code code;
    Factors factors;

    Triple(Estimate estimate, Vector x_, Vector c_, Vector q_)
        : x(std::move(x_)), c(std::move(c_)), q(std::move(q_)), code(rabitq::code_bytes(x.size())) {
        factors = rabitq::encode_neighbour(x.data(), c.data(), x.size(), estimate, code.data());
    }
};

Vector rotated(const Rotation& rotation, const Vector& x) {
    Vector y(rotation.padded_dim());
    rotation.apply(x.data(), y.data());
    return y;
}

}  // namespace

TEST_CASE("factors and sum make the paper's estimator", "[rabitq]") {
    for (const Estimate estimate : estimates)
        for (const std::size_t dim : {32u, 96u, 128u, 800u})
            for (std::uint64_t seed = 0; seed < 20; ++seed) {
                const Vector c = random_vector(dim, 3 * seed, 0.5);
                const Triple t(estimate, near(c, random_vector(dim, 3 * seed + 1), 0.7, seed), c,
                               random_vector(dim, 3 * seed + 2));
                const double d = static_cast<double>(dim);
                const double r = std::sqrt(squared_distance(t.x, t.c));
                double code_o = 0.0, code_v = 0.0;  // <x_bar, o>, <x_bar, q' - c'>
                double offset = 0.0;                // <x - c, c>
                for (std::size_t i = 0; i < dim; ++i) {
                    const double s = bit(t.code, i) ? 1.0 : -1.0;
                    const double delta = static_cast<double>(t.x[i]) - static_cast<double>(t.c[i]);
                    REQUIRE(s * delta >= 0.0);
                    code_o += s / std::sqrt(d) * delta / r;
                    code_v += s / std::sqrt(d) *
                              (static_cast<double>(t.q[i]) - static_cast<double>(t.c[i]));
                    offset += delta * static_cast<double>(t.c[i]);
                }
                const double inner = r * code_v / code_o;
                const double base = distance(estimate, t.q, t.c);
                const double expected = estimate == Estimate::squared_l2
                                            ? base + r * r - 2.0 * inner
                                            : base - inner - offset;
                const double found =
                    base + static_cast<double>(t.factors.add) +
                    static_cast<double>(t.factors.rescale) * centred_sum(t.code, t.q);
                const double size = dot(t.q, t.q) + dot(t.x, t.x) + dot(t.c, t.c);
                INFO("dim " << dim << ", seed " << seed);
                CHECK(std::abs(found - expected) < 1e-6 * size);
            }
}

TEST_CASE("a vector that is its centre has an exact estimate, an absent one is infinitely far",
          "[rabitq]") {
    for (const Estimate estimate : estimates) {
        const Vector c = random_vector(64, 1);
        const Triple t(estimate, c, c, c);
        CHECK(t.factors.add == 0.0f);
        CHECK(t.factors.rescale == 0.0f);
        CHECK(to_bfloat16(Factors{}.add) == to_bfloat16(std::numeric_limits<float>::infinity()));
        CHECK(Factors{}.rescale == 0.0f);
    }
}

TEST_CASE("the query's table adds up to S", "[rabitq]") {
    rabitq::QueryTable table;
    for (const std::size_t dim : {32u, 64u, 96u, 128u, 800u, 1024u})
        for (const double mean : {0.0, 3.0, -3.0}) {
            const Vector q = random_vector(dim, dim, mean);
            table.prepare(q.data(), dim);
            REQUIRE(table.groups() == dim / 4);
            const double step = static_cast<double>(table.scale());
            double largest = 0.0;
            for (std::size_t g = 0; g < dim / 4; ++g) {
                double least = 0.0, size = 0.0;
                for (std::size_t k = 0; k < 4; ++k) {
                    const double y = static_cast<double>(q[4 * g + k]);
                    least += std::min(y, 0.0);
                    size += std::abs(y);
                }
                largest = std::max(largest, size);
                for (unsigned m = 0; m < 16; ++m) {
                    double part = 0.0;
                    for (std::size_t k = 0; k < 4; ++k)
                        if ((m >> (3 - k) & 1u) != 0) part += static_cast<double>(q[4 * g + k]);
                    const double entry = static_cast<double>(table.table()[16 * g + m]);
                    if (std::abs(entry * step + least - part) > 0.51 * step)
                        FAIL("dim " << dim << ", group " << g << ", code " << m);
                }
            }
            CHECK(step * 255.0 == Approx(largest));
            // The offset: all least parts, less half the sum.
            double offset = 0.0;
            for (const float y : q) offset -= 0.5 * std::abs(static_cast<double>(y));
            CHECK(static_cast<double>(table.offset()) == Approx(offset));
        }
}

TEST_CASE("queries without a table", "[rabitq]") {
    rabitq::QueryTable table;
    Vector q(64, 0.0f);
    const auto all_zero = [&] {
        return std::all_of(table.table(), table.table() + 256, [](int b) { return b == 0; });
    };
    for (const float tiny : {0.0f, 1e-40f, 1e-35f}) {
        q[5] = tiny;
        table.prepare(random_vector(64, 1).data(), 64);
        table.prepare(q.data(), 64);
        CHECK(all_zero());
        CHECK(table.scale() == 0.0f);
        CHECK(std::abs(table.offset()) <= tiny);
    }
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
          std::numeric_limits<float>::max()}) {
        q.assign(64, bad);
        table.prepare(q.data(), 64);
        CHECK(all_zero());
        CHECK(std::isnan(table.offset()));
    }
    q.assign(64, 1e36f);
    table.prepare(q.data(), 64);
    CHECK(table.table()[15] == 255);
}

TEST_CASE("a warm query table allocates nothing", "[rabitq]") {
    rabitq::QueryTable table;
    const Vector q = random_vector(800, 1);
    table.prepare(q.data(), 800);
    const std::size_t before = test::allocation_count();
    table.prepare(q.data(), 128);
    table.prepare(q.data(), 800);
    CHECK(test::allocation_count() == before);
}

TEST_CASE("packed codes lie where the kernels look", "[rabitq]") {
    for (const std::size_t dim : {32u, 96u, 128u, 800u}) {
        const Random random(dim);
        Code rows(rabitq::block_bytes(dim)), block(rows.size() + 1, 77);
        for (std::size_t i = 0; i < rows.size(); ++i)
            rows[i] = static_cast<std::uint8_t>(random.bits(i));
        rabitq::pack_codes(rows.data(), dim, block.data());
        CHECK(block.back() == 77);
        for (std::size_t i = 0; i < 32; ++i)
            for (std::size_t g = 0; g < rabitq::code_groups(dim); ++g) {
                const unsigned in_row = rows[i * dim / 8 + g / 2];
                const unsigned code = g % 2 == 0 ? in_row >> 4 : in_row & 15u;
                const unsigned in_block = block[16 * g + 2 * (i % 8) + (i / 8) % 2];
                if (code != (i < 16 ? in_block & 15u : in_block >> 4))
                    FAIL("vector " << i << ", group " << g);
            }
    }
}

TEST_CASE("kernels estimate packed codes as the formula does", "[rabitq]") {
    for (const Estimate estimate : estimates)
        for (const std::size_t dim : {32u, 128u, 800u}) {
            const Vector c = random_vector(dim, 1, 0.2), q = random_vector(dim, 2, 0.2);
            Code rows(rabitq::block_bytes(dim)), block(rows.size());
            std::vector<Triple> triples;
            std::vector<BFloat16> add(32), rescale(32);
            for (std::size_t i = 0; i < 32; ++i) {
                triples.emplace_back(estimate, random_vector(dim, 100 + i, 0.2), c, q);
                std::copy(triples[i].code.begin(), triples[i].code.end(),
                          rows.begin() + static_cast<std::ptrdiff_t>(i * dim / 8));
                add[i] = to_bfloat16(triples[i].factors.add);
                rescale[i] = to_bfloat16(triples[i].factors.rescale);
            }
            add[31] = to_bfloat16(Factors{}.add);  // this place is empty
            rescale[31] = to_bfloat16(Factors{}.rescale);
            rabitq::pack_codes(rows.data(), dim, block.data());
            rabitq::QueryTable table;
            table.prepare(q.data(), dim);
            const auto base = static_cast<float>(distance(estimate, q, c));
            const float bound = std::numeric_limits<float>::infinity();
            for (const simd::KernelTable* t : simd::available_tables()) {
                std::vector<float> out(32);
                const std::uint32_t hits = t->estimate32(
                    block.data(), table.table(), table.groups(), add.data(), rescale.data(), base,
                    table.scale(), table.offset(), bound, out.data());
                CHECK(hits == 0x7FFFFFFFu);
                for (std::size_t i = 0; i < 31; ++i) {
                    const double sum = centred_sum(triples[i].code, q);
                    const double a = static_cast<double>(triples[i].factors.add);
                    const double f = static_cast<double>(triples[i].factors.rescale);
                    const double expected = static_cast<double>(base) + a + f * sum;
                    const double of_table = 0.51 * static_cast<double>(table.scale()) *
                                            static_cast<double>(table.groups()) * std::abs(f);
                    const double of_factors = 0x1p-8 * (std::abs(a) + std::abs(f * sum));
                    const double of_floats = 1e-5 * std::abs(static_cast<double>(base));
                    INFO(t->name << ", dim " << dim << ", vector " << i);
                    CHECK(std::abs(static_cast<double>(out[i]) - expected) <
                          of_table + of_factors + of_floats);
                }
            }
        }
}

TEST_CASE("estimates have no bias, and the paper's error", "[rabitq][quality]") {
    // What is estimated is <x - c, q - c>, times -2 or -1. Its error, given <x_bar, o>, has the variance
    // r^2 |part of q - c across o|^2 (1 / <x_bar, o>^2 - 1) / (D - 1): the paper's theorem 3.2.
    constexpr std::size_t pairs = 10000;
    const simd::KernelTable& kernels = simd::kernels();
    for (const Estimate estimate : estimates)
        for (const std::size_t dim : {32u, 100u, 200u}) {
            rabitq::QueryTable table;
            double mean = 0.0, squares = 0.0, standardised = 0.0, cosines = 0.0;
            for (std::size_t n = 0; n < pairs; ++n) {
                const Rotation rotation(dim, n);
                const std::size_t padded = rotation.padded_dim();
                const Vector c = random_vector(dim, 3 * n, 0.2),
                             x = random_vector(dim, 3 * n + 1, 0.2);
                const Vector q = near(x, c, 0.8, 3 * n + 2);
                const Triple t(estimate, rotated(rotation, x), rotated(rotation, c),
                               rotated(rotation, q));
                Code rows(rabitq::block_bytes(padded)), block(rows.size());
                std::copy(t.code.begin(), t.code.end(), rows.begin());
                rabitq::pack_codes(rows.data(), padded, block.data());
                std::vector<BFloat16> add(32), rescale(32);
                add[0] = to_bfloat16(t.factors.add);
                rescale[0] = to_bfloat16(t.factors.rescale);
                table.prepare(t.q.data(), padded);
                const double base = distance(estimate, q, c);
                float out[32];
                kernels.estimate32(block.data(), table.table(), table.groups(), add.data(),
                                   rescale.data(), static_cast<float>(base), table.scale(),
                                   table.offset(), 0.0f, out);

                const double times = estimate == Estimate::squared_l2 ? 2.0 : 1.0;
                const double r = std::sqrt(squared_distance(x, c)),
                             v = std::sqrt(squared_distance(q, c));
                const double cosine = (dot(x, q) - dot(x, c) - dot(c, q) + dot(c, c)) / (r * v);
                const double error =
                    (static_cast<double>(out[0]) - distance(estimate, q, x)) / (times * r * v);
                const double f = -static_cast<double>(t.factors.rescale) / (2.0 * times);
                const double code_o = r / (f * std::sqrt(static_cast<double>(padded)));
                const double variance = (1.0 - cosine * cosine) * (1.0 / (code_o * code_o) - 1.0) /
                                        static_cast<double>(padded - 1);
                mean += error / pairs;
                squares += error * error / pairs;
                standardised += error * error / variance / pairs;
                cosines += cosine / pairs;
            }
            const double standard_error = std::sqrt(squares / pairs);
            INFO("dim " << dim << ", dot " << (estimate == Estimate::negated_dot) << ": mean error "
                        << mean << " +- " << standard_error << ", rms error over the paper's "
                        << std::sqrt(standardised) << ", mean cosine " << cosines);
            CHECK(cosines > 0.6);  // a factor wrong by 1 % shifts the mean by more than 0.006
            CHECK(standard_error < 0.0015);
            CHECK(std::abs(mean) < 4.0 * standard_error);
            CHECK(std::sqrt(standardised) == Approx(1.0).epsilon(0.03));
        }
}
