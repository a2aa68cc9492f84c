// SPDX-License-Identifier: Apache-2.0
#include "arrays.hpp"

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>

namespace kith::python {

const int numpy_int64 = NPY_INT64;
const int numpy_float32 = NPY_FLOAT32;
const int numpy_float64 = NPY_FLOAT64;
const int numpy_uint32 = NPY_UINT32;

namespace {

PyArrayObject* as_array(PyObject* object) noexcept {
    return reinterpret_cast<PyArrayObject*>(object);
}

py::object checked(PyObject* object) {
    if (object == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(object);
}

std::string dtype_name(PyArrayObject* array) {
    return py::str(py::handle(reinterpret_cast<PyObject*>(PyArray_DESCR(array))));
}

bool is_bfloat16(PyArrayObject* array) {
    static int known = -1;  // given out by ml_dtypes when it registers the type
    const int type = PyArray_TYPE(array);
    if (type < NPY_USERDEF) return false;
    if (type == known) return true;
    if (dtype_name(array) != "bfloat16") return false;
    known = type;
    return true;
}

[[noreturn]] void refuse_dtype(PyArrayObject* array, const char* what) {
    const std::string name = dtype_name(array);
    const char* hint =
        PyArray_TYPE(array) == NPY_BOOL
            ? "; pack bits with numpy.packbits(array, axis=1) and use metric 'hamming' or 'jaccard'"
            : "; convert with array.astype(numpy.float32)";
    fail(ErrorCode::type_mismatch, what, " must be float32, float16, bfloat16, int8 or uint8, not ",
         name, hint);
}

ElementType element_type(PyArrayObject* array, bool bits, const char* what) {
    switch (PyArray_TYPE(array)) {
        case NPY_FLOAT32: return ElementType::f32;
        case NPY_FLOAT16: return ElementType::f16;
        case NPY_INT8: return ElementType::i8;
        case NPY_UINT8: return bits ? ElementType::b1 : ElementType::u8;
        default: break;
    }
    if (is_bfloat16(array)) return ElementType::bf16;
    refuse_dtype(array, what);
}

std::string shape_text(PyArrayObject* array) {
    std::string text = "(";
    for (int i = 0; i < PyArray_NDIM(array); ++i)
        text += (i == 0 ? "" : ", ") + std::to_string(PyArray_DIM(array, i));
    return text + (PyArray_NDIM(array) == 1 ? ",)" : ")");
}

/// Rows at a fixed forward distance, elements adjacent, native byte order, aligned.
bool usable_in_place(PyArrayObject* array) noexcept {
    if (!PyArray_ISALIGNED(array) || !PyArray_ISNOTSWAPPED(array)) return false;
    if (PyArray_IS_C_CONTIGUOUS(array)) return true;
    const npy_intp size = PyArray_ITEMSIZE(array);
    const int last = PyArray_NDIM(array) - 1;
    const npy_intp cols = PyArray_DIM(array, last);
    if (PyArray_STRIDE(array, last) != size && cols > 1) return false;
    if (last == 0) return true;
    const npy_intp stride = PyArray_STRIDE(array, 0);
    return PyArray_DIM(array, 0) <= 1 || (stride >= cols * size && stride % size == 0);
}

bool is_plain_sequence(PyObject* object) noexcept {
    return PyList_Check(object) || PyTuple_Check(object);
}

py::object to_numpy(PyObject* object, const char* what) {
    PyObject* made = PyArray_FROM_O(object);
    if (made == nullptr) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception))
            throw py::error_already_set();
        const py::error_already_set why;
        fail(ErrorCode::type_mismatch, what, " is not an array: ", why.what());
    }
    return py::reinterpret_steal<py::object>(made);
}

/// Tensors and columns of other libraries: kith._inputs makes arrays of those that it knows.
py::object array_of_other(PyObject* object, const char* what) {
    const py::object known =
        py::module_::import("kith._inputs").attr("as_rows")(py::handle(object), what);
    return to_numpy(known.ptr(), what);
}

/// A list of Python numbers has no dtype of its own: float32 is what it becomes.
py::object array_of_list(PyObject* object, const char* what) {
    py::object array = to_numpy(object, what);
    const int type = PyArray_TYPE(as_array(array.ptr()));
    if (type != NPY_FLOAT64 && !PyTypeNum_ISINTEGER(type)) return array;
    return checked(PyArray_Cast(as_array(array.ptr()), NPY_FLOAT32));
}

