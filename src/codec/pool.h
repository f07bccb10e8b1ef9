/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Threads that code and decode, so that a worker is never held up by a slow
 * codec.
 *
 * A job is the submitter's memory from codec_pool_submit until its `done` is called,
 * on a thread of the pool; `done` posts a message to who waits. The queue is
 * first in, first out, and bounded: a full one is SL_EAGAIN.
 */
#ifndef SLUICE_CODEC_POOL_H
#define SLUICE_CODEC_POOL_H

#include "codec/codec.h"

struct codec_pool;

enum codec_work { CODEC_ENCODE, CODEC_DECODE, CODEC_CALL };

struct codec_job {
    enum codec_work work;
    uint8_t id, preset; /* preset: of CODEC_ENCODE */
    const void *src;
    size_t n;
    void *dst;
    size_t room; /* CODEC_DECODE: the exact plain bytes */
    /** CODEC_CALL: instead of coding; its return is the result. */
    int (*call)(struct codec_job *j);
    /** On a thread of the pool; may free the job, may submit it again, must not
     *  block. */
    void (*done)(struct codec_job *j);
    void *user;
    int result;  /* encode: coded bytes; else 0; or a code */
    uint64_t ns; /* that the work took */
    struct codec_job *next;
};

/** `threads` 0: half of the CPUs, 1 to 8. `depth`: jobs that wait, 0: no
 *  bound. SL_ENOMEM, SL_EAGAIN (no thread can be started). */
int codec_pool_create(uint32_t threads, uint32_t depth,
                      struct codec_pool **out);
/** Does what is queued, then stops; null is allowed. Nobody submits any more,
 *  but for a `done`. */
void codec_pool_destroy(struct codec_pool *p);
/** Any thread. SL_EAGAIN: the queue is full, `done` is not called. */
int codec_pool_submit(struct codec_pool *p, struct codec_job *j);
uint32_t codec_pool_threads(const struct codec_pool *p);
/** Does the work of a job on this thread and sets result and ns; `done` is not
 *  called. */
void codec_job_run(struct codec_job *j);
/** True when the work takes less than handing it to a thread and back: about
 *  10 us. Of a CODEC_CALL, id, preset and n (0: not known) are hints. */
int codec_job_is_quick(const struct codec_job *j);

#endif
