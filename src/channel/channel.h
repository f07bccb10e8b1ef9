/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The server's side of a channel: its memory, take and reply.
 *
 * A channel is one memory file (so that it can be passed to another process
 * and page-locked): header, cells, replies, results, releases, rings. The
 * producer's own part (tickets, slot map) is separate, in device or process
 * memory; channel_handle puts both together for a device.
 *
 * take and reply of one ring are called by the worker that owns the lane, no
 * lock.
 */
#ifndef SLUICE_CHANNEL_H
#define SLUICE_CHANNEL_H

#include "channel/frame.h"
#include "sluice/device.h"

#include <stddef.h>

struct channel {
    struct sl_channel_header *header; /* begin of the mapped memory */
    struct sl_cell *cells;
    uint64_t *replies;
    struct sl_result *results;
    uint32_t *releases;
    uint64_t *rings;
    uint32_t n_slots, n_lanes, ring_shift;
    uint32_t id;    /* lender id for the arena, > 0 */
    int32_t device; /* device number for modules (host: 0) */
    int fd;
    size_t bytes;
    struct {
        uint64_t next; /* ticket to take next; owner of the lane only */
        uint64_t pad[15];
    } * heads; /* n_lanes * 2, 128 bytes apart: no shared line */
};

/** n_slots: rounded up to 32, at least 32, < 2^24. State is OPEN. SL_EINVAL,
 * SL_ENOMEM. */
int channel_create(uint32_t n_slots, uint32_t n_lanes, uint64_t epoch,
                   struct channel **out);
void channel_destroy(struct channel *c);
/** enum sl_channel_state; release, partner: sls_ended. */
void channel_set_state(struct channel *c, uint32_t state);

/** Bytes of the producer's part, to be allocated zeroed and aligned 256. */
size_t channel_local_bytes(const struct channel *c);
/** The handle with the addresses as a device sees them: `at` of the channel's
 *  memory, `arena`, `local` (host addresses on the host). */
void channel_handle(const struct channel *c, uint64_t at, uint64_t arena,
                    uint64_t local, struct sl_dev *out);

/** Up to `max` slots that are ready in a ring, in order; they are taken.
 * Acquire, partner: slm_submit. A ring entry that names a slot out of range is
 * skipped and counted as taken (untrusted). */
uint32_t channel_take(struct channel *c, uint32_t ring, uint32_t *slots,
                      uint32_t max);
/** True when a ring has an entry to take (relaxed hint for sleeping workers;
 * any thread). */
int channel_ready(const struct channel *c, uint32_t ring);
/** Copies the cell of a taken slot into the frame and clears its answer. */
void channel_load(struct channel *c, uint32_t slot, struct sl_task *t);
/** Writes result (if has_result) and reply. Release, partner: slm_poll. */
void channel_reply(const struct sl_task *t, int code);

#endif
