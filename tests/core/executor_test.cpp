// SPDX-License-Identifier: Apache-2.0
//
// The promises of an executor; also run under ThreadSanitizer.
#include "kith/core/executor.hpp"

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT

/// Every index exactly once, ranges within the grain, workers in range and never two bodies on one. Plain ints on purpose: if an index or
/// a worker were shared, ThreadSanitizer would say so.
void check_cover(Executor& executor, std::size_t n, std::size_t grain) {
    std::vector<int> seen(n, 0);
    std::vector<int> busy(executor.workers(), 0);
    std::atomic<int> wrong{0};
    executor.run(n, grain, [&](std::size_t begin, std::size_t end, std::size_t worker) {
        if (worker >= busy.size() || begin >= end || end > n || end - begin > std::max<std::size_t>(grain, 1)) {
            ++wrong;
            return;
        }
        if (++busy[worker] != 1) ++wrong;
        for (std::size_t i = begin; i < end; ++i) ++seen[i];
        --busy[worker];
    });
    CAPTURE(n, grain, executor.workers());
    CHECK(wrong == 0);
    CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
}

}  // namespace

TEST_CASE("each index is visited exactly once", "[executor]") {
    for (const std::size_t threads : {0, 1, 2, 3, 8}) {
        ThreadPool pool(threads);
        if (threads > 0) CHECK(pool.workers() == threads);
        CHECK(pool.workers() >= 1);
        for (const std::size_t n : {0, 1, 2, 7, 64, 1000})
            for (const std::size_t grain : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{64}, std::size_t{5000}})
                check_cover(pool, n, grain);
        check_cover(pool, 100, SIZE_MAX);
    }
    InlineExecutor alone;
    for (const std::size_t n : {0, 1, 7, 100})
        for (const std::size_t grain : {std::size_t{0}, std::size_t{1}, std::size_t{3}, SIZE_MAX}) check_cover(alone, n, grain);
    CHECK(inline_executor().workers() == 1);
}

TEST_CASE("an exception comes out of run, stops the rest, and leaves the pool usable", "[executor]") {
    for (const std::size_t threads : {1, 2, 4}) {
        ThreadPool pool(threads);
        for (std::size_t round = 0; round < 20; ++round) {
            std::atomic<std::size_t> started{0};
            const auto throws = [&] {
                pool.run(100'000, 1, [&](std::size_t begin, std::size_t, std::size_t) {
                    ++started;
                    if (begin == round) throw std::runtime_error("at " + std::to_string(begin));
                });
            };
            CHECK_THROWS_WITH(throws(), "at " + std::to_string(round));
            CHECK(started >= 1);
            CHECK(started < 100'000);
            check_cover(pool, 50, 3);
        }
        // All bodies throw: one exception comes out, the others are dropped.
        CHECK_THROWS_AS(pool.run(64, 1, [](std::size_t, std::size_t, std::size_t) { throw 1; }), int);
        check_cover(pool, 50, 3);
    }
    CHECK_THROWS_AS(inline_executor().run(4, 1, [](std::size_t, std::size_t, std::size_t) { throw 1; }), int);
}

TEST_CASE("concurrent callers take turns on one pool", "[executor]") {
    ThreadPool pool(3);
    constexpr std::size_t callers = 4;
    std::vector<std::size_t> sums(callers, 0);
    std::vector<int> inside(pool.workers(), 0);  // shared by all callers: turns keep it free of races
    std::vector<std::thread> threads;
    for (std::size_t caller = 0; caller < callers; ++caller)
        threads.emplace_back([&, caller] {
            for (std::size_t round = 0; round < 50; ++round) {
                std::atomic<std::size_t> sum{0};
                pool.run(40, 3, [&](std::size_t begin, std::size_t end, std::size_t worker) {
                    ++inside[worker];
                    for (std::size_t i = begin; i < end; ++i) sum += i;
                    --inside[worker];
                });
                sums[caller] += sum;
            }
        });
    for (auto& thread : threads) thread.join();
    for (const std::size_t sum : sums) CHECK(sum == 50 * (39 * 40 / 2));
    CHECK(inside == std::vector<int>(pool.workers(), 0));
}

TEST_CASE("pools come and go, used or not", "[executor]") {
    for (std::size_t i = 0; i < 50; ++i) {
        ThreadPool pool(1 + i % 5);
        if (i % 2 == 0) check_cover(pool, 10, 1);
    }
}

TEST_CASE("a pool of absurdly many threads is refused", "[executor]") {
    test::check_error(ErrorCode::invalid_argument, {"threads", "1024", "1025"}, [] { ThreadPool pool(1025); });
}
