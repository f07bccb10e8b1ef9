/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The protocol: plain types and arithmetic that producer and worker share.
 *
 * What it is for: a producer (GPU thread, warp or block, or a host thread) and
 * a worker (CPU thread of the runtime) exchange tasks through one channel. This
 * header exists once and both sides include it; it compiles as C17, C++17,
 * CUDA, HIP, and clang's PTX and AMDGCN targets without a toolkit. What it does
 * not do: it holds no loads, stores or atomics (device/port_*.h, src/channel).
 *
 * A channel has `n_slots` slots and `n_lanes * 2` rings (lane l has ring l for
 * normal and ring n_lanes + l for high priority). A slot is the place of
 * one task in flight: cell, reply, result, release word. A ring only carries
 * the order: 8-byte entries that name slots. There are at least as many entries
 * as slots, and every outstanding entry holds a slot, so a ring is never
 * full; a producer that finds no free slot waits (back-pressure) having
 * promised nothing, and so can give up at its deadline.
 *
 * A slot's life:
 *
 *   free --(1) take--> taken --(2) write cell--(3) publish entry--> in flight
 *     ^                                                               |
 *     |                                      (4) worker copies the cell, serves
 *     |                                      (5) worker writes result, reply
 *     +--(7) give back-- (6) producer reads reply, copies out, releases --+
 *
 * A producer that gives up waiting in flight abandons: the slot's bit stays
 * taken and its mark is set in `abandoned`; who next looks for a slot adopts
 * it, and after its reply has arrived settles chunk and hold and reuses it.
 *
 * Who writes which word, in which step, and with which partner:
 *
 *   word              lives in   written by   step   order, and partner
 *   local.taken[]     device     producers    1, 7   or acquire, and release:
 *                                                    slp_take, slp_give
 *   local.abandoned[] device     producers    -      acquire and release:
 *                                                    giving up, sls_adopt
 *   local.slot[s]     device     slot owner   1 - 7  plain, under taken[]
 *   local.ticket[r]   device     producers    3      relaxed add
 *   cell[s]           channel    slot owner   2      plain, before the entry
 *   chunk (put)       arena      slot owner   2      plain, before the entry
 *   table (units)     arena      slot owner   2      plain, before the entry;
 *                                worker       5      of ADMIN_UNITS, before the
 *                                                    reply
 *   side chunk (in)   arena      slot owner   2      plain, before the entry
 *   ring[r][t % size] channel    owner of     3      release; acquire of
 *                                ticket t            channel_take
 *   chunk (get)       arena      worker       <= 5   plain, before the reply
 *   side chunk (out)  arena      worker       5      plain, before the reply
 *   result[s]         channel    worker       5      plain, before the reply
 *   reply[s]          channel    worker       5      release; acquire of
 *                                                    slm_poll
 *   release[s]        channel    slot owner   6      release; acquire of
 *                                                    holds_sweep
 *   header.state      channel    runtime      end    release; acquire of
 *                                                    sls_ended
 *
 * "device" is the producer's own memory: of the device, or of the process for
 * host threads. "channel" and "arena" are shared with the worker.
 *
 * Read-modify-writes touch only local memory: a GPU's read-modify-write on
 * host memory is not atomic towards the CPU.
 *
 * The worker copies a cell (and a side chunk) before it looks at it and trusts
 * nothing in it; a chunk must be lent to the channel that names it.
 */
#ifndef SLUICE_WIRE_H
#define SLUICE_WIRE_H

#include "status.h"

#include <stdint.h>

#define SL_WIRE_MAGIC 0x4c53434eu /* "NCSL" little endian */
#define SL_WIRE_VERSION 1u

#if defined(__cplusplus)
#define SL_STATIC_ASSERT(c, m) static_assert(c, m)
#else
#define SL_STATIC_ASSERT(c, m) _Static_assert(c, m)
#endif

/* Functions of this header are usable on both sides of every compiler. */
#if defined(__CUDACC__) || defined(__HIPCC__) || defined(__CUDA__) ||          \
    defined(__HIP__)
