// SPDX-License-Identifier: Apache-2.0
//
// ResidualPqSpace<Metric, T>: rows of T that belong to lists, kept as product-quantised differences from their list's centroid (Jégou, Douze and
// Schmid 2011, section IV.A). Residuals of all lists share one codec: they are alike where rows are not, so that the same bytes say more.
//
//     x  ~  c_list + r                  r: what the codes of x - c_list stand for
//
//   l2, euclidean   |q - c - r|^2
//   cosine          |q / |q| - c - r|^2, half of which is reported; rows are normalised, then made residuals
//   ip              -q.c - q.r
//
// Residuals, their codec, codes and files are those of a PqSpace<L2 or InnerProduct, float>; what is here is centroids and which list a slot belongs
// to. A scorer gives another one for the rows of each list (space/residual_pq_scorer.hpp), which is what an index that scans lists uses; asked about
// any slots, it changes from list to list by itself.
//
// Under cosine a zero row has no direction; it is coded as the opposite of its list's centroid, as far as codes go. From a zero query everything is
// at distance 1.
//
// distance(a, b) is exact between what codes stand for; with 4 bits a scorer's distances are those of its table in bytes. Rounding may leave a
// squared distance a little below zero; 0 is reported.
//
// Memory: that of the codes and their codec, 8 bytes a run of slots, 4 d bytes a list; l2 and cosine: 4 m 2^bits bytes a list for tables, while that
// is at most table_bytes in all.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/quantize/nearest.hpp"
#include "kith/space/pq_space.hpp"
#include "kith/space/residual.hpp"
#include "kith/space/residual_pq_scorer.hpp"

namespace kith {

template <PqMetric M, FloatElement T>
class ResidualPqSpace {
    static constexpr bool is_ip = std::same_as<M, InnerProduct>;
    static constexpr bool is_cosine = std::same_as<M, Cosine>;
    using Codes = PqSpace<std::conditional_t<is_ip, InnerProduct, L2>, float>;

public:
    using metric_type = M;
    using element_type = T;
    using query_type = float;
    using distance_type = float;
    using rows_view = MatrixView<const T>;
    using scorer_type = ResidualPqScorer;
    using scorer_scratch = ResidualPqScorer::scratch_type;
    static constexpr std::size_t run_alignment = Codes::run_alignment;

    /// No lists, no rows, and a codec that knows nothing yet. Throws as PqCodec::check_shape does.
    ResidualPqSpace(std::size_t dim, const PqParams& params, std::size_t table_bytes = PqListTables::most_bytes)
        : ResidualPqSpace(Codes::train({nullptr, 0, dim}, params, inline_executor(), 0, {}), table_bytes) {}

    /// Rows of these lists, whose codec is trained on their residuals. slots, runs: see ResidualSpace.
    /// Progress: "train", "encode". Throws Error{dimension_mismatch, invalid_argument, out_of_memory, cancelled}.
    ResidualPqSpace trained(rows_view rows, std::span<const Slot> slots, std::vector<SlotRun> runs, MatrixView<const float> centroids, std::uint64_t seed,
                            Executor& executor = inline_executor(), const Progress& progress = {}) const {
        check_row(rows.cols());
        const SlotRuns lists(runs);
        const PqParams& params = codes_.params();
        const std::size_t wanted = std::max(PqCodec::training_rows(params), params.opq ? opq_training_rows(dim()) : 0), count = std::min(wanted, slots.size());
        AlignedBuffer<float> sample(count * dim());
        std::size_t sampled = 0;
        const Random random(seed, 0x7265736964);
        for (std::size_t i = 0; i < count; ++i) {  // one of each stratum of the slots, which are in the order of lists
            const std::size_t first = i * slots.size() / count;
            const std::size_t slot = first + random.below(i, (i + 1) * slots.size() / count - first);
            if (slots[slot] == invalid_slot) continue;
            if (residual(rows.row(slots[slot]), centroids[lists.list_of(static_cast<Slot>(slot))].data(), sample.data() + sampled * dim())) ++sampled;
        }
        ResidualPqSpace space(Codes::train({sample.data(), sampled, dim()}, params, executor, seed, progress), table_bytes_);
        space.attach({}, centroids, executor);
        space.append(rows, slots, std::move(runs), executor, progress);
        return space;
    }

