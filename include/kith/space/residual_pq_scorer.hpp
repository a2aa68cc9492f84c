// SPDX-License-Identifier: Apache-2.0
//
// ResidualPqScorer: a query bound to product-quantised residuals. The rows of one list are c + r with r the sum of their codes' centroids, and
// measured by a PqScorer (space/pq_scorer.hpp) with the query's table, what the list adds, and what the row adds:
//
//   l2   |q - c - r|^2  =  |q - c|^2  +  ( |r|^2 + 2 (c - o).r )  +  sum over j of -2 (q - o)_j.r_j
//                          list          row: kept beside its codes   code: a table, made once a query
//   ip   -q.(c + r)     =  -q.c       +  sum over j of -q_j.r_j
//
// So a list costs one distance from its centroid. (Jégou et al.'s own table of q - c costs 2^bits d multiplications a list; Baranchuk, Babenko and
// Malkov 2018, "Revisiting the inverted indices for billion-scale approximate nearest neighbors", ECCV, section 3, keep the second term for each list
// and code, which costs 2^bits m additions a list; kept for each row it costs one addition a row, and 4 bytes.) Any o will do; the mean of the centroids
// keeps terms small where all rows lie far from zero.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "kith/core/buffer.hpp"
#include "kith/quantize/pq.hpp"
#include "kith/space/pq_scorer.hpp"
#include "kith/space/residual.hpp"

namespace kith {

/// Borrows everything.
class ResidualPqScorer {
public:
    using distance_type = float;

    struct scratch_type {
        AlignedBuffer<float> point, shifted, rotated, table;
        AlignedBuffer<std::uint8_t> bytes;
        PqFilter filter;
    };

    /// What a query is worth under each metric.
    enum class Form : std::uint8_t { l2, ip, constant };

    /// terms: of each slot, null where rows add nothing. The scratch holds the query in `point`, its table in `table`, with 4 bits in `bytes`.
    ResidualPqScorer(Form form, const PqCodes& codes, const SlotRuns& runs, MatrixView<const float> centroids, const float* terms, const ByteScale& scale,
                     float constant, scratch_type& scratch) noexcept
        : form_(form), codes_(&codes), runs_(&runs), centroids_(centroids), terms_(terms), scale_(scale), constant_(constant), scratch_(&scratch) {}

    /// For rows of this list. O(d).
    PqScorer in_list(std::size_t, std::span<const float> centroid) const { return in_list(centroid.data()); }

    float operator()(Slot slot) const { return in_run(slot)(slot); }

    /// O(d) for each change of lists.
    void gather(std::span<const Slot> slots, float* out) const {
        for (std::size_t first = 0, last = 0; first < slots.size(); first = last) {
            const std::uint32_t list = runs_->list_of(slots[first]);
            while (last < slots.size() && runs_->list_of(slots[last]) == list) ++last;
            in_run(slots[first]).gather(slots.subspan(first, last - first), out + first);
        }
    }

    void run(std::size_t first, std::size_t count, float* out) const {
        while (count > 0) {
            const std::size_t some = std::min(count, runs_->end_of(static_cast<Slot>(first), first + count) - first);
            in_run(static_cast<Slot>(first)).run(first, some, out);
            first += some;
            count -= some;
            out += some;
        }
    }

private:
    PqScorer in_list(const float* centroid) const noexcept {
        const float* const point = scratch_->point.data();
        const std::size_t dim = centroids_.cols();
        const float bias = form_ == Form::l2   ? simd::kernels().l2_f32.one(point, centroid, dim)
                           : form_ == Form::ip ? -simd::kernels().dot_f32.one(point, centroid, dim)
                                               : constant_;
        if (!codes_->packed()) return PqScorer(*codes_, scratch_->table.data(), bias, scratch_->filter).with_terms(terms_);
        ByteScale scale = scale_;
        scale.offset = static_cast<float>(static_cast<double>(scale.offset) + static_cast<double>(bias));
        return PqScorer(*codes_, scratch_->bytes.data(), scale).with_terms(terms_);
    }
    PqScorer in_run(Slot slot) const noexcept { return in_list(centroids_.row(runs_->list_of(slot))); }

    Form form_;
    const PqCodes* codes_;
    const SlotRuns* runs_;
    MatrixView<const float> centroids_;
    const float* terms_;
    ByteScale scale_;
    float constant_;
    scratch_type* scratch_;
};

}  // namespace kith