#define SL_BOTH static __inline__ __attribute__((host, device, unused))
#else
#define SL_BOTH static inline __attribute__((unused))
#endif

/* ---- limits ---- */
#define SL_CELL_BYTES 128u
#define SL_CELL_BODY 64u      /* name then payload, inside the cell */
#define SL_NAME_INLINE 48u    /* longest name inside the cell */
#define SL_NAME_MAX 255u      /* longest name, beside the cell */
#define SL_NAME_AREA 256u     /* bytes of a side chunk kept for the name */
#define SL_TASK_MAX 4096u     /* largest user task, rides in the side chunk */
#define SL_SIDE_BYTES 4096u   /* size class of the side chunk */
#define SL_CHUNK_MIN_SHIFT 6  /* 64 B: smallest chunk of the store */
#define SL_LENT_MIN_SHIFT 12  /* 4 KiB: smallest chunk that is lent */
#define SL_CHUNK_MAX_SHIFT 20 /* 1 MiB: largest chunk */
#define SL_CHUNK_MAX (1u << SL_CHUNK_MAX_SHIFT)
/* Chunk references in a put's list: (4096 - 256) / 8. */
#define SL_LIST_MAX 480u
/* Largest put or get in one task; larger transfers are split by the caller. A
 * get answers with a list of segments; 64 MiB of 64 KiB units is 1024. */
#define SL_IO_MAX (64u << 20)
/* Largest end of a blob, 256 TiB: offsets are kept in 48 bits. */
#define SL_BLOB_MAX ((UINT64_C(1) << 48) - 1u)
#define SL_SCORE_AUTO 0xffffu /* score on the wire: 0..1000, or this */
#define SL_SCORE_ONE 1000u

/* ---- pools and methods ---- */
#define SL_POOL_STORE 0u /* the blob store */
#define SL_POOL_ADMIN 1u /* chunks, no-op */

enum sl_store_method {
    SL_STORE_TAG = 0,      /* name -> id; creates unless SL_F_EXISTING */
    SL_STORE_PUT = 1,      /* bytes into a blob */
    SL_STORE_GET = 2,      /* a range of a blob */
    SL_STORE_DEL = 3,      /* delete a blob */
    SL_STORE_SIZE = 4,     /* size of a blob */
    SL_STORE_STAT = 5,     /* struct sl_stat of a blob, into the side chunk */
    SL_STORE_TAG_SIZE = 6, /* bytes and blobs of a tag, all containers */
    SL_STORE_TAG_DEL = 7,  /* delete a tag and its blobs, all containers */
    SL_STORE_LIST = 8,     /* names of a tag's blobs in one container */
    SL_STORE_TAGS = 9,     /* names and ids of tags */
    SL_STORE_FLUSH = 10,   /* all volatile bytes to a persistent tier, synced */
    SL_STORE_RENAME = 11,  /* a blob gets another name, or tag */
    SL_STORE_SCORE = 12,   /* another score: the bytes move */
    SL_STORE_QUERY = 13,   /* names of one container that match a pattern */
    SL_STORE_EVENTS = 14,  /* the log of operations of one container */
    SL_STORE_TAG_RENAME = 15, /* a tag gets another name, all containers */
    SL_STORE_METHODS = 16
};

enum sl_admin_method {
    SL_ADMIN_NOOP = 0,
    SL_ADMIN_CHUNK = 1, /* gives back cell.chunk (if any), lends one of class */
    SL_ADMIN_LIST = 2, /* lends cell.size chunks of class, into the side list */
    SL_ADMIN_UNITS = 3, /* lends a chunk for each of the cell.size units of the
                           table in cell.chunk, which stays lent */
    SL_ADMIN_METHODS = 4
};

/* ---- codecs ---- */

