// SPDX-License-Identifier: Apache-2.0
//
// PqSpace<Metric, T>: rows of T kept as product-quantised codes (quantize/pq.hpp) of m bytes, or m halves of one, and scored from a table of the query:
// asymmetric distances (Jégou, Douze and Schmid 2011, section III.A). The rows themselves are gone: what an index over this space finds is near, and
// Refine (index/refine.hpp) looks at the exact rows again. Flat<PqSpace> is the index that is called PQ.
//
//   l2, euclidean   |q - x|^2                      x: what the codes stand for
//   cosine          |q / |q| - x|^2, half of which is reported; rows are normalised before they are coded
//   ip              -q.x
//
// 4-bit codes are scored from a table in bytes (quantize/pq_table.hpp): that is what their distance is, in all shapes of a scorer and in batches.
//
// With `opq` rows and queries are rotated first (quantize/opq.hpp), which no metric notices.
//
// Under cosine a zero row has no direction; it gets the centroids that are farthest from the mean of their subspace, where it is in nobody's way. From a
// zero query everything is at distance 1.
//
// read_query() gives a decoded row, and a query that is a decoded row to the bit is taken for that row: distance(a, b) is what a scorer bound to row a
// says of b, and the same as distance(b, a) (SDC). With 4 bits the table of such a query is a row of the codec's own, in bytes of one scale for all.
//
// Memory: m bytes a row, or ceil(m / 4) * 2 with 4 bits; for all rows together 2 * 2^bits floats a dimension, with opq 2 d^2, with 4 bits 256 m bytes.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/params.hpp"
#include "kith/quantize/opq.hpp"
#include "kith/quantize/pq.hpp"
#include "kith/quantize/pq_codes.hpp"
#include "kith/space/dense.hpp"
#include "kith/space/pq_scorer.hpp"

namespace kith {

/// The metrics that product-quantised codes can be measured with.
template <class M>
concept PqMetric = std::same_as<M, L2> || std::same_as<M, Euclidean> || std::same_as<M, Cosine> || std::same_as<M, InnerProduct>;

template <PqMetric M, FloatElement T>
class PqSpace {
    static constexpr bool is_ip = std::same_as<M, InnerProduct>;
    static constexpr bool is_cosine = std::same_as<M, Cosine>;

public:
    using metric_type = M;
    using element_type = T;
    using query_type = float;
    using distance_type = float;
    using rows_view = MatrixView<const T>;
    using codec_params = PqParams;
    using scorer_type = PqScorer;
    static constexpr std::size_t run_alignment = PqCodes::block;

    /// A query's table, and what it is made of.
    struct scorer_scratch {
        AlignedBuffer<float> point, decoded, row, table;
        AlignedBuffer<std::uint8_t> codes, bytes;
        PqFilter filter;
    };

    /// No rows yet. Throws Error{dimension_mismatch} for a rotation of another dimension.
    explicit PqSpace(PqCodec codec, std::optional<OpqRotation> rotation = {}) : PqSpace(codec, std::move(rotation), PqCodes(codec.m(), codec.bits())) {}

    /// Rows that were encoded with this codec.
    PqSpace(PqCodec codec, std::optional<OpqRotation> rotation, PqCodes codes)
        : codec_(std::move(codec)), rotation_(std::move(rotation)), codes_(std::move(codes)), row_codes_(codec_.m()), nowhere_(codec_.m()) {
        if (codes_.m() != codec_.m() || codes_.packed() != packed())
            fail(ErrorCode::dimension_mismatch, "expected ", codec_.m(), " codes of ", codec_.bits(), " bits a row, got ", codes_.m(), " of ",
                 codes_.packed() ? 4 : 8);
        if (rotation_ && rotation_->dim() != codec_.dim())
            fail(ErrorCode::dimension_mismatch, "expected a rotation of ", codec_.dim(), " dimensions, got ", rotation_->dim());
        params_.m = static_cast<std::uint32_t>(codec_.m());
        params_.bits = static_cast<std::uint32_t>(codec_.bits());
        params_.opq = rotation_.has_value();
        workspace_.reserve(1, dim());
        if (packed()) {
            const std::vector<float> tables = is_ip ? codec_.dot_symmetric() : codec_.l2_symmetric();
            symmetric_.resize(tables.size());
            symmetric_scale_ = bytes_of_table(tables.data(), codec_.m(), codec_.centroids() * codec_.centroids(), symmetric_.data());
        }
        if constexpr (is_cosine) find_nowhere();
    }

