// SPDX-License-Identifier: Apache-2.0
//
// The Space and Scorer concepts: the one seam that every index is written against.
//
// A space is rows plus the knowledge of how to measure them: metric x codec x rows. Binding a query gives a scorer, which answers one
// question, "how far is slot i?", in three shapes. An index never sees a metric, an element type or a codec; a codec never sees
// an index. distance_type is float, or int32 where the space is exact in integers (8-bit rows, Hamming).
//
//   scorer(slot)                  one distance
//   scorer.gather(slots, out)     many slots in any order, prefetching ahead: graphs, filtered scans
//   scorer.run(first, count, out) contiguous slots: Flat, inverted lists
//
// The three agree to the bit. A scorer borrows its query and its space, costs no allocation, and is used by one thread.
#pragma once

#include <algorithm>
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
#include "kith/core/types.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

/// What describe() says of codes: bytes of a row's code, how many times as many its values took, and what all rows share (codebooks, rotations, means).
inline ParamMap describe_codes(std::size_t code_bytes, std::size_t row_bytes, std::size_t shared_bytes) {
    return {{"code_bytes", static_cast<std::int64_t>(code_bytes)},
            {"compression", static_cast<double>(row_bytes) / static_cast<double>(std::max<std::size_t>(code_bytes, 1))},
            {"codebook_bytes", static_cast<std::int64_t>(shared_bytes)}};
}

template <class S>
concept Scorer = requires(const S& scorer, Slot slot, std::span<const Slot> slots, std::size_t count,
                          typename S::distance_type* out) {
    { scorer(slot) } -> std::same_as<typename S::distance_type>;
    { scorer.gather(slots, out) };
    { scorer.run(slot, count, out) };
};

/// Scorers of one space that look at the same rows together, and say which are near enough; how a scan skips most rows unseen.
///
///   S::run_within(scorers, first, count, bounds, out, hits)
///
/// is for up to S::together scorers and up to S::chunk (a multiple of 32) rows from `first`, a multiple of 32. Bit i % 32 of hits[S::chunk / 32 * j +
/// i / 32] says whether scorer j finds row first + i at bounds[j] or nearer, and out[S::chunk * j + i] then is its distance; elsewhere out may
/// hold anything. A NaN may be a hit.
template <class S>
concept BoundedScorer = Scorer<S> && requires(std::span<const S> scorers, std::size_t first, const typename S::distance_type* bounds,
                                              typename S::distance_type* out, std::uint32_t* hits) {
    { S::together } -> std::convertible_to<std::size_t>;
    { S::chunk } -> std::convertible_to<std::size_t>;
    { S::run_within(scorers, first, first, bounds, out, hits) };
};

namespace detail {

template <class S>
concept BindsQueries = requires(const S& space, std::span<const typename S::query_type> query) {
    { space.scorer(query) } -> Scorer;
} || requires(const S& space, std::span<const typename S::query_type> query, typename S::scorer_scratch& scratch) {
    { space.scorer(query, scratch) } -> Scorer;
};

}  // namespace detail

template <class S>
concept Space = std::movable<S> && requires(const S& space, std::span<const typename S::query_type> query,
                                            std::span<typename S::query_type> row, Slot a, Slot b, double number) {
    typename S::distance_type;
    { space.size() } -> std::same_as<std::size_t>;
    { space.dim() } -> std::same_as<std::size_t>;         // elements of a query
    { space.dimensions() } -> std::same_as<std::size_t>;  // of the vector: 8 dim() for packed bits
    { space.label() } -> std::same_as<std::string>;       // "l2/f32": goes in files, specs and messages
    { space.row_bytes() } -> std::same_as<std::size_t>;   // read to score one row
    { space.memory_bytes() } -> std::same_as<std::size_t>;  // everything it holds or borrows
    requires detail::BindsQueries<S>;                     // space.scorer(query), or scorer(query, scratch): see bind_query
    { space.distance(a, b) } -> std::same_as<typename S::distance_type>;
    { space.read_query(a, row) };                         // a stored row as a query
    { space.report(number) } -> std::same_as<double>;     // internal distance -> the user's number
    { space.internal(number) } -> std::same_as<double>;   // and back
};

