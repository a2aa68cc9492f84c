// SPDX-License-Identifier: Apache-2.0
//
// Rows of a space as queries, and which other rows are truly nearest to them: what an index is measured with before there are queries.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kith/core/bitset.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/random.hpp"
#include "kith/core/topk.hpp"
#include "kith/index/index.hpp"
#include "kith/partition/scan.hpp"
#include "kith/space/space.hpp"

namespace kith {

template <class D>
struct OwnNeighbours {
    std::size_t near = 0;             // neighbours of each
    std::vector<Slot> queries;
    std::vector<Hit<D>> neighbours;   // of query after query, nearest first, itself not among them

    std::span<const Hit<D>> of(std::size_t query) const noexcept { return std::span(neighbours).subspan(query * near, near); }
};

/// The k rows nearest to each of `count` rows of the space, drawn with the seed, that are not vacant; fewer where there are fewer. O(count n d).
template <Space S>
OwnNeighbours<typename S::distance_type> own_neighbours(const S& space, BitsetView vacant, std::size_t k, std::size_t count, std::uint64_t seed, Executor& executor,
                                                        const Progress& progress) {
    using D = typename S::distance_type;
    OwnNeighbours<D> found;
    std::vector<Slot> live;
    for (std::size_t slot = 0; slot < space.size(); ++slot)
        if (!vacant.test(slot)) live.push_back(static_cast<Slot>(slot));
    found.near = std::min(k, live.size() - std::min<std::size_t>(live.size(), 1));
    if (found.near == 0) return found;
    count = std::min(count, live.size());
    const Random random(seed, 0x63616c69);
    for (std::size_t q = 0; q < count; ++q) found.queries.push_back(live[count == live.size() ? q : static_cast<std::size_t>(random.below(q, live.size()))]);
    found.neighbours.resize(count * found.near);

    struct Worker {
        [[no_unique_address]] scorer_scratch_of<S> scorer;
        ScanBuffers<D> buffers;
    };
    std::vector<Worker> workers(executor.workers());
    constexpr std::size_t step = 16, stretch = 4096;
    for (std::size_t first = 0; first < count; first += step) {
        progress.report("truth", first, count);
        executor.run(std::min(step, count - first), 1, [&](std::size_t begin, std::size_t end, std::size_t which) {
            std::vector<typename S::query_type> row(space.dim());
            std::vector<Hit<D>> hits(found.near + 1);
            for (std::size_t q = first + begin; q < first + end; ++q) {
                space.read_query(found.queries[q], row);
                const auto scorer = bind_query(space, std::span<const typename S::query_type>(row), workers[which].scorer);
                TopK<D> nearest(hits);
                SearchStats stats;
                const AllowAll all;
                Scan scan(scorer, vacant, all, space.row_bytes(), workers[which].buffers, nearest, stats);
                for (std::size_t at = 0; at < space.size(); at += stretch) scan.run(at, std::min(stretch, space.size() - at));
                scan.finish();
                std::size_t kept = 0;
                for (const auto& hit : nearest.sorted())
                    if (hit.slot != found.queries[q] && kept < found.near) found.neighbours[q * found.near + kept++] = hit;
            }
        });
    }
    progress.report("truth", count, count);
    return found;
}

}  // namespace kith
