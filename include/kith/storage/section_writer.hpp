// SPDX-License-Identifier: Apache-2.0
//
// SectionWriter: collects the sections of an index file (docs/FORMAT.md), then writes them in one
// atomic go.
//
// add() borrows: what it is given must stay until write() returns, and is written from where it
// lies, so saving copies nothing large. add_text and add_copy keep a copy of their own, for small
// things. Sections are checksummed as they are written and the header goes last, so that a
// half-written file is never a valid one. Errors: invalid_argument for a bad name or a producer of
// the wrong length; those of AtomicFile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/crc32c.hpp"
#include "kith/core/error.hpp"
#include "kith/core/function_ref.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/progress.hpp"
#include "kith/storage/file_writer.hpp"
#include "kith/storage/format.hpp"

namespace kith {

/// What a file's header says about its index.
struct FileInfo {
    std::string kind;            // "flat"
    std::string space;           // "l2/f32"
    std::uint64_t count = 0;     // rows
    std::uint32_t dim = 0;       // dimensions (bits for b1)
    std::uint64_t sequence = 0;  // last log sequence number contained
    // Set by a reader, ignored by a writer:
    std::uint16_t version_major = file_version_major;
    std::uint16_t version_minor = file_version_minor;
    std::uint64_t file_size = 0;
};

/// Where written bytes go.
using ByteSink = FunctionRef<void(std::span<const std::byte>)>;

namespace detail {

constexpr bool is_label_character(char c) noexcept { return c >= 0x21 && c <= 0x7E; }

/// Copies a name into a zero-padded field that keeps its last byte zero.
template <std::size_t N>
std::array<char, N> to_label(std::string_view text, std::string_view what) {
    std::array<char, N> field{};
    if (text.empty() || text.size() >= N ||
        !std::all_of(text.begin(), text.end(), is_label_character))
        fail(ErrorCode::invalid_argument, what, " must have 1 to ", N - 1,
             " printable ASCII characters without spaces, got '", text, "'");
    std::copy(text.begin(), text.end(), field.begin());
    return field;
}

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
    return (value + alignment - 1) / alignment * alignment;
}

}  // namespace detail

class SectionWriter {
public:
    explicit SectionWriter(const FileInfo& info) {
        header_.kind = detail::to_label<24>(info.kind, "an index's kind");
        header_.space = detail::to_label<40>(info.space, "an index's space");
        header_.count = info.count;
        header_.dim = info.dim;
        header_.sequence = info.sequence;
    }

    /// Elements that the caller keeps until the file is written.
    template <class T>
        requires std::is_trivially_copyable_v<T>
    void add(std::string_view name, std::span<const T> elements, std::uint32_t flags = 0,
             std::size_t alignment = section_alignment) {
        const auto bytes = std::as_bytes(elements);
        add_stream(
            name, bytes.size(), sizeof(T), [bytes](ByteSink sink) { sink(bytes); }, flags,
            alignment);
    }

    /// Rows that the caller keeps until the file is written; stored without the padding between
    /// them.
    template <class T>
        requires std::is_trivially_copyable_v<std::remove_const_t<T>>
    void add_rows(std::string_view name, MatrixView<T> rows, std::uint32_t flags = 0) {
        if (rows.contiguous() || rows.rows() == 0) {
            add(name,
                std::span<const std::remove_const_t<T>>(rows.data(), rows.rows() * rows.cols()),
                flags);
            return;
        }
        add_stream(
            name, std::uint64_t{rows.rows()} * rows.cols() * sizeof(T), sizeof(T),
            [rows](ByteSink sink) {
                for (std::size_t i = 0; i < rows.rows(); ++i) sink(std::as_bytes(rows[i]));
            },
            flags);
    }

    /// A small section that is copied at once.
    template <class T>
        requires std::is_trivially_copyable_v<T>
    void add_copy(std::string_view name, std::span<const T> elements, std::uint32_t flags = 0) {
        const auto bytes = std::as_bytes(elements);
        add_stream(
            name, bytes.size(), sizeof(T),
            [copy = std::vector<std::byte>(bytes.begin(), bytes.end())](ByteSink sink) {
                sink(copy);
            },
            flags);
    }

    /// Text, such as the parameters; copied.
    void add_text(std::string_view name, std::string_view text, std::uint32_t flags = 0) {
        add_copy(name, std::span<const char>(text.data(), text.size()), flags);
    }

