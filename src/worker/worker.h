/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The CPU threads that serve: poll lanes, serve batches, sleep.
 *
 * Lane l of every channel belongs to worker l % n. A worker's round: the rings
 * of its lanes, high priority first, up to 32 tasks of each; then messages,
 * completions of the store's ports, released holds. When rounds find nothing
 * for a while the worker parks; the watcher (watch.h) or a message wakes it.
 *
 * Usual order: workers_create, store_attach with workers_env, workers_start,
 * workers_add for each channel; workers_remove; workers_drain, workers_stop,
 * workers_destroy. All but workers_post are calls of one control thread at a
 * time.
 */
#ifndef SLUICE_WORKER_H
#define SLUICE_WORKER_H

#include "store/store.h"
#include "task/task.h"

#include <pthread.h>

struct workers;

struct workers_config {
    struct arena *arena;
    struct pools *pools;
    uint32_t n; /* > 0 */
    uint32_t spin_us;
};

/** Caches, holds and mailboxes; no thread yet. SL_ENOMEM. */
int workers_create(const struct workers_config *c, struct workers **out);
/** The threads are stopped. */
void workers_destroy(struct workers *ws);
/** What worker i lends to its shards. */
void workers_env(struct workers *ws, uint32_t i, struct store_env *out);

/** Starts threads that serve `store`. SL_ENOMEM (logged): none runs. */
int workers_start(struct workers *ws, struct store *store);

/** Has all workers serve a channel; returns when they do. SL_ENOMEM. */
int workers_add(struct workers *ws, struct channel *c);
/**
 * Has all workers forget a channel, once they have answered what they took;
 * its holds are dropped. SL_ETIMEDOUT: some task was not answered, the
 * channel must stay in memory.
 */
int workers_remove(struct workers *ws, struct channel *c, uint64_t timeout_ns);

/** Waits until no worker has a task or a request in flight. SL_ETIMEDOUT. */
int workers_drain(struct workers *ws, uint64_t timeout_ns);
/** Ends the threads. */
void workers_stop(struct workers *ws);

/** Sends a message to the worker that owns a lane. Any thread. */
void workers_post(struct workers *ws, uint32_t lane, struct message *m);

/* ---- for the files of this folder ---- */

enum worker_state { WORKER_RUNNING = 0, WORKER_PARKED = 1 };

/** A channel that a worker serves. */
struct served {
    struct task_source source; /* first: frames point to it */
    struct message *leaving;   /* null, or who waits for the end */
};

struct worker {
    struct task_env env; /* first: task_env_of */
    struct workers *team;
    uint32_t index;
    struct holds *holds;
    struct served **served;
    uint32_t n_served, room;
    uint32_t batches; /* taken so far */
    uint32_t n_leaving;
    int stop;     /* leave the loop */
    int draining; /* publish `quiet` */
    pthread_t thread;
    _Alignas(128) uint32_t state; /* atomic, futex: enum worker_state */
    uint32_t quiet;               /* atomic: nothing in flight */
};

struct watch;
struct order;

struct workers {
    struct workers_config config;
    struct store *store;
    struct worker **at;
    struct watch *watch;
    struct order *late; /* nobody waits for their answers any more */
    uint32_t n_started;
};

/** Wakes a parked worker; does nothing to others. Any thread. */
void worker_wake(struct worker *w);
/** Forgets channels that leave and have no task left. */
void worker_let_go(struct worker *w);
/** One round; returns how much was done. */
uint32_t worker_round(struct worker *w);
/** True when a ring of its lanes has a task. */
int worker_has_tasks(const struct worker *w, const struct channel *c);
/** Sleeps until there is something to do; see park.c. */
void worker_park(struct worker *w);

#endif
