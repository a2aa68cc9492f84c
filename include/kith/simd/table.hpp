// SPDX-License-Identifier: Apache-2.0
//
// What a kernel is: the shapes of all functions in simd/, and the table that holds one instruction set's version of each.
//
// A space takes its function pointers from a table once, at construction; nothing tests the CPU inside a search.
// Three forms, for one query q of `dim` elements against rows of `dim` elements:
//
//   one     two vectors, one number
//   gather  many slots in any order; prefetches the rows ahead
//   run     contiguous rows [first, first + count)
//
// All three add up a row's terms in the same order, so their results are equal to the bit, however rows are grouped: a scan, a walk
// and a re-ranking can be compared, and ties stay ties. Different instruction sets add in different orders; integers
// are exact everywhere. Queries of half-precision rows are floats (a float query loses nothing); 8-bit integers and bits
// are queried with their own kind.
//
// A run over more than 32 KiB reads its rows one after the other, which memory is fast at; so scan in
// large blocks, not a handful of rows a call.
//
// Rows may start at any address and have any stride; nothing outside [row, row + dim) is read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kith/core/types.hpp"

namespace kith::simd {

/// The rows that gather and run read: row i begins at data + i * stride. dim and stride count stored elements
/// (bytes for bits). `squared_norms`, one per row, is read by the integer L2 kernels alone: |q-x|^2 = |q|^2 + |x|^2 - 2 q.x is
/// exact in integers and costs one multiply-add a lane, four times less than subtracting first.
template <class T>
struct RowsRef {
    const T* data = nullptr;
    std::size_t stride = 0;
    std::size_t dim = 0;
    const std::int32_t* squared_norms = nullptr;
};

template <class T>
struct QueryElement {
    using type = float;
};
template <>
struct QueryElement<std::int8_t> {
    using type = std::int8_t;
};
template <>
struct QueryElement<std::uint8_t> {
    using type = std::uint8_t;
};
template <>
struct QueryElement<Bits8> {
    using type = Bits8;
};

/// What a query against rows of T is made of: float for all floating rows, T itself otherwise.
template <Element T>
using query_element_t = typename QueryElement<T>::type;

/// One distance's kernels over rows of T. D: float, or int32 for exact integer scores.
template <class T, class D>
struct DistanceKernels {
    using Query = query_element_t<T>;
    D (*one)(const T* a, const T* b, std::size_t dim) noexcept = nullptr;
    void (*gather)(const Query* q, RowsRef<T> rows, const Slot* slots, std::size_t count,
                   D* out) noexcept = nullptr;
    void (*run)(const Query* q, RowsRef<T> rows, std::size_t first, std::size_t count,
                D* out) noexcept = nullptr;
};

/// A block of a packed row of 4-bit levels, in bytes (simd/nibble_kernels.hpp): 128 dimensions.
inline constexpr std::size_t nibble_block = 64;

/// One distance's kernels over rows of 4-bit levels, two to a byte; RowsRef::dim and `bytes` count bytes, and a query has
/// two elements for each.
struct NibbleKernels {
    using Query = std::int8_t;
    std::int32_t (*one)(const std::uint8_t* a, const std::uint8_t* b, std::size_t bytes) noexcept = nullptr;
    void (*gather)(const Query* q, RowsRef<std::uint8_t> rows, const Slot* slots, std::size_t count,
                   std::int32_t* out) noexcept = nullptr;
    void (*run)(const Query* q, RowsRef<std::uint8_t> rows, std::size_t first, std::size_t count,
                std::int32_t* out) noexcept = nullptr;
};

/// Tiles score a block of rows against a panel of queries in registers (simd/tile.hpp) and report only the pairs that
/// beat a threshold: the fused top-k of the batched exact search. No matrix of distances is ever written.
struct TileHit {
    std::uint32_t row;   // within the block
    std::uint32_t lane;  // query within the panel
};

/// Appends (r, j) to hits unless scale[r] * dot(row r, query j) + bias[r] >= threshold[j], so that a NaN on either side is a hit
/// (a NaN threshold asks for every row); returns how many, at most row_count * lanes. Approximate to rounding: whoever
/// calls allows for it in bias and threshold, and re-scores the hits.
struct FloatTile {
    std::size_t lanes = 0;     // queries in a panel
    std::size_t max_rows = 0;  // rows a call may have
    /// Packs `count` (<= lanes) float queries, missing lanes are zero. panel: lanes * dim floats.
    void (*pack)(const float* queries, std::size_t stride, std::size_t count, std::size_t dim,
                 float* panel) noexcept = nullptr;
    std::size_t (*score)(const float* panel, std::size_t dim, const float* rows, std::size_t stride,
                         std::size_t row_count, const float* scale, const float* bias,
                         const float* threshold, TileHit* hits) noexcept = nullptr;
};

/// Exact. The product instruction multiplies signed by unsigned bytes, so one side is shifted by 128 at packing and what the tile
/// sums is dot'(r, j) = dot(row r, query j) - correction[r], with a constant for each row that prepare_rows gives.
template <class T>
struct IntegerTile {
    std::size_t lanes = 0;
    std::size_t max_rows = 0;
    std::size_t (*panel_bytes)(std::size_t dim) noexcept = nullptr;
    void (*pack)(const T* queries, std::size_t stride, std::size_t count, std::size_t dim,
                 void* panel) noexcept = nullptr;
    /// correction[r] for rows of a block, and their squared norms.
    void (*prepare_rows)(const T* rows, std::size_t stride, std::size_t row_count, std::size_t dim,
                         std::int32_t* correction, std::int32_t* squared_norm) noexcept = nullptr;
    /// Appends (r, j) where factor * dot'(r, j) + bias[r] < threshold[j]; factor is -2 (L2) or -1 (inner product).
    std::size_t (*score)(const void* panel, std::size_t dim, const T* rows, std::size_t stride,
                         std::size_t row_count, std::int32_t factor, const std::int32_t* bias,
                         const std::int32_t* threshold, TileHit* hits) noexcept = nullptr;
};

/// A walk's candidates, nearest first (graph/pool.hpp). At least 16 elements behind `capacity` can be read; `next`: the first that was not expanded.
template <class D>
struct PoolRef {
    D* distances = nullptr;
    Slot* slots = nullptr;
    std::size_t capacity = 0;
    std::size_t size = 0;
    std::size_t next = 0;
};

/// One query of a scan of 4-bit codes (KernelTable::scan32): what it measures with, and where its results go.
struct BlockQuery {
    const std::uint8_t* table = nullptr;  // 16 bytes a group
    float scale = 0.0f;
    float offset = 0.0f;
    std::int32_t most = -1;         // the largest sum that is wanted; below 0: none
    float* out = nullptr;           // 32 a block
    std::uint32_t* hits = nullptr;  // one a block
    const float* terms = nullptr;   // 32 a block, added to distances; null: none
    float bound = 0.0f;             // with terms: what distances are wanted, instead of `most`
};

/// The codebooks of a product quantiser: m subspaces of d dimensions, the first d % m of them one longer than the others, in each
/// `count` centroids (a multiple of 16). They are kept twice; in both a subspace begins at `count` times its first dimension.
struct CodebooksRef {
    const float* by_dimension = nullptr;  // element k of centroid c at [k * count + c]
    const float* by_centroid = nullptr;   // at [c * length + k]
    std::size_t dim = 0;
    std::size_t m = 0;
    std::size_t count = 0;
};

/// Product quantisation (quantize/pq.hpp). Table entries are added up over k in order, fused where the instruction set fuses; what a
/// `between` adds up for a pair of codes is to the bit what `scan` finds in the table of the first one's centroids. A table has
/// count floats a subspace.
struct ProductKernels {
    /// The nearest centroid of each subspace by squared distance, the first of equal ones; 0 where nothing is comparable (NaN).
    void (*encode)(const float* x, const CodebooksRef& books, std::uint8_t* codes) noexcept = nullptr;
    /// |q_j - c|^2, or -q_j.c.
    void (*l2_table)(const float* q, const CodebooksRef& books, float* table) noexcept = nullptr;
    void (*dot_table)(const float* q, const CodebooksRef& books, float* table) noexcept = nullptr;
    float (*l2_between)(const CodebooksRef& books, const std::uint8_t* a, const std::uint8_t* b) noexcept = nullptr;
    float (*dot_between)(const CodebooksRef& books, const std::uint8_t* a, const std::uint8_t* b) noexcept = nullptr;