/** How a put's bytes are coded where they are stored; never renumbered. */
enum sl_codec {
    SL_CODEC_NONE = 0,
    SL_CODEC_BZIP2 = 1,
    SL_CODEC_BLOSC = 2, /* 4-byte values, shuffled */
    SL_CODEC_BROTLI = 3,
    SL_CODEC_LZ4 = 4,
    SL_CODEC_LZMA = 5,
    SL_CODEC_SNAPPY = 6,
    SL_CODEC_LZO = 7,
    SL_CODEC_ZFP = 8, /* floats or doubles, exact */
    SL_CODEC_ZLIB = 9,
    SL_CODEC_ZSTD = 10,
    SL_CODECS = 11
};
#define SL_CODEC_ID_MASK 0x0fu
#define SL_CODEC_PRESET_SHIFT 4
/* Presets; none of them is SL_CODEC_BALANCED. */
#define SL_CODEC_FAST (1u << SL_CODEC_PRESET_SHIFT)
#define SL_CODEC_BALANCED (2u << SL_CODEC_PRESET_SHIFT)
#define SL_CODEC_BEST (3u << SL_CODEC_PRESET_SHIFT)
/* Alone: the store looks at the bytes and chooses, also not to code them. */
#define SL_CODEC_DYNAMIC 0x40u
/** The byte of a put: SL_CODEC(SL_CODEC_ZSTD, SL_CODEC_FAST). */
#define SL_CODEC(id, preset) ((uint8_t)((unsigned)(id) | (unsigned)(preset)))

/* ---- cell ---- */
enum sl_cell_flag {
    SL_F_REPLACE = 1u << 0,    /* put: the data is the whole blob; rename: a
                                  blob that has the new name goes */
    SL_F_INLINE = 1u << 1,     /* payload is in the body, behind the name */
    SL_F_SIDE = 1u << 2,       /* name (or task) is in the side chunk */
    SL_F_LIST = 1u << 3,       /* put: chunks are listed in the side chunk */
    SL_F_EXISTING = 1u << 4,   /* tag: do not create */
    SL_F_NOEXCHANGE = 1u << 5, /* put: lend no chunk in return */
    SL_F_COUNT = 1u << 6,      /* query: count, answer no names */
    SL_F_CODED = 1u << 7,      /* put: the chunk has `coded` bytes that decode
                                  to `size`; codec: SL_CODEC_LZ4 */
    SL_F_CODED_OK = 1u << 8,   /* get: coded bytes are as good (result [2]) */
    SL_F_UNITS = 1u << 9       /* put: the chunk has a table of units; get, with
                                  SL_F_CODED_OK: segments may be coded */
};

/** One task as it is submitted. Integers are little endian. */
struct sl_cell {
    uint32_t seq;  /* use count of the slot, echoed in the reply */
    uint16_t pool; /* SL_POOL_* or a user's pool */
    uint16_t method;
    uint16_t container; /* = key hash % n_lanes, or chosen; lane = container */
    uint16_t flags;     /* enum sl_cell_flag */
    uint8_t name_len;   /* store: bytes of name */
    uint8_t klass;      /* log2 of the bytes of `chunk`, 12..20 */
    uint8_t persist;    /* 0, 1, 2: FEATURES A12 */
    uint8_t codec;      /* how a put is stored: SL_CODEC, SL_CODEC_DYNAMIC */
    uint64_t tag;       /* tag id */
    uint64_t offset;    /* bytes into the blob; LIST, TAGS, QUERY: cursor;
                           EVENTS: number of the first event; TAG_RENAME: the
                           tag's id (the cell's key is its new name, tag 0) */
    uint64_t size;      /* bytes of payload, range or pattern; user task: its
                           bytes; ADMIN_UNITS: units */
    uint64_t chunk;     /* arena offset of the payload chunk, or the table; 0:
                           none */
    uint64_t side;      /* arena offset of the side chunk; 0: none */
    uint16_t score;     /* 0..1000, SL_SCORE_AUTO */
    uint16_t context;   /* free for the user, kept with the blob; LIST, TAGS,
                           QUERY: most names of the answer, 0: any */
    uint32_t coded;     /* SL_F_CODED: bytes in the chunk; SL_F_UNITS: plain
                           bytes of a unit; else 0 */
    uint8_t body[SL_CELL_BODY];
};
SL_STATIC_ASSERT(sizeof(struct sl_cell) == SL_CELL_BYTES,
                 "a cell is one 128-byte line of the GPU");

