/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/*
 * Another score for a blob (FEATURES A9). The bytes move step by step to the
 * first target that the score asks for; what that one has no room for to the
 * next one, unless it lies there already or on a better one. Between two steps
 * writers of the blob get their turn.
 */

/* A change of less is no move: the bytes stay, and so does the score that they
 * were placed by, so that small steps add up to a move. */
#define SCORE_STEP 50u /* 0.05 */

/* A flush or a durable put that brings the same bytes to a file takes its turn
 * after each step, so both would go on for ever. Alone it takes half as many:
 * see MOVE_SHARE. */
#define STEPS_MAX 64u

struct rescore {
    struct shard *sh;
    struct sl_task *t;
    struct blob *b;
    uint64_t lo;
    uint32_t level; /* of the order, that bytes move to */
    int moves;      /* false: the score alone is to be recorded */
    uint32_t steps; /* that moved bytes, or recorded */
    int recorded;
    uint16_t was, to;  /* scores */
    uint64_t starving; /* times without memory */
    struct message again;
    struct sl_task waiter; /* behind a busy blob */
};

/* Rounds of the worker that a step waits for memory. */
#define STARVE_ROUNDS 100000u

static void rescore_step(struct rescore *r);

static void rescore_end(struct rescore *r, int code)
{
    struct shard *sh = r->sh;
    struct sl_task *t = r->t;
    free(r);
    sh->env.finish(t, code);
}

/* What failed can be asked for again. */
static void take_back(struct rescore *r)
{
    if (table_has(&r->sh->index, r->lo, r->b) && r->b->score == r->to)
        r->b->score = r->was;
}

static void run_again(struct message *m)
{
    rescore_step((struct rescore *)(void *)((char *)m -
                                            offsetof(struct rescore, again)));
}

static void waited(struct sl_task *t, int code)
{
    (void)code; /* how that writer went is its own affair */
    rescore_step(t->state);
}

/* By a message: a tier that is memory would call back for ever deeper. */
static void later(struct rescore *r)
{
    r->again.run = run_again;
    r->sh->env.post(r->sh->env.runtime, r->sh->id, &r->again);
}

static void stepped(void *user, int code)
{
    struct rescore *r = user;
    if (code == SL_ENOSPC && r->level < TARGETS_MAX) { /* not of the record */
        r->level++;
    } else if (!code) {
        r->recorded = 1;
        r->steps++;
    } else if (code != SL_ENOMEM || r->starving++ >= STARVE_ROUNDS) {
        take_back(r);
        rescore_end(r, code);
        return;
    }
    later(r);
}

/* What is worse than number `level` of the order. */
static uint32_t worse(const uint8_t *order, uint32_t level)
{
    uint32_t bits = ~UINT32_C(0);
    for (uint32_t i = 0; i <= level; i++)
        bits &= ~TARGET_BIT(order[i]);
    return bits;
}

static int begin_step(struct rescore *r)
{
    struct shard *sh = r->sh;
    struct blob *b = r->b;
    uint8_t order[TARGETS_MAX];
    uint32_t among = ~sh->choice.discards;
    if (b->recorded)
        among &= sh->choice.lasting;
    uint32_t n =
        r->moves ? choice_order(sh, b->score & 0xffffu, b->size, among, order)
                 : 0;
    for (; r->level < n && r->steps < STEPS_MAX; r->level++) {
        const struct move m = {.from = worse(order, r->level),
                               .to = TARGET_BIT(order[r->level]),
                               .done = stepped,
                               .user = r};
        if (blob_lies_on(b, m.from))
            return update_move(sh, b, &m);
    }
    if (!b->recorded || r->recorded)
        return 0;
    r->level = TARGETS_MAX; /* the score alone */
    return update_persist(sh, b, stepped, r);
}

static void rescore_step(struct rescore *r)
{
    if (!table_has(&r->sh->index, r->lo, r->b)) {
        rescore_end(r, SL_ENOENT);
        return;
    }
    if (r->b->busy) {
        r->waiter.done = waited;
        r->waiter.state = r;
        blob_wait(r->sh, r->b, &r->waiter);
        return;
    }
    int rc = begin_step(r);
    if (rc == SL_ENOMEM)
        stepped(r, rc);
    else if (rc != TASK_LATER)
        rescore_end(r, rc);
}

static int is_move(uint16_t from, uint16_t to)
{
    if (to == SL_SCORE_AUTO || from == to)
        return 0;
    return from == SL_SCORE_AUTO ||
           (from < to ? to - from : from - to) >= (int)SCORE_STEP;
}

int store_score(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    uint16_t score = t->cell.score;
    if (score != SL_SCORE_AUTO && score > SL_SCORE_ONE)
        return SL_ESCORE;
    struct tag *tag = tag_live(sh, t->cell.tag);
    struct blob *b = tag ? table_find(&sh->index, t) : NULL;
    if (!b)
        return tag ? SL_ENOENT : SL_ENOTAG;
    if (b->busy) {
        blob_wait(sh, b, t);
        return TASK_LATER;
    }
    t->result.v[0] = b->size;
    t->result.v[1] = b->version;
    t->has_result = 1;
    if (score != SL_SCORE_AUTO && !is_move(b->score & 0xffffu, score))
        return 0;
    struct rescore *r = calloc(1, sizeof(*r));
    if (!r)
        return SL_ENOMEM;
    r->sh = sh;
    r->t = t;
    r->b = b;
    r->lo = blob_hash(b).lo;
    r->moves = is_move(b->score & 0xffffu, score);
    r->recorded = b->score == score;
    r->was = b->score & 0xffffu;
    r->to = score;
    b->score = score;
    rescore_step(r);
    return TASK_LATER;
}
