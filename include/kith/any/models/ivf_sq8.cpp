// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: IVF over 8-bit codes, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_IVF_SQ8_MODELS()

}  // namespace kith::detail
