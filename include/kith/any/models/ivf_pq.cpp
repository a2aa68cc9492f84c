// SPDX-License-Identifier: Apache-2.0
// Part of kith::any: IVF-PQ, compiled once.
#include "kith/any/registry.hpp"

namespace kith::detail {

KITH_IVF_PQ_MODELS()

}  // namespace kith::detail
