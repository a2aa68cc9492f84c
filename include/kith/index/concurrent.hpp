// SPDX-License-Identifier: Apache-2.0
//
// Concurrent<K>: an index that is searched and changed at the same time. K is a Keyed<I> or an AnyIndex.
//
//     kith::Concurrent index(kith::Keyed(std::move(hnsw)));
//     index.search(queries, 10);      // from any thread
//     index.add(rows, ids);           // from any thread
//
// The rule for all of kith:
//
//   * A bare index (Flat, Hnsw, Keyed, AnyIndex ...) may be searched from any number of threads at once. Whoever changes it (add, remove, compact)
//     must be alone with it: nobody else may so much as look.
//   * A Concurrent index may be searched and changed from any threads. Searches run side by side; a change waits for those that came before it
//     and holds back those that come after it (core/fair_mutex.hpp), so neither starves. A search sees the index before or after a
//     change, never in between; so does a save.
//   * An index in Python is a Concurrent one: the same lock, the same rule.
//
// So a change costs the searches its duration. Add in batches of a size whose time is an acceptable pause (a batch is linked by all threads of the
// executor), or build a new index beside the old one and swap.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "kith/core/fair_mutex.hpp"
#include "kith/core/types.hpp"

namespace kith {

template <class K>
class Concurrent {
public:
    explicit Concurrent(K index) : index_(std::move(index)) {}
    Concurrent(const Concurrent&) = delete;
    Concurrent& operator=(const Concurrent&) = delete;

    /// look(const K&) beside other searches, with one state of the index from beginning to end: for several calls that belong together (a
    /// filter's slots and the search that uses them, a cursor). Returns what it returns, which must not refer into the index.
    /// `look` must not use this object: it would wait for itself behind a change.
    template <class Look>
    auto read(Look&& look) const {
        const std::shared_lock lock(mutex_);
        return std::invoke(std::forward<Look>(look), index_);
    }

    /// change(K&), alone. Returns what it returns; the same caution as for read().
    template <class Change>
    auto change(Change&& change) {
        const std::unique_lock lock(mutex_);
        return std::invoke(std::forward<Change>(change), index_);
    }

    std::size_t size() const {
        return read([](const K& index) { return index.size(); });
    }
    bool contains(Id id) const {
        return read([&](const K& index) { return index.contains(id); });
    }

    // What K has by these names, with its arguments. Filters are bits over the slots of one state of the index: make and use them inside
    // one read().

    template <class... Arguments>
    auto search(Arguments&&... arguments) const {
        return read([&](const K& index) { return index.search(std::forward<Arguments>(arguments)...); });
    }
    template <class... Arguments>
    auto range_search(Arguments&&... arguments) const {
        return read([&](const K& index) { return index.range_search(std::forward<Arguments>(arguments)...); });
    }
    template <class... Arguments>
    auto save(Arguments&&... arguments) const {
        return read([&](const K& index) { return index.save(std::forward<Arguments>(arguments)...); });
    }
    template <class... Arguments>
    auto add(Arguments&&... arguments) {
        return change([&](K& index) { return index.add(std::forward<Arguments>(arguments)...); });
    }
    template <class... Arguments>
    auto remove(Arguments&&... arguments) {
        return change([&](K& index) { return index.remove(std::forward<Arguments>(arguments)...); });
    }
    template <class... Arguments>
    auto compact(Arguments&&... arguments) {
        return change([&](K& index) { return index.compact(std::forward<Arguments>(arguments)...); });
    }
    template <class... Arguments>
    auto rebalance(Arguments&&... arguments) {
        return change([&](K& index) { return index.rebalance(std::forward<Arguments>(arguments)...); });
    }

private:
    K index_;
    mutable FairMutex mutex_;
};

}  // namespace kith
