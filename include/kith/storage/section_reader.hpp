// SPDX-License-Identifier: Apache-2.0
//
// SectionReader: an index file (docs/FORMAT.md) opened, mapped or in memory, its header and table
// checked so that no section can be read outside the file, whatever its bytes.
//
// Opening is O(sections); it costs as much for a terabyte as for a kilobyte, but for the checksums
// that LoadOptions asks for. Spans that a reader gives stay valid as long as the reader or a copy
// of its keep_alive(). Errors: corrupt (message: file, section, expected, actual), version (newer
// format, unknown mandatory section), not_found (file or section), type_mismatch (another kind or
// element size), io.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/crc32c.hpp"
#include "kith/core/error.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/progress.hpp"
#include "kith/storage/format.hpp"
#include "kith/storage/mapped_file.hpp"
#include "kith/storage/section_writer.hpp"

namespace kith {

/// Which sections' checksums to verify while opening.
enum class Checksums {
    automatic,  // all when the file is read into memory, those of up to 1 MiB when it is mapped
    skip,       // none (header and table are always verified)
    verify,     // all, and the gaps between them
};

struct LoadOptions {
    bool mmap = true;  // map the file; otherwise read it into memory
    Checksums checksums = Checksums::automatic;
};

struct SectionInfo {
    std::string name;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;  // bytes
    std::uint32_t element_size = 1;
    std::uint32_t flags = 0;
    std::uint32_t crc = 0;

    bool optional() const noexcept { return (flags & section_optional) != 0; }
};

class SectionReader {
public:
    /// Opens a file.
    explicit SectionReader(const std::filesystem::path& path, const LoadOptions& options = {},
                           const Progress& progress = {})
        : name_(path.string()) {
        if (options.mmap) {
            auto file = std::make_shared<const MappedFile>(path);
            bytes_ = file->bytes();
            mapped_ = file.get();
            keep_alive_ = std::move(file);
        } else {
            auto buffer = std::make_shared<const AlignedBuffer<std::byte>>(read_file(path));
            bytes_ = buffer->span();
            keep_alive_ = std::move(buffer);
        }
        open(options, progress);
    }

    /// Opens bytes in memory, 64-byte aligned unless sections of larger elements are not needed;
    /// `name` is for messages.
    explicit SectionReader(std::span<const std::byte> bytes, std::string name = "index in memory",
                           std::shared_ptr<const void> keep_alive = {},
                           Checksums checksums = Checksums::automatic)
        : bytes_(bytes), name_(std::move(name)), keep_alive_(std::move(keep_alive)) {
        open({.mmap = false, .checksums = checksums}, {});
    }

    const FileInfo& info() const noexcept { return info_; }
    /// In the order of the file.
    const std::vector<SectionInfo>& sections() const noexcept { return sections_; }
    /// Path, for messages.
    const std::string& name() const noexcept { return name_; }
    /// Owner of the bytes: hold a copy where spans of sections are kept. Null for borrowed bytes.
    const std::shared_ptr<const void>& keep_alive() const noexcept { return keep_alive_; }
    bool is_mapped() const noexcept { return mapped_ != nullptr; }

    /// Null when there is none, or when it has flags that this version does not understand.
    const SectionInfo* find(std::string_view section) const noexcept {
        for (const SectionInfo& info : sections_)
            if (info.name == section)
                return (info.flags & section_incompatible) == 0 ? &info : nullptr;
        return nullptr;
    }
    bool contains(std::string_view section) const noexcept { return find(section) != nullptr; }

    /// Throws Error{not_found}.
    const SectionInfo& require(std::string_view section) const {
        const SectionInfo* info = find(section);
        if (info == nullptr) fail(ErrorCode::not_found, name_, " has no section '", section, "'");
        return *info;
    }

    /// Refuses a file of another kind.
    void require_kind(std::string_view kind) const {
        if (info_.kind != kind)
            fail(ErrorCode::type_mismatch, name_, " holds an index of kind '", info_.kind,
                 "', expected '", kind, "'");
    }

    /// Refuses a file with sections outside `known` that are not optional: a newer writer put there
    /// what must not be missed.
    void require_known(std::span<const std::string_view> known) const {
        for (const SectionInfo& info : sections_) {
            const bool understood =
                std::find(known.begin(), known.end(), info.name) != known.end() &&
                (info.flags & section_incompatible) == 0;
            if (!understood && !info.optional())
                fail(ErrorCode::version, name_, " (format ", info_.version_major, ".",
                     info_.version_minor, ") has the section '", info.name,
                     "', which this version of kith (format ", file_version_major, ".",
                     file_version_minor, ") does not know and must not skip");
        }
    }
    void require_known(std::initializer_list<std::string_view> known) const {
        require_known(std::span(known.begin(), known.size()));
    }

