// SPDX-License-Identifier: Apache-2.0
//
// ResidualPqScorer: a query bound to product-quantised residuals. The rows of one list are c + r with r the sum of their codes' centroids, and
// measured by a PqScorer (space/pq_scorer.hpp) whose table is that of the query and the list:
//
//   l2   |q - c - r|^2  =  |q - c|^2  +  sum over j of (|r_j|^2 + 2 (c - o)_j.r_j)  +  sum over j of -2 (q - o)_j.r_j
//                          list          list and code: PqListTables, made once        code: made once a query
//   ip   -q.(c + r)     =  -q.c  +  sum over j of -q_j.r_j                              one table a query for all lists
//
// The decomposition is that of Jégou et al.'s successors (Baranchuk, Babenko and Malkov 2018, "Revisiting the inverted indices for billion-scale
// approximate nearest neighbors", ECCV, section 3); o, the mean of the centroids, keeps terms small where all rows lie far from zero. It turns 2^bits
// d multiplications a list into 2^bits m additions. Where the tables of all lists would take more than PqListTables::most_bytes they are not kept,
// and a list's table is computed from q - c.
//
// With 4 bits a list's table becomes bytes with a scale of its own (quantize/pq_table.hpp): residuals span less than rows, so steps are finer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/executor.hpp"
#include "kith/quantize/opq.hpp"
#include "kith/quantize/pq.hpp"
#include "kith/space/pq_scorer.hpp"
#include "kith/space/residual.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

/// Centroids, and what scoring a list needs of them; shared by the spaces that one index goes through.
class PqListTables {
public:
    static constexpr std::size_t most_bytes = std::size_t{256} << 20;

    PqListTables(MatrixView<const float> centroids, const PqCodec& codec, const std::optional<OpqRotation>& rotation, bool products, Executor& executor,
                 std::size_t most = most_bytes)
        : centroids_(Rows<float>::copy(centroids)), origin_(centroids.cols()) {
        if (!products || lists() == 0) return;
        const std::size_t dim = codec.dim(), entries = codec.table_size();
        const bool kept = lists() <= most / sizeof(float) / entries;
        if (!kept && !rotation) return;
        find_origin(rotation);
        (kept ? products_ : rotated_).reserve_discarding(lists() * (kept ? entries : dim));
        const std::vector<float> squares = kept ? squared_norms(codec) : std::vector<float>();
        executor.run(lists(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
            std::vector<float> point(dim);
            for (std::size_t list = begin; list < end; ++list) {
                if (!kept) {
                    rotation->apply(centroid(list), rotated_.data() + list * dim);
                    continue;
                }
                if (rotation) rotation->apply(centroid(list), point.data());
                else std::copy_n(centroid(list), dim, point.data());
                for (std::size_t i = 0; i < dim; ++i) point[i] -= origin_[i];
                float* const table = products_.data() + list * entries;
                codec.dot_table(point.data(), table);
                for (std::size_t i = 0; i < entries; ++i) table[i] = squares[i] - 2 * table[i];
            }
        });
    }

    std::size_t lists() const noexcept { return centroids_.rows(); }
    MatrixView<const float> centroids() const noexcept { return centroids_.view(); }
    const float* centroid(std::size_t list) const noexcept { return centroids_.row(static_cast<Slot>(list)); }
    /// As the codec sees them: rotated.
    const float* rotated(std::size_t list) const noexcept { return rotated_.size() == 0 ? centroid(list) : rotated_.data() + list * centroids_.cols(); }
    bool has_products() const noexcept { return products_.size() != 0; }
    /// Entry c of subspace j of a list: |r|^2 + 2 (c - o).r.
    const float* products(std::size_t list, std::size_t entries) const noexcept { return products_.data() + list * entries; }
    /// o, rotated.
    const float* origin() const noexcept { return origin_.data(); }
    std::size_t products_bytes() const noexcept { return products_.size() * sizeof(float); }
    std::size_t memory_bytes() const noexcept {
        return lists() * centroids_.cols() * sizeof(float) + (rotated_.size() + products_.size() + origin_.size()) * sizeof(float);
    }

private:
    void find_origin(const std::optional<OpqRotation>& rotation) {
        std::vector<double> sums(centroids_.cols());
        for (std::size_t list = 0; list < lists(); ++list)
            for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<double>(centroid(list)[i]);
        std::vector<float> mean(sums.size());
        for (std::size_t i = 0; i < sums.size(); ++i) mean[i] = static_cast<float>(sums[i] / static_cast<double>(lists()));
        if (rotation) rotation->apply(mean.data(), origin_.data());
        else origin_ = std::move(mean);
    }

    static std::vector<float> squared_norms(const PqCodec& codec) {
        std::vector<float> squares(codec.table_size());
        const std::vector<float> zero(codec.dim(), 0.0f);
        codec.l2_table(zero.data(), squares.data());
        return squares;
    }

