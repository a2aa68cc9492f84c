// SPDX-License-Identifier: Apache-2.0
//
// Multi-probe: which buckets to look at, most promising first (Lv, Josephson, Wang, Charikar and Li 2007, "Multi-probe LSH: efficient indexing for
// high-dimensional similarity search", VLDB, section 4.4: query-directed probing).
//
// A table's key is a sum over its hash functions, so that another value of one function is the key plus a difference: a perturbation, with a cost that is small
// where a near row may well have that value. A bucket is a set of perturbations, no two of one function; its cost is the sum of theirs. Sets come out in the
// order of their costs from a heap, which the paper's two moves keep small: over a table's perturbations in rising order, a set whose last one is number i begets
// the set with i + 1 in place of it (shift) and the set with i + 1 beside it (expand).
//
// Departure: one heap for all tables, not a sequence for each, so that a table whose bucket is a close call is asked more often than one that is sure (FALCONN does
// so too). Families say what is near (hash/vector_hash.hpp, hash/bit_hash.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace kith {

/// Another value of one of a table's functions.
struct Perturbation {
    float cost = 0;
    std::uint32_t function = 0;   // below 64
    std::uint64_t difference = 0;  // to be added to the key
};

/// The keys of one vector, and for a query what else each table may be asked for. `functions` is what a family made of them.
class HashedQuery {
public:
    void begin(std::size_t tables) {
        keys.assign(tables, 0);
        perturbations.clear();
        ends.clear();
    }

    /// The perturbations since the last call are those of the next table.
    void end_table() {
        const std::size_t first = ends.empty() ? 0 : ends.back();
        for (std::size_t i = first; i < perturbations.size(); ++i)
            if (!(perturbations[i].cost >= 0)) perturbations[i].cost = std::numeric_limits<float>::infinity();  // NaN, of projections that are not finite
        std::sort(perturbations.begin() + static_cast<std::ptrdiff_t>(first), perturbations.end(), [](const Perturbation& a, const Perturbation& b) {
            if (a.cost != b.cost) return a.cost < b.cost;
            return a.function != b.function ? a.function < b.function : a.difference < b.difference;
        });
        ends.push_back(static_cast<std::uint32_t>(perturbations.size()));
    }

    std::vector<std::uint64_t> keys;            // one a table
    std::vector<Perturbation> perturbations;    // table after table
    std::vector<std::uint32_t> ends;            // where each table's end
};

/// Buckets behind a query's own, in the order of their costs: O(log) each, for as many as were asked for so far.
class ProbeSequence {
public:
    struct Probe {
        std::uint32_t table;
        std::uint64_t key;
    };

    void begin(const HashedQuery& query) {
        query_ = &query;
        heap_.clear();
        for (std::uint32_t table = 0; table < query.ends.size(); ++table) {
            const std::uint32_t first = table == 0 ? 0 : query.ends[table - 1];
            if (first != query.ends[table]) push({query.perturbations[first].cost, table, first, query.keys[table], 0, 0.0f});
        }
    }

    /// The next bucket; false when there is none.
    bool next(Probe& out) {
        while (!heap_.empty()) {
            std::pop_heap(heap_.begin(), heap_.end(), later);
            const Entry set = heap_.back();
            heap_.pop_back();
            const Perturbation& last = query_->perturbations[set.last];
            const std::uint64_t bit = std::uint64_t{1} << (last.function % 64);
            const bool valid = (set.functions & bit) == 0;
            if (set.last + 1 < query_->ends[set.table]) {
                const float next = query_->perturbations[set.last + 1].cost;
                push({set.before_cost + next, set.table, set.last + 1, set.before, set.functions, set.before_cost});
                if (valid) push({set.cost + next, set.table, set.last + 1, set.before + last.difference, set.functions | bit, set.cost});
            }
            if (valid) {
                out = {set.table, set.before + last.difference};
                return true;
            }
        }
        return false;
    }

private:
    /// A set of perturbations: what all but the last make of the key, and the last.
    struct Entry {
        float cost;
        std::uint32_t table;
        std::uint32_t last;
        std::uint64_t before;
        std::uint64_t functions;  // those of all but the last
        float before_cost;
    };

    static bool later(const Entry& a, const Entry& b) noexcept {
        if (a.cost != b.cost) return a.cost > b.cost;
        if (a.table != b.table) return a.table > b.table;
        return a.last != b.last ? a.last > b.last : a.before > b.before;
    }

    void push(const Entry& entry) {
        heap_.push_back(entry);
        std::push_heap(heap_.begin(), heap_.end(), later);
    }

    const HashedQuery* query_ = nullptr;
    std::vector<Entry> heap_;
};

}  // namespace kith
