/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the answer of a get names, for a device: copies, and units to decode.
 */
#ifndef SLUICE_GET_CODED_H
#define SLUICE_GET_CODED_H

#include "api/runtime.h"

/** Where an answer is, and where its bytes go. */
struct answer_of {
    const uint8_t *arena;
    sl_devptr arena_at; /* for the device */
    uint64_t reply;
    uint64_t coded; /* result [2]: bytes of the one block, 0: plain */
    sl_devptr to;
    uint64_t bytes;
};

struct answer_unit {
    uint64_t from; /* in the arena */
    sl_devptr to;
    uint32_t coded, len; /* bytes: block, plain */
};

struct answer {
    struct gpu_copy *copy;
    struct answer_unit *unit;
    size_t n_copies;
    uint32_t n_units;
    uint64_t plain, coded; /* bytes of each kind */
    uint64_t blocks;       /* room of all blocks */
};

/** SL_ENOMEM. */
int answer_read(struct answer *a, const struct answer_of *of);
void answer_free(struct answer *a);
/** True when its units are for a device: aligned, not too many lengths. */
int answer_fits(const struct answer *a);
/** A room for its units. */
int answer_room(struct transfers *s, const struct answer *a,
                struct transfer_room **out);
/** Queues fetching and decoding of what fits. */
int answer_decode(struct transfer *t, const struct answer *a,
                  const struct transfer_room *r, sl_devptr arena_at);
/** After the work has ended: 0, or SL_EBLOCK. */
int answer_check(const struct transfer_room *r, uint32_t n_units);

#endif
