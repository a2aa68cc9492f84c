// SPDX-License-Identifier: Apache-2.0
//
// The Index concept: a structure over a space, with one primitive.
//
//     stats = index.search(query, params, filter, scratch, collector)
//
// searches one query on one thread, const and re-entrant: parameters, filter, scratch and collector are arguments, what it did is the return value,
// and nothing in the index changes. Batches, threads, ids, files and Python are written once, above it
// (index/search.hpp, index/keyed.hpp, any/), so that an index file holds its algorithm and little else.
//
// The result contract: through a TopK of capacity c the search offers at least the rows that make min(c, eligible) results.
// Refinements name the extra abilities; a capability is a concept check, never a flag or a method that throws.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/executor.hpp"
#include "kith/core/params.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/results.hpp"
#include "kith/core/topk.hpp"
#include "kith/filter/filter.hpp"
#include "kith/space/space.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

template <class I>
using distance_of = typename I::space_type::distance_type;
template <class I>
using query_of = typename I::space_type::query_type;

/// scratch_type holds what a search needs to remember; it grows to the largest search it served and then allocates nothing more.
template <class I>
concept Index =
    std::movable<I> && Space<typename I::space_type> && Params<typename I::search_params> &&
    std::default_initializable<typename I::scratch_type> &&
    requires(const I& index, std::span<const query_of<I>> query, const typename I::search_params& params,
             const BitsetFilter& some, typename I::scratch_type& scratch, TopK<distance_of<I>>& nearest,
             WithinRadius<distance_of<I>>& near) {
        { I::kind } -> std::convertible_to<std::string_view>;
        { index.space() } -> std::same_as<const typename I::space_type&>;
        { index.size() } -> std::same_as<std::size_t>;  // rows; space().size() slots, more than rows where some are vacant
        { index.search(query, params, AllowAll{}, scratch, nearest) } -> std::same_as<SearchStats>;
        { index.search(query, params, some, scratch, nearest) } -> std::same_as<SearchStats>;
        { index.search(query, params, AllowAll{}, scratch, near) } -> std::same_as<SearchStats>;
        { index.search(query, params, some, scratch, near) } -> std::same_as<SearchStats>;
    };

/// Made from a space. Deterministic: same rows, parameters and seed, same bytes, whatever the number of threads.
template <class I>
concept Buildable =
    Index<I> && Params<typename I::build_params> &&
    requires(typename I::space_type space, const typename I::build_params& params, std::uint64_t seed,
             Executor& executor, const Progress& progress) {
        { I::build(std::move(space), params, seed, executor, progress) } -> std::same_as<I>;
    };

/// Builds that bring rows into an order of their own: the row that build() was given which is in each slot, invalid_slot where none is. Given away once;
/// empty when there is nothing to say. Who puts ids in front of an index, or anything beside its slots, takes it.
template <class I>
concept ReordersRows = Index<I> && requires(I& index) {
    { index.take_order() } -> std::same_as<std::vector<Slot>>;
};

/// Takes rows after it was built. Returns the slots that they got, in the order of the rows: vacant ones first, then space().size(),
/// space().size() + 1, ... All or nothing: what it throws leaves the index as it was.
template <class I>
concept Insertable = Index<I> && requires(I& index, typename I::space_type::rows_view rows, Executor& executor,
                                          const Progress& progress) {
    { index.insert(rows, executor, progress) } -> std::same_as<std::vector<Slot>>;
};

/// The new slots of an insertion may lie anywhere below slots_after(rows), and those between them are vacant.
template <class I>
concept ScattersRows = Insertable<I> && requires(const I& index, std::size_t rows) {
    { index.slots_after(rows) } -> std::same_as<std::size_t>;
};

/// Gives a slot up: the last row moves into the hole, so that slots stay dense. own_rows() makes the memory the index's own where it is
/// borrowed or mapped; after it, remove() cannot fail.
template <class I>
concept DenselyRemovable = Index<I> && requires(I& index, Slot slot) {
    { index.own_rows() };
    { index.remove(slot) };
};

/// Gives slots up, distinct live ones: they become vacant, no other row changes its slot, and later rows take them. From then on
/// space().size() counts slots, size() live rows, and a search offers live ones only, whatever its filter says. All or nothing.
template <class I>
concept StablyRemovable = Index<I> && requires(I& index, std::span<const Slot> slots, Executor& executor, const Progress& progress) {
    { index.own_rows() };
    { index.remove(slots, executor, progress) };
};

template <class I>
concept Removable = DenselyRemovable<I> || StablyRemovable<I>;

/// Puts another row into a slot; after own_rows() it cannot fail. For indexes whose slots mean nothing to other slots.
template <class I>
concept Overwritable = DenselyRemovable<I> && requires(I& index, Slot slot, typename I::space_type::rows_view rows) {
    { index.overwrite(slot, rows[0]) };
};

/// Gets rid of vacant slots. Returns new slot -> old slot, size() of them; or compact_slots() of them, invalid_slot where a slot stays vacant, for indexes that have such a
/// function. All or nothing.
template <class I>
concept Compactable = Index<I> && requires(I& index, Executor& executor, const Progress& progress) {
    { index.compact(executor, progress) } -> std::same_as<std::vector<Slot>>;
};

/// Puts the structure right for the rows of today, where changes have left it behind. Returns new slot -> old slot as compact() does, at most
/// rebalance_slots() of them.
template <class I>
concept Rebalanceable = Compactable<I> && requires(I& index, Executor& executor, const Progress& progress) {
    { index.rebalance_slots() } -> std::same_as<std::size_t>;
    { index.rebalance(executor, progress) } -> std::same_as<std::vector<Slot>>;
};

/// Slots there will be after compact().
template <Index I>
std::size_t compact_slots(const I& index) {
    if constexpr (requires { index.compact_slots(); }) return index.compact_slots();
    else return index.size();
}

/// Several queries in one pass, where that is cheaper than one after the other.
template <class I>
concept BlockSearchable =
    Index<I> && requires(const I& index, MatrixView<const query_of<I>> queries,
                         const typename I::search_params& params, std::span<const BitsetFilter> filters,
                         typename I::scratch_type& scratch, std::span<TopK<distance_of<I>>> nearest) {
        { I::min_block } -> std::convertible_to<std::size_t>;  // fewer queries than this are searched one by one
        { index.search_block(queries, params, filters, scratch, nearest) } -> std::same_as<SearchStats>;
    };

/// save() adds sections, those that section_names() lists (its own and its space's); load() is memory-safe for any bytes and gets the
/// parameters that the file was built with; validate() throws Error{corrupt} where they make no sense.
template <class I>
concept Persistable =
    Index<I> && Params<typename I::build_params> &&
    requires(const I& index, const typename I::build_params& params, SectionWriter& writer, const SectionReader& reader,
             const Progress& progress) {
        { index.save(writer) };
        { I::load(reader, params) } -> std::same_as<I>;
        { I::section_names() } -> std::same_as<std::vector<std::string_view>>;
        { index.validate(std::string_view{}, progress) };
        { index.params() } -> std::same_as<const typename I::build_params&>;
    };

/// What a file's header says of an index's rows: "l2/f32". Codes and exact rows beside them say more than their space's label does.
template <Index I>
std::string file_label(const I& index) {
    if constexpr (requires { I::file_label(); }) return I::file_label();
    else if constexpr (requires { I::space_type::file_label(); }) return I::space_type::file_label();
    else return index.space().label();
}

}  // namespace kith
