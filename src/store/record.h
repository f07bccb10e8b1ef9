/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What is in memory of a blob and of a tag: packed records, which a shard's
 * worker alone reads and writes. Private to src/store.
 */
#ifndef SLUICE_RECORD_H
#define SLUICE_RECORD_H

#include "store/store.h"
#include "store/target.h"

/* Ten million of these are in memory, so they are packed; gcc computes with a
 * field in the field's own width, which SL_BLOB_MAX makes wide enough for
 * off + len. Made by extent_pinned and extent_unit, which mask. */
struct extent {
    uint64_t off : 48;   /* in the blob */
    uint64_t target : 8; /* index in the table of targets */
    uint64_t codec : 8;
    uint64_t loc : 48;  /* chunk in the arena, or offset in the target */
    uint64_t klass : 8; /* chunk's class; 0 for units */
    uint64_t : 8;
    uint64_t sum;       /* XXH3-64 of `len` bytes (coded: of `stored`); units
                             only, and coded chunks */
    uint64_t len : 21;  /* bytes of the blob */
    uint64_t skip : 21; /* first byte in the chunk; 0 for units */
    uint64_t
        stored : 22; /* coded: exact bytes; else bytes taken from the target,
                             0 for chunks */
};
_Static_assert(sizeof(struct extent) == 32, "half a cache line");

static inline void extent_set_loc(struct extent *e, uint64_t loc)
{
    e->loc = loc & SL_BLOB_MAX;
}
static inline void extent_set_len(struct extent *e, uint64_t len)
{
    e->len = len & 0x1fffffu;
}
static inline void extent_set_stored(struct extent *e, uint64_t stored)
{
    e->stored = stored & 0x3fffffu;
}
/** Bytes [off, off + len) of a blob, not placed yet. */
static inline struct extent extent_of(uint64_t off, uint64_t len)
{
    struct extent e = {.off = off & SL_BLOB_MAX};
    extent_set_len(&e, len);
    return e;
}
/** The same in a chunk, from its byte `skip` on. */
static inline struct extent extent_pinned(uint64_t off, uint64_t len,
                                          uint64_t chunk, uint32_t skip,
                                          uint8_t klass)
{
    struct extent e = extent_of(off, len);
    extent_set_loc(&e, chunk);
    e.skip = skip & 0x1fffffu;
    e.klass = klass;
    e.target = TARGET_PINNED;
    return e;
}

struct tag;

/* Records take most of the memory that a small blob costs. */
struct blob {
    struct tag *tag;
    struct extent *ext; /* &one, or allocated */
    union {
        struct extent one;
        uint32_t cap; /* of an allocated ext */
    };
    uint64_t size : 48;
    uint64_t score : 16;
    uint64_t version : 48; /* 0: being created, readers do not see it */
    uint64_t context : 16;
    uint64_t tag_pos : 29; /* in tag->blobs */
    uint64_t n : 27;       /* extents */
    uint64_t persist : 2;  /* level that its bytes have */
    uint64_t recorded : 1; /* metadata holds a record */
    uint64_t busy : 1;     /* a writer is under way */
    uint64_t waited : 1;   /* writers are behind it, in the shard's queues */
    uint64_t arriving : 1; /* a rename's bytes are on the way: readers wait */
    uint64_t : 2;
    uint32_t heat; /* last access in seconds << 8 | accesses, up to 255 */
    uint32_t created_lo, changed_lo; /* units of BLOB_STAMP_NS */
    uint32_t created_hi : 12, changed_hi : 12;
    uint32_t name_len : 8;
    char name[];
};
_Static_assert(offsetof(struct blob, name) == 88, "LIMITS P15: 128 with all");

#define BLOB_EXTENTS_MAX ((1u << 27) - 1u)
#define BLOB_VERSION_MAX ((UINT64_C(1) << 48) - 1u)
/* Times since 1970 in 44 bits, until 2112. The clock that they come from moves
 * every 4 ms (clock_stamp_ns). */
#define BLOB_STAMP_NS 256000u

static inline uint64_t blob_created_ns(const struct blob *b)
{
    return ((uint64_t)b->created_hi << 32 | b->created_lo) * BLOB_STAMP_NS;
}
static inline uint64_t blob_changed_ns(const struct blob *b)
{
    return ((uint64_t)b->changed_hi << 32 | b->changed_lo) * BLOB_STAMP_NS;
}
void blob_set_created(struct blob *b, uint64_t ns);
void blob_set_changed(struct blob *b, uint64_t ns);
static inline void blob_set_n(struct blob *b, uint32_t n)
{
    b->n = n & BLOB_EXTENTS_MAX;
}

static inline size_t blob_bytes(uint32_t name_len)
{
    return offsetof(struct blob, name) + name_len;
}

struct tag {
    uint64_t id;
    uint32_t *blobs; /* of this shard, refs: tag_blob */
    uint32_t n, cap;
    uint32_t shown;         /* of them: readers see it */
    uint64_t bytes;         /* of them */
    struct sl_task *wait;   /* at home: who asked while it was being created */
    struct scatter *ending; /* the delete, while it waits for busy blobs */
    uint32_t busy;          /* blobs of this shard with a writer under way */
    uint32_t list_pos;      /* in the shard's tag_list */
    int code;               /* at home: what its create or delete came to */
    uint8_t ready;          /* all shards know it, and it is recorded */
    uint8_t dead;           /* being deleted; its blobs are still there */
    uint8_t renaming;       /* at home: a new name is on the way */
    uint8_t len;
    char *name; /* NUL-terminated */
};

static inline struct sl_hash blob_hash(const struct blob *b)
{
    return sl_key_hash(b->tag->id, b->name, b->name_len);
}

#endif
