/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a shard is made of. Private to src/store.
 *
 *   record.h   what is in memory of a blob and of a tag
 *   index.c    key hash -> blob
 *   tag.c      tags: every shard knows all, each its own blobs of them
 *   tag_name.c names of tags, and how they change
 *   blob.c     a blob's record: extents, size, queue of writers
 *   put.c      the short way of a put: flip a chunk, copy a few bytes
 *   update.c   the long way: begin, record, publish, end
 *   gather.c     which bytes make the new extents
 *   place.c      writing them to a target
 *   code.c       units made smaller by a codec, before they are placed
 *   unit.c     units on targets below the arena: write, read, checksum
 *   owed.c     those whose bytes only the log has
 *   decode.c   coded ones, back to plain bytes
 *   get.c      answers by chunk, or by a list of segments; size, stat
 *   list.c     names, size of a tag, flush
 *   rename.c   a blob gets another name: two shards, one record
 *   query.c    names that match a pattern
 *   events.c   the log of operations
 *   score.c    another score: the bytes move
 *   move.c     a target is emptied
 *   evict.c    cold blobs down, hot ones up
 *   target.h   the table of targets
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
#include "store/events.h"
#include "store/evict.h"
#include "store/index.h"
#include "store/meta.h"
#include "store/owed.h"
#include "store/record.h"
#include "store/scatter.h"
#include "store/store.h"
#include "store/target.h"

#include <pthread.h>

/* Largest unit on a target that is not the arena: a range of a large blob then
 * reads at most this much more than asked. */
#define UNIT_BYTES 65536u
/* Up to here a partial overwrite copies into the chunk in place; 64 KiB are
 * about 3 us of a worker. */
#define IN_PLACE_BYTES 65536u

struct codec_pool;
struct decode;

/* Tasks behind busy blobs, by the blob's address: few blobs have any, so the
 * records need no room for them. */
#define WAIT_QUEUES 256u
struct wait_queue {
    struct sl_task *head, *tail;
};

/** Waits until every read that is under way has ended. */
struct limbo_wait {
    struct limbo_wait *next;
    void (*done)(struct limbo_wait *d); /* on the shard's worker */
};

/* Units that readers may still read are freed two flips later. */
struct limbo {
    struct extent *at;
    uint32_t n, cap;
    struct limbo_wait *drains;
};

/* Units that a record on disk may still name. */
struct settle {
    struct settle_unit {
        struct extent e;
        uint64_t change; /* the last one that may name it (meta_last) */
    } * at;
    uint32_t first, n, cap;
    struct message msg;
    int posted; /* atomic: msg is under way */
};

struct shard {
    struct store *store;
    struct mem_pool records; /* blobs */
    struct store_env env;
    uint32_t id;
    struct choice choice;
    struct evict evict;
    uint64_t unit_bytes[TARGETS_MAX]; /* atomic: blobs' bytes in units */
    struct table index;
    uint32_t coding;  /* atomic: jobs with the pool of codecs */
    uint32_t seconds; /* a clock for heat, which gets read every now and then */
    uint32_t accesses; /* since it was read */
    struct wait_queue wait[WAIT_QUEUES];
    struct tag **tags; /* open addressing by id */
    uint32_t tag_mask, tag_used;
    struct tag **tag_list;  /* the same tags, for listings */
    struct alias **aliases; /* tag_name.c */
    uint32_t alias_mask, alias_used;
    struct events *events;
    struct query_code *pattern; /* of the last query */
    uint64_t last_version;      /* highest of any deleted blob */
    uint64_t credit;            /* pinned bytes charged but unused */
    uint64_t credit_step;
    uint32_t reads[2]; /* reads of units under way, by epoch parity */
    uint32_t epoch;
    struct limbo limbo[2];
    struct settle settle;
};

struct store {
    struct store_config config;
    struct shard **shards;
    struct target target[TARGETS_MAX];
    struct target_ports *ports; /* of each worker */
    pthread_mutex_t control;    /* held while targets change; taken first */
    pthread_mutex_t sync;       /* the committer's ports */
    pthread_mutex_t look;       /* entries, for those who only look; taken last,
                                   nobody waits for a disk with it */
    uint32_t next_number;       /* for records, of the next lasting target */
    uint32_t stopping;          /* atomic */
    uint32_t over; /* atomic, bits: targets above their high mark */
    struct codec_pool *code_pool; /* atomic: made when it is first needed */
    pthread_mutex_t code_lock;
    struct store_dir *dir;
    struct meta *meta;
    struct owed owed;
    pthread_mutex_t shards_lock; /* shards come and go, the committer looks */
    uint64_t settling;           /* atomic: units of all shards in `settle` */
};