    /// A codec of such rows, and none of them. Throws Error{dimension_mismatch, invalid_argument, out_of_memory, cancelled}.
    static PqSpace train(rows_view rows, const PqParams& params, Executor& executor, std::uint64_t seed, const Progress& progress) {
        const std::size_t dim = rows.cols();
        PqCodec::check_shape(dim, params.m, params.bits);
        progress.report("train", 0, params.m);
        const std::size_t wanted = PqCodec::training_rows(params), to_rotate = params.opq ? opq_training_rows(dim) : 0;
        Sample sample = sample_rows(rows, std::max(wanted, to_rotate), seed, RowScale{});
        std::optional<OpqRotation> rotation;
        if (params.opq) {
            const std::size_t step = std::max<std::size_t>(sample.rows / to_rotate, 1);  // the rotation needs fewer rows: every so many of them
            rotation = train_opq<float>({sample.values.data(), sample.rows / step, dim, dim * step}, params, seed, executor, progress).rotation;
            AlignedBuffer<float> rotated(sample.rows * dim);
            rotation->apply_rows(sample.view(), rotated.data(), executor);
            sample.values = std::move(rotated);
        }
        TrainedPq trained = PqCodec::train_on(sample.view(), params, seed, executor, progress);
        PqCodec codec = rotation ? trained.codec.without_twins() : std::move(trained.codec);
        PqSpace space(std::move(codec), std::move(rotation));
        space.params_ = params;
        space.training_ = PqTraining::of(trained.report, params.m);
        return space;
    }

    /// Trains a codec on rows and encodes them. Throws Error{dimension_mismatch, invalid_argument, out_of_memory, cancelled}.
    static PqSpace train_and_encode(rows_view rows, const PqParams& params, Executor& executor = inline_executor(), std::uint64_t seed = 0,
                                    const Progress& progress = {}) {
        PqSpace space = train(rows, params, executor, seed, progress);
        space.codes_.extend(rows.rows());
        space.encode_slots(0, rows.rows(), executor, progress, [&](Slot slot, T* out) {
            std::copy_n(rows.row(slot), rows.cols(), out);
            return true;
        });
        return space;
    }

    /// Codes of the slots [first, last), which are its own: those of the row that row_of(slot, out) writes, or what they are where it returns false. It is called on all
    /// workers. Progress: "encode".
    template <class RowOf>
    void encode_slots(std::size_t first, std::size_t last, Executor& executor, const Progress& progress, RowOf row_of) {
        struct Worker {
            Workspace space;
            std::vector<T> rows;
            std::vector<Slot> slots;
            std::vector<std::uint8_t> codes;
        };
        std::vector<Worker> workers(executor.workers());
        constexpr std::size_t block = PqCodes::block, chunk = std::size_t{1} << 13;  // slots that are coded together; blocks between two reports
        const std::size_t blocks = (last + block - 1) / block;
        for (std::size_t from = first / block; from < blocks; from += chunk) {
            progress.report("encode", std::max(from * block, first) - first, last - first);
            executor.run(std::min(chunk, blocks - from), 4, [&](std::size_t begin, std::size_t end, std::size_t which) {
                auto& worker = workers[which];
                worker.codes.resize(block * codec_.m());
                worker.rows.resize(block * dim());
                for (std::size_t at = from + begin; at < from + end; ++at) {
                    worker.slots.clear();
                    for (std::size_t slot = std::max(at * block, first); slot < std::min((at + 1) * block, last); ++slot)
                        if (row_of(static_cast<Slot>(slot), worker.rows.data() + worker.slots.size() * dim())) worker.slots.push_back(static_cast<Slot>(slot));
                    if (worker.slots.empty()) continue;
                    encode_rows({worker.rows.data(), worker.slots.size(), dim()}, worker.space, worker.codes.data());
                    for (std::size_t i = 0; i < worker.slots.size(); ++i) codes_.set(worker.slots[i], worker.codes.data() + i * codec_.m());
                }
            });
        }
        progress.report("encode", last - first, last - first);
    }

