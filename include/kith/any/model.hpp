// SPDX-License-Identifier: Apache-2.0
//
// IndexModel<I>: the erased interface over one index type. Everything type-dependent about the border happens here: element types of
// queries, parameters by name, abilities that an index lacks.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kith/any/any_index.hpp"
#include "kith/core/buffer.hpp"
#include "kith/index/keyed.hpp"
#include "kith/index/refine.hpp"
#include "kith/storage/rows.hpp"

namespace kith::detail {

/// visit(T{}) for the element type.
template <class Visit>
decltype(auto) with_element(ElementType type, Visit&& visit) {
    switch (type) {
        case ElementType::f32: return visit(float{});
        case ElementType::f16: return visit(Half{});
        case ElementType::bf16: return visit(BFloat16{});
        case ElementType::i8: return visit(std::int8_t{});
        case ElementType::u8: return visit(std::uint8_t{});
        case ElementType::b1: return visit(Bits8{});
    }
    fail(ErrorCode::invalid_argument, "unknown element type ", static_cast<int>(type));
}

/// The matrix as rows of T. Throws Error{type_mismatch, invalid_argument}.
template <Element T>
MatrixView<const T> typed(AnyMatrix matrix, std::string_view what) {
    if (matrix.type != element_traits<T>::type)
        fail(ErrorCode::type_mismatch, "expected ", what, " of ", name(element_traits<T>::type), ", got ", name(matrix.type));
    if (matrix.rows > 0 && (matrix.data == nullptr || reinterpret_cast<std::uintptr_t>(matrix.data) % alignof(T) != 0))
        fail(ErrorCode::invalid_argument, "expected ", what, " aligned to ", alignof(T), " bytes");
    if (matrix.rows > 1 && matrix.stride < matrix.cols)
        fail(ErrorCode::invalid_argument, "expected a stride of at least ", matrix.cols, " elements, got ", matrix.stride);
    return {static_cast<const T*>(matrix.data), matrix.rows, matrix.cols, matrix.stride};
}

/// One value as a Q, if nothing is lost.
template <class Q, class T>
bool convert_exactly(T from, Q& to) noexcept {
    if constexpr (std::is_same_v<Q, float>) {
        to = to_float(from);
        return true;
    } else {
        const float value = to_float(from);
        if (!(value >= static_cast<float>(std::numeric_limits<Q>::min()) &&
              value <= static_cast<float>(std::numeric_limits<Q>::max())) ||
            value != std::floor(value))
            return false;
        to = static_cast<Q>(value);
        return true;
    }
}

/// The parameters that a search takes which says target_recall=value and nothing else; 1 is the best there is. spec(): what the index is, for messages. Throws Error{invalid_argument, unsupported}.
template <class Spec>
ParamMap params_for_target(const ParamValue& value, std::size_t given, const std::optional<RecallCurve>& curve, std::size_t k, Spec&& spec) {
    const auto* number = std::get_if<double>(&value);
    const auto* integer = std::get_if<std::int64_t>(&value);
    const double target = number != nullptr ? *number : integer != nullptr ? static_cast<double>(*integer) : -1;
    if (!(target > 0 && target <= 1)) fail(ErrorCode::invalid_argument, "parameter 'target_recall' must be a number above 0 and at most 1, not ", param_text(value));
    if (given != 1) fail(ErrorCode::invalid_argument, "target_recall chooses the search parameters: it is not to be had together with others");
    if (!curve) fail(ErrorCode::unsupported, spec(), " was not calibrated: build it with a target_recall, or call calibrate(), before searching with one");
    if (curve->points.empty()) return {};  // there was nothing to measure
    const double best = curve->best(k);
    if (best < target && target < 1 && best < 0.999)
        fail(ErrorCode::unsupported, spec(), " reaches a recall of ", best, " for k = ", k, ", not ", target, ": try more bits, a codec that loses less, or refine");
    return curve->params_for(target, k);
}

template <Index I>
class IndexModel final : public AnyModel {
    using S = typename I::space_type;
    using Query = query_of<I>;
    using T = typename S::element_type;

    struct Context final : SearchContext {
        BatchScratch<I> scratch;
        std::vector<BitsetFilter> filters;
        AlignedBuffer<Query> queries;
    };

    struct CursorModel final : AnyCursorModel {
        explicit CursorModel(Cursor<I> made) : cursor(std::move(made)) {}
        Neighbours next(std::size_t n) override { return cursor.next(n); }
        SearchStats stats() const override { return cursor.stats(); }
        Cursor<I> cursor;
    };

public:
    explicit IndexModel(Keyed<I> keyed) : keyed_(std::move(keyed)) {}

