// SPDX-License-Identifier: Apache-2.0
//
// Executors: who runs the pieces of a batch. Passed in by the caller, never stored in an index; one search never spawns.
//
// run() is called once per batch or build phase, so a virtual call is free; adapters to TBB or a server's own pool take ten
// lines. Which worker takes which piece is left to chance and must not show in any result.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/function_ref.hpp"

namespace kith {

class Executor {
public:
    using Body = FunctionRef<void(std::size_t begin, std::size_t end, std::size_t worker)>;

    virtual ~Executor() = default;

    /// How many bodies may run at once; `worker` is below this, and no two running bodies share one.
    virtual std::size_t workers() const noexcept = 0;

    /// Calls body over disjoint ranges of at most `grain` that cover [0, n); returns when all are done. The
    /// first exception stops the handing out of further ranges and is rethrown here.
    virtual void run(std::size_t n, std::size_t grain, Body body) = 0;

protected:
    Executor() = default;
    Executor(const Executor&) = default;
    Executor& operator=(const Executor&) = default;
};

/// Everything on the calling thread.
class InlineExecutor final : public Executor {
public:
    std::size_t workers() const noexcept override { return 1; }
    void run(std::size_t n, std::size_t grain, Body body) override {
        if (grain == 0) grain = 1;
        for (std::size_t begin = 0; begin < n; begin += grain)
            body(begin, n - begin < grain ? n : begin + grain, 0);
    }
};

/// The null object for an executor argument; stateless, so that one serves everybody.
inline Executor& inline_executor() noexcept {
    static InlineExecutor executor;
    return executor;
}

/// `threads` workers, the calling thread among them: the pool starts threads - 1. They sleep between runs. One run at a
/// time: concurrent callers take turns. A body must not call run() on the pool it runs on.
/// Not usable in a child after fork(): threads do not survive it; make a new pool there.
class ThreadPool final : public Executor {
public:
    /// threads >= 1; 0 means one for each hardware thread.
    explicit ThreadPool(std::size_t threads = 0) {
        if (threads == 0) threads = std::thread::hardware_concurrency();
        if (threads == 0) threads = 1;
        if (threads > max_threads)
            fail(ErrorCode::invalid_argument, "threads must be at most ", max_threads, ", not ", threads);
        threads_.reserve(threads - 1);
        for (std::size_t worker = 1; worker < threads; ++worker)
            threads_.emplace_back([this, worker] { serve(worker); });
    }

    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    ~ThreadPool() override {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }

    std::size_t workers() const noexcept override { return threads_.size() + 1; }

    void run(std::size_t n, std::size_t grain, Body body) override {
        if (n == 0) return;
        if (grain == 0) grain = 1;
        const std::lock_guard turn(turn_);
        Task task{n, grain, body, {}, {}, {}};
        if (threads_.empty() || n <= grain) {
            work(task, 0);
        } else {
            {
                const std::lock_guard lock(mutex_);
                task_ = &task;
                ++generation_;
                busy_ = threads_.size();
            }
            wake_.notify_all();
            work(task, 0);
            std::unique_lock lock(mutex_);
            done_.wait(lock, [this] { return busy_ == 0; });
            task_ = nullptr;
        }
        if (task.error) std::rethrow_exception(task.error);
    }

private:
    static constexpr std::size_t max_threads = 1024;

    struct Task {
        std::size_t n;
        std::size_t grain;
        Body body;
        std::atomic<std::size_t> next{0};
        std::once_flag failed;
        std::exception_ptr error;
    };

    static void work(Task& task, std::size_t worker) noexcept {
        for (;;) {
            const std::size_t begin = task.next.fetch_add(task.grain, std::memory_order_relaxed);
            if (begin >= task.n) return;
            try {
                task.body(begin, task.n - begin < task.grain ? task.n : begin + task.grain, worker);
            } catch (...) {
                std::call_once(task.failed, [&] { task.error = std::current_exception(); });
                task.next.store(task.n, std::memory_order_relaxed);
            }
        }
    }

    void serve(std::size_t worker) {
        std::size_t seen = 0;
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
            if (stopping_) return;
            seen = generation_;
            Task* task = task_;
            lock.unlock();
            work(*task, worker);
            lock.lock();
            if (--busy_ == 0) done_.notify_one();
        }
    }

    std::vector<std::thread> threads_;
    std::mutex turn_;  // held by whoever runs a task
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable done_;
    Task* task_ = nullptr;
    std::size_t generation_ = 0;
    std::size_t busy_ = 0;
    bool stopping_ = false;
};

}  // namespace kith
