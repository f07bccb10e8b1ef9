/* SPDX-License-Identifier: Apache-2.0 */
#include "store/owed.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024u /* to begin with */
/* What is written at once: enough to keep a disk busy, little beside the log.
 * Units that lie one behind the other go in one request. */
#define STAGE_BYTES (UINT32_C(4) << 20)
#define REQUEST_BYTES (UINT32_C(1) << 20)
#define REQUESTS_MAX (STAGE_BYTES / TIER_BLOCK)

int owed_open(struct owed *o)
{
    memset(o, 0, sizeof(*o));
    o->bucket = calloc(BUCKETS, sizeof(struct owed_unit *));
    if (!o->bucket)
        return SL_ENOMEM;
    o->mask = BUCKETS - 1u;
    pthread_mutex_init(&o->lock, NULL);
    return 0;
}

void owed_close(struct owed *o)
{
    if (!o->bucket)
        return;
    for (uint64_t i = 0; i <= o->mask; i++) {
        for (struct owed_unit *u = o->bucket[i], *next; u; u = next) {
            next = u->next;
            free(u);
        }
    }
    free(o->bucket);
    pthread_mutex_destroy(&o->lock);
}

/* ---- the table; under the lock ---- */

static uint64_t home(const struct owed *o, uint64_t target, uint64_t loc)
{
    /* Blocks lie side by side: the product spreads them (Fibonacci). */
    uint64_t h =
        (loc / TIER_BLOCK + (target << 40)) * UINT64_C(0x9e3779b97f4a7c15);
    return (h >> 32) & o->mask;
}

/* Where the pointer to the unit is; what that points to is null when there is
 * none. */
static struct owed_unit **find(const struct owed *o, const struct extent *e)
{
    struct owed_unit **at = &o->bucket[home(o, e->target, e->loc)];
    while (*at && ((*at)->loc != e->loc || (*at)->target != e->target))
        at = &(*at)->next;
    return at;
}

static void take_out(struct owed *o, struct owed_unit **at)
{
    struct owed_unit *u = *at;
    *at = u->next;
    /* Relaxed: see owed_is_empty. */
    __atomic_store_n(&o->n, o->n - 1u, __ATOMIC_RELAXED);
    free(u);
}

/* Without memory the lists get longer, no more. */
static void grow(struct owed *o)
{
    uint64_t mask = 2u * o->mask + 1u, old = o->mask;
    struct owed_unit **from = o->bucket;
    struct owed_unit **to = calloc(mask + 1u, sizeof(struct owed_unit *));
    if (!to)
        return;
    o->bucket = to;
    o->mask = mask;
    for (uint64_t i = 0; i <= old; i++) {
        for (struct owed_unit *u = from[i], *next; u; u = next) {
            uint64_t h = home(o, u->target, u->loc);
            next = u->next;
            u->next = to[h];
            to[h] = u;
        }
    }
    free(from);
}

void owed_add(struct owed *o, struct owed_unit *u)
{
    pthread_mutex_lock(&o->lock);
    if (o->n > o->mask)
        grow(o);
    uint64_t h = home(o, u->target, u->loc);
    u->next = o->bucket[h];
    o->bucket[h] = u;
    __atomic_store_n(&o->n, o->n + 1u, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&o->lock);
}

/* Relaxed is enough for who has an extent: its unit was added before the extent
 * was published to this thread, so the figure it sees counts the unit, unless
 * that has landed. */
static int owed_is_empty(const struct owed *o)
{
    return __atomic_load_n(&o->n, __ATOMIC_RELAXED) == 0;
}