    std::string_view kind() const override { return I::kind; }
    std::string_view metric() const override { return S::metric_type::name; }
    ElementType element_type() const override { return element_traits<T>::type; }
    std::size_t size() const override { return keyed_.size(); }
    std::size_t slots() const override { return keyed_.slots(); }
    std::size_t dim() const override { return keyed_.dim(); }
    std::size_t memory_bytes() const override {
        if constexpr (requires { keyed_.index().memory_bytes(); }) return keyed_.index().memory_bytes() + keyed_.ids().bytes();
        else return space().memory_bytes() + keyed_.ids().bytes();
    }

    std::string spec() const override {
        const std::string params = to_string(keyed_.index().params());
        std::string over = codec_label(space());
        if constexpr (requires { keyed_.index().over_label(); }) over = keyed_.index().over_label();
        return std::string(I::kind) + (params.empty() ? "" : "(" + params + ")") + " over " + over;
    }

    ParamMap describe() const override {
        const auto number = [](std::size_t n) { return static_cast<std::int64_t>(n); };
        ParamMap facts{{"spec", spec()},
                       {"rows", number(size())},
                       {"dimensions", number(space().dimensions())},
                       {"element", std::string(name(element_type()))},
                       {"metric", std::string(metric())},
                       {"bytes_per_row", size() == 0 ? 0.0 : static_cast<double>(memory_bytes()) / static_cast<double>(size())},
                       {"memory_bytes", number(memory_bytes())},
                       {"ids", std::string(keyed_.ids().is_identity() ? "row numbers" : "given")}};
        if constexpr (requires { space().rows().kind(); }) {
            const RowsKind rows = space().rows().kind();
            facts.emplace_back("storage",
                               std::string(rows == RowsKind::owned ? "owned" : rows == RowsKind::mapped ? "mapped" : "borrowed"));
        }
        if constexpr (requires { searched(keyed_.index()).describe(); })
            for (auto& fact : searched(keyed_.index()).describe()) facts.push_back(std::move(fact));
        if constexpr (StablyRemovable<I>) facts.emplace_back("vacant_slots", number(slots() - size()));
        if constexpr (requires { keyed_.index().describe(); })
            for (auto& fact : keyed_.index().describe()) facts.push_back(std::move(fact));
        if (const auto& curve = keyed_.recall_curve()) {
            facts.emplace_back("calibrated_rows", static_cast<std::int64_t>(curve->rows));
            facts.emplace_back("calibrated_best_recall", curve->best(10));
            if (curve->target > 0) facts.emplace_back("target_recall", curve->target);
        }
        return facts;
    }

    std::vector<FieldInfo> search_params() const override { return describe_params<typename I::search_params>(); }
    std::vector<FieldInfo> build_params() const override { return describe_params<typename I::build_params>(); }

    std::unique_ptr<SearchContext> context() const override { return std::make_unique<Context>(); }

    SearchStats search(AnyMatrix queries, std::size_t k, const ParamMap& params, std::span<const BitsetView> filters,
                       Executor& executor, ResultView out, SearchContext& context) const override {
        auto& scratch = context_of(context);
        const auto parsed = parsed_params(params, std::min(k, size()));
        return keyed_.search(read_queries(queries, scratch), k, parsed, read_filters(filters, scratch), executor,
                             scratch.scratch, out);
    }

    RangeResults range_search(AnyMatrix queries, double radius, const ParamMap& params,
                              std::span<const BitsetView> filters, Executor& executor,
                              SearchContext& context) const override {
        auto& scratch = context_of(context);
        const auto parsed = parsed_params(params, 100);
        return range_batch(keyed_.index(), read_queries(queries, scratch), radius, parsed, read_filters(filters, scratch),
                           keyed_.slot_ids(), executor, scratch.scratch);
    }

    std::vector<std::uint32_t> tables_with([[maybe_unused]] AnyMatrix query, [[maybe_unused]] std::span<const Id> ids, [[maybe_unused]] const ParamMap& params) const override {
        if constexpr (requires { hashed(keyed_.index()).tables_with(std::span<const Query>{}, std::span<const Slot>{}); }) {
            Context scratch;
            const auto rows = read_queries(query, scratch);
            if (rows.rows() != 1) fail(ErrorCode::dimension_mismatch, "expected one query, got ", rows.rows());
            if (rows.cols() != dim()) fail(ErrorCode::dimension_mismatch, "expected a query of ", dim(), " elements, got ", rows.cols());
            require_finite(rows, "query");
            std::vector<Slot> slots;
            for (const Id id : ids) {
                if (!contains(id)) fail(ErrorCode::not_found, "no row has id ", id);
                slots.push_back(keyed_.ids().slot(id));
            }
            return hashed(keyed_.index()).tables_with(rows[0], slots, parsed_params(params, 10));
        } else {
            lacks("telling hash tables");
        }
    }

