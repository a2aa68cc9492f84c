# SPDX-License-Identifier: Apache-2.0
#
# `cmake --install` puts the headers, the kernels and a package config in place, for find_package(kith).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(KITH_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/kith")

install(TARGETS kith EXPORT kith-targets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS kith_kernels kith_any EXPORT kith-targets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT kith-targets NAMESPACE kith:: DESTINATION "${KITH_CMAKE_DIR}")

configure_package_config_file(cmake/kith-config.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/kith-config.cmake"
                              INSTALL_DESTINATION "${KITH_CMAKE_DIR}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/kith-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/kith-config.cmake" "${CMAKE_CURRENT_BINARY_DIR}/kith-config-version.cmake"
              cmake/kith-xsimd.cmake
        DESTINATION "${KITH_CMAKE_DIR}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/kith")
