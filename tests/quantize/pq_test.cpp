// SPDX-License-Identifier: Apache-2.0
//
// Product quantisation: shapes, codes and tables against brute force in double precision; training against what theory says of Gaussian data;
// few, equal and awkward rows; tables in bytes; codes in their two layouts against plain arrays.
#include "kith/quantize/pq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "kith/quantize/pq_codes.hpp"
#include "kith/quantize/pq_table.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float far_off = std::numeric_limits<float>::infinity();

std::vector<float> normal(std::size_t n, std::uint64_t seed, double scale = 1, double offset = 0) {
    const Random random(seed);
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(offset + scale * random.normal(i));
    return x;
}

MatrixView<const float> view_of(const std::vector<float>& values, std::size_t cols) { return {values.data(), values.size() / cols, cols}; }

PqParams shape(std::uint32_t m, std::uint32_t bits) {
    PqParams params;
    params.m = m;
    params.bits = bits;
    return params;
}

double squared_distance(const float* a, const float* b, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    return sum;
}

double dot(const float* a, const float* b, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += double(a[i]) * double(b[i]);
    return sum;
}

bool same(const PqCodec& a, const PqCodec& b) { return a.m() == b.m() && a.bits() == b.bits() && std::ranges::equal(a.codebooks(), b.codebooks()); }

/// Every row comes back as it was.
bool exact(const PqCodec& codec, MatrixView<const float> rows) {
    std::vector<std::uint8_t> codes(codec.m());
    std::vector<float> decoded(codec.dim());
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        codec.encode(rows.row(i), codes.data());
        codec.decode(codes.data(), decoded.data());
        if (!std::ranges::equal(rows[i], decoded)) return false;
    }
    return true;
}

}  // namespace

TEST_CASE("pq: sub-vectors cover a row and differ in length by one at most", "[pq]") {
    for (const std::size_t dim : {1, 2, 7, 16, 100, 129})
        for (std::size_t m = 1; m <= dim; m += dim > 20 ? 9 : 1)
            for (const std::size_t bits : {4, 8}) {
                const PqCodec codec(dim, m, bits, std::vector<float>(dim << bits));
                std::size_t next = 0, shortest = dim, longest = 0;
                for (std::size_t j = 0; j < m; ++j) {
                    CHECK(codec.first(j) == next);
                    next += codec.length(j);
                    shortest = std::min(shortest, codec.length(j));
                    longest = std::max(longest, codec.length(j));
                }
                CHECK(next == dim);
                CHECK(shortest >= 1);
                CHECK(longest - shortest <= 1);
                CHECK(codec.code_bytes() == (m * bits + 7) / 8);
                CHECK(codec.codebook_bytes() == 2 * (dim << bits) * 4);
                CHECK(codec.table_size() == m << bits);
            }
}

TEST_CASE("pq: what cannot be is refused with both numbers", "[pq]") {
    const auto rows = normal(300 * 12, 1);
    const auto train = [&](PqParams params) { PqCodec::train(view_of(rows, 12), params); };
    check_error(ErrorCode::invalid_argument, {"12", "13"}, [&] { train(shape(13, 8)); });
    check_error(ErrorCode::invalid_argument, {"12", "0"}, [&] { train(shape(0, 8)); });
    for (const std::uint32_t bits : {0u, 1u, 5u, 6u, 7u, 9u, 16u})
        check_error(ErrorCode::invalid_argument, {"4 or 8", std::to_string(bits)}, [&] { train(shape(4, bits)); });
    check_error(ErrorCode::dimension_mismatch, {"at least 1"}, [&] { PqCodec::train(MatrixView<const float>(rows.data(), 3, 0, 1), shape(4, 8)); });
    check_error(ErrorCode::dimension_mismatch, {"16", "12", "7"}, [] { PqCodec(12, 4, 4, std::vector<float>(7)); });
    const Progress stop([](std::string_view, std::size_t done, std::size_t) { return done < 2; });
    check_error(ErrorCode::cancelled, {"2"}, [&] { PqCodec::train(view_of(rows, 12), shape(4, 4), 0, inline_executor(), stop); });
}

