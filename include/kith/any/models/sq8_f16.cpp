// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: the registry's indexes over 8-bit codes of f16 rows, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_SQ8_F16_MODELS()

}  // namespace kith::detail
