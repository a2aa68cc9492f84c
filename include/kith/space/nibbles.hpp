// SPDX-License-Identifier: Apache-2.0
//
// NibbleCodes<Metric>: rows of 4-bit codes, packed two to a byte (quantize/nibbles.hpp) and measured in whole numbers:
// what DenseSpace is to codes of 8 bits. Codes go in as levels, -8 .. 7; a query is finer than they are:
//
//   L2             query: -67 .. 127, quarters of a level from the lowest one     |q - 4 (levels + 8)|^2
//   InnerProduct   query: any signed bytes                                        -(q . levels)
//
// A query has query_size() elements, one more than rows where their number is odd, which is `behind`. Nothing is kept
// beside a row: d / 2 bytes each, and one line of memory for 128 dimensions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/prefetch.hpp"
#include "kith/metric/metric.hpp"
#include "kith/quantize/nibbles.hpp"
#include "kith/simd/kernels.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

template <class M>
    requires std::same_as<M, L2> || std::same_as<M, InnerProduct>
class NibbleCodes {
    static constexpr bool is_ip = std::same_as<M, InnerProduct>;

public:
    using code_type = std::int8_t;  // levels
    using query_type = std::int8_t;
    using distance_type = std::int32_t;
    static constexpr std::size_t max_integer_dim = 133144;  // 127^2 * dim < 2^31
    static constexpr query_type behind = is_ip ? 0 : 32;

    /// No rows yet. Throws Error{dimension_mismatch, unsupported}.
    explicit NibbleCodes(std::size_t dim) : NibbleCodes(dim, Rows<std::uint8_t>(packed_nibbles(dim))) {}

    /// Rows of packed_nibbles(dim) bytes.
    NibbleCodes(std::size_t dim, Rows<std::uint8_t> rows) : dim_(dim), rows_(std::move(rows)), packed_(rows_.cols()) {
        if (rows_.rows() >= max_rows)
            fail(ErrorCode::unsupported, "an index holds fewer than ", max_rows, " rows, not ", rows_.rows());
        if (dim > max_integer_dim) fail(ErrorCode::unsupported, "4-bit rows have at most ", max_integer_dim, " dimensions, not ", dim);
        if (rows_.cols() != packed_nibbles(dim))
            fail(ErrorCode::dimension_mismatch, "expected codes of ", packed_nibbles(dim), " bytes, got ", rows_.cols());
        if constexpr (is_ip) kernels_ = &simd::kernels().dot_n4;
        else kernels_ = &simd::kernels().l2_n4;
    }

    std::size_t size() const noexcept { return rows_.rows(); }
    std::size_t dim() const noexcept { return dim_; }
    std::size_t query_size() const noexcept { return 2 * rows_.cols(); }
    std::size_t row_bytes() const noexcept { return rows_.cols(); }
    std::size_t memory_bytes() const noexcept { return size() * rows_.stride(); }
    /// Packed.
    const Rows<std::uint8_t>& rows() const noexcept { return rows_; }

    class scorer_type {
    public:
        using distance_type = std::int32_t;

        scorer_type(const NibbleCodes& codes, const query_type* query) noexcept : codes_(&codes), query_(query) {}

        std::int32_t operator()(Slot slot) const {
            std::int32_t distance;
            run(slot, 1, &distance);
            return distance;
        }
        void gather(std::span<const Slot> slots, std::int32_t* out) const {
            codes_->kernels_->gather(query_, codes_->rows_ref(), slots.data(), slots.size(), out);
            finish(out, slots.size());
        }
        void run(std::size_t first, std::size_t count, std::int32_t* out) const {
            codes_->kernels_->run(query_, codes_->rows_ref(), first, count, out);
            finish(out, count);
        }

    private:
        static void finish([[maybe_unused]] std::int32_t* out, [[maybe_unused]] std::size_t count) noexcept {
            if constexpr (is_ip)
                for (std::size_t i = 0; i < count; ++i) out[i] = -out[i];
        }

        const NibbleCodes* codes_;
        const query_type* query_;
    };

    /// Borrows the query: query_size() elements.
    scorer_type scorer(std::span<const query_type> query) const noexcept { return {*this, query.data()}; }

    /// What a scorer says whose query is row a: 4 (levels + 8), or its levels.
    std::int32_t distance(Slot a, Slot b) const noexcept {
        const std::int32_t raw = kernels_->one(rows_.row(a), rows_.row(b), rows_.cols());
        return is_ip ? -raw : raw;
    }

    /// The first 512 bytes of a row; the processor's own prefetcher has understood by then.
    void prefetch(Slot slot) const noexcept { prefetch_bytes(rows_.row(slot), std::min<std::size_t>(row_bytes(), 512)); }

    /// Amortised O(d) a row. Strong guarantee.
    void append(MatrixView<const code_type> codes) {
        if (codes.rows() >= max_rows - size())
            fail(ErrorCode::unsupported, "an index holds fewer than ", max_rows, " rows, not ", size() + codes.rows());
        std::vector<std::uint8_t> packed(codes.rows() * rows_.cols());
        for (std::size_t i = 0; i < codes.rows(); ++i) pack_nibbles(codes.row(i), dim_, packed.data() + i * rows_.cols());
        rows_.append({packed.data(), codes.rows(), rows_.cols()});
    }

    void overwrite(Slot slot, std::span<const code_type> codes) {
        if (codes.size() != dim_) fail(ErrorCode::dimension_mismatch, "expected a row of ", dim_, " elements, got ", codes.size());
        pack_nibbles(codes.data(), dim_, packed_.data());
        rows_.overwrite(slot, packed_);
    }

    void own_rows() { rows_.make_owned(); }
    void move_row(Slot from, Slot to) { rows_.overwrite(to, rows_.view()[from]); }
    void truncate(std::size_t size) noexcept { rows_.truncate(size); }
    NibbleCodes reordered(std::span<const Slot> old_of, Executor& executor = inline_executor()) const {
        return NibbleCodes(dim_, rows_.selected(old_of, executor));
    }

private:
    simd::RowsRef<std::uint8_t> rows_ref() const noexcept { return {rows_.view().data(), rows_.stride(), rows_.cols(), nullptr}; }

    std::size_t dim_;
    Rows<std::uint8_t> rows_;
    std::vector<std::uint8_t> packed_;  // so that overwrite() allocates nothing
    const simd::NibbleKernels* kernels_ = nullptr;
};

}  // namespace kith
