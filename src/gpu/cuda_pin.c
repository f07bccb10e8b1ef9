/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/cuda_pin.h"

#include "base/log.h"
#include "gpu/cuda_api.h"
#include "sluice/status.h"

#include <pthread.h>
#include <stdlib.h>

struct pin {
    struct pin *next;
    void *mem;
    size_t bytes;
    unsigned users;
    int ours; /* 0: the program had registered the range before */
    int device;
    struct cu_context *ctx;
};

/* Registering is rare and slow, so one list under one lock is enough. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pin *pins;

static struct pin **pin_find(const void *mem)
{
    struct pin **at = &pins;
    while (*at && (*at)->mem != mem)
        at = &(*at)->next;
    return at;
}

static int pin_new(void *mem, size_t bytes, int device, struct cu_context *ctx)
{
    struct cu_context *kept = NULL;
    struct pin *p = calloc(1, sizeof(*p));
    int code, rc;

    if (!p)
        return SL_ENOMEM;
    /* The device may be closed before another one lets the range go. */
    rc = cuda_check(cu.ctx_retain(&kept, device), "cuDevicePrimaryCtxRetain");
    if (rc)
        goto free_pin;
    code = cu.host_register(mem, bytes, CU_HOST_PORTABLE | CU_HOST_DEVICEMAP);
    if (code != CU_HOST_MEMORY_ALREADY_REGISTERED) {
        rc = cuda_check(code, "cuMemHostRegister");
        if (rc)
            goto release_context;
        p->ours = 1;
    }
    p->mem = mem;
    p->bytes = bytes;
    p->users = 1;
    p->device = device;
    p->ctx = ctx;
    p->next = pins;
    pins = p;
    return 0;

release_context:
    cu.ctx_release(device);
free_pin:
    free(p);
    return rc;
}

int cuda_pin(void *mem, size_t bytes, int device, struct cu_context *ctx)
{
    int rc = 0;
    pthread_mutex_lock(&lock);
    struct pin *p = *pin_find(mem);
    if (!p) {
        rc = pin_new(mem, bytes, device, ctx);
    } else if (bytes > p->bytes) {
        log_error("memory at %p is pinned with %zu bytes, not %zu", mem,
                  p->bytes, bytes);
        rc = SL_EINVAL;
    } else {
        p->users++;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static void pin_drop(struct pin *p)
{
    struct cu_context *popped;
    if (p->ours && cuda_check(cu.ctx_push(p->ctx), "cuCtxPushCurrent") == 0) {
        (void)cuda_check(cu.host_unregister(p->mem), "cuMemHostUnregister");
        cu.ctx_pop(&popped);
    }
    cu.ctx_release(p->device);
    free(p);
}

void cuda_unpin(void *mem)
{
    pthread_mutex_lock(&lock);
    struct pin **at = pin_find(mem);
    struct pin *p = *at;
    if (!p) {
        log_error("memory at %p is not pinned", mem);
    } else if (--p->users == 0) {
        *at = p->next;
        pin_drop(p);
    }
    pthread_mutex_unlock(&lock);
}
