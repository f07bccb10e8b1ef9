/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One io_uring of one port of a file tier, and the rule by which a request goes
 * on after the kernel's answer. Internal to the file tier.
 */
#ifndef SLUICE_TIER_RING_H
#define SLUICE_TIER_RING_H

#include "tier/common.h"

#include <stdatomic.h>

/* The open file, shared by all ports. */
struct file_target {
    int fd;
    int direct; /* opened with O_DIRECT */
    const char *path;
    /* 1 after a sync failed. The kernel reports a lost write to one sync only,
     * so every later one fails too. Relaxed: the flag guards no other data. */
    atomic_int sync_lost;
};

/**
 * What to do after the kernel answered `res` (bytes, or a negative errno) to
 * the rest of a request: 1 go on with what is left after io->moved, 0 done, or
 * the negative code that ends it (logged).
 */
int file_advance(struct file_target *f, struct tier_io *io, int res);

struct ring;

/** `depth` requests are with the kernel at most. SL_ENOSYS when the kernel
 *  refuses (*why is then its errno), SL_ENOMEM. */
int ring_open(struct file_target *f, unsigned depth, struct ring **out,
              int *why);
/** Completes what is in flight first. */
void ring_close(struct ring *r);
/** Takes a request that tier_io_begin has checked. It reaches the kernel with
 *  the next ring_poll: one system call for all that were taken. */
void ring_submit(struct ring *r, struct tier_io *io);
/** Completions first, then submission; returns how many were completed. */
unsigned ring_poll(struct ring *r);
/** The same, and waits for a completion when there is any to come. */
unsigned ring_wait(struct ring *r);
unsigned ring_pending(const struct ring *r);

#endif
