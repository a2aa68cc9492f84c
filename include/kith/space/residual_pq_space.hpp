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
// Residuals, their codec, codes and files are those of a PqSpace<L2 or InnerProduct, float>; what is here is centroids, which list a slot belongs to,
// and but for ip a number a row, its term (space/residual_pq_scorer.hpp). A scorer gives another one for the rows of each list, which is what an index
// that scans lists uses; asked about any slots, it changes from list to list by itself.
//
// Under cosine a zero row has no direction; it is coded as the opposite of its list's centroid, as far as codes go. From a zero query everything is
// at distance 1.
//
// distance(a, b) is exact between what codes stand for; with 4 bits a scorer's distances are those of its table in bytes. Rounding may leave a
// squared distance a little below zero; 0 is reported.
//
// Memory: that of the codes and their codec, 8 bytes a run of slots, 4 d bytes a list; l2 and cosine: 4 bytes a row.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
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
    ResidualPqSpace(std::size_t dim, const PqParams& params) : ResidualPqSpace(Codes::train({nullptr, 0, dim}, params, inline_executor(), 0, {})) {}

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
        ResidualPqSpace space(Codes::train({sample.data(), sampled, dim()}, params, executor, seed, progress));
        space.set_lists({}, centroids);
        space.append(rows, slots, std::move(runs), executor, progress);
        return space;
    }

    std::size_t size() const noexcept { return codes_.size(); }
    std::size_t dim() const noexcept { return codes_.dim(); }
    std::size_t dimensions() const noexcept { return dim(); }
    std::string label() const { return type_label(); }
    static std::string type_label() { return PqSpace<M, T>::type_label(); }
    static std::string file_label() { return PqSpace<M, T>::file_label(); }
    std::size_t row_bytes() const noexcept { return codes_.row_bytes() + (has_terms ? sizeof(float) : 0); }
    std::size_t memory_bytes() const noexcept {
        return codes_.memory_bytes() + runs_.memory_bytes() + (centroids_.rows() + 1) * dim() * sizeof(float) + terms_.rows() * terms_.stride() * sizeof(float);
    }
    /// Of residuals: what the lists' centroids know already is no part of the variance that codes can lose.
    ParamMap describe() const { return codes_.describe(); }
    const M& metric() const noexcept { return metric_; }
    const PqCodec& codec() const noexcept { return codes_.codec(); }
    /// Residuals as a space of their own.
    const Codes& residuals() const noexcept { return codes_; }
    const PqParams& params() const noexcept { return codes_.params(); }
    std::size_t lists() const noexcept { return centroids_.rows(); }
    std::uint32_t list_of(Slot slot) const noexcept { return runs_.list_of(slot); }

    double report(double internal) const {
        if constexpr (is_ip) return metric_.report(internal);
        else return metric_.report(std::max(internal, 0.0) * unit);
    }
    double internal(double reported) const { return metric_.internal(reported) / unit; }

    /// O(2^bits d), and d^2 with opq. Borrows the scratch; the query is not needed any more.
    ResidualPqScorer scorer(std::span<const float> query, scorer_scratch& scratch) const {
        using Form = ResidualPqScorer::Form;
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
        scratch.filter.reset(codes_.codes());
        if (form == Form::constant) std::fill_n(scratch.table.data(), entries, 0.0f);
        else codec().dot_table(table_point(scratch), scratch.table.data());
        ByteScale bytes;
        if (codes_.codes().packed()) {
            const std::size_t groups = codes_.codes().groups();
            scratch.bytes.reserve_discarding(16 * groups);
            std::fill_n(scratch.bytes.data() + 16 * codec().m(), 16 * (groups - codec().m()), std::uint8_t{0});
            bytes = bytes_of_table(scratch.table.data(), codec().m(), codec().centroids(), scratch.bytes.data());
        }
        return ResidualPqScorer(form, codes_.codes(), runs_, centroids_.view(), form == Form::l2 ? terms_.view().data() : nullptr, bytes, constant, scratch);
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
        const float* const centroid = centroid_of(slot);
        for (std::size_t i = 0; i < dim(); ++i) out[i] += centroid[i];
    }

    /// Each row to the list of its nearest centroid. There must be lists. Strong guarantee.
    void append(rows_view rows) {
        check_row(rows.cols());
        if (rows.rows() == 0) return;
        if (lists() == 0) fail(ErrorCode::unsupported, "rows are coded as residuals, and there are no lists yet");
        std::vector<std::uint32_t> list_of(rows.rows());
        if constexpr (is_cosine) assign_nearest_direction(centroids_.view(), rows, list_of, {});
        else assign_nearest(centroids_.view(), rows, list_of, {});
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
                if (row != invalid_slot) residual(rows.row(row), centroid_of(slot), out);
                return row != invalid_slot;
            });
            extend_terms();
            find_terms(before, executor, [&](Slot slot) { return slots[slot - before] != invalid_slot; });
        } catch (...) {
            truncate(before);
            throw;
        }
    }

    /// See ResidualSpace. O(2^bits d) for a row whose centroid is another one now, O(m) for others.
    ResidualPqSpace rearranged(std::span<const Slot> slots, std::vector<SlotRun> runs, MatrixView<const float> centroids, rows_view exact = {},
                               Executor& executor = inline_executor(), const Progress& progress = {}) const {
        ResidualPqSpace space(codes_.reordered(slots, executor));
        space.set_lists(std::move(runs), centroids);
        space.codes_.encode_slots(0, space.size(), executor, progress, [&](Slot slot, float* out) {
            if (slots[slot] == invalid_slot) return false;
            const float *const centroid = space.centroid_of(slot), *const old = centroid_of(slots[slot]);
            if (std::equal(centroid, centroid + dim(), old)) return false;
            if (exact.rows() != 0) {
                residual(exact.row(slots[slot]), centroid, out);
                return true;
            }
            read_query(slots[slot], {out, dim()});
            for (std::size_t i = 0; i < dim(); ++i) out[i] -= centroid[i];
            return true;
        });
        space.extend_terms();
        space.find_terms(0, executor, [&](Slot slot) { return slots[slot] != invalid_slot; });
        return space;
    }

    /// The lists of a space that was loaded, and which slots are theirs: every slot that there is. Files from before terms were kept have none: O(n d) to find them.
    void attach(std::vector<SlotRun> runs, MatrixView<const float> centroids) {
        set_lists(std::move(runs), centroids);
        if (terms_.rows() == blocks_of(size())) return;
        extend_terms();
        find_terms(0, inline_executor(), [](Slot) { return true; });
    }

    /// After own_rows() they cannot run out of memory.
    void overwrite(Slot slot, std::span<const T> row) {
        check_row(row.size());
        residual(row.data(), centroid_of(slot), row_.data());
        replace(slot);
    }
    void own_rows() {
        codes_.own_rows();
        terms_.make_owned();
    }
    void move_row(Slot from, Slot to) {
        const std::uint32_t old = runs_.list_of(from), list = runs_.list_of(to);
        if (old == list) {
            codes_.move_row(from, to);
            if constexpr (has_terms) terms_.own_row(to / block)[to % block] = terms_.row(from / block)[from % block];
            return;
        }
        codes_.read_query(from, row_);
        for (std::size_t i = 0; i < dim(); ++i) row_[i] += centroids_.row(old)[i] - centroids_.row(list)[i];
        replace(to);
    }
    void truncate(std::size_t size) {
        codes_.truncate(size);
        runs_.truncate(size);
        terms_.truncate(blocks_of(size));
    }

    /// Adds the codes' sections and "pq_terms"; lists are the index's to keep, which gives them back by attach().
    void save(SectionWriter& writer) const {
        codes_.save(writer);
        if constexpr (has_terms) writer.add_rows("pq_terms", terms_.view(), section_optional);
    }
    static ResidualPqSpace load(const SectionReader& reader) {
        ResidualPqSpace space(Codes::load(reader));
        if constexpr (has_terms)
            if (reader.contains("pq_terms")) space.terms_ = Rows<float>::map(reader.template matrix<float>("pq_terms", blocks_of(space.size()), block), reader.keep_alive());
        return space;
    }
    static std::vector<std::string_view> section_names() {
        auto names = Codes::section_names();
        if constexpr (has_terms) names.push_back("pq_terms");
        return names;
    }
    /// Throws Error{corrupt} where numbers are not finite. All codes can be. O(n + 2^bits d + d^2).
    void validate(std::string_view source, const Progress& progress = {}) const {
        codes_.validate(source, progress);
        for (std::size_t at = 0; at < terms_.rows() * block; ++at)
            if (!std::isfinite(terms_.view().data()[at])) fail(ErrorCode::corrupt, source, ": section 'pq_terms': number ", at, " is ", terms_.view().data()[at]);
    }

