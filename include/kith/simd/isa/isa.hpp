// SPDX-License-Identifier: Apache-2.0
//
// All Isa specialisations that the compiler's flags allow.
#pragma once

#include "kith/simd/isa/avx2.hpp"
#include "kith/simd/isa/avx512.hpp"
#include "kith/simd/isa/neon.hpp"
#include "kith/simd/isa/sse2.hpp"
