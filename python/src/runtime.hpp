// SPDX-License-Identifier: Apache-2.0
//
// What every call needs around the C++ one: threads, locks, progress and Ctrl-C.
//
// A Python index follows the rule of kith/index/concurrent.hpp: searched and changed from any
// threads, in the order of arrival (kith/core/fair_mutex.hpp).
//
// Rules that make fork() and free use from many Python threads safe: pools, contexts and the list
// of indexes are touched with the GIL held only; an index's lock is taken with the GIL held if it
// is free, else after the GIL was given up, so that nobody waits for a lock while holding the GIL.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "errors.hpp"
#include "kith/any/any_index.hpp"
#include "kith/core/fair_mutex.hpp"

namespace kith::python {

/// What a Python Index holds: the index, its readers-writer lock, and search contexts that wait for
/// their next use.
class IndexObject {
public:
    explicit IndexObject(AnyIndex made);
    ~IndexObject();
    IndexObject(const IndexObject&) = delete;
    IndexObject& operator=(const IndexObject&) = delete;

    AnyIndex index;
    /// How often it was changed; read and written under the lock. Iterators compare it.
    std::uint64_t version = 0;

    std::unique_ptr<SearchContext> take_context();
    void give_back(std::unique_ptr<SearchContext> context) noexcept;

    /// In the child of a fork: locks that a thread of the parent held would never be released.
    static void after_fork() noexcept;

private:
    friend class ReadLock;
    friend class WriteLock;
    void check_usable() const;

    std::unique_ptr<FairMutex> mutex_ = std::make_unique<FairMutex>();
    std::atomic<std::thread::id> writer_{};
    bool broken_ = false;
    std::vector<std::unique_ptr<SearchContext>> contexts_;
};

/// Shared: searches and look-ups. Enter with the GIL held.
class ReadLock {
public:
    explicit ReadLock(IndexObject& object);
    ~ReadLock() { mutex_->unlock_shared(); }
    ReadLock(const ReadLock&) = delete;
    ReadLock& operator=(const ReadLock&) = delete;

private:
    FairMutex* mutex_;
};

/// Exclusive: add, remove and compact. Enter with the GIL held.
class WriteLock {
public:
    explicit WriteLock(IndexObject& object);
    ~WriteLock();
    WriteLock(const WriteLock&) = delete;
    WriteLock& operator=(const WriteLock&) = delete;

private:
    IndexObject& object_;
};

/// Turns a Python callback and pending signals into Progress. Lives on the stack of the call, with
/// the GIL held.
class Watch {
public:
    /// callback: None, or (phase, done, total) -> False to stop.
    explicit Watch(py::object callback);

    Progress progress();
    /// Called without the GIL; true to go on. Looks at Python about twenty times a second at most.
    bool poll(std::string_view phase, std::size_t done, std::size_t total);
    bool poll_signals();

    /// Runs `work` without the GIL; what the callback or a signal handler raised comes out instead
    /// of Error{cancelled}.
    template <class Work>
    auto run(Work&& work) {
        try {
            const py::gil_scoped_release no_gil;
            return work();
        } catch (const Error&) {
            if (raised_) std::rethrow_exception(raised_);
            throw;
        }
    }

    /// What was raised while the work came to its end all the same.
    void rethrow() {
        if (raised_) std::rethrow_exception(raised_);
    }

private:
    bool due(bool now) noexcept;

    py::object callback_;
    std::exception_ptr raised_;
    std::string phase_;
    std::chrono::steady_clock::time_point next_{};
};

/// An executor for the length of a call; pools are kept for the next one.
class ThreadLease {
public:
    explicit ThreadLease(std::size_t threads);
    ~ThreadLease();
    ThreadLease(const ThreadLease&) = delete;
    ThreadLease& operator=(const ThreadLease&) = delete;

    Executor& executor() noexcept { return pool_ ? static_cast<Executor&>(*pool_) : inline_; }

    static void after_fork() noexcept;

private:
    std::unique_ptr<ThreadPool> pool_;
    InlineExecutor inline_;
};

/// Passes work on, looking for Ctrl-C between two pieces of the calling thread.
class WatchedExecutor final : public Executor {
public:
    WatchedExecutor(Executor& inner, Watch& watch) : inner_(inner), watch_(watch) {}
    std::size_t workers() const noexcept override { return inner_.workers(); }
    void run(std::size_t n, std::size_t grain, Body body) override;

private:
    Executor& inner_;
    Watch& watch_;
};

/// threads argument: None for as many as this process may use, or a number of at least 1.
std::size_t thread_count(PyObject* threads);

/// A Python value as a parameter; `name` for messages.
ParamValue param_value(py::handle value, const std::string& name);
ParamMap param_map(const py::dict& params);
py::object param_object(const ParamValue& value);

}  // namespace kith::python
