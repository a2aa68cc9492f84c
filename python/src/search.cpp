// SPDX-License-Identifier: Apache-2.0
#include "search.hpp"

#include <structmember.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "arrays.hpp"
#include "kith/any/near_duplicates.hpp"
#include "runtime.hpp"

namespace kith::python {
namespace {

// --- Result --------------------------------------------------------------------------------------

struct ResultObject {
    PyObject_HEAD PyObject* ids;
    PyObject* distances;
    PyObject* counts;
    SearchStats stats;
};

PyTypeObject* result_type = nullptr;

ResultObject* as_result(PyObject* self) noexcept { return reinterpret_cast<ResultObject*>(self); }

void result_dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    Py_XDECREF(as_result(self)->ids);
    Py_XDECREF(as_result(self)->distances);
    Py_XDECREF(as_result(self)->counts);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject* result_stats(PyObject* self, void*) {
    try {
        return py::cast(as_result(self)->stats).release().ptr();
    } catch (...) {
        raise_in_python();
        return nullptr;
    }
}

PyObject* result_repr(PyObject* self) {
    try {
        const py::handle ids = as_result(self)->ids;
        const std::string shape = py::str(ids.attr("shape"));
        return py::str("Result(ids and distances of shape " + shape + ", " +
                       std::to_string(as_result(self)->stats.distances) + " distances computed)")
            .release()
            .ptr();
    } catch (...) {
        raise_in_python();
        return nullptr;
    }
}

Py_ssize_t result_length(PyObject*) { return 2; }

PyObject* result_item(PyObject* self, Py_ssize_t i) {  // so that ids, distances = result
    if (i < 0 || i > 1) {
        PyErr_SetString(PyExc_IndexError, "a Result unpacks into two: ids and distances");
        return nullptr;
    }
    PyObject* item = i == 0 ? as_result(self)->ids : as_result(self)->distances;
    Py_INCREF(item);
    return item;
}

PyMemberDef result_members[] = {{"ids", T_OBJECT_EX, offsetof(ResultObject, ids), READONLY,
                                 "int64, (nq, k) or (k,) for one vector; -1 behind counts"},
                                {"distances", T_OBJECT_EX, offsetof(ResultObject, distances),
                                 READONLY, "float32, shaped like ids; inf behind counts"},
                                {"counts", T_OBJECT_EX, offsetof(ResultObject, counts), READONLY,
                                 "uint32, (nq,) or (): how many of a row are results"},
                                {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef result_getters[] = {
    {"stats", result_stats, nullptr, "SearchStats of the whole batch", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot result_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(result_dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(result_repr)},
    {Py_tp_members, result_members},
    {Py_tp_getset, result_getters},
    {Py_sq_length, reinterpret_cast<void*>(result_length)},
    {Py_sq_item, reinterpret_cast<void*>(result_item)},
    {Py_tp_doc,
     const_cast<char*>(
         "What a search found: ids, distances, counts, stats. ids, distances = result works.")},
    {0, nullptr}};

PyType_Spec result_spec = {"kith.Result", sizeof(ResultObject), 0, Py_TPFLAGS_DEFAULT,
                           result_slots};

// --- search --------------------------------------------------------------------------------------

PyObject* name_k = nullptr;
PyObject* name_threads = nullptr;
PyObject* name_filter = nullptr;
PyObject* name_queries = nullptr;

struct SearchArguments {
    PyObject* queries = nullptr;
    std::size_t k = 10;
    std::size_t threads = 1;
    PyObject* filter = nullptr;
    ParamMap params;
};

std::size_t parse_k(PyObject* value) {
    const Py_ssize_t k = PyNumber_AsSsize_t(value, nullptr);
    if (k == -1 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        fail(ErrorCode::type_mismatch, "k must be an integer, not ", std::string(py::repr(value)));
    }
    if (k < 1) fail(ErrorCode::invalid_argument, "k must be at least 1, not ", k);
    return static_cast<std::size_t>(k);
}

/// Keyword names are interned, so that comparing addresses finds them but for exotic callers.
bool same_name(PyObject* name, PyObject* known) {
    return name == known || PyUnicode_Compare(name, known) == 0;
}

void set_argument(SearchArguments& arguments, PyObject* name, PyObject* value) {
    if (same_name(name, name_k))
        arguments.k = parse_k(value);
    else if (same_name(name, name_threads))
        arguments.threads = thread_count(value);
    else if (same_name(name, name_filter))
        arguments.filter = value;
    else if (same_name(name, name_queries))
        arguments.queries = value;
    else {
        std::string text = py::str(py::handle(name));
        ParamValue converted = param_value(value, text);
        arguments.params.emplace_back(std::move(text), std::move(converted));
    }
}

SearchArguments parse_arguments(PyObject* const* args, Py_ssize_t positional, PyObject* names) {
    PyObject* const order[] = {name_queries, name_k, name_threads, name_filter};
    if (positional > 4)
        fail(ErrorCode::type_mismatch,
             "search takes at most 4 positional arguments (queries, k, threads, filter), got ",
             positional);
    SearchArguments arguments;
    for (Py_ssize_t i = 0; i < positional; ++i) set_argument(arguments, order[i], args[i]);
    const Py_ssize_t keywords = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < keywords; ++i) {
        PyObject* name = PyTuple_GET_ITEM(names, i);
        for (Py_ssize_t j = 0; j < positional; ++j)
            if (same_name(name, order[j]))
                fail(ErrorCode::type_mismatch, "search got two values for '",
                     std::string(py::str(py::handle(name))), "'");
        set_argument(arguments, name, args[positional + i]);
    }
    if (arguments.queries == nullptr)
        fail(ErrorCode::type_mismatch, "search needs queries: an array (nq, d) or (d,)");
    return arguments;
}

/// The filters as bitsets over slots; valid while the index's lock is held.
struct SlotFilters {
    std::vector<Bitset> owned;
    std::vector<BitsetView> views;

    void assign(const AnyIndex& index, const std::vector<py::object>& arrays) {
        owned.reserve(arrays.size());
        for (const py::object& array : arrays) owned.push_back(filter_slots(index, array));
        views.assign(owned.begin(), owned.end());
    }
};

/// None as the one filter of all queries is no filter.
std::vector<py::object> wanted_filters(PyObject* filter, std::size_t queries) {
    std::vector<py::object> arrays = filter_arrays(filter, queries);
    if (std::all_of(arrays.begin(), arrays.end(), [](const py::object& array) { return !array; }))
        arrays.clear();
    return arrays;
}

/// A context for the length of a call, given back with the GIL held.
struct ContextLease {
    explicit ContextLease(IndexObject& from) : object(from), context(from.take_context()) {}
    ~ContextLease() { object.give_back(std::move(context)); }
    ContextLease(const ContextLease&) = delete;
    ContextLease& operator=(const ContextLease&) = delete;
    IndexObject& object;
    std::unique_ptr<SearchContext> context;
};

py::object search(IndexObject& object, const SearchArguments& arguments) {
    const AnyIndex& index = object.index;
    const Rows queries =
        rows_from(arguments.queries, index.element_type() == ElementType::b1, "queries", true);
    const std::size_t nq = queries.matrix.rows;
    std::vector<py::object> arrays;
    if (arguments.filter != nullptr && arguments.filter != Py_None)
        arrays = wanted_filters(arguments.filter, nq);

    const ReadLock lock(object);
    SlotFilters filters;
    if (!arrays.empty()) filters.assign(index, arrays);
    const std::size_t k = std::min(arguments.k, index.size());

    const py::object ids =
        queries.flat ? new_array({k}, numpy_int64) : new_array({nq, k}, numpy_int64);
    const py::object distances =
        queries.flat ? new_array({k}, numpy_float32) : new_array({nq, k}, numpy_float32);
    const py::object counts =
        queries.flat ? new_array({}, numpy_uint32) : new_array({nq}, numpy_uint32);
    const ResultView out{{static_cast<Id*>(array_data(ids)), nq, k},
                         {static_cast<float*>(array_data(distances)), nq, k},
                         static_cast<std::uint32_t*>(array_data(counts))};
    const ContextLease lease(object);
    SearchStats stats;
    if (arguments.threads == 1 && nq == 1) {
        InlineExecutor executor;
        const py::gil_scoped_release no_gil;
        stats = index.search(queries.matrix, arguments.k, arguments.params, filters.views, executor,
                             out, *lease.context);
    } else {
        Watch watch{py::none()};
        ThreadLease threads(arguments.threads);
        WatchedExecutor executor(threads.executor(), watch);
        stats = watch.run([&] {
            return index.search(queries.matrix, arguments.k, arguments.params, filters.views,
                                executor, out, *lease.context);
        });
    }

    PyObject* made = result_type->tp_alloc(result_type, 0);
    if (made == nullptr) throw py::error_already_set();
    as_result(made)->ids = ids.inc_ref().ptr();
    as_result(made)->distances = distances.inc_ref().ptr();
    as_result(made)->counts = counts.inc_ref().ptr();
    as_result(made)->stats = stats;
    return py::reinterpret_steal<py::object>(made);
}

PyObject* index_search(PyObject* self, PyObject* const* args, Py_ssize_t positional,
                       PyObject* names) noexcept {
    try {
        auto& object = *py::handle(self).cast<IndexObject*>();
        return search(object, parse_arguments(args, positional, names)).release().ptr();
    } catch (...) {
        raise_in_python();
        return nullptr;
    }
}

PyMethodDef search_method = {
    "search", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(index_search)),
    METH_FASTCALL | METH_KEYWORDS,
    "search($self, queries, k=10, threads=1, filter=None, **params)\n--\n\n"
    "The k nearest rows of each query, nearest first, equal distances by smaller id.\n\n"
    "queries: (nq, d), or (d,) for one vector, whose result has no leading axis. Columns: min(k, "
    "size); row i holds\n"
    "counts[i] = min(k, eligible) results, and -1 and inf behind them. filter: a bool mask of "
    "rows, an array of ids, or one\n"
    "of these (or None) per query; a two-dimensional bool array is one mask per query. params: "
    "those of the index, see\n"
    "search_params()."};

// --- range search --------------------------------------------------------------------------------

template <class T, class From>
py::object copied(const std::vector<From>& values, int type) {
    static_assert(sizeof(T) == sizeof(From));
    py::object array = new_array({values.size()}, type);
    if (!values.empty()) std::memcpy(array_data(array), values.data(), values.size() * sizeof(T));
    return array;
}

double number(const py::object& value, const char* what) {
    const double converted = PyFloat_AsDouble(value.ptr());
    if (converted == -1.0 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        fail(ErrorCode::type_mismatch, what, " must be a number, not ",
             std::string(py::repr(value)));
    }
    return converted;
}

py::object range_search(IndexObject& object, py::object queries, py::object limit,
                        py::object threads, py::object filter, const py::kwargs& params) {
    const AnyIndex& index = object.index;
    const double radius = number(limit, "radius");
    const Rows rows =
        rows_from(queries.ptr(), index.element_type() == ElementType::b1, "queries", true);
    const ParamMap map = param_map(params);
    const std::vector<py::object> arrays = wanted_filters(filter.ptr(), rows.matrix.rows);
    const ReadLock lock(object);
    SlotFilters filters;
    filters.assign(index, arrays);
    const ContextLease lease(object);
    Watch watch{py::none()};
    ThreadLease pool(thread_count(threads.ptr()));
    WatchedExecutor executor(pool.executor(), watch);
    const RangeResults found = watch.run([&] {
        return index.range_search(rows.matrix, radius, map, filters.views, executor,
                                  *lease.context);
    });
    return py::module_::import("kith._results")
        .attr("RangeResult")(copied<std::int64_t>(found.offsets, numpy_int64),
                             copied<Id>(found.ids, numpy_int64),
                             copied<float>(found.distances, numpy_float32), py::cast(found.stats));
}

py::object find_duplicates(IndexObject& object, py::object limit, py::object threads,
                           py::object progress, const py::kwargs& params) {
    const double threshold = number(limit, "threshold");
    const ParamMap map = param_map(params);
    const ReadLock lock(object);
    Watch watch(std::move(progress));
    ThreadLease pool(thread_count(threads.ptr()));
    WatchedExecutor executor(pool.executor(), watch);
    NearDuplicates found;
    std::vector<std::vector<Id>> groups;
    watch.run([&] {
        found = near_duplicates(object.index, threshold, map, executor, watch.progress());
        groups = duplicate_groups(found.pairs);
    });
    py::object pairs = new_array({found.pairs.size(), 2}, numpy_int64);
    py::object distances = new_array({found.pairs.size()}, numpy_float32);
    for (std::size_t i = 0; i < found.pairs.size(); ++i) {
        static_cast<Id*>(array_data(pairs))[2 * i] = found.pairs[i].first;
        static_cast<Id*>(array_data(pairs))[2 * i + 1] = found.pairs[i].second;
        static_cast<float*>(array_data(distances))[i] = found.pairs[i].distance;
    }
    py::list lists;
    for (const auto& group : groups) lists.append(copied<Id>(group, numpy_int64));
    return py::module_::import("kith._results")
        .attr("NearDuplicates")(pairs, distances, lists, py::cast(found.stats));
}

// --- iterate -------------------------------------------------------------------------------------

/// What index.iterate() returns: a few neighbours at a time from the cursor, one at a time to
/// Python. Holds the index; used under its lock.
class PyCursor {
public:
    PyCursor(py::object index, const Rows& query, const ParamMap& params, py::handle filter)
        : owner_(std::move(index)), object_(*owner_.cast<IndexObject*>()) {
        const std::vector<py::object> arrays = wanted_filters(filter.ptr(), 1);
        const ReadLock lock(object_);
        std::optional<Bitset> allowed;
        if (!arrays.empty()) allowed = filter_slots(object_.index, arrays[0]);
        version_ = object_.version;
        cursor_.emplace(object_.index.iterate(query.matrix, params, std::move(allowed)));
    }

    py::tuple next() {
        if (busy_) {  // in another thread, which gave the GIL up
            PyErr_SetString(PyExc_ValueError, "iterator already executing");
            throw py::error_already_set();
        }
        const Busy busy(busy_);
        if (at_ == found_.size()) {
            if (!cursor_) throw py::stop_iteration();
            const ReadLock lock(object_);
            check_version();
            at_ = 0;
            found_ = {};
            {
                const py::gil_scoped_release no_gil;
                found_ = cursor_->next(chunk_);
            }
            chunk_ = std::min<std::size_t>(chunk_ * 2, 1024);
            if (found_.empty()) {
                cursor_.reset();
                throw py::stop_iteration();
            }
        } else {
            const ReadLock lock(object_);
            check_version();
        }
        const std::size_t i = at_++;
        return py::make_tuple(found_.ids[i], static_cast<double>(found_.distances[i]));
    }

private:
    struct Busy {
        explicit Busy(bool& busy) : flag(busy) { flag = true; }
        ~Busy() { flag = false; }
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;
        bool& flag;
    };

    void check_version() const {
        if (object_.version == version_) return;
        PyErr_SetString(PyExc_RuntimeError, "index changed during iteration");
        throw py::error_already_set();
    }

    py::object owner_;
    IndexObject& object_;
    std::optional<AnyCursor> cursor_;  // none when it is at its end
    std::uint64_t version_ = 0;
    Neighbours found_;
    std::size_t at_ = 0;
    std::size_t chunk_ = 16;
    bool busy_ = false;
};

std::unique_ptr<PyCursor> iterate(py::object self, py::object query, py::object filter,
                                  const py::kwargs& params) {
    const auto& object = *self.cast<IndexObject*>();
    const Rows rows =
        rows_from(query.ptr(), object.index.element_type() == ElementType::b1, "query", true);
    if (rows.matrix.rows != 1)
        fail(ErrorCode::dimension_mismatch, "expected one query to iterate from, got ",
             rows.matrix.rows);
    return std::make_unique<PyCursor>(std::move(self), rows, param_map(params), filter);
}

}  // namespace

void bind_search(py::module_& module, py::handle index_class) {
    using namespace py::literals;
    py::class_<SearchStats>(module, "SearchStats", "What a search did, summed over its queries.")
        .def_readonly("distances", &SearchStats::distances, "rows scored")
        .def_readonly("hops", &SearchStats::hops, "graph nodes expanded")
        .def_readonly("lists", &SearchStats::lists, "partitions scanned")
        .def_readonly("reads", &SearchStats::reads, "read requests to a disk")
        .def_readonly("bytes", &SearchStats::bytes, "bytes of rows or codes scored")
        .def(
            "__eq__", [](const SearchStats& a, const SearchStats& b) { return a == b; },
            py::is_operator())
        .def("__repr__", [](const SearchStats& s) {
            return "SearchStats(distances=" + std::to_string(s.distances) +
                   ", hops=" + std::to_string(s.hops) + ", lists=" + std::to_string(s.lists) +
                   ", reads=" + std::to_string(s.reads) + ", bytes=" + std::to_string(s.bytes) +
                   ")";
        });
    module.attr("SearchStats").attr("__module__") = "kith";

    result_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&result_spec));
    if (result_type == nullptr) throw py::error_already_set();
    result_type->tp_new = nullptr;  // made by searches only
    module.add_object("Result", reinterpret_cast<PyObject*>(result_type));

