# SPDX-License-Identifier: Apache-2.0
# sluice_kernels(TARGET INCLUDE KERNEL.cu...): each kernel is compiled twice, by
# the C compiler for the host device, always, and by nvcc into one fat binary
# that the target embeds, when nvcc is there.
find_program(NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH
    PATHS /usr/local/cuda PATH_SUFFIXES bin)
set(archs)
if(NVCC)
    execute_process(COMMAND ${NVCC} --list-gpu-arch OUTPUT_VARIABLE archs
        ERROR_QUIET)
    string(REGEX MATCHALL "compute_[0-9]+" archs "${archs}")
    list(TRANSFORM archs REPLACE "compute_" "")
    list(FILTER archs EXCLUDE REGEX "^[1-6].$|^7[0-4]$")
    list(SORT archs COMPARE NATURAL)
endif()
if(SLUICE_CUDA STREQUAL "OFF")
    set(archs)
    message(STATUS "CUDA kernels: not embedded (SLUICE_CUDA=OFF)")
elseif(NOT archs)
    if(SLUICE_CUDA STREQUAL "ON")
        message(FATAL_ERROR "SLUICE_CUDA=ON, but no usable nvcc was found")
    endif()
    message(STATUS "CUDA kernels: not embedded (no nvcc)")
endif()

# Machine code for the generations that are measured, PTX of the oldest and the
# newest for all others. A debug tree has PTX of the first generation that copies
# asynchronously alone, without nvcc's slowest passes, which is made in a fraction
# of the time; the driver compiles it when it is loaded first.
set(nvcc_flags -O3)
set(codes)
if(archs)
    list(GET archs 0 oldest)
    list(GET archs -1 newest)
    if(CMAKE_BUILD_TYPE STREQUAL "Debug" AND 80 IN_LIST archs)
        set(codes compute_80)
        execute_process(COMMAND ${NVCC} --help OUTPUT_VARIABLE help
            ERROR_QUIET)
        if(help MATCHES "--Ofast-compile")
            set(nvcc_flags -Ofc min)
        endif()
    else()
        set(codes compute_${oldest} sm_80 sm_90 compute_${newest})
        list(REMOVE_DUPLICATES codes)
    endif()
    foreach(code ${codes})
        string(REGEX REPLACE "[a-z_]+" "" arch ${code})
        if(arch IN_LIST archs)
            list(APPEND nvcc_flags -gencode arch=compute_${arch},code=${code})
        endif()
    endforeach()
    message(STATUS "CUDA kernels: ${NVCC}, ${codes}")
endif()

set(SLUICE_FATBIN_SOURCE ${PROJECT_SOURCE_DIR}/src/gpu/kernels/fatbin.S)
set(SLUICE_NVCC_FLAGS ${nvcc_flags})
set(SLUICE_CUDA_ARCHS ${archs})

function(sluice_kernels target include)
    # A kernel is found by its name in the table, so it has no prototype.
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE C
        COMPILE_OPTIONS "-Wno-missing-prototypes;-Wno-unused-function")
    target_sources(${target} PRIVATE ${ARGN} ${SLUICE_FATBIN_SOURCE})
    if(NOT SLUICE_CUDA_ARCHS)
        return()
    endif()
    set(all ${CMAKE_BINARY_DIR}/kernels/${target}.cu)
    set(fatbin ${CMAKE_BINARY_DIR}/kernels/${target}.fatbin)
    set(includes "")
    foreach(kernel ${ARGN})
        string(APPEND includes "#include \"${kernel}\"\n")
    endforeach()
    file(CONFIGURE OUTPUT ${all} CONTENT "${includes}" @ONLY)
    add_custom_command(OUTPUT ${fatbin}
        COMMAND ${NVCC} -fatbin -std=c++17 --threads 0
            -I ${PROJECT_SOURCE_DIR}/include -I ${include}
            -I ${PROJECT_SOURCE_DIR}/src
            ${SLUICE_NVCC_FLAGS} -MD -MT ${fatbin} -MF ${fatbin}.d
            -o ${fatbin} ${all}
        DEPENDS ${all} ${ARGN}
        DEPFILE ${fatbin}.d
        COMMENT "Compiling the CUDA kernels of ${target}"
        VERBATIM)
    # The assembler reads the file by .incbin, which CMake cannot see.
    set_source_files_properties(${SLUICE_FATBIN_SOURCE} PROPERTIES
        COMPILE_DEFINITIONS "KERNEL_FATBIN=\"${fatbin}\""
        OBJECT_DEPENDS ${fatbin})
endfunction()

file(GLOB kernels CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/src/gpu/kernels/*.cu)
sluice_kernels(sluice_core ${PROJECT_SOURCE_DIR}/src ${kernels})
