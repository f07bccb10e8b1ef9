/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A task as it was taken from a lane: the worker's own copy.
 *
 * The channel fills it (take), task/ checks and dispatches it, a handler fills
 * in the answer, task_finish replies. A frame belongs to the worker that took
 * it until its reply; a handler that answers "later" keeps the pointer. Frames
 * come from the worker's pool; nothing here points into shared memory except
 * through arena offsets.
 */
#ifndef SLUICE_FRAME_H
#define SLUICE_FRAME_H

#include "sluice/wire.h"

struct channel;
struct worker;

struct sl_task {
    struct sl_cell cell;     /* a copy: it does not change any more */
    struct channel *channel; /* null: a task of the runtime itself */
    struct worker *worker;   /* whose frame this is */
    uint32_t slot;
    uint8_t *side;       /* private copy of the side chunk (SL_SIDE_BYTES), or
                            null; freed by the finish */
    const uint8_t *name; /* cell.name_len bytes in cell.body or side */
    const uint8_t
        *payload; /* SL_F_INLINE: cell.size bytes; user task: its bytes */
    struct sl_hash hash; /* of (tag, name): set by the store's prepare */
    /* The answer. */
    struct sl_result result;
    uint64_t value; /* of the reply; starts as 0 */
    int list;       /* reply bit */
    int has_result; /* 1: `result` is written to the channel */
    /* For whoever holds the frame: queues, continuations. */
    struct sl_task *next;
    void *state;
    const void *behind; /* the blob whose writer it waits for */
    /* Called instead of a reply when channel is null. */
    void (*done)(struct sl_task *t, int code);
};

/** A handler's answer for "not finished, task_finish comes later". */
#define TASK_LATER 1

#endif
