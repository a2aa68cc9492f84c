// SPDX-License-Identifier: Apache-2.0
//
// Better centroids for the rows of today, from those there are: lists that grew too large are split, lists that hold next to nothing are dissolved. As SPFresh does with
// postings (Xu et al. 2023, "SPFresh: Incremental in-place update for billion-scale vector search", SOSP), but all at once and when asked.
//
// With `wanted` lists in all, a mean list has n / wanted rows. A list of more than four times that is split into as many as it has means, by k-means over its own rows.
// Lists of less than an eighth are dissolved, the smallest first, while there are more than half of the lists wanted; and the smallest of the others too, while there are more than
// twice as many. Whoever calls assigns all rows anew.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kith/partition/centroids.hpp"
#include "kith/partition/lists.hpp"

namespace kith {

inline constexpr double split_above = 4;        // times the mean size
inline constexpr double dissolve_below = 0.125;

/// At least one centroid. Deterministic. Progress: "train", for each split anew.
template <PartitionSpace S>
Rows<float> rebalanced_centroids(const S& space, const Lists& lists, MatrixView<const float> centroids, std::size_t wanted, const TrainParams& params,
                                 std::uint64_t seed, Executor& executor, const Progress& progress) {
    const double mean = static_cast<double>(lists.size()) / static_cast<double>(wanted);
    std::vector<std::size_t> pieces(lists.count(), 1);
    std::vector<std::uint32_t> small;  // that may be dissolved
    std::size_t total = 0;
    for (std::size_t list = 0; list < lists.count(); ++list) {
        const auto size = static_cast<double>(lists.size(list));
        if (size > split_above * mean) pieces[list] = static_cast<std::size_t>(std::lround(size / mean));
        else small.push_back(static_cast<std::uint32_t>(list));
        total += pieces[list];
    }
    std::stable_sort(small.begin(), small.end(), [&](std::uint32_t a, std::uint32_t b) { return lists.size(a) < lists.size(b); });
    for (const std::uint32_t list : small) {
        const bool tiny = static_cast<double>(lists.size(list)) < dissolve_below * mean;
        if (total == 1 || !(tiny ? 2 * total > wanted : total > 2 * wanted)) break;
        pieces[list] = 0;
        --total;
    }
    Rows<float> result(centroids.cols());
    std::vector<Slot> slots;
    for (std::size_t list = 0; list < lists.count(); ++list) {
        if (pieces[list] == 1) result.append(centroids[list]);
        if (pieces[list] < 2) continue;
        slots.clear();
        lists.for_each_row(list, [&](Slot slot) { slots.push_back(slot); });
        result.append(train_centroids(SpaceFloats<S>(space, slots), pieces[list], params, seed + list + 1, executor, progress).rows.view());
    }
    return result;
}

}  // namespace kith
