# SPDX-License-Identifier: Apache-2.0
#
# tests/fuzz/<target>.cpp defines LLVMFuzzerTestOneInput; past crashers and small seeds lie in tests/fuzz/corpus/<target>/.
#   fuzz_replay_<target>   every input of the corpus, with any compiler
#   fuzz_<target>          with clang and KITH_BUILD_FUZZERS: libFuzzer for KITH_FUZZ_SECONDS, with the sanitizers of KITH_SANITIZE;
#                          what it finds goes to the build directory
option(KITH_BUILD_FUZZERS "Build the libFuzzer targets (clang)" OFF)
set(KITH_FUZZ_SECONDS 15 CACHE STRING "Length of one fuzz target's run in the tests")

if(KITH_BUILD_FUZZERS AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "KITH_BUILD_FUZZERS needs clang; this is ${CMAKE_CXX_COMPILER_ID}")
endif()

add_custom_target(kith_fuzzers)
if(KITH_BUILD_FUZZERS)
    target_compile_options(kith_any PRIVATE -fsanitize=fuzzer-no-link)  # what the fuzzers learn from
endif()
file(GLOB fuzz_sources CONFIGURE_DEPENDS "fuzz/*.cpp")
foreach(source IN LISTS fuzz_sources)
    get_filename_component(name "${source}" NAME_WE)
    string(REGEX REPLACE "^fuzz_|_fuzz$" "" name "${name}")
    set(corpus "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name}")
    if(NOT EXISTS "${corpus}")
        set(corpus)
    endif()
    if(KITH_BUILD_FUZZERS)
        set(target fuzz_${name})
        set(found "${CMAKE_CURRENT_BINARY_DIR}/fuzz/${name}")
        file(MAKE_DIRECTORY "${found}")
        add_executable(${target} "${source}")
        target_compile_options(${target} PRIVATE -fsanitize=fuzzer)
        target_link_libraries(${target} PRIVATE kith::any)
        target_link_options(${target} PRIVATE -fsanitize=fuzzer)
        add_test(NAME ${target} COMMAND ${target} -max_total_time=${KITH_FUZZ_SECONDS} -timeout=10 -rss_limit_mb=2048
                 -print_final_stats=1 -artifact_prefix=${found}/crash- ${found} ${corpus})
    else()
        set(target fuzz_replay_${name})
        add_executable(${target} "${source}" support/fuzz_replay.cpp)
        target_link_libraries(${target} PRIVATE kith::any)
        add_test(NAME ${target} COMMAND ${target} ${corpus})
    endif()
    target_compile_definitions(${target} PRIVATE ${KITH_TEST_DATA_DEFINITIONS})
    set_tests_properties(${target} PROPERTIES TIMEOUT 300 LABELS fuzz)
    add_dependencies(kith_fuzzers ${target})
    add_dependencies(kith_checked ${target})
endforeach()
