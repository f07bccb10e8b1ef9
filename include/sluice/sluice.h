/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Sluice on the host: open a runtime, put and get named blobs, hand channels to
 * devices.
 *
 * Usual order: sl_config_init, sl_open, sl_tag, sl_put and sl_get, sl_close.
 * For kernels: sl_device_open, pass sl_device_handle's struct to the kernel,
 * which includes <sluice/device.h>; sl_device_close after the kernel ended.
 *
 * All functions return 0 or a negative code of status.h. All may be called from
 * any thread, but sl_open, sl_close and the log sink. Pointers are borrowed
 * until return unless a comment says otherwise. A host call is the same
 * protocol as a kernel's: it takes a slot of the process's own channel and
 * waits for its reply, at most `timeout_ns` of the configuration (sl_flush: 10
 * minutes; calls that list or query: for each page of names; those of targets
 * and sl_fsck have no channel and no such limit).
 *
 * Structs of options begin with `size`, the caller's sizeof of the struct, and
 * grow at the end. A shorter one, of an earlier header, counts as if the rest
 * were zero. A longer one is accepted when what this version does not know is
 * zero, and refused otherwise, as is a size that cuts a field: SL_EINVAL,
 * sl_open SL_ECONFIG, logged.
 *
 * Codes that all calls may give and that no comment repeats: SL_EINVAL (a null
 * pointer, such a `size`, a flag that does not exist), SL_ENONAME
 * and SL_ENAMETOOLONG where there is a name, SL_ENOMEM, SL_ETIMEDOUT, SL_EDEAD
 * (sl_close has begun). docs/errors.md has all.
 *
 * What it does not do yet: connect to a daemon; more than one process per
 * store directory (the second gets SL_EBUSY).
 */
#ifndef SLUICE_SLUICE_H
#define SLUICE_SLUICE_H

#include "status.h"
#include "wire.h"

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define SL_API __attribute__((visibility("default")))

struct sl_runtime;
struct sl_dev; /* device.h */

/** One line for a code; never null. */
SL_API const char *sl_strerror(int code);
SL_API const char *sl_version(void);

/**
 * Receives the library's log lines, the exact cause of each error among them.
 * `level`: 0 error, 1 warning, 2 information. Set before sl_open; any thread of
 * the library calls it. Null (the default) drops.
 */
SL_API void sl_set_log(void (*fn)(void *user, int level, const char *line),
                       void *user);

/* ---- runtime ---- */

/** Zero means the default named behind each. */
struct sl_config {
    size_t size;
    /* Directory of a store that outlives the process; created if absent. Null:
     * nothing outlives the process. */
    const char *data_dir;
    uint32_t workers;     /* CPU threads that serve: half the CPUs, 1 to 4 */
    uint32_t lanes;       /* lanes (= containers) of each channel: workers */
    uint32_t depth;       /* slots for each lane of a channel: 1024 */
    uint32_t spin_us;     /* worker spins this long before it sleeps: 200 */
    uint64_t arena_bytes; /* page-locked chunks: 64 MiB */
    /* Bytes of the arena that blobs may use (the pinned tier); the rest is for
     * transfers. Default: three quarters of the arena; SL_NONE: no pinned tier.
     */
    uint64_t pinned_bytes;
    uint64_t ram_bytes; /* second tier, plain memory: 0, none */
    /* File tier. With data_dir: 64 GiB cap by default, the file grows as it is
     * used. Without: none. */
    uint64_t file_bytes;
    const char *file_path; /* file tier without data_dir (not persistent) */
    uint64_t null_bytes;   /* last tier that discards (benchmarks): 0 */
    uint64_t timeout_ns;   /* longest wait of a call (see above): 30 s */
    /* Operations that the log of each lane remembers (sl_events): a power of
     * two, 4096; 32 bytes each. SL_NONE: no log. */
    uint64_t events;
    /* With data_dir: after this a put of level 1 survives a power cut too
     * (without it a crash of the process only): 1000 ms */
    uint32_t flush_ms;
    /* With data_dir: as sl_flush, volatile blobs too, this often: 0, never */
    uint32_t flush_all_ms;
    /* Which target a blob without a score tries first. */
    uint32_t placement;      /* enum sl_placement: SL_PLACE_MAX_BW */
    uint32_t placement_seed; /* of SL_PLACE_RANDOM: 1 */
    /* A target that is fuller than the high mark is emptied to the low one, a
     * part of its capacity each: 0.90 and 0.75 (the high one if that is less).
     * A high mark of 1: never. */
    float evict_high, evict_low;
    /* Bytes a second that eviction and promotion may move: 2 GB. */
    uint64_t move_bytes_per_s;
    /* Threads that code and decode: half the CPUs, 1 to 8. They start with the
     * first blob that has a codec. */
    uint64_t codec_threads;
};

