// SPDX-License-Identifier: Apache-2.0
//
// Which buckets an LSH query looks at, one after the other: its own in each table, then those that hash/probes.hpp finds most promising. What that takes to know of the alternatives to
// each hash value is worked out only once own buckets were not enough.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kith/hash/buckets.hpp"
#include "kith/hash/probes.hpp"
#include "kith/index/lsh_functions.hpp"

namespace kith {

template <HashableSpace S>
class LshWalk {
    using Query = typename S::query_type;

public:
    /// The query must stay until the last run(). probes: as many as will be asked for, most likely.
    void begin(const LshFunctions<S>& functions, std::span<const Query> query, std::size_t probes) {
        query_ = query;
        probes_.clear();
        at_ = own_ = 0;
        alternatives_ = probes > functions.hash().tables();
        if (alternatives_) hash_all(functions);
        else functions.hash_query(query, hashed_.keys, scratch_);
    }

    /// visit(table, number) for `probes` buckets, or until it returns false. Returns how many. Called again it goes on where it stopped.
    template <class Visit>
    std::size_t run(const LshFunctions<S>& functions, const Buckets& buckets, std::size_t probes, Visit&& visit) {
        for (std::size_t looked = 0; looked < probes;) {
            if (at_ == probes_.size() && !take(functions, buckets, probes - looked)) return looked;
            const auto& probe = probes_[at_++];
            ++looked;
            if (!visit(probe.table, static_cast<Buckets::Number>(probe.key))) return looked;
        }
        return probes;
    }

private:
    void hash_all(const LshFunctions<S>& functions) {
        functions.hash_query(query_, hashed_, scratch_);
        sequence_.begin(hashed_);
    }

    /// The next few buckets, whose memory is asked for before it is needed; false if there are none.
    bool take(const LshFunctions<S>& functions, const Buckets& buckets, std::size_t wanted) {
        const std::size_t together = std::min<std::size_t>(wanted, 64);
        at_ = 0;
        probes_.clear();
        for (; own_ < buckets.tables() && probes_.size() < together; ++own_) probes_.push_back({static_cast<std::uint32_t>(own_), hashed_.keys[own_]});
        if (probes_.size() < together && !alternatives_) {
            alternatives_ = true;
            hash_all(functions);
        }
        ProbeSequence::Probe probe;
        while (probes_.size() < together && sequence_.next(probe)) probes_.push_back(probe);
        for (auto& one : probes_) {
            one.key = buckets.number(one.key);
            buckets.prefetch_place(one.table, static_cast<Buckets::Number>(one.key));
        }
        for (const auto& one : probes_) buckets.prefetch_rows(one.table, static_cast<Buckets::Number>(one.key));
        return !probes_.empty();
    }

    std::span<const Query> query_;
    HashedQuery hashed_;
    ProbeSequence sequence_;
    typename LshFunctions<S>::Scratch scratch_;
    std::vector<ProbeSequence::Probe> probes_;  // those in hand, of which at_ were visited
    std::size_t at_ = 0;
    std::size_t own_ = 0;  // tables whose own bucket was taken in hand
    bool alternatives_ = false;
};

}  // namespace kith