    std::size_t size() const noexcept { return codes_.size(); }
    std::size_t dim() const noexcept { return codec_.dim(); }
    std::size_t dimensions() const noexcept { return dim(); }
    std::string label() const { return type_label(); }
    static std::string type_label() { return std::string(M::name) + "/pq"; }
    /// The element type of the rows it takes is part of what a file holds.
    static std::string file_label() { return type_label() + ":" + std::string(name(element_traits<T>::type)); }
    std::size_t row_bytes() const noexcept { return codes_.row_bytes(); }
    std::size_t memory_bytes() const noexcept {
        return codes_.stored().rows() * codes_.stored().stride() + codec_.codebook_bytes() + symmetric_.size() + (rotation_ ? rotation_->bytes() : 0);
    }
    ParamMap describe() const {
        ParamMap facts = describe_codes(row_bytes(), dim() * sizeof(T), memory_bytes() - codes_.stored().rows() * codes_.stored().stride());
        if (training_.rows > 0)
            facts.insert(facts.end(), {{"codec_trained_on", static_cast<std::int64_t>(training_.rows)},
                                       {"codec_iterations", static_cast<std::int64_t>(training_.iterations)},
                                       {"codec_converged", training_.converged},
                                       {"codec_loss", training_.loss()}});
        return facts;
    }
    std::size_t scorer_bytes() const noexcept { return packed() ? 16 * codes_.groups() : codec_.table_size() * sizeof(float); }
    const M& metric() const noexcept { return metric_; }
    const PqCodec& codec() const noexcept { return codec_; }
    const std::optional<OpqRotation>& rotation() const noexcept { return rotation_; }
    const PqCodes& codes() const noexcept { return codes_; }
    /// What the codec was trained with; where it was given, the shape it has.
    const PqParams& params() const noexcept { return params_; }

    double report(double internal) const { return metric_.report(internal * unit); }
    double internal(double reported) const { return metric_.internal(reported) / unit; }

    /// O(2^bits d), and d^2 with opq. Borrows the scratch; the query is not needed any more.
    PqScorer scorer(std::span<const float> query, scorer_scratch& scratch) const {
        reserve(scratch);
        if (take_for_row(query.data(), scratch)) return row_scorer(scratch);
        float* const point = scratch.point.data();
        if constexpr (is_cosine) {
            const float scale = detail::inverse_norm(query.data(), dim());
            if (scale == 0) return scorer_of_nowhere(query, scratch);
            for (std::size_t i = 0; i < dim(); ++i) point[i] *= scale;
        }
        fill_table(point, scratch.table.data());
        if (!packed()) return PqScorer(codes_, scratch.table.data(), 0.0f, scratch.filter);
        return PqScorer(codes_, scratch.bytes.data(), bytes_of_table(scratch.table.data(), codec_.m(), codec_.centroids(), scratch.bytes.data()));
    }

    void prefetch(Slot slot) const noexcept {
        const std::uint8_t* const row = codes_.stored().row(codes_.packed() ? static_cast<Slot>(slot / PqCodes::block) : slot);
        for (std::size_t at = 0; at < std::min<std::size_t>(codes_.stored().cols(), 512); at += 64) __builtin_prefetch(row + at);
    }

    /// O(d), with 4 bits O(m).
    float distance(Slot a, Slot b) const {
        if (!packed()) {
            const std::uint8_t *x = codes_.stored().row(a), *y = codes_.stored().row(b);
            return is_ip ? codec_.dot_between(x, y) : codec_.l2_between(x, y);
        }
        std::uint32_t sum = 0;
        for (std::size_t j = 0; j < codec_.m(); ++j) sum += symmetric_[256 * j + 16u * codes_.code(a, j) + codes_.code(b, j)];
        return symmetric_scale_.distance(sum);
    }

    /// The decoded row; under cosine that of the normalised one.
    void read_query(Slot slot, std::span<float> out) const {
        const auto decode = [&](float* to) {
            for (std::size_t j = 0; j < codec_.m(); ++j)
                std::copy_n(codec_.centroid(j, codes_.code(slot, j)), codec_.length(j), to + codec_.first(j));
        };
        if (!rotation_) return decode(out.data());
        std::vector<float> rotated(dim());
        decode(rotated.data());
        rotation_->apply_inverse(rotated.data(), out.data());
    }

