// SPDX-License-Identifier: Apache-2.0
//
// kernels(): the table of kernels in use, chosen once. Header-only, it is the one that the compiler's flags allow; with the compiled
// kernels (KITH_COMPILED_KERNELS, the target kith::kernels) the best that this processor runs. The environment
// variable KITH_ARCH forces one by name; a name that is unknown, not compiled in or not runnable here is an Error that
// lists what there is.
//
// All functions are templates on where tables come from: translation units with other flags see other tables, and must not share
// a symbol.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/simd/cpu.hpp"
#include "kith/simd/table.hpp"

#if defined(KITH_COMPILED_KERNELS)
#include "kith/simd/arch/tables.hpp"
#else
#include "kith/simd/make_table.hpp"
#endif

namespace kith::simd {

/// A table that is linked in, and whether this machine can run it.
struct LinkedTable {
    const KernelTable* table;
    bool runnable;
};

#if defined(KITH_COMPILED_KERNELS)

/// The tables compiled one by one, from the slowest to the fastest.
struct CompiledTables {
    static std::vector<LinkedTable> tables() {
#if defined(KITH_SIMD_X86)
        return {{&table_baseline(), cpu_runs(arch::Baseline{})},
                {&table_avx2(), cpu_runs(arch::Avx2{})},
                {&table_avx512(), cpu_runs(arch::Avx512{})},
                {&table_avx512_vnni(), cpu_runs(arch::Avx512Vnni{})}};
#else
        return {{&table_neon(), cpu_runs(arch::Neon{})}};
#endif
    }
};
using DefaultTables = CompiledTables;

#else

/// The one table that this translation unit's flags allow.
template <class Arch>
struct NativeTable {
    static constexpr KernelTable table = make_table<Arch>();
    static std::vector<LinkedTable> tables() { return {{&table, cpu_runs(Arch{})}}; }
};
using DefaultTables = NativeTable<arch::Native>;

#endif

/// All tables that are linked in, from the slowest to the fastest, runnable or not.
template <class Source = DefaultTables>
std::vector<LinkedTable> linked_tables() {
    return Source::tables();
}

/// Those that this machine can run, from the slowest to the fastest.
template <class Source = DefaultTables>
std::vector<const KernelTable*> available_tables() {
    std::vector<const KernelTable*> found;
    for (const LinkedTable& t : Source::tables())
        if (t.runnable) found.push_back(t.table);
    return found;
}

/// The runnable table of that name, or null.
template <class Source = DefaultTables>
const KernelTable* find_table(std::string_view name) {
    for (const KernelTable* table : available_tables<Source>())
        if (name == table->name) return table;
    return nullptr;
}

/// The table of that name, or the best one for an empty name. Throws Error{unsupported}.
template <class Source = DefaultTables>
const KernelTable& choose_table(std::string_view name) {
    const std::vector<const KernelTable*> available = available_tables<Source>();
    for (const KernelTable* table : available)
        if (name == table->name) return *table;
    if (name.empty() && !available.empty()) return *available.back();
    std::string known;
    for (const LinkedTable& t : Source::tables()) {
        known += known.empty() ? "" : ", ";
        known += t.table->name;
        if (!t.runnable) known += " (this processor lacks it)";
    }
    if (name.empty())
        fail(ErrorCode::unsupported,
             "none of the kernels linked in runs on this processor: ", known);
    fail(ErrorCode::unsupported, "KITH_ARCH asks for the kernels '", name, "'; there are ", known);
}

/// The kernels in use. The first call reads KITH_ARCH and may throw Error{unsupported}; later calls cost a load.
template <class Source = DefaultTables>
const KernelTable& kernels() {
    static const KernelTable& chosen = []() -> const KernelTable& {
        const char* forced = std::getenv("KITH_ARCH");
        return choose_table<Source>(forced == nullptr ? std::string_view()
                                                      : std::string_view(forced));
    }();
    return chosen;
}

}  // namespace kith::simd