enum sl_placement {
    SL_PLACE_MAX_BW = 0, /* bandwidth from 32 KiB on, latency below */
    SL_PLACE_ROUND_ROBIN = 1,
    SL_PLACE_RANDOM = 2
};
#define SL_NONE (~UINT64_C(0))

/** Replaces zeros by the defaults named above; the struct was zeroed or set
 *  before. Sets `size`. */
SL_API void sl_config_init(struct sl_config *c);

/**
 * Starts the runtime in this process. SL_ECONFIG (logged: which key),
 * SL_ENOTDIR, SL_EACCES, SL_EBUSY (another process has data_dir), SL_EINVAL (it
 * is not empty and no store), SL_EVERSION (store of another format),
 * SL_ECORRUPT, SL_ENOTARGET, SL_ETARGETBUSY, SL_ESHRUNK (a file of bytes is not
 * there, in use, cut), SL_ENOSPC, SL_ENOMEM, SL_EIO. With an error nothing runs
 * and what the directory holds is unchanged.
 */
SL_API int sl_open(const struct sl_config *c, struct sl_runtime **out);

/**
 * Stops. Waiters get SL_EDEAD. With data_dir, volatile blobs are flushed first;
 * the code is that of the flush. The runtime is gone in any case, and with it
 * every sl_device and handle: close devices first. No kernel may still use a
 * handle.
 */
SL_API int sl_close(struct sl_runtime *rt);

/* ---- blobs ---- */

/** How a put is to be kept; null: all defaults. */
struct sl_put_opts {
    size_t size;
    uint32_t flags; /* SL_F_REPLACE */
    float score;    /* 0.0 to 1.0 (1.0: fastest tier), -1: automatic */
    /* 0: volatile. 1: survives the end of the process, however it comes. 2:
     * survives a power cut. A blob keeps the highest level it was put with; a
     * delete is as durable as what it deletes. */
    uint8_t persist;
    /* How the bytes are stored: SL_CODEC(SL_CODEC_ZSTD, SL_CODEC_FAST) and the
     * like, SL_CODEC_DYNAMIC, or 0 as they are. What a codec does not make
     * smaller is stored as it is. */
    uint8_t codec;
    uint16_t context; /* kept with the blob */
    /* Null, or filled in when sl_put succeeds (not sl_put_begin, which refuses
     * it): struct sl_result, PUT. */
    struct sl_result *result;
    /* The same: enum sl_path. */
    int *path;
};
/** Who coded the bytes of a put. */
enum sl_path {
    SL_PATH_NONE = 0,
    SL_PATH_CPU = 1,
    SL_PATH_GPU = 2 /* before they crossed the link */
};

/** Id of the tag `name` (1 to 255 bytes, NUL-terminated), created if absent.
 *  SL_EAGAIN: a tag of this name is being deleted; SL_EIO, SL_ENOSPC. */
SL_API int sl_tag(struct sl_runtime *rt, const char *name, uint64_t *tag);
/** As sl_tag, but SL_ENOTAG when absent. */
SL_API int sl_tag_find(struct sl_runtime *rt, const char *name, uint64_t *tag);