TEST_CASE("pq: codes are the nearest centroids, tables their distances", "[pq]") {
    for (const auto& [dim, m, bits] : {std::tuple{24u, 6u, 8u}, {25u, 6u, 4u}, {7u, 7u, 8u}, {5u, 1u, 4u}}) {
        CAPTURE(dim, m, bits);
        const auto rows = normal(2000 * dim, dim);
        const PqCodec codec = PqCodec::train(view_of(rows, dim), shape(m, bits), 3).codec;
        const auto queries = normal(30 * dim, 99);
        std::vector<std::uint8_t> codes(m), other(m);
        std::vector<float> decoded(dim), other_decoded(dim), l2(codec.table_size()), ip(codec.table_size());
        const auto l2_pairs = codec.l2_symmetric(), ip_pairs = codec.dot_symmetric();
        for (std::size_t i = 0; i < 30; ++i) {
            const float* const q = queries.data() + i * dim;
            codec.encode(q, codes.data());
            codec.decode(codes.data(), decoded.data());
            for (std::size_t j = 0; j < m; ++j)
                for (std::size_t c = 0; c < codec.centroids(); ++c)
                    CHECK(squared_distance(q + codec.first(j), decoded.data() + codec.first(j), codec.length(j)) <=
                          squared_distance(q + codec.first(j), codec.centroid(j, c), codec.length(j)) * (1 + 1e-6));
            CHECK(codec.squared_error(q) == Approx(squared_distance(q, decoded.data(), dim)));
            CHECK(codec.encode_first(q) == codes[0]);
            // Asymmetric: the codes of another row.
            const float* const x = rows.data() + i * dim;
            codec.encode(x, other.data());
            codec.decode(other.data(), other_decoded.data());
            codec.l2_table(q, l2.data());
            codec.dot_table(q, ip.data());
            double l2_sum = 0, ip_sum = 0, l2_between = 0, ip_between = 0;
            for (std::size_t j = 0; j < m; ++j) {
                l2_sum += double(l2[j * codec.centroids() + other[j]]);
                ip_sum += double(ip[j * codec.centroids() + other[j]]);
                l2_between += double(l2_pairs[(j * codec.centroids() + codes[j]) * codec.centroids() + other[j]]);
                ip_between += double(ip_pairs[(j * codec.centroids() + codes[j]) * codec.centroids() + other[j]]);
            }
            CHECK(l2_sum == Approx(squared_distance(q, other_decoded.data(), dim)));
            CHECK(ip_sum == Approx(-dot(q, other_decoded.data(), dim)).margin(1e-4));
            CHECK(l2_between == Approx(squared_distance(decoded.data(), other_decoded.data(), dim)));
            CHECK(ip_between == Approx(-dot(decoded.data(), other_decoded.data(), dim)).margin(1e-4));
            CHECK(codec.l2_between(codes.data(), other.data()) == Approx(l2_between));
            CHECK(codec.dot_between(codes.data(), other.data()) == Approx(ip_between).margin(1e-4));
        }
    }
}

TEST_CASE("pq: training loses what Gaussian data must lose, not more", "[pq][quality]") {
    // A rate of R bits a dimension cannot lose less than 2^-2R of the variance (Shannon), and vectors lose less than the best quantiser of numbers one by
    // one does (Max 1960, "Quantizing for minimum distortion", table I: 0.3634 for 1 bit, 0.1175 for 2).
    for (const auto& [m, bits, rate, one_by_one] : {std::tuple{4u, 8u, 2.0, 0.1175}, {4u, 4u, 1.0, 0.3634}, {8u, 4u, 2.0, 0.1175}}) {
        CAPTURE(m, bits);
        const auto rows = normal(16000 * 16, 5), fresh = normal(4000 * 16, 6);
        const auto [codec, report] = PqCodec::train(view_of(rows, 16), shape(m, bits), 1);
        const double bound = std::pow(2.0, -2 * rate) * 16;
        CHECK(report.training_rows == std::min(std::size_t{16000}, std::size_t{256} << bits));
        CHECK(report.variance == Approx(16.0).epsilon(0.05));
        CHECK(report.error > bound * 0.95);
        CHECK(report.error < one_by_one * 16);
        CHECK(codec.mean_squared_error(view_of(fresh, 16)) > bound);
        CHECK(codec.mean_squared_error(view_of(fresh, 16)) < one_by_one * 16);
        CHECK(report.subspaces.size() == m);
    }
}

