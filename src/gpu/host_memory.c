/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/host_memory.h"

#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_ALIGN 256u

struct block {
    struct block *next;
    uint8_t *at;
    size_t bytes;
};

/* A device has few allocations, so one list under one lock is enough. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks;

int host_alloc(struct gpu *g, size_t bytes, sl_devptr *out)
{
    struct block *b = malloc(sizeof(*b));
    void *p = NULL;
    (void)g;
    if (!b || posix_memalign(&p, DEVICE_ALIGN, bytes ? bytes : 1u)) {
        log_error("host device: no memory for %zu bytes", bytes);
        free(b);
        return SL_ENOMEM;
    }
    memset(p, 0, bytes);
    *out = (sl_devptr)(uintptr_t)p;
    *b = (struct block){.at = p, .bytes = bytes ? bytes : 1u};
    pthread_mutex_lock(&lock);
    b->next = blocks;
    blocks = b;
    pthread_mutex_unlock(&lock);
    return 0;
}

void host_release(struct gpu *g, sl_devptr p)
{
    struct block **at = &blocks, *b;
    (void)g;
    if (!p)
        return;
    pthread_mutex_lock(&lock);
    while (*at && (sl_devptr)(uintptr_t)(*at)->at != p)
        at = &(*at)->next;
    b = *at;
    if (b)
        *at = b->next;
    pthread_mutex_unlock(&lock);
    if (!b) {
        log_error("host device: memory at %#llx is not its own",
                  (unsigned long long)p);
        return;
    }
    free(b->at);
    free(b);
}

int host_memory_of(sl_devptr p, struct gpu_memory *out)
{
    const struct block *b;
    pthread_mutex_lock(&lock);
    for (b = blocks; b; b = b->next)
        if (p - (sl_devptr)(uintptr_t)b->at < b->bytes)
            break;
    if (b)
        *out = (struct gpu_memory){0, (sl_devptr)(uintptr_t)b->at, b->bytes};
    pthread_mutex_unlock(&lock);
    return b != NULL;
}