    /// A section's elements. Throws not_found, type_mismatch (element size), corrupt.
    template <class T>
        requires std::is_trivially_copyable_v<T> std::span<const T> section(
            std::string_view section)
    const {
        const SectionInfo& info = require(section);
        if (info.element_size != sizeof(T))
            fail(ErrorCode::type_mismatch, name_, ": section '", section, "' has elements of ",
                 info.element_size, " bytes, expected ", sizeof(T));
        const std::span<const std::byte> bytes = bytes_of(info);
        if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) != 0)
            fail(ErrorCode::invalid_argument, name_, ": the bytes of section '", section,
                 "' are not aligned to ", alignof(T), " bytes");
        return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
    }

    /// A section that must have exactly `count` elements.
    template <class T>
    std::span<const T> section(std::string_view section, std::uint64_t count) const {
        const auto elements = this->section<T>(section);
        if (elements.size() != count)
            fail(ErrorCode::corrupt, name_, ": section '", section, "' has ", elements.size(),
                 " elements, expected ", count);
        return elements;
    }

    /// A section that must hold exactly rows x cols elements.
    template <class T>
    MatrixView<const T> matrix(std::string_view section, std::uint64_t rows,
                               std::uint64_t cols) const {
        const auto elements = this->section<T>(section);
        const bool fits = cols == 0 ? rows == 0 && elements.empty()
                                    : elements.size() % cols == 0 && elements.size() / cols == rows;
        if (!fits)
            fail(ErrorCode::corrupt, name_, ": section '", section, "' has ", elements.size(),
                 " elements, expected ", rows, " rows of ", cols);
        return {elements.data(), static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)};
    }

    /// A section of text.
    std::string_view text(std::string_view section) const {
        const auto characters = this->section<char>(section);
        return {characters.data(), characters.size()};
    }

    /// Checks one section's checksum.
    void verify(const SectionInfo& info) const { verify(info, {}, 0, 0); }

    /// Checks the checksum of every section and that the gaps are zero. Progress counts bytes in
    /// the phase "verify".
    void verify(const Progress& progress = {}) const {
        if (mapped_ != nullptr) mapped_->advise(Access::sequential);
        std::uint64_t end = sizeof(FileHeader) + sections_.size() * sizeof(SectionEntry);
        for (const SectionInfo& info : sections_) {
            check_gap(end, info.offset);
            verify(info, progress, info.offset, bytes_.size());
            end = info.offset + info.size;
        }
        if (mapped_ != nullptr) mapped_->advise(Access::normal);
        progress.report("verify", bytes_.size(), bytes_.size());
    }

    /// How a section of a mapped file will be read; nothing happens for bytes in memory.
    void advise(std::string_view section, Access access) const {
        const SectionInfo& info = require(section);
        if (mapped_ != nullptr)
            mapped_->advise(access, static_cast<std::size_t>(info.offset),
                            static_cast<std::size_t>(info.size));
    }

