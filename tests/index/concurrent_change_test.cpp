// SPDX-License-Identifier: Apache-2.0
//
// Searching while adding: Concurrent<K> and the fair lock under it. Also run under ThreadSanitizer.
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "conformance/conformance.hpp"
#include "kith/core/fair_mutex.hpp"
#include "kith/index/concurrent.hpp"
#include "kith/kith.hpp"
#include "support/catch.hpp"
#include "support/vectors.hpp"

namespace {

using namespace test;  // NOLINT

/// Searches that saw something that is neither before nor after a change. Batches of rows with the ids 1000 .. 1019 come and go as a whole;
/// each is of one value, so that a search sees all of a batch or none of it, and never rows of two.
template <class Search, class Change>
std::size_t torn_searches(Search search, Change change) {
    std::atomic<bool> stop{false};
    std::atomic<std::size_t> torn{0};
    std::atomic<std::size_t> searches{0};
    std::vector<std::thread> threads;
    for (std::size_t caller = 0; caller < 3; ++caller)
        threads.emplace_back([&] {
            while (!stop.load()) {
                const std::vector<float> distances = search();
                ++searches;
                const bool whole = distances.size() == 5 || (distances.size() == 25 && std::all_of(distances.begin() + 5, distances.end(), [&](float d) {
                                                                 return d == distances[5];
                                                             }));
                torn += whole ? 0 : 1;
            }
        });
    for (std::size_t round = 0; round < 40; ++round) change(round);
    while (searches.load() < 10) std::this_thread::yield();
    stop = true;
    for (auto& thread : threads) thread.join();
    return torn;
}

std::vector<Id> batch_ids() {
    std::vector<Id> ids(20);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Id>(1000 + i);
    return ids;
}

}  // namespace

TEST_CASE("a typed index is searched while it is changed", "[concurrent]") {
    using S = DenseSpace<L2, float>;
    const std::vector<float> start{0, 1, 2, 3, 4};
    Concurrent index(Keyed(Flat(S(Rows<float>::borrow({start.data(), 5, 1})))));
    const float at = -1;
    const auto ids = batch_ids();
    const auto torn = torn_searches(
        [&] {
            const auto found = index.search(MatrixView<const float>(&at, 1, 1), 100);
            return std::vector<float>(found.distances(0).begin(), found.distances(0).end());
        },
        [&](std::size_t round) {
            const std::vector<float> rows(20, static_cast<float>(10 + round));
            if (round % 4 == 3) index.remove(ids);
            else index.add(MatrixView<const float>(rows.data(), 20, 1), ids);  // new ones, then in the place of those
        });
    CHECK(torn == 0);
    CHECK(index.size() == 5);
    CHECK_FALSE(index.contains(1000));
}

TEST_CASE("every kind of index is searched while it is changed", "[concurrent]") {
    ThreadPool pool(2);
    for (const auto& c : combinations()) {
        if (c.type != ElementType::f32 || c.metric != "l2") continue;
        const auto base = Vectors::fill(c.type, 5, 4, [](std::size_t i) { return static_cast<double>(i / 4); });
        const auto query = Vectors::fill(c.type, 1, 4, [](std::size_t) { return -1.0; });
        Concurrent index(build(c, base));
        const auto ids = batch_ids();
        const auto torn = torn_searches(
            [&] {
                const auto found = index.search(query.view(), 100, c.kind.exhaustive);
                return std::vector<float>(found.distances(0).begin(), found.distances(0).end());
            },
            [&](std::size_t round) {
                const auto rows = Vectors::fill(c.type, 20, 4, [&](std::size_t) { return static_cast<double>(8 + round); });
                if (round % 4 == 3) index.remove(ids);
                else index.add(rows.view(), ids, NotFinite::reject, pool);
                if (round % 8 == 7) index.compact();
            });
        INFO(c.name());
        CHECK(torn == 0);
        CHECK(index.size() == 5);
        // Calls that belong together see one state.
        const auto found = index.read([&](const AnyIndex& now) {
            const Bitset bits = now.slots_of(std::vector<Id>{1, 3});
            const BitsetView filter = bits;
            return now.search(query.view(), 5, c.kind.exhaustive, std::span(&filter, 1));
        });
        CHECK(std::ranges::equal(found.ids(0), std::vector<Id>{1, 3}));
    }
}

TEST_CASE("the lock excludes writers from everybody and serves in order", "[concurrent]") {
    FairMutex mutex;
    std::size_t value = 0;  // not atomic: the lock's business
    std::vector<std::thread> threads;
    std::atomic<std::size_t> wrong{0};
    for (std::size_t caller = 0; caller < 4; ++caller)
        threads.emplace_back([&, caller] {
            for (std::size_t i = 0; i < 500; ++i) {
                if (caller < 2) {
                    const std::unique_lock lock(mutex);
                    ++value;
                } else {
                    const std::shared_lock lock(mutex);
                    if (value > 1000) ++wrong;
                }
            }
        });
    for (auto& thread : threads) thread.join();
    CHECK(value == 1000);
    CHECK(wrong == 0);

    CHECK(mutex.try_lock_shared());
    CHECK(mutex.try_lock_shared());
    CHECK_FALSE(mutex.try_lock());
    mutex.unlock_shared();
    mutex.unlock_shared();
    CHECK(mutex.try_lock());
    CHECK_FALSE(mutex.try_lock_shared());
    CHECK_FALSE(mutex.try_lock());
    mutex.unlock();
}

TEST_CASE("a writer comes in although readers never leave the lock free", "[concurrent]") {
    FairMutex mutex;
    mutex.lock_shared();
    std::atomic<bool> written{false};
    std::thread writer([&] {
        const std::unique_lock lock(mutex);
        written = true;
    });
    // From here on a reader that comes waits behind the writer; try_lock_shared says so.
    while (mutex.try_lock_shared()) {
        mutex.unlock_shared();
        std::this_thread::yield();
    }
    CHECK_FALSE(written.load());
    std::atomic<bool> after{false};
    std::thread reader([&] {
        const std::shared_lock lock(mutex);
        after = written.load();  // the writer was first
    });
    mutex.unlock_shared();
    writer.join();
    reader.join();
    CHECK(written.load());
    CHECK(after.load());
}
