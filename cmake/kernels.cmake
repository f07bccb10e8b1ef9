# SPDX-License-Identifier: Apache-2.0
# Each src/gpu/kernels/*.cu is compiled twice: by the C compiler for the host
# device, always, and by nvcc into one embedded fat binary when nvcc is there.
set(kernel_dir ${PROJECT_SOURCE_DIR}/src/gpu/kernels)
file(GLOB kernels CONFIGURE_DEPENDS ${kernel_dir}/*.cu)

target_sources(sluice_core PRIVATE ${kernels} ${kernel_dir}/fatbin.S)
if(kernels)
    # A kernel is found by its name in the table, so it has no prototype.
    set_source_files_properties(${kernels} PROPERTIES LANGUAGE C
        COMPILE_OPTIONS "-Wno-missing-prototypes;-Wno-unused-function")
endif()

if(SLUICE_CUDA STREQUAL "OFF" OR NOT kernels)
    message(STATUS "CUDA kernels: not embedded (SLUICE_CUDA=${SLUICE_CUDA})")
    return()
endif()

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
if(NOT archs)
    if(SLUICE_CUDA STREQUAL "ON")
        message(FATAL_ERROR "SLUICE_CUDA=ON, but no usable nvcc was found")
    endif()
    message(STATUS "CUDA kernels: not embedded (no nvcc)")
    return()
endif()

# Machine code for the generations that are measured, PTX of the oldest and the
# newest for all others.
set(gencode)
foreach(arch 80 90)
    if(arch IN_LIST archs)
        list(APPEND gencode -gencode arch=compute_${arch},code=sm_${arch})
    endif()
endforeach()
list(GET archs 0 oldest)
list(GET archs -1 newest)
set(ptx ${oldest} ${newest})
list(REMOVE_DUPLICATES ptx)
foreach(arch ${ptx})
    list(APPEND gencode -gencode arch=compute_${arch},code=compute_${arch})
endforeach()
message(STATUS "CUDA kernels: ${NVCC}, sm_80 sm_90, PTX ${ptx}")

set(all ${CMAKE_BINARY_DIR}/kernels/all.cu)
set(fatbin ${CMAKE_BINARY_DIR}/kernels/all.fatbin)
set(includes "")
foreach(kernel ${kernels})
    get_filename_component(name ${kernel} NAME)
    string(APPEND includes "#include \"gpu/kernels/${name}\"\n")
endforeach()
file(CONFIGURE OUTPUT ${all} CONTENT "${includes}" @ONLY)

add_custom_command(OUTPUT ${fatbin}
    COMMAND ${NVCC} -fatbin -O3 -std=c++17 --threads 0
        -I ${PROJECT_SOURCE_DIR}/include -I ${PROJECT_SOURCE_DIR}/src
        ${gencode} -MD -MT ${fatbin} -MF ${fatbin}.d -o ${fatbin} ${all}
    DEPENDS ${all} ${kernels}
    DEPFILE ${fatbin}.d
    COMMENT "Compiling the CUDA kernels into a fat binary"
    VERBATIM)
# The assembler reads the file by .incbin, which CMake cannot see.
set_source_files_properties(${kernel_dir}/fatbin.S PROPERTIES
    COMPILE_DEFINITIONS "KERNEL_FATBIN=\"${fatbin}\""
    OBJECT_DEPENDS ${fatbin})
