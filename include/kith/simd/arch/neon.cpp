// SPDX-License-Identifier: Apache-2.0
#include "kith/simd/arch/tables.hpp"
#include "kith/simd/make_table.hpp"

namespace kith::simd {

const KernelTable& table_neon() noexcept {
    static constexpr KernelTable table = make_table<arch::Neon>();
    return table;
}

}  // namespace kith::simd