    /// Codes of rows that the codec was not trained on are as good as they are alike. Amortised O(2^bits d) a row, and d^2 with opq. Strong
    /// guarantee.
    void append(rows_view rows) {
        if (rows.cols() != dim()) fail(ErrorCode::dimension_mismatch, "expected rows of ", dim(), " elements, got ", rows.cols());
        const std::size_t before = size();
        try {
            constexpr std::size_t chunk = 64;
            Workspace workspace;
            std::vector<std::uint8_t> codes(std::min(chunk, rows.rows()) * codec_.m());
            for (std::size_t at = 0; at < rows.rows(); at += chunk) {
                const std::size_t n = std::min(chunk, rows.rows() - at);
                encode_rows(rows.slice(at, n), workspace, codes.data());
                codes_.append(codes.data(), n);
            }
        } catch (...) {
            truncate(before);
            throw;
        }
    }

    /// After own_rows() they cannot run out of memory.
    void overwrite(Slot slot, std::span<const T> row) {
        if (row.size() != dim()) fail(ErrorCode::dimension_mismatch, "expected a row of ", dim(), " elements, got ", row.size());
        encode_rows({row.data(), 1, row.size()}, workspace_, row_codes_.data());
        codes_.overwrite(slot, row_codes_.data());
    }
    void own_rows() { codes_.make_owned(); }
    void move_row(Slot from, Slot to) { codes_.move(from, to); }
    void truncate(std::size_t size) { codes_.truncate(size); }
    /// Rows whose codes are all 0, up to `size` of them in all.
    void extend(std::size_t size) { codes_.extend(size); }

    PqSpace reordered(std::span<const Slot> old_of, Executor& executor = inline_executor()) const {
        PqSpace space(codec_, rotation_, codes_.selected(old_of, executor));
        space.params_ = params_;
        space.training_ = training_;
        return space;
    }

    /// Adds this space's sections; it must stay until the file is written.
    void save(SectionWriter& writer) const {
        writer.add_text("pq_params", to_string(params_));
        writer.add("pq_codebooks", codec_.codebooks());
        if (rotation_) writer.add("pq_rotation", rotation_->matrix());
        writer.add_rows("pq_codes", codes_.stored().view());
        if (training_.rows > 0) writer.add("pq_training", std::span<const PqTraining>(&training_, 1), section_optional);
    }

    /// Codes stay where they are, mapped or in memory. Safe for any bytes; what they mean is validate()'s.
    static PqSpace load(const SectionReader& reader) {
        const FileInfo& info = reader.info();
        if (info.count >= max_rows)
            fail(ErrorCode::corrupt, reader.name(), ": expected fewer than ", max_rows, " rows, got ", info.count);
        const PqParams params = read_params(reader);
        const std::size_t size = info.count, m = params.m, bits = params.bits;
        const auto codebooks = reader.template section<float>("pq_codebooks", std::uint64_t{info.dim} << bits);
        std::optional<OpqRotation> rotation;
        if (params.opq) {
            const auto matrix = reader.template matrix<float>("pq_rotation", info.dim, info.dim);
            rotation.emplace(info.dim, std::vector<float>(matrix.data(), matrix.data() + std::size_t{info.dim} * info.dim));
        }
        auto codes = Rows<std::uint8_t>::map(
            reader.template matrix<std::uint8_t>("pq_codes", PqCodes::stored_rows(size, bits), PqCodes::stored_cols(m, bits)), reader.keep_alive());
        PqSpace space(PqCodec(info.dim, m, bits, {codebooks.begin(), codebooks.end()}), std::move(rotation), PqCodes(m, bits, std::move(codes), size));
        space.params_ = params;
        if (reader.contains("pq_training")) space.training_ = reader.template section<PqTraining>("pq_training", 1)[0];
        return space;
    }

    /// The sections that save() may write.
    static std::vector<std::string_view> section_names() { return {"pq_params", "pq_codebooks", "pq_rotation", "pq_codes", "pq_training"}; }

