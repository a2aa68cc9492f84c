# SPDX-License-Identifier: Apache-2.0
#
# kith::any: the indexes of any/registry.hpp compiled once, for those who hold indexes whose type is known only at run time.
file(GLOB kith_model_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/include/kith/any/models/*.cpp")
add_library(kith_any STATIC ${kith_model_sources})
add_library(kith::any ALIAS kith_any)
set_target_properties(kith_any PROPERTIES POSITION_INDEPENDENT_CODE ON EXPORT_NAME any)
target_compile_definitions(kith_any PUBLIC KITH_COMPILED_MODELS $<$<BOOL:${KITH_FEW_SPACES}>:KITH_FEW_SPACES>
                                           $<$<STREQUAL:${KITH_FEW_SPACES},FEWEST>:KITH_FEWEST_SPACES>)
target_link_libraries(kith_any PUBLIC kith::kernels)
# Here, where it is a list of declarations: compiling it alone as one of the headers of `kith` would be compiling all of the above again.
target_sources(kith_any PUBLIC FILE_SET HEADERS BASE_DIRS include FILES "${CMAKE_CURRENT_SOURCE_DIR}/include/kith/any/registry.hpp")
set_target_properties(kith_any PROPERTIES VERIFY_INTERFACE_HEADER_SETS ${KITH_TOP_LEVEL})
if(NOT KITH_TOP_LEVEL)
    set_target_properties(kith_any PROPERTIES EXCLUDE_FROM_ALL ON)
endif()