    name_k = PyUnicode_InternFromString("k");
    name_threads = PyUnicode_InternFromString("threads");
    name_filter = PyUnicode_InternFromString("filter");
    name_queries = PyUnicode_InternFromString("queries");
    PyObject* method =
        PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(index_class.ptr()), &search_method);
    if (method == nullptr) throw py::error_already_set();
    index_class.attr("search") = py::reinterpret_steal<py::object>(method);
    index_class.attr("range_search") =
        py::cpp_function(range_search, py::name("range_search"), py::is_method(index_class),
                         "queries"_a, "radius"_a, "threads"_a = 1, "filter"_a = py::none(),
                         "All rows within `radius` of each query, in the metric's own number "
                         "(similarities: at least radius), nearest first.");
    index_class.attr("near_duplicates") =
        py::cpp_function(find_duplicates, py::name("near_duplicates"), py::is_method(index_class),
                         "threshold"_a, "threads"_a = 1, "progress"_a = py::none(),
                         "All pairs of rows within `threshold` of each other, in the metric's own "
                         "number, and the groups they make. Every row is searched for: exact with "
                         "flat, fast with lsh. params: those of its search.");
    py::class_<PyCursor>(module, "Cursor", "The iterator that Index.iterate returns.")
        .def("__iter__", [](py::object self) { return self; })
        .def("__next__", &PyCursor::next);
    module.attr("Cursor").attr("__module__") = "kith";
    index_class.attr("iterate") = py::cpp_function(
        iterate, py::name("iterate"), py::is_method(index_class), "query"_a,
        "filter"_a = py::none(),
        "The neighbours of one query (d,), one (id, distance) after the other, until the caller "
        "has enough or all rows that the filter allows were given, each once. Costs about twice a "
        "search for as many. RuntimeError when the index is changed meanwhile.");
}

}  // namespace kith::python
