// SPDX-License-Identifier: Apache-2.0
//
// Spaces of RaBitQ codes: a scorer's shapes agree to the bit, estimates are right on average and within their bounds, rows as queries agree with the
// distances of rows, changes keep codes with their rows, and files that make no sense are refused.
#include "kith/space/rabitq_space.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kith/index/flat.hpp"
#include "kith/index/refine.hpp"
#include "support/allocations.hpp"
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
    one(Type<RabitqSpace<L2, float>>{});
    one(Type<RabitqSpace<Euclidean, BFloat16>>{});
    one(Type<RabitqSpace<Cosine, float>>{});
    one(Type<RabitqSpace<Cosine, Half>>{});
    one(Type<RabitqSpace<InnerProduct, float>>{});
}

RabitqParams with(std::uint32_t bits) { return {.bits = bits}; }

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

template <class S>
bool same_rows(const S& a, const S& b) {
    if (a.size() != b.size() || a.row_bytes() != b.row_bytes()) return false;
    for (Slot slot = 0; slot < a.size(); ++slot)
        if (std::memcmp(a.rows().row(slot), b.rows().row(slot), a.row_bytes()) != 0) return false;
    return true;
}

std::vector<float> all_of(const RabitqScorer& scorer, std::size_t n) {
    std::vector<float> one(n);
    for (Slot slot = 0; slot < n; ++slot) one[slot] = scorer(slot);
    return one;
}

template <class S>
std::vector<float> scores(const S& space, std::span<const float> query) {
    typename S::scorer_scratch scratch;
    return all_of(space.scorer(query, scratch), space.size());
}

void check_shapes(const RabitqScorer& scorer, std::size_t n) {
    const auto one = all_of(scorer, n);
    std::vector<float> run(n);
    for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, n / 2, n - 1}) {
        scorer.run(0, cut, run.data());
        scorer.run(cut, n - cut, run.data() + cut);
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
}

std::vector<float> floats(const Vectors& rows, std::size_t row) {
    std::vector<float> out(rows.cols());
    for (std::size_t d = 0; d < rows.cols(); ++d) out[d] = static_cast<float>(rows.value(row, d));
    return out;
}

std::size_t expected_bytes(std::string_view metric, std::size_t dim, std::size_t bits) {
    return 12 + (dim + 31) / 32 * 4 * bits + (metric == "ip" ? 4 : 0);
}

}  // namespace

TEST_CASE("rabitq: scorer(slot), gather and run agree to the bit; a row as a query says what distance() says", "[space][rabitq]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        STATIC_REQUIRE(Space<S>);
        STATIC_REQUIRE(GrowableSpace<S>);
        STATIC_REQUIRE(PersistableSpace<S>);
        STATIC_REQUIRE(CodecSpace<S>);
        constexpr std::string_view metric = S::metric_type::name;
        for (std::uint32_t bits = 1; bits <= 8; ++bits)
            for (const std::size_t d : {1, 33, 96})
                for (const std::size_t n : {2, 130}) {
                    CAPTURE(bits, d, n);
                    const auto rows = Vectors::normal(element_traits<T>::type, n, d, d + n, 0.7);
                    const auto space = S::train_and_encode(view_of<T>(rows), with(bits));
                    REQUIRE(space.size() == n);
                    REQUIRE(space.dim() == d);
                    REQUIRE(space.row_bytes() == expected_bytes(metric, d, bits));
                    typename S::scorer_scratch scratch;
                    check_shapes(space.scorer(floats(Vectors::normal(ElementType::f32, 1, d, 99), 0), scratch), n);
                    const auto row = static_cast<Slot>(n / 2);
                    const auto scorer = space.row_scorer(row, scratch);
                    check_shapes(scorer, n);
                    const float largest = std::abs(space.distance(0, static_cast<Slot>(n - 1))) + 1;
                    for (Slot slot = 0; slot < n; ++slot) {
                        const float pair = space.distance(row, slot);
                        if (pair != 0) CHECK(pair == scorer(slot));
                        else CHECK(std::abs(scorer(slot)) <= 1e-5f * largest);
                        if (metric == "ip") CHECK(space.distance(slot, row) == Approx(pair).margin(1e-5f * largest));
                        else CHECK(space.distance(slot, row) == pair);
                    }
                    if (metric == "l2") CHECK(space.distance(row, row) == 0);
                    else if (metric == "cosine") CHECK(std::abs(space.distance(row, row)) < 1e-5f);
                }
    });
}

