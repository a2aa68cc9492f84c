// SPDX-License-Identifier: Apache-2.0
//
// Sq8Space<Metric, T>: a byte a dimension. space/scalar_space.hpp says how it measures.
#pragma once

#include "kith/space/scalar_space.hpp"

namespace kith {

/// Metric: L2, Euclidean, L1, Cosine, InnerProduct; T: float, Half, BFloat16.
template <class M, class T>
using Sq8Space = ScalarSpace<8, M, T>;

}  // namespace kith