private:
    static constexpr std::uint64_t small_section = std::uint64_t{1} << 20;

    std::span<const std::byte> bytes_of(const SectionInfo& info) const noexcept {
        return bytes_.subspan(static_cast<std::size_t>(info.offset),
                              static_cast<std::size_t>(info.size));
    }

    template <class... Parts>
    [[noreturn]] void corrupt(const Parts&... parts) const {
        fail(ErrorCode::corrupt, name_, ": ", parts...);
    }

    void open(const LoadOptions& options, const Progress& progress) {
        read_table(read_header());
        if (options.checksums == Checksums::skip) return;
        if (options.checksums == Checksums::verify || !options.mmap) {
            verify(progress);
            return;
        }
        for (const SectionInfo& info : sections_)
            if (info.size <= small_section) verify(info);
    }

    FileHeader read_header() {
        FileHeader header;
        if (bytes_.size() < sizeof header)
            corrupt("expected a header of ", sizeof header, " bytes, the file has ", bytes_.size());
        std::memcpy(&header, bytes_.data(), sizeof header);
        if (header.magic != file_magic) {
            if (std::equal(file_magic.begin() + 1, file_magic.begin() + 5,
                           header.magic.begin() + 1))
                corrupt("damaged signature; was the file copied in text mode?");
            corrupt("not a kith index file");
        }
        if (header.byte_order != file_byte_order)
            corrupt("expected byte order ", file_byte_order, ", got ", header.byte_order);
        // Before the checksum: another major may keep it elsewhere.
        if (header.version_major > file_version_major)
            fail(ErrorCode::version, name_, " has format ", header.version_major, ".",
                 header.version_minor, ", this version of kith reads formats up to ",
                 file_version_major, ".x");
        if (header.version_major == 0)
            corrupt("format 0.", header.version_minor, " does not exist");
        const std::uint32_t crc = crc32c(bytes_.first(offsetof(FileHeader, header_crc)));
        if (crc != header.header_crc)
            corrupt("damaged header: expected checksum ", header.header_crc, ", got ", crc);
        if (header.file_size != bytes_.size())
            corrupt(
                "expected ", header.file_size, " bytes, the file has ", bytes_.size(),
                header.file_size > bytes_.size() ? " (truncated)" : " (something was appended)");
        info_.kind = label(header.kind, "kind");
        info_.space = label(header.space, "space");
        info_.count = header.count;
        info_.dim = header.dim;
        info_.sequence = header.sequence;
        info_.version_major = header.version_major;
        info_.version_minor = header.version_minor;
        info_.file_size = header.file_size;
        return header;
    }

    void read_table(const FileHeader& header) {
        if (header.section_count > max_sections)
            corrupt("expected at most ", max_sections, " sections, got ", header.section_count);
        const std::size_t table_size = header.section_count * sizeof(SectionEntry);
        if (bytes_.size() - sizeof header < table_size)
            corrupt("a table of ", header.section_count, " sections does not fit into ",
                    bytes_.size(), " bytes");
        const auto table = bytes_.subspan(sizeof header, table_size);
        const std::uint32_t crc = crc32c(table);
        if (crc != header.table_crc)
            corrupt("damaged section table: expected checksum ", header.table_crc, ", got ", crc);
        sections_.reserve(header.section_count);
        std::uint64_t end = sizeof header + table_size;
        for (std::size_t i = 0; i < header.section_count; ++i) {
            SectionEntry entry;
            std::memcpy(&entry, table.data() + i * sizeof entry, sizeof entry);
            add_section(entry, end);
            end = entry.offset + entry.size;
        }
        if (end != bytes_.size())
            corrupt("expected the last section to end the file at ", bytes_.size(), ", it ends at ",
                    end);
        check_names();
    }

    /// `end`: of what comes before it in the file.
    void add_section(const SectionEntry& entry, std::uint64_t end) {
        const std::string section = label(entry.name, "section name");
        if (entry.offset % section_alignment != 0)
            corrupt("section '", section, "': offset ", entry.offset, " is no multiple of ",
                    section_alignment);
        if (entry.offset < end)
            corrupt("section '", section, "': begins at ", entry.offset,
                    ", before the end of what precedes it at ", end);
        if (entry.offset > bytes_.size() || entry.size > bytes_.size() - entry.offset)
            corrupt("section '", section, "': ", entry.size, " bytes at ", entry.offset,
                    " exceed the file's ", bytes_.size());
        if (entry.element_size == 0 || entry.size % entry.element_size != 0)
            corrupt("section '", section, "': ", entry.size, " bytes are no whole number of ",
                    entry.element_size, "-byte elements");
        sections_.push_back(
            {section, entry.offset, entry.size, entry.element_size, entry.flags, entry.crc});
    }

    void check_names() const {
        std::vector<std::string_view> names;
        names.reserve(sections_.size());
        for (const SectionInfo& info : sections_) names.push_back(info.name);
        std::sort(names.begin(), names.end());
        const auto twice = std::adjacent_find(names.begin(), names.end());
        if (twice != names.end()) corrupt("there are two sections '", *twice, "'");
    }

    template <std::size_t N>
    std::string label(const std::array<char, N>& field, std::string_view what) const {
        const auto end = std::find(field.begin(), field.end(), '\0');
        const bool valid = end != field.begin() && end != field.end() &&
                           std::all_of(field.begin(), end, detail::is_label_character) &&
                           std::all_of(end, field.end(), [](char c) { return c == '\0'; });
        if (!valid) corrupt("malformed ", what);
        return {field.begin(), end};
    }

    void verify(const SectionInfo& info, const Progress& progress, std::uint64_t done,
                std::uint64_t total) const {
        constexpr std::size_t piece = std::size_t{16} << 20;
        std::uint32_t crc = 0;
        for (auto bytes = bytes_of(info); !bytes.empty();) {
            const auto part = bytes.first(std::min(bytes.size(), piece));
            crc = crc32c(part, crc);
            bytes = bytes.subspan(part.size());
            progress.report("verify", static_cast<std::size_t>(done += part.size()),
                            static_cast<std::size_t>(total));
        }
        if (crc != info.crc)
            corrupt("damaged section '", info.name, "' (", info.size, " bytes at ", info.offset,
                    "): expected checksum ", info.crc, ", got ", crc);
    }

    void check_gap(std::uint64_t begin, std::uint64_t end) const {
        for (std::uint64_t i = begin; i < end; ++i)
            if (bytes_[static_cast<std::size_t>(i)] != std::byte{0})
                corrupt("expected zeros between sections, got ",
                        std::to_integer<int>(bytes_[static_cast<std::size_t>(i)]), " at ", i);
    }

    std::span<const std::byte> bytes_;
    std::string name_;
    std::shared_ptr<const void> keep_alive_;
    const MappedFile* mapped_ = nullptr;  // inside keep_alive_
    FileInfo info_;
    std::vector<SectionInfo> sections_;
};

}  // namespace kith
