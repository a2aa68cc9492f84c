// SPDX-License-Identifier: Apache-2.0
//
// Product-quantised codes as a space: a scorer's three shapes and distance() agree to the bit, with 8 bits and 4, rotated or not; distances are
// near those of the rows; codes follow their rows through every change; files.
#include "kith/space/pq_space.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kith/index/refine.hpp"
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

PqParams shape(std::uint32_t m, std::uint32_t bits, bool opq = false) {
    PqParams params;
    params.m = m;
    params.bits = bits;
    params.opq = opq;
    return params;
}

template <class S>
struct Type { using type = S; };

/// check(type, bits, opq)
template <class Check>
void for_each_space(Check check) {
    const auto one = [&]<class S>(Type<S> type) {
        for (const std::uint32_t bits : {4u, 8u})
            for (const bool opq : {false, true}) {
                INFO("space " << S::file_label() << ", " << bits << " bits" << (opq ? ", opq" : ""));
                check(type, bits, opq);
            }
    };
    one(Type<PqSpace<L2, float>>{});
    one(Type<PqSpace<Euclidean, BFloat16>>{});
    one(Type<PqSpace<Cosine, float>>{});
    one(Type<PqSpace<Cosine, Half>>{});
    one(Type<PqSpace<InnerProduct, float>>{});
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

template <class S>
bool same_rows(const S& a, const S& b) {
    if (a.size() != b.size() || a.dim() != b.dim() || a.codec().m() != b.codec().m()) return false;
    for (Slot slot = 0; slot < a.size(); ++slot)
        for (std::size_t j = 0; j < a.codec().m(); ++j)
            if (a.codes().code(slot, j) != b.codes().code(slot, j)) return false;
    return true;
}

template <class S>
std::vector<float> scores(const S& space, std::span<const float> query) {
    typename S::scorer_scratch scratch;
    const auto scorer = space.scorer(query, scratch);
    std::vector<float> one(space.size());
    for (Slot slot = 0; slot < space.size(); ++slot) one[slot] = scorer(slot);
    return one;
}

/// A scorer's three shapes, and what it says of rows that are near enough, alone and with others.
template <class S>
void check_shapes(const S& space, const std::vector<float>& query, const std::vector<float>& other) {
    const std::size_t n = space.size();
    typename S::scorer_scratch scratch, other_scratch;
    const auto scorer = space.scorer(query, scratch);
    const auto one = scores(space, query);
    std::vector<float> run(n);
    for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, n / 2, n / 2 + 7 < n ? n / 2 + 7 : n, n - 1})
        for (const std::size_t second : {cut, cut + (n - cut) / 3}) {
            scorer.run(0, cut, run.data());
            scorer.run(cut, second - cut, run.data() + cut);
            scorer.run(second, n - second, run.data() + second);
            CHECK(same_bits(one, run));
        }
    std::vector<Slot> slots(n);
    std::vector<float> gathered(n), expected(n);
    for (std::size_t i = 0; i < n; ++i) {
        slots[i] = static_cast<Slot>(i * 37 % n);
        expected[i] = one[slots[i]];
    }
    scorer.gather(slots, gathered.data());
    CHECK(same_bits(gathered, expected));
    using Scorer = typename S::scorer_type;
    const Scorer two[2] = {scorer, space.scorer(other, other_scratch)};
    const std::vector<float> both[2] = {one, scores(space, other)};
    std::size_t wrong = 0;
    for (const std::size_t count : {std::size_t{1}, std::size_t{2}})
        for (std::size_t first = 0; first < n; first += 64)
            for (const float bound : {one[n / 3], both[1][n / 2], std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
                const std::size_t rows = std::min(n - first, Scorer::chunk);
                std::vector<float> out(2 * Scorer::chunk);
                std::vector<std::uint32_t> hits(2 * Scorer::chunk / 32);
                const float bounds[2] = {bound, one[0]};
                Scorer::run_within({two, count}, first, rows, bounds, out.data(), hits.data());
                for (std::size_t j = 0; j < count; ++j)
                    for (std::size_t i = 0; i < (rows + 31) / 32 * 32; ++i) {
                        const bool hit = (hits[Scorer::chunk / 32 * j + i / 32] >> i % 32 & 1u) != 0;
                        if (i >= rows) wrong += hit;
                        else wrong += hit != (both[j][first + i] <= bounds[j]) || (hit && out[Scorer::chunk * j + i] != both[j][first + i]);
                    }
            }
    CHECK(wrong == 0);
}