    /// A section whose producer hands exactly `size` bytes to the sink, in as many pieces as it
    /// likes. It may be called more than once, once for each write. `alignment`: a multiple of 64.
    void add_stream(std::string_view name, std::uint64_t size, std::size_t element_size,
                    std::function<void(ByteSink)> producer, std::uint32_t flags = 0,
                    std::size_t alignment = section_alignment) {
        Section section;
        section.entry.name = detail::to_label<24>(name, "a section's name");
        for (const Section& other : sections_)
            if (other.entry.name == section.entry.name)
                fail(ErrorCode::invalid_argument, "section '", name, "' is added twice");
        if (sections_.size() == max_sections)
            fail(ErrorCode::invalid_argument, "a file holds at most ", max_sections, " sections");
        if (element_size == 0 || element_size > UINT32_MAX || size % element_size != 0)
            fail(ErrorCode::invalid_argument, "section '", name, "': ", size,
                 " bytes are no whole number of ", element_size, "-byte elements");
        if (alignment == 0 || alignment % section_alignment != 0)
            fail(ErrorCode::invalid_argument, "section '", name,
                 "': expected an alignment that is a multiple of ", section_alignment, ", got ",
                 alignment);
        section.entry.size = size;
        section.entry.element_size = static_cast<std::uint32_t>(element_size);
        section.entry.flags = flags;
        section.alignment = alignment;
        section.producer = std::move(producer);
        sections_.push_back(std::move(section));
    }

    /// Creates or replaces the file, all or nothing. Progress counts bytes in the phase "save".
    void write(const std::filesystem::path& path, const Progress& progress = {}) {
        AtomicFile file(path);
        const std::uint64_t total = place();
        const std::vector<std::byte> blank(front_size());
        file.write(blank);
        write_sections([&file](std::span<const std::byte> bytes) { file.write(bytes); }, total,
                       progress);
        file.overwrite(0, front());
        file.commit();
    }

    /// The file's bytes in memory.
    std::vector<std::byte> to_bytes() {
        std::vector<std::byte> bytes;
        bytes.reserve(place());
        bytes.resize(front_size());
        write_sections(
            [&bytes](std::span<const std::byte> more) {
                bytes.insert(bytes.end(), more.begin(), more.end());
            },
            header_.file_size, {});
        const std::vector<std::byte> start = front();
        std::copy(start.begin(), start.end(), bytes.begin());
        return bytes;
    }

private:
    struct Section {
        SectionEntry entry;
        std::uint64_t alignment = section_alignment;
        std::function<void(ByteSink)> producer;
    };

    std::size_t front_size() const noexcept {
        return sizeof(FileHeader) + sections_.size() * sizeof(SectionEntry);
    }

    /// Gives each section its offset; returns the file's size.
    std::uint64_t place() {
        std::uint64_t end = front_size();
        for (Section& section : sections_) {
            section.entry.offset = detail::align_up(end, section.alignment);
            end = section.entry.offset + section.entry.size;
        }
        header_.section_count = static_cast<std::uint32_t>(sections_.size());
        header_.file_size = end;
        return end;
    }

    /// Everything after the table, checksums taken on the way.
    void write_sections(ByteSink sink, std::uint64_t total, const Progress& progress) {
        constexpr std::size_t piece =
            std::size_t{4} << 20;  // between two reports, and warm in cache after the CRC
        std::uint64_t position = front_size();
        for (Section& section : sections_) {
            const std::vector<std::byte> gap(
                static_cast<std::size_t>(section.entry.offset - position));
            sink(gap);
            position = section.entry.offset;
            const std::uint64_t end = position + section.entry.size;
            std::uint32_t crc = 0;
            auto take = [&](std::span<const std::byte> bytes) {
                if (bytes.size() > end - position)
                    fail(ErrorCode::invalid_argument, "section '", section.entry.name.data(),
                         "': expected ", section.entry.size, " bytes, its producer gave more");
                while (!bytes.empty()) {
                    const auto part = bytes.first(std::min(bytes.size(), piece));
                    crc = crc32c(part, crc);
                    sink(part);
                    if ((position + part.size()) / piece != position / piece)
                        progress.report("save", static_cast<std::size_t>(position + part.size()),
                                        static_cast<std::size_t>(total));
                    position += part.size();
                    bytes = bytes.subspan(part.size());
                }
            };
            section.producer(take);
            if (position != end)
                fail(ErrorCode::invalid_argument, "section '", section.entry.name.data(),
                     "': expected ", section.entry.size, " bytes, its producer gave ",
                     section.entry.size - (end - position));
            section.entry.crc = crc;
        }
        progress.report("save", static_cast<std::size_t>(total), static_cast<std::size_t>(total));
    }

    /// Header and table, checksums set.
    std::vector<std::byte> front() {
        std::vector<std::byte> bytes(front_size());
        const std::span<std::byte> table = std::span(bytes).subspan(sizeof(FileHeader));
        for (std::size_t i = 0; i < sections_.size(); ++i)
            std::memcpy(table.data() + i * sizeof(SectionEntry), &sections_[i].entry,
                        sizeof(SectionEntry));
        header_.table_crc = crc32c(table);
        header_.header_crc =
            crc32c(std::as_bytes(std::span(&header_, 1)).first(offsetof(FileHeader, header_crc)));
        std::memcpy(bytes.data(), &header_, sizeof header_);
        return bytes;
    }

    FileHeader header_;
    std::vector<Section> sections_;
};

}  // namespace kith
