/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the parts of sl_pages share.
 *
 * pages.c opens and closes; stream.c is the caller's side of a ring of slots;
 * pump.c is the thread that moves the slots; device.c is one batch on a device,
 * cpu.c one on the CPU; sync.c and array.c are the calls over memory.
 *
 *   FREE --take--> TAKEN --submit--> SUBMITTED
 *   SUBMITTED --copy in and kernels queued--> RUNNING --sizes known--> SIZED
 *   SUBMITTED --on the CPU--> SIZED
 *   SIZED --its place in dst is known--> COPY_OUT (a device) or COMPLETE
 *   COPY_OUT --> COMPLETE --next--> RETURNED --release--> FREE
 *
 * Between SUBMITTED and COMPLETE a slot belongs to the pump. When the device
 * fails, all slots from the oldest that is not complete go back to SUBMITTED,
 * for the CPU; their input is still there.
 */
#ifndef SLUICE_PAGES_IMPL_H
#define SLUICE_PAGES_IMPL_H

#include "gpu/gpu.h"
#include "pages/cpu.h"
#include "pages/pool.h"
#include "sluice/pages.h"

#include <pthread.h>

/* Memory that sl_pages_pin has page-locked. */
struct pages_pin {
    struct pages_pin *next;
    uint8_t *mem;
    size_t bytes;
    sl_devptr at;
};

/* Kernels of so many batches may run at once: one batch of large pages does not
 * fill a device. */
#define RUN_STREAMS 2u

/* What the calls on device data keep. */
struct pages_array {
    struct gpu_stream *stream;
    sl_devptr total, scratch;
    uint64_t scratch_bytes;
};

struct sl_pages {
    struct sl_pages_opts o;
    char device[96];
    struct gpu *gpu; /* null: the CPU alone */
    struct pool *pool;
    uint64_t threshold; /* batches of fewer bytes go to the CPU */

    pthread_mutex_t lock; /* of the next group */
    struct pages_pin *pins;
    int lost; /* the device is given up; also read without the lock */
    int why_code;
    char why[112];

    pthread_mutex_t calls[2];        /* one synchronous call of a way */
    struct sl_pages_stream *sync[2]; /* made by the first one */
    pthread_mutex_t array_calls;     /* one call on device data */
    struct pages_array array;
};

enum slot_state {
    SLOT_FREE,
    SLOT_TAKEN,
    SLOT_SUBMITTED,
    SLOT_RUNNING,
    SLOT_SIZED,
    SLOT_COPY_OUT,
    SLOT_COMPLETE,
    SLOT_RETURNED
};

/* Where a stage of a batch begins and ends on the device. */
enum {
    EVENT_IN,
    EVENT_IN_END,
    EVENT_RUN,
    EVENT_RUN_END,
    EVENT_OUT,
    EVENT_LAST
};
#define SLOT_EVENTS (EVENT_LAST + 1)

/** What a slot has on the device. */
struct slot_device {
    sl_devptr in, out, entries, scratch;
    sl_devptr src_at; /* page-locked: what is copied in */
    uint64_t src_bytes;
    struct gpu_event *event[SLOT_EVENTS];
    uint64_t deadline_ns;
};

struct slot {
    struct sl_pages_batch b;
    enum slot_state state;
    int on_device;
    int out_staged; /* the result waits in own_dst for next to copy it */
    uint8_t *own_src, *own_dst; /* page-locked when there is a device */
    struct sl_page_entry *sent; /* page-locked: the device's own entries */
    uint64_t *total; /* page-locked: compress: bytes of all blocks; else
                        not 0 when an entry has a code */
    uint64_t n;      /* pages */
    uint64_t dst_bytes;
    struct slot_device dev;
    struct sl_pages_report part; /* of this batch */
};

/** Where the synchronous compress wants the blocks: one after the other. */
struct stream_sink {
    uint8_t *base; /* null: b.dst says it */
    uint64_t used;
};

struct sl_pages_stream {
    struct sl_pages *p;
    int way; /* enum sl_pages_way */
    uint32_t n_slots;
    uint64_t n_pages; /* most of a batch */
    uint64_t src_room, dst_room;

    uint8_t *mem; /* the slots' buffers, in one piece */
    size_t mem_bytes;
    sl_devptr mem_at; /* 0: not page-locked */
    int has_device;   /* the next group is there */
    struct gpu_stream *in, *out;
    struct gpu_stream *run[RUN_STREAMS]; /* slots take turns */

