// SPDX-License-Identifier: Apache-2.0
//
// What an application does with kith, in as few lines as it takes.
#include <cstdio>
#include <cstring>

#include <kith/core/crc32c.hpp>

int main() {
    const char text[] = "123456789";
    const auto crc = kith::crc32c({reinterpret_cast<const std::byte*>(text), std::strlen(text)});
    std::printf("%08x\n", crc);
    return crc == 0xE3069283u ? 0 : 1;
}
