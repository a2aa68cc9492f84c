// SPDX-License-Identifier: Apache-2.0
//
// The extension module kith._core: class Index over AnyIndex, and the functions beneath kith.build,
// load and verify. Everything here checks and converts; what an index can do is in
// include/kith/any.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "arrays.hpp"
#include "errors.hpp"
#include "kith/any/registry.hpp"
#include "kith/simd/kernels.hpp"
#include "kmeans.hpp"
#include "runtime.hpp"
#include "search.hpp"
#include "sets.hpp"

namespace kith::python {
namespace {

using namespace py::literals;

/// Keeps a Python object alive from C++, wherever and whenever the last copy goes.
std::shared_ptr<const void> keep(py::object object) {
    PyObject* kept = object.release().ptr();
    return {static_cast<const void*>(kept), [kept](const void*) {
                if (Py_IsInitialized() == 0) return;
                const py::gil_scoped_acquire gil;
                Py_DECREF(kept);
            }};
}

std::filesystem::path path_of(py::handle path) {
    PyObject* bytes = nullptr;
    if (PyUnicode_FSConverter(path.ptr(), &bytes) == 0) {
        PyErr_Clear();
        fail(ErrorCode::type_mismatch, "path must be str, bytes or os.PathLike, not ",
             std::string(py::repr(path)));
    }
    const auto held = py::reinterpret_steal<py::bytes>(bytes);
    return std::filesystem::path(std::string(held));
}

NotFinite not_finite_policy(const py::object& name) {
    if (name.equal(py::str("reject"))) return NotFinite::reject;
    if (name.equal(py::str("allow"))) return NotFinite::allow;
    fail(ErrorCode::invalid_argument, "not_finite must be 'reject' or 'allow', not ",
         std::string(py::repr(name)));
}

/// One id a row, or none at all for None.
py::object new_ids(const py::object& ids, std::size_t rows) {
    if (ids.is_none()) return new_array({0}, numpy_int64);
    py::object values = id_array(ids, "ids");
    const std::size_t count = span_of<Id>(values).size();
    if (count != rows)
        fail(ErrorCode::dimension_mismatch, "expected ", rows, " ids, one for each row, got ",
             count);
    return values;
}

std::unique_ptr<IndexObject> build(const std::string& spec, py::object base,
                                   const std::string& metric, py::object threads,
                                   std::uint64_t seed, py::object ids, bool copy,
                                   py::object not_finite, py::object progress,
                                   double target_recall) {
    const NotFinite policy = not_finite_policy(not_finite);
    const std::string& over = metric.empty() ? parse_spec(spec).over : metric;
    const Rows rows = rows_from(
        base.ptr(), over.starts_with("hamming") || over.starts_with("jaccard"), "base", false);
    const py::object id_values = new_ids(ids, rows.matrix.rows);
    ThreadLease pool(thread_count(threads.ptr()));
    Watch watch(std::move(progress));
    WatchedExecutor executor(pool.executor(), watch);
    BuildOptions options;
    options.metric = metric;
    options.seed = seed;
    options.copy = copy;
    options.not_finite = policy;
    if (!copy) options.keep_alive = keep(rows.owner);
    options.ids = span_of<Id>(id_values);
    options.progress = watch.progress();
    options.target_recall = target_recall;
    return std::make_unique<IndexObject>(
        watch.run([&] { return AnyIndex::build(spec, rows.matrix, options, executor); }));
}

std::unique_ptr<IndexObject> load(py::object path, bool mmap, bool verify, py::object progress) {
    const std::filesystem::path file = path_of(path);
    Watch watch(std::move(progress));
    LoadOptions options;
    options.mmap = mmap;
    if (verify) options.checksums = Checksums::verify;
    return with_file([&] {
        return std::make_unique<IndexObject>(watch.run([&] {
            const Progress report = watch.progress();
            const SectionReader reader(file, options, report);
            AnyIndex index = AnyIndex::load(reader);
            if (verify) index.validate(reader.name(), report);
            return index;
        }));
    });
}

std::unique_ptr<IndexObject> from_bytes(const py::object& data) {
    if (PyObject_CheckBuffer(data.ptr()) == 0)
        fail(ErrorCode::type_mismatch, "data must be bytes, not ",
             std::string(py::repr(py::type::of(data))));
    const py::buffer_info info = py::reinterpret_borrow<py::buffer>(data).request();
    if (PyBuffer_IsContiguous(info.view(), 'C') == 0)
        fail(ErrorCode::invalid_argument, "data must be contiguous");
    const auto size = static_cast<std::size_t>(info.size * info.itemsize);
    const auto copy = std::make_shared<AlignedBuffer<std::byte>>(size);
    if (size > 0) std::memcpy(copy->data(), info.ptr, size);
    const py::gil_scoped_release no_gil;
    const SectionReader reader({copy->data(), size}, "index in memory", copy);
    AnyIndex index = AnyIndex::load(reader);
    index.validate(reader.name());
    const py::gil_scoped_acquire gil;
    return std::make_unique<IndexObject>(std::move(index));
}

py::bytes to_bytes(IndexObject& self) {
    const ReadLock lock(self);
    std::vector<std::byte> bytes;
    {
        const py::gil_scoped_release no_gil;
        bytes = self.index.to_bytes();
    }
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void verify(py::object path, py::object progress) {
    const std::filesystem::path file = path_of(path);
    Watch watch(std::move(progress));
    with_file([&] { watch.run([&] { verify_file(file, watch.progress()); }); });
}

void save(IndexObject& self, py::object path, py::object progress) {
    const std::filesystem::path file = path_of(path);
    Watch watch(std::move(progress));
    const ReadLock lock(self);
    with_file([&] { watch.run([&] { self.index.save(file, watch.progress()); }); });
}

void add(IndexObject& self, py::object rows, py::object ids, py::object threads,
         py::object not_finite, py::object progress) {
    const NotFinite policy = not_finite_policy(not_finite);
    const Rows given =
        rows_from(rows.ptr(), self.index.element_type() == ElementType::b1, "rows", true);
    const py::object id_values = new_ids(ids, given.matrix.rows);
    ThreadLease pool(thread_count(threads.ptr()));
    Watch watch(std::move(progress));
    WatchedExecutor executor(pool.executor(), watch);
    const WriteLock lock(self);
    watch.run([&] {
        self.index.add(given.matrix, span_of<Id>(id_values), policy, executor, watch.progress());
    });
    ++self.version;
    watch.rethrow();
}

void remove(IndexObject& self, py::object ids, py::object threads, py::object progress) {
    const bool one = PyIndex_Check(ids.ptr()) != 0 && !py::hasattr(ids, "__len__");
    const py::object values = one ? id_array(py::make_tuple(ids), "ids") : id_array(ids, "ids");
    ThreadLease pool(thread_count(threads.ptr()));
    Watch watch(std::move(progress));
    WatchedExecutor executor(pool.executor(), watch);
    const WriteLock lock(self);
    watch.run([&] { self.index.remove(span_of<Id>(values), executor, watch.progress()); });
    ++self.version;
    watch.rethrow();
}

/// compact, clear and rebalance.
template <void (AnyIndex::*change)(Executor&, const Progress&)>
void changed(IndexObject& self, py::object threads, py::object progress) {
    ThreadLease pool(thread_count(threads.ptr()));
    Watch watch(std::move(progress));
    WatchedExecutor executor(pool.executor(), watch);
    const WriteLock lock(self);
    watch.run([&] { (self.index.*change)(executor, watch.progress()); });
    ++self.version;
    watch.rethrow();
}

void calibrate(const py::object& index, const py::object& target_recall, py::object threads,
               const py::object& seed, py::object progress) {
    const py::module_ api = py::module_::import("kith._api");
    const auto target = api.attr("checked_target")(target_recall).cast<double>();
    const auto checked_seed = api.attr("checked_seed")(seed).cast<std::uint64_t>();
    auto& self = *index.cast<IndexObject*>();
    {
        ThreadLease pool(thread_count(threads.ptr()));
        Watch watch(std::move(progress));
        WatchedExecutor executor(pool.executor(), watch);
        const WriteLock lock(self);
        watch.run([&] { self.index.calibrate(target, checked_seed, executor, watch.progress()); });
    }
    api.attr("warn_if_out_of_reach")(index, target);
}

py::object recall_curve(IndexObject& self) {
    const ReadLock lock(self);
    const auto& curve = self.index.recall_curve();
    if (!curve) return py::none();
    py::list points;
    for (const RecallPoint& point : curve->points) {
        py::dict row("k"_a = static_cast<std::int64_t>(point.k), "recall"_a = point.recall,
                     "error"_a = point.error, "distances"_a = point.distances);
        for (std::size_t p = 0; p < curve->parameters.size(); ++p) {
            const double value = point.values[p];
            const py::str name(curve->parameters[p]);
            if (curve->parameters[p] == "refine") row[name] = value;
            else row[name] = static_cast<std::int64_t>(value);
        }
        points.append(row);
    }
    return py::dict("parameters"_a = curve->parameters, "points"_a = points, "rows"_a = curve->rows,
                    "queries"_a = curve->queries, "target_recall"_a = curve->target);
}

py::object params_for(IndexObject& self, double target_recall, std::size_t k) {
    const ReadLock lock(self);
    py::dict params;
    const auto chosen = kith::detail::params_for_target(ParamValue(target_recall), 1,
                                                       self.index.recall_curve(), k,
                                                       [&] { return self.index.spec(); });
    for (const auto& [name, value] : chosen) params[py::str(name)] = param_object(value);
    return params;
}

py::object tables_with(IndexObject& self, py::object query, py::object row_ids,
                       const py::kwargs& params) {
    const Rows rows =
        rows_from(query.ptr(), self.index.element_type() == ElementType::b1, "query", true);
    const py::object values = id_array(row_ids, "ids");
    const ParamMap map = param_map(params);
    const ReadLock lock(self);
    const auto wanted = span_of<Id>(values);
    std::vector<std::uint32_t> counts;
    {
        const py::gil_scoped_release no_gil;
        counts = self.index.tables_with(rows.matrix, wanted, map);
    }
    py::object array = new_array({counts.size()}, numpy_uint32);
    std::copy(counts.begin(), counts.end(), static_cast<std::uint32_t*>(array_data(array)));
    return array;
}

py::object row(IndexObject& self, const py::object& key) {
    if (PyIndex_Check(key.ptr()) == 0)
        fail(ErrorCode::type_mismatch, "id must be an integer, not ", std::string(py::repr(key)));
    const Id id = PyNumber_AsSsize_t(key.ptr(), nullptr);  // clipped: no row has such an id
    if (id == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    const ReadLock lock(self);
    const py::object array = new_row(self.index.element_type(), self.index.dim());
    self.index.copy_row(id, array_data(array));
    return array;
}

py::object ids(IndexObject& self) {
    const ReadLock lock(self);
    py::object array = new_array({self.index.size()}, numpy_int64);
    self.index.copy_ids({static_cast<Id*>(array_data(array)), self.index.size()});
    return array;
}

py::dict describe(IndexObject& self) {
    const ReadLock lock(self);
    py::dict facts;
    for (const auto& [name, value] : self.index.describe())
        facts[py::str(name)] = param_object(value);
    return facts;
}

py::list field_list(const std::vector<FieldInfo>& fields) {
    py::list list;
    for (const FieldInfo& field : fields)
        list.append(py::dict("name"_a = field.name, "type"_a = field.type,
                             "default"_a = field.default_value, "min"_a = field.min,
                             "max"_a = field.max, "help"_a = field.help));
    return list;
}

std::string repr(IndexObject& self) {
    const ReadLock lock(self);
    return "<kith.Index " + self.index.spec() + ", " + std::to_string(self.index.size()) +
           " rows of " + std::to_string(self.index.dim()) + " dimensions>";
}

/// A look-up under the index's lock.
template <class R>
auto locked(R (AnyIndex::*member)() const) {
    return [member](IndexObject& self) {
        const ReadLock lock(self);
        return (self.index.*member)();
    };
}

py::class_<IndexObject> bind_index(py::module_& module) {
    py::class_<IndexObject> index(module, "Index",
                                  "Vectors made searchable; made by kith.build and kith.load. "
                                  "Searches may run in any number of threads at once; add, remove "
                                  "and compact wait for those before them and hold back those "
                                  "behind them.");
    index
        .def("save", save, "path"_a, "progress"_a = py::none(),
             "Writes the index to a file, atomically: until all is on disk the old file stays as "
             "it was.")
        .def("add", add, "rows"_a, "ids"_a = py::none(), "threads"_a = 1, "not_finite"_a = "reject",
             "progress"_a = py::none(),
             "Adds rows (n, d) or one (d,), copying them. ids: one a row, none twice; a row whose id "
             "is there already replaces that row. None: the next free ids.")
        .def("remove", remove, "ids"_a, "threads"_a = 1, "progress"_a = py::none(),
             "Removes rows by id (one or an array). An unknown id is NotFoundError; then nothing "
             "is removed.")
        .def("compact", changed<&AnyIndex::compact>, "threads"_a = 1, "progress"_a = py::none(),
             "Gives back what removed rows still occupy. Ids and results stay as they are.")
        .def("clear", changed<&AnyIndex::clear>, "threads"_a = 1, "progress"_a = py::none(),
             "Every row goes; what was learnt from them stays: codebooks, centroids, lists. Ids "
             "start at 0 again.")
        .def("rebalance", changed<&AnyIndex::rebalance>, "threads"_a = 1, "progress"_a = py::none(),
             "Puts the structure right for the rows of today: an ivf splits lists that grew too "
             "large and dissolves those that shrank to next to nothing. Ids stay as they are.")
        .def("calibrate", calibrate, "target_recall"_a = py::none(), "threads"_a = py::none(),
             "seed"_a = 0, "progress"_a = py::none(),
             "Measures recall@10 and recall@100 under the search parameters, with 300 rows of the "
             "index as queries, each as if it were not there. From then on search(..., "
             "target_recall=0.95) chooses the parameters, and with a target_recall given here "
             "searches that say nothing aim at it. Saved with the index, and measured again when a "
             "quarter of the rows have come or gone. Needs the rows themselves: an index that keeps "
             "codes alone is calibrated by kith.build(..., target_recall=...).")
        .def_property_readonly(
            "recall_curve", recall_curve,
            "What recall searches have under which parameters, as calibrate measured it: a dict of "
            "parameters, points (k, the parameters, recall, its standard error, distances a query), "
            "rows, queries and target_recall. None where nobody did.")
        .def("params_for", params_for, "target_recall"_a, "k"_a = 10,
             "The search parameters that target_recall stands for, as a dict.")
        .def("tables_with", tables_with, "query"_a, "ids"_a,
             "Of an lsh: in how many of its tables a search for this query, with these parameters, "
             "looks at the bucket that has each of these rows; uint32, shaped like ids.")
        .def("row", row, "id"_a, "A copy of the vector with this id, as the index stores it.")
        .def("ids", ids, "The ids of all rows, int64 (size,).")
        .def("describe", describe, "Facts about the index: a dict of names and values.")
        .def(
            "search_params",
            [](IndexObject& self) { return field_list(self.index.search_params()); },
            "What search takes beside k, threads and filter: a list of dicts with name, type, "
            "default, min, max, help.")
        .def(
            "build_params", [](IndexObject& self) { return field_list(self.index.build_params()); },
            "What kith.build takes for this kind of index.")
        .def_property_readonly("size", locked(&AnyIndex::size), "Number of rows.")
        .def_property_readonly("dim", locked(&AnyIndex::dim),
                               "Elements of a row: its dimensions, or bytes of packed bits.")
        .def_property_readonly("metric", locked(&AnyIndex::metric), "Name of the metric.")
        .def_property_readonly("kind", locked(&AnyIndex::kind),
                               "Name of the structure, e.g. 'flat'.")
        .def_property_readonly("spec", locked(&AnyIndex::spec),
                               "Structure, metric and element type, e.g. 'flat over l2/f32'.")
        .def_property_readonly("memory_bytes", locked(&AnyIndex::memory_bytes),
                               "Bytes of rows (borrowed and mapped ones too), structure and ids.")
        .def_property_readonly(
            "element_type",
            [](IndexObject& self) { return std::string(kith::name(self.index.element_type())); },
            "'f32', 'f16', 'bf16', 'i8', 'u8' or 'b1' (packed bits).")
        .def_property_readonly(
            "dtype", [](IndexObject& self) { return dtype_of(self.index.element_type()); },
            "numpy's dtype of a row (bfloat16: needs ml_dtypes).")
        .def("__len__", locked(&AnyIndex::size))
        .def("__bool__", [](IndexObject&) { return true; })
        .def("__contains__",
             [](IndexObject& self, Id id) {
                 const ReadLock lock(self);
                 return self.index.contains(id);
             })
        .def("__contains__", [](IndexObject&, py::object) { return false; })
        .def("__repr__", repr)
        .def("to_bytes", to_bytes, "What save writes, as bytes; kith.from_bytes takes it back.")
        .def("__reduce__", [](IndexObject& self) {
            return py::make_tuple(py::module_::import("kith._api").attr("from_bytes"),
                                  py::make_tuple(to_bytes(self)));
        });
    index.attr("__module__") = "kith";
    return index;
}

}  // namespace
}  // namespace kith::python

PYBIND11_MODULE(_core, module) {
    using namespace kith::python;
    module.doc() = "The compiled part of kith.";
    import_numpy();
    bind_errors(module);
    const auto index = bind_index(module);
    bind_search(module, index);
    bind_kmeans(module);
    bind_sets(module);
    module.def("build", build, "spec"_a, "base"_a, "metric"_a, "threads"_a, "seed"_a, "ids"_a,
               "copy"_a, "not_finite"_a, "progress"_a, "target_recall"_a);
    module.def("load", load, "path"_a, "mmap"_a, "verify"_a, "progress"_a);
    module.def("from_bytes", from_bytes, "data"_a, "The index in bytes that to_bytes made.");
    module.def("verify", verify, "path"_a, "progress"_a);
    module.def("kinds", &kith::known_kinds, "Names that a spec may begin with.");
    module.def("metrics", &kith::known_metrics, "Names of the metrics.");
    module.def(
        "instruction_set", [] { return std::string(kith::simd::kernels().name); },
        "The instruction set whose kernels run; the environment variable KITH_ARCH forces one.");
    module.def(
        "instruction_sets",
        [] {
            std::vector<std::string> names;
            for (const auto* table : kith::simd::available_tables())
                names.emplace_back(table->name);
            return names;
        },
        "The instruction sets that this build has kernels for and this machine can run.");
    module.def("_after_fork", [] {
        IndexObject::after_fork();
        ThreadLease::after_fork();
    });
    module.def("_convert_param",
               [](const std::string& text) { return param_object(kith::parse_param_value(text)); });
    module.attr("__version__") = KITH_PYTHON_VERSION;
}
