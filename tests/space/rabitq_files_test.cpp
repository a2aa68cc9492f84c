// SPDX-License-Identifier: Apache-2.0
//
// Files of RaBitQ codes: they load to what was saved and stay mapped; what cannot be is refused, and nothing that a file says is trusted.
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kith/space/rabitq_space.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

MatrixView<const float> view_of(const Vectors& vectors) {
    const auto matrix = vectors.view();
    return {static_cast<const float*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

template <class S>
std::vector<float> scores(const S& space, std::span<const float> query) {
    typename S::scorer_scratch scratch;
    std::vector<float> out(space.size());
    space.scorer(query, scratch).run(0, out.size(), out.data());
    return out;
}

template <class S>
void check_round_trip() {
    const TempDir dir;
    for (std::uint32_t bits = 1; bits <= 8; ++bits) {
        const auto rows = Vectors::normal(ElementType::f32, 50, 24, 10);
        const auto space = S::train_and_encode(view_of(rows), {.bits = bits}, inline_executor(), 77);
        FileInfo info;
        info.kind = "test";
        info.space = space.label();
        info.count = 50;
        info.dim = 24;
        SectionWriter writer(info);
        space.save(writer);
        const auto path = dir.path() / ("codes" + std::to_string(bits));
        writer.write(path);
        const SectionReader reader(path);
        reader.require_known(S::section_names());
        S loaded = S::load(reader);
        CHECK(loaded.rows().kind() == RowsKind::mapped);
        CHECK(loaded.params() == space.params());
        CHECK_NOTHROW(loaded.validate("here"));
        const std::vector<float> query(24, 0.3f);
        CHECK(scores(loaded, query) == scores(space, query));
        CHECK(loaded.distance(3, 9) == space.distance(3, 9));
        loaded.overwrite(3, view_of(rows)[4]);
        loaded.append(view_of(rows).slice(4, 1));
        CHECK_NOTHROW(loaded.validate("here"));
        const auto found = scores(loaded, query);
        CHECK((found[3] == found[4] && found[50] == found[4]));
    }
}

}  // namespace

TEST_CASE("rabitq: codes are saved and loaded, and stay in the file", "[space][rabitq]") {
    check_round_trip<RabitqSpace<L2, float>>();
    check_round_trip<RabitqSpace<Cosine, float>>();
    check_round_trip<RabitqSpace<InnerProduct, float>>();
}

TEST_CASE("rabitq: files whose codes make no sense are refused", "[space][rabitq]") {
    using S = RabitqSpace<InnerProduct, float>;
    constexpr std::size_t bytes = 12 + 16 + 4;
    std::vector<std::uint8_t> rows(10 * bytes, 0xA7);  // any code can be
    const auto put = [&](std::size_t row, std::size_t at, float x) { std::memcpy(rows.data() + row * bytes + at, &x, sizeof x); };
    for (std::size_t row = 0; row < 10; ++row) {
        put(row, 0, -3.0f);
        put(row, 4, 0.5f);
        put(row, 8, 0.99f);
        put(row, 28, 2.0f);
    }
    std::vector<float> centre(4, 0.5f);
    std::vector<std::uint64_t> seed{~std::uint64_t{0}};
    std::string params = "bits=4";
    FileInfo info;
    info.kind = "test";
    info.space = "ip/rabitq";
    info.count = 10;
    info.dim = 4;
    const auto validated = [&] {
        SectionWriter writer(info);
        writer.add_text("rabitq_params", params);
        if (!seed.empty()) writer.add("rabitq_seed", std::span<const std::uint64_t>(seed));
        writer.add("rabitq_centre", std::span<const float>(centre));
        writer.add("rabitq_rows", std::span<const std::uint8_t>(rows));
        const auto file = writer.to_bytes();
        AlignedBuffer<std::byte> aligned(file.size());
        std::memcpy(aligned.data(), file.data(), file.size());
        const SectionReader reader(std::span<const std::byte>(aligned.data(), file.size()), "file");
        const S space = S::load(reader);
        const std::vector<float> query(4, 0.5f);
        scores(space, query);
        std::vector<float> decoded(4);
        for (Slot slot = 0; slot < space.size(); ++slot) {
            (void)space.distance(0, slot);
            space.read_query(slot, decoded);
        }
        space.validate("file");
    };
    CHECK_NOTHROW(validated());
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    SECTION("factors") {
        const auto refused = [&](std::size_t at, std::vector<float> bad, float good) {
            for (const float x : bad) {
                put(7, at, x);
                check_error(ErrorCode::corrupt, {"file", "rabitq_rows", "row 7"}, validated);
                put(7, at, good);
            }
        };
        refused(0, {nan, infinity}, 1.0f);
        refused(4, {nan, infinity, -1.0f}, 1.0f);
        refused(8, {nan, infinity, 0.0f, -0.5f, 1.5f}, 1.0f);
        refused(28, {nan, infinity, -1.0f}, 1.0f);
        CHECK_NOTHROW(validated());
    }
    SECTION("bits") {
        for (const auto* bad : {"bits=0", "bits=9", "bits=-4", "bits=4.5", "bits=x", "bits", "bits=3", "bits=4,bits=4"}) {
            params = bad;
            check_error(ErrorCode::corrupt, {"file", bad == std::string("bits=3") ? "rabitq_rows" : "rabitq_params"}, validated);
        }
        params = "bits=4,speed=1";
        check_error(ErrorCode::version, {"speed"}, validated);
    }
    SECTION("seed") {
        seed.clear();
        check_error(ErrorCode::not_found, {"rabitq_seed"}, validated);
        seed = {1, 2};
        check_error(ErrorCode::corrupt, {"rabitq_seed"}, validated);
    }
    SECTION("centre") {
        centre[2] = nan;
        check_error(ErrorCode::corrupt, {"rabitq_centre", "2"}, validated);
        centre.pop_back();
        check_error(ErrorCode::corrupt, {"rabitq_centre"}, validated);
    }
    SECTION("rows") {
        rows.pop_back();
        check_error(ErrorCode::corrupt, {"rabitq_rows"}, validated);
    }
    SECTION("dimensions") {
        for (const std::uint32_t dim : {0u, 5u, 40u, 33025u, 4000000000u}) {
            info.dim = dim;
            check_error(ErrorCode::corrupt, {"file"}, validated);
        }
    }
}
