/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A task from take to reply, and the pools that serve tasks.
 *
 *   task_new -> (channel_load) -> task_prepare -> task_serve -> task_finish
 *                                      |                            ^
 *                                      +-- a code: task_reject -----+
 *
 * A frame belongs to the worker that made it. task_prepare copies what the
 * frame needs and checks it; from then on nothing that a producer can still
 * change is looked at. task_finish runs on the frame's worker; sl_task_finish
 * comes from any thread and sends the frame there.
 *
 * Pools are added while workers run and never removed before these have
 * stopped, so workers read the table without a lock.
 */
#ifndef SLUICE_TASK_H
#define SLUICE_TASK_H

#include "base/mailbox.h"
#include "channel/arena.h"
#include "channel/channel.h"
#include "sluice/module.h"

/* ---- pools ---- */

#define POOLS_MAX 256u

struct pool {
    const struct sl_module *module;
    struct sl_module own; /* it, when the caller's is of another size */
    void **containers;    /* one for each lane */
    char *name;
};

struct pools;

int pools_create(uint32_t n_lanes, struct pools **out);
/** After the workers have stopped; destroys all containers. */
void pools_destroy(struct pools *p);
/** As sl_pool_create; the first pool gets id 0. Any thread. */
int pools_add(struct pools *p, const char *name, const struct sl_module *m,
              uint32_t *id);
/** Null when there is none. Any thread. */
const struct pool *pools_at(const struct pools *p, uint32_t id);
/** SL_ENOPOOL. Any thread. */
int pools_find(const struct pools *p, const char *name, uint32_t *id);

/* Methods of SL_POOL_ADMIN, and the module that answers itself. */
extern const struct sl_module admin_module;
extern const struct sl_module echo_module;

/* ---- what a worker lends to its tasks ---- */

/** Tasks of one channel that a worker has and has not answered. */
struct task_source {
    struct channel *channel;
    uint32_t out;
};

struct shard;

/** A task and what its worker adds. */
struct frame {
    struct sl_task task; /* first: a task is its frame */
    struct message message;
    struct task_source *source;
    struct shard *shard; /* that serves it; null: none */
    uint64_t since_ns;   /* when it first found no chunk; 0: never */
    int starve_code;     /* the code when none comes */
    int last_try;        /* its time is over */
    int code;            /* what sl_task_finish said */
};

struct frame_block;

/** First member of struct worker. Its own thread only, but for inbox. */
struct task_env {
    struct pools *pools;
    struct arena *arena;
    struct chunk_cache *cache;
    struct mailbox inbox;
    uint32_t posters; /* atomic: threads inside of task_env_post */
    /** After a post to the inbox; any thread. */
    void (*wake)(struct task_env *env);
    uint32_t out;         /* frames in use */
    struct sl_task *free; /* frames, by next */
    uint32_t n_free;
    struct frame_block *blocks;
    void *sides; /* free copies of side chunks, linked */
    uint32_t n_sides;
    struct sl_task *starving; /* tasks that wait for chunks, oldest first */
    struct sl_task *trying;   /* one of them that is served again right now */
    uint32_t n_starving;
    uint64_t starved_ns; /* when the youngest of them came */
};

/** Frees frames and sides; none is in use, and its worker has ended. Waits for
 *  those who are still about to wake it. */
void task_env_fini(struct task_env *env);
/** This thread is the worker of env (null: of none). */
void task_env_enter(struct task_env *env);
/** Posts a message to the worker and wakes it. Any thread. */
void task_env_post(struct task_env *env, struct message *m);

/* ---- a task ---- */

/** Sees to free frames for up to n tasks; for how many there are. */
uint32_t task_reserve(struct task_env *env, uint32_t n);
/** A reserved frame, counted in env and source. */
struct sl_task *task_new(struct task_env *env, struct task_source *source);
/** Copies the side chunk, checks, prefetches. `lane`: the one it came by.
 *  0 or a code for task_reject. */
int task_prepare(struct sl_task *t, uint32_t lane);
/** After all of a batch are prepared: fetches what serving will touch. */
void task_peek(const struct sl_task *t);
void task_peek_chunk(const struct sl_task *t);
/** Calls the method; replies unless that keeps the task. */
void task_serve(struct sl_task *t);
/** Replies to a task that no method saw: its chunks stay the producer's, or
 *  are taken back where the producer forgets them. */
void task_reject(struct sl_task *t, int code);
/** Replies (or runs done) and frees the frame. On its worker. */
void task_finish(struct sl_task *t, int code);
/** Has the task finished by a message to its worker, from any thread, the
 *  worker's own too. */
void task_finish_later(struct sl_task *t, int code);

static inline struct task_env *task_env_of(const struct sl_task *t)
{
    return (struct task_env *)(void *)t->worker;
}
static inline struct frame *task_frame(struct sl_task *t)
{
    return (struct frame *)(void *)t;
}

/* ---- tasks that found no chunk, starve.c ---- */

/**
 * Has a task served again, from the start and by its method, when some chunks
 * may be free; after a second, or while others are in flight that may free some
 * after five, it is finished with `code`. The task has nothing under way and
 * its answer is as it is to be with `code` (a put's value). On its worker; a
 * method that calls it returns TASK_LATER.
 */
void task_starve(struct sl_task *t, int code);
/** False when the task would pass those who wait. */
int task_may_try(const struct sl_task *t);
/** Serves those who wait again; returns how many got further. The worker calls
 *  it in its loop while env->starving is not null. */
unsigned task_retry(struct task_env *env);
/** Finishes those whose channel ends with SL_EDEAD; returns how many. */
unsigned task_drop_starving(struct task_env *env);

#endif
