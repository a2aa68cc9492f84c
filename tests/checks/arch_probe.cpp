// SPDX-License-Identifier: Apache-2.0
//
// Proves that KITH_ARCH forces a kernel table: started with KITH_ARCH=<arch> and the argument <arch>, exits with 0 if that
// table is the one in use, 77 if this machine cannot run it (and kith said so with an error), 1 otherwise. Without an argument
// it prints the name of the table in use.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "kith/core/error.hpp"
#include "kith/simd/kernels.hpp"

int main(int argc, char** argv) {
    if (argc == 1) {
        std::printf("%s\n", kith::simd::kernels().name);
        return 0;
    }
    const char* forced = std::getenv("KITH_ARCH");
    if (argc != 2 || forced == nullptr || std::string_view(forced) != argv[1]) {
        std::fprintf(stderr, "usage: KITH_ARCH=<arch> %s <arch>\n", argv[0]);
        return 1;
    }
    bool available = false;
    for (const kith::simd::KernelTable* table : kith::simd::available_tables())
        available = available || std::string_view(table->name) == argv[1];
    try {
        const std::string_view running = kith::simd::kernels().name;
        std::printf("KITH_ARCH=%s: running %s\n", forced, kith::simd::kernels().name);
        return available && running == argv[1] ? 0 : 1;
    } catch (const kith::Error& error) {
        std::printf("KITH_ARCH=%s: %s\n", forced, error.what());
        return available ? 1 : 77;
    }
}
