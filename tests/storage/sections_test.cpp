// SPDX-License-Identifier: Apache-2.0
//
// The index file: round trips, and every way in which its bytes can be wrong.
#include "kith/storage/sections.hpp"

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using kith::AlignedBuffer;
using kith::Checksums;
using kith::Error;
using kith::ErrorCode;
using kith::FileHeader;
using kith::SectionEntry;
using kith::SectionReader;
using kith::SectionWriter;
using test::check_error;
using Bytes = std::vector<std::byte>;

const std::vector<float>& numbers() {
    static const std::vector<float> values = [] {
        std::vector<float> v(30);
        std::iota(v.begin(), v.end(), 1.0f);
        return v;
    }();
    return values;
}

SectionWriter small_writer() {
    SectionWriter writer(
        {.kind = "flat", .space = "l2/f32", .count = 10, .dim = 3, .sequence = 77});
    writer.add_text("params", "a=1\nb=two\n");
    writer.add("rows", std::span(numbers()));
    writer.add("none", std::span<const std::uint64_t>(), kith::section_optional);
    return writer;
}

/// A copy of exactly this size, so that a sanitizer sees the first byte read past the end.
SectionReader open(const Bytes& bytes, Checksums checksums = Checksums::automatic) {
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(0);
    if (bytes.empty()) return SectionReader(std::span<const std::byte>(), "m", buffer, checksums);
    auto* raw = static_cast<std::byte*>(::operator new (bytes.size(), std::align_val_t{64}));
    std::shared_ptr<std::byte> owner(
        raw, [](std::byte* p) { ::operator delete (p, std::align_val_t{64}); });
    std::memcpy(raw, bytes.data(), bytes.size());
    return SectionReader(std::span<const std::byte>(raw, bytes.size()), "m", owner, checksums);
}

void use_everything(const SectionReader& reader) {
    for (const auto& info : reader.sections()) {
        (void)reader.find(info.name);
        std::size_t sum = 0;
        const auto add = [&](auto section) {
            for (const auto& x : section) sum += static_cast<std::size_t>(x);
        };
        try {
            if (info.element_size == 1) add(reader.section<unsigned char>(info.name));
            if (info.element_size == 4) add(reader.section<std::uint32_t>(info.name));
            if (info.element_size == 8) add(reader.section<std::uint64_t>(info.name));
        } catch (const Error&) {
        }
        CHECK(sum + 1 != 0);
    }
}

FileHeader header_of(const Bytes& bytes) {
    FileHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    return header;
}

/// Recomputes both checksums, as a forger would.
void seal(Bytes& bytes) {
    FileHeader header = header_of(bytes);
    const std::size_t table = std::min<std::size_t>(header.section_count * sizeof(SectionEntry),
                                                    bytes.size() - sizeof header);
    header.table_crc = kith::crc32c(std::span(bytes).subspan(sizeof header, table));
    header.header_crc =
        kith::crc32c(std::as_bytes(std::span(&header, 1)).first(offsetof(FileHeader, header_crc)));
    std::memcpy(bytes.data(), &header, sizeof header);
}

template <class Change>
Bytes with_header(Bytes bytes, Change&& change) {
    FileHeader header = header_of(bytes);
    change(header);
    std::memcpy(bytes.data(), &header, sizeof header);
    seal(bytes);
    return bytes;
}

template <class Change>
Bytes with_entry(Bytes bytes, std::size_t i, Change&& change) {
    SectionEntry entry;
    std::byte* at = bytes.data() + sizeof(FileHeader) + i * sizeof entry;
    std::memcpy(&entry, at, sizeof entry);
    change(entry);
    std::memcpy(at, &entry, sizeof entry);
    seal(bytes);
    return bytes;
}

}  // namespace

