// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: structures over product-quantised rows, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_PQ_MODELS()

}  // namespace kith::detail
