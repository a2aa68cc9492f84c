// SPDX-License-Identifier: Apache-2.0
//
// k-means: what is beneath kith.kmeans and KMeans.assign (src/kith/_kmeans.py).
#pragma once

#include <pybind11/pybind11.h>

namespace kith::python {

void bind_kmeans(pybind11::module_& module);

}  // namespace kith::python
