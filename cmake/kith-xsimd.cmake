# SPDX-License-Identifier: Apache-2.0
#
# Defines kith::xsimd, the include directory of xsimd >= 8.1 and nothing else. The package's own target is not used: Debian's
# links libxtl, which kith does not need and which is not installed with it. Also installed, for find_package(kith).
if(NOT TARGET kith::xsimd)
    if(NOT TARGET xsimd)
        find_package(xsimd 8.1 QUIET)
    endif()
    if(TARGET xsimd)
        get_target_property(kith_xsimd_include xsimd INTERFACE_INCLUDE_DIRECTORIES)
    else()
        find_path(KITH_XSIMD_INCLUDE_DIR xsimd/xsimd.hpp)
        mark_as_advanced(KITH_XSIMD_INCLUDE_DIR)
        set(kith_xsimd_include "${KITH_XSIMD_INCLUDE_DIR}")
    endif()
    if(kith_xsimd_include)
        add_library(kith::xsimd INTERFACE IMPORTED GLOBAL)
        target_include_directories(kith::xsimd SYSTEM INTERFACE "${kith_xsimd_include}")
    endif()
    unset(kith_xsimd_include)
endif()
