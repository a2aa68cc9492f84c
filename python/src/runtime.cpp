// SPDX-License-Identifier: Apache-2.0
#include "runtime.hpp"

#include <algorithm>
#include <set>

namespace kith::python {
namespace {

// Never destroyed: indexes may outlive static destructors at interpreter exit.
std::set<IndexObject*>& all_indexes() {
    static auto* indexes = new std::set<IndexObject*>;
    return *indexes;
}

std::vector<std::unique_ptr<ThreadPool>>& idle_pools() {
    static auto* pools = new std::vector<std::unique_ptr<ThreadPool>>;
    return *pools;
}

constexpr std::size_t idle_pools_kept = 4;
constexpr std::size_t idle_contexts_kept = 64;
constexpr auto poll_interval = std::chrono::milliseconds(50);

}  // namespace

IndexObject::IndexObject(AnyIndex made) : index(std::move(made)) { all_indexes().insert(this); }

IndexObject::~IndexObject() { all_indexes().erase(this); }

std::unique_ptr<SearchContext> IndexObject::take_context() {
    if (contexts_.empty()) return index.context();
    auto context = std::move(contexts_.back());
    contexts_.pop_back();
    return context;
}

void IndexObject::give_back(std::unique_ptr<SearchContext> context) noexcept {
    try {
        if (contexts_.size() < idle_contexts_kept) contexts_.push_back(std::move(context));
    } catch (...) {  // no memory to remember it: it is freed
    }
}

void IndexObject::check_usable() const {
    if (broken_)
        fail(
            ErrorCode::invalid_argument,
            "this index was being changed by another thread when the process forked; load it anew");
    if (writer_.load(std::memory_order_relaxed) == std::this_thread::get_id())
        fail(ErrorCode::invalid_argument,
             "a progress callback of add or remove must not use the index that is being changed");
}

void IndexObject::after_fork() noexcept {
    for (IndexObject* object : all_indexes()) {
        if (object->writer_.load() != std::thread::id{}) object->broken_ = true;
        object->writer_.store(std::thread::id{});
        (void)
            object->mutex_.release();  // may be held for ever by a thread that does not exist here
        object->mutex_.reset(new FairMutex);
    }
}

ReadLock::ReadLock(IndexObject& object) : mutex_(object.mutex_.get()) {
    object.check_usable();
    if (mutex_->try_lock_shared()) return;
    const py::gil_scoped_release no_gil;
    mutex_->lock_shared();
}

WriteLock::WriteLock(IndexObject& object) : object_(object) {
    object.check_usable();
    if (!object_.mutex_->try_lock()) {
        const py::gil_scoped_release no_gil;
        object_.mutex_->lock();
    }
    object_.writer_.store(std::this_thread::get_id());
}

WriteLock::~WriteLock() {
    object_.contexts_.clear();  // sized for the index as it was
    object_.writer_.store(std::thread::id{});
    object_.mutex_->unlock();
}

Watch::Watch(py::object callback) : callback_(std::move(callback)) {
    if (!callback_.is_none() && !PyCallable_Check(callback_.ptr()))
        fail(ErrorCode::type_mismatch, "progress must be callable (phase, done, total), not ",
             std::string(py::str(py::type::of(callback_).attr("__name__"))));
}

Progress Watch::progress() {
    return Progress([this](std::string_view phase, std::size_t done, std::size_t total) {
        return poll(phase, done, total);
    });
}

bool Watch::due(bool now) noexcept {
    const auto time = std::chrono::steady_clock::now();
    if (!now && time < next_) return false;
    next_ = time + poll_interval;
    return true;
}

bool Watch::poll(std::string_view phase, std::size_t done, std::size_t total) {
    const bool turning_point = phase != phase_ || done == total;
    if (phase != phase_) phase_ = phase;
    if (!due(turning_point)) return true;
    const py::gil_scoped_acquire gil;
    try {
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        if (callback_.is_none()) return true;
        const py::object answer = callback_(py::str(phase.data(), phase.size()), done, total);
        return answer.ptr() != Py_False;
    } catch (py::error_already_set&) {
        raised_ = std::current_exception();
        return false;
    }
}

bool Watch::poll_signals() {
    if (!due(false)) return true;
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() == 0) return true;
    try {
        throw py::error_already_set();
    } catch (...) {
        raised_ = std::current_exception();
    }
    return false;
}

void WatchedExecutor::run(std::size_t n, std::size_t grain, Body body) {
    inner_.run(n, grain, [&](std::size_t begin, std::size_t end, std::size_t worker) {
        if (worker == 0 && !watch_.poll_signals()) fail(ErrorCode::cancelled, "interrupted");
        body(begin, end, worker);
    });
}

ThreadLease::ThreadLease(std::size_t threads) {
    if (threads <= 1) return;
    auto& idle = idle_pools();
    const auto fits = std::find_if(idle.begin(), idle.end(),
                                   [&](const auto& pool) { return pool->workers() == threads; });
    if (fits != idle.end()) {
        pool_ = std::move(*fits);
        idle.erase(fits);
    } else {
        pool_ = std::make_unique<ThreadPool>(threads);
    }
}

ThreadLease::~ThreadLease() {
    if (!pool_) return;
    auto& idle = idle_pools();
    if (idle.size() >= idle_pools_kept) idle.erase(idle.begin());
    idle.push_back(std::move(pool_));
}

void ThreadLease::after_fork() noexcept {
    for (auto& pool : idle_pools())
        (void)pool.release();  // its threads stayed in the parent: joining them would hang
    idle_pools().clear();
}

std::size_t thread_count(PyObject* threads) {
    if (threads == Py_None) {
        static const py::handle count =
            py::module_::import("kith._api").attr("usable_threads").cast<py::object>().release();
        return count().cast<std::size_t>();
    }
    const Py_ssize_t count = PyNumber_AsSsize_t(threads, nullptr);
    if (count == -1 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        fail(ErrorCode::type_mismatch, "threads must be an integer or None, not ",
             std::string(py::repr(threads)));
    }
    if (count < 1)
        fail(ErrorCode::invalid_argument, "threads must be at least 1 (None: all), not ", count);
    return static_cast<std::size_t>(count);
}

ParamValue param_value(py::handle value, const std::string& name) {
    PyObject* object = value.ptr();
    if (PyBool_Check(object)) return object == Py_True;
    if (PyUnicode_Check(object)) return value.cast<std::string>();
    if (PyFloat_Check(object)) return PyFloat_AS_DOUBLE(object);
    if (PyIndex_Check(object)) {
        const long long integer = PyNumber_AsSsize_t(object, PyExc_OverflowError);
        if (integer == -1 && PyErr_Occurred() != nullptr) {
            PyErr_Clear();
            fail(ErrorCode::invalid_argument, "parameter '", name,
                 "' is out of range: ", std::string(py::repr(value)));
        }
        return static_cast<std::int64_t>(integer);
    }
    const double number = PyFloat_AsDouble(object);
    if (number == -1.0 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        fail(ErrorCode::type_mismatch, "parameter '", name,
             "' must be a bool, int, float or str, not ", std::string(py::repr(value)));
    }
    return number;
}

ParamMap param_map(const py::dict& params) {
    ParamMap map;
    for (const auto& [key, value] : params) {
        std::string name = key.cast<std::string>();
        ParamValue converted = param_value(value, name);
        map.emplace_back(std::move(name), std::move(converted));
    }
    return map;
}

py::object param_object(const ParamValue& value) {
    return std::visit([](const auto& v) { return py::object(py::cast(v)); }, value);
}

}  // namespace kith::python
