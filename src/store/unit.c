/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- space ---- */

static void count(struct shard *sh, const struct extent *e, int sign)
{
    struct target *t = &sh->store->target[e->target];
    uint64_t *mine = &sh->unit_bytes[e->target];
    uint64_t stored = extent_space(e), len = e->len;
    /* Relaxed, both: figures; who waits for zero goes round by messages. */
    __atomic_fetch_add(&t->counts.used, sign > 0 ? stored : 0 - stored,
                       __ATOMIC_RELAXED);
    __atomic_store_n(mine, *mine + (sign > 0 ? len : 0 - len),
                     __ATOMIC_RELAXED);
}

int unit_alloc(struct shard *sh, uint32_t target, struct extent *e)
{
    struct tier *tier = sh->store->target[target].tier;
    uint32_t space = extent_space(e);
    uint64_t loc = 0;
    int rc = tier->ops->alloc(tier, space, &loc);
    if (rc)
        return rc;
    extent_set_loc(e, loc);
    if (!e->codec)
        extent_set_stored(e, space);
    e->target = target & 0xffu;
    count(sh, e, 1);
    /* Relaxed: a figure. */
    evict_check(sh, target,
                __atomic_load_n(&sh->store->target[target].counts.used,
                                __ATOMIC_RELAXED));
    return 0;
}

int unit_reserve(struct shard *sh, const struct extent *e)
{
    struct tier *tier = sh->store->target[e->target].tier;
    int rc = tier->ops->reserve(tier, e->loc, extent_space(e));
    if (!rc)
        count(sh, e, 1);
    return rc;
}

/* ---- freeing units that a read may still be on ---- */

void unit_free(struct shard *sh, const struct extent *e)
{
    struct tier *t = sh->store->target[e->target].tier;
    count(sh, e, -1);
    t->ops->free(t, e->loc, extent_space(e));
}

/*
 * A read counts itself under the parity of the epoch it began in. What is
 * freed in epoch n may be under reads of n and n - 1. The epoch moves on when
 * no read of n - 1 is left, and then what was freed in n - 1 is free.
 */
void limbo_advance(struct shard *sh)
{
    for (int turn = 0; turn < 2; turn++) {
        uint32_t old = (sh->epoch + 1u) & 1u;
        struct limbo *l = &sh->limbo[old];
        if (sh->reads[old])
            return;
        for (uint32_t i = 0; i < l->n; i++)
            unit_free(sh, &l->at[i]);
        l->n = 0;
        struct limbo_wait *d = l->drains;
        l->drains = NULL;
        sh->epoch++;
        while (d) {
            struct limbo_wait *next = d->next;
            d->done(d);
            d = next;
        }
    }
}

void limbo_drain(struct shard *sh, struct limbo_wait *d)
{
    struct limbo *l = &sh->limbo[sh->epoch & 1u];
    if (sh->reads[0] + sh->reads[1] == 0) {
        d->done(d);
        return;
    }
    d->next = l->drains;
    l->drains = d;
}

void limbo_add(struct shard *sh, const struct extent *e)
{
    struct limbo *l = &sh->limbo[sh->epoch & 1u];
    if (sh->reads[0] + sh->reads[1] == 0) {
        unit_free(sh, e);
        return;
    }
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2u : 64u;
        struct extent *p = realloc(l->at, cap * sizeof(*p));
        if (!p) { /* rather lose space until the restart than tear a read */
            log_error("store: no memory to defer a free, %u bytes stay taken",
                      extent_space(e));
            return;
        }
        l->at = p;
        l->cap = cap;
    }
    l->at[l->n++] = *e;
}

/* ---- write ---- */

uint64_t unit_sum(const uint8_t *bytes, size_t n)
{
    return XXH3_64bits(bytes, n);
}

static void written(struct tier_io *io, int code)
{
    struct unit_io *u = io->user;
    struct target *t = &u->sh->store->target[u->e->target];
    /* Release: the bytes are with the target. Partner: target.c, sync_one. */
    if (t->spec.lasting)
        __atomic_store_n(&t->dirty, 1u, __ATOMIC_RELEASE);
    u->done(u, code);
}

void unit_seal(struct extent *e, uint8_t *buf)
{
    uint32_t bytes = extent_summed(e), space = extent_space(e);
    memset(buf + bytes, 0, space - bytes);
    if (!e->codec)
        e->sum = XXH3_64bits(buf, bytes);
}

int unit_write(struct unit_io *u, uint8_t *buf)
{
    struct extent *e = u->e;
    struct tier_port *port = shard_port(u->sh, e->target);
    unit_seal(e, buf);
    u->io.loc = e->loc;
    u->io.buf = buf;
    u->io.bytes = extent_space(e);
    u->io.done = written;
    u->io.user = u;
    return port->tier->ops->write(port, &u->io);
}

/* ---- read ---- */

static int verify(const struct unit_io *u)
{
    const struct extent *e = u->e;
    if ((u->sh->choice.discards & TARGET_BIT(e->target)) ||
        XXH3_64bits(u->io.buf, extent_summed(e)) == e->sum)
        return 0;
    const struct tag *tag = tag_find(u->sh, u->tag);
    log_error("store: tag '%s', blob '%.*s': the %u bytes at %llu are damaged, "
              "the checksum at %llu of target %u is wrong",
              tag ? tag->name : "?", (int)u->name_len, u->name,
              (uint32_t)e->len, (unsigned long long)e->off,
              (unsigned long long)e->loc, e->target);
    return SL_ECHECKSUM;
}

static void was_read(struct tier_io *io, int code)
{
    struct unit_io *u = io->user;
    u->sh->reads[u->parity]--;
    limbo_advance(u->sh);
    u->done(u, code ? code : verify(u));
}

int unit_fetch(struct unit_io *u, uint8_t *buf)
{
    struct tier_port *port = shard_port(u->sh, u->e->target);
    u->io.loc = u->e->loc;
    u->io.buf = buf;
    u->io.bytes = extent_space(u->e);
    if (owed_read(&u->sh->store->owed, u->e, buf)) {
        u->done(u, verify(u));
        return 0;
    }
    u->io.done = was_read;
    u->io.user = u;
    u->parity = u->sh->epoch & 1u;
    u->sh->reads[u->parity]++;
    int rc = port->tier->ops->read(port, &u->io);
    if (rc) {
        u->sh->reads[u->parity]--;
        limbo_advance(u->sh);
    }
    return rc;
}
