// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an index file. They are tried as they are and, so that the checksums do not hide
// what lies behind them, once more with the checksums of header and table put right. Nothing but
// kith::Error may come out.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kith/storage/id_map.hpp"
#include "kith/storage/sections.hpp"

namespace {

std::size_t total = 0;  // keeps the reads from being optimised away

void use(const kith::SectionReader& reader) {
    for (const kith::SectionInfo& info : reader.sections()) {
        try {
            if (info.element_size == 1)
                for (const char c : reader.section<char>(info.name))
                    total += static_cast<unsigned char>(c);
            if (info.element_size == 4)
                for (const auto x : reader.section<std::uint32_t>(info.name)) total += x;
        } catch (const kith::Error&) {
        }
    }
    try {
        const auto rows = reader.matrix<float>("rows", reader.info().count, reader.info().dim);
        if (!rows.empty() && rows.cols() != 0)
            total += rows.row(rows.rows() - 1)[rows.cols() - 1] > 0 ? 1 : 2;
    } catch (const kith::Error&) {
    }
    try {
        const kith::IdMap map = kith::IdMap::load(reader, reader.info().count);
        if (!map.empty()) total += map.slot(map.id(static_cast<kith::Slot>(map.size() - 1)));
    } catch (const kith::Error&) {
    }
}

void open(std::span<const std::byte> bytes, kith::Checksums checksums) {
    try {
        use(kith::SectionReader(bytes, "fuzz", {}, checksums));
    } catch (const kith::Error&) {
    }
}

void seal(std::span<std::byte> bytes) {
    kith::FileHeader header;
    if (bytes.size() < sizeof header) return;
    std::memcpy(&header, bytes.data(), sizeof header);
    header.magic = kith::file_magic;
    header.byte_order = kith::file_byte_order;
    header.version_major = 1;
    header.file_size = bytes.size();
    const std::size_t table =
        std::min<std::size_t>(std::size_t{header.section_count} * sizeof(kith::SectionEntry),
                              bytes.size() - sizeof header);
    header.table_crc = kith::crc32c(bytes.subspan(sizeof header, table));
    header.header_crc = kith::crc32c(
        std::as_bytes(std::span(&header, 1)).first(offsetof(kith::FileHeader, header_crc)));
    std::memcpy(bytes.data(), &header, sizeof header);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // At the end of an aligned block, so that a sanitizer sees reads past the end; sections stay
    // aligned to their elements.
    kith::AlignedBuffer<std::byte> buffer((size + 63) / 64 * 64);
    if (size != 0) std::memcpy(buffer.data(), data, size);
    const std::span<std::byte> bytes(buffer.data(), size);
    open(bytes, kith::Checksums::verify);
    seal(bytes);
    open(bytes, kith::Checksums::skip);
    return 0;
}
