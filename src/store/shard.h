/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a shard is made of. Private to src/store.
 *
 *   index.c    key hash -> blob
 *   tag.c      tags: every shard knows all, each its own blobs of them
 *   blob.c     a blob's record: extents, size, queue of writers
 *   put.c      the short way of a put: flip a chunk, copy a few bytes
 *   update.c   the long way: begin, record, publish, end
 *   gather.c     which bytes make the new extents
 *   place.c      writing them to a target
 *   unit.c     units on targets below the arena: write, read, checksum
 *   get.c      answers by chunk, or by a list of segments; size, stat
 *   list.c     names, size of a tag, flush
 *   persist.c  metadata changes and their completions
 *   scatter.c  one request to all shards, answers merged
 *
 * A blob's bytes are extents: disjoint, sorted by offset, each with one chunk
 * (pinned) or one unit of at most 64 KiB (other targets) of its own. What no
 * extent covers reads as zeros. Only publishing (blob_publish) and the in-place
 * copy into a chunk that no reader holds change what readers see.
 */
#ifndef SLUICE_SHARD_H
#define SLUICE_SHARD_H

#include "base/mem.h"
#include "store/meta.h"
#include "store/store.h"

/* Largest unit on a target that is not the arena: a range of a large blob then
 * reads at most this much more than asked. */
#define UNIT_BYTES 65536u
/* Up to here a partial overwrite copies into the chunk in place; 64 KiB are
 * about 3 us of a worker. */
#define IN_PLACE_BYTES 65536u

struct extent {
    uint64_t off;    /* in the blob */
    uint64_t loc;    /* chunk in the arena, or offset in the target */
    uint64_t sum;    /* XXH3-64 of `len` bytes; units only */
    uint32_t len;    /* bytes of the blob */
    uint32_t skip;   /* first byte in the chunk; 0 for units */
    uint32_t stored; /* bytes taken from the target */
    uint8_t target;  /* enum store_target */
    uint8_t klass;   /* chunk's class; 0 for units */
    uint16_t codec;
};

struct tag;

struct blob {
    struct sl_hash hash;
    struct tag *tag;
    uint64_t size;
    uint64_t version;   /* 0: being created, readers do not see it */
    struct extent *ext; /* &one, or allocated */
    uint32_t n, cap;
    struct extent one;
    struct sl_task *wait_head, *wait_tail; /* writers behind the present one */
    uint64_t created_ns, changed_ns;
    uint32_t tag_pos; /* in tag->blobs */
    uint16_t score, context;
    uint8_t persist;  /* level that its bytes have */
    uint8_t recorded; /* metadata holds a record */
    uint8_t busy;     /* a writer is under way */
    uint8_t name_len;
    char name[];
};

struct tag {
    uint64_t id;
    struct blob **blobs; /* of this shard */
    uint32_t n, cap;
    uint64_t bytes;         /* of them */
    struct sl_task *wait;   /* at home: who asked while it was being created */
    struct scatter *ending; /* the delete, while it waits for busy blobs */
    uint32_t busy;          /* blobs of this shard with a writer under way */
    int code;               /* at home: what its create or delete came to */
    uint8_t ready;          /* all shards know it, and it is recorded */
    uint8_t dead;           /* being deleted; its blobs are still there */
    uint8_t len;
    char name[];
};

struct index_entry {
    uint64_t lo;
    struct blob *blob;
};

struct table {
    struct index_entry *at;
    uint64_t mask, used;
    struct index_entry *old; /* while it grows: what is not moved yet */
    uint64_t old_mask, moved;
};

/* Units that readers may still read are freed two flips later. */
struct limbo {
    struct extent *at;
    uint32_t n, cap;
};

struct shard {
    struct store *store;
    struct mem_pool records; /* blobs */
    struct store_env env;
    uint32_t id;
    struct table index;
    struct tag **tags; /* open addressing by id */
    uint32_t tag_mask, tag_used;
    uint64_t last_version; /* highest of any deleted blob */
    uint64_t credit;       /* pinned bytes charged but unused */
    uint64_t credit_step;
    uint32_t reads[2]; /* reads of units under way, by epoch parity */
    uint32_t epoch;
    struct limbo limbo[2];
};