/**
 * Gives a tag another name; its id and its blobs stay, and the old name is free
 * for another tag. SL_ENOTAG. SL_EEXIST: another tag has the new name.
 * SL_EAGAIN: it, or the tag, is being renamed by somebody else. With data_dir
 * the name is recorded before the answer.
 */
SL_API int sl_tag_rename(struct sl_runtime *rt, uint64_t tag,
                         const char *newname);

/**
 * Writes [offset, offset + size) of a blob, creating or extending it. Whole:
 * readers see all of it or nothing. SL_ENOTAG, SL_ENONAME, SL_ENAMETOOLONG,
 * SL_EOVERFLOW (it ends above SL_BLOB_MAX), SL_EFBIG (size > SL_IO_MAX),
 * SL_ENOSPC (nothing changed),
 * SL_ESCORE, SL_EPERSIST, SL_ENODATADIR (a level without a directory), SL_ECODEC,
 * SL_ENOCODEC, SL_EIO (nothing changed), SL_ETIMEDOUT, SL_EDEAD.
 *
 * The bytes travel through the arena, all at once: a put needs `size` bytes of
 * it, in whole MiB above 1 MiB, that neither blobs of the pinned tier nor other
 * calls have. While others may give theirs back it waits, 1 to 5 s; then, and at
 * once when the arena is not larger than the put, it is SL_ENOSPC. So a put of
 * SL_IO_MAX takes an arena larger than the default one.
 *
 * `data` is memory of the host, page-locked or not, or of a device that is open
 * (sl_device_open): an address of cudaMalloc as it is. The device's copy engine
 * then writes the arena itself, on streams of the runtime's own. It does not
 * wait for the caller's streams: what they write to `data` has ended before.
 * With codec LZ4 (not SL_CODEC_BEST) 64 KiB and more, aligned to 16, are coded
 * by the device, and only blocks cross the link; when it fails, by the CPU.
 * SL_ENODEV: memory of a device that is not open. SL_EINVAL: the range leaves
 * the allocation. SL_EDEVICE: the device failed, nothing was put.
 */
SL_API int sl_put(struct sl_runtime *rt, uint64_t tag, const char *name,
                  uint64_t offset, const void *data, uint64_t size,
                  const struct sl_put_opts *opts);
/**
 * Reads [offset, offset + size) of one version of a blob, in windows, so that a
 * large get needs little of the arena. `*exists`, if not null, is the blob's
 * size when the code is 0 or SL_EPASTEND, else it is left alone. With
 * SL_EPASTEND nothing was written to `data`; with other codes part of it may
 * have been. SL_ENOENT, SL_ENOTAG, SL_ECHECKSUM, SL_ESHRUNK, SL_EIO,
 * SL_ENOCODEC (this build cannot decode it), SL_EOVERFLOW, SL_EFBIG (size >
 * SL_IO_MAX, or more than 32767 extents within 64 KiB), SL_EBUSY (the blob was
 * changed between two windows more than 16 times), SL_ENOMEM (no chunk of the
 * arena came free for 1 s, or for 5 s while other calls were under way),
 * SL_ETIMEDOUT, SL_EDEAD.
 *
 * `data` may be memory of a device that is open, as of sl_put; no stream of the
 * caller's uses it meanwhile, and after the call all may. SL_ENODEV, SL_EINVAL,
 * SL_EDEVICE as there.
 */
SL_API int sl_get(struct sl_runtime *rt, uint64_t tag, const char *name,
                  uint64_t offset, void *data, uint64_t size, uint64_t *exists);
/** Both: SL_ENOENT, SL_ENOTAG. */
SL_API int sl_size(struct sl_runtime *rt, uint64_t tag, const char *name,
                   uint64_t *size);
SL_API int sl_stat(struct sl_runtime *rt, uint64_t tag, const char *name,
                   struct sl_stat *out);
/**
 * Gives a blob another name, in the same tag or another; its bytes stay where
 * they are. Readers find it under the old name or the new one: who looks for
 * the old name first and then for the new one finds it. A crash leaves one of
 * the names, and behind an answer of 0 the new one, as surely as the blob's
 * persist level says. SL_EEXIST: the new name is in use, unless `flags` has
 * SL_F_REPLACE, which makes that blob go. SL_ENOENT, SL_ENOTAG (either), and
 * with any other code the old name stays. A blob that has the name already is
 * left as it is. A listing beside it may have the blob twice or not at all.
 */
