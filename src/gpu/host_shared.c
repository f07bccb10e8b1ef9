/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/host_shared.h"

#include "gpu/fibre.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_ALIGN 64u
#define SHARED_PATTERN 0xa5

struct host_shared_object {
    struct host_shared_object *next;
    const void *key;
    size_t bytes;
    uint64_t block; /* that used it last */
    _Alignas(SHARED_ALIGN) unsigned char data[];
};

__attribute__((noreturn)) static void no_memory(size_t bytes)
{
    fprintf(stderr, "sluice host device: no memory for %zu shared bytes\n",
            bytes);
    abort();
}

FIBRE_SCHED static struct host_shared_object *
shared_add(struct host_shared *s, const void *key, size_t bytes)
{
    size_t all = sizeof(struct host_shared_object) + bytes;
    all = (all + SHARED_ALIGN - 1u) / SHARED_ALIGN * SHARED_ALIGN;
    struct host_shared_object *o =
        (struct host_shared_object *)aligned_alloc(SHARED_ALIGN, all);
    if (!o)
        no_memory(bytes);
    o->key = key;
    o->bytes = bytes;
    o->block = ~s->block;
    o->next = s->list;
    s->list = o;
    return o;
}

FIBRE_SCHED void *host_shared_get(struct host_shared *s, const void *key,
                                  size_t bytes)
{
    struct host_shared_object *o = s->list;
    while (o && o->key != key)
        o = o->next;
    if (!o)
        o = shared_add(s, key, bytes);
    if (o->block != s->block) {
        memset(o->data, SHARED_PATTERN, o->bytes);
        o->block = s->block;
        fibre_release(o);
    }
    /* Orders the fill, which the fibre did that came first, before all uses. */
    fibre_acquire(o);
    return o->data;
}

void host_shared_free(struct host_shared *s)
{
    while (s->list) {
        struct host_shared_object *o = s->list;
        s->list = o->next;
        free(o);
    }
}

/* ---- plain threads ---- */

static pthread_once_t plain_once = PTHREAD_ONCE_INIT;
static pthread_key_t plain_key;
static int plain_key_made;

static void plain_end(void *set)
{
    host_shared_free((struct host_shared *)set);
    free(set);
}

static void plain_begin(void)
{
    plain_key_made = pthread_key_create(&plain_key, plain_end) == 0;
}

struct host_shared *host_shared_plain(void)
{
    pthread_once(&plain_once, plain_begin);
    struct host_shared *s = NULL;
    if (plain_key_made)
        s = (struct host_shared *)pthread_getspecific(plain_key);
    if (s)
        return s;
    s = (struct host_shared *)calloc(1, sizeof(*s));
    if (!s || !plain_key_made || pthread_setspecific(plain_key, s))
        no_memory(sizeof(*s));
    return s;
}
