// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), the checksum of index files and logs.
//
// Portable: eight bytes a step through eight tables ("slicing by 8", Kounavis and Berry 2005), so that core needs no
// instruction-set dispatch; about as fast as a disk delivers. crc32c(b, crc32c(a)) is the checksum of a followed by b.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace kith {

namespace detail {

struct Crc32cTables {
    std::array<std::array<std::uint32_t, 256>, 8> table{};

    constexpr Crc32cTables() {
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t crc = i;
            for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0x82F63B78u : 0u);
            table[0][i] = crc;
        }
        for (std::uint32_t i = 0; i < 256; ++i)
            for (std::size_t t = 1; t < 8; ++t)
                table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 0xFFu];
    }
};

inline constexpr Crc32cTables crc32c_tables{};

}  // namespace detail

/// The checksum of `bytes`, continued from `crc` (that of the bytes before; 0 at the start).
inline std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0) noexcept {
    const auto& t = detail::crc32c_tables.table;
    const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
    std::size_t n = bytes.size();
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        std::uint32_t low = 0;
        std::uint32_t high = 0;
        std::memcpy(&low, p, 4);
        std::memcpy(&high, p + 4, 4);
        low ^= crc;
        crc = t[7][low & 0xFFu] ^ t[6][(low >> 8) & 0xFFu] ^ t[5][(low >> 16) & 0xFFu] ^ t[4][low >> 24] ^
              t[3][high & 0xFFu] ^ t[2][(high >> 8) & 0xFFu] ^ t[1][(high >> 16) & 0xFFu] ^ t[0][high >> 24];
    }
    for (; n > 0; --n, ++p) crc = (crc >> 8) ^ t[0][(crc ^ *p) & 0xFFu];
    return ~crc;
}

}  // namespace kith
