// SPDX-License-Identifier: Apache-2.0
//
// Files of format 1.0 as they were written when it was fixed. Every later version must read them, find in them what is found below, and,
// while it writes format 1.0, write the same bytes. A change of these files is a change of the format: docs/FORMAT.md comes first.
// KITH_GOLDEN=write writes them anew.
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <vector>

#include "kith/any/registry.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

constexpr std::size_t n = 20;
constexpr std::size_t dim = 6;

/// Whole numbers from -6 to 6; row i + 13 equals row i.
double pattern(std::size_t i) {
    const std::size_t row = i / dim;
    const std::size_t col = i % dim;
    return static_cast<double>((row * 5 + col * col * 3 + row * col) % 13) - 6.0;
}

/// 20 rows of halves, no ids.
Vectors float_rows() {
    return Vectors::fill(ElementType::f32, n, dim, [](std::size_t i) { return 0.5 * pattern(i); });
}

/// 20 rows of bytes, one of them zero, with ids; one more was there and is gone.
Vectors byte_rows() {
    return Vectors::fill(ElementType::i8, n, dim, [](std::size_t i) { return i / dim == 11 ? 0.0 : 9.0 * pattern(i); });
}

AnyIndex build_float(const Vectors& rows) { return AnyIndex::build("flat", rows.view(), {.metric = "l2"}); }

AnyIndex build_byte(const Vectors& rows) {
    std::vector<Id> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<Id>((i * 13 + 5) % n * 1000);
    auto index = AnyIndex::build("flat", rows.view(), {.metric = "cosine", .ids = ids});
    index.add(rows.row(0), std::vector<Id>{90000});
    index.remove(std::vector<Id>{90000});
    return index;
}

std::filesystem::path golden(std::string_view name) { return std::filesystem::path(KITH_TEST_DIR) / "golden" / name; }

/// Same bytes, whether built now or loaded and saved again; found in the file as it lies.
void check_golden(std::string_view name, const AnyIndex& built, const std::vector<float>& query, std::string_view spec,
                  const std::vector<Id>& ids, const std::vector<double>& distances) {
    const char* mode = std::getenv("KITH_GOLDEN");
    if (mode != nullptr && std::string_view(mode) == "write") built.save(golden(name));
    INFO(name);
    CHECK(built.to_bytes() == read_bytes(golden(name)));
    REQUIRE_NOTHROW(verify_file(golden(name)));
    for (const bool mmap : {false, true}) {
        const auto loaded = AnyIndex::load(golden(name), {.mmap = mmap});
        CHECK(loaded.spec() == spec);
        CHECK(loaded.size() == n);
        CHECK(loaded.dim() == dim);
        CHECK(loaded.to_bytes() == built.to_bytes());
        const auto found = loaded.search({ElementType::f32, query.data(), 1, dim, dim}, ids.size());
        CHECK(std::vector<Id>(found.ids(0).begin(), found.ids(0).end()) == ids);
        for (std::size_t i = 0; i < ids.size(); ++i) CHECK(static_cast<double>(found.distances(0)[i]) == Approx(distances[i]).epsilon(1e-5));
    }
}

}  // namespace

TEST_CASE("format 1.0: rows of f32 under l2", "[golden]") {
    const auto rows = float_rows();
    const auto index = build_float(rows);
    check_golden("flat-l2-f32-v1.0.kith", index, {0.5f, -1, 0, 2, 1, -0.5f}, "flat over l2/f32", {1, 14, 6, 19, 7, 9},
                 {10.75, 10.75, 12.5, 12.5, 13.0, 13.5});
    auto loaded = AnyIndex::load(golden("flat-l2-f32-v1.0.kith"));
    loaded.add(rows.row(0));
    CHECK(loaded.contains(20));
}

TEST_CASE("format 1.0: rows of i8 under cosine, with ids and the next of them", "[golden]") {
    const auto rows = byte_rows();
    const auto index = build_byte(rows);
    check_golden("flat-cosine-i8-ids-v1.0.kith", index, {3, -1, 0, 5, 2, -4}, "flat over cosine/i8", {4000, 13000, 16000, 3000, 12000, 1000},
                 {0.400681, 0.400681, 0.505587, 0.536890, 0.536890, 0.804248});
    auto loaded = AnyIndex::load(golden("flat-cosine-i8-ids-v1.0.kith"));
    CHECK(loaded.contains(8000));
    CHECK_FALSE(loaded.contains(90000));
    loaded.add(rows.row(0));
    CHECK(loaded.contains(90001));
}
