// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: the registry's indexes over i8 rows, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_I8_MODELS()

}  // namespace kith::detail
