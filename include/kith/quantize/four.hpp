// SPDX-License-Identifier: Apache-2.0
//
// Four floats at a time, for loops that run once a query or once a stored vector: the compilers' portable vectors,
// which every processor kith runs on has registers for. What runs once a row belongs in simd/.
#pragma once

#include <cstdint>
#include <cstring>

namespace kith::detail {

typedef float Four __attribute__((vector_size(16)));
typedef std::int32_t FourInts __attribute__((vector_size(16)));

inline Four load_four(const float* p) noexcept {
    Four x;
    std::memcpy(&x, p, sizeof(x));
    return x;
}
inline void store_four(float* p, Four x) noexcept { std::memcpy(p, &x, sizeof(x)); }

inline void transpose(Four& a, Four& b, Four& c, Four& d) noexcept {
    const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const Four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/// Whether a comparison holds in one of four places.
inline bool any(FourInts mask) noexcept {
    std::uint64_t halves[2];
    std::memcpy(halves, &mask, sizeof(mask));
    return (halves[0] | halves[1]) != 0;
}

inline Four absolute(Four x) noexcept { return (Four)((FourInts)x & 0x7FFFFFFF); }

}  // namespace kith::detail
