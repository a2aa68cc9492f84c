// SPDX-License-Identifier: Apache-2.0
//
// Spaces of residuals: rows that are kept as how they differ from the centroid of a list (Jégou, Douze and Schmid 2011, section IV.A). Which list a
// slot belongs to is the index's business (partition/lists.hpp); such a space remembers it, as without it codes mean nothing. Slots of a list lie in
// runs, so that a few bytes a run are enough, and nothing a row.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kith/space/space.hpp"

namespace kith {

/// Slots from `first` up to the next run belong to this list.
struct SlotRun {
    Slot first;
    std::uint32_t list;
};

/// The list of every slot. O(log runs).
class SlotRuns {
public:
    SlotRuns() = default;
    /// In the order of their slots.
    explicit SlotRuns(std::vector<SlotRun> runs) : runs_(std::move(runs)) {}

    std::uint32_t list_of(Slot slot) const noexcept { return runs_[at(slot)].list; }
    /// The first slot behind the run that `slot` is in; `size` for the last run.
    std::size_t end_of(Slot slot, std::size_t size) const noexcept {
        const std::size_t next = at(slot) + 1;
        return next < runs_.size() ? runs_[next].first : size;
    }
    /// Runs behind all others. Strong guarantee.
    void append(std::span<const SlotRun> more) { runs_.insert(runs_.end(), more.begin(), more.end()); }
    /// Forgets slots from `size` on.
    void truncate(std::size_t size) noexcept {
        while (!runs_.empty() && runs_.back().first >= size) runs_.pop_back();
    }
    std::size_t memory_bytes() const noexcept { return runs_.capacity() * sizeof(SlotRun); }

private:
    std::size_t at(Slot slot) const noexcept {
        const auto after = std::upper_bound(runs_.begin(), runs_.end(), slot, [](Slot s, const SlotRun& run) { return s < run.first; });
        return static_cast<std::size_t>(after - runs_.begin()) - 1;
    }

    std::vector<SlotRun> runs_;
};

/// What an index that keeps lists does to such a space. `slots` says which row is to be in each slot, invalid_slot where none; `runs` which lists the
/// slots belong to.
///
///   trained       a space like this one whose codec was trained on these rows and whose slots hold them
///   append        more slots behind those there are. Strong guarantee
///   rearranged    a space of its own memory whose slots hold this one's rows, of other lists perhaps; rows whose centroid stays the same keep their codes. `exact` may say, slot
///                 for slot of this one, what rows were before they were coded; without it what codes stand for is coded again
///   attach        what a file does not keep twice: after load()
template <class S>
concept ResidualSpace = Space<S> && requires(S& space, const S& constant, rows_view_of<S> rows, std::span<const Slot> slots, std::vector<SlotRun> runs,
                                             MatrixView<const float> centroids, Executor& executor, const Progress& progress) {
    { constant.trained(rows, slots, runs, centroids, std::uint64_t{}, executor, progress) } -> std::same_as<S>;
    { space.append(rows, slots, runs, executor, progress) };
    { constant.rearranged(slots, runs, centroids, rows, executor, progress) } -> std::same_as<S>;
    { space.attach(runs, centroids) };
};

}  // namespace kith