    /// Throws Error{corrupt} unless centroids are finite and the rotation is one. All codes can be. O(2^bits d + d^2).
    void validate(std::string_view source, const Progress& progress = {}) const {
        progress.report("validate", 0, size());
        for (std::size_t i = 0; i < codec_.codebooks().size(); ++i)
            if (!std::isfinite(codec_.codebooks()[i])) fail(ErrorCode::corrupt, source, ": section 'pq_codebooks': number ", i, " is ", codec_.codebooks()[i]);
        if (rotation_ && !rotation_->is_orthogonal()) fail(ErrorCode::corrupt, source, ": section 'pq_rotation' holds no rotation");
        progress.report("validate", size(), size());
    }

private:
    static constexpr double unit = is_cosine ? 0.5 : 1.0;  // one of an internal distance in the metric's own

    /// Rows on their way to codes.
    struct Workspace {
        AlignedBuffer<float> rows, rotated;
        void reserve(std::size_t count, std::size_t dim) {
            rows.reserve_discarding(count * dim);
            rotated.reserve_discarding(count * dim);
        }
    };

    /// What a row is multiplied with before it is coded; NaN keeps a row without direction out of training.
    struct RowScale {
        template <class X>
        float operator()(const X* row, std::size_t dim) const noexcept {
            if constexpr (!is_cosine) return 1.0f;
            const float scale = detail::inverse_norm(row, dim);
            return scale == 0 ? std::numeric_limits<float>::quiet_NaN() : scale;
        }
    };

    bool packed() const noexcept { return codec_.bits() == 4; }

    void reserve(scorer_scratch& scratch) const {
        scratch.point.reserve_discarding(dim());
        scratch.decoded.reserve_discarding(dim());
        if (rotation_) scratch.row.reserve_discarding(dim());
        scratch.table.reserve_discarding(codec_.table_size());
        scratch.codes.reserve_discarding(codec_.m());
        scratch.filter.reset(codes_);
        if (packed()) {
            scratch.bytes.reserve_discarding(16 * codes_.groups());
            std::fill_n(scratch.bytes.data() + 16 * codec_.m(), 16 * (codes_.groups() - codec_.m()), std::uint8_t{0});
        }
    }

    void fill_table(const float* point, float* table) const noexcept {
        if constexpr (is_ip) codec_.dot_table(point, table);
        else codec_.l2_table(point, table);
    }

    /// scratch.point becomes the (rotated) query. Whether the query is a decoded row, whose codes are then in scratch.codes. Nearly always the first
    /// sub-vector says no.
    bool take_for_row(const float* query, scorer_scratch& scratch) const noexcept {
        float* const point = scratch.point.data();
        if (rotation_) rotation_->apply(query, point);
        else std::copy_n(query, dim(), point);
        if (!packed() && !rotation_ && !is_cosine) return false;  // scores the same in any case
        if (!begins_like_row(point)) return false;
        codec_.encode(point, scratch.codes.data());
        codec_.decode(scratch.codes.data(), scratch.decoded.data());
        if (!rotation_) return std::equal(query, query + dim(), scratch.decoded.data());
        rotation_->apply_inverse(scratch.decoded.data(), scratch.row.data());
        return std::equal(query, query + dim(), scratch.row.data());
    }

    /// Whether the first sub-vector is a centroid, up to what rotating there and back may have changed.
    bool begins_like_row(const float* point) const noexcept {
        const float* const nearest = codec_.centroid(0, codec_.encode_first(point));
        if (!rotation_) return std::equal(point, point + codec_.length(0), nearest);
        double off = 0;
        for (std::size_t k = 0; k < codec_.length(0); ++k) {
            const double difference = static_cast<double>(point[k]) - static_cast<double>(nearest[k]);
            off += difference * difference;
        }
        return off <= 1e-8 * detail::squared_norm(point, dim());
    }

    PqScorer row_scorer(scorer_scratch& scratch) const noexcept {
        if (packed()) {  // a row of the codec's own table
            for (std::size_t j = 0; j < codec_.m(); ++j)
                std::copy_n(symmetric_.data() + 256 * j + 16u * scratch.codes[j], 16, scratch.bytes.data() + 16 * j);
            return PqScorer(codes_, scratch.bytes.data(), symmetric_scale_);
        }
        fill_table(scratch.decoded.data(), scratch.table.data());
        return PqScorer(codes_, scratch.table.data(), 0.0f);
    }

