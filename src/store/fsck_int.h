/* SPDX-License-Identifier: Apache-2.0 */
/* What fsck.c (order of the check), fsck_blob.c (blobs and their bytes) and
 * fsck_read.c (reading many extents at once) share. */
#ifndef SLUICE_FSCK_INT_H
#define SLUICE_FSCK_INT_H

#include "store/fsck.h"
#include "store/meta_apply.h"
#include "tier/tier.h"

struct store_dir;

/* Extents of blobs that are read together. */
#define FSCK_BATCH 4096u
/* The data file, and what fits the table of targets beside the pinned tier. */
#define FSCK_FILES 31u

enum fsck_state {
    FSCK_GOOD,
    FSCK_BAD,
    FSCK_SHORT,
    FSCK_FAILED,
    FSCK_OUTSIDE, /* behind the capacity of its target */
    FSCK_NOWHERE  /* its target is not there */
};

struct fsck_extent {
    struct meta_extent e;
    enum fsck_state state;
};

/* A file of bytes: DIR/data, or a target that DIR/targets lists. */
struct fsck_file {
    uint32_t number;
    int fd;     /* -1: it is not there */
    int lost;   /* and does not come back: the user says so */
    char *name; /* if it is lost */
    uint64_t bytes;
    uint64_t capacity; /* that a start gives it, UINT64_MAX: the user says */
    uint64_t *used;    /* a bit for each block */
    uint64_t blocks;
};

/* Bytes that the log carries: they win over what the file has. */
struct fsck_carried {
    uint32_t target;
    uint32_t order; /* in the log; of one place the last counts */
    struct meta_extent e;
    const uint8_t *bytes;
};

struct fsck_files {
    struct fsck_carried *carried; /* sorted by target, place and order */
    uint32_t n_carried, room_carried;
    uint32_t away;   /* extents of the log for files that are away */
    uint32_t unread; /* that it names and that cannot be read */
    struct fsck_file at[FSCK_FILES]; /* the data file is the first */
    unsigned n;
};

/* Room for any key of LMDB, of which ours are the shorter ones. */
#define FSCK_KEY_MAX 512u

struct fsck_record {
    uint8_t key[FSCK_KEY_MAX];
    size_t key_bytes;
    struct meta_blob b; /* its name is in `key`, its extents are none */
    uint32_t first, n;  /* in the batch */
};

/* A damaged extent, of a blob that stays. */
struct fsck_damaged {
    uint8_t key[FSCK_KEY_MAX];
    size_t key_bytes;
    struct meta_extent e;
};

struct fsck {
    const struct sl_fsck_opts *o;
    struct sl_fsck_report *r;
    struct fsck_files files;
    struct meta_env env;
    struct meta_log log;
    MDB_txn *txn;
    uint64_t bad_frames; /* of the log, with a sum that fits */
    uint64_t newer;      /* records of a newer program, which stay */
    int salvaged;        /* the metadata was made anew */
    int frozen;          /* nothing is mended: it would drop what the log has */
    struct fsck_record *record;
    uint32_t n_records, room_records;
    struct fsck_extent *extent;
    uint32_t n_extents, room_extents;
    struct fsck_damaged *damaged;
    uint32_t n_damaged, room_damaged;
    char tag_name[256], blob_name[256];
};

static inline int fsck_repairs(const struct fsck *f)
{
    return (f->o->flags & SL_FSCK_REPAIR) != 0 && !f->frozen;
}

/** Reports one; `p->tag` and `p->blob` are filled in from the record if one is
 *  given. */
void fsck_problem(struct fsck *f, const struct fsck_record *r,
                  struct sl_fsck_problem *p);

/** Opens the data file and the other targets' files. SL_ENOMEM, SL_EIO,
 *  SL_ECORRUPT (the list of targets), logged. */
int fsck_files_open(struct fsck *f, struct store_dir *d);
void fsck_files_close(struct fsck *f);
/** True for a target that the user gives up. */
int fsck_is_lost(const struct fsck_files *files, uint32_t number);
/** Reports those that are lost, when it is known whether they leave the list. */
void fsck_files_tell_lost(struct fsck *f);
/** Takes those that are lost out of DIR/targets, when no record names them any
 *  more. Codes of target_list_write, logged. */
int fsck_files_drop(struct fsck *f, struct store_dir *d);
/** The file of a target; null: it is not there. */
struct fsck_file *fsck_file(struct fsck_files *files, uint32_t number);
/** Makes `carried` from the log, and counts bad_frames. SL_ENOMEM. */
int fsck_carried_load(struct fsck *f);
/** Brings them to their files, for a repair. SL_EIO, logged. */
int fsck_carried_write(struct fsck *f);
/** What the log has for the place of an extent, or null. */
const struct fsck_carried *fsck_carried(const struct fsck_files *files,
                                        const struct meta_extent *e);
/** Reads and compares extents [0, n); several threads. SL_ENOMEM. */
int fsck_read(struct fsck_files *files, struct fsck_extent *e, uint32_t n);
/** What an extent takes of its file: whole blocks, of coded bytes too, as a
 *  start reserves them and a read asks for them. */
static inline uint64_t fsck_space(const struct meta_extent *e)
{
    return ((uint64_t)e->stored + TIER_BLOCK - 1u) / TIER_BLOCK * TIER_BLOCK;
}

/** One extent; `buf` has room for e->stored. */
enum fsck_state fsck_read_one(struct fsck_files *files,
                              const struct meta_extent *e, uint8_t *buf);

/** Takes the space of an extent; false when another has a block of it. */
int fsck_claim(struct fsck *f, const struct meta_extent *e);
int fsck_is_taken(struct fsck *f, const struct meta_extent *e);

/* A record in a damaged LMDB file. */
struct fsck_found {
    uint64_t at; /* byte of the file */
    uint64_t version;
    uint32_t bytes;
    int live; /* the newest head leads to it */
};

struct fsck_founds {
    struct fsck_found *at; /* live ones first, then the newest */
    size_t n, room;
};

struct fsck_pages {
    const uint8_t *base; /* the file, mapped; null: it is not there */
    uint64_t bytes;
    struct fsck_founds tags, blobs;
    uint64_t tags_said, blobs_said; /* how many there were, 0: not known */
    uint64_t generation;
    int has_generation;
    int has_log;   /* the log has something new of that generation */
    uint64_t read; /* bytes whose sum was made: how much work it was */
    int gave_up;   /* not all that looks like a record was summed */
};

/** Finds the records of meta/data.mdb, whatever it holds. SL_ENOMEM, SL_EIO,
 *  SL_EACCES. *out is to be freed in any case. */
int fsck_pages_find(const struct store_dir *d, struct fsck_pages *out);
void fsck_pages_free(struct fsck_pages *p);
/** After a salvage: a record for a tag that has none, with a name of its number.
 *  LMDB's result. */
int fsck_name_tag(MDB_txn *txn, MDB_dbi tags, uint64_t id);
/** Makes meta/data.mdb anew from what can be read of it. SL_ENOENT: nothing can,
 *  and nothing was changed. Other codes, logged: the same. */
int fsck_salvage(struct fsck *f, const struct store_dir *d);

/** All blobs of the transaction. LMDB's result, or a code below 0. */
int fsck_blobs(struct fsck *f);

#endif
