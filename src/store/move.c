/* SPDX-License-Identifier: Apache-2.0 */
#include "store/move.h"

#include "base/clock.h"

#include <stdlib.h>

/* ---- a drain: one blob after another leaves a target ---- */

/*
 * The shard's blobs are listed by key when it begins, as any may go meanwhile;
 * later ones put nothing there. A blob with a writer under way is waited for:
 * the writer may have planned its bytes before the target was draining.
 */
struct drain {
    struct scatter *s;
    struct shard *sh;
    uint32_t target;
    struct drain_key {
        struct blob *blob;
        uint64_t lo;
    } * key;
    uint64_t n, next;
    int running; /* in drain_go: a completion inside it does not recurse */
    int ended;   /* the step in hand is done */
    int code;
    struct sl_task waiter; /* behind a busy blob */
    struct message again;  /* short of memory: looks again later */
    uint64_t starving_ns;  /* since when, 0: not */
};

/* How long a drain waits for memory that gets give back. */
#define STARVE_NS UINT64_C(5000000000)

static void drain_go(struct drain *d);

static void drain_step_done(struct drain *d)
{
    d->ended = 1;
    if (!d->running)
        drain_go(d);
}

static void drain_again(struct message *m)
{
    drain_step_done(
        (struct drain *)(void *)((char *)m - offsetof(struct drain, again)));
}

static void drain_waited(struct sl_task *t, int code)
{
    (void)code; /* how that writer went is its own affair */
    drain_step_done(t->state);
}

/* Looks at the blob in hand again, after what else the worker has to do. */
static void drain_later(struct drain *d)
{
    d->again.run = drain_again;
    d->sh->env.post(d->sh->env.runtime, d->sh->id, &d->again);
}

static void drain_moved(void *user, int code)
{
    struct drain *d = user;
    uint64_t now = code == SL_ENOMEM ? clock_ns() : 0;
    if (now && !d->starving_ns)
        d->starving_ns = now;
    if (now && now - d->starving_ns < STARVE_NS) {
        drain_later(d);
        return;
    }
    if (!now)
        d->starving_ns = 0;
    if (code && code != SL_ENOTAG) /* a dead tag: see drain_step */
        d->code = code;
    drain_step_done(d);
}

static int stops(const struct drain *d)
{
    /* Relaxed: nothing else goes with it. Partner: store_stop. */
    return __atomic_load_n(&d->sh->store->stopping, __ATOMIC_RELAXED) != 0;
}

/* One step on the blob in hand; false when there is nothing to do on it. */
static int drain_step(struct drain *d)
{
    const struct drain_key *k = &d->key[d->next];
    struct blob *b = k->blob;
    if (!table_has(&d->sh->index, k->lo, b))
        return 0;
    if (b->busy) {
        d->waiter.done = drain_waited;
        d->waiter.state = d;
        blob_wait(d->sh, b, &d->waiter);
        return 1;
    }
    const struct move m = {.from = TARGET_BIT(d->target),
                           .to = ~TARGET_BIT(d->target),
                           .done = drain_moved,
                           .user = d};
    if (!blob_lies_on(b, m.from))
        return 0;
    if (b->tag->dead) { /* it goes, or the delete fails and it stays */
        drain_later(d);
        return 1;
    }
    int rc = update_move(d->sh, b, &m);
    if (rc != TASK_LATER)
        drain_moved(d, rc);
    return 1;
}

static void drain_go(struct drain *d)
{
    d->running = 1;
    while (d->next < d->n && !d->code) {
        d->ended = 0;
        if (stops(d)) {
            d->code = SL_EDEAD;
        } else if (!drain_step(d)) {
            d->next++;
        } else if (!d->ended) {
            d->running = 0;
            return;
        }
    }
    struct scatter *s = d->s;
    int code = d->code;
    free(d->key);
    free(d);
    scatter_part(s, code);
}

int move_drain(struct scatter *s, struct shard *sh)
{
    struct drain *d = calloc(1, sizeof(*d));
    const struct table *t = &sh->index;
    const uint32_t *target = round_user(s);
    uint64_t cursor = 0;
    if (!d)
        return SL_ENOMEM;
    d->s = s;
    d->sh = sh;
    d->target = *target;
    d->key = calloc(t->used + 1u, sizeof(*d->key));
    if (!d->key) {
        free(d);
        return SL_ENOMEM;
    }
    for (struct blob *b; (b = table_walk(t, &cursor)) != NULL;)
        if (b->busy || blob_lies_on(b, TARGET_BIT(*target)))
            d->key[d->n++] = (struct drain_key){b, blob_hash(b).lo};
    drain_go(d);
    return TASK_LATER;
}
