/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Metadata of persistent blobs: LMDB in the store's directory, with group
 * commit.
 *
 * Usual order: meta_open, meta_load (recovery), meta_submit from the workers,
 * meta_close. The stored format is docs/format.md.
 *
 * One committer thread takes the changes that are queued, up to 1024 at a time,
 * appends them to the log (meta_log.h) by one write and calls each `done`. When
 * one of them asks for it, `sync` first brings the data they name to stable
 * storage, and the log is synced too. A change that asks for no sync is appended
 * by its own thread while the committer has nothing to do (meta_now). Changes
 * apply in the order of submission.
 *
 * LMDB gets what the log has when that is long or old enough, on META_FLUSH and
 * at the close: data is synced, one transaction takes all and is synced, the
 * log begins anew. A restart replays the log. What a change replaced may be
 * named by a record on disk until then: meta_last and meta_settled tell when
 * it may be used again.
 *
 * A group is whole: when the log or a sync fails, nothing of it is stored and
 * every change of it gets the code. When LMDB fails, what was acknowledged
 * stays in the log and is tried again; meanwhile changes get the code. When
 * data cannot be brought to its place or synced, LMDB has not been asked: the
 * log takes changes until it is LOG_LIMIT long, then they get the code. When the
 * map is full, it is doubled; when the disk is, the reserve (reserve.h) is
 * given up, and until it is there again only deletes are taken.
 */
#ifndef SLUICE_META_H
#define SLUICE_META_H

#include "sluice/status.h"

#include <stddef.h>
#include <stdint.h>

struct meta;

/* One stored unit of a blob. */
struct meta_extent {
    uint64_t offset; /* of the first byte in the blob */
    uint32_t bytes;  /* of the blob, > 0 */
    uint32_t stored; /* > 0; raw: bytes in the target, a multiple of TIER_BLOCK;
                        coded: exact coded bytes */
    uint64_t loc;    /* in the target, multiple of TIER_BLOCK */
    uint64_t sum;    /* XXH3-64 of the first `bytes` stored bytes (of all coded
                        bytes) */
    uint32_t target; /* 0: the data file */
    uint32_t codec;  /* enum sl_codec; 0: stored >= bytes */
};

struct meta_blob {
    uint64_t tag;
    const char *name; /* 1 to 255 bytes without NUL, not terminated */
    uint32_t name_len;
    uint64_t size; /* >= the end of the last extent; gaps are zeros */
    uint64_t version;
    uint64_t created_ns, changed_ns;
    uint16_t score, context;
    uint8_t persist;    /* 0..2 */
    uint32_t n_extents; /* <= 2^26, so that a record stays below 4 GiB */
    const struct meta_extent *extents; /* sorted by offset, disjoint */
};

/* META_FLUSH: all before it is in LMDB, on stable storage, when it is done.
 * META_RENAME_BLOB: as META_PUT_BLOB, and the record of `from` goes. */
enum meta_op {
    META_PUT_BLOB,
    META_DEL_BLOB,
    META_PUT_TAG,
    META_DEL_TAG,
    META_FLUSH,
    META_RENAME_BLOB
};

struct meta_name {
    uint64_t tag;
    const char *name;
    uint32_t len;
};

/* New bytes of a change, for the log: the change needs no sync of the data. */
struct meta_carried {
    uint32_t extent;      /* number in blob.extents; they ascend */
    const uint8_t *bytes; /* the caller's */
    const uint8_t *kept;  /* the log's, when it has the change */
};

/**
 * A change on its way. The caller keeps it and what it points to until done.
 * Codes: 0 (deleting what is absent is 0 too); SL_EINVAL the record breaks a
 * rule of struct meta_blob, SL_ENOTAG its tag has no record (this change only,
 * the rest of its group commits); the code of `sync`; SL_ENOSPC the disk is
 * full; SL_ENOMEM; SL_EIO (logged).
 */
struct meta_change {
    enum meta_op op;
    struct meta_blob blob; /* PUT_BLOB: all; DEL_BLOB: tag, name; PUT_TAG: tag
                              id and its name; DEL_TAG: tag (its blobs' records
                              too) */
    struct meta_name from; /* RENAME_BLOB */
    /* PUT_BLOB: the bytes that are not in their targets yet. All extents of the
     * change that are new, or none; the frame is below LOG_PAYLOAD_MAX. */
    struct meta_carried *carried;
    uint32_t n_carried;
    /* Stable storage first: data, then the log. Else it survives the process,
     * and a power cut from the next commit on. */
    int sync;
    /* On the committer thread, in the order of submission. It may reuse the
     * change and submit. */
    void (*done)(struct meta_change *c, int code);
    void *user;
    struct meta_change *next; /* the committer's, these too */
    int code;
    int had_tag;
};