/// What a space needs to remember of one bound query (a quantised copy, a table); empty for spaces that score the query as it is.
struct NoScorerScratch {};

namespace detail {

template <class S>
struct ScorerScratch {
    using type = NoScorerScratch;
};
template <class S>
    requires requires { typename S::scorer_scratch; }
struct ScorerScratch<S> {
    using type = typename S::scorer_scratch;
};

}  // namespace detail

/// Reusable memory for bind_query: grows to the largest query it served and then allocates nothing more.
template <class S>
using scorer_scratch_of = typename detail::ScorerScratch<S>::type;

/// space.scorer(query), or space.scorer(query, scratch) where the space keeps something of the query; both must outlive the scorer.
template <Space S>
auto bind_query(const S& space, std::span<const typename S::query_type> query, [[maybe_unused]] scorer_scratch_of<S>& scratch) {
    if constexpr (requires { typename S::scorer_scratch; }) return space.scorer(query, scratch);
    else return space.scorer(query);
}

/// What bind_query returns.
template <Space S>
using scorer_of = decltype(bind_query(std::declval<const S&>(), std::declval<std::span<const typename S::query_type>>(),
                                      std::declval<scorer_scratch_of<S>&>()));

/// A space whose scorers are BoundedScorers. scorer_bytes(): what a bound query keeps in its scratch, which limits how many are bound at a time.
template <class S>
concept BoundedSpace = Space<S> && BoundedScorer<scorer_of<S>> && requires(const S& space) {
    { space.scorer_bytes() } -> std::same_as<std::size_t>;
};

/// Asks memory for what scoring a row will read; a hint, and nothing at all where the space has none to give.
template <Space S>
void prefetch_row([[maybe_unused]] const S& space, [[maybe_unused]] Slot slot) noexcept {
    if constexpr (requires { space.prefetch(slot); }) space.prefetch(slot);
}

/// Rows can be added at the end (slots are dense), replaced by a given or by another row, and dropped from the end.
template <class S>
concept GrowableSpace = Space<S> && requires(S& space, typename S::rows_view rows, Slot from, Slot to, std::size_t n) {
    { space.append(rows) };
    { space.overwrite(to, rows[0]) };  // one given row; Error{dimension_mismatch} where it has another length
    { space.own_rows() };  // no longer borrowed or mapped: after it, overwriting, moving and truncating cannot run out of memory
    { space.move_row(from, to) };
    { space.truncate(n) };
};

/// A space of its own memory whose row i is this one's row old_of[i], and whatever scores in peace where that is invalid_slot: for indexes that
/// keep rows in an order of their own.
template <class S>
concept ReorderableSpace = Space<S> && requires(const S& space, std::span<const Slot> old_of, Executor& executor) {
    { space.reordered(old_of, executor) } -> std::same_as<S>;
};

/// Runs of rows that are scored as one should begin at multiples of this: more than 1 where codes of several rows are interleaved.
template <class S>
inline constexpr std::size_t run_alignment = 1;
template <class S>
    requires requires { S::run_alignment; }
inline constexpr std::size_t run_alignment<S> = S::run_alignment;

namespace detail {

template <class S>
struct RowsView {
    struct type {};  // no rows can be added
};
template <class S>
    requires requires { typename S::rows_view; }
struct RowsView<S> {
    using type = typename S::rows_view;
};

}  // namespace detail

/// The rows that a growable space takes: for signatures of functions that are constrained to such spaces but are declared for all.
template <class S>
using rows_view_of = typename detail::RowsView<S>::type;

/// save() adds sections, those that section_names() lists; load() is memory-safe for any bytes; validate() throws Error{corrupt} where
/// they make no sense.
template <class S>
concept PersistableSpace = Space<S> && requires(const S& space, SectionWriter& writer, const SectionReader& reader,
                                                const Progress& progress) {
    { space.save(writer) };
    { S::load(reader) } -> std::same_as<S>;
    { S::section_names() } -> std::same_as<std::vector<std::string_view>>;
    { space.validate(std::string_view{}, progress) };
};

}  // namespace kith
