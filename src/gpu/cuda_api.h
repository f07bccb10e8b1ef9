/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The part of the CUDA driver API that cuda.c calls, loaded at run time.
 *
 * No CUDA header is needed to build. Types are opaque, numbers are those of the
 * driver's stable binary interface (cuda.h of any toolkit since 11.0).
 */
#ifndef SLUICE_CUDA_API_H
#define SLUICE_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

struct cu_context;
struct cu_module;
struct cu_function;
struct cu_stream;
struct cu_event;

enum {
    CU_OK = 0,
    CU_OUT_OF_MEMORY = 2,
    CU_NO_DEVICE = 100,
    CU_INVALID_DEVICE = 101,
    CU_NOT_FOUND = 500,
    CU_NOT_READY = 600,
    CU_HOST_MEMORY_ALREADY_REGISTERED = 712
};

enum {
    CU_ATTR_MULTIPROCESSORS = 16,
    CU_ATTR_CC_MAJOR = 75,
    CU_ATTR_CC_MINOR = 76
};

/* Attributes of an address, and the kind of memory that is a device's. */
enum {
    CU_POINTER_MEMORY = 2,
    CU_POINTER_ORDINAL = 9,
    CU_POINTER_BASE = 11,
    CU_POINTER_BYTES = 12
};
#define CU_MEMORY_DEVICE 2u

/* Attributes of a kernel. */
enum { CU_KERNEL_SHARED_BYTES = 1, CU_KERNEL_CARVEOUT = 9 };

#define CU_STREAM_NON_BLOCKING 1u
#define CU_HOST_PORTABLE 1u
#define CU_HOST_DEVICEMAP 2u

/* X(field, symbol, parameters); all return a code of the driver. */
#define CUDA_CALLS(X)                                                          \
    X(init, "cuInit", (unsigned))                                              \
    X(driver_version, "cuDriverGetVersion", (int *))                           \
    X(error_name, "cuGetErrorName", (int, const char **))                      \
    X(error_string, "cuGetErrorString", (int, const char **))                  \
    X(device_count, "cuDeviceGetCount", (int *))                               \
    X(device_get, "cuDeviceGet", (int *, int))                                 \
    X(device_name, "cuDeviceGetName", (char *, int, int))                      \
    X(device_attr, "cuDeviceGetAttribute", (int *, int, int))                  \
    X(device_mem, "cuDeviceTotalMem_v2", (size_t *, int))                      \
    X(device_pci, "cuDeviceGetPCIBusId", (char *, int, int))                   \
    X(ctx_retain, "cuDevicePrimaryCtxRetain", (struct cu_context **, int))     \
    X(ctx_release, "cuDevicePrimaryCtxRelease_v2", (int))                      \
    X(ctx_push, "cuCtxPushCurrent_v2", (struct cu_context *))                  \
    X(ctx_pop, "cuCtxPopCurrent_v2", (struct cu_context **))                   \
    X(module_load, "cuModuleLoadData", (struct cu_module **, const void *))    \
    X(module_unload, "cuModuleUnload", (struct cu_module *))                   \
    X(module_function, "cuModuleGetFunction",                                  \
      (struct cu_function **, struct cu_module *, const char *))               \
    X(function_get, "cuFuncGetAttribute", (int *, int, struct cu_function *))  \
    X(function_set, "cuFuncSetAttribute", (struct cu_function *, int, int))    \
    X(mem_alloc, "cuMemAlloc_v2", (uint64_t *, size_t))                        \
    X(mem_free, "cuMemFree_v2", (uint64_t))                                    \
    X(memset_async, "cuMemsetD8Async",                                         \
      (uint64_t, unsigned char, size_t, struct cu_stream *))                   \
    X(copy_in, "cuMemcpyHtoDAsync_v2",                                         \
      (uint64_t, const void *, size_t, struct cu_stream *))                    \
    X(copy_out, "cuMemcpyDtoHAsync_v2",                                        \
      (void *, uint64_t, size_t, struct cu_stream *))                          \
    X(copy_any, "cuMemcpyAsync",                                               \
      (uint64_t, uint64_t, size_t, struct cu_stream *))                        \
    X(pointer_get, "cuPointerGetAttribute", (void *, int, uint64_t))           \
    X(pointer_all, "cuPointerGetAttributes",                                   \
      (unsigned, const int *, void **, uint64_t))                              \
    X(host_register, "cuMemHostRegister_v2", (void *, size_t, unsigned))       \
    X(host_unregister, "cuMemHostUnregister", (void *))                        \
    X(host_pointer, "cuMemHostGetDevicePointer_v2",                            \
      (uint64_t *, void *, unsigned))                                          \
    X(stream_create, "cuStreamCreate", (struct cu_stream **, unsigned))        \
    X(stream_destroy, "cuStreamDestroy_v2", (struct cu_stream *))              \
    X(stream_sync, "cuStreamSynchronize", (struct cu_stream *))                \
    X(stream_follow, "cuStreamWaitEvent",                                      \
      (struct cu_stream *, struct cu_event *, unsigned))                       \
    X(event_create, "cuEventCreate", (struct cu_event **, unsigned))           \
    X(event_destroy, "cuEventDestroy_v2", (struct cu_event *))                 \
    X(event_record, "cuEventRecord", (struct cu_event *, struct cu_stream *))  \
    X(event_query, "cuEventQuery", (struct cu_event *))                        \
    X(event_elapsed, "cuEventElapsedTime",                                     \
      (float *, struct cu_event *, struct cu_event *))                         \
    X(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor",                \
      (int *, struct cu_function *, int, size_t))                              \
    X(launch, "cuLaunchKernel",                                                \
      (struct cu_function *, unsigned, unsigned, unsigned, unsigned, unsigned, \
       unsigned, unsigned, struct cu_stream *, void **, void **))

struct cuda_api {
#define CUDA_FIELD(field, symbol, params) int(*field) params;
    CUDA_CALLS(CUDA_FIELD)
#undef CUDA_FIELD
};

/** The calls of the driver; after cuda_driver has returned 1. */
extern struct cuda_api cu;

/**
 * 1 when the driver is loaded and initialised, which the first call does; it
 * stays for the life of the process. 0 when there is none that works: cuda_why
 * tells in words. Any thread.
 */
int cuda_driver(void);
/** Why cuda_driver is 0, or an empty string. After cuda_driver. */
const char *cuda_why(void);

/**
 * 0 for CU_OK; else logs `what` with the driver's name and text of the code
 * and returns SL_ENOMEM, SL_ENODEV or SL_EDEVICE. The driver is there.
 */
int cuda_check(int code, const char *what);

#endif
