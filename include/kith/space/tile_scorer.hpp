// SPDX-License-Identifier: Apache-2.0
//
// TileScorer: a dense space's batched scan. A panel of queries is packed once; blocks of rows are multiplied against it in registers, and only
// the pairs that may beat a query's bound come out. No distance matrix is ever written.
//
// Exact all the same. With |x|^2 + |q|^2 - 2 q.x a float tile rounds otherwise than the kernels do, so its thresholds are widened by a bound on both
// errors, and whoever gets a candidate scores it again with the scorer: a batch returns, to the bit, what single queries return.
// The bound (Higham 2002, section 3.1): a sum of d products is off by at most gamma_d * sum |x_i q_i| <= d u |x| |q|, u = 2^-24, in
// any order of adding, and by d 2^-150 where products are too small for a float. Where a norm overflows the bound says nothing: every row
// passes. Few rows pass otherwise: about k ln(n / k) a query that any exact search would offer, and those within the error of its bound.
// Integers need none of that: their tile is exact.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>

#include "kith/core/buffer.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/topk.hpp"
#include "kith/space/dense.hpp"

namespace kith {

template <class Space>
class TileScorer;  // specialised for spaces whose distance is an affine function of an inner product

/// Can this space score tiles at all? (The instruction set may still have no tile: TileScorer::available().)
template <class Space>
concept TileSpace = requires { typename TileScorer<Space>::panel_type; };

namespace detail {

template <class M>
inline constexpr bool tile_metric = std::is_base_of_v<L2, M> || std::is_base_of_v<DotKernels, M>;

/// The float tile as a scorer of panels. Half-precision rows are widened a block at a time.
template <class M, FloatElement T>
class FloatTileScorer {
public:
    using space_type = DenseSpace<M, T>;
    using panel_type = float;

    static bool available() noexcept { return simd::kernels().tile_f32.score != nullptr; }

    static std::size_t lanes() noexcept { return simd::kernels().tile_f32.lanes; }
    std::size_t max_rows() const noexcept { return tile_->max_rows; }

    /// Packs queries (any number) into panels of lanes(). Comes first; reuses the memory of the load before.
    void load(const space_type& space, MatrixView<const float> queries) {
        tile_ = &simd::kernels().tile_f32;
        dim_ = space.dim();
        const std::size_t panels = (queries.rows() + lanes() - 1) / lanes();
        panels_.reserve_discarding(panels * lanes() * dim_);
        offsets_.reserve_discarding(panels * lanes());
        thresholds_.reserve_discarding(panels * lanes());
        max_norm_ = 0;
        for (std::size_t j = 0; j < panels * lanes(); ++j) thresholds_[j] = -farthest<float>();  // no query: no hit
        for (std::size_t j = 0; j < queries.rows(); ++j) {
            const double norm2 = squared_norm(queries.row(j), dim_);
            if constexpr (is_l2) offsets_[j] = static_cast<float>(norm2 * (1.0 - error()));
            else if constexpr (is_cosine) offsets_[j] = inverse_norm(queries.row(j), dim_);
            max_norm_ = std::max(max_norm_, std::sqrt(norm2));
        }
        for (std::size_t at = 0; at < queries.rows(); at += lanes())
            tile_->pack(queries.row(at), queries.stride(), std::min(lanes(), queries.rows() - at), dim_,
                        panels_.data() + at * dim_);
    }

    /// From now on query j takes rows at `bound` or nearer; all rows while its collector is not full, or where the bound says nothing.
    void bound(std::size_t j, float bound, bool full) noexcept {
        float threshold = bound;
        if constexpr (is_l2) threshold = bound - offsets_[j];
        else if constexpr (is_cosine)  // 1 - q.x / (|q| |x|) <= bound, times |q|: the scorer's products, none of its divisions
            threshold = static_cast<float>((static_cast<double>(bound) - 1.0 + error()) / static_cast<double>(offsets_[j]));
        const bool bounded = full && std::isfinite(threshold);
        thresholds_[j] = bounded ? threshold : std::numeric_limits<float>::quiet_NaN();
    }

