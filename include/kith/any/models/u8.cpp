// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: the registry's indexes over u8 rows, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_DENSE_MODELS(, std::uint8_t)

}  // namespace kith::detail
