// SPDX-License-Identifier: Apache-2.0
//
// Loops over registers. An array of registers stays in registers only when every index is a constant, and no loop pragma
// promises that to both g++ and clang; a fold expression does.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "kith/simd/arch.hpp"

namespace kith::simd {

template <std::size_t I>
using Index = std::integral_constant<std::size_t, I>;

/// f(Index<0>), ..., f(Index<N - 1>).
template <std::size_t N, class F>
KITH_SIMD_INLINE void unroll(F f) noexcept {
    [&]<std::size_t... I>(std::index_sequence<I...>) KITH_SIMD_LAMBDA { (f(Index<I>{}), ...); }
    (std::make_index_sequence<N>{});
}

}  // namespace kith::simd