    /// out[i] = bias + (sum over even j + sum over odd j) of table[256 j + code j], for rows of m codes at codes + stride * i
    /// (or stride * slots[i]). Additions in one order: the same bits on every instruction set.
    void (*run)(const float* table, std::size_t m, const std::uint8_t* codes, std::size_t stride, std::size_t count, float bias,
                float* out) noexcept = nullptr;
    void (*gather)(const float* table, std::size_t m, const std::uint8_t* codes, std::size_t stride, const Slot* slots,
                   std::size_t count, float bias, float* out) noexcept = nullptr;
};

/// bytes_of_table (quantize/pq_table.hpp) for tables of 16 entries, in two steps; null where its plain loop will do.
struct ByteTableKernels {
    /// Leaves the least entry of table j, a float, at bytes + 16 j. offsets[i]: those with j % 8 = i, added up in order; widest: the largest range of a table. Whether all is finite.
    bool (*range)(const float* table, std::size_t m, std::uint8_t* bytes, double* offsets, double& widest) noexcept = nullptr;
    /// What range() left to bytes: min((entry - least) * inverse + 0.5, 255), rounded down.
    void (*steps)(const float* table, std::size_t m, float inverse, std::uint8_t* bytes) noexcept = nullptr;
};

/// A table of 8-bit codes in bytes: how many whole steps of `scale` an entry lies above the least one of its subspace, rounded down. So the sum of the floats that codes pick is at least
/// offset + scale * (sum of their bytes), but for what rounding does to sums of `magnitude`. scale 0: none, where entries are not finite or all alike.
struct ByteTable {
    float scale = 0.0f;
    double offset = 0;     // the least entries, added up
    double magnitude = 0;  // what absolute values of entries add up to, at most
};

/// What sums of bytes are small enough: sum <= steps - steps_per_term * term + slack_per_term * |term|, the row's term being 0 where there are none.
struct ByteLimits {
    float steps = 0.0f;
    float steps_per_term = 0.0f;
    float slack_per_term = 0.0f;
    const float* terms = nullptr;  // one a row
};

/// Null where there is nothing faster than ProductKernels::run (simd/byte_filter.hpp).
struct ByteFilterKernels {
    /// m tables of 256 floats, m at most 256, to as many bytes.
    void (*tabulate)(const float* table, std::size_t m, std::uint8_t* bytes, ByteTable& out) noexcept = nullptr;
    /// Bit i % 32 of hits[i / 32]: whether the bytes that row i's codes pick add up to its limit at most; set where that is NaN. m is at most 256; rows as for ProductKernels::run.
    void (*within)(const std::uint8_t* bytes, std::size_t m, const std::uint8_t* codes, std::size_t stride, std::size_t count, const ByteLimits& limits,
                   std::uint32_t* hits) noexcept = nullptr;
};

/// A query against RaBitQ codes (quantize/rabitq_codec.hpp): q in whole numbers, and what is made of its products with codes.
struct RabitqQuery {
    /// Two planes of signed bytes, q = 128 high + low with both in -64 .. 64, from 6 bits on; else one, -127 .. 127. A plane is dim bytes and then
    /// 64 that may hold anything.
    const std::int8_t* planes = nullptr;
    std::size_t dim = 0;            // a multiple of 32
    std::int32_t offset = 0;        // (2^bits - 1) sum of q
    float base = 0.0f;
    float add_scale = 0.0f;
    float dot_scale = 0.0f;
    bool between_rows = false;      // q is a row's own code