bool is_per_query(PyObject* sequence) {
    const Py_ssize_t n = PySequence_Size(sequence);
    for (Py_ssize_t i = 0; i < n; ++i) {
        const py::object item = checked(PySequence_GetItem(sequence, i));
        if (item.is_none() || PyArray_Check(item.ptr()) || is_plain_sequence(item.ptr()) ||
            PyAnySet_Check(item.ptr()) || PyRange_Check(item.ptr()))
            return true;
    }
    return false;
}

/// One mask or one list of ids; null for None.
py::object one_filter(PyObject* filter) {
    if (filter == Py_None) return {};
    py::object array;
    if (PyArray_Check(filter)) {
        array = py::reinterpret_borrow<py::object>(filter);
    } else if (PyAnySet_Check(filter) || PyIter_Check(filter)) {
        array = to_numpy(checked(PySequence_List(filter)).ptr(), "filter");
    } else {
        array = to_numpy(filter, "filter");
    }
    PyArrayObject* values = as_array(array.ptr());
    if (PyArray_NDIM(values) != 1)
        fail(ErrorCode::dimension_mismatch,
             "a filter must be one-dimensional (a bool mask of rows or an array of ids), not of "
             "shape ",
             shape_text(values));
    if (PyArray_TYPE(values) == NPY_BOOL)
        return checked(PyArray_FROM_OTF(array.ptr(), NPY_BOOL, NPY_ARRAY_IN_ARRAY));
    if (PyArray_SIZE(values) == 0) return new_array({0}, NPY_INT64);
    return id_array(array, "filter");
}

}  // namespace

void import_numpy() {
    if (_import_array() < 0) throw py::error_already_set();
}

Rows rows_from(PyObject* object, bool bits, const char* what, bool vector_too) {
    Rows rows;
    if (PyArray_Check(object))
        rows.owner = py::reinterpret_borrow<py::object>(object);
    else if (is_plain_sequence(object))
        rows.owner = array_of_list(object, what);
    else if (PyObject_CheckBuffer(object) != 0)
        rows.owner = to_numpy(object, what);
    else
        rows.owner = array_of_other(object, what);
    PyArrayObject* array = as_array(rows.owner.ptr());
    const int dims = PyArray_NDIM(array);
    if (dims != 2 && !(vector_too && dims == 1))
        fail(ErrorCode::dimension_mismatch, what, " must be of shape (n, d)",
             vector_too ? " or (d,)" : "", ", not ", shape_text(array));
    const ElementType type = element_type(array, bits, what);
    if (!usable_in_place(array)) {
        rows.owner = checked(
            PyArray_FromArray(array, PyArray_DescrNewByteorder(PyArray_DESCR(array), NPY_NATIVE),
                              NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | NPY_ARRAY_ENSURECOPY));
        array = as_array(rows.owner.ptr());
    }
    rows.flat = dims == 1;
    rows.matrix.type = type;
    rows.matrix.data = PyArray_DATA(array);
    rows.matrix.rows = rows.flat ? 1 : static_cast<std::size_t>(PyArray_DIM(array, 0));
    rows.matrix.cols = static_cast<std::size_t>(PyArray_DIM(array, dims - 1));
    rows.matrix.stride =
        rows.matrix.rows > 1 && !rows.flat
            ? static_cast<std::size_t>(PyArray_STRIDE(array, 0) / PyArray_ITEMSIZE(array))
            : rows.matrix.cols;
    return rows;
}

py::object id_array(py::handle object, const char* what) {
    py::object array = PyArray_Check(object.ptr()) ? py::reinterpret_borrow<py::object>(object)
                                                   : to_numpy(object.ptr(), what);
    PyArrayObject* values = as_array(array.ptr());
    if (PyArray_NDIM(values) != 1)
        fail(ErrorCode::dimension_mismatch, what, " must be one-dimensional, not of shape ",
             shape_text(values));
    if (PyArray_SIZE(values) == 0) return new_array({0}, NPY_INT64);
    if (!PyTypeNum_ISINTEGER(PyArray_TYPE(values)))
        fail(ErrorCode::type_mismatch, what, " must hold integers, not ", dtype_name(values));
    return checked(PyArray_FromArray(values, PyArray_DescrFromType(NPY_INT64),
                                     NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST));
}

