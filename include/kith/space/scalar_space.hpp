// SPDX-License-Identifier: Apache-2.0
//
// ScalarSpace<Bits, Metric, T>: rows of T kept as 8 or 4 bits a dimension (quantize/scalar.hpp) and measured in whole
// numbers; Sq8Space and Sq4Space. The rows themselves are gone: what an index over this space finds is near, and Refine
// (index/refine.hpp) looks at the exact rows again.
//
//   l2, euclidean   step^2 * |levels of q - levels of x|^2                distances are int32, the user's number is made of them at the end
//   l1              step * sum |levels of q - levels of x|                the same
//   cosine          |q / |q| - x / |x||^2 / 2 = 1 - cos, likewise         rows and queries are normalised first
//   ip              -(q.centre + q.(x - centre))                          float: a query is quantised with a scale of its own
//
// Of 4 bits, a query is quantised four times finer than rows and reaches eight levels beyond them on both sides, and
// distances count in quarters of a level: what the query loses is little beside what rows do. Rows may then also be
// 8-bit unsigned integers, under L2 and Euclidean.
//
// A zero row has no direction; under cosine it is coded as the unit vector opposite to the centre of all rows, where
// it is in nobody's way.
//
// read_query() gives a decoded row, and a query that is a decoded row to the bit is taken for that row: so
// distance(a, b) is what a scorer bound to row a says of b, also for cosine and ip.
//
// Memory a row: of 8 bits d bytes, 4 more but for l1; of 4 bits d / 2 bytes, 4 more for ip alone. Scoring is
// DenseSpace's or NibbleCodes', over codes.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/quantize/scalar.hpp"
#include "kith/space/dense.hpp"
#include "kith/space/nibbles.hpp"

namespace kith {

namespace detail {

template <int Bits, class M, class Code>
struct CodesOf {
    using type = DenseSpace<M, Code>;
    static type none(std::size_t dim) { return type(Rows<Code>(dim)); }
    static type of(std::size_t, Rows<Code> rows) { return type(std::move(rows)); }
};
template <class M, class Code>
struct CodesOf<4, M, Code> {
    using type = NibbleCodes<M>;
    static type none(std::size_t dim) { return type(dim); }
    static type of(std::size_t dim, Rows<std::uint8_t> rows) { return type(dim, std::move(rows)); }
};

}  // namespace detail

/// What codes of so many bits stand for, and what they can be measured with.
template <int Bits, class M, class T>
concept ScalarCoded =
    (FloatElement<T> && (std::same_as<M, L2> || std::same_as<M, Euclidean> || std::same_as<M, Cosine> || std::same_as<M, InnerProduct>)) ||
    (Bits == 8 && FloatElement<T> && std::same_as<M, L1>) ||
    (Bits == 4 && std::same_as<T, std::uint8_t> && (std::same_as<M, L2> || std::same_as<M, Euclidean>));

template <int Bits, class M, class T>
    requires ScalarCoded<Bits, M, T>
class ScalarSpace {
    static constexpr bool is_packed = Bits == 4;
    static constexpr int parts = is_packed ? 4 : 1;  // of a level, that queries are quantised to
    static constexpr bool is_ip = std::same_as<M, InnerProduct>;
    static constexpr bool is_cosine = std::same_as<M, Cosine>;
    static constexpr bool is_l1 = std::same_as<M, L1>;

public:
    using metric_type = M;
    using element_type = T;
    using query_type = simd::query_element_t<T>;
    using distance_type = std::conditional_t<is_ip, float, std::int32_t>;
    using rows_view = MatrixView<const T>;
    using code_type = std::conditional_t<is_ip || is_packed, std::int8_t, std::uint8_t>;
    using codes_metric = std::conditional_t<is_ip, InnerProduct, std::conditional_t<is_l1, L1, L2>>;
    using codes_of = detail::CodesOf<Bits, codes_metric, code_type>;
    using codes_type = typename codes_of::type;
    /// What stored codes are made of: two to a byte where they are of 4 bits.
    using stored_type = std::conditional_t<is_packed, std::uint8_t, code_type>;
    using codec_type = ScalarCodec<Bits>;

    /// A query's codes.
    struct scorer_scratch {
        std::vector<code_type> codes;
    };

    /// No rows yet. Throws Error{unsupported} past max_integer_dim of the codes.
    explicit ScalarSpace(const codec_type& codec) : ScalarSpace(codec, codes_of::none(codec.dim()), Rows<float>(1)) {}

