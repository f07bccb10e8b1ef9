/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Threads that share loops. A loop's caller works too, so a pool of one has no
 * thread of its own. Several loops may run at once; the oldest is served first.
 */
#ifndef SLUICE_PAGES_POOL_H
#define SLUICE_PAGES_POOL_H

#include <stddef.h>
#include <stdint.h>

struct pool;

/** Runs one item; any thread of the pool, or the caller. */
typedef void (*pool_fn)(void *arg, uint64_t item);

/** With fewer threads than asked when the system gives no more. SL_ENOMEM. */
int pool_open(uint32_t threads, struct pool **out);
/** No loop runs. */
void pool_close(struct pool *p);
uint32_t pool_threads(const struct pool *p);

/** fn(arg, 0 .. n - 1), each once, in no order; returns when all have ended. */
void pool_run(struct pool *p, uint64_t n, pool_fn fn, void *arg);
/** memcpy by all threads. */
void pool_copy(struct pool *p, void *dst, const void *src, size_t bytes);

#endif
