// SPDX-License-Identifier: Apache-2.0
//
// Refine<I>: walk on codes, answer from the rows. An index I over a space of codes (Sq8Space) finds candidates, more
// than are wanted; the exact rows, which are kept beside it, are then scored for those alone, so that distances are
// exact and the order is right. Most of a search's memory traffic is codes, a quarter of floats or less.
//
//     auto index = Refine<Hnsw<Sq8Space<L2, float>>>::build(DenseSpace<L2, float>(Rows<float>::borrow(rows)), {.m = 16});
//
// k nearest: ceil(refine k) candidates. A radius: candidates are asked for until `refine` times as many came as the
// last one within the radius needed, in the order of the codes; each round asks for four times as many, and a search
// that is not the last offers nothing.
//
// Ties at the edge of the candidates are broken by the codes' order and slot, so a row of equal distance may be left
// out there.
//
// A batch goes through the inner index as a batch, where that has a plan of its own for such (Flat over codes), with the results of single queries.
//
// space() is the exact one: what a user sees, and what ids and filters speak of. Slots are the same in both. Cost:
// the inner search for refine k, and refine k rows. Memory: both.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "kith/index/index.hpp"
#include "kith/space/dense.hpp"

namespace kith {

/// The inner index's parameters of a search, and how many candidates to look at again.
template <Params P>
struct RefineParams : P {
    float refine = 1.5f;

    static constexpr auto fields() {
        return std::tuple_cat(P::fields(), std::tuple{field("refine", &RefineParams::refine, 1, 1000,
                                                            "candidates that are scored again with exact rows, for each wanted")});
    }
    friend bool operator==(const RefineParams&, const RefineParams&) = default;
};

namespace detail {

template <class S>
struct CodecParams {
    using type = NoParams;
};
template <class S>
    requires Params<typename S::codec_params>
struct CodecParams<S> {
    using type = typename S::codec_params;
};

}  // namespace detail

/// What a codec is trained with, beside a seed; none for most.
template <class S>
using codec_params_of = typename detail::CodecParams<S>::type;

/// A space of codes that stand for rows of element_type: S::train_and_encode(rows, executor, seed, progress), with S::codec_params behind the rows
/// where it has such.
template <class S>
concept CodecSpace = Space<S> && Element<typename S::element_type> && Metric<typename S::metric_type> &&
                     (requires(MatrixView<const typename S::element_type> rows, Executor& executor, const Progress& progress) {
                         { S::train_and_encode(rows, executor, std::uint64_t{}, progress) } -> std::same_as<S>;
                     } || requires(MatrixView<const typename S::element_type> rows, const typename S::codec_params& params, Executor& executor,
                                   const Progress& progress) {
                         { S::train_and_encode(rows, params, executor, std::uint64_t{}, progress) } -> std::same_as<S>;
                     });

/// Trains a codec on rows and encodes them.
template <CodecSpace S>
S encode_rows(MatrixView<const typename S::element_type> rows, [[maybe_unused]] const codec_params_of<S>& params, std::uint64_t seed,
              Executor& executor, const Progress& progress) {
    if constexpr (requires { typename S::codec_params; }) return S::train_and_encode(rows, params, executor, seed, progress);
    else return S::train_and_encode(rows, executor, seed, progress);
}

/// "l2/sq8", "l2/pq(m=16,bits=8,opq=false)": what a spec says of a space.
template <Space S>
std::string codec_label(const S& space) {
    if constexpr (requires { typename S::codec_params; }) return space.label() + "(" + to_string(space.params()) + ")";
    else return space.label();
}

/// An index that encodes rows itself, as it needs its own structure to do so.
template <class I>
concept EncodesRows = Index<I> && Element<typename I::space_type::element_type> && Metric<typename I::space_type::metric_type> &&
                      requires(MatrixView<const typename I::space_type::element_type> rows, const typename I::build_params& params, Executor& executor,
                               const Progress& progress) {
                          { I::build(rows, params, std::uint64_t{}, executor, progress) } -> std::same_as<I>;
                      };

template <Index I>
    requires(CodecSpace<typename I::space_type> || EncodesRows<I>)
class Refine {
    using Codes = typename I::space_type;
    using CodeDistance = typename Codes::distance_type;
    using T = typename Codes::element_type;

public:
    static constexpr std::string_view kind = I::kind;