    /// Rows that were encoded with this codec. O(n d).
    ScalarSpace(codec_type codec, Rows<stored_type> codes)
        : ScalarSpace(codec, codes_of::of(codec.dim(), std::move(codes)), Rows<float>(1)) {
        append_dots(0);
    }

    /// Trains a codec on rows and encodes them. Throws Error{dimension_mismatch, unsupported, out_of_memory}.
    static ScalarSpace train_and_encode(rows_view rows, Executor& executor = inline_executor(), std::uint64_t seed = 0,
                                     const Progress& progress = {}) {
        if (rows.cols() > codes_type::max_integer_dim)
            fail(ErrorCode::unsupported, Bits, "-bit rows have at most ", codes_type::max_integer_dim, " dimensions, not ", rows.cols());
        progress.report("train", 0, rows.rows());
        ScalarSpace space(codec_type::train(rows, executor, seed, RowScale{}, is_ip ? FarRows::keep : FarRows::leave_out));
        Rows<stored_type> codes(space.codes_.rows().cols());
        codes.extend(rows.rows(), 0);
        constexpr std::size_t chunk = std::size_t{1} << 18;
        for (std::size_t first = 0; first < rows.rows(); first += chunk) {
            progress.report("encode", first, rows.rows());
            executor.run(std::min(chunk, rows.rows() - first), 256, [&](std::size_t begin, std::size_t end, std::size_t) {
                if constexpr (is_packed) {
                    std::vector<code_type> unpacked(rows.cols());
                    for (std::size_t i = first + begin; i < first + end; ++i) {
                        space.encode_row(rows.row(i), unpacked.data());
                        pack_nibbles(unpacked.data(), rows.cols(), codes.own_row(static_cast<Slot>(i)));
                    }
                } else {
                    for (std::size_t i = first + begin; i < first + end; ++i)
                        space.encode_row(rows.row(i), codes.own_row(static_cast<Slot>(i)));
                }
            });
        }
        space.codes_ = codes_of::of(rows.cols(), std::move(codes));
        space.append_dots(0);
        return space;
    }

    std::size_t size() const noexcept { return codes_.size(); }
    std::size_t dim() const noexcept { return codes_.dim(); }
    std::size_t dimensions() const noexcept { return dim(); }
    std::string label() const { return type_label(); }
    static std::string type_label() { return std::string(M::name) + (is_packed ? "/sq4" : "/sq8"); }
    /// The element type of the rows it takes is part of what a file holds.
    static std::string file_label() { return type_label() + ":" + std::string(name(element_traits<T>::type)); }
    std::size_t row_bytes() const noexcept { return codes_.row_bytes(); }
    std::size_t memory_bytes() const noexcept {
        return codes_.memory_bytes() + (is_ip ? size() * sizeof(float) : 0) + codec_.dim() * sizeof(float);
    }
    ParamMap describe() const { return describe_codes(row_bytes() + (is_ip ? sizeof(float) : 0), dim() * sizeof(T), codec_.dim() * sizeof(float)); }
    const M& metric() const noexcept { return metric_; }
    const codec_type& codec() const noexcept { return codec_; }
    /// The codes, as a space of their own.
    const codes_type& codes() const noexcept { return codes_; }

    double report(double internal) const { return metric_.report(internal * unit()); }
    double internal(double reported) const { return metric_.internal(reported) / unit(); }

    /// Inner products of codes, with what makes them those of rows.
    class ip_scorer {
    public:
        using distance_type = float;

        ip_scorer(const ScalarSpace& space, std::span<const code_type> codes, double base, double scale, bool is_row) noexcept
            : space_(&space), codes_(space.codes_.scorer(codes)), base_(base), scale_(scale), is_row_(is_row) {}

        float operator()(Slot slot) const {
            float distance;
            gather({&slot, 1}, &distance);
            return distance;
        }
        void gather(std::span<const Slot> slots, float* out) const {
            score(slots.size(), out, [&](std::size_t at, std::size_t n, std::int32_t* raw) { codes_.gather(slots.subspan(at, n), raw); },
                  [&](std::size_t i) { return slots[i]; });
        }
        void run(std::size_t first, std::size_t count, float* out) const {
            score(count, out, [&](std::size_t at, std::size_t n, std::int32_t* raw) { codes_.run(first + at, n, raw); },
                  [&](std::size_t i) { return static_cast<Slot>(first + i); });
        }