TEST_CASE("an index file round-trips, mapped and read", "[sections]") {
    const test::TempDir dir;
    const auto path = dir / "a.kith";
    std::vector<std::string> phases;
    small_writer().write(
        path, kith::Progress([&](std::string_view phase, std::size_t done, std::size_t total) {
            phases.emplace_back(phase);
            return done <= total;
        }));
    CHECK(phases.back() == "save");
    CHECK(test::read_bytes(path) == small_writer().to_bytes());
    kith::LoadOptions options;
    options.mmap = GENERATE(true, false);
    options.checksums = GENERATE(Checksums::automatic, Checksums::skip, Checksums::verify);
    const SectionReader reader(path, options);
    CHECK(reader.is_mapped() == options.mmap);
    CHECK(reader.info().kind == "flat");
    CHECK(reader.info().space == "l2/f32");
    CHECK(reader.info().count == 10);
    CHECK(reader.info().dim == 3);
    CHECK(reader.info().sequence == 77);
    CHECK(reader.info().version_major == 1);
    CHECK(reader.info().file_size == std::filesystem::file_size(path));
    CHECK(reader.sections().size() == 3);
    CHECK(reader.text("params") == "a=1\nb=two\n");
    const auto rows = reader.matrix<float>("rows", 10, 3);
    CHECK(rows.row(9)[2] == 30.0f);
    CHECK(reinterpret_cast<std::uintptr_t>(rows.data()) % 64 == 0);
    CHECK(reader.section<std::uint64_t>("none").empty());
    CHECK(reader.find("absent") == nullptr);
    reader.advise("rows", kith::Access::random);
    reader.verify();
    std::shared_ptr<const void> kept;
    {
        const SectionReader other(path, options);
        kept = other.keep_alive();
        CHECK(other.keep_alive().use_count() == 2);
    }
    CHECK(kept.use_count() == 1);
}

TEST_CASE("sections can be strided, produced in pieces, aligned, owned", "[sections]") {
    SectionWriter writer({.kind = "k", .space = "s"});
    const kith::MatrixView<const float> rows(numbers().data(), 5, 4, 6);
    writer.add_rows("strided", rows);
    writer.add_stream("pieces", 12, 4, [](kith::ByteSink sink) {
        for (std::uint32_t i = 0; i < 3; ++i) sink(std::as_bytes(std::span(&i, 1)));
    });
    writer.add("page", std::span(numbers()), 0, 4096);
    {
        const std::vector<std::int64_t> gone{1, 2, 3};
        writer.add_copy("copy", std::span(gone));
    }
    const SectionReader reader = open(writer.to_bytes(), Checksums::verify);
    CHECK(reader.matrix<float>("strided", 5, 4).row(4)[3] == 28.0f);
    CHECK(reader.section<std::uint32_t>("pieces")[2] == 2);
    CHECK(reader.require("page").offset == 4096);
    CHECK(reader.section<std::int64_t>("copy", 3)[2] == 3);
    CHECK(writer.to_bytes() == writer.to_bytes());
    CHECK(open(SectionWriter({.kind = "k", .space = "s"}).to_bytes()).sections().empty());
}

TEST_CASE("the writer refuses what the format cannot hold", "[sections]") {
    const auto make = [](std::string kind, std::string space) {
        SectionWriter({.kind = kind, .space = space});
    };
    check_error(ErrorCode::invalid_argument, {"kind", "1 to 23"}, [&] { make("", "s"); });
    check_error(ErrorCode::invalid_argument, {"kind"}, [&] { make(std::string(24, 'k'), "s"); });
    check_error(ErrorCode::invalid_argument, {"space", "1 to 39"},
                [&] { make("k", std::string(40, 's')); });
    check_error(ErrorCode::invalid_argument, {"space"}, [&] { make("k", "a b"); });
    CHECK_NOTHROW(make(std::string(23, 'k'), std::string(39, 's')));
    SectionWriter writer({.kind = "k", .space = "s"});
    writer.add_text("a", "x");
    const auto stream = [&](std::uint64_t size, std::size_t element, std::size_t alignment) {
        writer.add_stream(
            "b", size, element, [](kith::ByteSink) {}, 0, alignment);
    };
    check_error(ErrorCode::invalid_argument, {"'a'", "twice"}, [&] { writer.add_text("a", "y"); });
    check_error(ErrorCode::invalid_argument, {"name"}, [&] { writer.add_text("with space", "y"); });
    check_error(ErrorCode::invalid_argument, {"5", "4-byte"}, [&] { stream(5, 4, 64); });
    check_error(ErrorCode::invalid_argument, {"0-byte"}, [&] { stream(5, 0, 64); });
    check_error(ErrorCode::invalid_argument, {"64", "32"}, [&] { stream(4, 4, 32); });
    stream(4, 4, 64);
    check_error(ErrorCode::invalid_argument, {"'b'", "expected 4", "gave 0"},
                [&] { writer.to_bytes(); });
    SectionWriter more({.kind = "k", .space = "s"});
    more.add_stream("b", 4, 4,
                    [](kith::ByteSink sink) { sink(std::as_bytes(std::span(numbers()))); });
    check_error(ErrorCode::invalid_argument, {"'b'", "more"}, [&] { more.to_bytes(); });
}