    Rows<float> centroids_;
    std::vector<float> origin_;
    AlignedBuffer<float> rotated_, products_;
};

/// Borrows everything.
class ResidualPqScorer {
public:
    using distance_type = float;

    /// Of the list in hand.
    struct list_scratch {
        AlignedBuffer<float> table, point;
        AlignedBuffer<std::uint8_t> bytes;
        PqFilter filter;
    };

    /// Of the query, and of the list that was scored last where lists are not scored one by one.
    struct scratch_type {
        AlignedBuffer<float> point, rotated, table;
        AlignedBuffer<std::uint8_t> bytes;
        PqFilter filter;
        list_scratch list;
        std::uint32_t current = 0;
        std::optional<PqScorer> local;
    };

    /// What a query is worth under each metric.
    enum class Form : std::uint8_t { l2, ip, constant };

    /// The scratch holds the query in `point`, rotated in `rotated` where there is a rotation, its table in `table`; of form ip and constant with 4
    /// bits in `bytes`.
    ResidualPqScorer(Form form, const PqCodec& codec, const PqCodes& codes, const SlotRuns& runs, const PqListTables& lists, bool rotated, const ByteScale& scale,
                     float constant, scratch_type& scratch) noexcept
        : form_(form), codec_(&codec), codes_(&codes), runs_(&runs), lists_(&lists), point_(scratch.point.data()),
          rotated_(rotated ? scratch.rotated.data() : scratch.point.data()), scale_(scale), constant_(constant), scratch_(&scratch) {
        scratch.local.reset();
    }

    /// For rows of this list. O(2^bits m), or 2^bits d where products are not kept.
    PqScorer in_list(std::size_t list, std::span<const float>, list_scratch& scratch) const {
        if (form_ == Form::l2) return l2_in(list, scratch);
        const float bias = form_ == Form::ip ? -simd::kernels().dot_f32.one(point_, lists_->centroid(list), codec_->dim()) : constant_;
        if (!codes_->packed()) return PqScorer(*codes_, scratch_->table.data(), bias, scratch_->filter);
        return PqScorer(*codes_, scratch_->bytes.data(), shifted(scale_, bias));
    }

    float operator()(Slot slot) const { return in_run(slot)(slot); }

    /// Worth its price where slots of one list come together.
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
    static ByteScale shifted(ByteScale scale, float bias) noexcept {
        scale.offset = static_cast<float>(static_cast<double>(scale.offset) + static_cast<double>(bias));
        return scale;
    }

    PqScorer l2_in(std::size_t list, list_scratch& scratch) const {
        const std::size_t entries = codec_->table_size(), dim = codec_->dim();
        scratch.table.reserve_discarding(entries);
        float bias = 0;
        if (lists_->has_products()) {
            simd::kernels().product.add(lists_->products(list, entries), scratch_->table.data(), entries, scratch.table.data());
            bias = simd::kernels().l2_f32.one(point_, lists_->centroid(list), dim);
        } else {
            scratch.point.reserve_discarding(dim);
            const float* const centroid = lists_->rotated(list);
            for (std::size_t i = 0; i < dim; ++i) scratch.point[i] = rotated_[i] - centroid[i];
            codec_->l2_table(scratch.point.data(), scratch.table.data());
        }
        if (!codes_->packed()) {
            scratch.filter.reset(*codes_);
            return PqScorer(*codes_, scratch.table.data(), bias, scratch.filter);
        }
        reserve_bytes(*codes_, scratch.bytes);
        return PqScorer(*codes_, scratch.bytes.data(), shifted(bytes_of_table(scratch.table.data(), codec_->m(), codec_->centroids(), scratch.bytes.data()), bias));
    }

    /// The scorer of the list that the slot is in; asked again, it is still there.
    const PqScorer& in_run(Slot slot) const {
        const std::uint32_t list = runs_->list_of(slot);
        if (!scratch_->local || scratch_->current != list) {
            scratch_->local = in_list(list, {}, scratch_->list);
            scratch_->current = list;
        }
        return *scratch_->local;
    }

public:
    /// Room for tables in bytes; those that no code belongs to are 0.
    static void reserve_bytes(const PqCodes& codes, AlignedBuffer<std::uint8_t>& bytes) {
        bytes.reserve_discarding(16 * codes.groups());
        std::fill_n(bytes.data() + 16 * codes.m(), 16 * (codes.groups() - codes.m()), std::uint8_t{0});
    }

private:
    Form form_;
    const PqCodec* codec_;
    const PqCodes* codes_;
    const SlotRuns* runs_;
    const PqListTables* lists_;
    const float* point_;
    const float* rotated_;
    ByteScale scale_;
    float constant_;
    scratch_type* scratch_;
};

}  // namespace kith