SL_API int sl_rename(struct sl_runtime *rt, uint64_t tag, const char *name,
                     uint64_t newtag, const char *newname, uint32_t flags);
/**
 * Gives a blob another score, and moves its bytes to the targets that it asks
 * for while readers and writers go on; returns when they are there, or where
 * there is room nearest to that; what a flush or a durable put takes elsewhere
 * meanwhile may stay there. A change below 0.05 changes nothing, the score
 * stays what it was; -1 (automatic) moves nothing. SL_ESCORE, SL_ENOENT,
 * SL_ENOTAG, SL_EIO, SL_ECHECKSUM, SL_ENOSPC (the score cannot be recorded),
 * SL_ENOMEM, SL_ETIMEDOUT (the move goes on), SL_EDEAD.
 */
SL_API int sl_score(struct sl_runtime *rt, uint64_t tag, const char *name,
                    float score);
/** SL_ENOENT when absent, SL_ENOTAG. SL_EIO, SL_ENOSPC: it is still there. */
SL_API int sl_del(struct sl_runtime *rt, uint64_t tag, const char *name);
/** Bytes and number of blobs of a tag, exact; either may be null. SL_ENOTAG. */
SL_API int sl_tag_size(struct sl_runtime *rt, uint64_t tag, uint64_t *bytes,
                       uint64_t *blobs);
/** What is known of a tag. */
struct sl_tag_stat {
    uint64_t id;
    uint64_t bytes, blobs; /* exact */
    uint32_t len;
    char name[SL_NAME_MAX + 1u]; /* NUL-terminated */
};
/** SL_ENOTAG. */
SL_API int sl_tag_stat(struct sl_runtime *rt, uint64_t tag,
                       struct sl_tag_stat *out);
/** Deletes a tag with all its blobs; with data_dir that survives a power cut.
 *  SL_ENOTAG; SL_EAGAIN: it is being renamed; SL_EIO, SL_ENOSPC: all is there
 *  as before. */
SL_API int sl_tag_del(struct sl_runtime *rt, uint64_t tag);

/** One call for each name, in no order; a non-zero return ends the listing and
 *  is its result. `size` is the blob's bytes (a tag's id). */
typedef int (*sl_list_fn)(void *user, const char *name, uint32_t len,
                          uint64_t size);
/** Blobs that exist from before to after the call are listed exactly once or,
 * when deletes run beside it, at least once. SL_ENOTAG. */
SL_API int sl_list(struct sl_runtime *rt, uint64_t tag, sl_list_fn fn,
                   void *user);
SL_API int sl_list_tags(struct sl_runtime *rt, sl_list_fn fn, void *user);

/** Where a listing is: zeroed it begins; to be stored and copied as it is. */
struct sl_cursor {
    uint64_t at;
    uint32_t container;
    uint32_t ended; /* 1: there is nothing more */
};
struct sl_entry {
    uint64_t value; /* a blob's bytes, a tag's id */
    uint32_t len;
    char name[SL_NAME_MAX + 1u]; /* NUL-terminated */
};
/** The next names of a listing, up to n (1 or more), and moves the cursor on:
 *  how many, fewer than n only at the end, or a negative code; the cursor stays
 *  then. As sl_list, in pieces; a cursor of a tag that was deleted gives
 *  SL_ENOTAG. */
SL_API int sl_list_next(struct sl_runtime *rt, uint64_t tag,
                        struct sl_cursor *c, struct sl_entry *out, size_t n);
SL_API int sl_list_tags_next(struct sl_runtime *rt, struct sl_cursor *c,
                             struct sl_entry *out, size_t n);

/* ---- queries ---- */

/**
 * Names by regular expression: PCRE2's, over bytes, found anywhere in the name
 * unless anchored (^, $); at most SL_PATTERN_MAX bytes.
 */