struct store {
    struct store_config config;
    struct shard **shards;
    struct tier *tiers[TARGETS];
    struct tier_port **ports; /* [target * (n_workers + 1) + worker] */
    uint8_t order[TARGETS];   /* targets there are, fastest first */
    uint32_t n_order;
    struct store_dir *dir;
    struct meta *meta;
};

static inline struct tier_port *shard_port(const struct shard *sh, int target)
{
    const struct store *s = sh->store;
    return s
        ->ports[(uint32_t)target * (s->config.n_workers + 1u) + sh->env.worker];
}

static inline uint8_t *shard_arena(const struct shard *sh)
{
    return arena_base(sh->store->config.arena);
}

/* ---- index.c ---- */
int table_create(struct table *t);
void table_destroy(struct table *t);
struct blob *table_find(const struct table *t, const struct sl_task *task);
/** The blob that has half of the hash, or null; does not touch it. */
struct blob *table_guess(const struct table *t, uint64_t lo);
/** True while the blob is there; b may have been freed. */
int table_has(const struct table *t, uint64_t lo, const struct blob *b);
/** Ends a growth: then `at` has all. */
void table_settle(struct table *t);
int table_insert(struct table *t, struct blob *b); /* SL_ENOMEM */
void table_remove(struct table *t, const struct blob *b);

/* ---- tag.c ---- */
int tags_create(struct shard *sh);
void tags_destroy(struct shard *sh);
struct tag *tag_find(const struct shard *sh, uint64_t id);
/** Tag of a request, when it is ready and not dead; null: SL_ENOTAG. */
struct tag *tag_live(const struct shard *sh, uint64_t id);
int tag_add(struct shard *sh, uint64_t id, const void *name, uint32_t len,
            struct tag **out);
int tag_link(struct tag *t, struct blob *b);
void tag_unlink(struct blob *b);
/** The last busy blob of the tag in this shard left: a delete that waits for it
 *  goes on, by a message, so the tag stays until the caller has returned. */
void tag_rests(struct shard *sh, struct tag *tag);
int store_tag(struct sl_task *t, void *container);
int store_tag_del(struct sl_task *t, void *container);

/* ---- blob.c ---- */
static inline size_t blob_bytes(uint32_t name_len)
{
    return sizeof(struct blob) + name_len;
}
int blob_create(struct shard *sh, const struct sl_task *t, struct tag *tag,
                struct blob **out);
/** Unlinks, frees extents and the record; waiting writers are served again. */
void blob_destroy(struct shard *sh, struct blob *b);
/** First extent that ends behind `at`; n when none. */
uint32_t blob_seek(const struct blob *b, uint64_t at);
int blob_reserve(struct blob *b, uint32_t n);
/** The bytes changed: version, time, sizes. */
void blob_touch(struct shard *sh, struct blob *b, uint64_t size,
                uint64_t now_ns);
/** Version of the next change. A new blob begins above all that this shard gave
 *  to blobs since deleted, so a name that is made again is another version. */
uint64_t blob_next_version(const struct shard *sh, const struct blob *b);
/** The extents that a blob has after `made` replaced what it overlaps (all:
 *  everything). Changes nothing. SL_ENOMEM. */
struct merged {
    struct extent *ext;
    uint32_t n;
};
int blob_merge(const struct blob *b, const struct extent *made, uint32_t n,
               int all, struct merged *out);
/** Takes the merged extents as the blob's and frees those that went. */
void blob_publish(struct shard *sh, struct blob *b, struct merged *m);
void blob_wait(struct blob *b, struct sl_task *t);
/** Begins a writer's turn; the blob is not busy. */
void blob_enter(struct blob *b);
/** Ends a writer's turn: serves those who wait; a blob without version goes. */
void blob_leave(struct shard *sh, struct blob *b);
void extent_free(struct shard *sh, const struct extent *e);

/* ---- space of the pinned tier, blob.c ---- */
int shard_charge(struct shard *sh, uint64_t bytes);
void shard_discharge(struct shard *sh, uint64_t bytes);

