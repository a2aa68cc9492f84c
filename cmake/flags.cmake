# SPDX-License-Identifier: Apache-2.0
#
# Flags of this project's own programs (tests, benchmarks, examples); nothing here reaches a consumer of kith::kith.
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    add_compile_options(-Wall -Wextra -Wpedantic -Wconversion -Wshadow)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        add_compile_options(-Wno-restrict)  # fires on "text" + std::string (GCC bug 105651)
    endif()
    if(KITH_WERROR)
        add_compile_options(-Werror)
    endif()
endif()

if(KITH_SANITIZE)
    set(kith_sanitizers "${KITH_SANITIZE}")
    string(REPLACE ";" "," kith_sanitizers "${kith_sanitizers}")
    string(REPLACE "+" "," kith_sanitizers "${kith_sanitizers}")
    if(kith_sanitizers MATCHES "thread" AND kith_sanitizers MATCHES "address")
        message(FATAL_ERROR "KITH_SANITIZE=${KITH_SANITIZE}: thread and address cannot be combined")
    endif()
    add_compile_options(-fsanitize=${kith_sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${kith_sanitizers})
endif()
