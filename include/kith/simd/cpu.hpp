// SPDX-License-Identifier: Apache-2.0
//
// Which instruction sets this processor and operating system can run. The compiler's run-time library asks cpuid and the saved
// register state (xgetbv); nothing here is compiled with more than the caller's flags.
#pragma once

#include "kith/simd/arch.hpp"

#if defined(KITH_SIMD_X86)
#include <cpuid.h>
#endif

namespace kith::simd {

inline bool cpu_runs(arch::Baseline) noexcept {
#if defined(KITH_SIMD_X86)
    return true;
#else
    return false;
#endif
}

inline bool cpu_runs(arch::Neon) noexcept { return !cpu_runs(arch::Baseline{}); }

inline bool cpu_runs(arch::Avx2) noexcept {
#if defined(KITH_SIMD_X86)
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
    const bool f16c = (ecx >> 29 & 1u) != 0;  // clang 14 has no name for it
    return f16c && __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
           __builtin_cpu_supports("popcnt") != 0 && __builtin_cpu_supports("bmi") != 0 &&
           __builtin_cpu_supports("bmi2") != 0;
#else
    return false;
#endif
}

inline bool cpu_runs(arch::Avx512) noexcept {
#if defined(KITH_SIMD_X86)
    return cpu_runs(arch::Avx2{}) && __builtin_cpu_supports("avx512f") != 0 &&
           __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
           __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512cd") != 0;
#else
    return false;
#endif
}

inline bool cpu_runs(arch::Avx512Vnni) noexcept {
#if defined(KITH_SIMD_X86)
    return cpu_runs(arch::Avx512{}) && __builtin_cpu_supports("avx512vnni") != 0 &&
           __builtin_cpu_supports("avx512vpopcntdq") != 0 && __builtin_cpu_supports("avx512vbmi") != 0;
#else
    return false;
#endif
}

}  // namespace kith::simd