static inline struct tier_port *shard_port(const struct shard *sh, uint32_t t)
{
    return sh->store->ports[sh->env.worker].at[t];
}

static inline uint8_t *shard_arena(const struct shard *sh)
{
    return arena_base(sh->store->config.arena);
}

/* ---- tag.c ---- */
int tags_create(struct shard *sh);
void tags_destroy(struct shard *sh);
/** Every blob of the shard, tag by tag, while none comes or goes. A non-zero
 *  return of `one` ends it and is handed back. */
int tags_each_blob(struct shard *sh, int (*one)(void *user, struct blob *b),
                   void *user);
struct tag *tag_find(const struct shard *sh, uint64_t id);
/** Tag of a request, when it is ready and not dead; null: SL_ENOTAG. */
struct tag *tag_live(const struct shard *sh, uint64_t id);
int tag_add(struct shard *sh, uint64_t id, const void *name, uint32_t len,
            struct tag **out);
int tag_link(struct tag *t, struct blob *b); /* SL_ENOMEM */
void tag_unlink(struct shard *sh, struct blob *b);
static inline struct blob *tag_blob(const struct shard *sh, const struct tag *t,
                                    uint32_t i)
{
    return mem_at(&sh->records, t->blobs[i]);
}
/** The last busy blob of the tag in this shard left: a delete that waits for it
 *  goes on, by a message, so the tag stays until the caller has returned. */
void tag_rests(struct shard *sh, struct tag *tag);
/* ---- tag_name.c ---- */
struct alias;
int tag_is_named(const struct tag *tag, const void *name, uint32_t len);
/** The tag that has the name of a request, in any state; null: none. *pending:
 *  the name is on its way to a tag; tag_wait_name waits for that. */
struct tag *tag_named(const struct shard *sh, const struct sl_task *t,
                      struct alias **pending);
void tag_wait_name(struct alias *pending, struct sl_task *t);
/** An id for a tag of that name, which no tag has. SL_ENOMEM, SL_ENOSPC. */
int tag_new_id(struct shard *sh, const struct sl_task *t, uint64_t *id);
/** Takes tag_new_id back. */
void tag_forget_name(struct shard *sh, const struct sl_task *t);
/** A recorded tag was added: makes its name known. SL_ENOMEM. */
int tag_load_name(struct shard *sh, uint64_t id, const char *name,
                  uint32_t len);
/** The tag goes, or gets another name. */
void tag_unname(struct shard *sh, const struct tag *tag);
void aliases_destroy(struct shard *sh);
int store_tag_rename(struct sl_task *t, void *container);
int store_tag(struct sl_task *t, void *container);
int store_tag_del(struct sl_task *t, void *container);

/* ---- blob.c ---- */
int blob_create(struct shard *sh, const struct sl_task *t, struct tag *tag,
                struct blob **out);
/** The same without the index, which the caller sees to (recovery). */
int blob_make(struct shard *sh, const struct sl_task *t, struct tag *tag,
              struct blob **out);
/** Frees its last extents, up to `most`; returns how many. The blob is on its
 *  way out, and not busy. */
uint32_t blob_drop_last(struct shard *sh, struct blob *b, uint32_t most);
/** Unlinks, frees extents and the record; waiting writers are served again. */
void blob_destroy(struct shard *sh, struct blob *b);
/** The same without freeing extents: they are somebody else's. */
void blob_forget(struct shard *sh, struct blob *b);
/** First extent that ends behind `at`; n when none. */
uint32_t blob_seek(const struct blob *b, uint64_t at);
int blob_reserve(struct blob *b, uint64_t n); /* SL_ENOMEM, SL_EFBIG */
/** The bytes changed: version, time, sizes. */
void blob_touch(struct shard *sh, struct blob *b, uint64_t size,
                uint64_t version, uint64_t now_ns);
/** Version of the next change. A new blob begins above all that this shard gave
 *  to blobs since deleted, so a name that is made again is another version. */
uint64_t blob_next_version(const struct shard *sh, const struct blob *b);
/** The extents that a blob has after `made` replaced what it overlaps (all:
 *  everything). Changes nothing. SL_ENOMEM, SL_EFBIG: too many. */
struct merged {
    struct extent *ext;
    uint32_t n;
};
int blob_merge(const struct blob *b, const struct extent *made, uint32_t n,
               int all, struct merged *out);
/** Takes the merged extents as the blob's and frees those that went. */
void blob_publish(struct shard *sh, struct blob *b, struct merged *m);
/** Puts the task behind the writer of a busy blob: it is served again when that
 *  one is done. A task without channel has its `done` called instead. */
