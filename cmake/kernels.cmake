# SPDX-License-Identifier: Apache-2.0
#
# kith::kernels: every instruction set of this processor family compiled side by side, the best one picked at start.
#
# The sources are ordinary kith headers compiled once per set of -m flags. Two rules keep that safe and fast, whatever the
# configuration: at least -O2 (kernels rely on inlining, so that no function compiled for AVX-512 is shared with code that runs
# elsewhere; tests/checks/odr_symbols.py proves it), and no link-time optimisation, which would merge what was kept apart.
# The flags are written down here and nowhere else.
set(KITH_KERNEL_DIR "${CMAKE_CURRENT_SOURCE_DIR}/include/kith/simd/arch")

# What simd/cpu.hpp asks the processor for before it offers the table, no more.
set(KITH_AVX2_FLAGS -mavx2 -mfma -mf16c)
set(KITH_AVX512_FLAGS ${KITH_AVX2_FLAGS} -mavx512f -mavx512cd -mavx512dq -mavx512bw -mavx512vl -mbmi -mbmi2 -mprefer-vector-width=512)
set(KITH_AVX512_VNNI_FLAGS ${KITH_AVX512_FLAGS} -mavx512vnni -mavx512vpopcntdq -mavx512vbmi)

set(KITH_KERNEL_FLAGS -O2 -fno-lto -ffp-contract=off)
if(KITH_TOP_LEVEL AND KITH_SANITIZE)
    # Sanitized programs never leave the machine; what matters is that they compile in minutes. A check inlined at each of the
    # thousands of vector loads takes clang a minute and a half a file and GCC longer: check addresses through calls, and leave
    # out UBSan's checks of pointers, which ASan and the tests at the ends of pages cover.
    list(REMOVE_ITEM KITH_KERNEL_FLAGS -O2)
    list(APPEND KITH_KERNEL_FLAGS -O1)
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        list(APPEND KITH_KERNEL_FLAGS -fno-sanitize=null,alignment,object-size,pointer-overflow)
        if(KITH_SANITIZE MATCHES "address")
            list(APPEND KITH_KERNEL_FLAGS -fsanitize-address-outline-instrumentation)
        endif()
    else()
        list(APPEND KITH_KERNEL_FLAGS -fno-sanitize=undefined)
        if(KITH_SANITIZE MATCHES "address")
            list(APPEND KITH_KERNEL_FLAGS --param=asan-instrumentation-with-call-threshold=0)
        endif()
    endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC's own AVX-512 intrinsics start from deliberately undefined registers (GCC bug 105593).
    list(APPEND KITH_KERNEL_FLAGS -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

set(KITH_ARCHS)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
    list(APPEND KITH_ARCHS baseline avx2 avx512 avx512_vnni)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    list(APPEND KITH_ARCHS neon)
endif()

# Checked kernels that cannot be run here would be compiled for nothing, for minutes (masked loads are checked lane by lane); and those of
# avx512 are in avx512_vnni once more.
set(KITH_UNCHECKED_ARCHS)
if(KITH_TOP_LEVEL AND KITH_SANITIZE AND EXISTS /proc/cpuinfo)
    file(STRINGS /proc/cpuinfo kith_cpu_flags REGEX "^flags" LIMIT_COUNT 1)
    if(kith_cpu_flags MATCHES "avx512_vpopcntdq")
        list(APPEND KITH_UNCHECKED_ARCHS avx512)
    elseif(kith_cpu_flags MATCHES "avx512vl")
        list(APPEND KITH_UNCHECKED_ARCHS avx512_vnni)
    else()
        list(APPEND KITH_UNCHECKED_ARCHS avx512 avx512_vnni)
    endif()
endif()

set(kith_kernel_sources)
foreach(arch IN LISTS KITH_ARCHS)
    set(source "${KITH_KERNEL_DIR}/${arch}.cpp")
    if(NOT EXISTS "${source}")
        continue()
    endif()
    list(APPEND kith_kernel_sources "${source}")
    string(TOUPPER "${arch}" upper)
    set(unchecked)
    if(arch IN_LIST KITH_UNCHECKED_ARCHS)
        set(unchecked -fno-sanitize=all)
    endif()
    set_source_files_properties("${source}" PROPERTIES
        COMPILE_OPTIONS "${KITH_KERNEL_FLAGS};${KITH_${upper}_FLAGS};${unchecked}"
        SKIP_PRECOMPILE_HEADERS ON
        SKIP_UNITY_BUILD_INCLUSION ON)
endforeach()

# Code for no instruction set in particular that takes longer to compile than all that includes it.
set(kith_slow_sources "${CMAKE_CURRENT_SOURCE_DIR}/include/kith/quantize/opq_training.cpp")
set(kith_slow_flags -O2)
if(KITH_TOP_LEVEL AND KITH_SANITIZE)
    set(kith_slow_flags -fno-sanitize=all)  # nearly all of it is Eigen
endif()
set_source_files_properties(${kith_slow_sources} PROPERTIES COMPILE_OPTIONS "${kith_slow_flags}")

if(kith_kernel_sources)
    add_library(kith_kernels STATIC ${kith_kernel_sources} ${kith_slow_sources})
else()
    add_library(kith_kernels INTERFACE)
endif()
add_library(kith::kernels ALIAS kith_kernels)
set_target_properties(kith_kernels PROPERTIES EXPORT_NAME kernels)
if(kith_kernel_sources)
    target_link_libraries(kith_kernels PUBLIC kith)
    target_compile_definitions(kith_kernels PUBLIC KITH_COMPILED_KERNELS)
    set_target_properties(kith_kernels PROPERTIES
        POSITION_INDEPENDENT_CODE ON
        INTERPROCEDURAL_OPTIMIZATION OFF)
    if(NOT KITH_TOP_LEVEL)
        set_target_properties(kith_kernels PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
else()
    target_link_libraries(kith_kernels INTERFACE kith)
endif()
