// SPDX-License-Identifier: Apache-2.0
//
// Instruction sets as tag types. kith has its own tags, one for each kernel table, although xsimd has some too: two tables may share an
// xsimd architecture (both AVX-512 ones do), and every kernel must carry its table's name in its symbol, because the
// linker keeps one copy of an inline function and would hand AVX-512 VNNI code to a machine that lacks it.
//
// Each tag has `name` (the table's) and, where the compiler's flags allow it, a specialisation of Isa<Arch> in simd/isa/.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define KITH_SIMD_X86 1
#elif defined(__aarch64__)
#define KITH_SIMD_NEON 1
#else
#error "kith has kernels for x86-64 and AArch64"
#endif

// Kernels are built from small functions that must vanish into their entry points: what stays would be a weak symbol.
#define KITH_SIMD_INLINE inline __attribute__((always_inline))
#define KITH_SIMD_LAMBDA __attribute__((always_inline))
#define KITH_SIMD_ENTRY __attribute__((flatten))

#if defined(KITH_SIMD_X86) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define KITH_SIMD_HAS_AVX2 1
#endif
#if defined(KITH_SIMD_HAS_AVX2) && defined(__AVX512F__) && defined(__AVX512BW__) && \
    defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512CD__) && defined(__BMI2__)
#define KITH_SIMD_HAS_AVX512 1
#endif
#if defined(KITH_SIMD_HAS_AVX512) && defined(__AVX512VNNI__) && defined(__AVX512VPOPCNTDQ__) && defined(__AVX512VBMI__)
#define KITH_SIMD_HAS_AVX512_VNNI 1
#endif

namespace kith::simd {

namespace arch {

struct Baseline {
    static constexpr const char* name = "baseline";
};  // x86-64: SSE2
struct Avx2 {
    static constexpr const char* name = "avx2";
};  // AVX2, FMA, F16C
struct Avx512 {
    static constexpr const char* name = "avx512";
};  // F, BW, DQ, VL, CD
struct Avx512Vnni {
    static constexpr const char* name = "avx512_vnni";
};  // and VNNI, VPOPCNTDQ, VBMI
struct Neon {
    static constexpr const char* name = "neon";
};  // AArch64

#if defined(KITH_SIMD_HAS_AVX512_VNNI)
using Native = Avx512Vnni;
#elif defined(KITH_SIMD_HAS_AVX512)
using Native = Avx512;
#elif defined(KITH_SIMD_HAS_AVX2)
using Native = Avx2;
#elif defined(KITH_SIMD_X86)
using Native = Baseline;
#else
using Native = Neon;
#endif

}  // namespace arch

/// The operations of one instruction set that the kernels are written with. Defined in simd/isa/; members:
///   F, I                   registers of floats (an xsimd batch) and of bytes or 32-bit integers
///   Lanes, FloatLanes      `group` unsigned 32-bit integers or floats, vector types with operators
///   width, group           floats in an F; rows that are scored together
///   load..., fma, reduce   see isa/sse2.hpp, which is the plainest
template <class Arch>
struct Isa;

}  // namespace kith::simd