    private:
        template <class Kernel, class SlotAt>
        void score(std::size_t count, float* out, Kernel kernel, SlotAt slot_at) const {
            std::array<std::int32_t, 64> raw;
            for (std::size_t at = 0; at < count; at += raw.size()) {
                const std::size_t n = std::min(raw.size(), count - at);
                kernel(at, n, raw.data());
                if (is_row_) {
                    for (std::size_t i = 0; i < n; ++i) out[at + i] = space_->between_rows(base_, slot_at(at + i), raw[i]);
                } else {
                    for (std::size_t i = 0; i < n; ++i) out[at + i] = static_cast<float>(base_ + scale_ * raw[i]);
                }
            }
        }

        const ScalarSpace* space_;
        typename codes_type::scorer_type codes_;
        double base_;   // of a row's codes: their product with the centre; of any other query: -q.centre
        double scale_;
        bool is_row_;
    };

    /// O(d). Borrows the scratch; the query is not needed any more.
    auto scorer(std::span<const query_type> query, scorer_scratch& scratch) const {
        scratch.codes.resize(query_size());
        code_type* const codes = scratch.codes.data();
        if constexpr (is_packed) codes[query_size() - 1] = codes_type::behind;
        const std::span<const code_type> bound(codes, query_size());
        if constexpr (is_ip) {
            if (codec_.is_decoded(query.data(), codes)) return ip_scorer(*this, bound, dot_of(codes), 0, true);
            double most = 0, base = 0;
            for (std::size_t i = 0; i < dim(); ++i) {
                most = std::max(most, std::abs(static_cast<double>(query[i])));
                base -= static_cast<double>(query[i]) * static_cast<double>(codec_.centres()[i]);
            }
            const double inverse = most > 0 ? 127 / most : 0;
            for (std::size_t i = 0; i < dim(); ++i)
                codes[i] = static_cast<code_type>(static_cast<int>(static_cast<double>(query[i]) * inverse + 128.5) - 128);
            return ip_scorer(*this, bound, base, most / 127 * static_cast<double>(codec_.step()), false);
        } else {
            const auto encode = [&](float scale) {
                if constexpr (is_packed) codec_.encode_query(query.data(), scale, codes);
                else codec_.encode(query.data(), scale, codes);
            };
            if constexpr (is_cosine || IntegerElement<T>) {
                if (!codec_.is_decoded(query.data(), codes)) encode(RowScale{}(query.data(), dim()));
                else if constexpr (is_packed)
                    for (std::size_t i = 0; i < dim(); ++i) codes[i] = static_cast<code_type>(4 * codes[i] + 32);
            } else {
                encode(1.0f);
            }
            return codes_.scorer(bound);
        }
    }

    void prefetch(Slot slot) const noexcept { codes_.prefetch(slot); }

    distance_type distance(Slot a, Slot b) const {
        if constexpr (is_ip) return between_rows(static_cast<double>(*dots_.row(a)), b, codes_.distance(a, b));
        else return codes_.distance(a, b);
    }

    /// The decoded row; under cosine that of the normalised one.
    void read_query(Slot slot, std::span<query_type> out) const {
        if constexpr (is_packed)
            for_each_code(slot, [&](std::size_t i, code_type code) { out[i] = codec_.template element<query_type>(code, i); });
        else codec_.decode(codes_.rows().row(slot), out.data());
    }

    /// Codes of rows that the codec was not trained on are as good as they are alike. Amortised O(d) a row. Strong
    /// guarantee.
    void append(rows_view rows) {
        if (rows.cols() != dim()) fail(ErrorCode::dimension_mismatch, "expected rows of ", dim(), " elements, got ", rows.cols());
        const std::size_t first = size();
        try {
            constexpr std::size_t chunk = 256;
            std::vector<code_type> codes(std::min(chunk, rows.rows()) * dim());
            for (std::size_t at = 0; at < rows.rows(); at += chunk) {
                const std::size_t n = std::min(chunk, rows.rows() - at);
                for (std::size_t i = 0; i < n; ++i) encode_row(rows.row(at + i), codes.data() + i * dim());
                codes_.append({codes.data(), n, dim()});
            }
            append_dots(first);
        } catch (...) {
            truncate(first);
            throw;
        }
    }

    void overwrite(Slot slot, std::span<const T> row) {
        if (row.size() != dim()) fail(ErrorCode::dimension_mismatch, "expected a row of ", dim(), " elements, got ", row.size());
        if constexpr (is_ip) dots_.make_owned();
        encode_row(row.data(), row_codes_.data());
        codes_.overwrite(slot, row_codes_);
        if constexpr (is_ip) {
            const float dot = static_cast<float>(dot_of(row_codes_.data()));
            dots_.overwrite(slot, {&dot, 1});
        }
    }

    void own_rows() {
        codes_.own_rows();
        if constexpr (is_ip) dots_.make_owned();
    }

