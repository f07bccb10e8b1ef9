/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The watcher: one thread that looks at the rings of parked workers, because a
 * GPU cannot wake a thread of the host. While no worker is parked it sleeps.
 */
#ifndef SLUICE_WATCH_H
#define SLUICE_WATCH_H

#include "worker/worker.h"

/* Between two looks: with two wake-ups it stays below 100 us. After a quarter
 * of a second without work the period grows until the watcher takes less than
 * 5 % of a core, which matters only where timers are dear (watch.c). */
#define WATCH_NS 70000u

/** SL_ENOMEM. */
int watch_create(struct workers *ws, struct watch **out);
/** The thread is stopped. */
void watch_destroy(struct watch *x);
/** SL_ENOMEM (logged). */
int watch_start(struct watch *x);
void watch_stop(struct watch *x);
/** Any thread. SL_ENOMEM. */
int watch_add(struct watch *x, struct channel *c);
/** When it returns the watcher does not look at `c` any more. */
void watch_remove(struct watch *x, const struct channel *c);
/** A worker goes to sleep, and is up again. Its own thread. */
void watch_parked(struct watch *x);
void watch_resumed(struct watch *x);

/** A thread that takes no signals; SL_ENOMEM (logged). */
int thread_start(pthread_t *out, const char *name, void *(*fn)(void *),
                 void *arg);

#endif