TEST_CASE("a failed or cancelled save leaves the old file", "[sections]") {
    const test::TempDir dir;
    const auto path = dir / "a.kith";
    small_writer().write(path);
    const Bytes old = test::read_bytes(path);
    check_error(ErrorCode::cancelled, {"save"}, [&] {
        small_writer().write(
            path, kith::Progress([](std::string_view, std::size_t, std::size_t) { return false; }));
    });
    SectionWriter broken = small_writer();
    broken.add_stream("thrower", 4, 4, [](kith::ByteSink) { throw std::runtime_error("mine"); });
    CHECK_THROWS_WITH(broken.write(path), "mine");
    check_error(ErrorCode::io, {dir.path().string(), "directory"},
                [&] { small_writer().write(dir.path()); });
    CHECK(test::read_bytes(path) == old);
    CHECK(dir.entries() == 1);
}

TEST_CASE("a mapped index can be saved over itself", "[sections]") {
    const test::TempDir dir;
    const auto path = dir / "a.kith";
    small_writer().write(path);
    const SectionReader reader(path);
    SectionWriter writer(reader.info());
    writer.add("rows", reader.section<float>("rows"));
    writer.write(path);
    CHECK(reader.text("params") == "a=1\nb=two\n");  // the old file, still mapped
    CHECK(SectionReader(path).section<float>("rows")[29] == 30.0f);
}

TEST_CASE("every truncation of an index file is refused", "[sections]") {
    const Bytes whole = small_writer().to_bytes();
    for (std::size_t size = 0; size < whole.size(); ++size)
        CHECK_THROWS_AS(
            open(Bytes(whole.begin(), whole.begin() + static_cast<long>(size)), Checksums::skip),
            Error);
    Bytes longer = whole;
    longer.push_back(std::byte{0});
    check_error(ErrorCode::corrupt, {"appended"}, [&] { open(longer); });
    const Bytes half(whole.begin(), whole.begin() + 300);
    check_error(ErrorCode::corrupt, {"truncated", "300", std::to_string(whole.size())},
                [&] { open(half); });
    const test::TempDir dir;
    test::write_bytes(dir / "half", half);
    check_error(ErrorCode::corrupt, {"half", "truncated"},
                [&] { SectionReader reader(dir / "half"); });
    check_error(ErrorCode::io, {"directory"}, [&] { SectionReader reader(dir.path()); });
}

TEST_CASE("every flipped bit of an index file is found", "[sections]") {
    const Bytes whole = small_writer().to_bytes();
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
        Bytes damaged = whole;
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
        INFO("bit " << bit);
        CHECK_THROWS_AS(open(damaged, Checksums::verify), Error);
        try {
            use_everything(open(damaged, Checksums::skip));
        } catch (const Error&) {
        }
    }
}

