// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: LSH, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_LSH_MODELS()

}  // namespace kith::detail
