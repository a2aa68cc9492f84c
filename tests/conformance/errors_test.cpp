// SPDX-License-Identifier: Apache-2.0
//
// Bad input to every index: a clear error that names what was expected and what came, and nothing lost.
#include <cmath>
#include <limits>

#include "conformance/conformance.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace test;  // NOLINT

}  // namespace

TEST_CASE("NaN and infinity are refused in rows and queries") {
    for (const auto& c : combinations()) {
        if (!is_float(c.type)) continue;
        for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL})
            for (const std::size_t row : {std::size_t{0}, std::size_t{57}, std::size_t{99}}) {
                auto base = Vectors::whole(c.type, 100, 19, 1);
                auto index = build(c, base);
                base.set(row, 18, bad);
                const std::string at = " " + std::to_string(row) + " has";
                check_error(ErrorCode::not_finite, {"row" + at, "dimension 18"}, [&] { build(c, base); });
                check_error(ErrorCode::not_finite, {"row" + at}, [&] { index.add(base.view()); });
                REQUIRE(index.size() == 100);
                check_error(ErrorCode::not_finite, {"query" + at}, [&] { index.search(base.view(), 3); });
            }
    }
}

TEST_CASE("rows that are not finite, where allowed, come last; overflow hides nothing") {
    for (const auto& c : combinations()) {
        if (!is_float(c.type)) continue;
        for (const double bad : {std::nan(""), HUGE_VAL, 1e38}) {
            if (bad == 1e38 && c.type == ElementType::f16) continue;
            auto base = Vectors::whole(c.type, 100, 8, 1);
            for (std::size_t col = 0; col < 8; ++col) base.set(40, col, col % 2 == 0 ? bad : -bad);
            const auto index = AnyIndex::build(c.kind.spec, base.view(), {.metric = c.metric, .not_finite = NotFinite::allow});
            for (const std::size_t nq : {1, 33}) {
                const auto queries = Vectors::whole(c.type, nq, 8, 2);
                const auto results = index.search(queries.view(), 100, c.kind.exhaustive);
                INFO(c.name() << " " << bad);
                for (std::size_t q = 0; q < nq; ++q) {
                    REQUIRE(results.count(q) == 100);
                    if (!std::isfinite(bad)) REQUIRE((results.ids(q)[99] == 40 || c.metric == "ip" || c.metric == "cosine"));
                }
            }
        }
    }
}

TEST_CASE("wrong arguments of a search") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 30, 10, 1);
        const auto index = build(c, base);
        const auto narrow = Vectors::whole(c.type, 2, 9, 1);
        check_error(ErrorCode::dimension_mismatch, {"10", "9"}, [&] { index.search(narrow.view(), 3); });
        check_error(ErrorCode::invalid_argument, {"k", "0"}, [&] { index.search(base.view(), 0); });
        check_error(ErrorCode::invalid_argument, {"unknown parameter 'eff'", c.kind.name(), "known: "},
                     [&] { index.search(base.view(), 3, {{"eff", std::int64_t{3}}}); });
        const std::vector<BitsetView> two(2);
        check_error(ErrorCode::invalid_argument, {"filter", "30", "2"}, [&] { index.search(base.view(), 3, {}, two); });
        const auto context = index.context();
        check_error(ErrorCode::invalid_argument, {"NaN"}, [&] {
            index.range_search(base.view(), std::nan(""), {}, {}, inline_executor(), *context);
        });
        check_error(ErrorCode::dimension_mismatch, {"30", "29"}, [&] { index.slots_of_mask(std::vector<std::uint8_t>(29)); });
    }
}

TEST_CASE("queries of another element type are taken when nothing is lost, else refused") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 30, 10, 1);
        const auto index = build(c, base);
        for (const auto type : {ElementType::f32, ElementType::f16, ElementType::bf16, ElementType::i8, ElementType::b1}) {
            if (type == c.type) continue;
            // Values 0..8 exist in all types.
            const auto queries = Vectors::fill(type, 3, 10, [](std::size_t i) { return static_cast<double>(i % 9); });
            if (type == ElementType::b1 || c.type == ElementType::b1) {
                check_error(ErrorCode::type_mismatch, {is_float(c.type) ? "f32" : name(c.type), name(type)}, [&] { index.search(queries.view(), 3); });
                continue;
            }
            const auto same = Vectors::fill(c.type, 3, 10, [](std::size_t i) { return static_cast<double>(i % 9); });
            REQUIRE(identical(index.search(queries.view(), 3), index.search(same.view(), 3)));
        }
        if (c.type == ElementType::u8 || c.type == ElementType::i8)
            for (const double value : {0.5, 256.0, -129.0, 1e20}) {
                const auto queries = Vectors::fill(ElementType::f32, 3, 10, [&](std::size_t i) { return i == 17 ? value : 1.0; });
                check_error(ErrorCode::type_mismatch, {name(c.type), "query 1", "dimension 7"}, [&] { index.search(queries.view(), 3); });
            }
    }
}