    std::unique_ptr<AnyCursorModel> iterate(AnyMatrix query, const ParamMap& params, std::optional<Bitset> filter) const override {
        if (query.rows != 1) fail(ErrorCode::dimension_mismatch, "expected one query to iterate from, got ", query.rows);
        Context scratch;
        const auto parsed = parsed_params(params, 10);
        return std::make_unique<CursorModel>(keyed_.iterate(read_queries(query, scratch)[0], parsed, std::move(filter)));
    }

    Results search_without(AnyMatrix queries, std::span<const Id> own, std::size_t k, const ParamMap& params, Executor& executor) const override {
        Context converted;
        const auto rows = read_queries(queries, converted);
        auto parsed = parse_params<typename I::search_params>(params, std::string_view(I::kind));
        const I& index = keyed_.index();
        // Where the row itself is no result it needs no place among them; elsewhere it has one more, of those that are refined too.
        constexpr bool leaves_out = requires(typename I::scratch_type& scratch) { scratch.leave_out(Slot{}); };
        const std::size_t places = std::min(k + (leaves_out ? 0 : 1), size());
        if constexpr (!leaves_out && requires { parsed.refine; })
            parsed.refine = static_cast<float>((std::ceil(static_cast<double>(k) * static_cast<double>(parsed.refine)) + 1 - 1e-3) / static_cast<double>(k + 1));
        Results results(rows.rows(), k);
        const ResultView out = results.view();
        std::vector<typename I::scratch_type> workers(executor.workers());
        std::vector<SearchStats> stats(executor.workers());
        executor.run(rows.rows(), 1, [&](std::size_t begin, std::size_t end, std::size_t which) {
            auto& scratch = workers[which];
            std::vector<Hit<typename S::distance_type>> hits(places);
            for (std::size_t q = begin; q < end; ++q) {
                const Slot self = keyed_.ids().slot(own[q]);
                if constexpr (leaves_out) scratch.leave_out(self);
                TopK<typename S::distance_type> nearest(hits);
                stats[which] += index.search(rows[q], parsed, AllowAll{}, scratch, nearest);
                std::uint32_t& at = out.counts[q];
                for (const auto& hit : nearest.sorted()) {
                    if (hit.slot == self || at == k) continue;
                    out.ids.row(q)[at] = keyed_.ids().id(hit.slot);
                    out.distances.row(q)[at++] = static_cast<float>(space().report(static_cast<double>(hit.distance)));
                }
            }
        });
        for (const auto& one : stats) results.stats += one;
        return results;
    }

    std::optional<AnyMatrix> exact_rows() const override {
        if constexpr (requires { { space().rows().view() } -> std::same_as<MatrixView<const T>>; }) return erase(space().rows().view());
        else return std::nullopt;
    }

    std::vector<Id> ids_of_slots() const override {
        std::vector<Id> ids(slots());
        for (std::size_t slot = 0; slot < ids.size(); ++slot) ids[slot] = slot < keyed_.ids().slots() ? keyed_.ids().id(static_cast<Slot>(slot)) : invalid_id;
        return ids;
    }

    const std::optional<RecallCurve>& recall_curve() const override { return keyed_.recall_curve(); }
    void set_recall_curve(std::optional<RecallCurve> curve) override { keyed_.set_recall_curve(std::move(curve)); }

    bool contains(Id id) const override { return keyed_.contains(id); }

    void copy_ids(std::span<Id> out) const override {
        if (out.size() != size())
            fail(ErrorCode::dimension_mismatch, "expected room for ", size(), " ids, got ", out.size());
        std::size_t at = 0;
        for (std::size_t slot = 0; slot < keyed_.ids().slots(); ++slot)
            if (const Id id = keyed_.ids().id(static_cast<Slot>(slot)); id != invalid_id) out[at++] = id;
    }

    void copy_row(Id id, void* out) const override {
        const Slot slot = keyed_.ids().slot(id);
        if (slot == invalid_slot) fail(ErrorCode::not_found, "no row has id ", id);
        if constexpr (requires { { space().rows().view() } -> std::same_as<MatrixView<const T>>; })
            std::memcpy(out, space().rows().view().row(slot), dim() * sizeof(T));
        else lacks("giving rows back");
    }

    Bitset slots_of(std::span<const Id> ids) const override { return keyed_.slots_of(ids); }
    Bitset slots_of_mask(std::span<const std::uint8_t> mask) const override { return keyed_.slots_of_mask(mask); }
    Bitset live_slots() const override { return keyed_.live_slots(); }

