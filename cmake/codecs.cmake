# SPDX-License-Identifier: Apache-2.0
# Codecs: one library each, none of them needed. What is absent is left out of
# the build, and asking for it is SL_ENOCODEC.
#
# sluice_codec(NAME HEADER LIBRARY...): the file src/codec/NAME.c goes when one of
# them cannot be found. Header and library are looked for themselves, since
# bzip2 and zfp have no .pc file on Debian.
set(SLUICE_CODEC_LIBS)
set(codecs_found)
set(codecs_absent)
function(sluice_codec name header)
    string(TOUPPER ${name} id)
    find_path(SLUICE_${id}_INCLUDE ${header})
    mark_as_advanced(SLUICE_${id}_INCLUDE)
    set(found 1)
    set(libraries)
    foreach(library ${ARGN})
        find_library(SLUICE_LIB_${library} ${library})
        mark_as_advanced(SLUICE_LIB_${library})
        if(NOT SLUICE_LIB_${library})
            set(found 0)
        endif()
        list(APPEND libraries ${SLUICE_LIB_${library}})
    endforeach()
    if(NOT SLUICE_${id}_INCLUDE)
        set(found 0)
    endif()
    # Also in the tests: they know which codecs there must be.
    target_compile_definitions(sluice_core PUBLIC SLUICE_HAVE_${id}=${found})
    if(found)
        target_include_directories(sluice_core SYSTEM PRIVATE
            ${SLUICE_${id}_INCLUDE})
        target_link_libraries(sluice_core PUBLIC ${libraries})
        set(SLUICE_CODEC_LIBS ${SLUICE_CODEC_LIBS} ${ARGN} PARENT_SCOPE)
        set(codecs_found ${codecs_found} ${name} PARENT_SCOPE)
    else()
        set(codecs_absent ${codecs_absent} ${name} PARENT_SCOPE)
    endif()
endfunction()

sluice_codec(bzip2 bzlib.h bz2)
sluice_codec(blosc blosc.h blosc)
sluice_codec(brotli brotli/encode.h brotlienc brotlidec)
sluice_codec(lz4 lz4hc.h lz4)
sluice_codec(lzma lzma.h lzma)
sluice_codec(snappy snappy-c.h snappy)
sluice_codec(lzo lzo/lzo1x.h lzo2)
sluice_codec(zfp zfp.h zfp)
sluice_codec(zlib zlib.h z)
sluice_codec(zstd zstd.h zstd)

get_target_property(sources sluice_core SOURCES)
foreach(name ${codecs_absent})
    list(FILTER sources EXCLUDE REGEX "/src/codec/${name}\\.c$")
endforeach()
set_target_properties(sluice_core PROPERTIES SOURCES "${sources}")

list(JOIN codecs_found " " text)
message(STATUS "Codecs: ${text}")
if(codecs_absent)
    list(JOIN codecs_absent " " text)
    message(STATUS "Codecs not in this build: ${text}")
endif()
