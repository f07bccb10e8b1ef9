/* SPDX-License-Identifier: Apache-2.0 */
#include "store/dir.h"
#include "store/meta_carry.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * What the committer asks of targets: a sync before records that name their
 * bytes, and at a replay whether the bytes are there.
 */

/* Larger than any unit that was ever written. */
#define VERIFY_MAX (UINT32_C(64) << 20)

static int sync_data(void *user)
{
    return targets_sync(user);
}

static int verify(void *user, const struct meta_extent *e)
{
    struct store *s = user;
    struct tier_io io = {.loc = e->loc};
    uint64_t take =
        ((uint64_t)e->stored + TIER_BLOCK - 1u) / TIER_BLOCK * TIER_BLOCK;
    uint32_t summed = e->codec ? e->stored : e->bytes;
    int t = target_of_number(s, e->target);
    if (t < 0 || take > VERIFY_MAX)
        return SL_ECHECKSUM;
    io.buf = aligned_alloc(TIER_BLOCK, take);
    if (!io.buf)
        return SL_ENOMEM;
    io.bytes = (uint32_t)take;
    int rc = target_run(s->target[t].sync, s->target[t].tier->ops->read, &io);
    /* Behind the end of the file, too: its length was not stored. */
    if (rc || XXH3_64bits(io.buf, summed) != e->sum)
        rc = SL_ECHECKSUM;
    free(io.buf);
    return rc;
}

/* ---- bytes that the log carries ---- */

static void landed_one(struct tier_io *io, int code)
{
    struct carry *c = io->user;
    struct store *s = c->store;
    s->landing--;
    if (code)
        s->land_code = code;
    /* Release: the bytes are with the target. Partner: target.c, sync_one. */
    __atomic_store_n(&s->target[c->target].dirty, 1u, __ATOMIC_RELEASE);
}

static void land(void *user, struct meta_change *m)
{
    struct store *s = user;
    struct change *c = m->user;
    pthread_mutex_lock(&s->sync);
    for (uint32_t i = 0; i < m->n_carried; i++) {
        struct carry *one = &c->carry[i];
        struct tier_port *port = s->target[one->target].sync;
        one->io.done = landed_one;
        one->io.user = one;
        s->landing++;
        int rc = port ? port->tier->ops->write(port, &one->io) : SL_EIO;
        if (rc) {
            s->landing--;
            s->land_code = rc;
            continue;
        }
        s->landing_on |= TARGET_BIT(one->target);
        port->tier->ops->poll(port); /* off it goes */
    }
    pthread_mutex_unlock(&s->sync);
}

static void wait_some(struct tier_port *port)
{
    const struct timespec nap = {0, 20000};
    const struct tier_ops *ops = port->tier->ops;
    if (ops->wait)
        ops->wait(port);
    else if (!ops->poll(port))
        nanosleep(&nap, NULL);
}

static int landed(void *user)
{
    struct store *s = user;
    pthread_mutex_lock(&s->sync);
    for (uint32_t t = 0; t < TARGETS_MAX; t++) {
        struct tier_port *port = s->target[t].sync;
        while ((s->landing_on & TARGET_BIT(t)) && s->landing && port &&
               port->tier->ops->pending(port))
            wait_some(port);
    }
    int rc = s->land_code;
    s->landing_on = 0;
    s->land_code = 0;
    pthread_mutex_unlock(&s->sync);
    return rc;
}

static int restore(void *user, const struct meta_extent *e,
                   const uint8_t *bytes)
{
    struct store *s = user;
    uint32_t n = carry_bytes(e), space = unit_stored(n);
    struct tier_io io = {.loc = e->loc, .bytes = space};
    int t = target_of_number(s, e->target);
    if (t < 0)
        return SL_OK;
    if (!recover_is_unit(e))
        return SL_ECORRUPT;
    struct tier *tier = s->target[t].tier;
    int rc = tier->ops->reach ? tier->ops->reach(tier, e->loc + space) : 0;
    if (rc)
        return rc == SL_EINVAL ? recover_outside(&s->target[t]) : rc;
    io.buf = aligned_alloc(TIER_BLOCK, space);
    if (!io.buf)
        return SL_ENOMEM;
    memcpy(io.buf, bytes, n);
    memset((uint8_t *)io.buf + n, 0, space - n);
    rc = target_run(s->target[t].sync, tier->ops->write, &io);
    free(io.buf);
    return rc;
}

static void settled(void *user)
{
    settle_tell(user);
}

int stable_open(struct store *s)
{
    struct meta_config m = {.dir = s->dir->path,
                            .sync = sync_data,
                            .land = land,
                            .landed = landed,
                            .restore = restore,
                            .settled = settled,
                            .verify = verify,
                            .delay_ms = s->config.config->flush_ms,
                            .user = s};
    return meta_open(&m, &s->meta);
}
