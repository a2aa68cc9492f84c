# SPDX-License-Identifier: Apache-2.0
#
# Configures, builds and runs one consumer project from nothing:
#   cmake -D MODE=find_package -D KITH_SOURCE=... -D KITH_BUILD=... -D WORK=... -D GENERATOR=... -D CXX=...
#         -D BUILD_TYPE=... -D CXX_FLAGS=... -P run.cmake
# With the build type and flags of the tests, which compile faster than a Release.
function(step)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
        list(JOIN ARGN " " command)
        message(FATAL_ERROR "${MODE}: '${command}' failed (${result}):\n${output}")
    endif()
endfunction()

file(REMOVE_RECURSE "${WORK}")
set(arguments -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_BUILD_TYPE=${BUILD_TYPE}" "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
if(MODE STREQUAL "find_package")
    step("${CMAKE_COMMAND}" --install "${KITH_BUILD}" --prefix "${WORK}/prefix")
    list(APPEND arguments "-DCMAKE_PREFIX_PATH=${WORK}/prefix")
else()
    list(APPEND arguments "-DKITH_SOURCE=${KITH_SOURCE}")
endif()
step("${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}/${MODE}" -B "${WORK}/build" ${arguments})
step("${CMAKE_COMMAND}" --build "${WORK}/build")
foreach(library kith kernels)
    step("${WORK}/build/consumer_${library}")
endforeach()
message(STATUS "${MODE}: configured, built, ran")