TEST_CASE("pq: rows that all have centroids are coded without error", "[pq]") {
    for (const std::uint32_t bits : {4u, 8u}) {
        const std::size_t most = std::size_t{1} << bits;
        for (const std::size_t n : {std::size_t{1}, std::size_t{2}, most - 1, most}) {
            CAPTURE(bits, n);
            const auto rows = normal(n * 10, n);
            const auto [codec, report] = PqCodec::train(view_of(rows, 10), shape(3, bits));
            CHECK(exact(codec, view_of(rows, 10)));
            CHECK(report.error == 0);
            CHECK(report.training_rows == n);
            // A code names a sub-vector that was there; copies that fill the codebook up are nobody's.
            std::vector<std::uint8_t> codes(3);
            std::set<int> used;
            for (std::size_t i = 0; i < n; ++i) {
                codec.encode(rows.data() + i * 10, codes.data());
                used.insert(codes[0]);
            }
            CHECK(used.size() == n);
            CHECK(*used.rbegin() + 1 == static_cast<int>(n));
        }
    }
    SECTION("many rows, few values") {
        std::vector<float> rows(5000 * 8);
        for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(Random(1).below(i, 2));
        CHECK(exact(PqCodec::train(view_of(rows, 8), shape(2, 4)).codec, view_of(rows, 8)));
        CHECK(exact(PqCodec::train(view_of(rows, 8), shape(1, 8)).codec, view_of(rows, 8)));
    }
    SECTION("all rows equal") {
        std::vector<float> rows(3000 * 8);
        for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i % 8) - 2.5f;
        CHECK(exact(PqCodec::train(view_of(rows, 8), shape(8, 8)).codec, view_of(rows, 8)));
    }
    SECTION("constant dimensions") {
        auto rows = normal(3000 * 8, 2);
        for (std::size_t i = 0; i < 3000; ++i) std::fill_n(rows.data() + i * 8 + 4, 4, 7.0f);
        const auto [codec, report] = PqCodec::train(view_of(rows, 8), shape(2, 8));
        CHECK(report.subspaces.size() == 1);
        std::vector<std::uint8_t> codes(2);
        std::vector<float> decoded(8);
        codec.encode(rows.data(), codes.data());
        codec.decode(codes.data(), decoded.data());
        CHECK(std::equal(decoded.begin() + 4, decoded.end(), rows.data() + 4));
    }
    SECTION("no rows") {
        const auto [codec, report] = PqCodec::train(MatrixView<const float>(nullptr, 0, 8), shape(2, 8));
        CHECK(std::ranges::all_of(codec.codebooks(), [](float x) { return x == 0; }));
        CHECK(report.error == 0);
    }
}

TEST_CASE("pq: the codec depends on rows, parameters and seed alone", "[pq]") {
    const auto rows = Vectors::normal(ElementType::f16, 3000, 13, 8);
    const MatrixView<const Half> view{static_cast<const Half*>(rows.view().data), 3000, 13};
    ThreadPool pool(3);
    const PqCodec a = PqCodec::train(view, shape(4, 8), 1).codec;
    CHECK(same(a, PqCodec::train(view, shape(4, 8), 1, pool).codec));
    CHECK_FALSE(same(a, PqCodec::train(view, shape(4, 8), 2).codec));
    // Rows that are not finite take no part: without them it is the codec of the others.
    auto broken = normal(2000 * 6, 9);
    const std::vector<float> intact(broken.begin(), broken.end());
    broken.insert(broken.end(), {not_a_number, 0, 0, 0, 0, 0, 1, 2, far_off, 4, 5, 6});
    const PqCodec b = PqCodec::train(view_of(broken, 6), shape(2, 4)).codec;
    CHECK(std::ranges::all_of(b.codebooks(), [](float x) { return std::isfinite(x); }));
    CHECK(b.mean_squared_error(view_of(intact, 6)) == Approx(PqCodec::train(view_of(intact, 6), shape(2, 4)).codec.mean_squared_error(view_of(intact, 6))).epsilon(0.1));
    CHECK(PqCodec::train(MatrixView<const float>(broken.data() + intact.size(), 2, 6), shape(2, 4)).report.training_rows == 0);
}

