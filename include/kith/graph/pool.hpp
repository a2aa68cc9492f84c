// SPDX-License-Identifier: Apache-2.0
//
// CandidatePool: the ef nearest nodes that a walk has met, nearest first, each with a mark that says whether it was expanded. One sorted array takes the
// place of the two heaps of the HNSW paper's algorithm 2: with ef of tens to hundreds, merging what a hop found (simd/pool_kernels.hpp) is
// cheaper than heap operations for each, and the next node to expand is found by moving a cursor.
//
// Not for more than 2^31 slots: the mark is the top bit of the slot.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "kith/core/buffer.hpp"
#include "kith/core/topk.hpp"
#include "kith/core/types.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

/// Graphs hold at most this many slots.
inline constexpr std::size_t max_graph_slots = std::size_t{1} << 31;

template <class D>
class CandidatePool {
    static_assert(std::is_same_v<D, float> || std::is_same_v<D, std::int32_t>);

public:
    /// Empty, for at most `capacity` candidates (at least 1).
    void reset(std::size_t capacity) {
        if constexpr (std::is_same_v<D, float>) merge_ = simd::kernels().merge_f32;
        else merge_ = simd::kernels().merge_i32;
        constexpr std::size_t behind = 16;  // that kernels may read
        distances_.reserve_discarding(capacity + behind);
        slots_.reserve_discarding(capacity + behind);
        pool_ = {distances_.data(), slots_.data(), capacity, 0, 0};
    }

    std::size_t size() const noexcept { return pool_.size; }
    std::size_t capacity() const noexcept { return pool_.capacity; }
    bool full() const noexcept { return pool_.size == pool_.capacity; }
    Slot slot(std::size_t i) const noexcept { return pool_.slots[i] & ~expanded; }
    D distance(std::size_t i) const noexcept { return pool_.distances[i]; }

    /// What a candidate must be nearer than to enter a full pool.
    D bound() const noexcept { return full() ? pool_.distances[pool_.size - 1] : farthest<D>(); }

    /// False when it is too far. Among equals the first to come stays first; NaN is infinitely far.
    bool offer(Slot slot, D distance) noexcept { return merge_(pool_, &slot, &distance, 1) != 0; }

    /// Offers all, one after the other; entered(slot) for each that is in the pool now or was while the last 32 came.
    template <class Entered>
    void offer_all(std::span<const Slot> slots, const D* distances, Entered&& entered) noexcept {
        constexpr std::size_t most = 32;
        for (std::size_t first = 0; first < slots.size(); first += most) {
            const std::size_t count = std::min(most, slots.size() - first);
            std::uint32_t bits = merge_(pool_, slots.data() + first, distances + first, count);
            for (; bits != 0; bits &= bits - 1) entered(slots[first + static_cast<std::size_t>(std::countr_zero(bits))]);
        }
    }

    /// offer() for a slot that may be in the pool already, not expanded, with another distance: the nearer one counts.
    bool offer_again(Slot slot, D distance) noexcept {
        const Slot* const end = pool_.slots + pool_.size;
        const auto at = static_cast<std::size_t>(std::find(static_cast<const Slot*>(pool_.slots), end, slot) - pool_.slots);
        if (at < pool_.size) {
            if (!(distance < pool_.distances[at])) return false;
            const std::size_t behind = pool_.size - at - 1;
            std::memmove(pool_.distances + at, pool_.distances + at + 1, behind * sizeof(D));
            std::memmove(pool_.slots + at, pool_.slots + at + 1, behind * sizeof(Slot));
            --pool_.size;
            settle_next();
        }
        return offer(slot, distance);
    }

    bool has_next() const noexcept { return pool_.next < pool_.size; }
    /// The nearest candidate that was not expanded; has_next().
    Slot next() const noexcept { return pool_.slots[pool_.next]; }

    /// The one after it, or invalid_slot.
    Slot second() const noexcept {
        std::size_t i = pool_.next + 1;
        while (i < pool_.size && (pool_.slots[i] & expanded) != 0) ++i;
        return i < pool_.size ? pool_.slots[i] : invalid_slot;
    }

    /// next(), marked as expanded.
    Slot pop() noexcept {
        const Slot slot = pool_.slots[pool_.next];
        pool_.slots[pool_.next] |= expanded;
        settle_next();
        return slot;
    }

private:
    static constexpr Slot expanded = Slot{1} << 31;

    void settle_next() noexcept {
        while (pool_.next < pool_.size && (pool_.slots[pool_.next] & expanded) != 0) ++pool_.next;
    }

    AlignedBuffer<D> distances_;
    AlignedBuffer<Slot> slots_;
    simd::PoolRef<D> pool_;
    std::uint32_t (*merge_)(simd::PoolRef<D>&, const Slot*, const D*, std::size_t) noexcept = nullptr;
};

}  // namespace kith
