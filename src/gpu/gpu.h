/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The only door to a device: one table of functions for each kind of driver.
 *
 * `host` runs kernels on threads and is always there; `cuda` loads the driver
 * API at run time. Nothing here is called on the way of a task.
 *
 * Order of calls: gpu_open, pin / alloc / stream_open, launch, stream_wait,
 * then the reverse. All functions may be called from any thread. Codes:
 * SL_ENODEV no driver or no such ordinal, SL_ENOMEM, SL_EDEVICE the driver
 * failed (logged once with its text), SL_ENOSYS the kernel is not in this
 * build, SL_ETIMEDOUT.
 */
#ifndef SLUICE_GPU_H
#define SLUICE_GPU_H

#include "sluice/status.h"

#include <stddef.h>
#include <stdint.h>

/** An address of a device; the host never follows it. */
typedef uint64_t sl_devptr;

struct gpu;
struct gpu_stream;
struct gpu_event;

struct gpu_info {
    char name[96];
    int ordinal;
    uint32_t sms; /* multiprocessors; CPUs for host */
    uint32_t cc;  /* compute capability x 10, 0 for host */
    uint64_t mem_bytes;
    int numa_node; /* -1 unknown */
    char pci[16];
};

struct gpu_dim {
    uint32_t x, y, z;
};

/** What an address belongs to. */
struct gpu_memory {
    int ordinal; /* of the device */
    sl_devptr
        base; /* of the allocation, or of the part that is mapped at once */
    uint64_t bytes;
};

/** One copy between two addresses of a device; `from` 0: zeros. */
struct gpu_copy {
    sl_devptr to, from;
    uint64_t bytes; /* > 0 */
};

/** A kernel on its way. `args` is copied by launch before it returns. */
struct gpu_launch {
    const char *kernel; /* name in kernels/table.h */
    struct gpu_dim grid, block;
    const void *args; /* the kernel's one struct */
    size_t args_bytes;
};

struct gpu_ops {
    const char *kind; /* "host", "cuda" */
    /** Number of devices, 0 when there is none; `why` tells in words. */
    int (*count)(char *why, size_t why_bytes);
    int (*open)(int ordinal, struct gpu **out);
    void (*close)(struct gpu *g);
    void (*info)(struct gpu *g, struct gpu_info *out);
    /** Device memory, zeroed, aligned 256; `bytes` may be 0. */
    int (*alloc)(struct gpu *g, size_t bytes, sl_devptr *out);
    void (*release)(struct gpu *g, sl_devptr p);
    /** Whose memory an address is: 1 and *out of a device of this kind; 0 the
     *  host's, page-locked or not, or nobody's. */
    int (*memory_of)(sl_devptr p, struct gpu_memory *out);
    /** Makes [mem, mem + bytes) visible to the device (page-locks it);
     *  page-aligned, may be called for several devices. */
    int (*pin)(struct gpu *g, void *mem, size_t bytes, sl_devptr *out);
    void (*unpin)(struct gpu *g, void *mem);
    /** Synchronous copies (on an own stream: no device-wide synchronise). */
    int (*to_device)(struct gpu *g, sl_devptr dst, const void *src, size_t n);
    int (*from_device)(struct gpu *g, void *dst, sl_devptr src, size_t n);
    int (*stream_open)(struct gpu *g, struct gpu_stream **out);
    void (*stream_close)(struct gpu_stream *s);
    /** Asynchronous; kernels on one stream run in order. */
    int (*launch)(struct gpu_stream *s, const struct gpu_launch *l);
    /** Occupancy: how many blocks of `threads` of a kernel one multiprocessor
     *  runs at once, by its registers and shared memory; *out >= 1. */
    int (*occupancy)(struct gpu *g, const char *kernel, uint32_t threads,
                     uint32_t *out);
    /** Asynchronous copies on the stream's copy engine; memory must be pinned
     *  and stay until stream_wait. */
    int (*copy_async)(struct gpu_stream *s, sl_devptr dst, sl_devptr src,
                      size_t n);
    /** As copy_async for n copies, in order, but stream_wait does not know of
     *  them: an event behind them tells when they have ended. With an error
     *  some may be under way. */
    int (*copy_list)(struct gpu_stream *s, const struct gpu_copy *c, size_t n);
    /** Waits until all that was launched has ended. SL_EDEVICE if a kernel
     *  failed. `elapsed_ns` (may be null): device time from the first launch
     *  after the last wait to the end of the last. */
    int (*stream_wait)(struct gpu_stream *s, uint64_t timeout_ns,
                       uint64_t *elapsed_ns);
    /** As stream_wait, but never waits: SL_EAGAIN while something runs. */
    int (*stream_test)(struct gpu_stream *s, uint64_t *elapsed_ns);
    /** A point on a stream, set again by each record. */
    int (*event_open)(struct gpu *g, struct gpu_event **out);
    /** No stream still has the event before it. */
    void (*event_close)(struct gpu_event *e);
    /** The point behind all that was put on `s` so far. */
    int (*event_record)(struct gpu_event *e, struct gpu_stream *s);
    /** What is put on `s` from here on starts after the event's last record. */
    int (*event_follow)(struct gpu_stream *s, struct gpu_event *e);
    /** 0 when the last record is reached, or there was none; SL_EAGAIN not yet;
     *  SL_EDEVICE if something before it failed. */
    int (*event_test)(struct gpu_event *e);
    /** Device time from one event to another; both are reached. */
    int (*event_between)(struct gpu_event *first, struct gpu_event *last,
                         uint64_t *ns);
};

/** One open device; backends embed this first. */
struct gpu {
    const struct gpu_ops *ops;
};
struct gpu_stream {
    struct gpu *gpu;
};
struct gpu_event {
    struct gpu *gpu;
};

extern const struct gpu_ops gpu_host_ops;
extern const struct gpu_ops gpu_cuda_ops;

/**
 * Opens by name: "host", "cuda:N", or "auto" (the first CUDA device, else
 * host). Logs why there is no GPU once. SL_EINVAL for an unknown name.
 */
int gpu_open(const char *name, struct gpu **out);

#endif
