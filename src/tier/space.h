/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Free space of a linear target: a coalescing allocator of ranges.
 *
 * Units are the caller's (blocks, slabs). First fit: the lowest range that is
 * large enough, so that a file grows only when nothing below its end fits.
 * Alloc and free cost O(log units + n / 64), whatever the fragmentation;
 * reserve costs O(n / 64), and the first call behind a number of them brings
 * the tree above their range up to date. No memory is taken but at creation
 * (1.75 bits a unit, touched as units are used), so only creation can fail for
 * lack of it. Not locked: the owner locks.
 */
#ifndef SLUICE_SPACE_H
#define SLUICE_SPACE_H

#include "sluice/status.h"

#include <stdint.h>

struct space;

/** All `units` free. SL_ENOMEM. */
int space_create(uint64_t units, struct space **out);
void space_destroy(struct space *s);
/** `n` contiguous units. SL_ENOSPC, SL_EINVAL for n = 0. */
int space_alloc(struct space *s, uint64_t n, uint64_t *at);
/** Takes a certain range. SL_EEXIST when any unit of it is taken, SL_EINVAL
 *  when it is empty or reaches outside. */
int space_reserve(struct space *s, uint64_t at, uint64_t n);
/** Returns a range that was taken, or any part of one; merges with its
 *  neighbours. SL_EINVAL, and nothing is done, when any unit of it is free
 *  already or outside (a bug of the caller: asserted by it). */
int space_free(struct space *s, uint64_t at, uint64_t n);
uint64_t space_used(const struct space *s);
/** Units of the largest free range. */
uint64_t space_largest(struct space *s);

#endif
