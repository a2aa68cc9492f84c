// SPDX-License-Identifier: Apache-2.0
//
// RabitqSpace<Metric, T>: rows of T kept as RaBitQ codes of 1 to 8 bits a dimension (quantize/rabitq_codec.hpp), and estimates of their distances that are
// right on average, with a bound of their error. The rows themselves are gone: what an index over this space finds is near, and Refine (index/refine.hpp)
// looks at the exact rows again. c is the mean of the rows, delta = P(x - c), and an estimate E <delta, v> = rescale <y, v> is all that a code is asked for:
//
//   l2, euclidean   |q - x|^2 = |q - c|^2 + |x - c|^2 - 2 <delta, v>          v = P(q - c)
//   ip              -q.x      = -q.c - t <x - c, c> - <delta, v>              v = P(q - t c), t = q.c / |c|^2: what of q the centre does not know is
//   cosine          1 - q.x of the normalised, which is the same;             shortest, and the error is proportional to |v|
//                   <x - c, c> = (1 - |c|^2 - |x - c|^2) / 2
//
// An estimate may be below the least distance there is; report() of l2 and euclidean then says 0.
//
// Under cosine a zero row has no direction; it gets the code of the direction opposite to the centre, where it is in nobody's way. From a zero query
// everything is at distance 1.
//
// distance(a, b) is that of two codes whose lengths are those of the rows, <delta_a, delta_b> ~ r_a r_b cos(y_a, y_b): the same for (b, a) (ip: up to rounding), and 0 for l2 of
// equal rows of codes. row_scorer(a) says the same of all rows, which is what links of a graph are made of. read_query() gives a decoded row, and what a
// scorer bound to that says is something else: an estimate, larger by 1 / cosine in the product, as for any query.
//
// Memory: 12 bytes a row and D bits / 8, D the dimension rounded up to 32s; 4 more for ip.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/executor.hpp"
#include "kith/core/params.hpp"
#include "kith/core/prefetch.hpp"
#include "kith/quantize/rabitq_codec.hpp"
#include "kith/quantize/rabitq_query.hpp"
#include "kith/quantize/sample.hpp"
#include "kith/space/dense.hpp"
#include "kith/space/rabitq_scorer.hpp"

namespace kith {

/// The metrics that RaBitQ codes can be measured with.
template <class M>
concept RabitqMetric = std::same_as<M, L2> || std::same_as<M, Euclidean> || std::same_as<M, Cosine> || std::same_as<M, InnerProduct>;

template <RabitqMetric M, FloatElement T>
class RabitqSpace {
    static constexpr bool is_ip = std::same_as<M, InnerProduct>;
    static constexpr bool is_cosine = std::same_as<M, Cosine>;
    static constexpr bool is_l2 = !is_ip && !is_cosine;

public:
    using metric_type = M;
    using element_type = T;
    using query_type = float;
    using distance_type = float;
    using rows_view = MatrixView<const T>;
    using codec_params = RabitqParams;
    using scorer_type = RabitqScorer;

    /// A query's whole numbers, and what they are made of.
    struct scorer_scratch {
        AlignedBuffer<float> row, point;
        AlignedBuffer<std::int8_t> planes;
        AlignedBuffer<std::uint8_t> codes;  // of a row as a query
    };

    /// No rows yet.
    explicit RabitqSpace(RabitqCodec codec) : RabitqSpace(codec, Rows<std::uint8_t>(stored_bytes(codec.dim(), codec.bits()))) {}

    /// Rows that were encoded with this codec.
    RabitqSpace(RabitqCodec codec, Rows<std::uint8_t> rows)
        : codec_(std::move(codec)), rows_(std::move(rows)), row_code_(rows_.cols()), nowhere_(is_cosine ? dim() : 0), centre_(codec_.padded_dim()) {
        if (rows_.cols() != stored_bytes(dim(), codec_.bits()))
            fail(ErrorCode::dimension_mismatch, "expected codes of ", stored_bytes(dim(), codec_.bits()), " bytes, got ", rows_.cols());
        params_.bits = static_cast<std::uint32_t>(codec_.bits());
        workspace_.reserve(dim(), codec_.padded_dim());
        codec_.rotation().apply(codec_.centre().data(), centre_.data());
        if constexpr (is_cosine) {
            for (std::size_t i = 0; i < dim(); ++i)
                nowhere_[i] = static_cast<float>(codec_.centre_norm() > 0 ? -static_cast<double>(codec_.centre()[i]) / std::sqrt(codec_.centre_norm())
                                                                          : 1 / std::sqrt(static_cast<double>(dim())));
        }
    }