/** Plain bytes that a put with SL_F_CODED stands for, at most. */
#define SL_CODED_MAX 65536u

/**
 * A put with SL_F_UNITS (codec: SL_CODEC_LZ4) is cut into units of `coded` plain
 * bytes, a power of two from SL_UNIT_MIN to SL_CODED_MAX; the last may be
 * shorter. Each has a chunk of its own, and the table in `chunk` one word for
 * each: bits 0..39 the chunk's arena offset, bits 40..56 how many bytes it has.
 * As many as the unit's plain bytes: these; fewer: an LZ4 block of them.
 *
 * The producer writes the words with their bytes and no chunk; SL_ADMIN_UNITS
 * fills in chunks of the smallest class each; the producer writes the bytes and
 * sends the put. What a word says is believed nowhere: its chunk must be lent to
 * the channel and large enough. The put takes all chunks but that of the table,
 * whatever its code.
 */
#define SL_UNIT_MIN 4096u
#define SL_UNITS_MAX (SL_IO_MAX / SL_UNIT_MIN)
SL_BOTH uint64_t sl_unit_make(uint64_t chunk, uint32_t bytes)
{
    return chunk | ((uint64_t)bytes << 40);
}
SL_BOTH uint64_t sl_unit_chunk(uint64_t word)
{
    return word & ((UINT64_C(1) << 40) - 1u);
}
SL_BOTH uint32_t sl_unit_bytes(uint64_t word)
{
    return (uint32_t)(word >> 40);
}

/** Where a list of chunks, or a struct sl_rename, begins inside a side chunk
 *  (behind the name). */
#define SL_SIDE_LIST SL_NAME_AREA

/** RENAME: the key that the blob of the cell's key is to have. */
struct sl_rename {
    uint64_t tag;
    uint32_t len; /* bytes of name */
    uint32_t reserved;
    char name[SL_NAME_MAX + 1u];
};

/* ---- ring entry: lap in the upper 40 bits, slot in the lower 24 ---- */
#define SL_SLOT_BITS 24
SL_BOTH uint64_t sl_entry_make(uint64_t ticket, uint32_t ring_shift,
                               uint32_t slot)
{
    return (((ticket >> ring_shift) + 1u) << SL_SLOT_BITS) | slot;
}
SL_BOTH uint32_t sl_entry_slot(uint64_t entry)
{
    return (uint32_t)(entry & ((1u << SL_SLOT_BITS) - 1u));
}
/** True when the entry belongs to this ticket and not to an earlier lap. */
SL_BOTH int sl_entry_is(uint64_t entry, uint64_t ticket, uint32_t ring_shift)
{
    return (entry >> SL_SLOT_BITS) == (ticket >> ring_shift) + 1u;
}

/* ---- reply: seq 12 | list 1 | code 11 | value 40 ---- */
#define SL_VALUE_BITS 40
#define SL_VALUE_MASK ((UINT64_C(1) << SL_VALUE_BITS) - 1u)
#define SL_SEQ_MASK 0xfffu
SL_BOTH uint64_t sl_reply_make(uint32_t seq, int code, int list, uint64_t value)
{
    return ((uint64_t)(seq & SL_SEQ_MASK) << 52) |
           ((uint64_t)(list ? 1u : 0u) << 51) |
           ((uint64_t)((uint32_t)(-code) & 0x7ffu) << SL_VALUE_BITS) |
           (value & SL_VALUE_MASK);
}
SL_BOTH int sl_reply_is(uint64_t reply, uint32_t seq)
{
    return (uint32_t)(reply >> 52) == (seq & SL_SEQ_MASK);
}
SL_BOTH int sl_reply_code(uint64_t reply)
{
    return -(int)((reply >> SL_VALUE_BITS) & 0x7ffu);
}
SL_BOTH int sl_reply_list(uint64_t reply)
{
    return (int)((reply >> 51) & 1u);
}
SL_BOTH uint64_t sl_reply_value(uint64_t reply)
{
    return reply & SL_VALUE_MASK;
}

