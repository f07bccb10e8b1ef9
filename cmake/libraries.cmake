# SPDX-License-Identifier: Apache-2.0
# The two libraries that are installed. Both show sl_* and nothing else.
set(map ${PROJECT_SOURCE_DIR}/tools/libsluice.map)

add_library(sluice_shared SHARED ${PROJECT_SOURCE_DIR}/cmake/empty.c)
set_target_properties(sluice_shared PROPERTIES
    OUTPUT_NAME sluice EXPORT_NAME sluice
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    LINK_DEPENDS ${map})
target_include_directories(sluice_shared INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# Between the brackets of --whole-archive stands the file alone, so that the
# libraries the core needs stay outside of them.
target_link_libraries(sluice_shared PRIVATE
    $<BUILD_INTERFACE:-Wl,--whole-archive>
    $<BUILD_INTERFACE:$<TARGET_FILE:sluice_core>>
    $<BUILD_INTERFACE:-Wl,--no-whole-archive>
    $<BUILD_INTERFACE:sluice_core>)
target_link_options(sluice_shared PRIVATE
    -Wl,--version-script=${map} -Wl,-z,defs)

# One object whose hidden symbols are local: internal names cannot clash with
# those of the program that links it.
set(object ${CMAKE_BINARY_DIR}/sluice_all.o)
add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_LINKER} -r -z noexecstack -o ${object}
        --whole-archive $<TARGET_FILE:sluice_core>
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${object}
    DEPENDS sluice_core
    VERBATIM)
add_library(sluice_static STATIC ${object})
set_target_properties(sluice_static PROPERTIES
    OUTPUT_NAME sluice LINKER_LANGUAGE C)
set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT ON)

# What device code needs: the headers, no library.
add_library(sluice_device INTERFACE)
set_target_properties(sluice_device PROPERTIES EXPORT_NAME device)
target_include_directories(sluice_device INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
