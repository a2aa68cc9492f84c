// SPDX-License-Identifier: Apache-2.0
//
// Cursor<I>: the neighbours of one query, a few at a time, for as long as the caller wants more.
//
//     auto cursor = index.iterate(query);
//     while (wanted(cursor.next(10))) ...
//
// Works with every index through its one primitive: when more is wanted than was found, it searches again for twice as many and leaves out what it
// gave before. So a row is given at most once, all eligible ones are given in the end (a search for as many as there are is complete by the
// result contract), and each answer holds the nearest of those not yet given that the search saw: of an exact index all comes in
// order; of an approximate one a later answer may hold a row that belonged before an earlier one.
//
// Cost: searches for 16, 32, 64, ... results, together about twice the last one. Memory: 16 bytes and a hash node a row given.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "kith/index/search.hpp"
#include "kith/storage/id_map.hpp"

namespace kith {

/// Some rows, nearest first. ids and distances have the same length.
struct Neighbours {
    std::vector<Id> ids;
    std::vector<float> distances;

    std::size_t size() const noexcept { return ids.size(); }
    bool empty() const noexcept { return ids.empty(); }
};

/// Borrows the index, which must stay where it is and must not be changed meanwhile (any/any_index.hpp and Python: the same rule; Python checks it).
/// Used by one thread.
template <Index I>
class Cursor {
    using D = distance_of<I>;

public:
    /// The query is copied. `filter`: bits over slots, none for all. Throws Error{dimension_mismatch, not_finite}.
    Cursor(const I& index, const IdMap& ids, std::span<const query_of<I>> query, const typename I::search_params& params,
           std::optional<Bitset> filter)
        : index_(&index), ids_(&ids), query_(query.begin(), query.end()), params_(params), filter_(std::move(filter)) {
        detail::check_queries(index, MatrixView<const query_of<I>>(query_.data(), 1, query_.size()), {});
        eligible_ = filter_ ? std::min(filter_->count(), index.size()) : index.size();
    }

    /// The next n, or as many as are left; none when all eligible rows were given.
    Neighbours next(std::size_t n) {
        Neighbours more;
        while (more.size() < n) {
            if (at_ == found_.size()) {
                if (complete_) break;
                search(n - more.size());
                continue;
            }
            const Hit<D>& hit = found_[at_++];
            more.ids.push_back(ids_->id(hit.slot));
            more.distances.push_back(static_cast<float>(index_->space().report(static_cast<double>(hit.distance))));
        }
        return more;
    }

    /// What all its searches did.
    const SearchStats& stats() const noexcept { return stats_; }

private:
    static constexpr std::size_t first_k = 16;

    /// Fills found_ with rows not given before; there is one as long as there are more eligible rows than were given.
    void search(std::size_t wanted) {
        // What was found is given: search() comes when there is no more of it.
        for (const Hit<D>& hit : found_) given_.insert(hit.slot);
        found_.clear();
        at_ = 0;
        if (given_.size() == eligible_) {
            complete_ = true;
            return;
        }
        k_ = std::min(std::max({first_k, 2 * k_, given_.size() + std::min(wanted, eligible_)}), eligible_);
        std::vector<Hit<D>> heap(k_);
        const Id* const order = ids_->is_identity() ? nullptr : ids_->ids().data();
        TopK<D> nearest(heap, order);
        const std::span<const query_of<I>> query(query_);
        if (filter_) stats_ += index_->search(query, params_, BitsetFilter(*filter_), scratch_, nearest);
        else stats_ += index_->search(query, params_, AllowAll{}, scratch_, nearest);
        const auto hits = nearest.sorted();
        complete_ = k_ == eligible_ || hits.size() < k_;
        found_.reserve(hits.size() - std::min(hits.size(), given_.size()));
        for (const Hit<D>& hit : hits)
            if (!given_.contains(hit.slot)) found_.push_back(hit);
    }

    const I* index_;
    const IdMap* ids_;
    std::vector<query_of<I>> query_;
    typename I::search_params params_;
    std::optional<Bitset> filter_;
    typename I::scratch_type scratch_;
    std::vector<Hit<D>> found_;  // of the last search, without what was given before it
    std::size_t at_ = 0;         // the first of found_ that was not given
    std::unordered_set<Slot> given_;
    std::size_t k_ = 0;
    std::size_t eligible_ = 0;
    SearchStats stats_;
    bool complete_ = false;
};

}  // namespace kith
