// SPDX-License-Identifier: Apache-2.0
//
// Scanning with BoundedScorers (space/space.hpp): of most rows not even a distance is seen.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kith/space/space.hpp"

namespace kith {

/// visit(j, slot, distance) for the rows from `first`, a multiple of 32, that lie within bound(j) for scorer j, and perhaps for some that do not.
/// distances, hits: of S::chunk and S::chunk / 32 elements a scorer. The bounds are looked at once a chunk.
template <BoundedScorer ScorerType, class Bound, class Visit>
void for_each_within(std::span<const ScorerType> scorers, std::size_t first, std::size_t count, typename ScorerType::distance_type* distances, std::uint32_t* hits,
                     Bound bound, Visit visit) {
    constexpr std::size_t chunk = ScorerType::chunk, words = chunk / 32;
    std::array<typename ScorerType::distance_type, ScorerType::together> bounds;
    for (const std::size_t end = first + count; first < end; first += chunk) {
        const std::size_t n = std::min(chunk, end - first);
        for (std::size_t j = 0; j < scorers.size(); ++j) bounds[j] = bound(j);
        ScorerType::run_within(scorers, first, n, bounds.data(), distances, hits);
        for (std::size_t j = 0; j < scorers.size(); ++j)
            for (std::size_t word = 0; word < (n + 31) / 32; ++word)
                for (std::uint32_t bits = hits[words * j + word]; bits != 0; bits &= bits - 1) {
                    const std::size_t i = 32 * word + static_cast<std::size_t>(std::countr_zero(bits));
                    visit(j, static_cast<Slot>(first + i), distances[chunk * j + i]);
                }
    }
}

}  // namespace kith