TEST_CASE("rabitq: estimates are right on average, within their bounds, and nearer with each bit", "[space][rabitq]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        constexpr std::string_view metric = S::metric_type::name;
        const auto rows = Vectors::normal(element_traits<T>::type, 300, 80, 3, 0.5);
        const auto queries = Vectors::normal(ElementType::f32, 10, 80, 4, 0.4);
        double before = 1e30;
        for (std::uint32_t bits = 1; bits <= 8; ++bits) {
            CAPTURE(bits);
            const auto space = S::train_and_encode(view_of<T>(rows), with(bits), inline_executor(), 17);
            double sum = 0, squares = 0, bounds = 0;
            std::size_t within = 0;
            typename S::scorer_scratch scratch;
            for (std::size_t j = 0; j < queries.rows(); ++j) {
                const auto query = floats(queries, j);
                const auto scorer = space.scorer(query, scratch);
                for (Slot i = 0; i < rows.rows(); ++i) {
                    const double truth = space.internal(reference_distance(metric, queries, j, rows, i));
                    const double found = static_cast<double>(scorer(i)), bound = static_cast<double>(scorer.bound(i));
                    CHECK(space.internal(space.report(found)) == Approx(metric == "l2" || metric == "euclidean" ? std::max(found, 0.0) : found).margin(1e-5));
                    CHECK(static_cast<double>(scorer.bound(i, 3.8)) == Approx(2 * bound));
                    sum += found - truth;
                    squares += (found - truth) * (found - truth);
                    bounds += bound * bound;
                    within += std::abs(found - truth) <= bound ? 1 : 0;
                }
            }
            const double n = 3000, spread = std::sqrt(squares / n);
            CHECK(std::abs(sum / n) < 0.12 * spread);
            CHECK(static_cast<double>(within) / n > 0.92);
            CHECK(static_cast<double>(within) / n < 0.97);
            CHECK(spread == Approx(std::sqrt(bounds / n) / 1.9).epsilon(0.1));
            CHECK(spread < before / 1.7);
            CHECK(spread > before / 2.5 * (bits == 1 ? 0 : 1));
            before = spread;
        }
    });
}

TEST_CASE("rabitq: a factor that is missing would show", "[space][rabitq]") {
    // All rows near one another and far from the query, so that signs of errors agree: averages over rotations, of one pair.
    const auto rows = Vectors::normal(ElementType::f32, 4, 24, 1);
    const auto query = floats(rows, 0);
    for (std::uint32_t bits = 1; bits <= 4; ++bits) {
        const auto check = [&](auto type, std::string_view metric) {
            using S = typename decltype(type)::type;
            double sum = 0, squares = 0;
            constexpr std::size_t trials = 400;
            const double truth = typename S::metric_type().internal(reference_distance(metric, rows, 0, rows, 1));
            for (std::uint64_t seed = 0; seed < trials; ++seed) {
                const auto space = S::train_and_encode(view_of<float>(rows), with(bits), inline_executor(), seed);
                const double off = static_cast<double>(scores(space, query)[1]) - truth;
                sum += off;
                squares += off * off;
            }
            CAPTURE(bits, metric);
            CHECK(std::abs(sum / trials) < 4 * std::sqrt(squares) / trials);
        };
        check(Type<RabitqSpace<L2, float>>{}, "l2");
        check(Type<RabitqSpace<InnerProduct, float>>{}, "ip");
        check(Type<RabitqSpace<Cosine, float>>{}, "cosine");
    }
}

