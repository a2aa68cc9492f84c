// SPDX-License-Identifier: Apache-2.0
//
// Spaces of 4-bit codes: what holds for those of 8 bits, rows of bytes, and how little a query loses, being
// quantised finer.
#include "kith/space/sq4_space.hpp"

#include <cstring>
#include <limits>
#include <vector>

#include "kith/index/flat.hpp"
#include "kith/index/keyed.hpp"
#include "kith/index/refine.hpp"
#include "space/scalar.hpp"

namespace {

using namespace scalar;  // NOLINT

template <class Check>
void for_each_space(Check check) {
    const auto one = [&]<class S>(Type<S> type) {
        INFO("space " << S::type_label() << " of " << name(element_traits<typename S::element_type>::type));
        check(type);
    };
    one(Type<Sq4Space<L2, float>>{});
    one(Type<Sq4Space<L2, std::uint8_t>>{});
    one(Type<Sq4Space<Euclidean, BFloat16>>{});
    one(Type<Sq4Space<Cosine, float>>{});
    one(Type<Sq4Space<Cosine, Half>>{});
    one(Type<Sq4Space<InnerProduct, float>>{});
}

}  // namespace

TEST_CASE("codes of 4 bits: scorer(slot), gather, run and distance agree to the bit; a decoded row is its row", "[space][sq4]") {
    for_each_space([]<class S>(Type<S>) { check_agreement<S>([](std::size_t d) { return (d + 1) / 2; }); });
}

TEST_CASE("codes of 4 bits: reported distances are near those of the rows", "[space][sq4][quality]") {
    for_each_space([]<class S>(Type<S>) { check_distances<S>(); });
}

TEST_CASE("codes of 4 bits of rows that are appended, overwritten, moved and cut off", "[space][sq4]") {
    for_each_space([]<class S>(Type<S>) { check_changes<S>(); });
}

TEST_CASE("codes of 4 bits are saved and loaded, and stay in the file", "[space][sq4]") {
    for_each_space([]<class S>(Type<S>) { check_file<S>(); });
}

TEST_CASE("codes of 4 bits do not depend on the number of threads", "[space][sq4]") {
    const auto rows = some_rows<float>(3000, 13, 6, 0);
    ThreadPool pool(3);
    const auto a = Sq4Space<Cosine, float>::train_and_encode(view_of<float>(rows));
    const auto b = Sq4Space<Cosine, float>::train_and_encode(view_of<float>(rows), pool);
    CHECK(a.codec().step() == b.codec().step());
    CHECK(same_rows(a, b));
    // Packed codes given with a codec are taken as they are.
    using S = Sq4Space<InnerProduct, float>;
    const auto ip = S::train_and_encode(view_of<float>(rows), pool);
    const S copy(ip.codec(), Rows<std::uint8_t>::copy(ip.codes().rows().view()));
    CHECK_NOTHROW(copy.validate("here"));
    CHECK(same_bits(scores(ip, query_row<S>(rows, 0)), scores(copy, query_row<S>(rows, 0))));
    check_error(ErrorCode::dimension_mismatch, {"7", "6"}, [&] { S(ip.codec(), Rows<std::uint8_t>(6)); });
}

TEST_CASE("codes of 4 bits: what a query loses is little beside what rows lose", "[space][sq4]") {
    using S = Sq4Space<L2, float>;
    const std::size_t n = 500, d = 96;
    const auto rows = some_rows<float>(n, d, 21, 0);
    const auto queries = some_rows<float>(5, d, 22, 0);
    const auto space = S::train_and_encode(view_of<float>(rows));
    std::vector<float> decoded(d);
    double lost = 0, coded = 0;
    for (std::size_t j = 0; j < queries.rows(); ++j) {
        const auto query = query_row<S>(queries, j);
        const auto found = scores(space, query);
        for (Slot slot = 0; slot < n; ++slot) {
            space.read_query(slot, decoded);
            double exact = 0;  // of the query as it is from the row as it is kept
            for (std::size_t i = 0; i < d; ++i) {
                const double off = static_cast<double>(query[i]) - static_cast<double>(decoded[i]);
                exact += off * off;
            }
            const double truth = reference_distance("l2", queries, j, rows, slot);
            lost += std::pow(space.report(found[slot]) - exact, 2);
            coded += std::pow(exact - truth, 2);
        }
    }
    CHECK(lost < coded / 8);
}

TEST_CASE("codes of 4 bits under ip: the centre costs no precision; a zero query is as far from all", "[space][sq4]") {
    using S = Sq4Space<InnerProduct, float>;
    const auto rows = some_rows<float>(200, 33, 8, 50.0);
    const auto space = S::train_and_encode(view_of<float>(rows));
    for (const float distance : scores(space, std::vector<float>(33, 0.0f))) CHECK(distance == 0.0f);
    CHECK(space.codec().step() < 0.6f);
    const auto queries = some_rows<float>(1, 33, 9, 0);
    const auto found = scores(space, query_row<S>(queries, 0));
    for (std::size_t i = 0; i < 200; ++i)
        CHECK(space.report(static_cast<double>(found[i])) == Approx(reference_distance("ip", queries, 0, rows, i)).margin(5));
}