    std::size_t size() const noexcept { return codes_.size(); }
    std::size_t dim() const noexcept { return codes_.dim(); }
    std::size_t dimensions() const noexcept { return dim(); }
    std::string label() const { return type_label(); }
    static std::string type_label() { return PqSpace<M, T>::type_label(); }
    static std::string file_label() { return PqSpace<M, T>::file_label(); }
    std::size_t row_bytes() const noexcept { return codes_.row_bytes(); }
    std::size_t memory_bytes() const noexcept { return codes_.memory_bytes() + runs_.memory_bytes() + (lists_ ? lists_->memory_bytes() : 0); }
    /// Of residuals: what the lists' centroids know already is no part of the variance that codes can lose.
    ParamMap describe() const { return codes_.describe(); }
    const M& metric() const noexcept { return metric_; }
    const PqCodec& codec() const noexcept { return codes_.codec(); }
    /// Residuals as a space of their own.
    const Codes& residuals() const noexcept { return codes_; }
    const PqParams& params() const noexcept { return codes_.params(); }
    std::size_t lists() const noexcept { return lists_->lists(); }
    std::uint32_t list_of(Slot slot) const noexcept { return runs_.list_of(slot); }
    /// Tables of all lists; 0 where there are none.
    std::size_t table_bytes() const noexcept { return lists_->products_bytes(); }

    double report(double internal) const {
        if constexpr (is_ip) return metric_.report(internal);
        else return metric_.report(std::max(internal, 0.0) * unit);
    }
    double internal(double reported) const { return metric_.internal(reported) / unit; }

    /// O(2^bits d), and d^2 with opq. Borrows the scratch; the query is not needed any more.
    ResidualPqScorer scorer(std::span<const float> query, scorer_scratch& scratch) const {
        using Form = ResidualPqScorer::Form;
        const auto& rotation = codes_.rotation();
        const std::size_t entries = codec().table_size();
        scratch.point.reserve_discarding(dim());
        scratch.table.reserve_discarding(entries);
        float scale = 1;
        if constexpr (is_cosine) scale = detail::inverse_norm(query.data(), dim());
        const Form form = is_ip ? Form::ip : scale == 0 ? Form::constant : Form::l2;
        float constant = static_cast<float>(1 / unit);  // of a query without direction; what is not finite is infinitely far
        for (std::size_t i = 0; i < dim(); ++i) {
            scratch.point[i] = query[i] * scale;
            constant += query[i] * 0.0f;
        }
        if (rotation) {
            scratch.rotated.reserve_discarding(dim());
            rotation->apply(scratch.point.data(), scratch.rotated.data());
        }
        scratch.filter.reset(codes_.codes());
        float* const table = scratch.table.data();
        if (form == Form::constant) std::fill_n(table, entries, 0.0f);
        else if (form == Form::ip) codec().dot_table(rotation ? scratch.rotated.data() : scratch.point.data(), table);
        else if (lists_->has_products()) fill_query_table(rotation ? scratch.rotated.data() : scratch.point.data(), scratch);
        ByteScale bytes;
        if (codes_.codes().packed() && form != Form::l2) {
            ResidualPqScorer::reserve_bytes(codes_.codes(), scratch.bytes);
            bytes = bytes_of_table(table, codec().m(), codec().centroids(), scratch.bytes.data());
        }
        return ResidualPqScorer(form, codec(), codes_.codes(), runs_, *lists_, rotation.has_value(), bytes, constant, scratch);
    }