TEST_CASE("pq: a table in bytes is off by half a step an entry, and its distances are exact", "[pq]") {
    for (const std::size_t m : {1u, 3u, 16u, 64u, 257u, 1000u})
        for (const double size : {1.0, 1e-12, 1e12})
            for (const double offset : {0.0, 100.0}) {
                CAPTURE(m, size, offset);
                const auto table = normal(m * 16, m, size, size * offset);
                std::vector<std::uint8_t> bytes(m * 16 + 1, 0x77);
                const ByteScale scale = bytes_of_table(table.data(), m, 16, bytes.data());
                CHECK(bytes.back() == 0x77);
                double range = 0, least_sum = 0;
                for (std::size_t j = 0; j < m; ++j) {
                    const auto [least, most] = std::minmax_element(table.data() + 16 * j, table.data() + 16 * (j + 1));
                    range = std::max(range, double(*most) - double(*least));
                    least_sum += double(*least);
                    CHECK(bytes[16 * j + static_cast<std::size_t>(least - (table.data() + 16 * j))] == 0);
                    for (std::size_t c = 0; c < 16; ++c)
                        CHECK(std::abs(double(*least) + double(scale.scale) * bytes[16 * j + c] - double(table[16 * j + c])) <=
                              double(scale.scale) * 0.5001 + std::abs(double(table[16 * j + c])) * 1e-6);
                }
                CHECK(double(scale.scale) >= range / 255 * 0.999999);
                CHECK(double(scale.scale) <= range / 255 * (m <= 257 ? 1 + 1.0 / 128 : 1 + 1.0 / 16));
                CHECK(double(scale.offset) == Approx(least_sum).margin(1e-5 * size));
                CHECK(scale.largest == static_cast<std::int32_t>(255 * m));
                for (std::int32_t sum = 0; sum <= scale.largest; sum += 1 + scale.largest / 97)
                    CHECK(double(scale.scale * static_cast<float>(sum)) == double(scale.scale) * sum);
            }
}

TEST_CASE("pq: the largest sum within a bound is found, wherever it lies", "[pq]") {
    const auto check = [](const ByteScale& scale, float bound) {
        std::int32_t expected = -1;
        for (std::int32_t sum = 0; sum <= scale.largest; ++sum)
            if (scale.distance(static_cast<std::uint32_t>(sum)) <= bound) expected = sum;
        CAPTURE(scale.scale, scale.offset, bound);
        CHECK(scale.most_within(bound) == expected);
    };
    const Random random(4);
    std::uint64_t draw = 0;
    for (const float scale : {0.0f, 0x1.a4p-7f, 0x1p-100f, 0x1.8p20f})
        for (const float offset : {0.0f, -3.7f, 1e9f, -1e9f}) {
            const ByteScale s{scale, offset, 4080};
            for (int i = 0; i < 6; ++i) check(s, s.distance(static_cast<std::uint32_t>(random.below(++draw, 4081))));
            for (const float bound : {s.distance(0), s.distance(4080), std::nextafter(s.distance(0), -far_off), std::nextafter(s.distance(4080), far_off),
                                      std::nextafter(s.distance(77), -far_off), 0.0f, -far_off})
                check(s, bound);
            CHECK(s.most_within(far_off) == 4080);
            CHECK(s.most_within(not_a_number) == 4080);
        }
    CHECK(ByteScale{0, not_a_number, 255}.most_within(1.0f) == -1);
    CHECK(ByteScale{0, not_a_number, 255}.most_within(far_off) == 255);
}

