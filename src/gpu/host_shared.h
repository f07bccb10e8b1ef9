/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Shared memory of a block on the `host` device: objects found by the address
 * of a static variable. They are kept for the next block, which finds them
 * filled with a pattern: on a GPU they are uninitialised.
 */
#ifndef SLUICE_HOST_SHARED_H
#define SLUICE_HOST_SHARED_H

#include <stddef.h>
#include <stdint.h>

struct host_shared_object;

struct host_shared {
    struct host_shared_object *list;
    uint64_t block; /* number of the running block, from 1 */
};

/** Never null: aborts when there is no memory. */
void *host_shared_get(struct host_shared *s, const void *key, size_t bytes);
void host_shared_free(struct host_shared *s);
/** The calling plain thread's set; freed when the thread ends. */
struct host_shared *host_shared_plain(void);

#endif