    void move_row(Slot from, Slot to) {
        codes_.move_row(from, to);
        if constexpr (is_ip) dots_.overwrite(to, dots_.view()[from]);
    }

    void truncate(std::size_t size) {
        codes_.truncate(size);
        if constexpr (is_ip) dots_.truncate(std::min(size, dots_.rows()));
    }

    ScalarSpace reordered(std::span<const Slot> old_of, Executor& executor = inline_executor()) const {
        Rows<float> dots(1);
        if constexpr (is_ip) dots = dots_.selected(old_of, executor);
        return ScalarSpace(codec_, codes_.reordered(old_of, executor), std::move(dots));
    }

    /// Adds this space's sections; it must stay until the file is written.
    void save(SectionWriter& writer) const {
        writer.add(sections.centres, codec_.centres());
        writer.add(sections.step, std::span<const float>(&codec_.step(), 1));
        writer.add_rows(sections.codes, codes_.rows().view());
        if constexpr (keeps_norms()) writer.add_rows("sq8_norms", codes_.factors().view());
        if constexpr (is_ip) writer.add_rows(sections.dots, dots_.view());
    }

    /// Codes stay where they are, mapped or in memory. Safe for any bytes; what they mean is validate()'s.
    static ScalarSpace load(const SectionReader& reader) {
        const FileInfo& info = reader.info();
        if (info.dim == 0) fail(ErrorCode::corrupt, reader.name(), ": expected rows of at least 1 dimension");
        if (info.count >= max_rows)
            fail(ErrorCode::corrupt, reader.name(), ": expected fewer than ", max_rows, " rows, got ", info.count);
        const auto centres = reader.template section<float>(sections.centres, info.dim);
        const float step = reader.template section<float>(sections.step, 1)[0];
        const auto mapped = [&]<class F>(std::string_view section, std::size_t cols, F) {
            return Rows<F>::map(reader.template matrix<F>(section, info.count, cols), reader.keep_alive());
        };
        auto codes = mapped(sections.codes, is_packed ? packed_nibbles(info.dim) : info.dim, stored_type{});
        Rows<float> dots(1);
        if constexpr (is_ip) dots = mapped(sections.dots, 1, float{});
        codec_type codec({centres.begin(), centres.end()}, step);
        if constexpr (is_packed) {
            return ScalarSpace(std::move(codec), codes_type(info.dim, std::move(codes)), std::move(dots));
        } else {
            using factor_type = typename codes_type::factor_type;
            Rows<factor_type> norms(1);
            if constexpr (keeps_norms()) norms = mapped("sq8_norms", 1, factor_type{});
            return ScalarSpace(std::move(codec), codes_type(std::move(codes), {}, std::move(norms)), std::move(dots));
        }
    }

    /// The sections that save() may write.
    static std::vector<std::string_view> section_names() {
        std::vector<std::string_view> names{sections.centres, sections.step, sections.codes};
        if constexpr (keeps_norms()) names.push_back("sq8_norms");
        if constexpr (is_ip) names.push_back(sections.dots);
        return names;
    }

    /// Throws Error{corrupt} unless centres and step can be, and what is kept beside the codes is theirs. O(n d).
    void validate(std::string_view source, const Progress& progress = {}) const {
        if (!std::isnormal(codec_.step()) || codec_.step() < 0)
            fail(ErrorCode::corrupt, source, ": section '", sections.step, "': expected a number above 0, got ", codec_.step());
        for (std::size_t i = 0; i < dim(); ++i)
            if (!std::isfinite(codec_.centres()[i]))
                fail(ErrorCode::corrupt, source, ": section '", sections.centres, "': dimension ", i, " is ", codec_.centres()[i]);
        for (std::size_t at = 0; at < size(); ++at) {
            if (at % 4096 == 0) progress.report("validate", at, size());
            const auto slot = static_cast<Slot>(at);
            if constexpr (is_packed) {
                if (const int code = nibble_behind(codes_.rows().row(slot), dim()); code != 8)
                    fail(ErrorCode::corrupt, source, ": section '", sections.codes, "': row ", at, " goes on behind its end");
            }
            if constexpr (keeps_norms()) {
                std::int32_t norm = 0;
                for_each_code(slot, [&](std::size_t, code_type code) { norm += std::int32_t{code} * code; });
                if (norm != *codes_.factors().row(slot))
                    fail(ErrorCode::corrupt, source, ": section 'sq8_norms' does not match row ", at);
            }
            if constexpr (is_ip) {
                if (static_cast<float>(dot_of(slot)) != *dots_.row(slot))
                    fail(ErrorCode::corrupt, source, ": section '", sections.dots, "' does not match row ", at);
            }
        }
        progress.report("validate", size(), size());
    }

private:
    static constexpr bool keeps_norms() {
        if constexpr (is_packed) return false;
        else return codes_type::keeps_factors;
    }