TEST_CASE("what cannot be added or removed changes nothing") {
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 30, 10, 1);
        auto index = build(c, base);
        const auto before = index.to_bytes();
        const auto narrow = Vectors::whole(c.type, 2, 9, 1);
        const auto two = Vectors::whole(c.type, 2, 10, 1);
        check_error(ErrorCode::dimension_mismatch, {"10", "9"}, [&] { index.add(narrow.view()); });
        check_error(ErrorCode::already_exists, {"41"}, [&] { index.add(two.view(), std::vector<Id>{41, 41}); });
        check_error(ErrorCode::already_exists, {"29"}, [&] { index.add(two.view(), std::vector<Id>{29, 29}); });
        check_error(ErrorCode::invalid_argument, {"-1"}, [&] { index.add(two.view(), std::vector<Id>{29, -1}); });
        check_error(ErrorCode::dimension_mismatch, {"2", "1"}, [&] { index.add(two.view(), std::vector<Id>{40}); });
        const auto other = Vectors::whole(c.type == ElementType::f32 ? ElementType::i8 : ElementType::f32, 2, 10, 1);
        check_error(ErrorCode::type_mismatch, {name(c.type), name(other.type())}, [&] { index.add(other.view()); });
        check_error(ErrorCode::not_found, {"30"}, [&] { index.remove(std::vector<Id>{2, 30}); });
        check_error(ErrorCode::invalid_argument, {"2"}, [&] { index.remove(std::vector<Id>{2, 2}); });
        REQUIRE(index.to_bytes() == before);
    }
}

#if !defined(KITH_FEW_SPACES)  // it lists those that exist
TEST_CASE("specs, kinds, metrics and spaces that do not exist") {
    const auto base = Vectors::whole(ElementType::f32, 5, 4, 1);
    const auto build_with = [&](std::string_view spec, std::string metric = "") {
        return AnyIndex::build(spec, base.view(), {.metric = std::move(metric)});
    };
    check_error(ErrorCode::invalid_argument, {"'flatt'", "known:", "flat"}, [&] { build_with("flatt"); });
    check_error(ErrorCode::invalid_argument, {"'l3'", "known:", "euclidean", "jaccard"}, [&] { build_with("flat", "l3"); });
    check_error(ErrorCode::unsupported, {"hamming/f32", "hamming/b1"}, [&] { build_with("flat", "hamming"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "known: none"}, [&] { build_with("flat(m=3)"); });
    check_error(ErrorCode::invalid_argument, {"position 5", "')'"}, [&] { build_with("flat(m=3"); });
    check_error(ErrorCode::invalid_argument, {"kind"}, [&] { build_with(""); });
    check_error(ErrorCode::type_mismatch, {"u8", "f32"}, [&] { build_with("flat over l2/u8"); });
    check_error(ErrorCode::invalid_argument, {"cosine", "l2"}, [&] { build_with("flat over l2/f32", "cosine"); });
    check_error(ErrorCode::unsupported, {"refine"}, [&] { build_with("flat, refine f32"); });
    REQUIRE(build_with("flat over cosine/f32").spec() == "flat over cosine/f32");
    REQUIRE(build_with(" flat () over cosine / f32 ").spec() == "flat over cosine/f32");
    for (const auto& c : combinations()) {
        const auto rows = Vectors::whole(c.type, 5, 4, 1);
        const std::string spec = build(c, rows).spec();
        REQUIRE(AnyIndex::build(spec, rows.view()).spec() == spec);
    }
}
#endif

TEST_CASE("8-bit rows past the dimension where squared distances fit are refused") {
    const Vectors base(ElementType::u8, 1, 33026);
    check_error(ErrorCode::unsupported, {"33025", "33026"}, [&] { AnyIndex::build("flat", base.view()); });
    REQUIRE_NOTHROW(AnyIndex::build("flat", Vectors(ElementType::u8, 1, 33025).view()));
}

TEST_CASE("adding that is cancelled changes no row and no id") {
    const Progress stop([](std::string_view, std::size_t, std::size_t) { return false; });
    for (const auto& c : combinations()) {
        const auto base = Vectors::whole(c.type, 60, 10, 1);
        const auto more = Vectors::whole(c.type, 3, 10, 2);
        auto index = build(c, base);
        const auto before = index.search(base.view(), 60, c.kind.exhaustive);
        INFO(c.name());
        try {
            index.add(more.view(), std::vector<Id>{70, 3, 71}, NotFinite::reject, inline_executor(), stop);
        } catch (const Error& error) {
            REQUIRE(error.code() == ErrorCode::cancelled);
            REQUIRE(index.size() == 60);
            REQUIRE_FALSE(index.contains(70));
            const auto after = index.search(base.view(), 60, c.kind.exhaustive);
            for (std::size_t q = 0; q < 60; ++q) {
                REQUIRE(std::ranges::equal(after.ids(q), before.ids(q)));
                REQUIRE(std::ranges::equal(after.distances(q), before.distances(q)));
            }
            index.add(more.view(), std::vector<Id>{70, 3, 71});
        }
        REQUIRE(index.size() == 62);  // whoever does not ask is done
        REQUIRE(index.search(more.row(1), 62, c.kind.exhaustive).count(0) == 62);
    }
}

TEST_CASE("cancelled work leaves what there was") {
    const TempDir dir;
    const auto base = Vectors::whole(ElementType::f32, 100, 8, 1);
    const auto index = AnyIndex::build("flat", base.view());
    index.save(dir / "a.kith");
    const auto before = AnyIndex::load(dir / "a.kith").to_bytes();
    auto bigger = AnyIndex::build("flat", base.view(), {.copy = true});
    bigger.add(base.view());
    const Progress stop([](std::string_view, std::size_t, std::size_t) { return false; });
    check_error(ErrorCode::cancelled, {"save"}, [&] { bigger.save(dir / "a.kith", stop); });
    REQUIRE(AnyIndex::load(dir / "a.kith").to_bytes() == before);
    check_error(ErrorCode::cancelled, {"verify"}, [&] { verify_file(dir / "a.kith", stop); });
}
