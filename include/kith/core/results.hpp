// SPDX-License-Identifier: Apache-2.0
//
// What a batch of searches returns: a rectangular view over the caller's memory (k-NN), or compressed rows (range search).
//
// The result contract, for every index: row i holds counts[i] = min(k, eligible) results, nearest first, ties by smaller id. What
// is behind them is filled with invalid_id and the farthest number there is (+infinity; -infinity for inner products).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kith/core/matrix.hpp"
#include "kith/core/types.hpp"

namespace kith {

/// What a search did. Plain numbers returned by value: nothing is counted in shared memory.
struct SearchStats {
    std::uint64_t distances = 0;  // rows scored
    std::uint64_t hops = 0;       // graph nodes expanded
    std::uint64_t lists = 0;      // partitions scanned
    std::uint64_t reads = 0;      // read requests to a disk
    std::uint64_t bytes = 0;      // bytes of rows or codes scored

    SearchStats& operator+=(const SearchStats& other) noexcept {
        distances += other.distances;
        hops += other.hops;
        lists += other.lists;
        reads += other.reads;
        bytes += other.bytes;
        return *this;
    }
    friend bool operator==(const SearchStats&, const SearchStats&) = default;
};

/// Memory for the results of nq queries: ids and distances nq x k (row-major), counts nq.
struct ResultView {
    MatrixView<Id> ids;
    MatrixView<float> distances;
    std::uint32_t* counts = nullptr;

    std::size_t queries() const noexcept { return ids.rows(); }
    std::size_t k() const noexcept { return ids.cols(); }
};

/// Results that own their memory.
class Results {
public:
    Results(std::size_t queries, std::size_t k)
        : queries_(queries), k_(k), ids_(queries * k, invalid_id), distances_(queries * k), counts_(queries) {}

    ResultView view() noexcept {
        return {{ids_.data(), queries_, k_}, {distances_.data(), queries_, k_}, counts_.data()};
    }

    std::size_t queries() const noexcept { return queries_; }
    std::size_t k() const noexcept { return k_; }
    std::span<const Id> ids(std::size_t query) const noexcept { return {ids_.data() + query * k_, counts_[query]}; }
    std::span<const float> distances(std::size_t query) const noexcept {
        return {distances_.data() + query * k_, counts_[query]};
    }
    std::size_t count(std::size_t query) const noexcept { return counts_[query]; }

    SearchStats stats;

private:
    std::size_t queries_;
    std::size_t k_;
    std::vector<Id> ids_;
    std::vector<float> distances_;
    std::vector<std::uint32_t> counts_;
};

/// Range search: query i found ids[offsets[i] .. offsets[i + 1]), nearest first.
struct RangeResults {
    std::vector<std::size_t> offsets{0};
    std::vector<Id> ids;
    std::vector<float> distances;
    SearchStats stats;
};

}  // namespace kith
