// SPDX-License-Identifier: Apache-2.0
//
// The compilers' portable vectors for kernels that need no intrinsics: of 32 bytes where registers are that wide or wider, else of 16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/simd/isa/isa.hpp"

namespace kith::simd {

/// W floats and W integers. The attribute takes no size that depends on a template's parameter.
template <std::size_t W>
struct Vector;
template <std::size_t W>
    requires(W == 4)
struct Vector<W> {
    typedef float type __attribute__((vector_size(16)));
    typedef std::int32_t ints __attribute__((vector_size(16)));
};
template <std::size_t W>
    requires(W == 8)
struct Vector<W> {
    typedef float type __attribute__((vector_size(32)));
    typedef std::int32_t ints __attribute__((vector_size(32)));
};

template <class Arch>
inline constexpr std::size_t wide_lanes = Isa<Arch>::bytes >= 32 ? 8 : 4;

}  // namespace kith::simd
