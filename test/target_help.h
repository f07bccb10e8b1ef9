/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of targets share: blobs by number, figures by name. */
#ifndef TARGET_HELP_H
#define TARGET_HELP_H

#include "store_help.h"

#include <pthread.h>

#define NO_SCORE (-1.0f)

static inline uint64_t tag_of(struct sl_runtime *rt, const char *name)
{
    uint64_t tag = 0;
    assert_int_equal(sl_tag(rt, name, &tag), 0);
    return tag;
}

static inline int add(struct sl_runtime *rt, const char *name, const char *kind,
                      const char *path, uint64_t capacity, float score)
{
    const struct sl_target_opts o = {.size = sizeof(o),
                                     .name = name,
                                     .kind = kind,
                                     .path = path,
                                     .device = "host",
                                     .capacity = capacity,
                                     .score = score};
    return sl_target_add(rt, &o, NULL);
}

static inline struct sl_target_info info_of(struct sl_runtime *rt,
                                            const char *name)
{
    struct sl_target_info info[SL_TARGETS_MAX];
    int n = sl_targets(rt, info, SL_TARGETS_MAX);
    for (int i = 0; i < n; i++)
        if (!strcmp(info[i].name, name))
            return info[i];
    fail_msg("no target %s", name);
    return info[0];
}

static inline int put(struct sl_runtime *rt, uint64_t tag, int i, uint64_t size,
                      float score, int persist)
{
    struct sl_put_opts o = {.size = sizeof(o),
                            .score = score,
                            .persist = (uint8_t)persist,
                            .flags = SL_F_REPLACE};
    uint8_t *data = malloc(size + 8u);
    char name[32];
    snprintf(name, sizeof(name), "blob-%d", i);
    fill(data, size, (uint64_t)i + 1u);
    int rc = sl_put(rt, tag, name, 0, data, size, &o);
    free(data);
    return rc;
}

/* SL_ECHECKSUM here: the bytes are not those that were put. */
static inline int check(struct sl_runtime *rt, uint64_t tag, int i,
                        uint64_t size)
{
    uint8_t *want = malloc(size + 8u), *have = calloc(1, size + 8u);
    char name[32];
    snprintf(name, sizeof(name), "blob-%d", i);
    fill(want, size, (uint64_t)i + 1u);
    int rc = sl_get(rt, tag, name, 0, have, size, NULL);
    if (!rc && memcmp(want, have, size) != 0)
        rc = SL_ECHECKSUM;
    free(want);
    free(have);
    return rc;
}

static inline uint64_t bytes_on(struct sl_runtime *rt, uint64_t tag, int i,
                                const char *kind)
{
    struct sl_stat st;
    char name[32];
    snprintf(name, sizeof(name), "blob-%d", i);
    assert_int_equal(sl_stat(rt, tag, name, &st), 0);
    for (unsigned k = 0; k < st.n_tiers; k++)
        if (!strcmp(st.tier[k].kind, kind))
            return st.tier[k].bytes;
    return 0;
}

static inline struct sl_config no_eviction(void)
{
    struct sl_config c = small_config();
    c.evict_high = 1.0f;
    return c;
}

/* A thread that writes and checks, or checks alone. */
struct user {
    struct sl_runtime *rt;
    uint64_t tag;
    int first, n;
    uint64_t size;
    int writes;
    int *stop; /* atomic */
    int rounds, rc;
};

static inline void *use(void *arg)
{
    struct user *u = arg;
    int rc = 0;
    while (!rc && !__atomic_load_n(u->stop, __ATOMIC_RELAXED)) {
        for (int i = u->first; i < u->first + u->n && !rc; i++) {
            if (u->writes)
                rc = put(u->rt, u->tag, i, u->size, i % 2 ? 0.7f : -1, 0);
            if (!rc)
                rc = check(u->rt, u->tag, i, u->size);
        }
        /* Relaxed, both: the main thread looks now and then. */
        __atomic_fetch_add(&u->rounds, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&u->rc, rc, __ATOMIC_RELAXED);
    }
    return NULL;
}

#endif
