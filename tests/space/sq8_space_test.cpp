// SPDX-License-Identifier: Apache-2.0
//
// Spaces of 8-bit codes: a scorer's shapes agree with each other and with the distance of two rows to the bit,
// distances are near those of the rows, and what is kept beside the codes follows every change.
#include "kith/space/sq8_space.hpp"

#include <cstring>
#include <limits>
#include <vector>

#include "space/scalar.hpp"

namespace {

using namespace scalar;  // NOLINT

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

std::vector<float> floats(const Vectors& rows, std::size_t row) { return query_row<Sq8Space<L2, float>>(rows, row); }

}  // namespace

TEST_CASE("codes: scorer(slot), gather, run and distance agree to the bit; a decoded row is its row", "[space][sq8]") {
    for_each_space([]<class S>(Type<S>) { check_agreement<S>([](std::size_t d) { return d; }); });
}

TEST_CASE("codes: reported distances are near those of the rows", "[space][sq8][quality]") {
    for_each_space([]<class S>(Type<S>) { check_distances<S>(); });
}

TEST_CASE("codes of rows that are appended, overwritten, moved and cut off", "[space][sq8]") {
    for_each_space([]<class S>(Type<S>) { check_changes<S>(); });
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
    for_each_space([]<class S>(Type<S>) { check_file<S>(); });
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