int owed_read(struct owed *o, const struct extent *e, uint8_t *buf)
{
    int found;
    if (owed_is_empty(o))
        return 0;
    pthread_mutex_lock(&o->lock);
    const struct owed_unit *u = *find(o, e);
    found = u != NULL;
    if (found) {
        memcpy(buf, u->bytes, u->n);
        memset(buf + u->n, 0, u->space - u->n);
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}

void owed_drop(struct owed *o, const struct extent *e)
{
    if (owed_is_empty(o))
        return;
    pthread_mutex_lock(&o->lock);
    struct owed_unit **at = find(o, e);
    if (*at && (*at)->landing)
        (*at)->replaced = 1;
    else if (*at)
        take_out(o, at);
    pthread_mutex_unlock(&o->lock);
}

/* ---- landing ---- */

struct request {
    struct tier_io io;
    struct landing *l;
};

struct landing {
    struct store *s;
    struct owed_unit **unit;
    uint64_t n;
    uint8_t *stage;
    uint32_t staged;
    struct request *request;
    uint32_t n_requests, flying;
    int code;
};

static int by_place(const void *a, const void *b)
{
    const struct owed_unit *x = *(struct owed_unit *const *)a;
    const struct owed_unit *y = *(struct owed_unit *const *)b;
    if (x->target != y->target)
        return x->target < y->target ? -1 : 1;
    return x->loc < y->loc ? -1 : x->loc > y->loc;
}

/* All there is, in the order of place. */
static int collect(struct landing *l)
{
    struct owed *o = &l->s->owed;
    pthread_mutex_lock(&o->lock);
    l->unit = malloc((o->n + 1u) * sizeof(struct owed_unit *));
    for (uint64_t i = 0; l->unit && i <= o->mask; i++) {
        for (struct owed_unit *u = o->bucket[i]; u; u = u->next) {
            u->landing = 1;
            l->unit[l->n++] = u;
        }
    }
    pthread_mutex_unlock(&o->lock);
    if (!l->unit)
        return SL_ENOMEM;
    l->unit[l->n] = NULL;
    qsort(l->unit, l->n, sizeof(struct owed_unit *), by_place);
    return 0;
}

static void request_done(struct tier_io *io, int code)
{
    struct request *r = io->user;
    r->l->flying--;
    if (code)
        r->l->code = code;
}

static void start(struct landing *l, struct tier_port *port, struct request *r)
{
    int rc;
    r->io.done = request_done;
    r->io.user = r;
    r->l = l;
    l->flying++;
    rc = port ? port->tier->ops->write(port, &r->io) : SL_EIO;
    if (rc) {
        l->flying--;
        l->code = rc;
    }
}

static void wait_some(struct tier_port *port)
{
    const struct tier_ops *ops = port->tier->ops;
    if (ops->wait)
        ops->wait(port);
    else if (!ops->poll(port))
        clock_sleep_ns(20000);
}

/* What is staged, all of one target. */
static void stage_write(struct landing *l, uint32_t target)
{
    struct target *t = &l->s->target[target];
    pthread_mutex_lock(&l->s->sync);
    for (uint32_t i = 0; i < l->n_requests; i++)
        start(l, t->sync, &l->request[i]);
    target_asked(t, 1);
    while (l->flying)
        wait_some(t->sync);
    target_asked(t, 0);
    pthread_mutex_unlock(&l->s->sync);
    /* Release: the bytes are with the target. Partner: target.c, sync_one. */
    __atomic_store_n(&t->dirty, 1u, __ATOMIC_RELEASE);
    l->n_requests = l->staged = 0;
}

/* Copies a unit behind what is staged; it goes on with the last request when it
 * lies behind that in the target, too. */
static void stage(struct landing *l, const struct owed_unit *u)
{
    struct request *r = l->n_requests ? &l->request[l->n_requests - 1u] : NULL;
    uint8_t *to = l->stage + l->staged;
    if (!r || r->io.loc + r->io.bytes != u->loc ||
        r->io.bytes + u->space > REQUEST_BYTES) {
        r = &l->request[l->n_requests++];
        r->io = (struct tier_io){.loc = u->loc, .buf = to};
    }
    r->io.bytes += u->space;
    memcpy(to, u->bytes, u->n);
    memset(to + u->n, 0, u->space - u->n);
    l->staged += u->space;
}

static void write_all(struct landing *l)
{
    for (uint64_t i = 0; i < l->n && !l->code; i++) {
        const struct owed_unit *u = l->unit[i], *next = l->unit[i + 1u];
        stage(l, u);
        if (i + 1u == l->n || next->target != u->target ||
            l->staged + next->space > STAGE_BYTES)
            stage_write(l, u->target);
    }
}

/* What has landed, and what was replaced meanwhile, is owed no more. */
static void clear(struct landing *l)
{
    struct owed *o = &l->s->owed;
    pthread_mutex_lock(&o->lock);
    for (uint64_t i = 0; i < l->n; i++) {
        struct owed_unit **at =
            &o->bucket[home(o, l->unit[i]->target, l->unit[i]->loc)];
        while (*at != l->unit[i])
            at = &(*at)->next;
        if (!l->code || (*at)->replaced)
            take_out(o, at);
        else
            (*at)->landing = 0;
    }
    pthread_mutex_unlock(&o->lock);
}

int owed_land(struct store *s)
{
    struct landing l = {.s = s};
    int rc;
    if (owed_is_empty(&s->owed))
        return 0;
    l.stage = aligned_alloc(TIER_BLOCK, STAGE_BYTES);
    l.request = malloc(REQUESTS_MAX * sizeof(*l.request));
    rc = l.stage && l.request ? collect(&l) : SL_ENOMEM;
    if (!rc) {
        write_all(&l);
        clear(&l);
        rc = l.code;
    }
    if (rc)
        log_error("store: %llu units that the log has cannot be written to "
                  "their targets, code %d",
                  (unsigned long long)l.n, rc);
    free(l.unit);
    free(l.request);
    free(l.stage);
    return rc;
}
