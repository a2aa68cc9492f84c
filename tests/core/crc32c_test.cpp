// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C against published values: the check value of the polynomial's catalogue entry and RFC 3720, appendix B.4.
#include "kith/core/crc32c.hpp"

#include <numeric>
#include <string_view>
#include <vector>

#include "support/catch.hpp"

namespace {

std::uint32_t crc_of(std::string_view text) { return kith::crc32c(std::as_bytes(std::span(text))); }

std::vector<std::byte> counted(std::size_t n, int first, int step) {
    std::vector<std::byte> bytes(n);
    for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(first + step * static_cast<int>(i));
    return bytes;
}

/// Bit by bit, from the definition.
std::uint32_t slow_crc(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~0u;
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0x82F63B78u : 0u);
    }
    return ~crc;
}

}  // namespace

TEST_CASE("CRC-32C gives the published values", "[crc32c]") {
    CHECK(crc_of("") == 0);
    CHECK(crc_of("123456789") == 0xE3069283u);
    CHECK(kith::crc32c(counted(32, 0, 0)) == 0x8A9136AAu);    // 32 zeros
    CHECK(kith::crc32c(counted(32, 0xFF, 0)) == 0x62A8AB43u);  // 32 ones
    CHECK(kith::crc32c(counted(32, 0, 1)) == 0x46DD794Eu);     // ascending
    CHECK(kith::crc32c(counted(32, 31, -1)) == 0x113FDB5Cu);   // descending
    const unsigned char iscsi_read[48]{0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
                                       0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0};
    CHECK(kith::crc32c(std::as_bytes(std::span(iscsi_read))) == 0xD9963A56u);
}

TEST_CASE("CRC-32C continues over a split at every point, from every alignment", "[crc32c]") {
    const auto bytes = counted(150, 3, 37);
    for (std::size_t begin = 0; begin < 9; ++begin)
        for (std::size_t end = begin; end <= bytes.size(); ++end) {
            const auto whole = std::span(bytes).subspan(begin, end - begin);
            if (kith::crc32c(whole) != slow_crc(whole)) FAIL("wrong over [" << begin << ", " << end << ")");
        }
    const std::uint32_t whole = slow_crc(bytes);
    for (std::size_t at = 0; at <= bytes.size(); ++at)
        CHECK(kith::crc32c(std::span(bytes).subspan(at), kith::crc32c(std::span(bytes).first(at))) == whole);
}

TEST_CASE("CRC-32C sees every single flipped bit", "[crc32c]") {
    auto bytes = counted(40, 1, 7);
    const std::uint32_t whole = kith::crc32c(bytes);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
        CHECK(kith::crc32c(bytes) != whole);
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
}
