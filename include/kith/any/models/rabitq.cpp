// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: the registry's indexes over RaBitQ codes, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_RABITQ_MODELS()

}  // namespace kith::detail
