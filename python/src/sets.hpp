// SPDX-License-Identifier: Apache-2.0
//
// Sets as rows of bits: what is beneath kith.sketch_sets (src/kith/_sets.py).
#pragma once

#include <pybind11/pybind11.h>

namespace kith::python {

void bind_sets(pybind11::module_& module);

}  // namespace kith::python
