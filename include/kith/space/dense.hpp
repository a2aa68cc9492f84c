// SPDX-License-Identifier: Apache-2.0
//
// DenseSpace<Metric, T>: rows of T as they are, owned, borrowed or mapped.
//
// Rows are never changed or copied to suit a metric. What a metric needs beside a row is kept beside it, 4 bytes each:
//
//   l2 over 8-bit integers   |x|^2     |q-x|^2 = |q|^2 + |x|^2 - 2 q.x is exact in integers and needs one multiply-add per lane
//   cosine                   1 / |x|   (0 for a zero row), so that borrowed rows need no normalised copy and stay retrievable
//
// Float rows are scored in float; 8-bit rows and bits in int32, exactly (8-bit rows may have up to 33,025 dimensions, past which
// a squared distance would no longer fit). A callable metric is inlined into the loops below.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/prefetch.hpp"
#include "kith/core/progress.hpp"
#include "kith/metric/metric.hpp"
#include "kith/simd/kernels.hpp"
#include "kith/space/finite.hpp"
#include "kith/space/space.hpp"
#include "kith/storage/rows.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

namespace detail {

/// |x|^2 in double, the same on every instruction set, so that files do not depend on the machine that wrote them.
template <class T>
double squared_norm(const T* x, std::size_t dim) noexcept {
    std::array<double, 4> sum{};
    for (std::size_t i = 0; i < dim; ++i) {
        const double v = static_cast<double>(to_float(x[i]));
        sum[i % 4] += v * v;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <class T>
float inverse_norm(const T* x, std::size_t dim) noexcept {
    const double norm = std::sqrt(squared_norm(x, dim));
    const auto inverse = static_cast<float>(1.0 / norm);
    return std::isfinite(inverse) ? inverse : 0.0f;
}

template <class M, class T>
struct DenseTypes {  // a callable metric: queries are rows
    using query = T;
    using kernel = float;
    using distance = float;
};

template <class M, class T>
    requires KernelMetric<M, T>
struct DenseTypes<M, T> {
    using kernels = std::remove_cvref_t<decltype(M::kernels(std::declval<const simd::KernelTable&>(), T{}))>;
    using query = typename kernels::Query;
    using kernel = std::invoke_result_t<decltype(kernels::one), const T*, const T*, std::size_t>;
    using distance = std::conditional_t<M::score == Score::normalised, float, kernel>;
};

}  // namespace detail

template <Metric M, Element T>
    requires KernelMetric<M, T> || CallableMetric<M, T>
class DenseSpace {
    using types = detail::DenseTypes<M, T>;
    static constexpr bool has_kernels = KernelMetric<M, T>;

    static constexpr bool normalised() {
        if constexpr (has_kernels) return M::score == Score::normalised;
        else return false;
    }
    static constexpr bool integer_l2() {
        if constexpr (has_kernels) return M::squared_l2 && IntegerElement<T>;
        else return false;
    }

public:
    using metric_type = M;
    using element_type = T;
    using query_type = typename types::query;
    using distance_type = typename types::distance;
    using rows_view = MatrixView<const T>;

    static constexpr std::size_t max_integer_dim = 33025;  // 255^2 * dim < 2^31
    /// Is there a factor beside each row, and what is it?
    static constexpr bool keeps_inverse_norms = normalised();
    static constexpr bool keeps_squared_norms = integer_l2();
    static constexpr bool keeps_factors = keeps_inverse_norms || keeps_squared_norms;
    using factor_type = std::conditional_t<keeps_squared_norms, std::int32_t, float>;

    /// O(n d) where a factor is kept, O(1) otherwise. Throws Error{unsupported} past max_rows or max_integer_dim.
    explicit DenseSpace(Rows<T> rows, M metric = M{})
        requires std::default_initializable<M>
        : DenseSpace(std::move(rows), std::move(metric), Rows<factor_type>(1)) {
        append_factors(0);
    }
    DenseSpace(Rows<T> rows, M metric)
        requires(!std::default_initializable<M>)
        : DenseSpace(std::move(rows), std::move(metric), Rows<factor_type>(1)) {
        append_factors(0);
    }

    /// As above with the factors that were kept with the rows (a file's), which must be one for each row.
    DenseSpace(Rows<T> rows, M metric, Rows<factor_type> factors)
        : rows_(std::move(rows)), factors_(std::move(factors)), metric_(std::move(metric)) {
        if (rows_.rows() >= max_rows)
            fail(ErrorCode::unsupported, "an index holds fewer than ", max_rows, " rows, not ", rows_.rows());
        if constexpr (IntegerElement<T>) {
            if (rows_.cols() > max_integer_dim)
                fail(ErrorCode::unsupported, "8-bit rows have at most ", max_integer_dim, " dimensions, not ", rows_.cols());
        }
        if constexpr (has_kernels) kernels_ = &M::kernels(simd::kernels(), T{});
    }

    std::size_t size() const noexcept { return rows_.rows(); }
    std::size_t dim() const noexcept { return rows_.cols(); }
    std::size_t dimensions() const noexcept { return dim() * dims_per_element<T>; }
    std::string label() const { return type_label(); }
    static std::string type_label() { return std::string(M::name) + "/" + std::string(name(element_traits<T>::type)); }
    std::size_t row_bytes() const noexcept { return dim() * sizeof(T); }
    std::size_t memory_bytes() const noexcept {
        return size() * (rows_.stride() * sizeof(T) + (keeps_factors ? sizeof(factor_type) : 0));
    }
    const M& metric() const noexcept { return metric_; }
    double report(double internal) const { return metric_.report(internal); }
    double internal(double reported) const { return metric_.internal(reported); }

    const Rows<T>& rows() const noexcept { return rows_; }
    const Rows<factor_type>& factors() const noexcept { return factors_; }

    class scorer_type {
    public:
        using distance_type = typename types::distance;

        scorer_type(const DenseSpace& space, std::span<const query_type> query) noexcept
            : space_(&space), query_(query.data()) {
            if constexpr (keeps_inverse_norms) query_factor_ = detail::inverse_norm(query.data(), query.size());
        }

        distance_type operator()(Slot slot) const {
            if constexpr (has_kernels && std::is_same_v<query_type, T>) {  // one needs no preparation of the query
                return finish(space_->kernels_->one(query_, space_->rows_.row(slot), space_->dim()), slot);
            } else {
                distance_type distance;
                run(slot, 1, &distance);
                return distance;
            }
        }

        void gather(std::span<const Slot> slots, distance_type* out) const {
            if constexpr (has_kernels) {
                score(slots.size(), out, [&](std::size_t at, std::size_t n, auto* raw) {
                    space_->kernels_->gather(query_, space_->rows_ref(), slots.data() + at, n, raw);
                }, [&](std::size_t i) { return slots[i]; });
            } else {
                for (std::size_t i = 0; i < slots.size(); ++i) out[i] = call(slots[i]);
            }
        }

        void run(std::size_t first, std::size_t count, distance_type* out) const {
            if constexpr (has_kernels) {
                score(count, out, [&](std::size_t at, std::size_t n, auto* raw) {
                    space_->kernels_->run(query_, space_->rows_ref(), first + at, n, raw);
                }, [&](std::size_t i) { return first + i; });
            } else {
                for (std::size_t i = 0; i < count; ++i) out[i] = call(first + i);
            }
        }

    private:
        distance_type call(std::size_t slot) const {
            return static_cast<distance_type>(space_->metric_(query_, space_->rows_.view().row(slot), space_->dim()));
        }

        /// kernel(at, n, raw) fills raw scores of rows at .. at + n; what the metric adds to them is added here.
        template <class Kernel, class SlotAt>
        void score(std::size_t count, distance_type* out, Kernel kernel, SlotAt slot_at) const {
            if constexpr (std::is_same_v<typename types::kernel, distance_type>) {
                kernel(0, count, out);
                for (std::size_t i = 0; i < count; ++i) out[i] = finish(out[i], slot_at(i));
            } else {  // integer dot products under a cosine
                std::array<typename types::kernel, 64> raw;
                for (std::size_t at = 0; at < count; at += raw.size()) {
                    const std::size_t n = std::min(raw.size(), count - at);
                    kernel(at, n, raw.data());
                    for (std::size_t i = 0; i < n; ++i) out[at + i] = finish(raw[i], slot_at(at + i));
                }
            }
        }

        distance_type finish(typename types::kernel raw, [[maybe_unused]] std::size_t slot) const {
            return space_->template finish<std::size_t>(raw, slot, query_factor_);
        }

        const DenseSpace* space_;
        const query_type* query_;
        float query_factor_ = 0;
    };

    /// Borrows `query`: dim() elements, which must outlive the scorer.
    scorer_type scorer(std::span<const query_type> query) const noexcept { return {*this, query}; }

    /// The first 512 bytes of a row; the processor's own prefetcher has understood by then.
    void prefetch(Slot slot) const noexcept {
        prefetch_bytes(rows_.row(slot), std::min<std::size_t>(row_bytes(), 512));
        if constexpr (keeps_factors) prefetch_bytes(factors_.row(slot));
    }

    distance_type distance(Slot a, Slot b) const {
        if constexpr (has_kernels) {
            float factor = 0;
            if constexpr (keeps_inverse_norms) factor = *factors_.view().row(a);
            return finish<Slot>(kernels_->one(rows_.view().row(a), rows_.view().row(b), dim()), b, factor);
        } else {
            return static_cast<distance_type>(metric_(rows_.view().row(a), rows_.view().row(b), dim()));
        }
    }

    void read_query(Slot slot, std::span<query_type> out) const {
        const T* row = rows_.view().row(slot);
        for (std::size_t i = 0; i < dim(); ++i) {
            if constexpr (std::is_same_v<query_type, T>) out[i] = row[i];
            else out[i] = to_float(row[i]);
        }
    }

    /// Amortised O(d) a row. Borrowed or mapped rows are first copied, once. Strong guarantee.
    void append(rows_view rows) {
        if (rows.rows() >= max_rows - size())
            fail(ErrorCode::unsupported, "an index holds fewer than ", max_rows, " rows, not ", size() + rows.rows());
        const std::size_t first = size();
        rows_.append(rows);
        try {
            append_factors(first);
        } catch (...) {
            truncate(first);
            throw;
        }
    }

    void own_rows() {
        rows_.make_owned();
        if constexpr (keeps_factors) factors_.make_owned();
    }

    /// The row at `to` becomes the one at `from`.
    void move_row(Slot from, Slot to) {
        rows_.overwrite(to, rows_.view()[from]);
        if constexpr (keeps_factors) factors_.overwrite(to, factors_.view()[from]);
    }

    /// The row at `slot` becomes `row`: a vacant slot gets a row again. Strong guarantee; after own_rows() only a wrong length fails.
    void overwrite(Slot slot, std::span<const T> row) {
        if constexpr (keeps_factors) {
            factors_.make_owned();
            rows_.overwrite(slot, row);
            const factor_type factor = factor_of(rows_.row(slot));
            factors_.overwrite(slot, {&factor, 1});
        } else {
            rows_.overwrite(slot, row);
        }
    }

    DenseSpace reordered(std::span<const Slot> old_of, Executor& executor = inline_executor()) const {
        Rows<factor_type> factors(1);
        if constexpr (keeps_factors) factors = factors_.selected(old_of, executor);
        return DenseSpace(rows_.selected(old_of, executor), metric_, std::move(factors));
    }

    /// Makes room for `size` rows in all; until there are as many, appending cannot run out of memory.
    void reserve(std::size_t size) {
        rows_.reserve(size);
        if constexpr (keeps_factors) factors_.reserve(size);
    }

    void truncate(std::size_t size) {
        rows_.truncate(size);
        if constexpr (keeps_factors) factors_.truncate(std::min(size, factors_.rows()));
    }

    /// Adds this space's sections; it must stay until the file is written.
    void save(SectionWriter& writer) const {
        writer.add_rows("rows", rows_.view());
        if constexpr (keeps_factors) writer.add_rows(factor_section(), factors_.view());
    }

    /// A space over a file's sections, which stay where they are (mapped or in memory). Safe for any bytes; what they mean is validate()'s.
    static DenseSpace load(const SectionReader& reader)
        requires std::default_initializable<M>
    {
        return load(reader, M{});
    }
    static DenseSpace load(const SectionReader& reader, M metric) {
        const FileInfo& info = reader.info();
        const std::uint64_t cols = info.dim / dims_per_element<T>;
        if (cols == 0 || info.dim % dims_per_element<T> != 0)
            fail(ErrorCode::corrupt, reader.name(), ": ", info.dim, " dimensions are no whole ", name(element_traits<T>::type), " row");
        if (info.count >= max_rows)
            fail(ErrorCode::corrupt, reader.name(), ": expected fewer than ", max_rows, " rows, got ", info.count);
        auto rows = Rows<T>::map(reader.template matrix<T>("rows", info.count, cols), reader.keep_alive());
        if constexpr (keeps_factors) {
            auto factors = Rows<factor_type>::map(
                reader.template matrix<factor_type>(factor_section(), info.count, 1), reader.keep_alive());
            return DenseSpace(std::move(rows), std::move(metric), std::move(factors));
        } else {
            return DenseSpace(std::move(rows), std::move(metric), Rows<factor_type>(1));
        }
    }

    /// The sections that save() may write.
    static std::vector<std::string_view> section_names() {
        if constexpr (keeps_factors) return {"rows", factor_section()};
        else return {"rows"};
    }

    /// Throws Error{corrupt} unless the rows are finite and what is kept beside them is theirs. O(n d).
    void validate(std::string_view source, const Progress& progress = {}) const {
        constexpr std::size_t chunk = 4096;
        for (std::size_t first = 0; first < size(); first += chunk) {
            progress.report("validate", first, size());
            const auto rows = rows_.view().slice(first, std::min(chunk, size() - first));
            if (const std::size_t bad = first_not_finite(rows); bad < rows.rows())
                fail(ErrorCode::corrupt, source, ": row ", first + bad, " has a value that is not finite");
            if constexpr (keeps_factors) {
                for (std::size_t i = 0; i < rows.rows(); ++i)
                    if (*factors_.view().row(first + i) != factor_of(rows.row(i)))
                        fail(ErrorCode::corrupt, source, ": section '", factor_section(), "' does not match row ", first + i);
            }
        }
        progress.report("validate", size(), size());
    }

    simd::RowsRef<T> rows_ref() const noexcept {
        simd::RowsRef<T> ref{rows_.view().data(), rows_.stride(), rows_.cols(), nullptr};
        if constexpr (keeps_squared_norms) ref.squared_norms = factors_.view().data();
        return ref;
    }

private:
    template <class AnySlot>
    distance_type finish(typename types::kernel raw, [[maybe_unused]] AnySlot slot,
                         [[maybe_unused]] float query_factor) const {
        if constexpr (!has_kernels || M::score == Score::as_is) return raw;
        else if constexpr (M::score == Score::negated) return -raw;
        else return 1.0f - static_cast<float>(raw) * *factors_.view().row(slot) * query_factor;
    }

    static constexpr std::string_view factor_section() noexcept {
        return keeps_inverse_norms ? "inverse_norms" : "squared_norms";
    }

    factor_type factor_of(const T* row) const noexcept {
        if constexpr (keeps_squared_norms) return InnerProduct::kernels(simd::kernels(), T{}).one(row, row, dim());
        else if constexpr (keeps_inverse_norms) return detail::inverse_norm(row, dim());
        else return {};
    }

    void append_factors(std::size_t first) {
        if constexpr (keeps_factors) {
            constexpr std::size_t chunk = 1024;
            std::array<factor_type, chunk> values;
            for (std::size_t at = first; at < rows_.rows(); at += chunk) {
                const std::size_t n = std::min(chunk, rows_.rows() - at);
                for (std::size_t i = 0; i < n; ++i) values[i] = factor_of(rows_.view().row(at + i));
                factors_.append(MatrixView<const factor_type>(values.data(), n, 1));
            }
        }
    }

    Rows<T> rows_;
    Rows<factor_type> factors_;
    [[no_unique_address]] M metric_;
    const simd::DistanceKernels<T, typename types::kernel>* kernels_ = nullptr;
};

}  // namespace kith