    /// O(d), and d^2 with opq.
    float distance(Slot a, Slot b) const {
        std::vector<float> x(dim()), y(dim());
        read_query(a, x);
        read_query(b, y);
        if constexpr (is_ip) return -simd::kernels().dot_f32.one(x.data(), y.data(), dim());
        else return simd::kernels().l2_f32.one(x.data(), y.data(), dim());
    }

    /// The decoded row; under cosine that of the normalised one.
    void read_query(Slot slot, std::span<float> out) const {
        codes_.read_query(slot, out);
        const float* const centroid = lists_->centroid(runs_.list_of(slot));
        for (std::size_t i = 0; i < dim(); ++i) out[i] += centroid[i];
    }

    /// Each row to the list of its nearest centroid. There must be lists. Strong guarantee.
    void append(rows_view rows) {
        check_row(rows.cols());
        if (rows.rows() == 0) return;
        if (lists() == 0) fail(ErrorCode::unsupported, "rows are coded as residuals, and there are no lists yet");
        std::vector<std::uint32_t> list_of(rows.rows());
        if constexpr (is_cosine) assign_nearest_direction(lists_->centroids(), rows, list_of, {});
        else assign_nearest(lists_->centroids(), rows, list_of, {});
        std::vector<Slot> slots(rows.rows());
        std::vector<SlotRun> runs;
        for (std::size_t i = 0; i < rows.rows(); ++i) {
            slots[i] = static_cast<Slot>(i);
            runs.push_back({static_cast<Slot>(size() + i), list_of[i] < lists() ? list_of[i] : 0});
        }
        append(rows, slots, std::move(runs));
    }

    /// slots, runs: see ResidualSpace. O(2^bits d) a row, and d^2 with opq. Strong guarantee. Progress: "encode".
    void append(rows_view rows, std::span<const Slot> slots, std::vector<SlotRun> runs, Executor& executor = inline_executor(), const Progress& progress = {}) {
        check_row(rows.cols());
        const std::size_t before = size();
        try {
            codes_.extend(before + slots.size());
            runs_.append(runs);
            codes_.encode_slots(before, size(), executor, progress, [&](Slot slot, float* out) {
                const Slot row = slots[slot - before];
                if (row != invalid_slot) residual(rows.row(row), lists_->centroid(runs_.list_of(slot)), out);
                return row != invalid_slot;
            });
        } catch (...) {
            truncate(before);
            throw;
        }
    }

    /// See ResidualSpace. O(2^bits d) for a row whose centroid is another one now, O(m) for others.
    ResidualPqSpace rearranged(std::span<const Slot> slots, std::vector<SlotRun> runs, MatrixView<const float> centroids, rows_view exact = {},
                               Executor& executor = inline_executor(), const Progress& progress = {}) const {
        ResidualPqSpace space(codes_.reordered(slots, executor), table_bytes_);
        if (same_centroids(centroids)) {
            space.lists_ = lists_;
            space.runs_ = SlotRuns(std::move(runs));
        } else {
            space.attach(std::move(runs), centroids, executor);
        }
        space.codes_.encode_slots(0, space.size(), executor, progress, [&](Slot slot, float* out) {
            if (slots[slot] == invalid_slot) return false;
            const float* const centroid = space.lists_->centroid(space.runs_.list_of(slot));
            if (std::equal(centroid, centroid + dim(), lists_->centroid(runs_.list_of(slots[slot])))) return false;
            if (exact.rows() != 0) {
                residual(exact.row(slots[slot]), centroid, out);
                return true;
            }
            read_query(slots[slot], {out, dim()});
            for (std::size_t i = 0; i < dim(); ++i) out[i] -= centroid[i];
            return true;
        });
        return space;
    }