std::vector<py::object> filter_arrays(PyObject* filter, std::size_t queries) {
    std::vector<py::object> arrays;
    if (filter == nullptr || filter == Py_None) return arrays;
    const auto check_count = [&](std::size_t count) {
        if (count != queries)
            fail(ErrorCode::dimension_mismatch, "one filter per query: expected ", queries,
                 ", got ", count);
    };
    if (PyArray_Check(filter) && PyArray_NDIM(as_array(filter)) == 2) {
        if (PyArray_TYPE(as_array(filter)) != NPY_BOOL)
            fail(ErrorCode::type_mismatch,
                 "a two-dimensional filter must be a bool mask (queries, rows), not ",
                 dtype_name(as_array(filter)));
        check_count(static_cast<std::size_t>(PyArray_DIM(as_array(filter), 0)));
        for (std::size_t i = 0; i < queries; ++i)
            arrays.push_back(
                one_filter(checked(PySequence_GetItem(filter, static_cast<Py_ssize_t>(i))).ptr()));
    } else if (is_plain_sequence(filter) && is_per_query(filter)) {
        check_count(static_cast<std::size_t>(PySequence_Size(filter)));
        for (std::size_t i = 0; i < queries; ++i)
            arrays.push_back(
                one_filter(checked(PySequence_GetItem(filter, static_cast<Py_ssize_t>(i))).ptr()));
    } else {
        arrays.push_back(one_filter(filter));
    }
    return arrays;
}

template <class T>
std::span<const T> span_of(const py::object& array) {
    PyArrayObject* values = as_array(array.ptr());
    return {static_cast<const T*>(PyArray_DATA(values)),
            static_cast<std::size_t>(PyArray_SIZE(values))};
}
template std::span<const Id> span_of<Id>(const py::object&);

Bitset filter_slots(const AnyIndex& index, const py::object& array) {
    if (!array) return index.live_slots();
    if (PyArray_TYPE(as_array(array.ptr())) == NPY_BOOL)
        return index.slots_of_mask(span_of<std::uint8_t>(array));
    return index.slots_of(span_of<Id>(array));
}

py::object new_array(std::initializer_list<std::size_t> shape, int type) {
    npy_intp dims[2] = {0, 0};
    int count = 0;
    for (const std::size_t extent : shape) dims[count++] = static_cast<npy_intp>(extent);
    return checked(PyArray_SimpleNew(count, dims, type));
}

void* array_data(const py::object& array) noexcept { return PyArray_DATA(as_array(array.ptr())); }

py::object dtype_of(ElementType type) {
    switch (type) {
        case ElementType::f32:
            return checked(reinterpret_cast<PyObject*>(PyArray_DescrFromType(NPY_FLOAT32)));
        case ElementType::f16:
            return checked(reinterpret_cast<PyObject*>(PyArray_DescrFromType(NPY_FLOAT16)));
        case ElementType::i8:
            return checked(reinterpret_cast<PyObject*>(PyArray_DescrFromType(NPY_INT8)));
        case ElementType::u8:
        case ElementType::b1:
            return checked(reinterpret_cast<PyObject*>(PyArray_DescrFromType(NPY_UINT8)));
        case ElementType::bf16: break;
    }
    try {
        return py::module_::import("numpy").attr("dtype")(
            py::module_::import("ml_dtypes").attr("bfloat16"));
    } catch (py::error_already_set& e) {
        if (!e.matches(PyExc_ImportError)) throw;
    }
    fail(ErrorCode::unsupported,
         "numpy knows bfloat16 through the package ml_dtypes, which is not installed");
}

py::object new_row(ElementType type, std::size_t elements) {
    npy_intp extent = static_cast<npy_intp>(elements);
    py::object dtype = dtype_of(type);
    return checked(PyArray_NewFromDescr(&PyArray_Type,
                                        reinterpret_cast<PyArray_Descr*>(dtype.release().ptr()), 1,
                                        &extent, nullptr, nullptr, 0, nullptr));
}

}  // namespace kith::python
