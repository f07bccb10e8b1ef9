/* SPDX-License-Identifier: Apache-2.0 */
/* Discards what is written; reads give zeros. It keeps a space map like the
 * others, so that a benchmark pays for everything but the bytes. */
#include "tier/common.h"

#include <stdlib.h>
#include <string.h>

static int null_run(struct tier_base *b, struct tier_io *io)
{
    (void)b;
    if (io->op == TIER_READ)
        memset(io->buf, 0, io->bytes);
    return SL_OK;
}

static int null_open(const struct tier_config *c, struct tier **out)
{
    int rc;
    struct tier_base *b = calloc(1, sizeof(*b));
    if (!b)
        return SL_ENOMEM;
    rc = tier_base_init(b, &tier_null_ops, c);
    if (rc) {
        free(b);
        return rc;
    }
    b->run = null_run;
    *out = &b->tier;
    return SL_OK;
}

static void null_close(struct tier *t)
{
    tier_base_fini((struct tier_base *)t);
    free(t);
}

const struct tier_ops tier_null_ops = {
    .kind = "null",
    .persistent = 0,
    .open = null_open,
    .close = null_close,
    .port_open = tier_now_open,
    .port_close = tier_now_close,
    .alloc = tier_base_alloc,
    .reserve = tier_base_reserve,
    .free = tier_base_free,
    .write = tier_now_write,
    .read = tier_now_read,
    .flush = tier_now_flush,
    .poll = tier_now_poll,
    .pending = tier_now_pending,
    .usage = tier_base_usage,
};