    /// The lists of a space that has none, and which slots are theirs: every slot that there is.
    void attach(std::vector<SlotRun> runs, MatrixView<const float> centroids, Executor& executor = inline_executor()) {
        lists_ = std::make_shared<const PqListTables>(centroids, codec(), codes_.rotation(), !is_ip, executor, table_bytes_);
        runs_ = SlotRuns(std::move(runs));
    }

    /// After own_rows() they cannot run out of memory.
    void overwrite(Slot slot, std::span<const T> row) {
        check_row(row.size());
        residual(row.data(), lists_->centroid(runs_.list_of(slot)), row_.data());
        codes_.overwrite(slot, row_);
    }
    void own_rows() { codes_.own_rows(); }
    void move_row(Slot from, Slot to) {
        const std::uint32_t old = runs_.list_of(from), list = runs_.list_of(to);
        if (old == list) return codes_.move_row(from, to);
        codes_.read_query(from, row_);
        for (std::size_t i = 0; i < dim(); ++i) row_[i] += lists_->centroid(old)[i] - lists_->centroid(list)[i];
        codes_.overwrite(to, row_);
    }
    void truncate(std::size_t size) {
        codes_.truncate(size);
        runs_.truncate(size);
    }

    /// Adds the codes' sections; lists are the index's to keep, which gives them back by attach().
    void save(SectionWriter& writer) const { codes_.save(writer); }
    static ResidualPqSpace load(const SectionReader& reader, std::size_t table_bytes = PqListTables::most_bytes) {
        return ResidualPqSpace(Codes::load(reader), table_bytes);
    }
    static std::vector<std::string_view> section_names() { return Codes::section_names(); }
    void validate(std::string_view source, const Progress& progress = {}) const { codes_.validate(source, progress); }

private:
    static constexpr double unit = is_cosine ? 0.5 : 1.0;  // one of an internal distance in the metric's own

    ResidualPqSpace(Codes codes, std::size_t table_bytes) : codes_(std::move(codes)), table_bytes_(table_bytes), row_(codes_.dim()) {
        attach({}, MatrixView<const float>(nullptr, 0, dim()));
    }

    void check_row(std::size_t elements) const {
        if (elements != dim()) fail(ErrorCode::dimension_mismatch, "expected rows of ", dim(), " elements, got ", elements);
    }

    bool same_centroids(MatrixView<const float> centroids) const noexcept {
        if (centroids.rows() != lists()) return false;
        for (std::size_t list = 0; list < lists(); ++list)
            if (!std::equal(centroids.row(list), centroids.row(list) + dim(), lists_->centroid(list))) return false;
        return true;
    }

    /// Whether the row is one to train on.
    static bool residual(const T* row, const float* centroid, float* out, std::size_t dim) noexcept {
        detail::widen(row, dim, out);
        if constexpr (is_cosine) {
            const float scale = detail::inverse_norm(row, dim);
            if (scale == 0) {
                for (std::size_t i = 0; i < dim; ++i) out[i] = -2 * centroid[i];
                return false;
            }
            for (std::size_t i = 0; i < dim; ++i) out[i] *= scale;
        }
        for (std::size_t i = 0; i < dim; ++i) out[i] -= centroid[i];
        return true;
    }
    bool residual(const T* row, const float* centroid, float* out) const noexcept { return residual(row, centroid, out, dim()); }

    /// -2 (q - o).r for each code.
    void fill_query_table(const float* rotated, scorer_scratch& scratch) const {
        scratch.list.point.reserve_discarding(dim());
        float* const point = scratch.list.point.data();
        for (std::size_t i = 0; i < dim(); ++i) point[i] = 2 * (rotated[i] - lists_->origin()[i]);
        codec().dot_table(point, scratch.table.data());
    }

    Codes codes_;
    SlotRuns runs_;
    std::shared_ptr<const PqListTables> lists_;
    std::size_t table_bytes_;
    std::vector<float> row_;  // so that overwrite() allocates nothing
    [[no_unique_address]] M metric_;
};

}  // namespace kith