/**
 * What an operation returns beyond the reply word; written before it.
 *   TAG                 [0] tag id
 *   PUT, GET, SIZE,     [0] size of the blob in bytes, [1] version
 *   DEL, RENAME
 *                       (also with SL_EPASTEND: how many bytes exist)
 *   PUT also            [2] bytes that it takes where it is stored: coded
 *                       bytes, or plain ones that no codec made smaller,
 *                       [3] nanoseconds of coding, of all threads together
 *   GET also            [2] with SL_F_CODED_OK: 0, or the reply names so many
 *                       bytes of an LZ4 block that is the whole range
 *   TAG_SIZE            [0] bytes, [1] blobs
 *   LIST, TAGS, QUERY   [0] next cursor (0: end), [1] entries, [2] bytes,
 *                       QUERY: [3] names that matched in this step
 *   EVENTS              [0] number of the next event, [1] events, [2] events
 *                       lost before them, [3] logical time of the answer
 *   user task           as its module says
 */
struct sl_result {
    uint64_t v[4];
};

/**
 * A get that is not one contiguous run of one chunk answers with a list (bit
 * `list` of the reply; value = arena offset of this header).
 */
struct sl_segment {
    uint64_t at;    /* arena offset of the bytes; SL_SEGMENT_ZERO: zeros */
    uint64_t bytes; /* > 0; bits 32..: 0, or so many bytes of an LZ4 block are
                       there that gives those of bits 0..31 (SL_F_UNITS) */
};
SL_BOTH uint64_t sl_segment_make(uint32_t plain, uint32_t coded)
{
    return plain | ((uint64_t)coded << 32);
}
struct sl_segments {
    uint64_t n;
    uint64_t reserved;
    struct sl_segment seg[1]; /* n of them */
};
#define SL_SEGMENT_ZERO (~UINT64_C(0))

/** Answer of SL_STORE_STAT. */
struct sl_stat {
    uint64_t size;
    uint64_t version;
    uint64_t stored; /* bytes that the tiers hold for it, coded ones exactly */
    uint64_t created_ns; /* CLOCK_REALTIME, to a few milliseconds */
    uint64_t changed_ns;
    uint32_t extents;
    uint16_t score;
    uint16_t context;
    uint8_t persist;
    uint8_t codec;   /* that most of its bytes are coded with; 0: none */
    uint8_t n_tiers; /* used entries of tier[] */
    uint8_t reserved[5];
    struct {
        char kind[8];   /* "pinned", "ram", "hbm", "file", "null" */
        uint64_t bytes; /* of the blob in this tier */
    } tier[4];
};

/**
 * One operation in a container's log; the answer of EVENTS is an array.
 * `time` grows within a container; events.h of the store says how times of
 * several containers compare.
 */
struct sl_event {
    uint64_t time;
    uint64_t tag;
    uint64_t hash;      /* sl_key_hash(tag, name).lo; 0 when it has no name */
    uint64_t size : 40; /* bytes, at most 2^40 - 1 is said */
    uint64_t code : 16; /* magnitude of the result, 0: done */
    uint64_t op : 8;    /* enum sl_store_method, or SL_EVENT_MOVE */
};
SL_STATIC_ASSERT(sizeof(struct sl_event) == 32, "two events fill a line");
#define SL_EVENT_MOVE 128u /* bytes of a blob went to another target */
#define SL_EVENT_PAGE (SL_SIDE_BYTES / 32u)

/** Longest pattern of a query. */
#define SL_PATTERN_MAX 1024u

/** Header of one name in the answer of LIST, TAGS and QUERY; entries are
 *  packed. */
