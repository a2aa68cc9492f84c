// SPDX-License-Identifier: Apache-2.0
//
// Index.search and Index.range_search. search is a raw METH_FASTCALL function and its Result a
// small C type: a call with one query costs a microsecond around the C++ search, where pybind11's
// dispatcher alone would cost as much again.
#pragma once

#include "errors.hpp"

namespace kith::python {

/// Adds Result and SearchStats to the module, and search to the class Index.
void bind_search(py::module_& module, py::handle index_class);

}  // namespace kith::python
