/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The long way of a put: any range over any extents, to any target, recorded
 * when asked. Private to update.c, gather.c and place.c.
 *
 *   gather -> load -> overlay -> code -> plan -> write -> publish
 *   (gather.c)                 (code.c)  (place.c) units     ^
 *                                                   +-> record
 *
 * A move goes round from gather to write, by a few pieces each time, before it
 * publishes.
 *
 * The blob is busy meanwhile: writers queue, readers see the old version until
 * it is published. What is to become extents are pieces: runs of bytes in
 * chunks.
 */
#ifndef SLUICE_UPDATE_H
#define SLUICE_UPDATE_H

#include "store/code.h"
#include "store/shard.h"

/* A window of a move: so many pieces at once. */
#define MOVE_PIECES 16u
/* A move goes on window by window until it has moved this part of the blob's
 * extents, then publishes: each publication copies the list of all of them. */
#define MOVE_SHARE 32u

struct piece {
    uint64_t off; /* in the blob */
    uint64_t chunk;
    uint32_t len, skip;
    uint8_t klass;
    uint8_t own;    /* a reference of the chunk is ours */
    uint8_t load;   /* its bytes come from `old` first */
    uint8_t kept;   /* its chunk is to be an extent, and charged */
    uint8_t stored; /* a coded unit that stays coded: the chunk has its coded
                       bytes, len is that of the plain ones */
    uint8_t raw;    /* not to be coded: its producer has tried */
    uint32_t first_coded; /* its first unit in update->coded */
    struct extent old;
    struct unit_io io;
};

enum update_kind {
    UPDATE_PUT,   /* the bytes of task t */
    UPDATE_MOVE,  /* some extents go to other targets as they are */
    UPDATE_RECORD /* the record alone */
};

/** A unit of a put of units; its chunk is ours, 0: a piece has it. */
struct sent_unit {
    uint64_t chunk;
    uint32_t bytes, len; /* in the chunk; plain */
    uint8_t klass;
};

struct update {
    enum update_kind kind;
    struct shard *sh;
    struct blob *b;
    struct sl_task *t;                  /* UPDATE_PUT */
    void (*done)(void *user, int code); /* the other kinds */
    void *user;
    uint64_t lo, hi; /* range of the put */
    uint64_t source; /* the producer's chunk while it is ours */
    uint8_t source_klass;
    uint64_t list[SL_LIST_MAX]; /* chunks of a listed put, ours until placed */
    uint32_t n_list;
    uint8_t listed;         /* the put's bytes are in `list` */
    uint8_t as_is;          /* they are coded blocks that become the units */
    struct sent_unit *sent; /* of a put of units, until they are gathered */
    uint32_t n_sent;
    struct piece *piece;
    uint32_t n;
    uint32_t pending;
    int code;
    uint8_t persist;
    uint8_t replace;
    uint8_t records;   /* the change is recorded */
    uint32_t from, to; /* UPDATE_MOVE: bits of targets */
    enum move_why why;
    uint64_t next_off;      /* its next window begins here */
    uint32_t taken;         /* extents that its windows took */
    uint8_t last;           /* no window follows */
    struct message windows; /* to begin the next one */
    uint32_t full;   /* bits of those that said so when they were written */
    uint8_t settled; /* space that waited for a commit was asked for */
    uint8_t asked;   /* other shards gave back what they did not use */
    uint8_t carries; /* the log gets the bytes (owed.h) */
    uint8_t plain;   /* that was tried and failed */
    uint8_t order[TARGETS_MAX];
    uint32_t n_order;
    struct extent *made;
    struct unit_io *units; /* of made[n_ready] and what follows */
    uint32_t n_made;
    uint32_t n_ready;    /* made by earlier windows, the bytes are there */
    struct coded *coded; /* of all units, or null: nothing is coded */
    uint32_t n_coded, next_coded;
    uint8_t codec;     /* as the byte of a put */
    uint64_t codec_ns; /* time of coding, of all threads */
    struct merged merged;
    uint64_t now_ns;  /* stamp of the change */
    uint64_t version; /* that was recorded with it, 0: none */
};

/** The chunks that are extents belong to these; before the publication. */
void update_keep(struct update *u);
/** Ends the update; u is gone. */
void update_end(struct update *u, int code);
/** The same for what failed before it was placed: what earlier windows of a
 *  move brought is published. */
void update_fail(struct update *u, int code);
/** Makes `merged` what readers see; ends the update. */
void update_publish(struct update *u);
/** All that is made is on its target: merges, records, publishes. */
void update_placed(struct update *u);
/** A window's bytes are on their targets: the next one, or update_placed. */
void update_window_done(struct update *u);
/** What is made will not be published. */
void update_drop_made(struct update *u);
/** The same of the window in hand. */
void update_drop_window(struct update *u);

/** What is to be gathered is there, or the code says why not. */
void update_go_on(struct update *u, int code);
/** True when bytes of extents that the put touches stay. */
int update_merges(const struct update *u);
/** Takes the chunks that the table of a put of units names. SL_ECHUNK,
 *  SL_EPROTO, SL_ENOMEM; none is lent then. */
int units_adopt(struct update *u);
/** They become pieces as they are, or plain bytes first; then update_go_on. */
void units_take(struct update *u);
/** The pieces of those that stay as they are. */
int units_gather(struct update *u);
/** Frees what no piece has. */
void units_free(struct update *u);

/** Finds the pieces. SL_ENOMEM. */
int update_gather(struct update *u);
/** Loads and overlays, then places. */
void update_load(struct update *u);
/** The targets in the order that the update tries them; how many. */
uint32_t update_order(const struct update *u, uint8_t order[TARGETS_MAX]);
/** Writes what is planned, or leaves that to the committer. */
void update_write(struct update *u);
/** Each unit goes to the first target of the blob's order that has room. */
void update_place(struct update *u);

#endif
