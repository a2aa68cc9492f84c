// SPDX-License-Identifier: Apache-2.0
//
// Spaces of 8-bit codes: a scorer's shapes agree with each other and with the distance of two rows to the bit,
// distances are near those of the rows, and what is kept beside the codes follows every change.
#include "kith/space/sq8_space.hpp"

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

template <class S>
struct Type { using type = S; };

template <class Check>
void for_each_space(Check check) {
    const auto one = [&]<class S>(Type<S> type) {
        INFO("space " << S::type_label() << " of " << name(element_traits<typename S::element_type>::type));
        check(type);
    };
    one(Type<Sq8Space<L2, float>>{});
    one(Type<Sq8Space<Euclidean, BFloat16>>{});
    one(Type<Sq8Space<L1, Half>>{});
    one(Type<Sq8Space<Cosine, float>>{});
    one(Type<Sq8Space<Cosine, Half>>{});
    one(Type<Sq8Space<InnerProduct, float>>{});
}

template <class D>
bool same_bits(const std::vector<D>& a, const std::vector<D>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(D)) == 0;
}

template <class S>
bool same_rows(const S& a, const S& b) {
    if (a.size() != b.size() || a.dim() != b.dim()) return false;
    for (Slot slot = 0; slot < a.size(); ++slot)
        if (std::memcmp(a.codes().rows().row(slot), b.codes().rows().row(slot), a.dim()) != 0) return false;
    return true;
}

template <class S>
std::vector<typename S::distance_type> scores(const S& space, std::span<const float> query) {
    typename S::scorer_scratch scratch;
    const auto scorer = space.scorer(query, scratch);
    std::vector<typename S::distance_type> one(space.size());
    for (Slot slot = 0; slot < space.size(); ++slot) one[slot] = scorer(slot);
    return one;
}

/// A scorer's three shapes.
template <class S>
void check_shapes(const S& space, std::span<const float> query) {
    using D = typename S::distance_type;
    const std::size_t n = space.size();
    typename S::scorer_scratch scratch;
    const auto scorer = space.scorer(query, scratch);
    const auto one = scores(space, query);
    std::vector<D> run(n);
    for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, n / 2, n - 1}) {
        scorer.run(0, cut, run.data());
        scorer.run(cut, n - cut, run.data() + cut);
        CHECK(same_bits(one, run));
    }
    std::vector<Slot> slots(n);
    std::vector<D> gathered(n), expected(n);
    for (std::size_t i = 0; i < n; ++i) {
        slots[i] = static_cast<Slot>(i * 37 % n);
        expected[i] = one[slots[i]];
    }
    scorer.gather(slots, gathered.data());
    CHECK(same_bits(gathered, expected));
}

std::vector<float> floats(const Vectors& rows, std::size_t row) {
    std::vector<float> out(rows.cols());
    for (std::size_t d = 0; d < rows.cols(); ++d) out[d] = static_cast<float>(rows.value(row, d));
    return out;
}

/// How far a reported number may be from the truth: what quantising moves a row and a query, in this metric.
template <class S>
double allowed_error(const S& space, double truth, const Vectors& rows) {
    constexpr std::string_view metric = S::metric_type::name;
    const auto d = static_cast<double>(space.dim());
    const double moved = 2 * 0.75 * static_cast<double>(space.codec().step()) * std::sqrt(d);  // both ends; a few values are clipped
    double largest = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) largest = std::max(largest, std::sqrt(reference_distance("l2", rows, i, rows, 0)) + 1);
    if (metric == "l1") return moved * std::sqrt(d);
    if (metric == "euclidean") return moved;
    if (metric == "cosine") return moved * 1.5;
    if (metric == "l2") return 2 * std::sqrt(truth) * moved + moved * moved;
    return moved * largest * 2;
}

}  // namespace

TEST_CASE("codes: scorer(slot), gather, run and distance agree to the bit; a decoded row is its row", "[space][sq8]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        STATIC_REQUIRE(Space<S>);
        STATIC_REQUIRE(GrowableSpace<S>);
        STATIC_REQUIRE(PersistableSpace<S>);
        for (const std::size_t d : {1, 16, 33, 100})
            for (const std::size_t n : {2, 130}) {
                CAPTURE(d, n);
                const auto rows = Vectors::normal(element_traits<T>::type, n, d, d + n, 0.7);
                const auto space = S::train_and_encode(view_of<T>(rows));
                REQUIRE(space.size() == n);
                REQUIRE(space.dim() == d);
                REQUIRE(space.row_bytes() == d);
                std::vector<float> query(d);
                for (const Slot row : {Slot{0}, static_cast<Slot>(n / 2)}) {
                    space.read_query(row, query);
                    std::vector<typename S::distance_type> pairs(n);
                    for (Slot slot = 0; slot < n; ++slot) {
                        pairs[slot] = space.distance(row, slot);
                        CHECK(pairs[slot] == space.distance(slot, row));
                    }
                    CHECK(same_bits(scores(space, query), pairs));
                    check_shapes(space, query);
                }
                check_shapes(space, floats(Vectors::normal(ElementType::f32, 1, d, 99), 0));
            }
    });
}