std::vector<float> floats(const Vectors& rows, std::size_t row) {
    std::vector<float> out(rows.cols());
    for (std::size_t d = 0; d < rows.cols(); ++d) out[d] = static_cast<float>(rows.value(row, d));
    return out;
}

}  // namespace

TEST_CASE("pq codes: scorer(slot), gather, run and distance agree to the bit; a decoded row is its row", "[space][pq]") {
    for_each_space([](auto type, std::uint32_t bits, bool opq) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        STATIC_REQUIRE(Space<S>);
        STATIC_REQUIRE(GrowableSpace<S>);
        STATIC_REQUIRE(PersistableSpace<S>);
        STATIC_REQUIRE(BoundedSpace<S>);
        STATIC_REQUIRE(CodecSpace<S>);
        for (const auto& [d, m] : {std::pair{1u, 1u}, {16u, 4u}, {33u, 7u}})
            for (const std::size_t n : {std::size_t{2}, std::size_t{130}, std::size_t{600}}) {
                CAPTURE(d, m, n);
                const auto rows = Vectors::normal(element_traits<T>::type, n, d, d + n, 0.7);
                const auto space = S::train_and_encode(view_of<T>(rows), shape(m, bits, opq));
                REQUIRE(space.size() == n);
                REQUIRE(space.dim() == d);
                REQUIRE(space.row_bytes() == (bits == 8 ? m : (m + 3) / 4 * 2));
                CHECK(space.params() == shape(m, bits, opq));
                const auto stranger = floats(Vectors::normal(ElementType::f32, 1, d, 99), 0);
                std::vector<float> query(d);
                for (const Slot row : {Slot{0}, static_cast<Slot>(n / 2)}) {
                    space.read_query(row, query);
                    std::vector<float> pairs(n);
                    std::size_t lopsided = 0;
                    for (Slot slot = 0; slot < n; ++slot) {
                        pairs[slot] = space.distance(row, slot);
                        lopsided += pairs[slot] != space.distance(slot, row);
                    }
                    CHECK(lopsided == 0);
                    CHECK(same_bits(scores(space, query), pairs));
                    if (S::metric_type::name != InnerProduct::name) CHECK(pairs[row] == 0.0f);
                    check_shapes(space, query, stranger);
                }
                check_shapes(space, stranger, query);
            }
    });
}

TEST_CASE("pq codes: distances are those of what codes stand for", "[space][pq]") {
    for_each_space([](auto type, std::uint32_t bits, bool opq) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        constexpr std::string_view metric = S::metric_type::name;
        const auto rows = Vectors::normal(element_traits<T>::type, 500, 24, 3, 0.3);
        const auto queries = Vectors::normal(ElementType::f32, 10, 24, 4, 0.3);
        const auto space = S::train_and_encode(view_of<T>(rows), shape(8, bits, opq));
        Vectors decoded(ElementType::f32, 500, 24);
        std::vector<float> row(24);
        for (std::size_t i = 0; i < 500; ++i) {
            space.read_query(static_cast<Slot>(i), row);
            for (std::size_t d = 0; d < 24; ++d) decoded.set(i, d, static_cast<double>(row[d]));
        }
        // 4 bits: eight entries, each off by half of a step at most; a step is a 255th of the largest range of a subspace's table, and a little for its rounding.
        double slack = bits == 8 ? 1e-4 : metric == "cosine" ? 0.02 : 0.5;
        std::size_t wrong = 0;
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            const auto found = scores(space, floats(queries, j));
            if (bits == 4 && metric == "ip") {
                const auto query = floats(queries, j);
                std::vector<float> point(query.begin(), query.end()), table(space.codec().table_size());
                if (space.rotation()) space.rotation()->apply(query.data(), point.data());
                space.codec().dot_table(point.data(), table.data());
                double range = 0;
                for (auto from = table.begin(); from != table.end(); from += 16) {
                    const auto [least, most] = std::minmax_element(from, from + 16);
                    range = std::max(range, static_cast<double>(*most) - static_cast<double>(*least));
                }
                slack = 8 * range / 255 / 2 * (1 + 1.0 / 128) + 1e-4;
            }
            Vectors unit(ElementType::f32, 1, 24);
            double norm = 0;
            for (std::size_t d = 0; d < 24; ++d) norm += queries.value(j, d) * queries.value(j, d);
            for (std::size_t d = 0; d < 24; ++d) unit.set(0, d, queries.value(j, d) / std::sqrt(norm));
            for (std::size_t i = 0; i < 500; ++i) {
                const double reported = space.report(static_cast<double>(found[i]));
                CHECK(space.internal(reported) == Approx(static_cast<double>(found[i])).margin(1e-5));
                if (metric == "cosine") wrong += std::abs(reported - reference_distance("l2", unit, 0, decoded, i) / 2) > slack;
                else if (metric == "euclidean") wrong += std::abs(reported * reported - reference_distance("l2", queries, j, decoded, i)) > slack;
                else wrong += std::abs(reported - reference_distance(metric, queries, j, decoded, i)) > slack;
            }
        }
        CHECK(wrong == 0);
        // What codes stand for is near the rows: one byte for three dimensions, or half of one.
        double error = 0, variance = 0;
        for (std::size_t i = 0; i < 500; ++i) {
            double norm = 1;
            if (metric == "cosine") {
                norm = 0;
                for (std::size_t d = 0; d < 24; ++d) norm += rows.value(i, d) * rows.value(i, d);
                norm = std::sqrt(norm);
            }
            for (std::size_t d = 0; d < 24; ++d) {
                error += std::pow(rows.value(i, d) / norm - decoded.value(i, d), 2);
                variance += std::pow(rows.value(i, d) / norm, 2);
            }
        }
        CHECK(error < (bits == 8 ? 0.1 : 0.4) * variance);
    });
}