    using inner_type = I;
    using space_type = DenseSpace<typename Codes::metric_type, T>;
    using build_params = typename I::build_params;
    using search_params = RefineParams<typename I::search_params>;
    using rows_view = typename space_type::rows_view;
    static constexpr std::size_t min_block = [] {
        if constexpr (BlockSearchable<I>) return std::size_t{I::min_block};
        else return std::size_t{1};
    }();

    static_assert(std::same_as<typename Codes::query_type, typename space_type::query_type>);

    class scratch_type {
        friend class Refine;

    public:
        void leave_out(Slot slot) noexcept
            requires requires(typename I::scratch_type& scratch) { scratch.leave_out(slot); }
        {
            inner.leave_out(slot);
        }

    private:
        typename I::scratch_type inner;
        scorer_scratch_of<space_type> scorer;
        AlignedBuffer<Hit<CodeDistance>> hits;
        std::vector<TopK<CodeDistance>> candidates;  // of a batch
        AlignedBuffer<Slot> slots;
        AlignedBuffer<typename space_type::distance_type> distances;
    };

    /// The rows and an index over their codes, slot for slot. Throws Error{dimension_mismatch}.
    Refine(space_type space, I inner) : Refine(std::move(space), std::move(inner), Unchecked{}) { check(); }

    /// Trains a codec on the rows and builds the inner index over their codes; a graph with exact_links over the rows.
    static Refine build(space_type space, const build_params& params = {}, std::uint64_t seed = 0,
                        Executor& executor = inline_executor(), const Progress& progress = {},
                        const codec_params_of<Codes>& codec = {}) {
        if constexpr (EncodesRows<I>) {
            I inner = I::build(space.rows().view(), params, seed, executor, progress);
            return beside(std::move(space), std::move(inner), executor);
        } else {
            Codes codes = encode_rows<Codes>(space.rows().view(), codec, seed, executor, progress);
            if constexpr (requires { params.exact_links; }) {
                if (params.exact_links) {
                    using Exact = typename I::template over<space_type>;
                    build_params exact = params;
                    exact.exact_links = false;
                    Exact built = Exact::build(space_type(Rows<T>::borrow(space.rows().view()), space.metric()), exact, seed, executor, progress);
                    return Refine(std::move(space), I::adopt(std::move(codes), std::move(built), params));
                }
            }
            return beside(std::move(space), I::build(std::move(codes), params, seed, executor, progress), executor);
        }
    }

    const space_type& space() const noexcept { return space_; }
    const I& inner() const noexcept { return inner_; }
    std::size_t size() const noexcept { return inner_.size(); }
    bool is_vacant(Slot slot) const noexcept
        requires requires(const I& inner) { inner.is_vacant(slot); }
    {
        return inner_.is_vacant(slot);
    }
    const build_params& params() const noexcept { return inner_.params(); }

    /// The inner index's order, in which the exact rows stand too.
    std::vector<Slot> take_order() noexcept
        requires ReordersRows<I>
    {
        return std::exchange(order_, {});
    }

    /// "l2/sq8, refine f32": what a spec says after "over".
    std::string over_label() const {
        const std::string refined = ", refine " + std::string(name(element_traits<T>::type));
        if constexpr (requires { inner_.over_label(); }) return inner_.over_label() + refined;
        else return codec_label(inner_.space()) + refined;
    }

    static std::string file_label() { return Codes::type_label() + "+" + std::string(name(element_traits<T>::type)); }

    std::size_t memory_bytes() const noexcept {
        if constexpr (requires { inner_.memory_bytes(); }) return space_.memory_bytes() + inner_.memory_bytes();
        else return space_.memory_bytes() + inner_.space().memory_bytes();
    }

