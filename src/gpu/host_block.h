/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One block of the `host` device: its threads as fibres, and their scheduler.
 *
 * Usual order: block_open once for an OS thread, block_run for each block it
 * takes, block_close. All from that OS thread, but block_open.
 *
 * A kernel thread runs until it waits at a primitive, pauses or ends; then the
 * next in the queue runs. States:
 *
 *   queued <--> running --> ended
 *      ^           |
 *      +- waiting <+      in a warp's group, or at the block's barrier
 */
#ifndef SLUICE_HOST_BLOCK_H
#define SLUICE_HOST_BLOCK_H

#include "gpu/fibre.h"
#include "gpu/host_shared.h"
#include "sluice/device/host.h"

#define BLOCK_MAX_THREADS 1024u
#define BLOCK_WARP 32u
#define BLOCK_MAX_WARPS (BLOCK_MAX_THREADS / BLOCK_WARP)

struct block;

struct block_thread {
    struct sl_host_thread self; /* first: sl_host_self points here */
    struct fibre fibre;
    struct block *block;
    struct block_thread *next; /* in the queue, or at the barrier */
    uint64_t paused;           /* epoch of its last pause */
    uint32_t value, source;    /* what it brought to a primitive */
    uint32_t result;
};

struct block_queue {
    struct block_thread *head, *tail;
};

enum block_op { BLOCK_BALLOT, BLOCK_SHFL, BLOCK_SYNCWARP };

/** Lanes that wait for each other: same operation, same mask. */
struct block_group {
    enum block_op op;
    uint32_t mask;
    uint32_t arrived;
};

struct block_warp {
    uint32_t live; /* lanes that have not ended */
    uint32_t used; /* bits of group[]; each holds one lane at least */
    struct block_group group[BLOCK_WARP];
};

/** What block_run runs; the same for all blocks of a launch. */
struct block_launch {
    void (*kernel)(const void *arg);
    const void *arg;
    uint32_t threads, blocks;
};

struct block {
    const struct block_launch *launch;
    struct block_thread *thread; /* launch->threads of them */
    struct fibre_stacks stacks;
    struct fibre outside; /* the OS thread's own context */
    struct host_shared shared;
    struct block_queue ready, barrier;
    uint32_t n_ready, n_barrier, live;
    uint32_t made; /* fibres */
    uint32_t index;
    int quit;
    /* An epoch ends when all that can run have paused in it (block_pause). */
    uint64_t epoch;
    uint32_t fresh; /* ready or running, not paused in this epoch */
    uint32_t idle_epochs;
    struct block_warp warp[BLOCK_MAX_WARPS];
};

/** `l` is borrowed until block_close. SL_ENOMEM. */
int block_open(struct block *b, const struct block_launch *l);
/** Runs block `index` to its end. */
void block_run(struct block *b, uint32_t index);
void block_close(struct block *b);

#endif