TEST_CASE("pq codes: as many centroids as rows make distances exact", "[space][pq]") {
    const auto rows = Vectors::normal(ElementType::f32, 200, 10, 5);
    const auto queries = Vectors::normal(ElementType::f32, 3, 10, 6);
    const auto space = PqSpace<L2, float>::train_and_encode(view_of<float>(rows), shape(3, 8));
    for (std::size_t j = 0; j < 3; ++j) {
        const auto found = scores(space, floats(queries, j));
        for (std::size_t i = 0; i < 200; ++i) CHECK(static_cast<double>(found[i]) == Approx(reference_distance("l2", queries, j, rows, i)));
    }
}

TEST_CASE("pq codes of rows that are appended, overwritten, moved and cut off", "[space][pq]") {
    for_each_space([](auto type, std::uint32_t bits, bool opq) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 600, 20, 5, 0.5);
        const auto view = view_of<T>(rows);
        const auto trained = S::train_and_encode(view, shape(5, bits, opq));
        CHECK_NOTHROW(trained.validate("here"));
        S space(trained.codec(), trained.rotation());
        CHECK(space.size() == 0);
        space.append(view.slice(0, 10));
        space.append(view.slice(10, 590));
        CHECK(same_rows(space, trained));
        space.own_rows();
        space.move_row(599, 3);
        space.overwrite(7, view[500]);
        space.truncate(301);
        space.append(view.slice(20, 3));
        space.truncate(300);
        CHECK_NOTHROW(space.validate("here"));
        Vectors expected = Vectors::fill(rows.type(), 300, 20, [&](std::size_t i) {
            const std::size_t row = i / 20;
            return rows.value(row == 3 ? 599 : row == 7 ? 500 : row, i % 20);
        });
        S other(trained.codec(), trained.rotation());
        other.append(view_of<T>(expected));
        CHECK(same_rows(space, other));
        const auto query = floats(rows, 11);
        CHECK(same_bits(scores(space, query), scores(other, query)));
        check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.overwrite(0, view[1].first(19)); });
        check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.append({view.data(), 3, 19, 20}); });
        check_error(ErrorCode::invalid_argument, {"300"}, [&] { space.overwrite(300, view[1]); });
        CHECK(same_rows(space, other));
    });
}

