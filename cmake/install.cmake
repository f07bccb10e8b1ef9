# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)

install(TARGETS sluice_cli sluice_static)
install(TARGETS sluice_shared sluice_device EXPORT SluiceTargets)
install(DIRECTORY include/sluice DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")

foreach(section 1 3 7)
    file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/man/*.${section})
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# The libraries by name: their own .pc files ask for more than a shared one
# needs (hwloc's for libudev's headers).
set(libraries ${DEPS_LIBRARIES} ${SLUICE_CODEC_LIBS})
list(REMOVE_DUPLICATES libraries)
list(TRANSFORM libraries PREPEND -l OUTPUT_VARIABLE SLUICE_PC_LIBS)
list(JOIN SLUICE_PC_LIBS " " SLUICE_PC_LIBS)
file(RELATIVE_PATH SLUICE_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/sluice.pc.in sluice.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sluice.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Sluice)
install(EXPORT SluiceTargets NAMESPACE Sluice:: DESTINATION ${package}
    FILE SluiceConfig.cmake)
write_basic_package_version_file(SluiceConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/SluiceConfigVersion.cmake
    DESTINATION ${package})