TEST_CASE("damage in a small section is found on opening, in a large one by verifying",
          "[sections]") {
    const test::TempDir dir;
    const std::vector<float> large(1 << 19, 1.0f);
    SectionWriter writer({.kind = "k", .space = "s"});
    writer.add_text("params", "a=1\n");
    writer.add("rows", std::span(large));
    writer.write(dir / "a");
    Bytes bytes = test::read_bytes(dir / "a");
    bytes.back() ^= std::byte{1};
    test::write_bytes(dir / "a", bytes);
    const SectionReader reader(dir / "a");
    check_error(ErrorCode::corrupt, {"'rows'", "checksum", "2097152"}, [&] { reader.verify(); });
    check_error(ErrorCode::corrupt, {"'rows'"}, [&] { reader.verify(reader.require("rows")); });
    check_error(ErrorCode::cancelled, {"verify"}, [&] {
        reader.verify(
            kith::Progress([](std::string_view, std::size_t, std::size_t) { return false; }));
    });
    check_error(ErrorCode::corrupt, {"'rows'"},
                [&] { SectionReader read(dir / "a", {.mmap = false}); });
    bytes[reader.require("params").offset] ^= std::byte{1};
    test::write_bytes(dir / "b", bytes);
    check_error(ErrorCode::corrupt, {"b:", "'params'"}, [&] { SectionReader mapped(dir / "b"); });
}

TEST_CASE("a file that is none, or from another time, says so", "[sections]") {
    const Bytes whole = small_writer().to_bytes();
    Bytes text = whole;
    text[0] = std::byte{0x09};  // the eighth bit stripped
    check_error(ErrorCode::corrupt, {"text mode"}, [&] { open(text); });
    check_error(ErrorCode::corrupt, {"not a kith index file"},
                [&] { open(Bytes(200, std::byte{'x'})); });
    check_error(ErrorCode::corrupt, {"128", "5"}, [&] { open(Bytes(5, std::byte{'x'})); });
    check_error(ErrorCode::version, {"2.7", "1.x"}, [&] {
        open(with_header(whole, [](FileHeader& h) { h.version_major = 2, h.version_minor = 7; }));
    });
    check_error(ErrorCode::corrupt, {"0.0"},
                [&] { open(with_header(whole, [](FileHeader& h) { h.version_major = 0; })); });
    check_error(ErrorCode::corrupt, {"byte order"}, [&] {
        open(with_header(whole, [](FileHeader& h) { h.byte_order = 0x04030201; }));
    });
    const auto newer =
        open(with_header(whole, [](FileHeader& h) { h.version_minor = 9, h.reserved[0] = 1; }));
    CHECK(newer.info().version_minor == 9);
    CHECK(newer.text("params").size() == 10);
}

TEST_CASE("unknown sections are skipped when optional, refused otherwise", "[sections]") {
    const SectionReader reader = open(small_writer().to_bytes());
    CHECK_NOTHROW(reader.require_known({"params", "rows"}));
    CHECK_NOTHROW(reader.require_known({"params", "rows", "none", "other"}));
    check_error(ErrorCode::version, {"'rows'", "1.0"}, [&] { reader.require_known({"params"}); });
    const Bytes whole = small_writer().to_bytes();
    const SectionReader flagged =
        open(with_entry(whole, 1, [](SectionEntry& e) { e.flags = 1u << 16; }));
    CHECK_FALSE(flagged.contains("rows"));
    check_error(ErrorCode::version, {"'rows'"}, [&] { flagged.require_known({"params", "rows"}); });
    const SectionReader harmless =
        open(with_entry(whole, 1, [](SectionEntry& e) { e.flags = 1u << 9; }));
    CHECK(harmless.contains("rows"));
    CHECK_NOTHROW(harmless.require_known({"params", "rows"}));
}

