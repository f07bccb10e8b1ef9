/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The store: named blobs in tiers; the first module.
 *
 * `struct store` is one for the runtime: targets, metadata, directory. Each
 * container is a `struct shard`: index, tags, space of its own blobs, used by
 * its worker only. A worker lends its shards what is the worker's through
 * `struct store_env`.
 *
 * Order: store_open, store_attach for each worker and shard_create for each
 * lane (before workers run), then store_recover once all shards exist, then
 * workers run shard_prepare, shard_peek and the methods and call store_poll in
 * their loop; shard_destroy, store_close.
 */
#ifndef SLUICE_STORE_H
#define SLUICE_STORE_H

#include "base/mailbox.h"
#include "channel/arena.h"
#include "channel/hold.h"
#include "sluice/sluice.h"
#include "tier/tier.h"

struct store;
struct shard;

struct store_config {
    const struct sl_config *config; /* all zeros filled in */
    struct arena *arena;
    uint32_t n_shards;
    uint32_t n_workers;
};

/** What a worker lends to its shards. */
struct store_env {
    uint32_t worker;
    struct chunk_cache *cache;
    struct holds *holds;
    /** Replies to a frame (or runs its done); same thread. */
    void (*finish)(struct sl_task *t, int code);
    /** This task found no chunk; serves it again from the start when some may be
     *  free. After the limit (task/starve.c) finishes it with `code`. The task
     *  must have nothing under way; the method returns TASK_LATER. Same thread.
     */
    void (*starve)(struct sl_task *t, int code);
    /** Sends a message to the worker that owns a shard; any thread. */
    void (*post)(void *runtime, uint32_t shard, struct message *m);
    void *runtime;
    /** Counts the batches of tasks that the worker took; its own word. */
    const uint32_t *batches;
};

int store_open(const struct store_config *c, struct store **out);
/** After the workers have stopped. */
void store_close(struct store *s);
/** Opens the ports of a worker's targets. Before the workers run. */
int store_attach(struct store *s, const struct store_env *env);
int shard_create(struct store *s, uint32_t index, const struct store_env *env,
                 struct shard **out);
void shard_destroy(struct shard *sh);
/** Reads metadata back into the shards; before the workers run. */
int store_recover(struct store *s);

/** Methods, indexed by enum sl_store_method; container is the shard. */
extern int (*const store_methods[SL_STORE_METHODS])(struct sl_task *, void *);
/** Checks what all methods need (name, side) and prefetches; a batch is
 * prepared before it is served. */
void shard_prepare(struct shard *sh, struct sl_task *t);
/** After all of a batch are prepared: fetches the blob, then its chunk's state,
 *  so that serving finds both in the cache. Named methods only. */
void shard_peek(struct shard *sh, const struct sl_task *t);
void shard_peek_chunk(struct shard *sh, const struct sl_task *t);
/** A request of the shard is about to be answered: notes it in the log. */
void shard_answered(struct shard *sh, const struct sl_task *t, int code);
/** Completions of a worker's ports; returns how many. */
unsigned store_poll(struct store *s, uint32_t worker);
/** Requests of a worker's ports that are in flight (the worker must not sleep
 * long). */
unsigned store_pending(struct store *s, uint32_t worker);
/** Begins what the shards of a worker do by themselves; returns how much. */
unsigned store_step(struct store *s, uint32_t worker);
/** When a step may have something to do though nobody wakes the worker, from
 *  now on; UINT64_MAX: never. */
uint64_t store_due_ns(const struct store *s, uint32_t worker);
int store_tiers(struct store *s, struct sl_tier_info *out, size_t n);

/* ---- targets; from any thread but a worker's, while workers run ---- */

/** As sl_target_add; pins the arena for the device of an hbm target. */
int store_target_add(struct store *s, const struct sl_target_opts *o,
                     uint32_t *id);
int store_target_remove(struct store *s, const char *name);
int store_target_score(struct store *s, const char *name, float score);
int store_targets(struct store *s, struct sl_target_info *out, size_t n);
/** Ends removals that are under way: they fail with SL_EDEAD. */
void store_stop(struct store *s);

/* ---- units.c: a put of units ---- */
/** What of its cell can be checked; SL_EPROTO, SL_ECODEC, SL_ECHUNK. */
int units_check(struct arena *a, const struct sl_task *t);
/** Frees the chunks that the table names and that are still lent. */
void units_drop(struct arena *a, struct chunk_cache *cache,
                const struct sl_task *t);

#endif
