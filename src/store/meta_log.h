/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The log of changes that LMDB does not have yet: DIR/log (docs/format.md).
 *
 * A change is acknowledged when its frame is in the log (level 1) or when the
 * log is synced (level 2); LMDB gets it later, many at a time, and the log
 * begins anew. The same bytes are kept in memory until then, so what a commit
 * applies is what a restart would replay.
 *
 * Frames are chained: each sum is seeded with the sum of the frame before, the
 * first with the generation, which LMDB stores and each commit advances. So a
 * frame of an earlier generation, of another store, or behind one that was
 * taken back, is no frame. The file is written over from its start, never cut.
 *
 * Each frame says how many were synced when it was made. So a log that a power
 * cut tore, where any of the frames since the last sync may be missing, is told
 * from one whose synced part is damaged: a later frame that is whole says so
 * (meta_log_hole.c).
 *
 * Usual order: log_open, log_replay, then log_frame + log_seal for each change,
 * log_write, log_sync; log_restart after each commit; log_close. Not locked.
 */
#ifndef SLUICE_META_LOG_H
#define SLUICE_META_LOG_H

#include "sluice/status.h"

#include <stddef.h>
#include <stdint.h>

#define LOG_HEAD 32u
#define LOG_SUM 8u
/* A commit is due when the log is longer. A replay reads at most this much and
 * one group. */
#define LOG_LIMIT (UINT32_C(64) << 20)
/* Of the memory: address space, of which what frames fill is used. More than
 * LOG_LIMIT and the largest group that follows. */
#define LOG_ROOM (UINT64_C(256) << 20)
/* Larger changes go to LMDB at once. */
#define LOG_PAYLOAD_MAX (UINT32_C(1) << 20)

/* Of the head of a frame (docs/format.md). */
static const uint8_t frame_magic[4] = {'S', 'L', 'O', 'G'};
#define LOG_AT_BYTES 4
#define LOG_AT_GENERATION 8
#define LOG_AT_NUMBER 16
#define LOG_AT_KIND 24
#define LOG_AT_UNDONE 25
#define LOG_AT_SYNCED 28

/** A number of `bytes` bytes, little endian. */
static inline uint64_t log_le(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8u * i);
    return v;
}

enum log_op {
    LOG_BEGIN,
    LOG_PUT_BLOB,
    LOG_DEL_BLOB,
    LOG_PUT_TAG,
    LOG_DEL_TAG,
    LOG_RENAME_BLOB, /* 2 bytes: length of the old key; that key; the record */
    LOG_CARRY_BLOB   /* meta_carry.h */
};

/* Damage in the synced part of a log: what a replay stops at is no end. */
struct log_hole {
    uint64_t at, number; /* of the first frame that is damaged */
    uint64_t synced;     /* so many frames were; 0: there is no hole */
    uint64_t whole;      /* frames behind it that are whole */
};

struct meta_log {
    char *path;
    int fd;
    /* The frames of this generation. It does not move: payloads stay where they
     * are until log_restart. Null: none yet. */
    uint8_t *buf;
    size_t used;
    size_t mark; /* what the file has of them */
    size_t open; /* start of the frame that is not sealed */
    uint64_t generation;
    uint64_t n;     /* frames */
    uint64_t chain; /* sum of the last */
    /* Part of each frame, so that the same change after one that was taken back
     * is another frame, and what was behind that one fits no more. */
    uint64_t undone;
    uint64_t synced;      /* frames that are on stable storage */
    struct log_hole hole; /* that log_replay found */
    uint64_t size;        /* of the file; no block of it is missing */
};

struct log_frame {
    enum log_op op;
    const uint8_t *payload;
    uint32_t bytes;
};

/** Creates the file if absent. Codes of dir_errno, logged. */
int log_open(const char *dir, struct meta_log *l);
void log_close(struct meta_log *l);

/**
 * Reads the frames of `generation` into memory, up to the first that is none;
 * they stay in the file. SL_EIO, SL_ENOMEM, logged. 0 also when the first that is
 * none is a hole in the synced part, which l->hole tells then: what follows was
 * acknowledged, and nothing may be applied without the user's word.
 */
int log_replay(struct meta_log *l, uint64_t generation);
/** In meta_log_hole.c: looks behind the last frame for one that says that more
 *  were synced, and fills l->hole. Reads the file once. SL_EIO, SL_ENOMEM, logged. */
int log_hole_find(struct meta_log *l);
/** The same, from a file that is only looked at; absent is empty. Nothing else
 *  but log_next and log_close follows. */
int log_look(const char *dir, uint64_t generation, struct meta_log *l);
/** Goes through the frames: *at begins at 0; false at the end. */
int log_next(const struct meta_log *l, size_t *at, struct log_frame *out);

/** Room for a payload, to be filled before log_seal; null without memory. */
uint8_t *log_frame(struct meta_log *l, enum log_op op, uint32_t bytes);
void log_seal(struct meta_log *l);

/** Where the log is, to go back to. */
struct log_place {
    size_t used;
    uint64_t n, chain;
};
struct log_place log_here(const struct meta_log *l);
/** Takes back what is behind `p`, in the file too. A code: the file may still
 *  have it, until log_restart. */
int log_undo(struct meta_log *l, const struct log_place *p);

/** Brings the frames that the file does not have to it, by one write.
 *  SL_ENOSPC, SL_EIO, logged; the caller takes them back. */
int log_write(struct meta_log *l);
/** Brings what was written to stable storage. */
int log_sync(struct meta_log *l);
/** Begins anew; what the file holds is no log of this generation. */
void log_restart(struct meta_log *l, uint64_t generation);

#endif
