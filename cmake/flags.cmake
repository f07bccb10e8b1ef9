# SPDX-License-Identifier: Apache-2.0
# Flags that every target of the project has (docs: house style, "Format and
# checks"). `sluice_flags` carries them.
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release)
endif()
# Debug is Release with assertions: fortify and several warnings need the
# optimiser.
set(CMAKE_C_FLAGS_DEBUG "-O2 -g")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g -DNDEBUG")

add_library(sluice_flags INTERFACE)
target_compile_definitions(sluice_flags INTERFACE _GNU_SOURCE)

set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
    -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wwrite-strings
    -Wformat=2 -Wundef -Wvla -Wswitch-enum -Wnull-dereference)
if(SLUICE_WERROR)
    list(APPEND warnings -Werror)
endif()
set(code -fno-strict-aliasing -fno-common -fvisibility=hidden)

if(SLUICE_SANITIZE)
    list(APPEND code -O1 -fno-omit-frame-pointer -fsanitize=${SLUICE_SANITIZE}
         -fno-sanitize-recover=all)
    target_link_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE})
else()
    list(APPEND code -fstack-protector-strong)
    if(CMAKE_BUILD_TYPE MATCHES "Debug|Release")
        list(APPEND code -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
    endif()
endif()
if(SLUICE_FUZZ)
    list(APPEND code -fsanitize=fuzzer-no-link)
endif()
target_compile_options(sluice_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:C>:${warnings};${code}>")
target_link_options(sluice_flags INTERFACE
    -Wl,--as-needed -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