void blob_wait(struct shard *sh, struct blob *b, struct sl_task *t);
/* Accesses further apart than this are counted from 1 again. */
#define HEAT_WINDOW_S 8u
/** Counts an access; the caller has the record in its cache anyway. */
static inline void blob_heat(const struct shard *sh, struct blob *b)
{
    uint32_t n = b->heat & 0xffu;
    if (((sh->seconds - (b->heat >> 8)) & 0xffffffu) > HEAT_WINDOW_S)
        n = 0;
    b->heat = sh->seconds << 8 | (n + (n < 0xffu));
}
/** Begins a writer's turn; the blob is not busy. */
void blob_enter(struct blob *b);
/** Ends a writer's turn: serves those who wait; a blob without version goes. */
void blob_leave(struct shard *sh, struct blob *b);
void extent_free(struct shard *sh, const struct extent *e);

/* ---- space of the pinned tier, blob.c ---- */
int shard_charge(struct shard *sh, uint64_t bytes); /* SL_ENOSPC */
void shard_discharge(struct shard *sh, uint64_t bytes);
/** Gives back what is charged but unused, for others. */
void shard_give_credit(struct shard *sh);

/* ---- unit.c ---- */
/** Bytes that a unit takes from its target. */
static inline uint32_t unit_stored(uint32_t len)
{
    return (len + TIER_BLOCK - 1u) / TIER_BLOCK * TIER_BLOCK;
}
/** The same of an extent: what its bytes take. Not for chunks that are not
 *  coded. */
static inline uint32_t extent_space(const struct extent *e)
{
    return unit_stored(e->codec ? (uint32_t)e->stored : (uint32_t)e->len);
}
/** How many bytes the checksum is over. */
static inline uint32_t extent_summed(const struct extent *e)
{
    return e->codec ? (uint32_t)e->stored : (uint32_t)e->len;
}
/** The checksum of an extent's bytes, as they are stored. */
uint64_t unit_sum(const uint8_t *bytes, size_t n);
struct unit_io {
    struct tier_io io;
    struct shard *sh;
    struct extent *e;
    void (*done)(struct unit_io *u, int code);
    void *user;
    uint32_t parity; /* of a read */
    /* Of a read, for messages: the blob, borrowed until `done`. */
    uint64_t tag;
    const char *name;
    uint32_t name_len;
    uint8_t own_chunk;   /* of a write: e->loc is a chunk made for it */
    struct decode *code; /* of a read, while it decodes */
};
/** Takes space on `target` for e->len bytes, or when e->codec is set for
 *  e->stored; fills loc, stored (not coded) and target. The tier's codes. */
int unit_alloc(struct shard *sh, uint32_t target, struct extent *e);
/** Gives it back; nobody reads it. */
void unit_free(struct shard *sh, const struct extent *e);
/** Marks the space of a recorded unit as taken; the tier's codes. */
int unit_reserve(struct shard *sh, const struct extent *e);
/** Writes buf (aligned, room to pad) where unit_alloc said; fills sum, which a
 *  coded one has already. The space stays taken with an error too. */
int unit_write(struct unit_io *u, uint8_t *buf);
/** Pads buf and fills e->sum, for who writes it himself. */
void unit_seal(struct extent *e, uint8_t *buf);
/** Reads and checks a unit as it is stored into buf (aligned, room for
 *  extent_space). */
int unit_fetch(struct unit_io *u, uint8_t *buf);
/** Reads a unit, or a coded chunk, to plain bytes: buf is aligned and has room
 *  for e->len rounded up to TIER_BLOCK. decode.c. */
int unit_read(struct unit_io *u, uint8_t *buf);
void limbo_add(struct shard *sh, const struct extent *e);
void limbo_advance(struct shard *sh);
/** d->done may run at once. */
void limbo_drain(struct shard *sh, struct limbo_wait *d);

/* ---- score.c ---- */
int store_score(struct sl_task *t, void *container);

/* ---- put.c ---- */
int store_put(struct sl_task *t, void *container);
uint8_t class_for(uint64_t bytes); /* smallest class, 6..20 */
/** Bytes that a put brings, coded or plain. */
static inline uint64_t put_bytes(const struct sl_cell *c)
{
    return c->flags & SL_F_CODED ? c->coded : c->size;
}
void put_done(struct shard *sh, struct sl_task *t, struct blob *b,
              uint64_t version, uint64_t now_ns);
/** The producer of an adopted chunk gets the replaced one, or another of that
 *  class, or none. `freed` may be null. */
void put_exchange(struct shard *sh, struct sl_task *t, uint8_t klass,
                  const struct extent *freed);