TEST_CASE("asking for what a section is not gives an error", "[sections]") {
    const SectionReader reader = open(small_writer().to_bytes());
    check_error(ErrorCode::not_found, {"'ids'"}, [&] { reader.section<float>("ids"); });
    check_error(ErrorCode::type_mismatch, {"'rows'", "4", "8"},
                [&] { reader.section<double>("rows"); });
    check_error(ErrorCode::corrupt, {"30", "31"}, [&] { reader.section<float>("rows", 31); });
    check_error(ErrorCode::corrupt, {"30", "10 rows of 4"},
                [&] { reader.matrix<float>("rows", 10, 4); });
    // 2^63 rows of 2^63: a product that wraps must not fit.
    check_error(ErrorCode::corrupt, {"rows of"}, [&] {
        reader.matrix<float>("rows", std::uint64_t{1} << 63, std::uint64_t{1} << 63);
    });
    check_error(ErrorCode::corrupt, {"rows of 0"}, [&] { reader.matrix<float>("rows", 10, 0); });
    check_error(ErrorCode::type_mismatch, {"'flat'", "'hnsw'"},
                [&] { reader.require_kind("hnsw"); });
    const Bytes whole = small_writer().to_bytes();
    Bytes shifted(whole.size() + 1);
    std::copy(whole.begin(), whole.end(), shifted.begin() + 1);
    const SectionReader odd(std::span<const std::byte>(shifted).subspan(1));
    check_error(ErrorCode::invalid_argument, {"aligned"}, [&] { odd.section<float>("rows"); });
    CHECK(odd.text("params").size() == 10);
}

TEST_CASE("forged tables with right checksums cannot leave the file", "[sections]") {
    const Bytes whole = small_writer().to_bytes();
    const auto refuse = [&](std::size_t i, std::initializer_list<std::string_view> words,
                            auto change) {
        const Bytes forged = with_entry(whole, i, change);
        check_error(ErrorCode::corrupt, words,
                    [&] { use_everything(open(forged, Checksums::skip)); });
    };
    constexpr std::uint64_t huge = ~std::uint64_t{0};
    refuse(1, {"'rows'", "exceed"}, [](SectionEntry& e) { e.offset = huge - 63; });
    refuse(1, {"'rows'", "exceed"}, [](SectionEntry& e) { e.size = huge - 3; });
    refuse(1, {"'rows'", "exceed"}, [](SectionEntry& e) { e.size = huge - e.offset + 1 + 64; });
    refuse(1, {"'rows'", "multiple"}, [](SectionEntry& e) { e.offset += 4; });
    refuse(1, {"'rows'", "before the end"}, [](SectionEntry& e) { e.offset -= 64; });
    refuse(0, {"'params'", "before the end"}, [](SectionEntry& e) { e.offset = 0; });
    refuse(0, {"'rows'", "before the end"}, [](SectionEntry& e) { e.size += 64; });
    refuse(1, {"whole number", "7-byte"}, [](SectionEntry& e) { e.element_size = 7; });
    refuse(1, {"whole number"}, [](SectionEntry& e) { e.element_size = 0; });
    refuse(1, {"two sections 'params'"},
           [](SectionEntry& e) { e.name = {'p', 'a', 'r', 'a', 'm', 's'}; });
    refuse(1, {"malformed"}, [](SectionEntry& e) { e.name = {}; });
    refuse(1, {"malformed"}, [](SectionEntry& e) { e.name.fill('x'); });
    refuse(1, {"malformed"}, [](SectionEntry& e) { e.name[10] = 'x'; });
    refuse(1, {"malformed"}, [](SectionEntry& e) { e.name[0] = '\n'; });
    refuse(2, {"'none'", "before the end"}, [](SectionEntry& e) { e.offset -= 64; });

    const auto refuse_header = [&](std::initializer_list<std::string_view> words, auto change) {
        check_error(ErrorCode::corrupt, words,
                    [&] { open(with_header(whole, change), Checksums::skip); });
    };
    refuse_header({"at most"}, [](FileHeader& h) { h.section_count = ~std::uint32_t{0}; });
    refuse_header({"does not fit"}, [](FileHeader& h) { h.section_count = 4096; });
    refuse_header({"before the end"}, [](FileHeader& h) { h.section_count = 4; });
    refuse_header({"last section"}, [](FileHeader& h) { h.section_count = 1; });
    refuse_header({"malformed kind"}, [](FileHeader& h) { h.kind = {}; });
    refuse_header({"malformed space"}, [](FileHeader& h) { h.space.fill('x'); });
    refuse_header({"truncated"}, [](FileHeader& h) { h.file_size = huge; });
}
