// SPDX-License-Identifier: Apache-2.0
//
// Counts what operator new is asked for (replaced in allocations.cpp), on all threads.
#pragma once

#include <cstddef>

namespace test {

std::size_t allocation_count() noexcept;

}  // namespace test
