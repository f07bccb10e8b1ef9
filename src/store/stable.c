/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/meta_carry.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

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

/* Bytes that never came, or whose length was not stored, are what a power cut
 * leaves, and drop the change. All else is no reason to lose it: a target that
 * is away, a capacity that was made smaller, a disk that fails. */
static int verify(void *user, const struct meta_extent *e)
{
    struct store *s = user;
    struct tier_io io = {.loc = e->loc};
    uint64_t take =
        ((uint64_t)e->stored + TIER_BLOCK - 1u) / TIER_BLOCK * TIER_BLOCK;
    uint32_t summed = e->codec ? e->stored : e->bytes;
    int t = target_of_number(s, e->target);
    if (t < 0) {
        log_error("store: the log names bytes on target number %u, which is "
                  "not in the list of targets",
                  e->target);
        return SL_ENOTARGET;
    }
    if (take > VERIFY_MAX)
        return SL_ECHECKSUM;
    io.buf = aligned_alloc(TIER_BLOCK, take);
    if (!io.buf)
        return SL_ENOMEM;
    io.bytes = (uint32_t)take;
    int rc = target_run(s->target[t].sync, s->target[t].tier->ops->read, &io);
    if (rc == SL_EINVAL)
        rc = recover_outside(&s->target[t]);
    else if (rc == SL_ESHRUNK || (!rc && XXH3_64bits(io.buf, summed) != e->sum))
        rc = SL_ECHECKSUM;
    free(io.buf);
    return rc;
}

/* ---- bytes that the log carries ---- */

static void owe(void *user, struct meta_change *m)
{
    struct store *s = user;
    struct change *c = m->user;
    for (uint32_t i = 0; i < m->n_carried; i++) {
        c->owed[i]->bytes = m->carried[i].kept;
        owed_add(&s->owed, c->owed[i]);
        c->owed[i] = NULL;
    }
}

static int land(void *user)
{
    return owed_land(user);
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
                            .owe = owe,
                            .land = land,
                            .restore = restore,
                            .settled = settled,
                            .verify = verify,
                            .delay_ms = s->config.config->flush_ms,
                            .user = s};
    return meta_open(&m, &s->meta);
}
