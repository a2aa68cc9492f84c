// SPDX-License-Identifier: Apache-2.0
//
// PackedNavigator: expands a node by the codes of its neighbours in its record (graph/packed_codes.hpp).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kith/graph/packed_codes.hpp"
#include "kith/graph/walk.hpp"

namespace kith {

/// Expands a node by the codes in its record. What it pops is scored exactly and offered to the collector, unless it was popped before; its neighbours enter
/// the pool with estimates, of which there may be several, from several nodes: the nearest counts.
template <PackableSpace S, class ScorerType, Collector C>
class PackedNavigator {
public:
    PackedNavigator(const S& space, const Links& links, std::size_t slots, const PackedCodes<S>& codes, const ScorerType& scorer,
                    VisitedSet& visited, PackedScratch& scratch, C& collector)
        : space_(space), links_(links), slots_(slots), codes_(codes), scorer_(scorer), visited_(visited), scratch_(scratch), collector_(collector) {}

    std::size_t expand(CandidatePool<float>& pool) {
        const Slot node = pool.pop();
        if (node >= slots_ || !visited_.insert(node)) return 1;
        const auto distance = sane(scorer_(node));
        collector_.offer(node, distance);
        ++scored_;
        const Slot* const row = links_.row(node);
        for (std::size_t first = 0; first < links_.degree(); first += rabitq::block_size) {
            if (row[first] >= slots_) break;
            std::uint32_t near = codes_.estimate(row, first / rabitq::block_size, static_cast<float>(distance), pool.bound(), scratch_);
            for (; near != 0; near &= near - 1) {
                const auto i = static_cast<std::size_t>(std::countr_zero(near));
                const Slot slot = row[first + i];
                if (slot >= slots_ || visited_.contains(slot)) continue;
                const float estimate = sane(scratch_.estimates[i]);
                if (scratch_.met.insert(slot)) pool.offer(slot, estimate);
                else pool.offer_again(slot, estimate);
            }
        }
        // The next node, which is read at once, and the one that will probably come after it, in time.
        if (pool.has_next()) prefetch(pool.next());
        if (const Slot later = pool.second(); later != invalid_slot) prefetch(later);
        return 1;
    }

    std::uint64_t scored() const noexcept { return scored_; }

private:
    void prefetch(Slot slot) const noexcept {
        prefetch_row(space_, slot);
        prefetch_bytes(links_.row(slot), std::min<std::size_t>(links_.row_bytes(), 1024));
    }

    const S& space_;
    const Links& links_;
    const std::size_t slots_;
    const PackedCodes<S>& codes_;
    const ScorerType& scorer_;
    VisitedSet& visited_;
    PackedScratch& scratch_;
    C& collector_;
    std::uint64_t scored_ = 0;
};

}  // namespace kith
