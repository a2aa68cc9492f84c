# SPDX-License-Identifier: Apache-2.0
#
# Flags of this project's own programs (tests, benchmarks, examples); nothing here reaches a consumer of kith::kith.
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    add_compile_options(-Wall -Wextra -Wpedantic -Wconversion -Wshadow)
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        add_compile_options(-Wno-sign-conversion)  # which -Wconversion means to clang, but not to GCC
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        add_compile_options(-Wno-restrict)  # fires on "text" + std::string (GCC bug 105651)
    endif()
    if(KITH_WERROR)
        add_compile_options(-Werror)
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
            # Guesses about inlined library code (std::sort over a small array): shown, but no errors.
            add_compile_options(-Wno-error=array-bounds -Wno-error=stringop-overflow -Wno-error=stringop-overread
                                -Wno-error=maybe-uninitialized)
        endif()
    endif()
endif()

# Headers alone are compiled as who links kith::kernels sees them: the decompositions that others see would be compiled with each.
add_compile_definitions($<$<STREQUAL:$<TARGET_PROPERTY:NAME>,kith_verify_interface_header_sets>:KITH_COMPILED_KERNELS>)

if(KITH_SANITIZE)
    set(kith_sanitizers "${KITH_SANITIZE}")
    string(REPLACE ";" "," kith_sanitizers "${kith_sanitizers}")
    string(REPLACE "+" "," kith_sanitizers "${kith_sanitizers}")
    if(kith_sanitizers MATCHES "thread" AND kith_sanitizers MATCHES "address")
        message(FATAL_ERROR "KITH_SANITIZE=${KITH_SANITIZE}: thread and address cannot be combined")
    endif()
    add_compile_options(-fsanitize=${kith_sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${kith_sanitizers})
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        # What takes a third of the compiler's time: checked code inlined more than it needs, and checks that ASan makes at another place.
        add_compile_options("SHELL:-mllvm -inline-threshold=20")
        if(kith_sanitizers MATCHES "undefined")
            add_compile_options(-fno-sanitize=null,object-size,pointer-overflow,vptr)
        endif()
    endif()
endif()
