// SPDX-License-Identifier: Apache-2.0
//
// A walk over links, and nothing else that prefetches: checks/prefetch.py looks at what the compiler made of it.
#include "kith/graph/walk.hpp"
#include "kith/space/dense.hpp"

using Probed = kith::DenseSpace<kith::L2, float>;

std::uint64_t kith_probe_walk(const Probed& space, const kith::Links& links, std::span<const float> query, kith::WalkScratch<Probed>& scratch);

std::uint64_t kith_probe_walk(const Probed& space, const kith::Links& links, std::span<const float> query, kith::WalkScratch<Probed>& scratch) {
    const auto scorer = space.scorer(query);
    scratch.visited.begin(space.size());
    scratch.pool.reset(64);
    kith::LinkNavigator navigator(space, kith::Layer(links), space.size(), scorer, scratch);
    navigator.enter(0, scratch.pool);
    return kith::walk(navigator, scratch.pool);
}