private:
    static constexpr double unit = is_cosine ? 0.5 : 1.0;  // one of an internal distance in the metric's own
    static constexpr bool has_terms = !is_ip;
    static constexpr std::size_t block = PqCodes::block;   // slots whose terms are a row of terms_

    explicit ResidualPqSpace(Codes codes)
        : codes_(std::move(codes)), centroids_(codes_.dim()), terms_(block), origin_(codes_.dim()), row_(codes_.dim()), shifted_(codes_.dim()), rotated_(codes_.dim()) {}

    void set_lists(std::vector<SlotRun> runs, MatrixView<const float> centroids) {
        centroids_ = Rows<float>::copy(centroids);
        runs_ = SlotRuns(std::move(runs));
        std::vector<double> sums(dim());
        for (std::size_t list = 0; list < lists(); ++list)
            for (std::size_t i = 0; i < dim(); ++i) sums[i] += static_cast<double>(centroids.row(list)[i]);
        for (std::size_t i = 0; i < dim(); ++i) origin_[i] = lists() == 0 ? 0.0f : static_cast<float>(sums[i] / static_cast<double>(lists()));
    }

    static std::size_t blocks_of(std::size_t slots) noexcept { return has_terms ? (slots + block - 1) / block : 0; }

    const float* centroid_of(Slot slot) const noexcept { return centroids_.row(runs_.list_of(slot)); }

    void check_row(std::size_t elements) const {
        if (elements != dim()) fail(ErrorCode::dimension_mismatch, "expected rows of ", dim(), " elements, got ", elements);
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

    /// What the query's table is made of: entries are -2 (q - o).r, under ip -q.r.
    const float* table_point(scorer_scratch& scratch) const {
        const float* point = scratch.point.data();
        if constexpr (!is_ip) {
            scratch.shifted.reserve_discarding(dim());
            for (std::size_t i = 0; i < dim(); ++i) scratch.shifted[i] = 2 * (point[i] - origin_[i]);
            point = scratch.shifted.data();
        }
        if (!codes_.rotation()) return point;
        scratch.rotated.reserve_discarding(dim());
        codes_.rotation()->apply(point, scratch.rotated.data());
        return scratch.rotated.data();
    }

    void extend_terms() { terms_.extend(blocks_of(size()), 0.0f); }

    /// |r|^2 + 2 (c - o).r of the slots from `first` on that wanted(slot) names, 0 of others. O(d) a slot, and d^2 a run of slots with opq.
    template <class Wanted>
    void find_terms([[maybe_unused]] std::size_t first, [[maybe_unused]] Executor& executor, [[maybe_unused]] Wanted wanted) {
        if constexpr (has_terms) {
            const std::size_t from = first / block;
            terms_.make_owned();
            executor.run(blocks_of(size()) - from, 64, [&](std::size_t begin, std::size_t end, std::size_t) {
                std::vector<float> shifted(dim()), rotated(dim());
                const float* towards = nullptr;
                std::uint32_t list = 0;
                for (std::size_t slot = std::max(first, (from + begin) * block); slot < std::min(size(), (from + end) * block); ++slot) {
                    float& term = terms_.own_row(static_cast<Slot>(slot / block))[slot % block];
                    term = 0.0f;
                    if (!wanted(static_cast<Slot>(slot))) continue;
                    if (towards == nullptr || runs_.list_of(static_cast<Slot>(slot)) != list) {
                        list = runs_.list_of(static_cast<Slot>(slot));
                        towards = term_point(list, shifted.data(), rotated.data());
                    }
                    term = term_of(static_cast<Slot>(slot), towards);
                }
            });
        }
    }

    /// 2 (c - o) as the codec sees it.
    const float* term_point(std::uint32_t list, float* shifted, float* rotated) const noexcept {
        for (std::size_t i = 0; i < dim(); ++i) shifted[i] = 2 * (centroids_.row(list)[i] - origin_[i]);
        if (!codes_.rotation()) return shifted;
        codes_.rotation()->apply(shifted, rotated);
        return rotated;
    }

    float term_of(Slot slot, const float* towards) const noexcept {
        double sum = 0;
        for (std::size_t j = 0; j < codec().m(); ++j) {
            const float* const r = codec().centroid(j, codes_.codes().code(slot, j));
            const float* const point = towards + codec().first(j);
            for (std::size_t k = 0; k < codec().length(j); ++k) sum += static_cast<double>(r[k]) * (static_cast<double>(r[k]) + static_cast<double>(point[k]));
        }
        constexpr double most = std::numeric_limits<float>::max();  // of numbers so large that they tell nothing
        return static_cast<float>(std::isfinite(sum) ? std::clamp(sum, -most, most) : most);
    }

    /// The slot's residual is row_ now. Needs no memory.
    void replace(Slot slot) {
        codes_.overwrite(slot, row_);
        if constexpr (has_terms) terms_.own_row(slot / block)[slot % block] = term_of(slot, term_point(runs_.list_of(slot), shifted_.data(), rotated_.data()));
    }

    Codes codes_;
    SlotRuns runs_;
    Rows<float> centroids_;
    Rows<float> terms_;           // 32 slots' a row
    std::vector<float> origin_;   // o
    std::vector<float> row_, shifted_, rotated_;  // so that overwrite() allocates nothing
    [[no_unique_address]] M metric_;
};

}  // namespace kith