struct sl_list_entry {
    uint64_t id; /* TAGS: tag id; LIST: size of the blob */
    uint8_t len; /* bytes of name that follow */
} __attribute__((packed));

/* ---- channel memory ---- */
enum sl_channel_state {
    SL_CHANNEL_OPEN = 1,
    SL_CHANNEL_STOPPING = 2, /* no new tasks: SL_EDEAD */
    SL_CHANNEL_DEAD = 3      /* nobody will answer */
};

/** First bytes of a channel's memory. Only `state` changes after creation. */
struct sl_channel_header {
    uint32_t magic;
    uint32_t version;
    uint32_t state; /* enum sl_channel_state */
    uint32_t n_slots;
    uint32_t n_lanes;
    uint32_t ring_shift; /* log2 of entries per ring, 1 << it >= n_slots */
    uint64_t epoch;      /* of the runtime that made it */
    uint64_t cells_at;   /* byte offsets from this header */
    uint64_t replies_at;
    uint64_t results_at;
    uint64_t releases_at;
    uint64_t rings_at;
    uint64_t bytes;
};

/** What a slot's owner keeps between its tasks, in the producer's own memory.
 */
struct sl_slot_local {
    uint64_t chunk; /* empty chunk held, 0: none */
    uint64_t side;  /* 4 KiB side chunk held, 0: none */
    uint32_t seq;   /* use count */
    uint8_t klass;  /* log2 of the bytes of `chunk` */
    uint8_t kind;   /* enum sl_kind of the task in flight, for adopters */
    uint8_t reserved[2];
};

/** What an answered task leaves in its slot, for who settles it (slot.h). */
enum sl_kind {
    SL_KIND_PLAIN = 0,
    SL_KIND_EXCHANGE = 1, /* the value is the slot's chunk */
    SL_KIND_HOLD = 2,     /* chunks are held until the release word */
    SL_KIND_SIDE = 3,     /* the value is the slot's side chunk */
    SL_KIND_ANSWER = 4    /* the answer is in the slot's side chunk */
};

/* ---- keys ---- */
struct sl_hash {
    uint64_t lo, hi;
};

SL_BOTH uint64_t sl_mix64(uint64_t x)
{
    /* Finaliser of MurmurHash3 (A. Appleby, public domain). */
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    x ^= x >> 33;
    return x;
}

/**
 * 128-bit hash of (tag id, name). Reads bytes one by one, so any alignment;
 * the same on every side. Not cryptographic: the store compares names.
 */
SL_BOTH struct sl_hash sl_key_hash(uint64_t tag, const void *name, uint32_t len)
{
    const uint8_t *p = (const uint8_t *)name;
    struct sl_hash h;
    uint64_t a = sl_mix64(tag ^ UINT64_C(0x9e3779b97f4a7c15));
    uint64_t b = a ^ ((uint64_t)len * UINT64_C(0xa0761d6478bd642f));
    uint32_t i = 0;
    while (i < len) {
        uint64_t w = 0;
        for (uint32_t k = 0; k < 8u && i < len; k++, i++)
            w |= (uint64_t)p[i] << (8u * k);
        a = (a ^ w) * UINT64_C(0xe7037ed1a0b428db);
        a ^= a >> 29;
        b = (b + w) * UINT64_C(0x8ebc6af09c88c6e3);
        b ^= b >> 32;
    }
    h.lo = sl_mix64(a + b);
    h.hi = sl_mix64(b ^ (a >> 7) ^ UINT64_C(0x589965cc75374cc3));
    return h;
}
/** Container of a blob. */
SL_BOTH uint32_t sl_key_container(struct sl_hash h, uint32_t n)
{
    return (uint32_t)(((h.lo >> 32) * n) >> 32);
}
/** log2 of the smallest lent chunk that takes `bytes` (<= SL_CHUNK_MAX). */
SL_BOTH uint8_t sl_class_of(uint64_t bytes)
{
    uint8_t k = SL_LENT_MIN_SHIFT;
    while (((uint64_t)1 << k) < bytes)
        k++;
    return k;
}

#endif