struct sl_query {
    size_t size;
    const char *tag;  /* null: every tag */
    const char *blob; /* null: tags alone are asked for */
    uint64_t limit;   /* most matches that `fn` is called for; 0: all */
};
struct sl_match {
    uint64_t tag;         /* id */
    const char *tag_name; /* both NUL-terminated, until fn returns */
    const char *blob;     /* null when tags alone are asked for */
    uint64_t size;        /* of the blob */
};
typedef int (*sl_match_fn)(void *user, const struct sl_match *m);
/**
 * Calls fn (null: nobody) for each match, in no order; a non-zero return ends
 * the query and is its result. *total, if not null, counts all matches, those
 * beyond the limit too. What is made or deleted meanwhile is listed as by
 * sl_list. SL_EPATTERN (the log has PCRE2's word and where), SL_EMATCHLIMIT:
 * the expression takes too many steps for a name (the log says which).
 */
SL_API int sl_query(struct sl_runtime *rt, const struct sl_query *q,
                    sl_match_fn fn, void *user, uint64_t *total);

/* ---- the log of operations ---- */

/** Where a reader of the log is; one thread at a time. */
struct sl_event_cursor;
/** A reader that begins with the oldest operation that is remembered.
 *  SL_ENOSYS: the runtime keeps no log. */
SL_API int sl_events_open(struct sl_runtime *rt, struct sl_event_cursor **out);
SL_API void sl_events_close(struct sl_event_cursor *c);
/**
 * The next operations of all lanes by logical time (struct sl_event), up to n:
 * how many, 0 when there is none yet, or a negative code. Workers note puts,
 * gets, deletes, sizes, scores and renames of blobs, flushes, and creation,
 * deletion and renames of tags, failed ones too, and never wait for a reader:
 * *lost, if not null, counts those that were overwritten since the last call.
 * Two calls give what one call for both would have given, so an operation that
 * another lane may still precede is held back until the next call.
 */
SL_API int sl_events(struct sl_runtime *rt, struct sl_event_cursor *c,
                     struct sl_event *out, size_t n, uint64_t *lost);

/** Moves volatile bytes to the persistent tier and brings all that was
 *  acknowledged before to stable storage. Without data_dir it does nothing.
 *  SL_ENOSPC: some do not fit, the others are there; SL_EIO. */
SL_API int sl_flush(struct sl_runtime *rt);

/* ---- checking a store that nobody has open ---- */

/** Mends what keeps the store from opening: replays the log, cuts its damaged
 *  end, removes records that cannot be read, and blobs whose space another has
 *  or no file has. What only cannot be read stays. Metadata whose structure is
 *  damaged is made anew from the records that can be read (docs/format.md); the
 *  damaged file keeps its bytes under another name. */
#define SL_FSCK_REPAIR 1u
/** With repair: what is damaged of a blob is cut out and reads as zeros, and no
 *  blob is removed for it. A log that is damaged in the middle ends there: the
 *  changes that follow are lost. Without this flag such a store is only checked. */
#define SL_FSCK_CUT 2u

/** One thing that is wrong; all of it is borrowed until `problem` returns. */
struct sl_fsck_problem {
    int code;         /* what a store that meets it answers */
    const char *tag;  /* name, or null: of no tag */
    const char *blob; /* name, or null: of no blob */
    uint64_t offset;  /* in the blob */
    uint64_t bytes;   /* of the blob; 0: the record, not its bytes */
    const char *text; /* in words */
    int repaired;
};

struct sl_fsck_opts {
    size_t size;
    const char *dir;
    uint32_t flags;
    /* Called for each problem, on the thread of sl_fsck; may be null. */
    void (*problem)(void *user, const struct sl_fsck_problem *p);
    void *user;
    /* With SL_FSCK_REPAIR: names of targets, commas between them, whose files
     * are lost for good: not there, another, cut, or not to be read. They leave the list, and what they held of blobs is
     * mended as other damage: the blob is removed, or with SL_FSCK_CUT reads
     * zeros there. Null: a target that is away may come back, so nothing of it is
     * given up. */
    const char *drop;
};