    /// Makes rows [first, first + count) the current block.
    void block(const space_type& space, std::size_t first, std::size_t count) {
        scale_.reserve_discarding(count);
        bias_.reserve_discarding(count);
        const auto& rows = space.rows().view();
        if constexpr (std::is_same_v<T, float>) {
            rows_ = rows.row(first);
            stride_ = rows.stride();
        } else {
            widened_.reserve_discarding(count * dim_);
            for (std::size_t i = 0; i < count; ++i) widen(rows.row(first + i), widened_.data() + i * dim_);
            rows_ = widened_.data();
            stride_ = dim_;
        }
        const auto norm = simd::kernels().dot_f32.one;
        for (std::size_t i = 0; i < count; ++i) {
            const float* row = rows_ + i * stride_;
            if constexpr (is_cosine) {
                scale_[i] = -*space.factors().view().row(first + i);
                const auto inverse = static_cast<double>(-scale_[i]);
                bias_[i] = unless_overflow(inverse > 0 ? 1.0 / inverse : 0.0, -inverse * underflow());
            } else if constexpr (is_l2) {
                const auto norm2 = static_cast<double>(norm(row, row, dim_));
                scale_[i] = -2.0f;
                bias_[i] = std::isfinite(norm2) ? static_cast<float>(norm2 * (1.0 - error()) - underflow())
                                                : std::numeric_limits<float>::quiet_NaN();
            } else {
                const double norm2 = static_cast<double>(norm(row, row, dim_)) + underflow();
                scale_[i] = -1.0f;
                bias_[i] = unless_overflow(std::sqrt(norm2), -error() * std::sqrt(norm2) * max_norm_ - underflow());
            }
        }
    }

    /// Candidates among rows [at, at + count) of the block for panel p; count <= max_rows().
    std::size_t score(std::size_t p, std::size_t at, std::size_t count, simd::TileHit* hits) const noexcept {
        return tile_->score(panels_.data() + p * lanes() * dim_, dim_, rows_ + at * stride_, stride_, count,
                            scale_.data() + at, bias_.data() + at, thresholds_.data() + p * lanes(), hits);
    }

private:
    static constexpr bool is_l2 = std::is_base_of_v<L2, M>;
    static constexpr bool is_cosine = M::score == Score::normalised;

    /// Error of tile and kernel together, relative to |x|^2 + |q|^2 (l2) or |x| |q|; 16 covers the few roundings beside the sum.
    double error() const noexcept { return (is_l2 ? 4.0 : 2.0) * static_cast<double>(dim_ + 16) * 0x1.0p-24; }
    /// What relative errors do not cover: terms below the least normal float. Also makes zero rows pass a threshold of zero.
    double underflow() const noexcept { return static_cast<double>(dim_ + 16) * 0x1.0p-147; }
    /// The bias of a row, or NaN (a hit for every query) where sums of its products may be infinite in one order and finite in another.
    float unless_overflow(double row_norm, double bias) const noexcept {
        return row_norm * max_norm_ < 0x1.0p127 ? static_cast<float>(bias) : std::numeric_limits<float>::quiet_NaN();
    }

    void widen(const T* row, float* out) const noexcept {
        if constexpr (std::is_same_v<T, Half>) simd::kernels().widen_f16(row, dim_, out);
        else if constexpr (std::is_same_v<T, BFloat16>) simd::kernels().widen_bf16(row, dim_, out);
    }

    const simd::FloatTile* tile_ = nullptr;
    std::size_t dim_ = 0;
    double max_norm_ = 0;
    const float* rows_ = nullptr;
    std::size_t stride_ = 0;
    AlignedBuffer<float> panels_, offsets_, thresholds_, scale_, bias_, widened_;  // offsets_: |q|^2, or 1 / |q| for the cosine
};

/// The integer tile as a scorer of panels: exact. Bounds are inclusive, tiles compare with <, hence the + 1.
template <class M, IntegerElement T>
class IntegerTileScorer {
public:
    using space_type = DenseSpace<M, T>;
    using panel_type = T;

