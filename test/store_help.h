/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share: a runtime with given tiers, patterns. */
#ifndef STORE_HELP_H
#define STORE_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sluice/sluice.h"

#define MIB (UINT64_C(1) << 20)

/* Sanitizers make the same steps ten times slower. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define STEPS(n) ((n) / 10)
#else
#define STEPS(n) (n)
#endif

static inline void show_log(void *user, int level, const char *line)
{
    (void)user;
    if (level == 0 && getenv("SHOW_LOG"))
        fprintf(stderr, "# %s\n", line);
}

static inline struct sl_config small_config(void)
{
    struct sl_config c;
    memset(&c, 0, sizeof(c));
    c.size = sizeof(c);
    c.workers = 2;
    c.depth = 64;
    c.arena_bytes = 24 * MIB;
    c.pinned_bytes = 8 * MIB;
    c.timeout_ns = UINT64_C(60000000000);
    return c;
}

static inline struct sl_runtime *open_store(const struct sl_config *c)
{
    struct sl_runtime *rt = NULL;
    sl_set_log(show_log, NULL);
    assert_int_equal(sl_open(c, &rt), 0);
    return rt;
}

static inline uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static inline uint64_t test_seed(void)
{
    const char *e = getenv("SEED");
    uint64_t seed = e ? strtoull(e, NULL, 0) : UINT64_C(0x5eed0001);
    printf("# SEED=%llu\n", (unsigned long long)seed);
    return seed ? seed : 1u;
}

static inline void fill(uint8_t *p, size_t n, uint64_t seed)
{
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1u;
    for (size_t i = 0; i < n; i++) {
        if (i % 8u == 0)
            next_random(&s);
        p[i] = (uint8_t)(s >> (8u * (i % 8u)));
    }
}

/* A fresh directory below the working directory (a real file system). */
static inline void make_dir(char *path, size_t n)
{
    snprintf(path, n, "store-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline void remove_dir(const char *path)
{
    char cmd[300];
    snprintf(cmd, sizeof(cmd), "rm -rf -- '%s'", path);
    assert_int_equal(system(cmd), 0);
}

#endif