struct sl_fsck_report {
    uint64_t tags, blobs, extents;
    uint64_t bytes;       /* of blobs that are in extents */
    uint64_t stored;      /* that they take of the files */
    uint64_t file, free;  /* bytes of the data file and of the targets' files,
                             and of them not in use */
    uint64_t log_changes; /* in the log, and not dropped */
    uint64_t log_dropped; /* their bytes did not reach the disk: a power cut */
    uint64_t problems, repaired;
};

/**
 * Reads and checks all of a store: format, metadata, each record, the log, each
 * extent's checksum, overlaps. Changes nothing without SL_FSCK_REPAIR, and then
 * in one transaction at the end. 0: clean; 1: problems were found; else it could
 * not be checked: SL_EBUSY a process has it open, SL_ENOTDIR, SL_EINVAL no
 * store, or a target to drop that is not listed or has its file, SL_ECORRUPT
 * (`format` is no such line), SL_EVERSION, SL_EACCES, SL_ENOSPC, SL_ENOMEM,
 * SL_EIO, logged. *report is filled with 0 and 1. Needs memory for a bit of each
 * 4 KiB of the files and some thousand extents. Any thread.
 */
SL_API int sl_fsck(const struct sl_fsck_opts *o, struct sl_fsck_report *report);

/* ---- futures ---- */

/** A call in flight: begin, then test or wait until it is not SL_EAGAIN; cancel
 * to give up. A future is used by one thread at a time. data is borrowed until
 * then. */
struct sl_op;
SL_API int sl_put_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                        uint64_t offset, const void *data, uint64_t size,
                        const struct sl_put_opts *opts, struct sl_op **out);
/** As sl_get, but a blob that changes again and again is no SL_EBUSY: the get
 *  goes on until the caller gives up. */
SL_API int sl_get_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                        uint64_t offset, void *data, uint64_t size,
                        struct sl_op **out);
/**
 * The other calls as futures: each is the call of its name without `_begin`.
 * What they answer is written to where their pointers say (null: not wanted),
 * when the future has ended with 0 and not before; names and options are not
 * used any more when they return.
 */
SL_API int sl_tag_begin(struct sl_runtime *rt, const char *name, uint64_t *tag,
                        struct sl_op **out);
SL_API int sl_tag_find_begin(struct sl_runtime *rt, const char *name,
                             uint64_t *tag, struct sl_op **out);
SL_API int sl_tag_size_begin(struct sl_runtime *rt, uint64_t tag,
                             uint64_t *bytes, uint64_t *blobs,
                             struct sl_op **out);
SL_API int sl_tag_rename_begin(struct sl_runtime *rt, uint64_t tag,
                               const char *newname, struct sl_op **out);
SL_API int sl_tag_del_begin(struct sl_runtime *rt, uint64_t tag,
                            struct sl_op **out);
SL_API int sl_size_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                         uint64_t *size, struct sl_op **out);
SL_API int sl_stat_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                         struct sl_stat *stat, struct sl_op **out);
SL_API int sl_del_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                        struct sl_op **out);
SL_API int sl_rename_begin(struct sl_runtime *rt, uint64_t tag,
                           const char *name, uint64_t newtag,
                           const char *newname, uint32_t flags,
                           struct sl_op **out);
SL_API int sl_score_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                          float score, struct sl_op **out);
SL_API int sl_flush_begin(struct sl_runtime *rt, struct sl_op **out);
/**
 * The same for calls that are no single task: a thread makes the call, and goes
 * on to its end after sl_cancel. sl_close waits for the page of names, or the
 * change of targets, that it is at; then the future ends with SL_EDEAD. The
 * library is not to be unloaded while such a thread runs. *got is the return of
 * the call of that name. SL_EAGAIN: no thread can be started. Those of targets
 * are in target.h.
 */
SL_API int sl_tag_stat_begin(struct sl_runtime *rt, uint64_t tag,
                             struct sl_tag_stat *stat, struct sl_op **out);