    /// Takes a centre of the rows and encodes them. Throws Error{dimension_mismatch, invalid_argument, unsupported, out_of_memory, cancelled}.
    static RabitqSpace train_and_encode(rows_view rows, const RabitqParams& params = {}, Executor& executor = inline_executor(), std::uint64_t seed = 0,
                                        const Progress& progress = {}) {
        RabitqCodec::check_shape(rows.cols(), params.bits);
        progress.report("train", 0, rows.rows());
        RabitqSpace space(RabitqCodec(params.bits, seed, mean_of(rows, seed)));
        space.rows_.extend(rows.rows(), 0);
        std::vector<RabitqCodec::Workspace> workers(executor.workers());
        for (auto& worker : workers) worker.reserve(rows.cols(), space.codec_.padded_dim());
        constexpr std::size_t chunk = std::size_t{1} << 16;
        for (std::size_t first = 0; first < rows.rows(); first += chunk) {
            progress.report("encode", first, rows.rows());
            executor.run(std::min(chunk, rows.rows() - first), 64, [&](std::size_t begin, std::size_t end, std::size_t which) {
                for (std::size_t i = first + begin; i < first + end; ++i)
                    space.encode_row(rows.row(i), workers[which], space.rows_.own_row(static_cast<Slot>(i)));
            });
        }
        progress.report("encode", rows.rows(), rows.rows());
        return space;
    }

    std::size_t size() const noexcept { return rows_.rows(); }
    std::size_t dim() const noexcept { return codec_.dim(); }
    std::size_t dimensions() const noexcept { return dim(); }
    std::string label() const { return type_label(); }
    static std::string type_label() { return std::string(M::name) + "/rabitq"; }
    /// The element type of the rows it takes is part of what a file holds.
    static std::string file_label() { return type_label() + ":" + std::string(name(element_traits<T>::type)); }
    std::size_t row_bytes() const noexcept { return rows_.cols(); }
    std::size_t memory_bytes() const noexcept { return rows_.rows() * rows_.stride() + codec_.bytes() + codec_.padded_dim() * sizeof(float); }
    ParamMap describe() const { return describe_codes(row_bytes(), dim() * sizeof(T), memory_bytes() - rows_.rows() * rows_.stride()); }
    const M& metric() const noexcept { return metric_; }
    const RabitqCodec& codec() const noexcept { return codec_; }
    /// Factors and code of each row.
    const Rows<std::uint8_t>& rows() const noexcept { return rows_; }
    const RabitqParams& params() const noexcept { return params_; }

    double report(double internal) const { return metric_.report(is_l2 ? std::max(0.0, internal) : internal); }
    double internal(double reported) const { return metric_.internal(reported); }

    /// O(d log d). Borrows the scratch; the query is not needed any more.
    RabitqScorer scorer(std::span<const float> query, scorer_scratch& scratch) const {
        const std::size_t n = codec_.padded_dim(), bits = codec_.bits();
        scratch.row.reserve_discarding(dim());
        scratch.point.reserve_discarding(n);
        scratch.planes.reserve_discarding(detail::rabitq_plane_bytes(n, bits));
        const float scale = is_cosine ? detail::inverse_norm(query.data(), dim()) : 1.0f;
        double from_centre = 0, dot = 0;  // |q - c|^2, q.c
        bool finite = true;
        for (std::size_t i = 0; i < dim(); ++i) {
            const float q = query[i] * scale, c = codec_.centre()[i];
            finite = finite && std::isfinite(query[i]);
            scratch.row[i] = q - c;
            from_centre += static_cast<double>(scratch.row[i]) * static_cast<double>(scratch.row[i]);
            dot += static_cast<double>(q) * static_cast<double>(c);
        }
        simd::RabitqQuery bound;
        bound.dim = n;
        bound.planes = scratch.planes.data();
        if (!finite || (is_cosine && scale == 0)) {  // without direction, or nowhere at all
            std::fill_n(scratch.planes.data(), detail::rabitq_plane_bytes(n, bits), std::int8_t{0});
            bound.base = finite ? 1.0f : std::numeric_limits<float>::quiet_NaN();
            return RabitqScorer(rows_, bits, bound, {});
        }
        float* const point = scratch.point.data();
        codec_.rotation().apply(scratch.row.data(), point);
        if constexpr (!is_l2) {
            const double t = codec_.centre_norm() > 0 ? dot / codec_.centre_norm() : 0;
            const auto rest = static_cast<float>(1 - t);
            for (std::size_t i = 0; i < n; ++i) point[i] += rest * centre_[i];
            bound.add_scale = RabitqCodec::to_finite(is_ip ? -t : t / 2);
            bound.base = RabitqCodec::to_finite(is_ip ? -dot : 1 - dot - t * (1 - codec_.centre_norm()) / 2);
        } else {
            bound.add_scale = 1.0f;
            bound.base = RabitqCodec::to_finite(from_centre);
        }
        const auto planes = detail::quantize_rabitq_query(point, n, bits, scratch.planes.data());
        bound.offset = planes.sum * codec_.largest();
        bound.dot_scale = (is_l2 ? -2.0f : -1.0f) * planes.step;
        double length = 0;
        for (std::size_t i = 0; i < n; ++i) length += static_cast<double>(point[i]) * static_cast<double>(point[i]);
        return RabitqScorer(rows_, bits, bound, errors(std::sqrt(length), std::sqrt(planes.residual)));
    }