TEST_CASE("pq codes do not depend on the number of threads", "[space][pq]") {
    const auto rows = Vectors::normal(ElementType::f32, 3001, 12, 6);
    ThreadPool pool(3);
    for (const std::uint32_t bits : {4u, 8u})
        for (const bool opq : {false, true}) {
            using S = PqSpace<Cosine, float>;
            const auto a = S::train_and_encode(view_of<float>(rows), shape(4, bits, opq), inline_executor(), 7);
            const auto b = S::train_and_encode(view_of<float>(rows), shape(4, bits, opq), pool, 7);
            CHECK(std::ranges::equal(a.codec().codebooks(), b.codec().codebooks()));
            CHECK(same_rows(a, b));
            // Codes that are given with a codec are taken as they are.
            const S c(a.codec(), a.rotation(), PqCodes(4, bits, Rows<std::uint8_t>::copy(a.codes().stored().view()), a.size()));
            CHECK(same_bits(scores(a, floats(rows, 0)), scores(c, floats(rows, 0))));
            check_error(ErrorCode::dimension_mismatch, {"4", "5"}, [&] { S(a.codec(), a.rotation(), PqCodes(5, bits)); });
            check_error(ErrorCode::dimension_mismatch, {"12", "11"}, [&] { S(a.codec(), OpqRotation(11)); });
        }
}

TEST_CASE("pq, cosine: lengths do not matter, and a row without direction is in nobody's way", "[space][pq]") {
    for (const std::uint32_t bits : {4u, 8u})
        for (const bool opq : {false, true}) {
            CAPTURE(bits, opq);
            auto rows = Vectors::normal(ElementType::f32, 100, 16, 7, 0.8);  // most point the same way
            for (std::size_t d = 0; d < 16; ++d) {
                rows.set(1, d, 0);
                rows.set(2, d, 128 * rows.value(3, d));
            }
            const auto space = PqSpace<Cosine, float>::train_and_encode(view_of<float>(rows), shape(4, bits, opq));
            std::size_t nearer = 0;
            for (Slot slot = 4; slot < 100; ++slot) {
                CHECK(space.distance(2, slot) == space.distance(3, slot));
                nearer += space.distance(slot, 1) < space.distance(slot, slot == 99 ? 4 : slot + 1);
            }
            CHECK(nearer < 10);
            auto query = floats(rows, 50);
            const auto near = scores(space, query);
            for (float& x : query) x *= 0.0078125f;
            CHECK(same_bits(near, scores(space, query)));
            for (const float distance : scores(space, std::vector<float>(16, 0.0f))) CHECK(space.report(static_cast<double>(distance)) == 1.0);
            const std::vector<float> zeros(32, 0.0f);
            CHECK_NOTHROW(PqSpace<Cosine, float>::train_and_encode({zeros.data(), 2, 16}, shape(4, bits, opq)).validate("here"));
        }
}

TEST_CASE("pq: queries that are not finite are infinitely far or nowhere, and never a crash", "[space][pq]") {
    for_each_space([](auto type, std::uint32_t bits, bool opq) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 70, 8, 7);
        const auto space = S::train_and_encode(view_of<T>(rows), shape(3, bits, opq));
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
            for (const float distance : scores(space, std::vector<float>(8, bad))) CHECK_FALSE(distance < std::numeric_limits<float>::infinity());
    });
}

TEST_CASE("pq: what cannot be trained is refused", "[space][pq]") {
    using S = PqSpace<L2, float>;
    const auto rows = Vectors::normal(ElementType::f32, 40, 8, 7);
    check_error(ErrorCode::invalid_argument, {"8", "16"}, [&] { S::train_and_encode(view_of<float>(rows), shape(16, 8)); });
    check_error(ErrorCode::invalid_argument, {"4 or 8", "5"}, [&] { S::train_and_encode(view_of<float>(rows), shape(4, 5)); });
    const auto none = S::train_and_encode({nullptr, 0, 8}, shape(4, 4, true));
    CHECK(none.size() == 0);
    for (const std::string_view phase : {"train", "rotate", "encode"}) {
        const Progress stop([&](std::string_view now, std::size_t, std::size_t) { return now != phase; });
        check_error(ErrorCode::cancelled, {phase}, [&] { S::train_and_encode(view_of<float>(rows), shape(4, 4, true), inline_executor(), 0, stop); });
    }
    CHECK(parse_params<PqParams>(parse_param_list("m=32,bits=4,opq=true", "x"), "pq") == shape(32, 4, true));
}

