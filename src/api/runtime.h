/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The runtime's parts, and how host calls come in.
 *
 * A host call is a producer: it speaks through the process's own channel, that
 * of an internal device `host`. It passes the gate first, so that sl_close can
 * wait until no call looks at memory that is about to go.
 */
#ifndef SLUICE_RUNTIME_H
#define SLUICE_RUNTIME_H

#include "api/gate.h"
#include "base/opts.h"
#include "gpu/gpu.h"
#include "gpu/transfer.h"
#include "sluice/device.h"
#include "sluice/sluice.h"
#include "worker/worker.h"

#include <pthread.h>

struct sl_device {
    struct sl_runtime *rt;
    struct sl_device *next;
    struct gpu *gpu;
    struct channel *channel;
    sl_devptr local;
    int pinned_channel, pinned_arena, served;
    struct sl_dev handle;
    struct transfers *transfers; /* null: the process's own channel */
    char name[96];
};

/* flush.c: the periodic flush, when one is configured. */
struct flusher {
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop */
    pthread_cond_t wake;
    int stop, runs;
};

struct sl_runtime {
    struct sl_config config; /* complete; data_dir and file_path are ours */
    struct arena *arena;
    struct pools *pools;
    struct workers *workers;
    struct store *store;
    struct sl_module store_module;
    uint64_t epoch;
    struct sl_device *host; /* the process's own channel */
    pthread_mutex_t lock;   /* guards what follows */
    struct sl_device *devices;
    struct sl_device *lost; /* tasks were not finished when they closed */
    struct gate gate;
    uint32_t kinds; /* atomic: bits of the kinds of devices that are open */
    uint32_t unit_bytes; /* of units coded on a device; 0: by size */
    struct flusher flusher;
    struct sl_runtime *left; /* of those that could not be taken apart */
    uint32_t refs; /* atomic: the runtime's own, and one for each future */
};

/** Checks a complete configuration; SL_ECONFIG, logged with the key. */
int config_check(const struct sl_config *c);
/** Copies what the user gave, of whatever size, and fills in zeros. The
 *  strings are copied too. SL_ECONFIG, SL_ENOMEM. */
int config_copy(const struct sl_config *from, struct sl_config *to);
void config_free(struct sl_config *c);

/** SL_ENOMEM. The runtime works already. */
int flusher_start(struct sl_runtime *rt);
/** Waits for a flush under way. */
void flusher_stop(struct sl_runtime *rt);

/** Makes a device with its channel, served by the workers. Under the lock. */
int device_attach(struct sl_runtime *rt, const char *name,
                  struct sl_device **out);
/** Under the lock. What still answers a task keeps its memory and its channel's
 *  id (logged) until the runtime ends. */
void device_detach(struct sl_device *d);
/** Under the lock, when no worker has a task any more. */
void device_detach_lost(struct sl_runtime *rt);

/** Drops a reference; the last frees the struct. */
void runtime_unref(struct sl_runtime *rt);

/* ---- host calls ---- */

/** Begins a host call: the handle to speak through, or null: SL_EDEAD. */
static inline const struct sl_dev *host_enter(struct sl_runtime *rt)
{
    return gate_enter(&rt->gate) ? NULL : &rt->host->handle;
}
static inline void host_leave(struct sl_runtime *rt)
{
    gate_leave(&rt->gate);
}

/** After a call that found no chunk: settles the slots that cancelled calls
 *  left and that have their reply, which lets go of what they hold. True when
 *  the call is worth another try. */
int host_again(const struct sl_dev *d, int code);

/** Checks a name of the public API: SL_EINVAL (null), SL_ENONAME,
 *  SL_ENAMETOOLONG. */
int host_key(uint64_t tag, const char *name, struct sl_key *out);
/** A score as the wire has it: SL_ESCORE. */
int host_score(float score, uint16_t *out);
/** Options of another version of the header: *opts becomes `room`, as this one
 *  has them. SL_EINVAL. */
static inline int host_put_opts(const struct sl_put_opts **opts,
                                struct sl_put_opts *room)
{
    int rc;
    if (!*opts || (*opts)->size == sizeof(**opts))
        return 0;
    rc = opts_read(room, sizeof(*room), *opts, "put");
    *opts = room;
    return rc;
}
/** Checks a put, whose options host_put_opts has read, and makes its request. */
int host_put(const struct sl_runtime *rt, const struct sl_put_opts *opts,
             const void *data, uint64_t size, struct slm_request *out);