    /// A row as a query: distance(slot, other) for any other row, but for the last of rounding about 0. O(d).
    RabitqScorer row_scorer(Slot slot, scorer_scratch& scratch) const {
        const std::size_t n = codec_.padded_dim();
        scratch.planes.reserve_discarding(detail::rabitq_plane_bytes(n, codec_.bits()));
        scratch.codes.reserve_discarding(n);
        return RabitqScorer(rows_, codec_.bits(), as_query(slot, scratch.codes.data(), scratch.planes.data()),
                            errors(static_cast<double>(length_of(slot)), 0));
    }

    void prefetch(Slot slot) const noexcept { prefetch_bytes(rows_.row(slot), std::min<std::size_t>(rows_.cols(), 512)); }

    /// O(d). Allocates past 4096 dimensions.
    float distance(Slot a, Slot b) const {
        if (is_l2 && std::memcmp(rows_.row(a), rows_.row(b), rows_.cols()) == 0) return 0.0f;
        constexpr std::size_t most = 4096;
        if (codec_.padded_dim() <= most) {
            std::array<std::uint8_t, most> codes;
            std::array<std::int8_t, detail::rabitq_plane_bytes(most, 8)> planes;
            return between(a, b, codes.data(), planes.data());
        }
        std::vector<std::uint8_t> codes(codec_.padded_dim());
        std::vector<std::int8_t> planes(detail::rabitq_plane_bytes(codec_.padded_dim(), codec_.bits()));
        return between(a, b, codes.data(), planes.data());
    }

    /// The decoded row; under cosine that of the normalised one.
    void read_query(Slot slot, std::span<float> out) const {
        std::vector<std::uint8_t> codes(codec_.padded_dim());
        std::vector<float> decoded(codec_.padded_dim());
        codec_.decode(code_of(slot), factors_of(slot), codes.data(), decoded.data());
        std::copy_n(decoded.begin(), dim(), out.begin());
    }

    /// Codes of rows that the centre was not taken of are as good as they are near it. Amortised O(d log d) a row. Strong guarantee.
    void append(rows_view rows) {
        if (rows.cols() != dim()) fail(ErrorCode::dimension_mismatch, "expected rows of ", dim(), " elements, got ", rows.cols());
        const std::size_t before = size();
        try {
            constexpr std::size_t chunk = 64;
            RabitqCodec::Workspace workspace;
            workspace.reserve(dim(), codec_.padded_dim());
            std::vector<std::uint8_t> codes(std::min(chunk, rows.rows()) * rows_.cols());
            for (std::size_t at = 0; at < rows.rows(); at += chunk) {
                const std::size_t n = std::min(chunk, rows.rows() - at);
                for (std::size_t i = 0; i < n; ++i) encode_row(rows.row(at + i), workspace, codes.data() + i * rows_.cols());
                rows_.append({codes.data(), n, rows_.cols()});
            }
        } catch (...) {
            truncate(before);
            throw;
        }
    }

    void overwrite(Slot slot, std::span<const T> row) {
        if (row.size() != dim()) fail(ErrorCode::dimension_mismatch, "expected a row of ", dim(), " elements, got ", row.size());
        encode_row(row.data(), workspace_, row_code_.data());
        rows_.overwrite(slot, row_code_);
    }
    void own_rows() { rows_.make_owned(); }
    void move_row(Slot from, Slot to) { rows_.overwrite(to, rows_.view()[from]); }
    void truncate(std::size_t size) { rows_.truncate(size); }
    RabitqSpace reordered(std::span<const Slot> old_of, Executor& executor = inline_executor()) const {
        return RabitqSpace(codec_, rows_.selected(old_of, executor));
    }