    static constexpr std::size_t padding = 64;  // behind a plane
    static constexpr std::size_t planes_of(std::size_t bits) noexcept { return bits >= 6 ? 2 : 1; }
};

/// What a row of codes begins with.
struct RabitqFactors {
    float add;
    float rescale;
    float cosine;
};

/// One version for each number of bits, `bits - 1` being its place. A row is its factors and then codes u_j of 0 .. 2^bits - 1, where
///   out[i] = (base + add_scale * add) + dot_scale * rescale * S,    S = sum over j of (2 u_j - (2^bits - 1)) q_j
/// with rescale * cosine in place of rescale for between_rows. S is exact where (2^bits - 1) sum |q_j| < 2^31. `rows` are `stride` bytes apart,
/// at any address.
struct RabitqKernels {
    using Run = void (*)(const RabitqQuery& q, const std::uint8_t* rows, std::size_t stride, std::size_t count, float* out) noexcept;
    using Gather = void (*)(const RabitqQuery& q, const std::uint8_t* rows, std::size_t stride, const Slot* slots, std::size_t count,
                            float* out) noexcept;
    Run run[8] = {};
    Gather gather[8] = {};
};

/// For each lane of a panel: the least score so far, the second least (equal to it where two share it), and the centroid of the least, the
/// first of those that share it. Before any score: infinity, infinity, anything.
struct NearestLanes {
    float* least;
    float* second;
    std::uint32_t* number;
};

/// Scores a panel of rows against many centroids and keeps the least (simd/nearest_kernels.hpp): the assignment step of k-means.
struct NearestTile {
    std::size_t lanes = 0;  // rows in a panel
    /// Packs `count` (<= lanes) rows less `centre` (dim floats); missing lanes are zero. panel: lanes * dim floats. The squared norms of
    /// what is packed come out too, up to rounding.
    void (*pack)(const float* rows, std::size_t stride, std::size_t count, std::size_t dim,
                 const float* centre, float* panel, float* squared_norms) noexcept = nullptr;
    /// The score of row j and centroid c: bias[c] + dot(row j, centroid c), which is number first + c. No score may be NaN.
    void (*score)(const float* panel, std::size_t dim, const float* centroids, std::size_t stride,
                  std::size_t count, const float* bias, std::uint32_t first,
                  NearestLanes best) noexcept = nullptr;
};

/// All of one instruction set. Plain data with static storage; pointers that an instruction set has no version of are null
/// only in the tiles (their user then scores rows one query at a time).
struct KernelTable {
    const char* name = "";  // "baseline", "avx2", "avx512", "avx512_vnni", "neon"