    struct Sections {
        std::string_view centres, step, codes, dots;
    };
    static constexpr Sections sections = is_packed ? Sections{"sq4_centres", "sq4_step", "sq4_codes", "sq4_dots"}
                                                   : Sections{"sq8_centres", "sq8_step", "sq8_codes", "sq8_dots"};

    std::size_t query_size() const noexcept {
        if constexpr (is_packed) return codes_.query_size();
        else return dim();
    }

    /// f(dimension, code) of a stored row, in the order of dimensions.
    template <class F>
    void for_each_code(Slot slot, F f) const {
        const stored_type* const row = codes_.rows().row(slot);
        if constexpr (is_packed) for_each_nibble(row, dim(), [&](std::size_t i, int code) { f(i, static_cast<code_type>(code - 8)); });
        else
            for (std::size_t i = 0; i < dim(); ++i) f(i, row[i]);
    }

    /// What a row is multiplied with before it is quantised.
    struct RowScale {
        template <class X>
        float operator()(const X* row, std::size_t dim) const noexcept {
            if constexpr (is_cosine) return detail::inverse_norm(row, dim);
            else return 1.0f;
        }
    };

    ScalarSpace(codec_type codec, codes_type codes, Rows<float> dots)
        : codec_(std::move(codec)), codes_(std::move(codes)), dots_(std::move(dots)), row_codes_(codec_.dim()) {
        if (codes_.dim() != codec_.dim())
            fail(ErrorCode::dimension_mismatch, "expected codes of ", codec_.dim(), " elements, got ", codes_.dim());
        double squares = 0;
        for (const float c : codec_.centres()) squares += static_cast<double>(c) * static_cast<double>(c);
        centre_norm_ = squares;
        if constexpr (is_cosine) {
            nowhere_.resize(dim());
            for (std::size_t i = 0; i < dim(); ++i)
                nowhere_[i] = static_cast<float>(squares > 0 ? -static_cast<double>(codec_.centres()[i]) / std::sqrt(squares)
                                                             : 1 / std::sqrt(static_cast<double>(dim())));
        }
    }

    /// One step of an internal distance in the metric's own.
    double unit() const noexcept {
        const double step = static_cast<double>(codec_.step()) / parts;
        if constexpr (is_ip) return 1;
        else if constexpr (is_l1) return step;
        else return is_cosine ? step * step / 2 : step * step;
    }

    template <class X>
    void encode_row(const X* row, code_type* codes) const noexcept {
        const float scale = RowScale{}(row, dim());
        if (is_cosine && scale == 0) codec_.encode(nowhere_.data(), 1.0f, codes);
        else codec_.encode(row, scale, codes);
    }

    /// centre . levels, as it is kept. Products are exact, and added in one order.
    double dot_of(const code_type* codes) const noexcept {
        double sum = 0;
        for (std::size_t i = 0; i < dim(); ++i) sum += static_cast<double>(codec_.centres()[i]) * codes[i];
        return static_cast<double>(static_cast<float>(sum));
    }
    double dot_of(Slot slot) const noexcept {
        double sum = 0;
        for_each_code(slot, [&](std::size_t i, code_type level) { sum += static_cast<double>(codec_.centres()[i]) * level; });
        return static_cast<double>(static_cast<float>(sum));
    }

    /// -(|centre|^2 + step (dot of a + dot of b) + step^2 levels of a . levels of b), for negated inner products of levels.
    float between_rows(double dot, Slot b, std::int32_t negated) const noexcept {
        const auto step = static_cast<double>(codec_.step());
        return static_cast<float>(step * step * negated - step * (dot + static_cast<double>(*dots_.row(b))) - centre_norm_);
    }

    void append_dots(std::size_t first) {
        if constexpr (is_ip) {
            for (std::size_t slot = first; slot < size(); ++slot) {
                const auto dot = static_cast<float>(dot_of(static_cast<Slot>(slot)));
                dots_.append({&dot, 1});
            }
        }
    }

    codec_type codec_;
    codes_type codes_;
    Rows<float> dots_;                  // ip: centre . levels of each row
    std::vector<code_type> row_codes_;  // so that overwrite() allocates nothing
    std::vector<float> nowhere_;        // cosine: what a zero row is coded as
    double centre_norm_ = 0;            // |centre|^2
    [[no_unique_address]] M metric_;
};

}  // namespace kith
