// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: the registry's indexes over codes of four bits a dimension, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_SQ4_MODELS()

}  // namespace kith::detail
