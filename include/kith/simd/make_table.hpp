// SPDX-License-Identifier: Apache-2.0
//
// make_table<Arch>(): the kernels of one instruction set, instantiated by the translation unit that calls it, whose flags must
// allow that set.
#pragma once

#include "kith/simd/bit_kernels.hpp"
#include "kith/simd/block_kernels.hpp"
#include "kith/simd/byte_filter.hpp"
#include "kith/simd/byte_tables.hpp"
#include "kith/simd/finite.hpp"
#include "kith/simd/float_kernels.hpp"
#include "kith/simd/hadamard.hpp"
#include "kith/simd/integer_kernels.hpp"
#include "kith/simd/largest.hpp"
#include "kith/simd/nearest_kernels.hpp"
#include "kith/simd/nibble_kernels.hpp"
#include "kith/simd/pool_kernels.hpp"
#include "kith/simd/product_kernels.hpp"
#include "kith/simd/rabitq_kernels.hpp"
#include "kith/simd/table.hpp"
#include "kith/simd/tile.hpp"

namespace kith::simd {

template <class Arch>
constexpr KernelTable make_table() noexcept {
    using std::int8_t;
    using std::uint8_t;
    KernelTable t;
    t.name = Arch::name;

    t.l2_f32 = float_kernels<Arch, FloatL2, float>();
    t.dot_f32 = float_kernels<Arch, FloatDot, float>();
    t.l1_f32 = float_kernels<Arch, FloatL1, float>();
    t.l2_f16 = float_kernels<Arch, FloatL2, Half>();
    t.dot_f16 = float_kernels<Arch, FloatDot, Half>();
    t.l1_f16 = float_kernels<Arch, FloatL1, Half>();
    t.l2_bf16 = float_kernels<Arch, FloatL2, BFloat16>();
    t.dot_bf16 = float_kernels<Arch, FloatDot, BFloat16>();
    t.l1_bf16 = float_kernels<Arch, FloatL1, BFloat16>();

    t.l2_i8 = distance_kernels<IntegerL2Op<Arch, int8_t>, IntegerPairL2Op<Arch, int8_t>>();
    t.dot_i8 = distance_kernels<IntegerDotOp<Arch, int8_t>, IntegerPairDotOp<Arch, int8_t>>();
    t.l1_i8 = distance_kernels<IntegerL1Op<Arch, int8_t>, IntegerL1Op<Arch, int8_t>>();
    t.l2_u8 = distance_kernels<IntegerL2Op<Arch, uint8_t>, IntegerPairL2Op<Arch, uint8_t>>();
    t.dot_u8 = distance_kernels<IntegerDotOp<Arch, uint8_t>, IntegerPairDotOp<Arch, uint8_t>>();
    t.l1_u8 = distance_kernels<IntegerL1Op<Arch, uint8_t>, IntegerL1Op<Arch, uint8_t>>();

    t.hamming_b1 = distance_kernels<HammingOp<Arch>, HammingOp<Arch>>();
    t.jaccard_b1 = distance_kernels<JaccardOp<Arch>, JaccardOp<Arch>>();

    t.l2_n4 = nibble_kernels<NibbleL2Op<Arch>, NibblePairL2Op<Arch>>();
    t.dot_n4 = nibble_kernels<NibbleDotOp<Arch>, NibblePairDotOp<Arch>>();

    t.tile_f32 = float_tile<Arch>();
    t.tile_i8 = integer_tile<Arch, int8_t>();
    t.tile_u8 = integer_tile<Arch, uint8_t>();

    t.estimate32 = &BlockKernels<Arch>::estimate32;
    t.scan32 = &BlockKernels<Arch>::scan32;
    t.gather32 = &BlockKernels<Arch>::gather32;
    t.product = product_kernels<Arch>();
    t.byte_filter = ByteFilter<Arch>::kernels();
    t.byte_tables = ByteTables<Arch>::kernels();
    t.rabitq = rabitq_kernels<Arch>();

    t.nearest_f32 = nearest_tile<Arch>();
    t.add_rows_f32 = &SumRows<Arch>::add;

    t.merge_i32 = &PoolMerge<Arch, std::int32_t>::merge;
    t.merge_f32 = &PoolMerge<Arch, float>::merge;

    t.hadamard_f32 = &Hadamard<Arch>::turn;
    t.largest_f32 = &Largest<Arch>::first;

    t.widen_f16 = &Widen<Arch, Half>::widen;
    t.widen_bf16 = &Widen<Arch, BFloat16>::widen;
    t.widen_i8 = &WidenBytes<Arch, int8_t>::widen;
    t.widen_u8 = &WidenBytes<Arch, uint8_t>::widen;
    t.first_not_finite_f32 = &Finite<Arch, float>::first_not_finite;
    t.first_not_finite_f16 = &Finite<Arch, Half>::first_not_finite;
    t.first_not_finite_bf16 = &Finite<Arch, BFloat16>::first_not_finite;
    return t;
}

}  // namespace kith::simd
