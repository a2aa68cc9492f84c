// SPDX-License-Identifier: Apache-2.0
//
// The index file's byte layout, transcribed from docs/FORMAT.md, which is the specification: change
// that first. Readers and writers copy these structs to and from bytes (both sides are
// little-endian; core/types.hpp asserts it).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace kith {

inline constexpr std::array<unsigned char, 8> file_magic{0x89, 'K',  'I',  'T',
                                                         'H',  '\r', '\n', 0x1A};
inline constexpr std::uint16_t file_version_major = 1;
inline constexpr std::uint16_t file_version_minor = 0;
inline constexpr std::uint32_t file_byte_order = 0x01020304;
inline constexpr std::size_t section_alignment = 64;
inline constexpr std::uint32_t max_sections = 4096;

struct FileHeader {
    std::array<unsigned char, 8> magic = file_magic;
    std::uint16_t version_major = file_version_major;
    std::uint16_t version_minor = file_version_minor;
    std::uint32_t byte_order = file_byte_order;
    std::uint64_t sequence = 0;
    std::uint64_t file_size = 0;
    std::array<char, 24> kind{};
    std::array<char, 40> space{};
    std::uint64_t count = 0;
    std::uint32_t dim = 0;
    std::uint32_t section_count = 0;
    std::uint32_t table_crc = 0;
    std::array<unsigned char, 8> reserved{};
    std::uint32_t header_crc = 0;  // of all bytes before it
};

struct SectionEntry {
    std::array<char, 24> name{};
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint32_t element_size = 1;
    std::uint32_t flags = 0;
    std::uint32_t crc = 0;
    std::array<unsigned char, 12> reserved{};
};

/// Flag bits of a section: unknown ones below `section_incompatible` may be ignored, others make
/// the section unknown.
inline constexpr std::uint32_t section_optional = 1;
inline constexpr std::uint32_t section_incompatible = 0xFFFF0000;

static_assert(sizeof(FileHeader) == 128 && std::is_trivially_copyable_v<FileHeader>);
static_assert(offsetof(FileHeader, version_major) == 8 &&
              offsetof(FileHeader, version_minor) == 10);
static_assert(offsetof(FileHeader, byte_order) == 12 && offsetof(FileHeader, sequence) == 16);
static_assert(offsetof(FileHeader, file_size) == 24 && offsetof(FileHeader, kind) == 32);
static_assert(offsetof(FileHeader, space) == 56 && offsetof(FileHeader, count) == 96);
static_assert(offsetof(FileHeader, dim) == 104 && offsetof(FileHeader, section_count) == 108);
static_assert(offsetof(FileHeader, table_crc) == 112 && offsetof(FileHeader, reserved) == 116);
static_assert(offsetof(FileHeader, header_crc) == 124);

static_assert(sizeof(SectionEntry) == 64 && std::is_trivially_copyable_v<SectionEntry>);
static_assert(offsetof(SectionEntry, offset) == 24 && offsetof(SectionEntry, size) == 32);
static_assert(offsetof(SectionEntry, element_size) == 40 && offsetof(SectionEntry, flags) == 44);
static_assert(offsetof(SectionEntry, crc) == 48 && offsetof(SectionEntry, reserved) == 52);

}  // namespace kith