/* ---- unit.c ---- */
/** Bytes that a unit takes from its target. */
static inline uint32_t unit_stored(uint32_t len)
{
    return (len + TIER_BLOCK - 1u) / TIER_BLOCK * TIER_BLOCK;
}
struct unit_io {
    struct tier_io io;
    struct shard *sh;
    struct extent *e;
    void (*done)(struct unit_io *u, int code);
    void *user;
    uint32_t parity; /* of a read */
};
/** Takes space on `target` and writes e->len bytes of buf (aligned, room to
 *  pad); fills loc, stored, sum. Not accepted: nothing is taken. */
int unit_write(struct unit_io *u, int target, uint8_t *buf);
/** Reads and checks a unit into buf (room for e->stored, aligned). */
int unit_read(struct unit_io *u, uint8_t *buf);
void limbo_add(struct shard *sh, const struct extent *e);
void limbo_advance(struct shard *sh);

/* ---- put.c ---- */
int store_put(struct sl_task *t, void *container);
uint8_t class_for(uint64_t bytes); /* smallest class, 6..20 */
void put_done(struct shard *sh, struct sl_task *t, struct blob *b,
              uint64_t now_ns);
/** The producer of an adopted chunk gets the replaced one, or another of that
 *  class, or none. `freed` may be null. */
void put_exchange(struct shard *sh, struct sl_task *t, uint8_t klass,
                  const struct extent *freed);

/* ---- update.c: the long way, see update.h ---- */
/** Always TASK_LATER or SL_ENOMEM. */
int update_put(struct shard *sh, struct sl_task *t, struct blob *b);
/** One step to make a blob durable: moves some extents to the file, or when all
 *  are there writes the record; then calls done. SL_ENOMEM: done is not. */
int update_persist(struct shard *sh, struct blob *b,
                   void (*done)(void *user, int code), void *user);
/** True when some of its bytes are in no file. */
int blob_is_volatile(const struct blob *b);
/** Frees the chunks of a listed put that nothing was made of. */
void put_drop_list(struct shard *sh, const struct sl_task *t);

/* ---- persist.c ---- */
int store_del(struct sl_task *t, void *container);

/* ---- get.c, list.c ---- */
int store_get(struct sl_task *t, void *container);
int store_size(struct sl_task *t, void *container);
int store_stat(struct sl_task *t, void *container);
int store_tag_size(struct sl_task *t, void *container);
int store_list(struct sl_task *t, void *container);
int store_tags(struct sl_task *t, void *container);
int store_flush(struct sl_task *t, void *container);

/* ---- persist.c ---- */
struct change {
    struct meta_change meta;
    struct meta_extent *extents;
    struct message msg;
    struct shard *sh;
    int code;
    void (*done)(struct change *c, int code); /* on the shard's worker; frees */
    void *user;
};
/** Fills in a META_PUT_BLOB of b with other extents; its done and user are the
 *  caller's to set. SL_ENOMEM. */
int change_blob(struct shard *sh, const struct blob *b, const struct merged *m,
                struct change **out);
void change_submit(struct change *c);
void change_release(struct change *c);

/* ---- scatter.c ---- */
struct scatter;
/** Runs `part` on each shard's worker, then `end` on the origin's. part may
 *  answer TASK_LATER and call scatter_part later. SL_ENOMEM. */
int scatter_start(struct shard *origin, struct sl_task *t,
                  int (*part)(struct scatter *s, struct shard *sh),
                  void (*end)(struct scatter *s, int code), void *user);
void scatter_part(struct scatter *s, int code);
/** Runs the part of this shard again, by a message; it answered TASK_LATER. */
void scatter_retry(struct scatter *s, struct shard *sh);
/** In `end`, or later when it set `kept`, on the origin's worker: goes round
 *  all shards again with the same scatter, so that it cannot fail. */
void scatter_next(struct scatter *s,
                  int (*part)(struct scatter *s, struct shard *sh),
                  void (*end)(struct scatter *s, int code));
struct scatter {
    struct shard *origin;
    struct sl_task *task;
    void *user;
    int (*part)(struct scatter *s, struct shard *sh);
    void (*end)(struct scatter *s, int code);
    uint32_t pending; /* atomic */
    int code;         /* atomic: first error */
    int kept;         /* set by `end`: it goes on, do not free */
    struct message ended;
    struct scatter_message {
        struct message m;
        struct scatter *s;
        struct shard *sh;
        uint64_t v[2]; /* the part's answer */
    } to[];
};

#endif