    /// Adds this space's sections; it must stay until the file is written.
    void save(SectionWriter& writer) const {
        writer.add_text("rabitq_params", to_string(params_));
        const std::uint64_t seed = codec_.rotation().seed();
        writer.add_copy("rabitq_seed", std::span<const std::uint64_t>(&seed, 1));
        writer.add("rabitq_centre", codec_.centre());
        writer.add_rows("rabitq_rows", rows_.view());
    }

    /// Codes stay where they are, mapped or in memory. Safe for any bytes; what they mean is validate()'s.
    static RabitqSpace load(const SectionReader& reader) {
        const FileInfo& info = reader.info();
        if (info.count >= max_rows) fail(ErrorCode::corrupt, reader.name(), ": expected fewer than ", max_rows, " rows, got ", info.count);
        const RabitqParams params = read_params(reader);
        const std::uint64_t seed = reader.template section<std::uint64_t>("rabitq_seed", 1)[0];
        const auto centre = reader.template section<float>("rabitq_centre", info.dim);
        auto rows = Rows<std::uint8_t>::map(reader.template matrix<std::uint8_t>("rabitq_rows", info.count, stored_bytes(info.dim, params.bits)),
                                            reader.keep_alive());
        return RabitqSpace(RabitqCodec(params.bits, seed, {centre.begin(), centre.end()}), std::move(rows));
    }

    /// The sections that save() may write.
    static std::vector<std::string_view> section_names() { return {"rabitq_params", "rabitq_seed", "rabitq_centre", "rabitq_rows"}; }

    /// Throws Error{corrupt} unless the centre is finite and the numbers beside each code can be. All codes can be. O(n + d).
    void validate(std::string_view source, const Progress& progress = {}) const {
        for (std::size_t i = 0; i < dim(); ++i)
            if (!std::isfinite(codec_.centre()[i]))
                fail(ErrorCode::corrupt, source, ": section 'rabitq_centre': dimension ", i, " is ", codec_.centre()[i]);
        for (std::size_t slot = 0; slot < size(); ++slot) {
            if (slot % 4096 == 0) progress.report("validate", slot, size());
            const auto factors = factors_of(static_cast<Slot>(slot));
            const float length = length_of(static_cast<Slot>(slot));
            const bool possible = std::isfinite(factors.add) && (is_ip || factors.add >= 0) && std::isfinite(factors.rescale) && factors.rescale >= 0 &&
                                  factors.cosine > 0 && factors.cosine <= 1 && std::isfinite(length) && length >= 0;
            if (!possible) fail(ErrorCode::corrupt, source, ": section 'rabitq_rows': row ", slot, " begins with numbers that no row has");
        }
        progress.report("validate", size(), size());
    }

private:
    static constexpr std::size_t header_bytes = sizeof(simd::RabitqFactors);

    static constexpr std::size_t stored_bytes(std::size_t dim, std::size_t bits) noexcept {
        return header_bytes + RabitqCodec::code_bytes(dim, bits) + (is_ip ? sizeof(float) : 0);
    }

    /// What a row is multiplied with before it is coded; NaN keeps a row without direction out of the mean.
    struct RowScale {
        template <class X>
        float operator()(const X* row, std::size_t dim) const noexcept {
            if constexpr (!is_cosine) return 1.0f;
            const float scale = detail::inverse_norm(row, dim);
            return scale == 0 ? std::numeric_limits<float>::quiet_NaN() : scale;
        }
    };

    static std::vector<float> mean_of(rows_view rows, std::uint64_t seed) {
        constexpr std::size_t wanted = 8192;
        const Sample sample = sample_rows(rows, wanted, seed, RowScale{});
        std::vector<double> sums(rows.cols(), 0.0);
        for (std::size_t i = 0; i < sample.rows; ++i)
            for (std::size_t d = 0; d < sums.size(); ++d) sums[d] += static_cast<double>(sample.values[i * sums.size() + d]);
        std::vector<float> mean(sums.size());
        for (std::size_t d = 0; d < sums.size(); ++d)
            mean[d] = sample.rows == 0 ? 0.0f : static_cast<float>(sums[d] / static_cast<double>(sample.rows));
        return mean;
    }

