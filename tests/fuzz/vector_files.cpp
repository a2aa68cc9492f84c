// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a file of vectors; the first byte chooses the format. Nothing but kith::Error may
// come out.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kith/storage/vector_files.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static volatile std::size_t total = 0;
    if (size == 0) return 0;
    const kith::VectorFormat format = kith::vector_formats[data[0] % kith::vector_formats.size()];
    const auto* begin = reinterpret_cast<const std::byte*>(data + 1);
    const std::vector<std::byte> bytes(
        begin, begin + (size - 1));  // exact size: reads past the end are seen
    try {
        const kith::VectorFile file(bytes, format);
        std::size_t sum = file.dim();
        for (std::size_t i = 0; i < file.rows(); ++i)
            for (const std::byte b : file.row_bytes(i)) sum += static_cast<std::size_t>(b);
        total = total + sum;
    } catch (const kith::Error&) {
    }
    return 0;
}
