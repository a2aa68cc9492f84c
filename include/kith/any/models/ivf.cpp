// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: IVF over rows as they are, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_IVF_MODELS()

}  // namespace kith::detail