    ParamMap describe() const {
        ParamMap facts;
        if constexpr (requires { inner_.describe(); }) facts = inner_.describe();
        facts.emplace_back("codes", inner_.space().label());
        facts.emplace_back("code_bytes_per_row", static_cast<std::int64_t>(inner_.space().row_bytes()));
        return facts;
    }

    template <Filter F, Collector C>
    SearchStats search(std::span<const query_of<I>> query, const search_params& params, const F& filter, scratch_type& scratch,
                       C& collector) const {
        if (size() == 0) return {};
        const auto scorer = bind_query(space_, query, scratch.scorer);
        SearchStats stats;
        if constexpr (requires { collector.capacity(); }) {
            if (collector.capacity() == 0) return {};
            const std::size_t found = find(query, params, filter, times(collector.capacity(), params.refine), scratch, stats);
            score(scorer, found, scratch, stats);
            offer(found, scratch, collector);
        } else {
            constexpr std::size_t first = 64, spare = 16;
            const auto radius = collector.bound();
            std::size_t wanted = radius >= farthest<decltype(radius)>() ? size() : std::min(size(), first);
            for (;;) {
                const std::size_t found = find(query, params, filter, wanted, scratch, stats);
                score(scorer, found, scratch, stats);
                std::size_t within = found;  // all up to the last one within the radius
                while (within > 0 && !(scratch.distances[within - 1] <= radius)) --within;
                const std::size_t enough = times(within, params.refine) + spare;
                if (found < wanted || wanted == size() || wanted >= enough) {
                    offer(within, scratch, collector);
                    break;
                }
                wanted = std::min(size(), std::max(4 * wanted, enough));
            }
        }
        return stats;
    }

    /// nearest[i] collects for queries[i]; as single queries do, where the inner index has a plan of its own for batches.
    SearchStats search_block(MatrixView<const query_of<I>> queries, const search_params& params, std::span<const BitsetFilter> filters, scratch_type& scratch,
                             std::span<TopK<typename space_type::distance_type>> nearest) const
        requires BlockSearchable<I>
    {
        constexpr std::size_t heap_bytes = std::size_t{64} << 20;
        SearchStats stats;
        std::size_t most = 1;
        for (const auto& collector : nearest) most = std::max(most, wanted_by(collector, params));
        const std::size_t step = std::clamp<std::size_t>(heap_bytes / (sizeof(Hit<CodeDistance>) * most), 1, std::max<std::size_t>(queries.rows(), 1));
        for (std::size_t first = 0; first < queries.rows(); first += step) {
            const std::size_t count = std::min(step, queries.rows() - first);
            scratch.hits.reserve_discarding(count * most);
            scratch.candidates.clear();
            for (std::size_t j = 0; j < count; ++j)
                scratch.candidates.emplace_back(std::span(scratch.hits.data() + j * most, wanted_by(nearest[first + j], params)));
            stats += inner_.search_block(queries.slice(first, count), static_cast<const typename I::search_params&>(params),
                                         filters.size() > 1 ? filters.subspan(first, count) : filters, scratch.inner, std::span(scratch.candidates));
            for (std::size_t j = 0; j < count; ++j) {
                const std::size_t found = take(scratch.candidates[j], scratch);
                score(bind_query(space_, queries[first + j], scratch.scorer), found, scratch, stats);
                offer(found, scratch, nearest[first + j]);
            }
        }
        return stats;
    }

    /// Strong guarantee, as far as the inner index gives it. Returns the slots that the rows got in both.
    std::vector<Slot> insert(rows_view rows, Executor& executor = inline_executor(), const Progress& progress = {})
        requires Insertable<I>
    {
        if constexpr (ScattersRows<I>) return insert_scattered(rows, executor, progress);
        // First at the end, where they can be taken back; then to where the inner index put them, which cannot fail.
        const std::size_t before = space_.size();
        space_.append(rows);
        std::vector<Slot> slots;
        try {
            slots = inner_.insert(space_.rows().view().slice(before, space_.size() - before), executor, progress);
        } catch (...) {
            space_.truncate(inner_.space().size());  // it may have kept slots, vacant
            throw;
        }
        for (std::size_t i = 0; i < slots.size(); ++i)
            if (slots[i] != before + i) space_.move_row(static_cast<Slot>(before + i), slots[i]);
        space_.truncate(inner_.space().size());
        return slots;
    }
    /// At most so many slots when so many rows more are in.
    std::size_t slots_after(std::size_t rows) const noexcept
        requires ScattersRows<I>
    {
        return inner_.slots_after(rows);
    }

