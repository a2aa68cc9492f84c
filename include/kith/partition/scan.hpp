// SPDX-License-Identifier: Apache-2.0
//
// Scanning stretches of slots some of which are vacant, through a filter: what a search does with a list.
//
// Where most of a stretch is allowed, all of it is scored and only rows that would enter are asked about; where less is, those that are allowed are
// gathered; a stretch of which nothing is allowed costs a look at its bits.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "kith/core/bitset.hpp"
#include "kith/core/results.hpp"
#include "kith/core/topk.hpp"
#include "kith/filter/filter.hpp"
#include "kith/partition/lists.hpp"
#include "kith/space/space.hpp"
#include "kith/space/within.hpp"

namespace kith {

/// A scorer that has another one for the rows of a list: that of codes which say how a row differs from the list's centroid.
template <class ScorerType>
concept ListScorer = requires(const ScorerType& scorer, std::size_t list, std::span<const float> centroid) {
    { scorer.in_list(list, centroid) } -> Scorer;
};

/// The scorer of the rows of one list; most know no lists.
template <Scorer ScorerType>
decltype(auto) scorer_in_list(const ScorerType& scorer, [[maybe_unused]] std::size_t list, [[maybe_unused]] std::span<const float> centroid) {
    if constexpr (ListScorer<ScorerType>) return scorer.in_list(list, centroid);
    else return (scorer);
}

template <class ScorerType>
using scorer_in_list_of = std::remove_cvref_t<decltype(scorer_in_list(std::declval<const ScorerType&>(), 0, {}))>;

/// Whether the filter may allow rows of the list: what binding a scorer to the list costs can be saved where not.
template <Filter F>
bool may_allow(const Lists& lists, std::size_t list, const F& filter) {
    if constexpr (requires { filter.bits(); }) {
        bool any = false;
        lists.for_each_run(list, [&](const Lists::Run& run) { any = any || filter.bits().count(run.first, run.first + run.used) != 0; });
        return any;
    } else {
        return true;
    }
}

/// visit(first, count) for stretches of a list's slots that stay in half of a small second-level cache while several queries are scored against them.
template <class Visit>
void for_each_piece(const Lists& lists, std::size_t list, std::size_t row_bytes, Visit&& visit) {
    constexpr std::size_t bytes = std::size_t{256} << 10;
    const std::size_t most = std::clamp(bytes / std::max<std::size_t>(row_bytes, 1), std::size_t{64}, std::size_t{4096}) / 32 * 32;  // as BoundedScorers want it
    lists.for_each_run(list, [&](const Lists::Run& run) {
        for (std::size_t at = 0; at < run.used; at += most) visit(run.first + at, std::min(most, run.used - at));
    });
}

/// Distances and slots of the rows in hand.
template <class D>
struct ScanBuffers {
    std::array<D, 256> distances;
    std::array<Slot, 256> slots;
    std::array<std::uint32_t, 8> hits;
};

/// Offers live rows of the stretches it is sent through that the filter allows. finish() comes last and says how many it offered: all there are, as long as the
/// collector's bound leaves out none.
template <Scorer ScorerType, Filter F, Collector C>
class Scan {
    using D = typename ScorerType::distance_type;

public:
    Scan(const ScorerType& scorer, BitsetView vacant, const F& filter, std::size_t row_bytes, ScanBuffers<D>& buffers, C& collector, SearchStats& stats) noexcept
        : scorer_(scorer), vacant_(vacant), filter_(filter), row_bytes_(row_bytes), buffers_(buffers), collector_(collector), stats_(stats) {}

    /// Slots [first, first + count).
    void run(std::size_t first, std::size_t count) {
        if constexpr (F::trivial) {
            score_all(first, count);
        } else if constexpr (requires { filter_.bits(); }) {
            const std::size_t allowed = filter_.bits().count(first, first + count);
            if (2 * allowed > count) score_all(first, count);
            else if (allowed > 0) filter_.bits().for_each_set(first, first + count, [&](std::size_t slot) { take(slot); });
        } else {
            for (std::size_t slot = first; slot < first + count; ++slot)
                if (filter_.allows(static_cast<Slot>(slot))) take(slot);
        }
    }

    /// A slot that the filter allows.
    void take(std::size_t slot) {
        if (vacant_.test(slot)) return;
        buffers_.slots[waiting_++] = static_cast<Slot>(slot);
        if (waiting_ == buffers_.slots.size()) score_waiting();
    }

    std::size_t finish() {
        if (waiting_ != 0) score_waiting();
        return offered_;
    }

private:
    void score_all(std::size_t first, std::size_t count) {
        if constexpr (BoundedScorer<ScorerType>) {
            if (first % 32 == 0) return score_within(first, count);
        }
        auto& distances = buffers_.distances;
        D bound = collector_.bound();
        for (std::size_t at = first; at < first + count; at += distances.size()) {
            const std::size_t n = std::min(distances.size(), first + count - at);
            scorer_.run(at, n, distances.data());
            for (std::size_t i = 0; i < n; ++i) {
                if (distances[i] > bound) continue;  // a NaN is offered: it counts as infinitely far
                const auto slot = static_cast<Slot>(at + i);
                if (vacant_.test(slot) || !filter_.allows(slot)) continue;
                collector_.offer(slot, distances[i]);
                bound = collector_.bound();
                ++offered_;
            }
        }
        scored(count);
    }

    /// The scorer says which rows are near enough.
    void score_within(std::size_t first, std::size_t count)
        requires BoundedScorer<ScorerType>
    {
        for_each_within(std::span(&scorer_, 1), first, count, buffers_.distances.data(), buffers_.hits.data(), [&](std::size_t) { return collector_.bound(); },
                        [&](std::size_t, Slot slot, D distance) {
                            if (distance > collector_.bound() || vacant_.test(slot) || !filter_.allows(slot)) return;
                            collector_.offer(slot, distance);
                            ++offered_;
                        });
        scored(count);
    }

    void score_waiting() {
        scorer_.gather({buffers_.slots.data(), waiting_}, buffers_.distances.data());
        for (std::size_t i = 0; i < waiting_; ++i) {
            if (buffers_.distances[i] > collector_.bound()) continue;
            collector_.offer(buffers_.slots[i], buffers_.distances[i]);
            ++offered_;
        }
        scored(waiting_);
        waiting_ = 0;
    }

    void scored(std::size_t rows) noexcept {
        stats_.distances += rows;
        stats_.bytes += rows * row_bytes_;
    }

    const ScorerType& scorer_;
    BitsetView vacant_;
    const F& filter_;
    std::size_t row_bytes_;
    ScanBuffers<D>& buffers_;
    C& collector_;
    SearchStats& stats_;
    std::size_t waiting_ = 0;
    std::size_t offered_ = 0;
};

}  // namespace kith