/** A request that is answered into the side chunk (blob.h). */
int host_ask(struct sl_runtime *rt, struct slm_request *q,
             const struct sl_key *k, const struct slb_aside *a,
             struct sl_result *res);

/** A call of one task, to be begun. */
struct host_call {
    struct sl_future (*start)(const struct sl_dev *d, struct host_call *c);
    struct slm_request q;
    struct sl_key key, to;
    uint32_t flags;
    struct slb_aside aside;
    uint64_t *answer[2];
};
/** Begins it as a future. */
int host_begin(struct sl_runtime *rt, struct host_call *c, struct sl_op **out);

/** A call that a thread makes (call.c). Waits until it has ended, and gives its
 *  answers to the caller then, else *live is set. */
struct call;
int call_wait(struct call *c, uint64_t deadline_ns, int *live);
/** Its future is gone. */
void call_drop(struct call *c);
/** Makes the future of a call. SL_ENOMEM: the call is still the caller's. */
int op_of_call(struct sl_runtime *rt, struct call *c, struct sl_op **out);

/** A page of names of one container: LIST, TAGS or QUERY. */
struct page_ask {
    uint32_t method, container, flags;
    uint64_t tag, cursor;
    uint64_t most; /* names; 0: as many as fit */
    const void *pattern;
    uint32_t len;
};
struct page_got {
    uint64_t next, n, matched; /* cursor, names left in it, of QUERY */
    uint64_t at;
    uint8_t bytes[SL_SIDE_BYTES];
};
/** SL_EPROTO: also when more names come than were asked for. */
int page_fetch(struct sl_runtime *rt, const struct page_ask *ask,
               struct page_got *got);
/** The next of the page's names; p->n > 0. SL_EPROTO. */
int page_next(struct page_got *p, struct sl_entry *out);

/** A range of a blob; its name and its end were checked. */
struct range_ask {
    const struct sl_key *key;
    uint64_t offset, size;
    uint8_t *data; /* null: who waits does not copy */
    uint32_t flags;
};
/** Begins a get as *f, which was slb_future's at first. It waits until `u` for
 *  a slot, and for a side chunk when the name is long. SL_EAGAIN: not yet; call
 *  again with the same, or abandon *f when it is live. */
int range_begin(const struct sl_dev *d, const struct range_ask *r,
                struct sl_until u, struct sl_future *f);

/** A get in windows, so that a large one needs little of the arena. All
 *  windows are of one version, or it starts again; smaller ones when a window
 *  has too many extents. */
struct get_run {
    struct sl_key key;
    uint64_t offset, size, window;
    uint8_t *data;
    uint64_t n, done; /* windows; the last of the range is read first */
    uint64_t version; /* of those done */
    uint64_t exists;
    uint32_t restarts_left;
    int again; /* it has been tried again for want of chunks */
    int begun; /* f is a window under way; live before: it is beginning */
    int ended;
    struct sl_future f;
};
int get_init(const struct sl_runtime *rt, struct get_run *g, struct sl_key key,
             uint64_t offset, void *data, uint64_t size);
/** Goes on; when g->ended is set the return is the result, else why not. */
int get_step(const struct sl_dev *d, struct get_run *g, struct sl_until u);
void get_abandon(const struct sl_dev *d, struct get_run *g);

/* ---- data in device memory ---- */

/** Memory of a device that is open. */
struct device_memory {
    struct transfers *transfers; /* a reference */
    sl_devptr at;
    sl_devptr arena_at; /* of the arena, for the device */
};
/** Whose memory [p, p + size) is; inside the gate. 0: the host's. 1: *out.
 *  SL_ENODEV: of a device that is not open. SL_EINVAL: the range leaves what
 *  the device has there. */
int device_memory_find(struct sl_runtime *rt, const void *p, uint64_t size,
                       struct device_memory *out);
static inline int device_memory_of(struct sl_runtime *rt, const void *p,
                                   uint64_t size, struct device_memory *out)
{
    /* Relaxed: who knows a device's address knows that it is open. */
    if (!size || !__atomic_load_n(&rt->kinds, __ATOMIC_RELAXED))
        return 0;
    return device_memory_find(rt, p, size, out);
}
/** Waits for a transfer until `u`; SL_EAGAIN or SL_ETIMEDOUT: it goes on. */
int device_wait(struct transfer *t, struct sl_until *u);

