// SPDX-License-Identifier: Apache-2.0
//
// Collectors: what becomes of the rows a search finds. TopK keeps the k nearest, WithinRadius all that are near enough; every search loop
// is written once against the Collector concept (nanoflann's result sets, FAISS's result handlers).
//
// Distances are smaller-is-nearer and either float or int32. The order of results is total, so that no tie is left to chance:
// by distance, then by id (by slot where ids are the slots). A NaN (two infinities subtracted) counts as infinitely far.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "kith/core/types.hpp"

namespace kith {

/// One row found: `distance` is the space's internal one.
template <class D>
struct Hit {
    D distance;
    Slot slot;
};

template <class D>
constexpr D farthest() noexcept {
    if constexpr (std::is_floating_point_v<D>)
        return std::numeric_limits<D>::infinity();
    else
        return std::numeric_limits<D>::max();
}

/// bound(): rows farther than this need not be offered (those at exactly this distance do: ids decide ties).
template <class C>
concept Collector = requires(C& collector, const C& constant, Slot slot, typename C::distance_type distance) {
    { constant.bound() } -> std::same_as<typename C::distance_type>;
    { collector.offer(slot, distance) };
};

/// Orders hits by (distance, id). `ids` maps slot to id; null means the slot is the id.
template <class D>
class HitOrder {
public:
    explicit HitOrder(const Id* ids = nullptr) noexcept : ids_(ids) {}
    bool operator()(const Hit<D>& a, const Hit<D>& b) const noexcept {
        if (a.distance != b.distance) return a.distance < b.distance;
        return ids_ == nullptr ? a.slot < b.slot : ids_[a.slot] < ids_[b.slot];
    }

private:
    const Id* ids_;
};

/// The k nearest, in a binary heap with the farthest on top, over memory that the caller lends: O(log k) for a row that enters, one
/// comparison for one that does not.
template <class D>
class TopK {
public:
    using distance_type = D;

    TopK() = default;
    /// Keeps storage.size() hits at most (k is the storage's size; 0 keeps none).
    explicit TopK(std::span<Hit<D>> storage, const Id* ids = nullptr) noexcept : heap_(storage), before_(ids) {
        if (heap_.empty()) bound_ = std::numeric_limits<D>::lowest();
    }

    std::size_t capacity() const noexcept { return heap_.size(); }
    std::size_t size() const noexcept { return size_; }
    bool full() const noexcept { return size_ == heap_.size(); }
    D bound() const noexcept { return bound_; }

    void offer(Slot slot, D distance) noexcept {
        if constexpr (std::is_floating_point_v<D>) {
            if (distance != distance) distance = farthest<D>();
        }
        if (distance > bound_ || heap_.empty()) return;
        const Hit<D> hit{distance, slot};
        if (!full()) {
            heap_[size_++] = hit;
            std::push_heap(heap_.begin(), heap_.begin() + static_cast<std::ptrdiff_t>(size_), before_);
            if (full()) bound_ = heap_[0].distance;
        } else if (before_(hit, heap_[0])) {
            replace_farthest(hit);
            bound_ = heap_[0].distance;
        }
    }

    /// The hits, nearest first; the collector is empty of order afterwards (offer nothing more).
    std::span<const Hit<D>> sorted() noexcept {
        const auto found = heap_.first(size_);
        std::sort(found.begin(), found.end(), before_);
        return found;
    }

private:
    void replace_farthest(const Hit<D>& hit) noexcept {
        std::size_t hole = 0;
        for (std::size_t child = 1; child < size_; child = 2 * hole + 1) {
            if (child + 1 < size_ && before_(heap_[child], heap_[child + 1])) ++child;
            if (!before_(hit, heap_[child])) break;
            heap_[hole] = heap_[child];
            hole = child;
        }
        heap_[hole] = hit;
    }

    std::span<Hit<D>> heap_;
    std::size_t size_ = 0;
    D bound_ = farthest<D>();
    HitOrder<D> before_;
};

/// All rows at distance <= radius, in the order they were met.
template <class D>
class WithinRadius {
public:
    using distance_type = D;

    WithinRadius(D radius, std::vector<Hit<D>>& found) noexcept : radius_(radius), found_(&found) {}

    D bound() const noexcept { return radius_; }
    void offer(Slot slot, D distance) {
        if (distance <= radius_) found_->push_back({distance, slot});
    }

private:
    D radius_;
    std::vector<Hit<D>>* found_;
};

}  // namespace kith