    DistanceKernels<float, float> l2_f32, dot_f32, l1_f32;
    DistanceKernels<Half, float> l2_f16, dot_f16, l1_f16;
    DistanceKernels<BFloat16, float> l2_bf16, dot_bf16, l1_bf16;
    DistanceKernels<std::int8_t, std::int32_t> l2_i8, dot_i8, l1_i8;
    DistanceKernels<std::uint8_t, std::int32_t> l2_u8, dot_u8, l1_u8;
    DistanceKernels<Bits8, std::int32_t> hamming_b1;
    DistanceKernels<Bits8, float> jaccard_b1;  // 1 - |a and b| / |a or b|; 0 when both are empty
    NibbleKernels l2_n4, dot_n4;

    FloatTile tile_f32;
    IntegerTile<std::int8_t> tile_i8;
    IntegerTile<std::uint8_t> tile_u8;

    NearestTile nearest_f32;
    /// sums[d] += row[d] over the rows of `slots` in their order, in double: every instruction set adds up to the same bits.
    void (*add_rows_f32)(const float* rows, std::size_t stride, const Slot* slots,
                         std::size_t count, std::size_t dim, double* sums) noexcept = nullptr;

    /// 32 vectors at once, from 4-bit codes laid out as simd/block_sums.hpp says:
    ///   out[i] = (base + add[i]) + rescale[i] * (scale * s_i + offset),   s_i = sum over g of table[16 g + code(g, i)]
    /// Returns the vectors with out[i] < bound, vector i in bit i; a NaN on either side counts as below. codes and table have 16
    /// bytes a group, add, rescale and out 32 elements; groups is a multiple of 4, at most 2^16. s_i is exact; compiled without
    /// contraction (kith::kernels), all instruction sets give the same bits. A place with add = infinity and rescale = 0 is infinitely
    /// far: how a block of fewer than 32 vectors is filled up.
    std::uint32_t (*estimate32)(const std::uint8_t* codes, const std::uint8_t* table,
                                std::size_t groups, const BFloat16* add, const BFloat16* rescale,
                                float base, float scale, float offset, float bound,
                                float* out) noexcept = nullptr;