TEST_CASE("rabitq: codes of rows that are appended, overwritten, moved and cut off", "[space][rabitq]") {
    for_each_space([](auto type) {
        using S = typename decltype(type)::type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 600, 20, 5, 0.5);
        const auto view = view_of<T>(rows);
        for (const std::uint32_t bits : {1u, 4u, 7u}) {
            const auto trained = S::train_and_encode(view, with(bits));
            CHECK_NOTHROW(trained.validate("here"));
            S space(trained.codec());
            CHECK(space.size() == 0);
            space.append(view.slice(0, 10));
            space.append(view.slice(10, 590));
            CHECK(same_rows(space, trained));
            space.own_rows();
            space.move_row(599, 3);
            {
                space.overwrite(7, view[500]);  // grows the scratch for changes of scale
                const std::size_t before = allocation_count();
                space.overwrite(7, view[500]);
                CHECK(allocation_count() == before);
            }
            space.truncate(300);
            CHECK_NOTHROW(space.validate("here"));
            Vectors expected = Vectors::fill(rows.type(), 300, 20, [&](std::size_t i) {
                const std::size_t row = i / 20;
                return rows.value(row == 3 ? 599 : row == 7 ? 500 : row, i % 20);
            });
            S other(trained.codec());
            other.append(view_of<T>(expected));
            CHECK(same_rows(space, other));
            check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.overwrite(0, view[1].first(19)); });
            check_error(ErrorCode::dimension_mismatch, {"20", "19"}, [&] { space.append({view.data(), 3, 19, 20}); });
            check_error(ErrorCode::invalid_argument, {"300"}, [&] { space.overwrite(300, view[1]); });
            CHECK(same_rows(space, other));
        }
    });
}

TEST_CASE("rabitq: codes do not depend on the number of threads, but on the seed", "[space][rabitq]") {
    const auto rows = Vectors::normal(ElementType::f32, 3000, 40, 6);
    ThreadPool pool(3);
    using S = RabitqSpace<InnerProduct, float>;
    const auto a = S::train_and_encode(view_of<float>(rows), with(5));
    const auto b = S::train_and_encode(view_of<float>(rows), with(5), pool);
    const auto c = S::train_and_encode(view_of<float>(rows), with(5), pool, 1);
    CHECK(same_rows(a, b));
    CHECK(!same_rows(a, c));
    CHECK(a.params() == with(5));
}

TEST_CASE("rabitq: a warm scorer allocates nothing", "[space][rabitq]") {
    const auto rows = Vectors::normal(ElementType::f32, 50, 100, 6);
    const auto space = RabitqSpace<Cosine, float>::train_and_encode(view_of<float>(rows), with(8));
    RabitqSpace<Cosine, float>::scorer_scratch scratch;
    const auto query = floats(rows, 3);
    std::vector<float> out(50);
    space.scorer(query, scratch).run(0, 50, out.data());
    (void)space.row_scorer(3, scratch);
    const std::size_t before = allocation_count();
    space.scorer(query, scratch).run(0, 50, out.data());
    space.row_scorer(3, scratch).run(0, 50, out.data());
    (void)space.distance(3, 4);
    CHECK(allocation_count() == before);
}

TEST_CASE("rabitq: rows that are all equal, zero, or constant in most dimensions", "[space][rabitq]") {
    for (std::uint32_t bits = 1; bits <= 8; ++bits)
        for (const std::size_t d : {1u, 5u, 64u}) {
            CAPTURE(bits, d);
            const std::vector<float> zeros(8 * d, 0.0f), threes(8 * d, 3.0f);
            const std::vector<float> query(d, 1.0f);
            using S = RabitqSpace<L2, float>;
            for (const float distance : scores(S::train_and_encode({zeros.data(), 8, d}, with(bits)), query)) CHECK(distance == static_cast<float>(d));
            for (const float distance : scores(S::train_and_encode({threes.data(), 8, d}, with(bits)), query)) CHECK(distance == 4 * static_cast<float>(d));
            const auto same = RabitqSpace<InnerProduct, float>::train_and_encode({threes.data(), 8, d}, with(bits));
            for (const float distance : scores(same, query)) CHECK(distance == Approx(-3 * static_cast<double>(d)));
            const auto angles = RabitqSpace<Cosine, float>::train_and_encode({threes.data(), 8, d}, with(bits));
            for (const float distance : scores(angles, query)) CHECK(distance == Approx(0).margin(1e-5));
            CHECK_NOTHROW(RabitqSpace<Cosine, float>::train_and_encode({zeros.data(), 8, d}, with(bits)).validate("here"));
            // One dimension alone differs: its values are in order.
            auto line = threes;
            for (std::size_t i = 0; i < 8; ++i) line[i * d] = static_cast<float>(i);
            const auto spread = S::train_and_encode({line.data(), 8, d}, with(bits));
            CHECK_NOTHROW(spread.validate("here"));
            const auto found = scores(spread, std::span(line.data(), d));
            if (bits >= 4) CHECK((found[0] < found[2] && found[2] < found[4] && found[4] < found[7]));
        }
    const std::vector<float> one{2.0f, 1.0f};
    const auto single = RabitqSpace<L2, float>::train_and_encode({one.data(), 1, 2}, with(4));
    CHECK(scores(single, one)[0] == 0.0f);
    const auto none = RabitqSpace<L2, float>::train_and_encode({one.data(), 0, 2}, with(4));
    CHECK(none.size() == 0);
    CHECK_NOTHROW(none.validate("here"));
}

