/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The golden store: what it holds, and its text in test/golden/.
 *
 * A store is one text: "file NAME BYTES" and rows of 32 bytes "OFFSET HEX" that
 * are not zeros. The list of targets has '@' for the store's directory, and its
 * sum is made when it is unpacked. The bad ones have a line each: name, code of
 * the open, number of blobs that can be read, file, offset, bytes.
 */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

#include "store_help.h"

#define GOLDEN_OLDER 1u /* each byte of what the log replaces */
#define GOLDEN_LINE_MAX 2000u

struct golden {
    const char *tag, *name;
    uint64_t at, size; /* zeros before */
    uint8_t level;
    uint8_t logged;      /* 1: in the log only, 2: LMDB has an older one */
    uint8_t codec;       /* SL_CODEC_..., 0: none */
    uint8_t second;      /* on the second target */
    const char *was;     /* name before a rename in the log, or null */
    const char *was_tag; /* name of the tag before a rename in the log */
};

/** Those of the log are last, in its order. */
extern const struct golden golden[];
extern const unsigned goldens;
/** Blobs of the tag `name`. */
uint64_t golden_blobs_of(const char *name);

/** The bytes of a blob, to be freed: what its codec makes smaller; else some
 *  rows of each page, so that the text stays small. */
uint8_t *golden_content(const struct golden *g);
/** Options that open it. */
struct sl_config golden_config(const char *dir);
/** Writes the text of the store in `dir` to a file. */
void golden_pack(const char *dir, const char *text);
/** Writes the store into `dir`. */
void golden_unpack(const char *text, const char *dir);
/** Replaces bytes of a file of the store. */
void golden_patch(const char *dir, const char *file, uint64_t at,
                  const char *hex);

/** A line of the bad ones. */
struct golden_bad {
    char name[64], file[64], hex[GOLDEN_LINE_MAX];
    int code;
    unsigned good;
    unsigned long long at;
};
int golden_bad_read(const char *line, struct golden_bad *b);
/** Unpacks, patches, opens, reads. */
void golden_bad_check(const char *text, const struct golden_bad *b);
/** Blobs that are whole; those that are there and are not count as wrong. */
unsigned golden_read_all(struct sl_runtime *rt, unsigned *wrong);

/** Kinds of the frames of the store's log, in order; how many. `at`: where each
 *  begins. */
unsigned golden_frames(const char *dir, uint8_t *kind, size_t *at,
                       unsigned most);
/** A whole file of the store, with a NUL behind it, to be freed. */
char *golden_file(const char *dir, const char *name, size_t *n);

/** Makes both texts anew. */
void golden_make(const char *text, const char *bad);

#endif