    /// Puts up to 32 candidates into a pool as if they were offered one after the other: behind their equals, and not where a full pool's last
    /// is as near; NaN counts as infinitely far. Returns which of them are in the pool now, candidate i in bit i.
    std::uint32_t (*merge_i32)(PoolRef<std::int32_t>& pool, const Slot* slots,
                               const std::int32_t* distances, std::size_t count) noexcept = nullptr;
    std::uint32_t (*merge_f32)(PoolRef<float>& pool, const Slot* slots, const float* distances,
                               std::size_t count) noexcept = nullptr;

    /// Scans blocks of 32 vectors' 4-bit codes, laid out as simd/block_sums.hpp says, with `count` queries (any number) in one pass:
    ///   out[32 b + i] = scale * s_i + offset,   s_i = sum over g of table[16 g + code(g, i)] of vector i of block b
    ///   hits[b]       bit i: s_i <= most
    /// or, where a query has terms,
    ///   out[32 b + i] = (scale * s_i + offset) + terms[32 b + i]
    ///   hits[b]       bit i: out[32 b + i] <= bound; all where the bound is infinite or NaN
    /// A block without hits gets no distances. groups is a multiple of 4, at most 2^16. s_i is exact; where scale * s_i is exact
    /// too (a scale of few bits), so are the bits of out on all instruction sets.
    void (*scan32)(const std::uint8_t* codes, std::size_t blocks, std::size_t groups,
                   const BlockQuery* queries, std::size_t count) noexcept = nullptr;
    /// The same distances of single vectors: slot s is vector s % 32 of block s / 32.
    void (*gather32)(const std::uint8_t* codes, std::size_t groups, const std::uint8_t* table,
                     float scale, float offset, const Slot* slots, std::size_t count,
                     float* out) noexcept = nullptr;

    ProductKernels product;
    ByteFilterKernels byte_filter;
    ByteTableKernels byte_tables;
    RabitqKernels rabitq;

    /// Widens n elements, for blocks of narrower rows on their way to a float tile.
    void (*widen_f16)(const Half* from, std::size_t n, float* to) noexcept = nullptr;
    void (*widen_bf16)(const BFloat16* from, std::size_t n, float* to) noexcept = nullptr;
    void (*widen_i8)(const std::int8_t* from, std::size_t n, float* to) noexcept = nullptr;
    void (*widen_u8)(const std::uint8_t* from, std::size_t n, float* to) noexcept = nullptr;

    /// A round of a fast rotation, x = H (factors * x): simd/hadamard.hpp. n is a power of two, at least 16. The same bits on all instruction sets.
    void (*hadamard_f32)(const float* factors, float* x, std::size_t n) noexcept = nullptr;
    /// The first i with the largest |x[i]|, of n >= 1. A NaN is never the largest; 0 where there is nothing else.
    std::size_t (*largest_f32)(const float* x, std::size_t n) noexcept = nullptr;

    /// Index of the first element that is NaN or infinite, or n. Reads at memory speed.
    std::size_t (*first_not_finite_f32)(const float* x, std::size_t n) noexcept = nullptr;
    std::size_t (*first_not_finite_f16)(const Half* x, std::size_t n) noexcept = nullptr;
    std::size_t (*first_not_finite_bf16)(const BFloat16* x, std::size_t n) noexcept = nullptr;
};

}  // namespace kith::simd