TEST_CASE("rows of bytes in 4 bits: few values are exact, decoded rows are bytes that have their own codes", "[space][sq4]") {
    using S = Sq4Space<L2, std::uint8_t>;
    const auto few = Vectors::fill(ElementType::u8, 300, 17, [random = Random(31)](std::size_t i) { return 40.0 + static_cast<double>(random.below(i, 9)); });
    const auto exact = S::train_and_encode(view_of<std::uint8_t>(few));
    CHECK(exact.codec().step() == 1.0f);
    const auto found = scores(exact, query_row<S>(few, 5));
    for (std::size_t i = 0; i < 300; ++i) CHECK(exact.report(found[i]) == reference_distance("l2", few, 5, few, i));

    for (const double spread : {0.4, 3.0, 9.0, 60.0}) {
        CAPTURE(spread);
        const auto rows = Vectors::fill(ElementType::u8, 400, 31, [=, random = Random(32)](std::size_t i) {
            return std::clamp(std::abs(spread * random.normal(i)), 0.0, 255.0);
        });
        const auto space = S::train_and_encode(view_of<std::uint8_t>(rows));
        CHECK(space.codec().step() >= 1.0f);
        std::vector<std::uint8_t> decoded(31);
        for (Slot slot = 0; slot < 400; slot += 7) {
            space.read_query(slot, decoded);
            const auto near = scores(space, decoded);
            CHECK(near[slot] == 0);
            for (Slot other = 0; other < 400; ++other)
                if (near[other] != space.distance(slot, other)) FAIL("rows " << slot << " and " << other);
        }
    }
}

TEST_CASE("rows of bytes are found by 4 bits and scored exactly", "[space][sq4]") {
    using I = Refine<Flat<Sq4Space<L2, std::uint8_t>>>;
    const auto rows = some_rows<std::uint8_t>(500, 40, 41, 0);
    const auto index = Keyed(I::build(I::space_type(Rows<std::uint8_t>::borrow(view_of<std::uint8_t>(rows)))));
    I::search_params params;
    params.refine = 10;
    const auto queries = some_rows<std::uint8_t>(20, 40, 42, 0);
    const auto found = index.search(view_of<std::uint8_t>(queries), 5, params);
    const auto truth = Keyed(Flat(I::space_type(Rows<std::uint8_t>::borrow(view_of<std::uint8_t>(rows))))).search(view_of<std::uint8_t>(queries), 5);
    for (std::size_t j = 0; j < queries.rows(); ++j)
        for (std::size_t r = 0; r < 5; ++r) {
            CHECK(found.ids(j)[r] == truth.ids(j)[r]);
            CHECK(found.distances(j)[r] == truth.distances(j)[r]);
        }
}

TEST_CASE("files whose 4-bit codes make no sense are refused", "[space][sq4]") {
    using S = Sq4Space<L2, float>;
    std::vector<std::uint8_t> codes(10 * 3, 0x83);
    std::vector<float> centres(5, 0.5f);
    std::vector<float> step(1, 0.25f);
    FileInfo info;
    info.kind = "test";
    info.space = "l2/sq4";
    info.count = 10;
    info.dim = 5;
    const auto validated = [&] {
        SectionWriter writer(info);
        writer.add("sq4_centres", std::span<const float>(centres));
        if (!step.empty()) writer.add("sq4_step", std::span<const float>(step));
        writer.add("sq4_codes", std::span<const std::uint8_t>(codes));
        const auto bytes = writer.to_bytes();
        AlignedBuffer<std::byte> aligned(bytes.size());
        std::memcpy(aligned.data(), bytes.data(), bytes.size());
        const SectionReader reader(std::span<const std::byte>(aligned.data(), bytes.size()), "file");
        const S space = S::load(reader);
        const std::vector<float> query(5, 0.5f);
        scores(space, query);
        space.validate("file");
    };
    CHECK_NOTHROW(validated());
    const float nan = std::numeric_limits<float>::quiet_NaN();
    SECTION("step") {
        for (const float bad : {0.0f, -1.0f, nan, std::numeric_limits<float>::infinity(), 1e-42f}) {
            step[0] = bad;
            check_error(ErrorCode::corrupt, {"file", "sq4_step"}, validated);
        }
    }
    SECTION("no step") {
        step.clear();
        check_error(ErrorCode::not_found, {"sq4_step"}, validated);
    }
    SECTION("two steps") {
        step.push_back(1);
        check_error(ErrorCode::corrupt, {"sq4_step"}, validated);
    }
    SECTION("centre") {
        centres[2] = nan;
        check_error(ErrorCode::corrupt, {"sq4_centres", "2"}, validated);
    }
    SECTION("centres") {
        centres.pop_back();
        check_error(ErrorCode::corrupt, {"sq4_centres"}, validated);
    }
    SECTION("codes") {
        codes.pop_back();
        check_error(ErrorCode::corrupt, {"sq4_codes"}, validated);
    }
    SECTION("behind the end") {
        codes[7 * 3 + 2] = 0x73;
        check_error(ErrorCode::corrupt, {"sq4_codes", "row 7"}, validated);
    }
    SECTION("dimensions") {
        info.dim = 0;
        check_error(ErrorCode::corrupt, {"dimension"}, validated);
    }
}