TEST_CASE("rabitq: cosine does not notice lengths, and a row or query without direction", "[space][rabitq]") {
    auto rows = Vectors::normal(ElementType::f32, 100, 40, 7, 0.8);  // most point the same way
    for (std::size_t d = 0; d < 40; ++d) {
        rows.set(1, d, 0);
        rows.set(2, d, 128 * rows.value(3, d));
    }
    const auto space = RabitqSpace<Cosine, float>::train_and_encode(view_of<float>(rows), with(6));
    for (Slot slot = 4; slot < 100; ++slot) {
        CHECK(space.distance(2, slot) == space.distance(3, slot));
        CHECK(space.report(static_cast<double>(space.distance(slot, 1))) > 0.9);
    }
    auto query = floats(rows, 50);
    const auto near = scores(space, query);
    CHECK(near[1] > 1.3f);
    for (float& x : query) x *= 0.125f;
    CHECK(same_bits(near, scores(space, query)));
    for (const float distance : scores(space, std::vector<float>(40, 0.0f))) CHECK(distance == 1.0f);
    query[3] = std::numeric_limits<float>::quiet_NaN();
    for (const float distance : scores(space, query)) CHECK(std::isnan(distance));
}

TEST_CASE("rabitq: ip of rows far from zero keeps its precision, whatever the query's length", "[space][rabitq]") {
    const auto rows = Vectors::normal(ElementType::f32, 200, 64, 8, 50.0);
    const auto space = RabitqSpace<InnerProduct, float>::train_and_encode(view_of<float>(rows), with(8));
    for (const float distance : scores(space, std::vector<float>(64, 0.0f))) CHECK(distance == 0.0f);
    const auto queries = Vectors::normal(ElementType::f32, 1, 64, 9, 20);
    const auto found = scores(space, floats(queries, 0));
    for (std::size_t i = 0; i < 200; ++i)
        CHECK(space.report(static_cast<double>(found[i])) == Approx(reference_distance("ip", queries, 0, rows, i)).margin(0.6));
}

TEST_CASE("rabitq: refined searches find the exact neighbours", "[space][rabitq]") {
    const auto rows = Vectors::normal(ElementType::f32, 1000, 32, 12);
    using I = Refine<Flat<RabitqSpace<L2, float>>>;
    const auto index = I::build(DenseSpace<L2, float>(Rows<float>::borrow(view_of<float>(rows))), {}, 0, inline_executor(), {}, with(5));
    CHECK(index.inner().space().params() == with(5));
    I::scratch_type scratch;
    std::size_t right = 0;
    for (std::size_t q = 0; q < 50; ++q) {
        std::vector<Hit<float>> hits(10);
        TopK<float> nearest{std::span(hits)};
        const auto query = floats(Vectors::normal(ElementType::f32, 1, 32, 1000 + q), 0);
        I::search_params params;
        params.refine = 3;
        index.search(query, params, AllowAll{}, scratch, nearest);
        std::vector<Hit<float>> expected(10);
        TopK<float> exact{std::span(expected)};
        const auto scorer = index.space().scorer(query);
        for (Slot slot = 0; slot < 1000; ++slot) exact.offer(slot, scorer(slot));
        const auto found = nearest.sorted(), wanted = exact.sorted();
        for (std::size_t i = 0; i < 10; ++i) right += found[i].slot == wanted[i].slot ? 1 : 0;
    }
    CHECK(right >= 495);
}