TEST_CASE("pq codes are saved and loaded, and stay in the file", "[space][pq]") {
    const TempDir dir;
    for_each_space([&](auto type, std::uint32_t bits, bool opq) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 50, 24, 10);
        const auto space = S::train_and_encode(view_of<T>(rows), shape(6, bits, opq));
        FileInfo info;
        info.kind = "test";
        info.space = space.label();
        info.count = 50;
        info.dim = 24;
        SectionWriter writer(info);
        space.save(writer);
        writer.write(dir.path() / "codes");
        const SectionReader reader(dir.path() / "codes");
        reader.require_known(S::section_names());
        S loaded = S::load(reader);
        CHECK(loaded.codes().stored().kind() == RowsKind::mapped);
        CHECK_NOTHROW(loaded.validate("here"));
        CHECK(loaded.params() == space.params());
        CHECK(same_rows(space, loaded));
        CHECK(same_bits(scores(space, floats(rows, 3)), scores(loaded, floats(rows, 3))));
        loaded.overwrite(3, view_of<T>(rows)[4]);
        loaded.append(view_of<T>(rows).slice(0, 2));
        CHECK_NOTHROW(loaded.validate("here"));
        CHECK(loaded.distance(3, 4) == loaded.distance(4, 4));
        CHECK(loaded.distance(50, 1) == loaded.distance(0, 1));
    });
}

TEST_CASE("files whose pq codes make no sense are refused", "[space][pq]") {
    using S = PqSpace<L2, float>;
    std::string params = "m=2,bits=4,opq=true";
    std::vector<std::uint8_t> codes(64, 0x53);
    std::vector<float> codebooks(4 * 16, 0.5f), rotation(16, 0.0f);
    for (std::size_t i = 0; i < 4; ++i) rotation[5 * i] = 1.0f;
    FileInfo info;
    info.kind = "test";
    info.space = "l2/pq";
    info.count = 10;
    info.dim = 4;
    const auto validated = [&] {
        SectionWriter writer(info);
        writer.add_text("pq_params", params);
        writer.add("pq_codebooks", std::span<const float>(codebooks));
        if (!rotation.empty()) writer.add("pq_rotation", std::span<const float>(rotation));
        writer.add("pq_codes", std::span<const std::uint8_t>(codes));
        const auto bytes = writer.to_bytes();
        AlignedBuffer<std::byte> aligned(bytes.size());
        std::memcpy(aligned.data(), bytes.data(), bytes.size());
        const SectionReader reader(std::span<const std::byte>(aligned.data(), bytes.size()), "file");
        const S space = S::load(reader);
        scores(space, std::vector<float>(4, 0.5f));
        space.validate("file");
    };
    const float not_a_number = std::numeric_limits<float>::quiet_NaN();
    CHECK_NOTHROW(validated());
    SECTION("parameters") {
        for (const char* bad : {"m=5,bits=4", "m=0,bits=4", "m=2,bits=6", "m=2,bits=40", "m=x", "m", "m=2,m=2"}) {
            params = bad;
            check_error(ErrorCode::corrupt, {"file", "pq_params"}, validated);
        }
        params = "m=2,bits=4,colour=3";
        check_error(ErrorCode::version, {"file", "colour"}, validated);
    }
    SECTION("codebooks") {
        codebooks[33] = not_a_number;
        check_error(ErrorCode::corrupt, {"pq_codebooks", "33"}, validated);
        codebooks.pop_back();
        check_error(ErrorCode::corrupt, {"pq_codebooks"}, validated);
    }
    SECTION("8 bits where there are 4") {
        params = "m=2,bits=8,opq=true";
        check_error(ErrorCode::corrupt, {"pq_codebooks"}, validated);
    }
    SECTION("codes") {
        codes.pop_back();
        check_error(ErrorCode::corrupt, {"pq_codes"}, validated);
    }
    SECTION("rotation") {
        rotation[6] = 0.25f;
        check_error(ErrorCode::corrupt, {"pq_rotation"}, validated);
        rotation[6] = not_a_number;
        check_error(ErrorCode::corrupt, {"pq_rotation"}, validated);
        rotation.pop_back();
        check_error(ErrorCode::corrupt, {"pq_rotation"}, validated);
        rotation.clear();
        check_error(ErrorCode::not_found, {"pq_rotation"}, validated);
    }
    SECTION("dimensions") {
        info.dim = 0;
        check_error(ErrorCode::corrupt, {"at least 1"}, validated);
    }
    SECTION("rows") {
        info.count = 33;
        check_error(ErrorCode::corrupt, {"pq_codes"}, validated);
    }
}
