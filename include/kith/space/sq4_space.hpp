// SPDX-License-Identifier: Apache-2.0
//
// Sq4Space<Metric, T>: four bits a dimension, 128 dimensions in a line of memory. space/scalar_space.hpp says how it
// measures.
#pragma once

#include "kith/space/scalar_space.hpp"

namespace kith {

/// Metric: L2, Euclidean, Cosine, InnerProduct; T: float, Half, BFloat16, and std::uint8_t under L2 and Euclidean.
template <class M, class T>
using Sq4Space = ScalarSpace<4, M, T>;

}  // namespace kith
