# SPDX-License-Identifier: Apache-2.0
#
# The part that all consumers share: one program on the headers alone, one on the compiled kernels. (kith::any is installed and
# exported beside them; compiling its models once more would take minutes.)
foreach(library kith kernels)
    add_executable(consumer_${library} "${CMAKE_CURRENT_LIST_DIR}/main.cpp")
    target_link_libraries(consumer_${library} PRIVATE kith::${library})
endforeach()
