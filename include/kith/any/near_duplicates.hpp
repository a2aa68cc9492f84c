// SPDX-License-Identifier: Apache-2.0
//
// Near duplicates: all pairs of an index's rows that are within a threshold of each other, and the groups that such pairs make; de-duplication of a collection. Every row is searched for
// with its own index's range search, so with `flat` it is exact and costs n^2 distances, with `lsh` (docs/algorithms/lsh.md) it costs n searches and finds a pair
// if either row's search finds the other.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kith/any/any_index.hpp"
#include "kith/core/buffer.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/progress.hpp"

namespace kith {

struct DuplicatePair {
    Id first;   // the smaller id
    Id second;
    float distance;
};

struct NearDuplicates {
    std::vector<DuplicatePair> pairs;  // by first, then by second; each once
    SearchStats stats;
};

/// threshold: in the metric's reported number, as for range_search. params: of the search. Progress counts rows in the phase "duplicates". Throws what range_search does, and
/// Error{unsupported} where the index gives no rows back.
inline NearDuplicates near_duplicates(const AnyIndex& index, double threshold, const ParamMap& params = {}, Executor& executor = inline_executor(), const Progress& progress = {}) {
    constexpr std::size_t step = 1024;
    NearDuplicates found;
    std::vector<Id> ids(index.size());
    index.copy_ids(ids);
    const std::size_t row_bytes = index.dim() * element_bytes(index.element_type());
    AlignedBuffer<std::byte> rows(std::min(step, ids.size()) * row_bytes);
    const auto context = index.context();
    const auto before = [](const DuplicatePair& a, const DuplicatePair& b) { return std::pair(a.first, a.second) < std::pair(b.first, b.second); };
    for (std::size_t at = 0; at < ids.size(); at += step) {
        progress.report("duplicates", at, ids.size());
        const std::size_t count = std::min(step, ids.size() - at);
        for (std::size_t i = 0; i < count; ++i) index.copy_row(ids[at + i], rows.data() + i * row_bytes);
        const RangeResults near = index.range_search({index.element_type(), rows.data(), count, index.dim(), index.dim()}, threshold, params, {}, executor, *context);
        for (std::size_t i = 0; i < count; ++i)
            for (std::size_t k = near.offsets[i]; k < near.offsets[i + 1]; ++k)
                if (near.ids[k] != ids[at + i]) found.pairs.push_back({std::min(near.ids[k], ids[at + i]), std::max(near.ids[k], ids[at + i]), near.distances[k]});
        found.stats += near.stats;
    }
    progress.report("duplicates", ids.size(), ids.size());
    // Both rows of a pair found each other, mostly.
    std::sort(found.pairs.begin(), found.pairs.end(), before);
    found.pairs.erase(std::unique(found.pairs.begin(), found.pairs.end(), [](const DuplicatePair& a, const DuplicatePair& b) { return a.first == b.first && a.second == b.second; }),
                      found.pairs.end());
    return found;
}

/// The ids that pairs connect, group by group: those of a group rise, groups come in the order of their first ids. A group may be wider than the threshold, as one row leads to the next.
inline std::vector<std::vector<Id>> duplicate_groups(const std::vector<DuplicatePair>& pairs) {
    std::vector<Id> ids;
    for (const auto& pair : pairs) ids.insert(ids.end(), {pair.first, pair.second});
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    std::vector<std::size_t> parent(ids.size());
    std::iota(parent.begin(), parent.end(), std::size_t{0});
    const auto root = [&](std::size_t i) {
        while (parent[i] != i) i = parent[i] = parent[parent[i]];
        return i;
    };
    const auto place = [&](Id id) { return static_cast<std::size_t>(std::lower_bound(ids.begin(), ids.end(), id) - ids.begin()); };
    for (const auto& pair : pairs) {
        const std::size_t a = root(place(pair.first)), b = root(place(pair.second));
        parent[std::max(a, b)] = std::min(a, b);  // the least id of a group is its root
    }
    std::vector<std::vector<Id>> groups;
    std::unordered_map<std::size_t, std::size_t> group_of;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const auto [at, fresh] = group_of.try_emplace(root(i), groups.size());
        if (fresh) groups.emplace_back();
        groups[at->second].push_back(ids[i]);
    }
    return groups;
}

}  // namespace kith
