// SPDX-License-Identifier: Apache-2.0
//
// The yardstick of the benchmarks: how many multiply-adds a second a loop on registers alone reaches, with the widest vectors of a kernel table;
// and how to time something on a machine that others use too.
#pragma once

#include <chrono>
#include <cstddef>
#include <limits>
#include <string_view>

#include "kith/simd/kernels.hpp"

namespace kith_bench {

/// Seconds for one call of f: the best of many batches of at least 40 microseconds.
template <class F>
double best_seconds(F f) {
    using Clock = std::chrono::steady_clock;
    const auto time = [&](std::size_t calls) {
        const auto start = Clock::now();
        for (std::size_t i = 0; i < calls; ++i) f();
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    std::size_t calls = 1;
    while (time(calls) < 40e-6) calls *= 2;
    double best = std::numeric_limits<double>::max();
    for (int batch = 0; batch < 400; ++batch) {
        const double t = time(calls) / static_cast<double>(calls);
        if (t < best) best = t;
    }
    return best;
}

// A loop of independent multiply-adds on registers. It is written in assembler so that no compiler can improve on it.
// clang-format off
#if defined(__x86_64__)
#define KITH_BENCH_FMA(I, R) "vfmadd231ps %%" R "0, %%" R "0, %%" R #I "\n\t"
#define KITH_BENCH_MUL_ADD(I, R) "mulps %%xmm0, %%xmm1\n\taddps %%xmm0, %%xmm" #I "\n\t"
#else
#define KITH_BENCH_FMLA(I, R) "fmla v" #I ".4s, v0.4s, v0.4s\n\t"
#endif
#define KITH_BENCH_TWELVE(STEP, R) STEP(2, R) STEP(3, R) STEP(4, R) STEP(5, R) STEP(6, R) STEP(7, R) \
    STEP(8, R) STEP(9, R) STEP(10, R) STEP(11, R) STEP(12, R) STEP(13, R)
#define KITH_BENCH_CLOBBERS(R) R "0", R "1", R "2", R "3", R "4", R "5", R "6", R "7", R "8", R "9", R "10", R "11", R "12", R "13"

/// Operations a second, two for each multiply-add.
inline double multiply_add_peak([[maybe_unused]] const kith::simd::KernelTable& table) {
    constexpr std::size_t rounds = 512;
    constexpr std::size_t chains = 12;
    double width = 4.0;
    double time = 0.0;
#if defined(__x86_64__)
    const std::string_view name = table.name;
    if (name.substr(0, 6) == "avx512") {
        width = 16.0;
        time = best_seconds([] { for (std::size_t i = 0; i < rounds; ++i) asm volatile(KITH_BENCH_TWELVE(KITH_BENCH_FMA, "zmm") : : : KITH_BENCH_CLOBBERS("xmm")); });
    } else if (name == "avx2") {
        width = 8.0;
        time = best_seconds([] { for (std::size_t i = 0; i < rounds; ++i) asm volatile(KITH_BENCH_TWELVE(KITH_BENCH_FMA, "ymm") : : : KITH_BENCH_CLOBBERS("xmm")); });
    } else {
        time = best_seconds([] { for (std::size_t i = 0; i < rounds; ++i) asm volatile(KITH_BENCH_TWELVE(KITH_BENCH_MUL_ADD, "xmm") : : : KITH_BENCH_CLOBBERS("xmm")); });
    }
#else
    time = best_seconds([] { for (std::size_t i = 0; i < rounds; ++i) asm volatile(KITH_BENCH_TWELVE(KITH_BENCH_FMLA, "v") : : : KITH_BENCH_CLOBBERS("v")); });
#endif
    return 2.0 * width * static_cast<double>(chains * rounds) / time;
}
// clang-format on

}  // namespace kith_bench
