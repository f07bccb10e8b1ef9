/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The `host` device: a grid of kernel threads run on OS threads.
 *
 * What it is for: the same kernel source, and so the true protocol, runs where
 * no GPU is, and under the sanitizers. Usual order: define a kernel with
 * SL_KERNEL (port.h), fill a `struct sl_host_grid`, call sl_host_launch.
 *
 * A block runs on one OS thread; its threads are fibres in warps of 32 that
 * switch at warp primitives, at slp_syncblock and in slp_pause. Different
 * blocks run at once, as many as there are OS threads; a block that waits for
 * one that has not begun waits for ever when no OS thread is left for it, as
 * on a GPU that cannot hold both. ThreadSanitizer sees each kernel thread as a
 * thread, and only slp_syncwarp, slp_syncblock and atomics as order.
 *
 * What it does not do: time slices. A loop without a primitive or slp_pause
 * keeps the other threads of its block from running.
 */
#ifndef SLUICE_DEVICE_HOST_H
#define SLUICE_DEVICE_HOST_H

#include "../status.h"

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define SL_HOST_API __attribute__((visibility("default")))

/** Extent in three dimensions; 0 means 1. */
struct sl_host_dim {
    uint32_t x, y, z;
};

/** Shape of a launch. */
struct sl_host_grid {
    struct sl_host_dim grid;  /* blocks, product below 2^32 */
    struct sl_host_dim block; /* threads of a block, product 1 to 1024 */
    uint32_t threads;         /* OS threads = blocks at once, 0: as many as
                                 there are CPUs to run them */
};

/**
 * Runs a grid and returns when all its threads have ended.
 *
 * `arg` is borrowed until return and handed to each kernel thread. Any thread
 * may call; the caller is one of the OS threads. What the caller wrote before
 * is visible to the kernel, and what the kernel wrote to the caller after.
 *
 * Returns 0, SL_EINVAL (null kernel, a product out of range) or SL_ENOMEM (no
 * memory for stacks, or no OS thread); with an error no kernel thread has run.
 *
 * A kernel whose threads all wait at primitives that can never complete, or
 * that names a warp mask without the calling lane, has a bug of its own: one
 * line for each group of waiters goes to stderr, with block, warp, mask and
 * arrived lanes, and the process aborts.
 */
SL_HOST_API int sl_host_launch(void (*kernel)(const void *arg),
                               const struct sl_host_grid *g, const void *arg);

/* ---- what port_host.h needs; not for others ---- */

/** Place of a kernel thread in its grid. */
struct sl_host_thread {
    uint32_t thread, threads; /* index in the block, threads of the block */
    uint32_t block, blocks;
    uint32_t lane, lanes; /* lane in the warp, mask the warp started with */
};

/**
 * The kernel thread that runs on this OS thread; null in a plain thread. It is
 * read in each slp_ call, hence the model that costs one load; it takes 8 bytes
 * of the room that the loader keeps for libraries that are loaded late.
 */
SL_HOST_API extern __thread struct sl_host_thread *sl_host_self
    __attribute__((tls_model("initial-exec")));

/* Primitives of a kernel thread; sl_host_self is not null. */
SL_HOST_API uint32_t sl_host_ballot(uint32_t mask, int pred);
SL_HOST_API uint32_t sl_host_shfl(uint32_t mask, uint32_t v, uint32_t src);
SL_HOST_API void sl_host_syncwarp(uint32_t mask);
SL_HOST_API void sl_host_syncblock(void);

/* These serve plain threads too. */
SL_HOST_API void sl_host_pause(uint32_t round);
SL_HOST_API uint64_t sl_host_now(void);
/**
 * The object of the block (of the plain thread) for `key`, the address of a
 * static variable; aligned 64, made at the first use. Aborts with a line on
 * stderr when there is no memory: a GPU has none to run out of either.
 */
SL_HOST_API void *sl_host_shared(const void *key, size_t bytes);

#if defined(__cplusplus)
}
#endif

#endif
