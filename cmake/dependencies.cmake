# SPDX-License-Identifier: Apache-2.0
#
# What the headers need: xsimd (kernels), Eigen (quantizer training), threads. Installed packages come first; with
# KITH_FETCH_DEPS=ON whatever is missing is fetched at configure time. Defines the targets kith::xsimd, Eigen3::Eigen and
# Threads::Threads.
include(FetchContent)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# When cross-compiling, the build machine's header-only packages are as good as the target's, but /usr/include itself must not
# get onto the include path: link the one directory that is wanted into a directory of its own.
function(kith_borrow_host_headers target probe)
    get_filename_component(name "${probe}" DIRECTORY)
    find_path(KITH_HOST_${name} "${probe}" PATHS /usr/include /usr/include/eigen3 /usr/local/include
              NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    mark_as_advanced(KITH_HOST_${name})
    if(NOT KITH_HOST_${name})
        return()
    endif()
    set(directory "${CMAKE_CURRENT_BINARY_DIR}/host-headers/${name}")
    file(MAKE_DIRECTORY "${directory}")
    file(CREATE_LINK "${KITH_HOST_${name}}/${name}" "${directory}/${name}" SYMBOLIC)
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} SYSTEM INTERFACE "${directory}")
endfunction()

if(NOT TARGET kith::xsimd AND CMAKE_CROSSCOMPILING)
    kith_borrow_host_headers(kith::xsimd xsimd/xsimd.hpp)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/kith-xsimd.cmake")
if(NOT TARGET kith::xsimd AND KITH_FETCH_DEPS)
    FetchContent_Declare(xsimd GIT_REPOSITORY https://github.com/xtensor-stack/xsimd.git GIT_TAG 8.1.0 GIT_SHALLOW ON)
    FetchContent_MakeAvailable(xsimd)
    include("${CMAKE_CURRENT_LIST_DIR}/kith-xsimd.cmake")
endif()
if(NOT TARGET kith::xsimd)
    message(FATAL_ERROR "kith needs xsimd >= 8.1 (Debian: libxsimd-dev). Install it, point xsimd_DIR at it, or set KITH_FETCH_DEPS=ON.")
endif()

if(NOT TARGET Eigen3::Eigen)
    if(CMAKE_CROSSCOMPILING)
        kith_borrow_host_headers(Eigen3::Eigen Eigen/Core)
    else()
        find_package(Eigen3 3.4 QUIET NO_MODULE)
    endif()
endif()
if(NOT TARGET Eigen3::Eigen AND KITH_FETCH_DEPS)
    FetchContent_Declare(Eigen3 GIT_REPOSITORY https://gitlab.com/libeigen/eigen.git GIT_TAG 3.4.0 GIT_SHALLOW ON)
    set(BUILD_TESTING OFF)
    set(EIGEN_BUILD_DOC OFF)
    FetchContent_MakeAvailable(Eigen3)
endif()
if(NOT TARGET Eigen3::Eigen)
    message(FATAL_ERROR "kith needs Eigen >= 3.4 (Debian: libeigen3-dev). Install it, point Eigen3_DIR at it, or set KITH_FETCH_DEPS=ON.")
endif()