/* ---- update.c: the long way, see update.h ---- */
enum move_why { MOVE_ASKED = 0, MOVE_DOWN, MOVE_UP };
struct move {
    uint32_t from, to; /* bits of targets */
    enum move_why why; /* for the counters */
    void (*done)(void *user, int code);
    void *user;
};
/** Always TASK_LATER or SL_ENOMEM. */
int update_put(struct shard *sh, struct sl_task *t, struct blob *b);
/** One step to make a blob durable: moves some extents to the file, or when all
 *  are there writes the record; then calls done. SL_ENOMEM: done is not. */
int update_persist(struct shard *sh, struct blob *b,
                   void (*done)(void *user, int code), void *user);
/** Moves some extents from the targets of `from` to those of `to` (bits; what
 *  discards is left out, and what does not last for a recorded blob), as many
 *  as fit; then calls done. The blob is not busy. SL_ENOMEM: done is not.
 *  SL_ENOSPC: not even one fits. */
int update_move(struct shard *sh, struct blob *b, const struct move *m);
/** True when some of its bytes are on one of the targets (bits). */
int blob_lies_on(const struct blob *b, uint32_t targets);
/** True when some of its bytes do not outlive the process. */
int blob_is_volatile(const struct shard *sh, const struct blob *b);
/** Frees the chunks of a listed put, or one of units, that nothing was made of.
 */
void put_drop_chunks(struct shard *sh, const struct sl_task *t);

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

/* ---- rename.c ---- */
int store_rename(struct sl_task *t, void *container);

/* ---- query.c ---- */
int store_query(struct sl_task *t, void *container);
void query_destroy(struct shard *sh);

/* ---- events.c ---- */
int store_events(struct sl_task *t, void *container);
/** A tag was created for this request, or could not be. */
void shard_tag_created(struct shard *sh, const struct sl_task *t, uint64_t id,
                       int code);

/* ---- names, packed into the side chunk; list.c ---- */
struct page {
    uint8_t *at;
    uint32_t used, n, most;
};
struct page page_begin(const struct shard *sh, const struct sl_task *t);
/** False when there is no room for it. */
int page_add(struct page *p, uint64_t id, const char *name, uint8_t len);
void page_answer(struct sl_task *t, const struct page *p, uint64_t next);
/** How many names a listing that is at the cursor has left of n. */
static inline uint64_t list_left(const struct sl_task *t, uint64_t n)
{
    uint64_t left = t->cell.offset ? t->cell.offset - 1u : n;
    return left < n ? left : n;
}
/* ---- recover.c ---- */
/* Leaves room for changes: a version of 0 means that there is none. */
#define RECOVER_VERSION_MAX (BLOB_VERSION_MAX >> 1)
/** 0: a start takes the record, if its space is there. SL_ECORRUPT, SL_EVERSION
 *  with the reason in words; what fsck checks, too. */
int recover_check(const struct meta_blob *m, const char **why);
/** The same of a place for bytes. */
int recover_is_unit(const struct meta_extent *e);
/** Logs that a record names space behind the capacity: the user's word is too
 *  small (SL_ECONFIG), or the record is damaged. */
int recover_outside(const struct target *t);

/* ---- stable.c: what the committer asks of targets ---- */
/** Opens its port and the metadata; replays. */
int stable_open(struct store *s);

/* ---- settle.c ---- */
void settle_start(struct shard *sh);
void settle_stop(struct shard *sh);
/** A unit of a blob that had a record until the last change: it becomes free
 *  when the record that names it no more is on stable storage. */
void settle_unit(struct shard *sh, const struct extent *e);
/** Tells all shards that changes have settled; the committer. */
void settle_tell(struct store *s);
/** Commits, frees what is settled in all shards, then calls done with the code
 *  of the commit. SL_ENOMEM: it is not called. */
int settle_all(struct shard *sh, void (*done)(void *user, int code),
               void *user);

/* ---- persist.c ---- */
struct change {
    struct meta_change meta;
    struct meta_extent *extents;
    struct meta_carried *carried; /* null: none */
    struct owed_unit **owed;      /* of each of them; null: owed by now */
    uint32_t n_owed;
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
/** Room for n carried units. SL_ENOMEM. */
int change_carry(struct change *c, uint32_t n);
void change_submit(struct change *c);
/** The same; when no sync is asked for, `done` may be called before it returns.
 *  A put or a delete of a blob. */
void change_make(struct change *c);
/** Waits until all changes submitted so far are in LMDB, synced. Not on a
 *  worker. */
int store_barrier(struct store *s);
void change_release(struct change *c);

#endif