    /// Cosine: from a query without direction all rows are at distance 1; what is not finite is infinitely far from them.
    PqScorer scorer_of_nowhere(std::span<const float> query, scorer_scratch& scratch) const noexcept {
        float distance = static_cast<float>(1 / unit);
        for (const float x : query) distance += x * 0.0f;
        std::fill_n(scratch.table.data(), codec_.table_size(), 0.0f);
        if (!packed()) return PqScorer(codes_, scratch.table.data(), distance);
        std::fill_n(scratch.bytes.data(), 16 * codec_.m(), std::uint8_t{0});
        return PqScorer(codes_, scratch.bytes.data(), {0.0f, distance, 0});
    }

    /// In each subspace the centroid that is farthest from their mean, so that all rows on average are far away.
    void find_nowhere() {
        for (std::size_t j = 0; j < codec_.m(); ++j) {
            std::vector<double> mean(codec_.length(j), 0.0);
            for (std::size_t c = 0; c < codec_.centroids(); ++c)
                for (std::size_t k = 0; k < mean.size(); ++k)
                    mean[k] += static_cast<double>(codec_.centroid(j, c)[k]) / static_cast<double>(codec_.centroids());
            double farthest = -1;
            for (std::size_t c = 0; c < codec_.centroids(); ++c) {
                double squares = 0;
                for (std::size_t k = 0; k < mean.size(); ++k) squares += std::pow(static_cast<double>(codec_.centroid(j, c)[k]) - mean[k], 2);
                if (squares > farthest) {
                    farthest = squares;
                    nowhere_[j] = static_cast<std::uint8_t>(c);
                }
            }
        }
    }

    /// rows.rows() times m codes.
    void encode_rows(rows_view rows, Workspace& workspace, std::uint8_t* codes) const {
        const std::size_t n = rows.rows();
        workspace.reserve(n, dim());
        const float* points = workspace.rows.data();
        for (std::size_t i = 0; i < n; ++i) {
            float* const point = workspace.rows.data() + i * dim();
            detail::widen(rows.row(i), dim(), point);
            if constexpr (is_cosine) {
                const float scale = detail::inverse_norm(rows.row(i), dim());
                for (std::size_t d = 0; d < dim(); ++d) point[d] *= scale;
            }
        }
        if (rotation_) {
            rotation_->apply_rows({points, n, dim()}, workspace.rotated.data());
            points = workspace.rotated.data();
        }
        for (std::size_t i = 0; i < n; ++i) {
            codec_.encode(points + i * dim(), codes + i * codec_.m());
            if constexpr (is_cosine) {
                if (detail::inverse_norm(rows.row(i), dim()) == 0) std::copy(nowhere_.begin(), nowhere_.end(), codes + i * codec_.m());
            }
        }
    }

    static PqParams read_params(const SectionReader& reader) {
        try {
            const ParamMap values = parse_param_list(reader.text("pq_params"), "section 'pq_params'");
            for (const auto& [name, value] : values)
                if (!is_param<PqParams>(name))
                    fail(ErrorCode::version, reader.name(), " was coded with the parameter '", name, "', which this version of kith does not know; known: ",
                         known_params<PqParams>());
            const auto params = parse_params<PqParams>(values, "pq");
            PqCodec::check_shape(reader.info().dim, params.m, params.bits);
            return params;
        } catch (const Error& error) {
            if (error.code() != ErrorCode::invalid_argument && error.code() != ErrorCode::dimension_mismatch) throw;
            fail(ErrorCode::corrupt, reader.name(), ": section 'pq_params': ", error.what());
        }
    }

    PqCodec codec_;
    std::optional<OpqRotation> rotation_;
    PqCodes codes_;
    PqParams params_;
    PqTraining training_;
    std::vector<std::uint8_t> symmetric_;    // 4 bits: 16 x 16 bytes a subspace
    ByteScale symmetric_scale_;
    Workspace workspace_;                    // so that overwrite() allocates nothing
    std::vector<std::uint8_t> row_codes_;    // the same
    std::vector<std::uint8_t> nowhere_;      // cosine: codes of a zero row
    [[no_unique_address]] M metric_;
};

}  // namespace kith