    void add(AnyMatrix rows, std::span<const Id> ids, NotFinite policy, Executor& executor,
             const Progress& progress) override {
        if constexpr (Insertable<I>) keyed_.add(typed<T>(rows, "rows"), ids, policy, executor, progress);
        else lacks("adding rows");
    }

    void remove(std::span<const Id> ids, Executor& executor, const Progress& progress) override {
        if constexpr (Removable<I>) keyed_.remove(ids, executor, progress);
        else lacks("removing rows");
    }

    void compact(Executor& executor, const Progress& progress) override {
        if constexpr (requires { keyed_.compact(executor, progress); }) keyed_.compact(executor, progress);
        else lacks("compacting");
    }

    void clear(Executor& executor, const Progress& progress) override {
        if constexpr (requires { keyed_.clear(executor, progress); }) keyed_.clear(executor, progress);
        else lacks("removing rows");
    }

    void rebalance(Executor& executor, const Progress& progress) override {
        if constexpr (Rebalanceable<I>) keyed_.rebalance(executor, progress);
        else lacks("rebalancing");
    }

    void save(const std::filesystem::path& path, const Progress& progress) const override {
        if constexpr (Persistable<I>) keyed_.save(path, progress);
        else lacks("saving");
    }

    std::vector<std::byte> to_bytes() const override {
        if constexpr (Persistable<I>) return keyed_.to_bytes();
        else lacks("saving");
    }

    void validate(std::string_view source, const Progress& progress) const override {
        if constexpr (Persistable<I>) keyed_.index().validate(source, progress);
    }

private:
    const S& space() const noexcept { return keyed_.index().space(); }

    /// Search parameters for k neighbours: those that are said, or those that target_recall takes.
    typename I::search_params parsed_params(const ParamMap& params, std::size_t k) const {
        const auto& curve = keyed_.recall_curve();
        if (params.empty() && curve && curve->target > 0)
            return parse_params<typename I::search_params>(curve->params_for(curve->target, k), std::string_view(I::kind));
        const auto asked = std::find_if(params.begin(), params.end(), [](const auto& param) { return param.first == "target_recall"; });
        if (asked == params.end()) return parse_params<typename I::search_params>(params, std::string_view(I::kind));
        return parse_params<typename I::search_params>(params_for_target(asked->second, params.size(), curve, k, [&] { return spec(); }), std::string_view(I::kind));
    }

    /// The rows that searches read first: codes, where there are any.
    static const auto& searched(const I& index) noexcept {
        if constexpr (requires { index.inner().space(); }) return index.inner().space();
        else return index.space();
    }

    static const auto& hashed(const I& index) noexcept {
        if constexpr (requires { index.inner(); }) return index.inner();
        else return index;
    }

    [[noreturn]] static void lacks(std::string_view ability) {
        fail(ErrorCode::unsupported, I::kind, " does not support ", ability);
    }

    static Context& context_of(SearchContext& context) {
        auto* mine = dynamic_cast<Context*>(&context);
        if (mine == nullptr) fail(ErrorCode::invalid_argument, "this search context was made by another kind of index");
        return *mine;
    }

    static std::span<const BitsetFilter> read_filters(std::span<const BitsetView> filters, Context& scratch) {
        scratch.filters.clear();
        for (const auto& bits : filters) scratch.filters.emplace_back(bits);
        return scratch.filters;
    }

    MatrixView<const Query> read_queries(AnyMatrix queries, Context& scratch) const {
        if (queries.type == element_traits<Query>::type) return typed<Query>(queries, "queries");
        if constexpr (std::is_same_v<Query, Bits8>) {
            return typed<Query>(queries, "queries");  // says what was expected
        } else {
            if (queries.type == ElementType::b1) return typed<Query>(queries, "queries");
            scratch.queries.reserve_discarding(queries.rows * queries.cols);
            with_element(queries.type, [&](auto element) {
                using From = decltype(element);
                if constexpr (!std::is_same_v<From, Bits8>) convert(typed<From>(queries, "queries"), scratch.queries.data());
            });
            return {scratch.queries.data(), queries.rows, queries.cols};
        }
    }

    template <class From>
    static void convert(MatrixView<const From> queries, Query* out) {
        for (std::size_t i = 0; i < queries.rows(); ++i)
            for (std::size_t j = 0; j < queries.cols(); ++j)
                if (!convert_exactly(queries.row(i)[j], *out++))
                    fail(ErrorCode::type_mismatch, "expected queries of ", name(element_traits<Query>::type),
                         " like the rows, or floats that are such integers; query ", i, " has ",
                         to_float(queries.row(i)[j]), " at dimension ", j);
    }

    Keyed<I> keyed_;
};

}  // namespace kith::detail
