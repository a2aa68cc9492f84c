// SPDX-License-Identifier: Apache-2.0
//
// Loading what a newer or another writer wrote: sections and parameters that are not known are refused unless they say that they may be
// skipped; parameters reach the index.
#include <algorithm>
#include <functional>
#include <vector>

#include "kith/any/registry.hpp"
#include "kith/index/flat.hpp"
#include "kith/index/keyed.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT
using test::check_error;

/// Flat with a build parameter and a section of its own: as little as an index that is saved can be.
template <Space S>
class Tuned {
public:
    static constexpr std::string_view kind = "tuned";
    using space_type = S;
    using search_params = NoParams;
    struct scratch_type {
        typename Flat<S>::scratch_type flat;
    };
    struct build_params {
        std::uint32_t width = 8;
        double slack = 0.5;
        static constexpr auto fields() {
            return std::tuple{field("width", &build_params::width, 1, 64, "how wide"), field("slack", &build_params::slack, 0, 1, "how loose")};
        }
        friend bool operator==(const build_params&, const build_params&) = default;
    };

    Tuned(S space, const build_params& params) : flat_(std::move(space)), params_(params) {}
    const S& space() const { return flat_.space(); }
    std::size_t size() const { return flat_.size(); }
    const build_params& params() const { return params_; }

    template <Filter F, Collector C>
    SearchStats search(std::span<const query_of<Flat<S>>> query, const NoParams& params, const F& filter, scratch_type& scratch,
                       C& collector) const {
        return flat_.search(query, params, filter, scratch.flat, collector);
    }

    void save(SectionWriter& writer) const {
        flat_.save(writer);
        writer.add_text("tuning", "x");
    }
    static Tuned load(const SectionReader& reader, const build_params& params) {
        reader.require("tuning");
        return {S::load(reader), params};
    }
    static std::vector<std::string_view> section_names() {
        auto names = S::section_names();
        names.push_back("tuning");
        return names;
    }
    void validate(std::string_view source, const Progress& progress = {}) const { flat_.validate(source, progress); }

private:
    Flat<S> flat_;
    build_params params_;
};

using Line = DenseSpace<L2, float>;
static_assert(Persistable<Tuned<Line>>);

const std::vector<float> points{0, 1, 2, 3, 4};

SectionReader open(SectionWriter& writer) {
    const auto bytes = writer.to_bytes();
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer->begin());
    return SectionReader(buffer->span(), "b.kith", buffer);
}

/// A file of five points on a line, with whatever `more` adds.
template <class I>
Keyed<I> load(const std::function<void(SectionWriter&)>& more) {
    SectionWriter writer({.kind = std::string(I::kind), .space = "l2/f32", .count = 5, .dim = 1});
    writer.add("rows", std::span(points));
    if (I::kind == "tuned") writer.add_text("tuning", "x");
    more(writer);
    return Keyed<I>::load(open(writer));
}

Keyed<Flat<Line>> load_flat(const std::function<void(SectionWriter&)>& more) { return load<Flat<Line>>(more); }

Tuned<Line>::build_params load_tuned(std::string_view params) {
    return load<Tuned<Line>>([&](SectionWriter& w) { w.add_text("params", params); }).index().params();
}

}  // namespace

TEST_CASE("a section that is not known is refused, unless it says that it may be skipped", "[load]") {
    CHECK(load_flat([](SectionWriter&) {}).size() == 5);
    check_error(ErrorCode::version, {"b.kith", "'tombstones'"}, [] { load_flat([](SectionWriter& w) { w.add_text("tombstones", "x"); }); });
    CHECK(load_flat([](SectionWriter& w) { w.add_text("tombstones", "x", section_optional); }).size() == 5);
    // Known by name, but to be understood in a way that came later.
    check_error(ErrorCode::version, {"'params'"}, [] { load_flat([](SectionWriter& w) { w.add_text("params", "", 1u << 16); }); });
    check_error(ErrorCode::version, {"'rows'"}, [] {
        SectionWriter writer({.kind = "flat", .space = "l2/f32", .count = 5, .dim = 1});
        writer.add("rows", std::span(points), 1u << 31);
        Keyed<Flat<Line>>::load(open(writer));
    });
    // Another space's section is as unknown as any other.
    const std::vector<float> norms(5);
    check_error(ErrorCode::version, {"'inverse_norms'"}, [&] { load_flat([&](SectionWriter& w) { w.add("inverse_norms", std::span(norms)); }); });
    // What the index itself adds is known to it, and only to it.
    CHECK(load<Tuned<Line>>([](SectionWriter&) {}).size() == 5);
    check_error(ErrorCode::version, {"'tuning'"}, [] { load_flat([](SectionWriter& w) { w.add_text("tuning", "x"); }); });
}