SL_API int sl_list_next_begin(struct sl_runtime *rt, uint64_t tag,
                              struct sl_cursor *c, struct sl_entry *entries,
                              size_t n, size_t *got, struct sl_op **out);
SL_API int sl_list_tags_next_begin(struct sl_runtime *rt, struct sl_cursor *c,
                                   struct sl_entry *entries, size_t n,
                                   size_t *got, struct sl_op **out);
/** fn is called on that thread, and no more when sl_cancel has returned, which
 *  waits for a call of it that has begun. fn itself may cancel, but not wait for
 *  the query, and does not return SL_EAGAIN. */
SL_API int sl_query_begin(struct sl_runtime *rt, const struct sl_query *q,
                          sl_match_fn fn, void *user, uint64_t *total,
                          struct sl_op **out);
/** SL_EAGAIN: not yet. Any other code is the result; *op is freed and null.
 *  Waits for no slot: a get, and a put of device memory that is coded there,
 *  may have none yet and goes on when another future has ended. */
SL_API int sl_test(struct sl_op **op);
/** SL_ETIMEDOUT: not yet, the future stays valid. */
SL_API int sl_wait(struct sl_op **op, uint64_t timeout_ns);
/** Waits for any of n (null entries are skipped); *which is its index, the
 * return its result. SL_ETIMEDOUT when none. SL_EINVAL when all are null. */
SL_API int sl_wait_any(struct sl_op **ops, size_t n, uint64_t timeout_ns,
                       size_t *which);
/** Gives up; the operation may or may not take effect. What it used of the
 * arena comes back with a later call of the process. Waits for copies of device
 * memory that are under way. */
SL_API void sl_cancel(struct sl_op **op);

/* ---- tasks of other pools ---- */

/**
 * Sends `bytes` (1 to SL_TASK_MAX) to a method of a pool; container: any
 * number, taken modulo the lanes. The answer is what the module returns.
 * SL_ENOPOOL, SL_ENOMETHOD, SL_ETASKEMPTY, SL_ETASKBIG, and the module's own.
 */
SL_API int sl_task(struct sl_runtime *rt, uint32_t pool, uint32_t method,
                   uint32_t container, const void *task, uint64_t bytes,
                   struct sl_result *out);
/** Id of a pool by name ("store", "echo"). SL_ENOPOOL. */
SL_API int sl_pool_find(struct sl_runtime *rt, const char *name,
                        uint32_t *pool);

/* ---- devices ---- */

struct sl_device;

/**
 * Opens "host", "cuda:N" or "auto" (first CUDA device, else host) and gives it
 * a channel. Page-locks the arena for it. SL_ENODEV (logged: why), SL_EINVAL
 * unknown name, SL_EDEVICE (the driver failed), SL_ENOMEM.
 */
SL_API int sl_device_open(struct sl_runtime *rt, const char *name,
                          struct sl_device **out);
/** Before sl_close, with which `d` is gone. Waits for tasks in flight and for
 * copies of its memory by host calls (what of them has not begun then gets
 * SL_ENODEV), at most `timeout_ns` of the configuration each. No kernel may still use its handle. */
SL_API void sl_device_close(struct sl_device *d);
/** The struct that kernels take by value. */
SL_API const struct sl_dev *sl_device_handle(const struct sl_device *d);
/** "host" or the driver's name. */
SL_API const char *sl_device_name(const struct sl_device *d);

/** What host calls have moved to (in) and from (out) a device's memory. */
struct sl_device_moved {
    uint64_t plain_in, plain_out;   /* bytes that crossed as they are */
    uint64_t coded_in, coded_out;   /* bytes that crossed as LZ4 blocks */
    uint64_t blocks_in, blocks_out; /* bytes of these blocks */
    uint64_t gave_up; /* times that the device failed to code and the CPU did */
};
SL_API void sl_device_moved(const struct sl_device *d,
                            struct sl_device_moved *out);

#if defined(__cplusplus)
}
#endif

#include "sluice/target.h"

#endif
