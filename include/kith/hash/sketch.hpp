// SPDX-License-Identifier: Apache-2.0
//
// Sets as rows of bits: 1-bit minwise hashing (Li and Koenig 2010, "b-Bit minwise hashing", WWW). Bit i is a bit of the smallest of the set's items in the i-th random order. Two sets share a
// smallest item with probability J, their Jaccard similarity, and else a bit by chance: they share a bit with probability (1 + J) / 2, so that of D bits about D (1 - J) / 2 differ, with a
// standard deviation of at most sqrt(D) / 2. What an index of metric hamming (flat, hnsw, lsh by bit sampling) finds near is near as sets, whatever numbers items are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"

namespace kith {

/// Sets, one after the other: set i is items[offsets[i]] to items[offsets[i + 1]], in any order, items that are there twice count once. Returns (offsets.size() - 1) rows of bits / 8 bytes;
/// an empty set's bits are all 0. bits: a multiple of 8. O(items bits). Throws Error{invalid_argument} for bits that make no bytes, offsets that fall or lead outside of the items.
inline std::vector<Bits8> sketch_sets(std::span<const std::uint64_t> items, std::span<const std::uint64_t> offsets, std::size_t bits, std::uint64_t seed = 0,
                                      Executor& executor = inline_executor()) {
    if (bits == 0 || bits % 8 != 0) fail(ErrorCode::invalid_argument, "expected a number of bits that is a multiple of 8 and not 0, got ", bits);
    if (offsets.empty() || offsets.front() != 0 || offsets.back() != items.size() || !std::is_sorted(offsets.begin(), offsets.end()))
        fail(ErrorCode::invalid_argument, "expected offsets that rise from 0 to the number of items, ", items.size());
    const std::size_t sets = offsets.size() - 1, bytes = bits / 8;
    const Random names(seed, 0x73657473);
    std::vector<Bits8> rows(sets * bytes, Bits8{0});
    executor.run(sets, 16, [&](std::size_t begin, std::size_t end, std::size_t) {
        std::vector<std::uint64_t> least(bits);
        for (std::size_t set = begin; set < end; ++set) {
            std::fill(least.begin(), least.end(), std::numeric_limits<std::uint64_t>::max());
            for (std::uint64_t i = offsets[set]; i < offsets[set + 1]; ++i) {
                const std::uint64_t name = names.bits(items[i]);
                for (std::size_t order = 0; order < bits; ++order) least[order] = std::min(least[order], detail::mix64(name + (order + 1) * 0x9E3779B97F4A7C15ull));
            }
            if (offsets[set] == offsets[set + 1]) continue;
            for (std::size_t order = 0; order < bits; ++order)  // a low bit: the high ones of a smallest number are zeros
                if ((least[order] & 1u) != 0) {
                    Bits8& byte = rows[set * bytes + order / 8];
                    byte.bits = static_cast<std::uint8_t>(byte.bits | (0x80u >> (order % 8)));
                }
        }
    });
    return rows;
}

}  // namespace kith
