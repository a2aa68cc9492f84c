// SPDX-License-Identifier: Apache-2.0
//
// A sorted pool of candidates, and the merge that puts up to 32 new ones into it at once: what a graph walk does after each hop
// (graph/pool.hpp). Merging moves what lies behind a new candidate once for all of them, and one call serves a hop, so that even code
// compiled for any processor keeps its pool with the widest registers there are.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kith/simd/isa/isa.hpp"
#include "kith/simd/table.hpp"

namespace kith::simd {

template <class Arch, class D>
struct PoolMerge {
    /// KernelTable::merge_i32 and merge_f32. O(size / width + count log count) for few that enter.
    KITH_SIMD_ENTRY static std::uint32_t merge(PoolRef<D>& pool, const Slot* slots, const D* distances,
                                               std::size_t count) noexcept {
        Entrant entrants[most];
        const std::size_t entering = sort_nearer(pool, distances, count, entrants);
        if (entering == 0) return 0;
        // Places behind their equals, counted on from the one before.
        std::size_t places[most + 1];
        std::size_t from = 0;
        for (std::size_t j = 0; j < entering; ++j) {
            from += count_not_farther(pool.distances + from, pool.size - from, entrants[j].distance);
            places[j] = from;
        }
        places[entering] = pool.size;
        std::uint32_t entered = 0;
        for (std::size_t j = entering; j > 0; --j) {
            const std::size_t to = places[j - 1] + j;  // where what lies between this place and the next one goes
            if (to - 1 >= pool.capacity) continue;
            const std::size_t room = pool.capacity - to;
            const std::size_t between = places[j] - places[j - 1];
            const std::size_t moved = between < room ? between : room;
            move_up(pool.distances, places[j - 1], to, moved);
            move_up(pool.slots, places[j - 1], to, moved);
            pool.distances[to - 1] = entrants[j - 1].distance;
            pool.slots[to - 1] = slots[entrants[j - 1].index];
            entered |= std::uint32_t{1} << entrants[j - 1].index;
        }
        const std::size_t all = pool.size + entering;
        pool.size = all < pool.capacity ? all : pool.capacity;
        if (places[0] < pool.next) pool.next = places[0];
        return entered;
    }

private:
    using Isa = simd::Isa<Arch>;
    static constexpr std::size_t width = Isa::bytes / sizeof(D);
    static constexpr std::size_t most = 32;
    static constexpr bool is_float = std::numeric_limits<D>::has_infinity;
    static constexpr D farthest = is_float ? std::numeric_limits<D>::infinity() : std::numeric_limits<D>::max();

    struct Entrant {
        D distance;
        std::uint32_t index;
    };

    static KITH_SIMD_INLINE auto broadcast(D x) noexcept {
        if constexpr (is_float) return Isa::broadcast(x);
        else return Isa::broadcast_i(x);
    }
    static KITH_SIMD_INLINE auto load(const D* p) noexcept {
        if constexpr (is_float) return Isa::load(p);
        else return Isa::load_bytes(p);
    }
    /// Bit i: a[i] < b[i]; neither is NaN.
    template <class V>
    static KITH_SIMD_INLINE std::uint32_t less(V a, V b) noexcept {
        if constexpr (is_float) return Isa::not_ge_bits(a, b);
        else return Isa::less_bits(a, b);
    }

    /// Those that may enter, nearest first; among equals in their order. NaN is infinitely far.
    static KITH_SIMD_INLINE std::size_t sort_nearer(const PoolRef<D>& pool, const D* distances, std::size_t count,
                                                    Entrant (&entrants)[most]) noexcept {
        const bool full = pool.size == pool.capacity;
        const D bound = full ? pool.distances[pool.size - 1] : farthest;
        std::size_t entering = 0;
        for (std::size_t i = 0; i < count; ++i) {
            D distance = distances[i];
            if (distance != distance) distance = farthest;
            if (full && !(distance < bound)) continue;
            std::size_t at = entering++;
            for (; at > 0 && distance < entrants[at - 1].distance; --at) entrants[at] = entrants[at - 1];
            entrants[at] = {distance, static_cast<std::uint32_t>(i)};
        }
        return entering;
    }

    /// How many of `size` sorted distances are at most this one. Reads up to a register past the last, which never counts.
    static KITH_SIMD_INLINE std::size_t count_not_farther(const D* sorted, std::size_t size, D distance) noexcept {
        const auto wanted = broadcast(distance);
        for (std::size_t i = 0; i < size; i += width) {
            const std::uint32_t farther = less(wanted, load(sorted + i));
            if (farther == 0) continue;
            const std::size_t at = i + static_cast<std::size_t>(std::countr_zero(farther));
            return at < size ? at : size;
        }
        return size;
    }

    template <class T>
    static KITH_SIMD_INLINE void move_up(T* data, std::size_t from, std::size_t to, std::size_t count) noexcept {
        constexpr std::size_t step = Isa::bytes / sizeof(T);
        std::size_t left = count;
        for (; left >= step; left -= step) Isa::store_bytes(data + to + left - step, Isa::load_bytes(data + from + left - step));
        for (; left > 0; --left) data[to + left - 1] = data[from + left - 1];
    }
};

}  // namespace kith::simd
