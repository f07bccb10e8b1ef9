/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/local.h"

#include <pthread.h>
#include <stdlib.h>

struct local {
    void *p;
    size_t bytes;
    void (*drop)(void *);
};

static pthread_key_t key;
static int key_code;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void drop_all(void *user)
{
    struct local *all = user;
    for (int i = 0; i < LOCALS; i++)
        if (all[i].p)
            all[i].drop(all[i].p);
    free(all);
}

static void make_key(void)
{
    key_code = pthread_key_create(&key, drop_all);
}

static struct local *local_of(enum local_kind kind)
{
    pthread_once(&once, make_key);
    if (key_code)
        return NULL;
    struct local *all = pthread_getspecific(key);
    if (all)
        return &all[kind];
    all = calloc(LOCALS, sizeof(*all));
    if (!all)
        return NULL;
    if (pthread_setspecific(key, all)) {
        free(all);
        return NULL;
    }
    return &all[kind];
}

void *local_bytes(enum local_kind kind, size_t bytes)
{
    struct local *l = local_of(kind);
    if (!l)
        return NULL;
    if (l->p && l->bytes >= bytes)
        return l->p;
    free(l->p);
    l->p = malloc(bytes);
    l->bytes = bytes;
    l->drop = free;
    return l->p;
}

void *local_object(enum local_kind kind, void *(*make)(void),
                   void (*drop)(void *))
{
    struct local *l = local_of(kind);
    if (!l)
        return NULL;
    if (!l->p) {
        l->p = make();
        l->drop = drop;
    }
    return l->p;
}
