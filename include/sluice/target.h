/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Targets: the places that store bytes, changed while the runtime works. Comes
 * in through sluice.h.
 */
#ifndef SLUICE_TARGET_H
#define SLUICE_TARGET_H

#include "sluice/sluice.h"

#if defined(__cplusplus)
extern "C" {
#endif

/*
 * A target is one place that stores bytes. The configuration makes the first
 * ones, named after their kind: "pinned" (score 1.0), "ram" (0.8), "file" (0.4)
 * and "null" (0.0); up to 32 in all.
 *
 * Where bytes go: with a score s, to the fastest target whose score is at most
 * s, then to slower ones, then to faster ones; without, in the order of
 * `placement`. A put that no target has room for is split over several. Bytes
 * with a persist level lie only on file targets of a store with data_dir.
 */
#define SL_TARGET_NAME 32u /* bytes of a name, the NUL included */
#define SL_TARGETS_MAX 32u

struct sl_target_opts {
    size_t size;
    const char *name;   /* 1 to 31 letters, digits, '.', '_' or '-' */
    const char *kind;   /* "ram", "hbm", "file", "null" */
    const char *path;   /* file: absent or empty; it is removed with the target,
                         and at the end of a runtime without data_dir */
    const char *device; /* hbm: as for sl_device_open */
    uint64_t capacity;  /* bytes, at least 4096 */
    /* 0.0 to 1.0, or -1: bandwidth and latency are measured now, and
     *   score = (log10(bandwidth / 100 MB/s) / 3
     *            + 1 - log10(latency / 1 us) / 4) / 2
     * with both parts kept within 0 and 1, and the whole below 1. */
    float score;
};

/**
 * Adds a target while the runtime works; `*id` (may be null) is its number. With
 * data_dir a file target is recorded and opened again by the next sl_open.
 * SL_EINVAL (name, kind, capacity, path), SL_ESCORE, SL_EEXIST (the name, or the
 * file has content), SL_ETARGETBUSY (another runtime has the file), SL_ENOSPC
 * (32 targets, or the disk is full), SL_EBUSY (another call adds, rates or
 * removes one, or a commit waits for a slow target), SL_ENODEV, SL_EACCES,
 * SL_ENOMEM, SL_EIO; logged, but for the first SL_EBUSY.
 */
SL_API int sl_target_add(struct sl_runtime *rt,
                         const struct sl_target_opts *opts, uint32_t *id);
/**
 * Moves what the target holds to others while readers and writers go on, then
 * closes it. SL_ENOTARGET, SL_EINVAL (the pinned tier, the file of data_dir),
 * SL_ENOSPC: it does not fit elsewhere, the target is in use again and nothing
 * is lost; SL_EBUSY: another call removes, rates or adds one, or a read of it
 * has not ended for a minute; SL_EDEAD, SL_EIO.
 */
SL_API int sl_target_remove(struct sl_runtime *rt, const char *name);
/** For what is put from now on. SL_ENOTARGET, SL_ESCORE, SL_EBUSY as of
 *  sl_target_add, SL_EIO; -1 measures again (SL_EINVAL for the pinned tier). */
SL_API int sl_target_set_score(struct sl_runtime *rt, const char *name,
                               float score);
/** The three as futures (sluice.h): a thread makes the call. A change that has
 *  begun goes on after sl_cancel. */
SL_API int sl_target_add_begin(struct sl_runtime *rt,
                               const struct sl_target_opts *opts, uint32_t *id,
                               struct sl_op **out);
SL_API int sl_target_remove_begin(struct sl_runtime *rt, const char *name,
                                  struct sl_op **out);
SL_API int sl_target_set_score_begin(struct sl_runtime *rt, const char *name,
                                     float score, struct sl_op **out);

struct sl_target_info {
    char name[SL_TARGET_NAME];
    char kind[8];
    char state[12];  /* "active", "draining"; "slow": a sync, a write of the
                        log's bytes or a measurement takes above a second */
    char path[256];  /* of a file, or the device; cut off when longer */
    uint32_t id;     /* its number */
    uint32_t number; /* what records of blobs call it; 0: none, or data_dir's */
    uint64_t capacity, used; /* bytes */
    uint64_t blob_bytes;     /* of blobs; used counts whole blocks and chunks */
    double score;
    uint64_t bandwidth;  /* bytes/s, 0: not measured */
    uint64_t latency_ns; /* of a read of 4 KiB, 0: not measured */
    /* Since the runtime began: pieces of blobs moved off by eviction, moved
     * here because they are read often, and the bytes of all moves to here. */
    uint64_t evicted, promoted, moved_bytes;
};
/** Fills at most n; returns how many there are, in the order of ids. */
SL_API int sl_targets(struct sl_runtime *rt, struct sl_target_info *out,
                      size_t n);

struct sl_tier_info {
    char kind[8];
    uint64_t capacity, used; /* bytes */
};
/** Fills at most n; returns how many targets there are. Highest score first. */
SL_API int sl_tiers(struct sl_runtime *rt, struct sl_tier_info *out, size_t n);

#if defined(__cplusplus)
}
#endif

#endif