TEST_CASE("codes: reported distances are near those of the rows", "[space][sq8]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        constexpr std::string_view metric = S::metric_type::name;
        const auto rows = Vectors::normal(element_traits<T>::type, 400, 48, 3, 0.3);
        const auto queries = Vectors::normal(ElementType::f32, 10, 48, 4, 0.3);
        const auto space = S::train_and_encode(view_of<T>(rows));
        std::size_t wrong = 0, unordered = 0;
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            const auto found = scores(space, floats(queries, j));
            for (std::size_t i = 0; i < rows.rows(); ++i) {
                const double truth = reference_distance(metric, queries, j, rows, i);
                const double reported = space.report(static_cast<double>(found[i]));
                wrong += std::abs(reported - truth) > allowed_error(space, truth, rows) ? 1 : 0;
                CHECK(space.internal(reported) == Approx(static_cast<double>(found[i])).margin(1e-3));
                for (const std::size_t k : {std::size_t{0}, std::size_t{200}}) {  // far apart in truth: in that order
                    const double other = reference_distance(metric, queries, j, rows, k);
                    const double gap = (is_similarity(metric) ? -1 : 1) * (other - truth);
                    if (gap > 2 * allowed_error(space, std::max(truth, other), rows)) unordered += found[i] < found[k] ? 0 : 1;
                }
            }
        }
        CHECK(wrong == 0);
        CHECK(unordered == 0);
    });
}

TEST_CASE("codes of rows that are appended, overwritten, moved and cut off", "[space][sq8]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 600, 20, 5, 0.5);
        const auto view = view_of<T>(rows);
        const auto trained = S::train_and_encode(view);
        CHECK_NOTHROW(trained.validate("here"));
        S space(trained.codec());
        CHECK(space.size() == 0);
        space.append(view.slice(0, 10));
        space.append(view.slice(10, 590));
        CHECK(same_rows(space, trained));
        space.own_rows();
        space.move_row(599, 3);
        space.overwrite(7, view[500]);
        space.truncate(300);
        CHECK_NOTHROW(space.validate("here"));
        Vectors expected = Vectors::fill(rows.type(), 300, 20, [&](std::size_t i) {
            const std::size_t row = i / 20;
            return rows.value(row == 3 ? 599 : row == 7 ? 500 : row, i % 20);
        });
        S other(trained.codec());
        other.append(view_of<T>(expected));
        CHECK(same_rows(space, other));
        const auto query = floats(rows, 11);
        CHECK(same_bits(scores(space, query), scores(other, query)));
        check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.overwrite(0, view[1].first(19)); });
        check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.append({view.data(), 3, 19, 20}); });
        check_error(ErrorCode::invalid_argument, {"300"}, [&] { space.overwrite(300, view[1]); });
        CHECK(same_rows(space, other));
        CHECK_NOTHROW(space.validate("here"));
    });
}

TEST_CASE("codes do not depend on the number of threads", "[space][sq8]") {
    const auto rows = Vectors::normal(ElementType::f32, 3000, 12, 6);
    ThreadPool pool(3);
    const auto a = Sq8Space<Cosine, float>::train_and_encode(view_of<float>(rows));
    const auto b = Sq8Space<Cosine, float>::train_and_encode(view_of<float>(rows), pool);
    CHECK(a.codec().step() == b.codec().step());
    CHECK(same_rows(a, b));
    // Codes given with a codec are taken as they are.
    const Sq8Space<Cosine, float> c(a.codec(), Rows<std::uint8_t>::copy(a.codes().rows().view()));
    CHECK(same_rows(a, c));
    CHECK_NOTHROW(c.validate("here"));
    using S = Sq8Space<InnerProduct, float>;
    const auto ip = S::train_and_encode(view_of<float>(rows), pool);
    const S copy(ip.codec(), Rows<std::int8_t>::copy(ip.codes().rows().view()));
    CHECK_NOTHROW(copy.validate("here"));
    CHECK(same_bits(scores(ip, floats(rows, 0)), scores(copy, floats(rows, 0))));
}

TEST_CASE("cosine: lengths do not matter, and a row without direction is in nobody's way", "[space][sq8]") {
    auto rows = Vectors::normal(ElementType::f32, 100, 16, 7, 0.8);  // most point the same way
    for (std::size_t d = 0; d < 16; ++d) {
        rows.set(1, d, 0);
        rows.set(2, d, 100 * rows.value(3, d));
    }
    const auto space = Sq8Space<Cosine, float>::train_and_encode(view_of<float>(rows));
    for (Slot slot = 4; slot < 100; ++slot) {
        CHECK(space.distance(2, slot) == space.distance(3, slot));
        CHECK(space.report(space.distance(slot, 1)) > 1.0);
    }
    auto query = floats(rows, 50);
    const auto near = scores(space, query);
    for (float& x : query) x *= 1e-3f;
    CHECK(same_bits(near, scores(space, query)));
    std::vector<float> decoded(16);
    space.read_query(1, decoded);
    CHECK(scores(space, decoded)[1] == 0);
    CHECK_NOTHROW(scores(space, std::vector<float>(16, 0.0f)));
    const std::vector<float> zeros(32, 0.0f);
    CHECK_NOTHROW(Sq8Space<Cosine, float>::train_and_encode({zeros.data(), 2, 16}).validate("here"));
}

