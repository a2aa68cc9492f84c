// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: the registry's indexes over u8 rows, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_U8_MODELS()

}  // namespace kith::detail
