/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The contract of a tier: where bytes live below the store.
 *
 * A `struct tier` is one target (a file, a RAM arena), open for the whole
 * runtime. Each worker has a `struct tier_port` of each target; a port is used
 * by its worker only, so an implementation locks nothing but its space map.
 *
 * Usual order: open, port_open for each worker; alloc, write, [flush], read,
 * free; port_poll from the worker's loop; port_close, close.
 *
 * All input and output is asynchronous: write, read, flush take a
 * `struct tier_io` that stays the caller's until `done` is called, exactly
 * once for each accepted request, from port_poll or, for a tier that is
 * memory, before the call returns. `done` may submit again (a tier that is
 * memory serves such a request after that `done` has returned, before the
 * outermost call does). A request reaches the disk with the next poll, so a
 * worker polls while any is pending. A negative return
 * means not accepted: `done` is not called. Short transfers are continued by
 * the tier; a caller sees all bytes or an error.
 *
 * The pinned tier is not behind this contract: its storage is the chunks of the
 * arena themselves (channel/arena.h), which is what lets a put flip a page.
 */
#ifndef SLUICE_TIER_H
#define SLUICE_TIER_H

#include "sluice/status.h"

#include <stddef.h>
#include <stdint.h>

/* Granule of space and alignment of loc, bytes and buffers: the logical block
 * that O_DIRECT asks for on all current disks (LIMITS: 4 KiB pages). */
#define TIER_BLOCK 4096u

struct tier;
struct tier_port;

struct tier_config {
    const char *kind;      /* "ram", "hbm", "file", "null", "fault" */
    const char *name;      /* of the target, for messages */
    const char *path;      /* file: created if absent */
    uint64_t capacity;     /* bytes, rounded down to TIER_BLOCK */
    uint32_t n_ports;      /* workers */
    uint32_t queue_depth;  /* requests in flight per port, 0: 128 */
    uint64_t lock_wait_ns; /* file: how long open waits for its lock */
    int must_exist;        /* file: SL_ENOTARGET (logged) when it is absent */
    const char *device;    /* hbm: as for gpu_open */
    void *pin;             /* hbm: memory that most buffers lie in, */
    size_t pin_bytes;      /* page-locked for the device */
};

struct tier_usage {
    uint64_t capacity, used, largest_free; /* bytes */
};

struct tier_io {
    uint64_t loc;   /* byte offset in the target, multiple of TIER_BLOCK */
    void *buf;      /* aligned TIER_BLOCK */
    uint32_t bytes; /* multiple of TIER_BLOCK, > 0; flush: 0 */
    /* Called once; code is 0 or negative. */
    void (*done)(struct tier_io *io, int code);
    void *user;
    /* For the tier while the request is with it. */
    struct tier_io *next;
    uint32_t moved;
    int op;
};

struct tier_ops {
    const char *kind;
    int persistent; /* bytes outlive the process */
    /**
     * SL_EINVAL bad config, SL_EACCES, SL_EBUSY another runtime holds the file
     * (a lock on it), SL_ENOSPC, SL_ENOMEM, SL_EIO. The cause is logged with
     * the path.
     */
    int (*open)(const struct tier_config *c, struct tier **out);
    void (*close)(struct tier *t);
    /** `index` < n_ports, else SL_EINVAL; SL_ENOMEM. */
    int (*port_open)(struct tier *t, uint32_t index, struct tier_port **out);
    void (*port_close)(struct tier_port *p); /* waits for requests in flight */
    /**
     * Space for `bytes` (multiple of TIER_BLOCK, else SL_EINVAL), contiguous,
     * at the lowest place that fits. SL_ENOSPC no such place, or the disk is
     * full (logged); SL_EIO. Any thread; a file that has to grow is a system
     * call. What the space holds is undefined.
     */
    int (*alloc)(struct tier *t, uint64_t bytes, uint64_t *loc);
    /** Marks a range as used (recovery). SL_EEXIST when part of it is,
     *  SL_EINVAL outside of capacity, SL_ESHRUNK when the file is shorter;
     *  none is logged. Any thread. */
    int (*reserve)(struct tier *t, uint64_t loc, uint64_t bytes);
    /** Makes the storage reach to `end` again, for bytes that are to be written
     *  before they are reserved (recovery). SL_EINVAL above the capacity,
     *  SL_ENOSPC, SL_EIO. Null: it does always. */
    int (*reach)(struct tier *t, uint64_t end);
    /** A range that is used, or a part of one. Any thread. */
    void (*free)(struct tier *t, uint64_t loc, uint64_t bytes);
    /** Both: SL_EINVAL alignment, outside of capacity, no `done`. `done` gets
     *  SL_ENOSPC (write), SL_ESHRUNK (read) the file ends before, SL_ENOMEM,
     *  SL_EIO, logged. */
    int (*write)(struct tier_port *p, struct tier_io *io);
    int (*read)(struct tier_port *p, struct tier_io *io);
    /** Done when all writes, of any port, that were done before are on stable
     *  storage. After one has failed, all later ones fail: SL_EIO. */
    int (*flush)(struct tier_port *p, struct tier_io *io);
    /** Runs completions; returns how many. Never blocks. */
    unsigned (*poll)(struct tier_port *p);
    /** As poll, but when requests are in flight it blocks until one of them is
     *  completed. Null: not here, poll and sleep. */
    unsigned (*wait)(struct tier_port *p);
    /** Requests in flight on this port. */
    unsigned (*pending)(const struct tier_port *p);
    void (*usage)(struct tier *t, struct tier_usage *out);
};

/** Implementations embed these first. */
struct tier {
    const struct tier_ops *ops;
};
struct tier_port {
    struct tier *tier;
};

extern const struct tier_ops tier_ram_ops;
extern const struct tier_ops tier_hbm_ops;
extern const struct tier_ops tier_file_ops;
extern const struct tier_ops tier_null_ops; /* discards; reads give zeros */
/* For tests, see fault.h: around a file when there is a path, else around ram.
 */
extern const struct tier_ops tier_fault_ops;

/** Opens by config->kind. SL_EINVAL for an unknown kind. */
int tier_open(const struct tier_config *c, struct tier **out);

#endif
