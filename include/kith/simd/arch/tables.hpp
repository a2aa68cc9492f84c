// SPDX-License-Identifier: Apache-2.0
//
// The tables of the compiled kernels. Each is defined by the .cpp of its name beside this file, compiled with that
// instruction set's flags and at -O2 or more, so that nothing inline is left behind (tests/checks/odr_symbols.py); KITH_COMPILED_KERNELS
// says that they are linked. x86-64 has the first four, AArch64 the last.
//
//   baseline      (none)
//   avx2          -mavx2 -mfma -mf16c -mpopcnt -mbmi -mbmi2
//   avx512        -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd, and those of avx2
//   avx512_vnni   -mavx512vnni -mavx512vpopcntdq -mavx512vbmi, and those of avx512
//   neon          (none)
#pragma once

#include "kith/simd/table.hpp"

namespace kith::simd {

const KernelTable& table_baseline() noexcept;
const KernelTable& table_avx2() noexcept;
const KernelTable& table_avx512() noexcept;
const KernelTable& table_avx512_vnni() noexcept;
const KernelTable& table_neon() noexcept;

}  // namespace kith::simd