TEST_CASE("pq: tables that are constant or not finite", "[pq]") {
    std::vector<float> table(4 * 16, 2.5f);
    std::vector<std::uint8_t> bytes(4 * 16);
    ByteScale scale = bytes_of_table(table.data(), 4, 16, bytes.data());
    CHECK(scale.distance(0) == 10.0f);
    CHECK(scale.scale == 0.0f);
    for (const float bad : {not_a_number, far_off, -far_off}) {
        table[37] = bad;
        scale = bytes_of_table(table.data(), 4, 16, bytes.data());
        CHECK(std::isnan(scale.distance(0)));
        CHECK(std::isnan(scale.distance(1000)));
    }
}

TEST_CASE("pq: codes are kept, changed and cut off like rows of an array", "[pq]") {
    for (const std::size_t bits : {4u, 8u})
        for (const std::size_t m : {1u, 4u, 6u, 9u}) {
            CAPTURE(bits, m);
            std::vector<std::vector<std::uint8_t>> model;
            PqCodes codes(m, bits);
            const Random random(m * bits);
            std::uint64_t draw = 0;
            const auto row = [&] {
                std::vector<std::uint8_t> one(m);
                for (auto& code : one) code = static_cast<std::uint8_t>(random.below(++draw, std::uint64_t{1} << bits));
                return one;
            };
            const auto check = [&] {
                REQUIRE(codes.size() == model.size());
                std::vector<std::uint8_t> read(m);
                for (Slot slot = 0; slot < model.size(); ++slot) {
                    codes.read(slot, read.data());
                    REQUIRE(read == model[slot]);
                }
                // The same bytes as if it had been made at once.
                PqCodes fresh(m, bits);
                for (const auto& one : model) fresh.append(one.data(), 1);
                if (codes.stored().kind() == RowsKind::owned)
                    for (std::size_t i = 0; i < fresh.stored().rows(); ++i)
                        REQUIRE(std::memcmp(fresh.stored().view().row(i), codes.stored().view().row(i), fresh.stored().cols()) == 0);
            };
            const auto change = [&](std::uint64_t steps) {
                for (std::uint64_t step = 0; step < steps; ++step) switch (random.below(++draw, 5)) {
                        case 0:
                        case 1: {
                            std::vector<std::uint8_t> some;
                            for (std::uint64_t i = random.below(++draw, 40); i > 0; --i) {
                                model.push_back(row());
                                some.insert(some.end(), model.back().begin(), model.back().end());
                            }
                            codes.append(some.data(), some.size() / m);
                            break;
                        }
                        case 2: {
                            if (model.empty()) break;
                            const auto slot = static_cast<Slot>(random.below(++draw, model.size()));
                            model[slot] = row();
                            codes.overwrite(slot, model[slot].data());
                            break;
                        }
                        case 3: {
                            if (model.empty()) break;
                            const auto from = static_cast<Slot>(random.below(++draw, model.size())), to = static_cast<Slot>(random.below(++draw, model.size()));
                            model[to] = model[from];
                            codes.move(from, to);
                            break;
                        }
                        default: {
                            const std::size_t size = model.size() - std::min<std::size_t>(model.size(), random.below(++draw, 30));
                            model.resize(size);
                            codes.truncate(size);
                        }
                    }
            };
            change(30);
            check();
            // Borrowed memory is left as it is, also what a cut leaves behind in it.
            const PqCodes original = std::move(codes);
            const std::vector<std::uint8_t> bytes(original.stored().view().data(),
                                                  original.stored().view().data() + original.stored().rows() * original.stored().cols());
            const auto borrow = [&] {
                return PqCodes(m, bits, Rows<std::uint8_t>::borrow(original.stored().view()), original.size());
            };
            const auto before = model;
            codes = borrow();
            check();
            model.resize(model.size() - std::min<std::size_t>(model.size(), 5));
            codes.truncate(model.size());
            check();
            change(10);
            check();
            CHECK(std::equal(bytes.begin(), bytes.end(), original.stored().view().data()));
            model = before;
            codes = borrow();
            check();
            check_error(ErrorCode::dimension_mismatch, {"expected codes"}, [&] {
                PqCodes(m, bits, Rows<std::uint8_t>::borrow(original.stored().view()), original.size() + 33);
            });
            check_error(ErrorCode::invalid_argument, {std::to_string(model.size())},
                        [&] { codes.overwrite(static_cast<Slot>(model.size()), bytes.data()); });
        }
}
