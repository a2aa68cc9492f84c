// SPDX-License-Identifier: Apache-2.0
#include "kith/simd/arch/tables.hpp"
#include "kith/simd/make_table.hpp"

namespace kith::simd {

const KernelTable& table_avx2() noexcept {
    static constexpr KernelTable table = make_table<arch::Avx2>();
    return table;
}

}  // namespace kith::simd
