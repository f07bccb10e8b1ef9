/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Work of host calls on one device: copies by its copy engines, and kernels, on
 * streams of its own, for many threads at once. Nothing here waits for the
 * device, and nothing waits for streams of others.
 *
 * Usual order: transfers_open; for each piece of work transfer_begin,
 * transfer_copy and what else goes on the stream, transfer_seal, transfer_test
 * until it is not SL_EAGAIN, transfer_end; transfers_stop, and when the last who
 * knows of it has called transfers_unref it is gone.
 *
 * All functions may be called from any thread; one transfer is used by one
 * thread at a time.
 */
#ifndef SLUICE_TRANSFER_H
#define SLUICE_TRANSFER_H

#include "gpu/gpu.h"

struct transfers;
struct transfer;

enum transfer_way { TRANSFER_IN = 0, TRANSFER_OUT = 1 };

/** `g` is borrowed until transfers_stop. Streams are opened when they are first
 *  needed. SL_ENOMEM. */
int transfers_open(struct gpu *g, struct transfers **out);
struct transfers *transfers_ref(struct transfers *s);
void transfers_unref(struct transfers *s);
/**
 * No work begins any more, and what is under way has ended: the device is not
 * touched again. Transfers that nobody has ended yet keep their code.
 * SL_ETIMEDOUT: the device holds something for longer; then it stays as it is,
 * with its streams.
 */
int transfers_stop(struct transfers *s, uint64_t timeout_ns);

/** Work to (IN) or from (OUT) the device. SL_ENODEV: stopped. SL_ENOMEM,
 *  SL_EDEVICE. */
int transfer_begin(struct transfers *s, enum transfer_way way,
                   struct transfer **out);
/** Where the work is queued, between transfer_begin and transfer_seal. */
struct gpu_stream *transfer_stream(const struct transfer *t);
/** Queues n copies. */
int transfer_copy(struct transfer *t, const struct gpu_copy *c, size_t n);
/** All is queued; `code` is what that came to. An error is what transfer_test
 *  returns, when that which was queued before it has ended. */
void transfer_seal(struct transfer *t, int code);
/** 0 when it has ended, SL_EAGAIN not yet, else the code of what failed. */
int transfer_test(struct transfer *t);
/** The transfer is gone. One that is still under way is left to the device: what
 *  it reads and writes stays until transfers_stop. */
void transfer_end(struct transfer *t);

/** Memory for such work, kept for the next: of the device, and page-locked. */
struct transfer_room {
    sl_devptr at;
    uint64_t bytes;
    uint8_t *mem; /* page-locked */
    sl_devptr mem_at;
    uint64_t mem_bytes;
    int used;
    struct transfer_room *next;
};
/** Room of at least so many bytes each. SL_ENOMEM: also when others have all
 *  that there may be. SL_ENODEV: stopped. */
int transfer_room_take(struct transfers *s, uint64_t bytes, uint64_t mem_bytes,
                       struct transfer_room **out);
/** No work under way uses it. */
void transfer_room_give(struct transfers *s, struct transfer_room *room);

/** Adds to what is told of the device's work. */
struct transfer_counts {
    uint64_t plain_in, plain_out;   /* bytes */
    uint64_t coded_in, coded_out;   /* plain bytes of what crossed coded */
    uint64_t blocks_in, blocks_out; /* bytes of these blocks */
    uint64_t gave_up; /* pieces of work that the CPU did instead */
};
void transfers_count(struct transfers *s, const struct transfer_counts *add);
void transfers_counts(struct transfers *s, struct transfer_counts *out);

#endif
