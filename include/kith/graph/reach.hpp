// SPDX-License-Identifier: Apache-2.0
//
// Reachability: which nodes a walk can get to at all, and making it all of them. Pruning looks at one row at a time and can cut a node's last incoming link
// (hundreds of equal rows, clusters far apart); such a node is linked from the nearest reachable node.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "kith/core/bitset.hpp"
#include "kith/core/error.hpp"
#include "kith/core/topk.hpp"
#include "kith/graph/links.hpp"

namespace kith {

/// Marks what can be reached from `from` besides what is marked already; returns how many nodes were marked. O(nodes degree).
inline std::size_t mark_reachable(const Links& links, std::size_t slots, Slot from, Bitset& reached) {
    std::size_t count = 0;
    std::vector<Slot> stack;
    const auto visit = [&](Slot slot) {
        if (slot >= slots || reached.test(slot)) return;
        reached.set(slot);
        ++count;
        stack.push_back(slot);
    };
    visit(from);
    while (!stack.empty()) {
        const Slot slot = stack.back();
        stack.pop_back();
        for (const Slot neighbour : links.neighbours(slot)) visit(neighbour);
    }
    return count;
}

/// Slots reachable from `entry`, those hidden counted as unreachable.
inline std::size_t count_reachable(const Links& links, std::size_t slots, BitsetView hidden, Slot entry) {
    if (entry >= slots) return 0;
    Bitset reached(slots);
    if (hidden.size() != 0) reached |= hidden;
    return mark_reachable(links, slots, entry, reached);
}

/// Links each unreached node from a reached one. near(node, ef): at most ef reached nodes near a node, nearest first. Returns how many nodes were unreached.
/// touched: gets the slots whose rows changed.
template <class Near>
std::size_t connect_unreached(Links& links, std::size_t slots, BitsetView hidden, Slot entry, std::size_t ef, std::vector<Slot>* touched,
                              Near near) {
    if (entry >= slots) return 0;
    Bitset reached(slots);
    if (hidden.size() != 0) reached |= hidden;
    mark_reachable(links, slots, entry, reached);
    std::size_t unreached = 0;
    std::vector<Slot> row;
    std::vector<Slot> mine;
    const auto assign = [&](Slot node, std::span<const Slot> neighbours) {
        links.assign(node, neighbours);
        if (touched != nullptr) touched->push_back(node);
    };
    for (std::size_t slot = 0; slot < slots; ++slot) {
        if (reached.test(slot)) continue;
        ++unreached;
        const auto node = static_cast<Slot>(slot);
        // The nearest that has room, among those that are equally near; else the nearest one lends its last link, which the node takes over.
        const auto candidates = near(node, ef);
        if (candidates.empty()) continue;  // a damaged file's entry point leads nowhere
        const auto room = std::find_if(candidates.begin(), candidates.end(), [&](const auto& hit) {
            return hit.distance == candidates.front().distance && links.neighbours(hit.slot).size() < links.degree();
        });
        const Slot giver = room == candidates.end() ? candidates.front().slot : room->slot;
        const auto given = links.neighbours(giver);
        row.assign(given.begin(), given.end());
        if (room != candidates.end()) {
            row.push_back(node);
        } else {
            const auto own = links.neighbours(node);
            mine.assign(own.begin(), own.end());
            if (row.back() != node && std::find(mine.begin(), mine.end(), row.back()) == mine.end()) {
                if (mine.size() == links.degree()) mine.pop_back();
                mine.push_back(row.back());
            }
            row.back() = node;
            assign(node, mine);
        }
        assign(giver, row);
        mark_reachable(links, slots, node, reached);
    }
    return unreached;
}

/// Throws Error{corrupt} unless row `at` holds distinct slots below `slots`, none of them `owner`, padded at its end.
inline void check_links(const Links& links, std::size_t at, Slot owner, std::size_t slots, std::string_view section, std::string_view source) {
    const Slot* const row = links.row(at);
    std::size_t count = 0;
    while (count < links.degree() && row[count] != invalid_slot) ++count;
    for (std::size_t i = 0; i < links.degree(); ++i) {
        const bool good = i < count ? row[i] < slots && row[i] != owner && std::find(row, row + i, row[i]) == row + i : row[i] == invalid_slot;
        if (!good)
            fail(ErrorCode::corrupt, source, ": section '", section, "': row ", at, " has the link ", row[i], " at ", i,
                 ", expected distinct other slots below ", slots, ", then padding");
    }
}

}  // namespace kith