TEST_CASE("ip: a zero query is as far from all, a centre far from zero costs no precision", "[space][sq8]") {
    const auto rows = Vectors::normal(ElementType::f32, 200, 32, 8, 50.0);
    const auto space = Sq8Space<InnerProduct, float>::train_and_encode(view_of<float>(rows));
    for (const float distance : scores(space, std::vector<float>(32, 0.0f))) CHECK(distance == 0.0f);
    CHECK(space.codec().step() < 0.06f);
    const auto queries = Vectors::normal(ElementType::f32, 1, 32, 9);
    const auto found = scores(space, floats(queries, 0));
    for (std::size_t i = 0; i < 200; ++i)
        CHECK(space.report(static_cast<double>(found[i])) == Approx(reference_distance("ip", queries, 0, rows, i)).margin(0.6));
}

TEST_CASE("codes are saved and loaded, and stay in the file", "[space][sq8]") {
    const TempDir dir;
    for_each_space([&](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 50, 24, 10);
        const auto space = S::train_and_encode(view_of<T>(rows));
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
        CHECK(loaded.codes().rows().kind() == RowsKind::mapped);
        CHECK_NOTHROW(loaded.validate("here"));
        CHECK(same_rows(space, loaded));
        CHECK(same_bits(scores(space, floats(rows, 3)), scores(loaded, floats(rows, 3))));
        loaded.overwrite(3, view_of<T>(rows)[4]);
        loaded.append(view_of<T>(rows).slice(0, 2));
        CHECK_NOTHROW(loaded.validate("here"));
        CHECK(loaded.distance(3, 4) == loaded.distance(4, 4));
    });
}

TEST_CASE("files whose codes make no sense are refused", "[space][sq8]") {
    using S = Sq8Space<L2, float>;
    std::vector<std::uint8_t> codes(10 * 4, 3);
    std::vector<std::int32_t> norms(10, 36);
    std::vector<float> centres(4, 0.5f);
    std::vector<float> step(1, 0.25f);
    FileInfo info;
    info.kind = "test";
    info.space = "l2/sq8";
    info.count = 10;
    info.dim = 4;
    const auto validated = [&] {
        SectionWriter writer(info);
        writer.add("sq8_centres", std::span<const float>(centres));
        if (!step.empty()) writer.add("sq8_step", std::span<const float>(step));
        writer.add("sq8_codes", std::span<const std::uint8_t>(codes));
        writer.add("sq8_norms", std::span<const std::int32_t>(norms));
        const auto bytes = writer.to_bytes();
        AlignedBuffer<std::byte> aligned(bytes.size());
        std::memcpy(aligned.data(), bytes.data(), bytes.size());
        const SectionReader reader(std::span<const std::byte>(aligned.data(), bytes.size()), "file");
        const S space = S::load(reader);
        const std::vector<float> query(4, 0.5f);
        scores(space, query);
        space.validate("file");
    };
    CHECK_NOTHROW(validated());
    const float nan = std::numeric_limits<float>::quiet_NaN();
    SECTION("step") {
        for (const float bad : {0.0f, -1.0f, nan, std::numeric_limits<float>::infinity(), 1e-42f}) {
            step[0] = bad;
            check_error(ErrorCode::corrupt, {"file", "sq8_step"}, validated);
        }
    }
    SECTION("no step") {
        step.clear();
        check_error(ErrorCode::not_found, {"sq8_step"}, validated);
    }
    SECTION("two steps") {
        step.push_back(1);
        check_error(ErrorCode::corrupt, {"sq8_step"}, validated);
    }
    SECTION("centre") {
        centres[2] = nan;
        check_error(ErrorCode::corrupt, {"sq8_centres", "2"}, validated);
    }
    SECTION("centres") {
        centres.pop_back();
        check_error(ErrorCode::corrupt, {"sq8_centres"}, validated);
    }
    SECTION("codes") {
        codes.pop_back();
        check_error(ErrorCode::corrupt, {"sq8_codes"}, validated);
    }
    SECTION("norms") {
        norms[7] = 35;
        check_error(ErrorCode::corrupt, {"sq8_norms", "row 7"}, validated);
    }
    SECTION("dimensions") {
        info.dim = 0;
        check_error(ErrorCode::corrupt, {"dimension"}, validated);
    }
}
