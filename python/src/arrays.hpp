// SPDX-License-Identifier: Apache-2.0
//
// numpy arrays in and out. Coming in, an array whose rows lie at a fixed distance and hold adjacent
// elements is used where it is; anything else is copied once. float64 and the like are refused with
// a hint, never narrowed behind the caller's back.
#pragma once

#include <initializer_list>
#include <span>

#include "errors.hpp"
#include "kith/any/any_index.hpp"

namespace kith::python {

/// Rows that `owner` keeps alive. `flat`: the caller gave one vector, not a matrix.
struct Rows {
    AnyMatrix matrix{};
    py::object owner;
    bool flat = false;
};

/// `bits`: uint8 means packed bits. `what` names the argument in messages; one vector is accepted
/// when `vector_too`. What is no array, sequence or buffer goes through kith._inputs.as_rows.
Rows rows_from(PyObject* object, bool bits, const char* what, bool vector_too);

/// A contiguous int64 copy or view of any one-dimensional integer array or sequence.
py::object id_array(py::handle object, const char* what);

/// What a filter argument comes down to, before the index is looked at: arrays of bool (a mask) or
/// int64 (ids), null for no filter. None at all, one for all queries, or one for each.
std::vector<py::object> filter_arrays(PyObject* filter, std::size_t queries);

/// The slots that one of those arrays allows.
Bitset filter_slots(const AnyIndex& index, const py::object& array);

template <class T>
std::span<const T> span_of(const py::object& array);

/// Uninitialised, C-contiguous; type is a numpy type number.
py::object new_array(std::initializer_list<std::size_t> shape, int type);
void* array_data(const py::object& array) noexcept;

/// numpy's dtype of an element type; bfloat16 needs ml_dtypes.
py::object dtype_of(ElementType type);
py::object new_row(ElementType type, std::size_t elements);

void import_numpy();

/// numpy's type numbers of the results, without its headers.
extern const int numpy_int64, numpy_float32, numpy_float64, numpy_uint32;

}  // namespace kith::python
