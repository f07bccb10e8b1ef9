/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A plain model of a store, and players that hold the store against it.
 *
 * A player is one thread. It has two tags and some blobs of its own, whose
 * every byte it knows, and shares a tag with all others. There each blob is
 * made of stamped words, so that a get which mixes two versions is seen.
 *
 *   shared blob i % 3 == 0   replaced whole, by anyone, of any size
 *                     == 1   overwritten whole, by anyone, size fixed
 *                     == 2   one writer puts its parts in order, one put each
 *
 * Nothing here asserts: a player writes down what went wrong and stops, and
 * the main thread looks.
 */
#ifndef TEST_MODEL_H
#define TEST_MODEL_H

#include "help.h"

#include "sluice/device.h"
#include "sluice/sluice.h"

#include <pthread.h>

#define MODEL_PLAYERS 4u
#define MODEL_BLOBS 10u /* of a player, in two tags */
#define MODEL_TAGS 2u
#define MODEL_TAG_NAME 80u
#define MODEL_NAMES 3u /* of a player's tags: one of them is free */
#define MODEL_SHARED 9u
#define MODEL_PARTS 4u

/** The ways of a call. */
enum model_way { WAY_HOST, WAY_FUTURE, WAY_THREAD, WAY_WARP };
#define MODEL_WAYS 4u

/** Kinds of targets, as sl_stat names them. */
#define MODEL_KINDS 5u
extern const char *const model_kinds[MODEL_KINDS];

struct model_world {
    struct sl_runtime *rt;
    struct sl_dev dev;  /* of a `host` device */
    uint64_t shared;    /* tag */
    uint64_t blob_max;  /* bytes */
    unsigned level_max; /* persistence level of puts */
    int tight;          /* puts may find no space, and then change nothing */
    int faults;         /* targets fail: SL_EIO, which changes nothing either */
    int failed;         /* atomic: a player has stopped */
    uint32_t stamps[MODEL_PLAYERS][MODEL_SHARED]; /* atomic: begun, of each */
    uint32_t acked[MODEL_PLAYERS][MODEL_SHARED];  /* atomic: and acknowledged */
};

struct model_blob {
    uint8_t *bytes; /* blob_max of them */
    uint64_t size, version;
    uint8_t there, level;
    uint8_t score_known;
    uint16_t score;
};

struct model_player {
    pthread_t thread;
    struct model_world *world;
    uint32_t id;
    uint64_t random, steps; /* steps to go, of this round */
    int reopened;           /* look at everything first */
    uint64_t tag[MODEL_TAGS];
    uint8_t tag_there[MODEL_TAGS];
    uint8_t name[MODEL_NAMES]; /* which name each tag has; last: the free one */
    struct model_blob blob[MODEL_BLOBS];
    uint8_t *buf, *shared_buf; /* blob_max bytes */
    /* What it did. */
    uint64_t made, puts, gets, no_space, shared_gets, busy, flushes;
    uint64_t coded_puts, scores, lists, twice; /* names listed twice */
    uint64_t renames, tag_renames, refused;    /* names that were in use */
    uint64_t ways[MODEL_WAYS], levels[3];      /* of puts */
    uint64_t codec[SL_CODECS];  /* puts that it made smaller; 0: dynamic */
    uint64_t tier[MODEL_KINDS]; /* blobs that a stat saw there */
    char why[200];              /* "": all is well */
};

/** Makes players and their model; no thread yet. */
void model_create(struct model_world *w, struct model_player *p, uint64_t seed);
void model_destroy(struct model_player *p);
/** Lets all make `steps` each. Main thread; false when one failed (printed). */
int model_round(struct model_world *w, struct model_player *p, uint64_t steps,
                int reopened);
/** Deletes all that the players and the shared tag have; a code. */
int model_clear(struct model_world *w, struct model_player *p);

/* ---- for the players, model_step.c ---- */

/** A code that the world allows; the call has changed nothing. */
int model_allows(struct model_player *p, int rc);
/** Writes down the first thing that went wrong. */
void model_fail(struct model_player *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline uint64_t model_pick(struct model_player *p, uint64_t below)
{
    return test_random(&p->random) % below;
}
/** A size, small ones more often, at most the world's. */
uint64_t model_size(struct model_player *p);

/** Names of what a player has; two of its ten blobs are in the second tag. */
void model_blob_name(unsigned blob, char *name, size_t n);
unsigned model_tag_of(unsigned blob);
void model_tag_name(const struct model_player *p, unsigned t,
                    char name[MODEL_TAG_NAME]);
/** A step on the player's tag: made, deleted, renamed, counted, listed. */
void model_step_tag(struct model_player *p, unsigned t);
/** Bytes and blobs of the tag, and whose its names are. */
void model_check_tag(struct model_player *p, unsigned t);
/** The blob is absent from now on. */
void model_forget(struct model_blob *b, uint64_t blob_max);
/** A codec for a put of so many bytes: none mostly, a slow one rarely. */
uint8_t model_codec(struct model_player *p, uint64_t bytes);
/** Bytes that codecs make smaller, or do not, or in part. */
void model_fill(struct model_player *p, uint8_t *to, uint64_t n);

struct model_call {
    enum model_way way;
    uint64_t tag;
    const char *name;
    uint64_t offset, size;
    void *data;
    struct sl_put_opts opts; /* of a put */
    /* Null, or run between the begin of a get by future and its wait, when the
     * store may have answered and the bytes are not copied out. */
    void (*meanwhile)(struct model_player *p, unsigned blob);
    unsigned blob;
};
enum model_way model_way(struct model_player *p);
int model_put(struct model_player *p, const struct model_call *c);
int model_get(struct model_player *p, const struct model_call *c);
int model_blob_size(struct model_player *p, const struct model_call *c,
                    uint64_t *size);
/** The score is that of `opts`. */
int model_score(struct model_player *p, const struct model_call *c);
int model_del(struct model_player *p, const struct model_call *c);

/** One step on the player's own blobs, one on the shared ones. */
void model_step_own(struct model_player *p);
void model_step_shared(struct model_player *p);
/** Lists a tag in one of the ways. */
void model_check_list(struct model_player *p, unsigned t);
/** Looks at every own blob, tag and list. */
void model_look(struct model_player *p);

#endif
