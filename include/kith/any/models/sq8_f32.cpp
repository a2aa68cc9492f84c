// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: the registry's indexes over 8-bit codes of f32 rows, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_SQ8_F32_MODELS()

}  // namespace kith::detail