    pthread_t thread;
    pthread_mutex_t lock; /* of states, the counts and the report */
    pthread_cond_t work;  /* submitted, or closing */
    pthread_cond_t moved; /* a slot became complete or free */
    uint64_t submitted, returned;
    uint32_t *order; /* slot of each submit, modulo n_slots */
    int closing;
    int hung; /* the device did not give a batch back: memory stays */
    struct sl_pages_report report;
    uint64_t opened_ns;

    /* The pump's own. */
    uint64_t first;  /* the oldest that is not complete */
    uint64_t placed; /* the next that gets its place */
    struct stream_sink sink;
    uint8_t *scratch; /* of cpu_compress */
    uint64_t *piece;
    struct slot *scratch_user;

    struct slot slot[];
};

/* ---- pages.c ---- */

/** sl_pages_open with the device given: `gpu` is taken, with an error too, and
 *  may be null. */
int pages_open_on(const struct sl_pages_opts *o, struct gpu *gpu,
                  const char *why, struct sl_pages **out);
/** Gives the device up for good; the first reason stays. */
void pages_lose(struct sl_pages *p, int code, const char *doing);
int pages_lost(const struct sl_pages *p);
/** Device address of page-locked memory; 0 when it is not, or not all. */
sl_devptr pages_pinned(struct sl_pages *p, const void *mem, uint64_t bytes);
/** Fills path, why_code and why of a report that is complete otherwise. */
void pages_why(struct sl_pages *p, struct sl_pages_report *r);
/** Whether a batch of so many bytes goes to the device. */
int pages_on_device(const struct sl_pages *p, uint64_t bytes);
/** Zero and FILL pages and all else of n entries that were compressed. */
void pages_count(struct sl_pages_report *r, const struct sl_page_entry *e,
                 uint64_t n);
void pages_report_add(struct sl_pages_report *sum,
                      const struct sl_pages_report *part);
/** Whether two ranges share a byte. */
int pages_overlap(const void *a, uint64_t a_bytes, const void *b,
                  uint64_t b_bytes);

/* ---- pump.c ---- */

void *pump_main(void *stream);
static inline struct slot *slot_of(struct sl_pages_stream *s, uint64_t seq)
{
    return &s->slot[s->order[seq % s->n_slots]];
}
static inline struct cpu_batch slot_batch(const struct sl_pages_stream *s,
                                          const struct slot *t)
{
    struct cpu_batch b = {.src = t->b.src,
                          .src_bytes = t->b.src_bytes,
                          .entries = t->b.entries,
                          .n = t->n,
                          .bytes = t->b.bytes,
                          .page_bytes = s->p->o.page_bytes,
                          .mode = s->p->o.mode};
    return b;
}

/* ---- run.c ---- */

/** The kernels of one batch; all addresses are the device's. */
struct pages_run {
    struct gpu_stream *stream;
    sl_devptr src, dst, entries;
    sl_devptr scratch; /* pages_run_scratch bytes */
    sl_devptr total;   /* a word: see struct batch */
    uint64_t src_bytes;
    uint64_t bytes; /* of the pages */
};

/** Device memory that a batch of so many bytes works in. */
uint64_t pages_run_scratch(const struct sl_pages *p, int way, uint64_t bytes);
/** Queues them; SL_ENOSYS when this build has none, SL_EDEVICE. */
int pages_run(const struct sl_pages *p, int way, const struct pages_run *r);

/* ---- array.c ---- */

void pages_array_close(struct sl_pages *p);

/* ---- device.c ---- */

/** Streams, events and memory for all slots; what was made is undone with an
 *  error. */
int device_open(struct sl_pages_stream *s);
void device_close(struct sl_pages_stream *s);
/** Brings the input where the device can read it; the caller's thread. */
void device_stage_in(struct sl_pages_stream *s, struct slot *t);
/** Queues copy in and kernels. */
int device_begin(struct sl_pages_stream *s, struct slot *t);
/** SL_EAGAIN; 0: t->dst_bytes is known. */
int device_sized(struct sl_pages_stream *s, struct slot *t);
/** Queues the copy out to t->b.dst, or to own_dst when that is not
 *  page-locked. */
int device_out(struct sl_pages_stream *s, struct slot *t);
/** SL_EAGAIN; 0: entries and times are there. */
int device_done(struct sl_pages_stream *s, struct slot *t);
/** Waits until nothing of this stream runs on the device. SL_ETIMEDOUT. */
int device_drain(struct sl_pages_stream *s);

#endif
