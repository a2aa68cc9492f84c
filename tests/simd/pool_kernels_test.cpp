// SPDX-License-Identifier: Apache-2.0
//
// Merging candidates into a pool: every table against offering them one after the other to a sorted list; nothing is written past the pool.
#include <algorithm>
#include <limits>

#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

template <class D>
constexpr D farthest_of() {
    if constexpr (std::is_floating_point_v<D>) return std::numeric_limits<D>::infinity();
    else return std::numeric_limits<D>::max();
}

template <class D>
struct Candidate {
    D distance;
    Slot slot;
};

/// What offering says: behind equals; a full pool takes only what is nearer than its last.
template <class D>
struct Model {
    std::vector<Candidate<D>> sorted;
    std::size_t capacity;

    void offer(Slot slot, D distance) {
        if (distance != distance) distance = farthest_of<D>();
        if (sorted.size() == capacity && !(distance < sorted.back().distance)) return;
        const auto at = std::find_if(sorted.begin(), sorted.end(), [&](const auto& c) { return c.distance > distance; });
        sorted.insert(at, {distance, slot});
        if (sorted.size() > capacity) sorted.pop_back();
    }
    bool holds(Slot slot) const {
        return std::any_of(sorted.begin(), sorted.end(), [&](const auto& c) { return c.slot == slot; });
    }
};

template <class D>
D draw(const Random& random, std::uint64_t i, std::size_t values) {
    const std::uint64_t which = random.below(i, 40);
    if constexpr (std::is_floating_point_v<D>) {
        if (which == 0) return std::numeric_limits<D>::quiet_NaN();
        if (which == 1) return farthest_of<D>();
        if (which == 2) return -farthest_of<D>();
    } else {
        if (which == 0) return std::numeric_limits<D>::max();
        if (which == 1) return std::numeric_limits<D>::min();
    }
    return static_cast<D>(random.below(i + (1u << 20), values)) - static_cast<D>(values / 2);
}

template <class D, class Merge>
void check(Merge merge, std::size_t capacity, std::size_t values, std::uint64_t seed) {
    constexpr std::size_t behind = 16;
    constexpr Slot untouched = 0xABCDEF01u;
    const Random random(seed);
    std::vector<D> distances(capacity + behind, D{7});
    std::vector<Slot> slots(capacity + behind, untouched);
    PoolRef<D> pool{distances.data(), slots.data(), capacity, 0, 0};
    Model<D> model{{}, capacity};
    Slot fresh = 0;
    for (std::uint64_t step = 0; step < 60; ++step) {
        const std::size_t count = random.below(1000 * step, 33);
        std::vector<Slot> offered(count);
        std::vector<D> at(count);
        for (std::size_t i = 0; i < count; ++i) {
            offered[i] = fresh++;
            at[i] = draw<D>(random, 1000 * step + 1 + i, values);
            model.offer(offered[i], at[i]);
        }
        pool.next = pool.size;  // as if all had been expanded
        const std::size_t before = pool.size;
        const std::uint32_t entered = merge(pool, offered.data(), at.data(), count);
        REQUIRE(pool.size == model.sorted.size());
        std::size_t first = before;
        for (std::size_t i = 0; i < pool.size; ++i) {
            REQUIRE(pool.slots[i] == model.sorted[i].slot);
            REQUIRE(pool.distances[i] == model.sorted[i].distance);
            if (model.sorted[i].slot >= fresh - count) first = std::min(first, i);
        }
        CHECK(pool.next == first);
        for (std::size_t i = 0; i < count; ++i) REQUIRE(((entered >> i) & 1u) == (model.holds(offered[i]) ? 1u : 0u));
        for (std::size_t i = capacity; i < capacity + behind; ++i) {
            REQUIRE(slots[i] == untouched);
            REQUIRE(distances[i] == D{7});
        }
    }
}

}  // namespace

TEST_CASE("a merge is what offering one after the other is") {
    for (const KernelTable* t : available_tables()) {
        INFO("table " << t->name);
        for (const std::size_t capacity : {1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 200})
            for (const std::size_t values : {3, 1000}) {  // with many ties, and with few
                INFO("capacity " << capacity << ", " << values << " values");
                check<std::int32_t>(t->merge_i32, capacity, values, capacity);
                check<float>(t->merge_f32, capacity, values, capacity);
            }
    }
}

}  // namespace kith::simd::test