    const std::uint8_t* code_of(Slot slot) const noexcept { return rows_.row(slot) + header_bytes; }
    simd::RabitqFactors factors_of(Slot slot) const noexcept {
        simd::RabitqFactors factors;
        std::memcpy(&factors, rows_.row(slot), sizeof factors);
        return factors;
    }
    /// |x - c|.
    float length_of(Slot slot) const noexcept {
        if constexpr (!is_ip) return std::sqrt(factors_of(slot).add);
        float length;
        std::memcpy(&length, rows_.row(slot) + rows_.cols() - sizeof length, sizeof length);
        return length;
    }

    RabitqScorer::Errors errors(double length, double residual) const noexcept {
        return {is_l2 ? 2.0 : 1.0, length, residual * codec_.largest(), is_ip};
    }

    /// A row's code in units of its own. codes: padded_dim(), planes: rabitq_plane_bytes().
    simd::RabitqQuery as_query(Slot slot, std::uint8_t* codes, std::int8_t* planes) const noexcept {
        const auto factors = factors_of(slot);
        codec_.unpack(code_of(slot), codes);
        simd::RabitqQuery query;
        query.planes = planes;
        query.dim = codec_.padded_dim();
        query.offset = detail::rabitq_row_query(codes, codec_.padded_dim(), codec_.bits(), planes) * codec_.largest();
        query.base = is_l2 ? factors.add : is_cosine ? 0.5f * factors.add : RabitqCodec::to_finite(-codec_.centre_norm() - static_cast<double>(factors.add));
        query.add_scale = is_l2 ? 1.0f : is_cosine ? 0.5f : -1.0f;
        query.dot_scale = (is_l2 ? -2.0f : -1.0f) * (factors.rescale * factors.cosine);
        query.between_rows = true;
        return query;
    }

    float between(Slot a, Slot b, std::uint8_t* codes, std::int8_t* planes) const noexcept {
        const simd::RabitqQuery query = as_query(a, codes, planes);
        float distance;
        simd::kernels().rabitq.run[codec_.bits() - 1](query, rows_.row(b), rows_.stride(), 1, &distance);
        return is_l2 ? std::max(0.0f, distance) : distance;
    }

    /// stored_bytes() bytes.
    template <class X>
    void encode_row(const X* row, RabitqCodec::Workspace& workspace, std::uint8_t* to) const {
        const float scale = is_cosine ? detail::inverse_norm(row, dim()) : 1.0f;
        for (std::size_t i = 0; i < dim(); ++i) workspace.row[i] = is_cosine && scale == 0 ? nowhere_[i] : to_float(row[i]) * scale;
        auto coded = codec_.encode(workspace, to + header_bytes);
        if constexpr (is_ip) {
            double along = 0;  // workspace.row is x - c by now
            for (std::size_t i = 0; i < dim(); ++i) along += static_cast<double>(workspace.row[i]) * static_cast<double>(codec_.centre()[i]);
            coded.factors.add = RabitqCodec::to_finite(along);
            std::memcpy(to + rows_.cols() - sizeof coded.length, &coded.length, sizeof coded.length);
        } else {
            coded.factors.add = RabitqCodec::to_finite(static_cast<double>(coded.length) * static_cast<double>(coded.length));
        }
        std::memcpy(to, &coded.factors, sizeof coded.factors);
    }

    static RabitqParams read_params(const SectionReader& reader) {
        try {
            const ParamMap values = parse_param_list(reader.text("rabitq_params"), "section 'rabitq_params'");
            for (const auto& [name, value] : values)
                if (!is_param<RabitqParams>(name))
                    fail(ErrorCode::version, reader.name(), " was coded with the parameter '", name, "', which this version of kith does not know; known: ",
                         known_params<RabitqParams>());
            const auto params = parse_params<RabitqParams>(values, "rabitq");
            RabitqCodec::check_shape(reader.info().dim, params.bits);
            return params;
        } catch (const Error& error) {
            if (error.code() == ErrorCode::version || error.code() == ErrorCode::not_found || error.code() == ErrorCode::type_mismatch) throw;
            fail(ErrorCode::corrupt, reader.name(), ": section 'rabitq_params': ", error.what());
        }
    }

    RabitqCodec codec_;
    Rows<std::uint8_t> rows_;
    RabitqParams params_;
    RabitqCodec::Workspace workspace_;     // so that overwrite() allocates nothing
    std::vector<std::uint8_t> row_code_;   // the same
    std::vector<float> nowhere_;           // cosine: what a zero row is coded as
    std::vector<float> centre_;            // rotated
    [[no_unique_address]] M metric_;
};

}  // namespace kith