    static bool available() noexcept { return tile_of().score != nullptr; }

    static std::size_t lanes() noexcept { return tile_of().lanes; }
    std::size_t max_rows() const noexcept { return tile_->max_rows; }

    void load(const space_type& space, MatrixView<const T> queries) {
        tile_ = &tile_of();
        dim_ = space.dim();
        const std::size_t panels = (queries.rows() + lanes() - 1) / lanes();
        panel_bytes_ = (tile_->panel_bytes(dim_) + 63) / 64 * 64;
        panels_.reserve_discarding(panels * panel_bytes_);
        offsets_.reserve_discarding(panels * lanes());
        thresholds_.reserve_discarding(panels * lanes());
        for (std::size_t j = 0; j < panels * lanes(); ++j) thresholds_[j] = std::numeric_limits<std::int32_t>::min();
        const auto dot = InnerProduct::kernels(simd::kernels(), T{}).one;
        for (std::size_t j = 0; j < queries.rows(); ++j)
            offsets_[j] = is_l2 ? dot(queries.row(j), queries.row(j), dim_) : 0;
        for (std::size_t at = 0; at < queries.rows(); at += lanes())
            tile_->pack(queries.row(at), queries.stride(), std::min(lanes(), queries.rows() - at), dim_,
                        panels_.data() + at / lanes() * panel_bytes_);
    }

    void bound(std::size_t j, std::int32_t bound, bool full) noexcept {
        constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
        const std::int64_t threshold = std::int64_t{bound} + 1 - offsets_[j];
        thresholds_[j] = static_cast<std::int32_t>(full ? std::min(threshold, most) : most);
    }

    void block(const space_type& space, std::size_t first, std::size_t count) {
        correction_.reserve_discarding(count);
        bias_.reserve_discarding(count);
        const auto& rows = space.rows().view();
        rows_ = rows.row(first);
        stride_ = rows.stride();
        tile_->prepare_rows(rows_, stride_, count, dim_, correction_.data(), bias_.data());
        for (std::size_t i = 0; i < count; ++i)
            bias_[i] = static_cast<std::int32_t>(is_l2 ? bias_[i] - 2 * std::int64_t{correction_[i]} : -std::int64_t{correction_[i]});
    }

    std::size_t score(std::size_t p, std::size_t at, std::size_t count, simd::TileHit* hits) const noexcept {
        return tile_->score(panels_.data() + p * panel_bytes_, dim_, rows_ + at * stride_, stride_, count, is_l2 ? -2 : -1,
                            bias_.data() + at, thresholds_.data() + p * lanes(), hits);
    }

private:
    static constexpr bool is_l2 = std::is_base_of_v<L2, M>;

    static const simd::IntegerTile<T>& tile_of() noexcept {
        if constexpr (std::is_same_v<T, std::int8_t>) return simd::kernels().tile_i8;
        else return simd::kernels().tile_u8;
    }

    const simd::IntegerTile<T>* tile_ = nullptr;
    std::size_t dim_ = 0;
    std::size_t panel_bytes_ = 0;
    const T* rows_ = nullptr;
    std::size_t stride_ = 0;
    AlignedBuffer<std::byte> panels_;
    AlignedBuffer<std::int32_t> offsets_, thresholds_, correction_, bias_;
};

}  // namespace detail

template <class M, FloatElement T>
    requires detail::tile_metric<M>
class TileScorer<DenseSpace<M, T>> : public detail::FloatTileScorer<M, T> {};

/// Cosine over integers divides by norms and has no integer tile; it is scanned a block at a time like any other metric.
template <class M, IntegerElement T>
    requires(detail::tile_metric<M> && M::score != Score::normalised)
class TileScorer<DenseSpace<M, T>> : public detail::IntegerTileScorer<M, T> {};

}  // namespace kith
