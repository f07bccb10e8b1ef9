/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Sluice in kernels, and in host threads: tags, blobs and tasks.
 *
 * Include this one header in device code (CUDA, HIP) or in C for the `host`
 * device; it is header-only. Usual order: the host passes `struct sl_dev` by
 * value (sl_device_handle); the kernel calls sl_tag_*, then sl_put_*, sl_get_*.
 *
 * Three forms of each call. `_thread`: each thread does its own operation, in
 * any divergence. `_warp`: all live threads of the warp call together with
 * equal arguments, and do one operation. `_block`: all live threads of the
 * block do. A result is the same in all callers. The bytes are moved by the
 * callers themselves, coalesced; no driver call is made and no thread is left
 * out: a warp of n live threads in `_thread` form does n operations.
 *
 * Each returns 0 or a negative code of status.h. Every wait ends: with the
 * reply, at the deadline (SL_ETIMEDOUT), or when the runtime is gone
 * (SL_EDEAD).
 *
 * Memory order: when a put returns 0, its bytes and those of all that the
 * caller's group wrote before it are visible to who gets the blob afterwards,
 * on any device. `data` may be device memory, pinned memory or shared memory.
 */
#ifndef SLUICE_DEVICE_H
#define SLUICE_DEVICE_H

#include "device/port.h"

/** What a kernel needs; passed by value, read only. */
struct sl_dev {
    const struct sl_channel_header *header; /* addresses of this device */
    struct sl_cell *cells;
    const uint64_t *replies;
    const struct sl_result *results;
    uint32_t *releases;
    uint64_t *rings;
    uint8_t *arena;
    uint32_t *taken;     /* n_slots / 32 words */
    uint32_t *abandoned; /* n_slots / 32 words */
    struct sl_slot_local *slots;
    uint64_t *tickets;   /* n_lanes * 2, each 128 bytes apart */
    uint64_t timeout_ns; /* of calls that name none */
    uint32_t n_slots;    /* multiple of 32 */
    uint32_t n_lanes;
    uint32_t ring_shift;
    int32_t device; /* device number, as the echo module adds it */
};

/** A blob's name. `name` is borrowed for the call. */
struct sl_key {
    uint64_t tag;
    const char *name;
    uint32_t len; /* bytes, 1 to 255 */
};
SL_FN struct sl_key sl_key_make(uint64_t tag, const char *name, uint32_t len)
{
    struct sl_key k;
    k.tag = tag;
    k.name = name;
    k.len = len;
    return k;
}

/** How a put is to be kept; sl_how_default() is the usual. */
struct sl_how {
    uint16_t flags; /* SL_F_REPLACE */
    uint16_t score; /* 0..1000, SL_SCORE_AUTO */
    uint16_t context;
    uint8_t persist; /* 0, 1, 2 */
    uint8_t codec;   /* SL_CODEC(...), SL_CODEC_DYNAMIC; 0: none */
    uint8_t high;    /* 1: high priority */
};
SL_FN struct sl_how sl_how_default(void)
{
    struct sl_how h;
    h.flags = 0;
    h.score = (uint16_t)SL_SCORE_AUTO;
    h.context = 0;
    h.persist = 0;
    h.codec = 0;
    h.high = 0;
    return h;
}

/**
 * When a wait ends without a reply. sl_until_default(d): the channel's time.
 *
 * In a kernel the deadline is kept within a quarter of the time that is left:
 * reading %globaltimer is slow for all when many warps do it
 * (docs/performance.md), so a wait looks at it only when the cheap clock says
 * that a part of its time may have passed, and one that is answered soon never
 * does.
 */
struct sl_until {
    uint64_t timeout_ns;  /* 0: test once */
    const uint32_t *stop; /* null, or a word visible to the device: ends the
                             wait with SL_ESTOPPED when not 0 */
    uint64_t deadline_ns; /* of slp_now(); the wait's own, 0: not known */
    uint64_t begun;       /* slp_ticks() of the first look, 0: none yet */
    uint64_t look;        /* slp_ticks() at which to look at slp_now() */
};
SL_FN struct sl_until sl_until_ns(uint64_t timeout_ns)
{
    struct sl_until u;
    u.timeout_ns = timeout_ns;
    u.stop = 0;
    u.deadline_ns = 0;
    u.begun = 0;
    u.look = 0;
#if defined(SL_ON_HOST)
    if (timeout_ns)
        u.deadline_ns = slp_now() + timeout_ns;
#endif
    return u;
}

/**
 * A task in flight. Made by sl_*_begin_*, ended by a wait that returns neither
 * SL_EAGAIN nor SL_ETIMEDOUT nor SL_ESTOPPED, or by sl_abandon. All callers of
 * the group hold equal copies. A get copies its bytes out in the wait.
 */
struct sl_future {
    uint8_t *data;           /* get: destination */
    uint64_t size;           /* get: bytes */
    uint64_t value;          /* after the end: of the reply */
    struct sl_result result; /* after the end, when code is 0 or SL_EPASTEND */
    uint32_t slot;
    uint32_t seq;
    int32_t code; /* of begin, then of the end */
    uint8_t kind; /* enum sl_kind */
    uint8_t live; /* 1: in flight */
    uint8_t want; /* 1: fetch `result` at the end */
};

#include "device/group.h"  /* thread, warp, block as one idea */
#include "device/copy.h"   /* bytes, by a group */
#include "device/slot.h"   /* take and give back slots, chunks */
#include "device/submit.h" /* cell, ring, reply */
#include "device/blob.h"   /* put, get and the others for a group */
#include "device/finish.h" /* their futures end */

/*
 * The calls. F is thread, warp or block:
 *
 *   int sl_tag_F(d, name, len, &tag)            get or create
 *   int sl_tag_find_F(d, name, len, &tag)       SL_ENOTAG when absent
 *   int sl_tag_rename_F(d, tag, newname, len)
 *   int sl_put_F(d, key, offset, data, size, how)
 *   int sl_get_F(d, key, offset, data, size)
 *   int sl_size_F(d, key, &size)
 *   int sl_stat_F(d, key, &stat)                one struct for all callers
 *   int sl_del_F(d, key)
 *   int sl_rename_F(d, key, newkey, flags)      flags: SL_F_REPLACE
 *   int sl_noop_F(d, lane)
 *   int sl_task_F(d, &call, &result)            a method of any pool
 *   struct sl_future sl_put_begin_F(...), sl_get_begin_F(...),
 *                    sl_task_begin_F(...), sl_tag_begin_F(d, name, len),
 *                    sl_size_begin_F(d, key), sl_del_begin_F(d, key),
 *                    sl_stat_begin_F(d, key, &stat),
 *                    sl_rename_begin_F(d, key, newkey, flags)
 *   int sl_wait_F(d, &future, until)  0 or the code, then future.result; SL_EAGAIN after a test
 *   void sl_abandon_F(d, &future)
 */
#include "device/forms.h"

#endif
