/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share: a runtime with given tiers, patterns. */
#ifndef STORE_HELP_H
#define STORE_HELP_H

#include "help.h"

#include "sluice/sluice.h"

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

#endif