    void own_rows()
        requires requires(I& inner) { inner.own_rows(); }
    {
        space_.own_rows();
        inner_.own_rows();
    }

    void overwrite(Slot slot, std::span<const T> row)
        requires requires(I& inner) { inner.overwrite(slot, row); }
    {
        inner_.overwrite(slot, row);
        space_.overwrite(slot, row);
    }

    /// The last row takes the slot.
    void remove(Slot slot)
        requires requires(I& inner) { inner.remove(slot); }
    {
        inner_.remove(slot);
        const auto last = static_cast<Slot>(inner_.space().size());
        if (slot != last) space_.move_row(last, slot);
        space_.truncate(last);
    }

    /// The slots become vacant. What they held stays until it is overwritten.
    void remove(std::span<const Slot> slots, Executor& executor = inline_executor(), const Progress& progress = {})
        requires requires(I& inner) { inner.remove(slots, executor, progress); }
    {
        inner_.remove(slots, executor, progress);
        order_.clear();
    }

    /// Gives vacant slots back. Returns new slot -> old slot. The live rows are copied, into memory that is asked for
    /// before anything changes.
    std::vector<Slot> compact(Executor& executor = inline_executor(), const Progress& progress = {})
        requires requires(I& inner) { inner.compact(executor, progress); }
    {
        return follow(kith::compact_slots(inner_), [&] { return inner_.compact(executor, progress); });
    }
    std::size_t compact_slots() const noexcept { return kith::compact_slots(inner_); }

    std::vector<Slot> rebalance(Executor& executor = inline_executor(), const Progress& progress = {})
        requires Rebalanceable<I>
    {
        return follow(rebalance_slots(), [&] {
            if constexpr (EncodesRows<I>) return inner_.rebalance(space_.rows().view(), executor, progress);
            else return inner_.rebalance(executor, progress);
        });
    }
    std::size_t rebalance_slots() const noexcept
        requires Rebalanceable<I>
    {
        return inner_.rebalance_slots();
    }

    void save(SectionWriter& writer) const
        requires Persistable<I>
    {
        space_.save(writer);
        inner_.save(writer);
    }
    static Refine load(const SectionReader& reader, const build_params& params = {})
        requires Persistable<I>
    {
        return Refine(space_type::load(reader), I::load(reader, params));
    }
    static std::vector<std::string_view> section_names()
        requires Persistable<I>
    {
        auto names = space_type::section_names();
        for (const auto name : I::section_names()) names.push_back(name);
        return names;
    }
    void validate(std::string_view source, const Progress& progress = {}) const
        requires Persistable<I>
    {
        inner_.validate(source, progress);
        space_.validate(source, progress);
    }

private:
    struct Unchecked {};
    Refine(space_type space, I inner, Unchecked) : space_(std::move(space)), inner_(std::move(inner)) {}

    /// Exact rows beside an index that was built of them, in its order.
    static Refine beside(space_type space, I inner, [[maybe_unused]] Executor& executor) {
        Refine index(std::move(space), std::move(inner), Unchecked{});
        if constexpr (ReordersRows<I>) {
            index.order_ = index.inner_.take_order();
            if (!index.order_.empty()) index.space_ = index.space_.reordered(index.order_, executor);
        }
        index.check();
        return index;
    }

    void check() const {
        if (space_.size() != inner_.space().size() || space_.dim() != inner_.space().dim())
            fail(ErrorCode::dimension_mismatch, "expected codes of ", space_.size(), " rows of ", space_.dim(), " elements, got ",
                 inner_.space().size(), " of ", inner_.space().dim());
    }