struct meta_config {
    const char *dir; /* the store's directory, exists and is locked (dir.h) */
    /** Brings all data written so far to stable storage; committer thread.
     *  Null: nothing to sync. It logs its own errors. */
    int (*sync)(void *user);
    /** The log has a change with carried bytes, which stay where `kept` says
     *  until `land` has returned 0. Before `done`, on the thread that appended.
     *  Null if no change carries, as `land`. */
    void (*owe)(void *user, struct meta_change *c);
    /** Before a commit, which syncs after it: writes the carried bytes of all
     *  changes since the last one to their targets, but for those that no
     *  record names any more. A code: the commit fails. Committer thread. */
    int (*land)(void *user);
    /** At a replay: writes bytes that the log carries. A code ends the replay;
     *  what has no target any more is for `verify`. */
    int (*restore)(void *user, const struct meta_extent *e,
                   const uint8_t *bytes);
    /** After a commit, when meta_settled has advanced; committer thread. May be
     *  null. */
    void (*settled)(void *user);
    /** At a replay, before meta_open returns: the bytes of this extent are what
     *  its sum says. SL_ECHECKSUM: the change that names it is dropped, the
     *  version before stays. Another code ends the replay. Null: all are
     *  taken. */
    int (*verify)(void *user, const struct meta_extent *e);
    void *user;
    uint32_t delay_ms; /* LMDB gets a change after this at most, 0: 1000 */
    /** LMDB's map (address space, not disk), 0: 64 GiB. It grows to 1 TiB. */
    uint64_t map_bytes;
};

/**
 * Creates what is absent, replays the log. SL_EVERSION, SL_ECORRUPT, SL_EACCES, SL_ENOMEM,
 * SL_EIO, SL_ENOSPC; logged. SL_ECORRUPT also for a log that is damaged where it
 * was synced (meta_log.h). Reads all metadata once to check the structure of
 * the LMDB file (meta_check.h), so no file makes LMDB crash.
 */
int meta_open(const struct meta_config *c, struct meta **out);
/** Commits what is queued, stops the thread. Nobody submits any more. What LMDB
 *  refuses stays in the log (logged). */
void meta_close(struct meta *m);

/** Commits what was submitted, then calls tag for each tag and blob for each
 *  blob, by tag and name; a non-zero return ends it and is handed back. SL_ECORRUPT names the record in the log.
 *  No group commits meanwhile, so a callback does not wait for a change. What a
 *  callback gets is borrowed until it returns. */
int meta_load(struct meta *m,
              int (*tag)(void *user, uint64_t id, const char *name,
                         uint32_t len),
              int (*blob)(void *user, const struct meta_blob *b), void *user);

/** Queues a change; any thread; never blocks on the disk. */
void meta_submit(struct meta *m, struct meta_change *c);
/** Appends a META_PUT_BLOB or META_DEL_BLOB that asks for no sync at once; any
 *  thread; one write to the page cache. True: the log has it, `done` is not
 *  called. False: it is not there, the change is to be submitted. */
int meta_now(struct meta *m, struct meta_change *c);

/** Number of the last change that the committer has taken; any thread. After
 *  `done` it is that change's number at least. */
uint64_t meta_last(const struct meta *m);
/** All changes up to this number are in LMDB, synced, or failed; any thread. */
uint64_t meta_settled(const struct meta *m);

/* The record codec, for tests and the fuzzer. Encoded bytes are little endian
 * with a checksum. */

/** Exactly the bytes that meta_blob_encode writes. */
size_t meta_blob_bound(const struct meta_blob *b);
/** `b` keeps the rules of struct meta_blob. */
size_t meta_blob_encode(const struct meta_blob *b, void *out);
/** `out->extents` points into `scratch` (room for max extents), `out->name`
 *  into the input. Reads nothing outside the input, which needs no alignment.
 *  SL_ECORRUPT: also for more than max extents; *out is untouched then. */
int meta_blob_decode(const void *in, size_t bytes, struct meta_blob *out,
                     struct meta_extent *scratch, uint32_t max);

#endif