TEST_CASE("a file of a kind or space that is not known is refused by name", "[load]") {
    const auto any = [](std::string kind, std::string space) {
        return [=] {
            SectionWriter writer({.kind = kind, .space = space, .count = 5, .dim = 1});
            AnyIndex::load(open(writer));
        };
    };
    check_error(ErrorCode::unsupported, {"b.kith", "'hnsw9'", "known: flat"}, any("hnsw9", "l2/f32"));
    check_error(ErrorCode::unsupported, {"b.kith", "'l9'", "known: l2"}, any("flat", "l9/f32"));
    check_error(ErrorCode::unsupported, {"b.kith", "hamming/f32"}, any("flat", "hamming/f32"));
}

TEST_CASE("known sections as a span", "[load]") {
    SectionWriter writer({.kind = "flat", .space = "l2/f32", .count = 0, .dim = 1});
    writer.add_text("a", "1");
    writer.add_text("b", "2");
    const auto reader = open(writer);
    std::vector<std::string_view> known{"b", "a", "c"};
    CHECK_NOTHROW(reader.require_known(known));
    known.erase(known.begin());
    check_error(ErrorCode::version, {"'b'"}, [&] { reader.require_known(known); });
    check_error(ErrorCode::version, {"'a'"}, [&] { reader.require_known(std::span<const std::string_view>()); });
}

TEST_CASE("parameters are read back, with defaults for those that are absent", "[load]") {
    using P = Tuned<Line>::build_params;
    CHECK(load<Tuned<Line>>([](SectionWriter&) {}).index().params() == P{});
    CHECK(load_tuned("") == P{});
    CHECK(load_tuned("width=32") == P{32, 0.5});
    CHECK(load_tuned("slack=0.25,width=3") == P{3, 0.25});
    const Keyed index(Tuned<Line>(Line(Rows<float>::borrow({points.data(), 5, 1})), P{17, 1.0 / 3}));
    const auto bytes = index.to_bytes();
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer->begin());
    const auto loaded = Keyed<Tuned<Line>>::load(SectionReader(buffer->span(), "c", buffer));
    CHECK(loaded.index().params() == P{17, 1.0 / 3});
    CHECK(loaded.to_bytes() == bytes);
}

TEST_CASE("parameters that are not known, do not fit or are no parameters are refused", "[load]") {
    check_error(ErrorCode::version, {"b.kith", "'depth'", "known: width, slack"}, [] { load_tuned("width=3,depth=4"); });
    check_error(ErrorCode::version, {"'m'", "known: none"}, [] { load_flat([](SectionWriter& w) { w.add_text("params", "m=16"); }); });
    check_error(ErrorCode::corrupt, {"b.kith", "'params'", "'width'", "65"}, [] { load_tuned("width=65"); });
    check_error(ErrorCode::corrupt, {"'params'", "'width'", "wide"}, [] { load_tuned("width=wide"); });
    check_error(ErrorCode::corrupt, {"'params'", "twice"}, [] { load_tuned("width=3,width=4"); });
    check_error(ErrorCode::corrupt, {"'params'", "name=value"}, [] { load_tuned("width"); });
    check_error(ErrorCode::corrupt, {"'params'"}, [] { load_flat([](SectionWriter& w) { w.add_text("params", "\xFF"); }); });
    const std::vector<std::uint32_t> numbers{1};
    check_error(ErrorCode::type_mismatch, {"'params'", "4"}, [&] { load_flat([&](SectionWriter& w) { w.add("params", std::span(numbers)); }); });
}
