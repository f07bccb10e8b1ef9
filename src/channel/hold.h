/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Holds: chunks that producers still copy out of, one list for each worker.
 *
 * A get's answer names chunks; each has one reference more until the producer
 * writes release[slot] = seq (or a later seq of the slot). The worker sweeps
 * its holds a few at a time, so nothing waits and nobody scans all.
 *
 * A slot has one hold at most: whoever sends another task from it has given up
 * the answer before, whatever its release word says. So there are never more
 * holds than slots.
 */
#ifndef SLUICE_HOLD_H
#define SLUICE_HOLD_H

#include "channel/arena.h"
#include "channel/channel.h"

struct holds;

int holds_create(struct chunk_cache *cache, struct holds **out);
void holds_destroy(struct holds *h); /* drops all */
/** Keeps n references (already counted by the caller with chunk_ref, or the
 * only one of a bounce chunk) until the slot of t is released, and drops those
 * that the slot had. `chunks` is copied. SL_ENOMEM: the caller still has the
 * references. */
int holds_add(struct holds *h, const struct sl_task *t, const uint64_t *chunks,
              uint32_t n);
/** Looks at up to `max` holds, round robin; drops released ones. Returns how
 * many were dropped. */
uint32_t holds_sweep(struct holds *h, uint32_t max);
/** Drops all holds of a channel whose producers are gone. */
void holds_forget(struct holds *h, const struct channel *c);
uint32_t holds_count(const struct holds *h);

#endif
