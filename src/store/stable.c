/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * What the committer asks of the data file: a sync before records that name its
 * bytes, and at a replay whether the bytes are there. It has the last port of
 * the file for itself.
 */

/* Larger than any unit that was ever written. */
#define VERIFY_MAX (UINT32_C(64) << 20)

struct waited {
    struct tier_io io;
    int ended, code;
};

static void wait_done(struct tier_io *io, int code)
{
    struct waited *w = io->user;
    w->code = code;
    w->ended = 1;
}

static int wait_for(struct store *s, struct waited *w,
                    int (*op)(struct tier_port *p, struct tier_io *io))
{
    struct tier *tier = s->tiers[TARGET_FILE];
    struct tier_port *port = *store_port(s, TARGET_FILE, s->config.n_workers);
    w->io.done = wait_done;
    w->io.user = w;
    int rc = op(port, &w->io);
    while (!rc && !w->ended) {
        const struct timespec nap = {0, 20000};
        if (!tier->ops->poll(port))
            nanosleep(&nap, NULL); /* a sync takes much longer than this */
    }
    return rc ? rc : w->code;
}

static int sync_data(void *user)
{
    struct store *s = user;
    struct waited w = {0};
    return wait_for(s, &w, s->tiers[TARGET_FILE]->ops->flush);
}

static int verify(void *user, const struct meta_extent *e)
{
    struct store *s = user;
    struct waited w = {0};
    uint64_t take =
        ((uint64_t)e->stored + TIER_BLOCK - 1u) / TIER_BLOCK * TIER_BLOCK;
    uint32_t summed = e->codec ? e->stored : e->bytes;
    if (e->target != 0 || take > VERIFY_MAX)
        return SL_ECHECKSUM;
    w.io.buf = aligned_alloc(TIER_BLOCK, take);
    if (!w.io.buf)
        return SL_ENOMEM;
    w.io.loc = e->loc;
    w.io.bytes = (uint32_t)take;
    int rc = wait_for(s, &w, s->tiers[TARGET_FILE]->ops->read);
    /* Behind the end of the file, too: its length was not stored. */
    if (rc || XXH3_64bits(w.io.buf, summed) != e->sum)
        rc = SL_ECHECKSUM;
    free(w.io.buf);
    return rc;
}

static void settled(void *user)
{
    settle_tell(user);
}

static int sync_port(struct store *s)
{
    struct tier *tier = s->tiers[TARGET_FILE];
    uint32_t last = s->config.n_workers;
    if (tier)
        return tier->ops->port_open(tier, last,
                                    store_port(s, TARGET_FILE, last));
    log_error("store: file_bytes is 0, a data directory needs a file tier");
    return SL_ECONFIG;
}

int stable_open(struct store *s)
{
    struct meta_config m = {.dir = s->dir->path,
                            .sync = sync_data,
                            .settled = settled,
                            .verify = verify,
                            .delay_ms = s->config.config->flush_ms,
                            .user = s};
    int rc = sync_port(s);
    return rc ? rc : meta_open(&m, &s->meta);
}