/**
 * A put of device memory.
 *
 *   plain: PLACE -> COPY -> SENT    the copy engine fills the chunks
 *   coded: PACK -> LEND -> SEND -> SENT    kernels make blocks, then move them
 *            |       |       |             into a chunk for each unit
 *            +-------+-------+--> PLACE    (put_coded.c); when the device fails
 *                                          or nothing shrinks
 *
 * PLACE and LEND wait for a slot; in the others but SENT `work` is under way.
 */
struct device_put {
    struct device_memory mem;
    struct sl_key key;
    uint64_t offset, size;
    struct slm_request q;
    enum { PUT_PACK, PUT_LEND, PUT_SEND, PUT_PLACE, PUT_COPY, PUT_SENT } stage;
    struct slb_put place;
    struct transfer *work; /* null when none is under way */
    /* Of the coded way. */
    struct transfer_room *room;
    uint32_t unit, n; /* plain bytes of one; how many */
    uint64_t begun_ns, coded_ns;
    int path; /* enum sl_path */
    struct sl_future f;
    int ended;
};
/** Begins it and takes the reference of *mem, whatever the code. `unit` is that
 *  of coded ones, 0: chosen by the size. */
int device_put_begin(const struct sl_dev *d, struct device_put *p,
                     uint32_t unit);
/** Goes on; when p->ended is set the return is the result, else why not. */
int device_put_step(const struct sl_dev *d, struct device_put *p,
                    struct sl_until u);
/** Gives up, whatever the stage; waits for work under way. */
void device_put_abandon(const struct sl_dev *d, struct device_put *p);
/** The runtime is gone: drops what it has of the device. */
void device_put_forget(struct device_put *p);
/** Lent chunks that no slot remembers go back, then the slot; `at` tells the
 *  number i of n. */
void device_give_back(const struct sl_dev *d, const struct device_put *p,
                      uint64_t n,
                      uint64_t (*at)(const struct sl_dev *d,
                                     const struct device_put *p, uint64_t i));

/** Takes a slot, and in it what the put needs, of which x->need and x->p tell.
 *  SL_EAGAIN: no slot is free until `u`. What the workers lend takes as long as
 *  it takes, at most the channel's time. */
int device_place(const struct sl_dev *d, struct slb_put *x, struct sl_until u);

/* put_coded.c. With a code other than 0 nothing of the step is left, and the put
 * goes the plain way. */
/** Starts to pack. SL_ENOSYS: the put is not to be coded on the device. */
int put_coded_pack(struct device_put *p, uint32_t unit);
/** Packed: has chunks lent and starts to send. SL_ENOSPC: coding saves nothing,
 *  p->q says so. SL_EAGAIN: no slot is free until `u`. */
int put_coded_send(const struct sl_dev *d, struct device_put *p,
                   struct sl_until u);
/** All is in the chunks: the request of the put. */
void put_coded_request(const struct device_put *p, struct slm_request *q);
/** Gives chunks and slot back; nothing is under way. */
void put_coded_undo(const struct sl_dev *d, struct device_put *p);

/** What ended a window may be no end of the get: true, with g->done 0 and
 *  perhaps smaller windows. */
int get_goes_on(const struct sl_dev *d, struct get_run *g, int code);

/** A get into device memory, of which a few windows are under way at once. */
#define DEVICE_WINDOWS 3u
struct device_window {
    enum { WINDOW_IDLE = 0, WINDOW_ASKED, WINDOW_COPYING, WINDOW_DONE } stage;
    struct sl_future f;
    struct transfer *copy;
    struct transfer_room *room; /* of the units that are decoded */
    uint32_t n_units;
    uint64_t at, bytes; /* of the get's range */
    uint64_t reply;
};
struct device_get {
    struct get_run g; /* its own window is not used */
    struct device_memory mem;
    struct device_window win[DEVICE_WINDOWS]; /* a ring, by number */
    uint64_t begun;                           /* windows; g.done have ended */
    uint32_t live, depth; /* of them under way, and at most */
    int answered;         /* one was: g.version is known */
    int decodes;          /* coded units are asked for */
    int code;             /* no more begin */
};
/** After get_init of g; takes the reference of *mem. */
void device_get_init(struct device_get *x, const struct get_run *g,
                     const struct device_memory *mem);
/** Goes on; when x->g.ended is set the return is the result, else why not. */
int device_get_step(const struct sl_dev *d, struct device_get *x,
                    struct sl_until u);
/** Gives up; waits for copies under way. */
void device_get_abandon(const struct sl_dev *d, struct device_get *x);
void device_get_forget(struct device_get *x);

#endif
