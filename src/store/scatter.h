/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One request to all shards, and their answers merged. Private to src/store.
 */
#ifndef SLUICE_SCATTER_H
#define SLUICE_SCATTER_H

#include "store/store.h"

struct shard;
struct scatter;
/** Runs `part` on each shard's worker, then `end` on the origin's. part may
 *  answer TASK_LATER and call scatter_part later. SL_ENOMEM. */
int scatter_start(struct shard *origin, struct sl_task *t,
                  int (*part)(struct scatter *s, struct shard *sh),
                  void (*end)(struct scatter *s, int code), void *user);
void scatter_part(struct scatter *s, int code);
/** Runs the part of this shard again, by a message; it answered TASK_LATER. */
void scatter_retry(struct scatter *s, struct shard *sh);
/** In `end`, or later when it set `kept`, on the origin's worker: goes round
 *  all shards again with the same scatter, so that it cannot fail. */
void scatter_next(struct scatter *s,
                  int (*part)(struct scatter *s, struct shard *sh),
                  void (*end)(struct scatter *s, int code));
struct scatter {
    struct shard *origin;
    struct sl_task *task;
    void *user;
    int (*part)(struct scatter *s, struct shard *sh);
    void (*end)(struct scatter *s, int code);
    uint32_t pending; /* atomic */
    int code;         /* atomic: first error */
    int kept;         /* set by `end`: it goes on, do not free */
    struct message ended;
    struct scatter_message {
        struct message m;
        struct scatter *s;
        struct shard *sh;
        uint64_t v[2]; /* the part's answer */
    } to[];
};

#endif