    /// Where new rows may get any slots, with vacant ones between them: memory for as many as there can be comes first.
    std::vector<Slot> insert_scattered(rows_view rows, Executor& executor, const Progress& progress)
        requires ScattersRows<I>
    {
        space_.own_rows();
        const std::size_t most = inner_.slots_after(rows.rows());
        if (most > space_.rows().capacity()) space_.reserve(std::max(most, space_.size() + space_.size() / 2));
        std::vector<Slot> slots = inner_.insert(rows, executor, progress);
        while (space_.size() < inner_.space().size()) space_.append(rows.slice(0, 1));
        for (std::size_t i = 0; i < slots.size(); ++i) space_.overwrite(slots[i], rows[i]);
        order_.clear();
        return slots;
    }

    /// Brings the exact rows to where change() brings the inner index's, at most to so many slots.
    template <class Change>
    std::vector<Slot> follow(std::size_t most, Change change) {
        using Factor = typename space_type::factor_type;
        Rows<T> rows(space_.dim());
        Rows<Factor> factors(1);
        rows.reserve(most);
        if constexpr (space_type::keeps_factors) factors.reserve(most);
        std::vector<Slot> old_of = change();
        order_.clear();
        // A slot that stays vacant holds some row: always the same, so that compacting twice is compacting once.
        const auto live = std::find_if(old_of.begin(), old_of.end(), [](Slot old) { return old != invalid_slot; });
        for (const Slot old : old_of) {
            const Slot from = old == invalid_slot ? *live : old;
            rows.append(space_.rows().view()[from]);
            if constexpr (space_type::keeps_factors) factors.append(space_.factors().view()[from]);
        }
        space_ = space_type(std::move(rows), space_.metric(), std::move(factors));
        return old_of;
    }

    /// ceil(count * refine), at most all rows.
    std::size_t times(std::size_t count, float refine) const noexcept {
        const double wanted = std::ceil(static_cast<double>(count) * static_cast<double>(refine));
        return wanted >= static_cast<double>(size()) ? size() : std::max(static_cast<std::size_t>(wanted), std::min(count, size()));
    }

    /// Up to `wanted` candidates into scratch.slots, nearest codes first.
    template <Filter F>
    std::size_t find(std::span<const query_of<I>> query, const search_params& params, const F& filter, std::size_t wanted,
                     scratch_type& scratch, SearchStats& stats) const {
        scratch.hits.reserve_discarding(wanted);
        TopK<CodeDistance> nearest(std::span(scratch.hits.data(), wanted));
        stats += inner_.search(query, static_cast<const typename I::search_params&>(params), filter, scratch.inner, nearest);
        return take(nearest, scratch);
    }

    /// The hits' slots into scratch.slots, nearest first.
    static std::size_t take(TopK<CodeDistance>& nearest, scratch_type& scratch) {
        const auto hits = nearest.sorted();
        scratch.slots.reserve_discarding(hits.size());
        for (std::size_t i = 0; i < hits.size(); ++i) scratch.slots[i] = hits[i].slot;
        return hits.size();
    }

    /// Candidates for the k nearest.
    template <Collector C>
    std::size_t wanted_by(const C& collector, const search_params& params) const noexcept {
        return collector.capacity() == 0 || size() == 0 ? 0 : times(collector.capacity(), params.refine);
    }

    template <class ScorerType>
    void score(const ScorerType& scorer, std::size_t count, scratch_type& scratch, SearchStats& stats) const {
        scratch.distances.reserve_discarding(count);
        scorer.gather({scratch.slots.data(), count}, scratch.distances.data());
        stats.distances += count;
        stats.bytes += count * space_.row_bytes();
    }

    template <Collector C>
    static void offer(std::size_t count, const scratch_type& scratch, C& collector) {
        for (std::size_t i = 0; i < count; ++i) collector.offer(scratch.slots[i], scratch.distances[i]);
    }

    space_type space_;
    I inner_;
    std::vector<Slot> order_;  // what take_order() gives
};

}  // namespace kith
