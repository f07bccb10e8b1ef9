/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * How fast each codec is here, and how much it saves, on a few kinds of
 * generated data. What choose.c predicts from.
 *
 * Measured once, in 0.16 to 0.19 s on two slow cores, by the first thread that
 * asks; a store with a directory keeps the figures in the file `codecs`
 * (docs/format.md), so that a restart does not measure again. All functions are
 * for any thread.
 */
#ifndef SLUICE_CODEC_SPEED_H
#define SLUICE_CODEC_SPEED_H

#include "codec/codec.h"

enum speed_class {
    SPEED_ZEROS,
    SPEED_TEXT,
    SPEED_NUMERIC, /* floats of a smooth curve */
    SPEED_RANDOM,
    SPEED_CLASSES
};

struct codec_speed {
    float encode_ns; /* for each plain byte; 0: not in this build */
    float decode_ns;
    float stored; /* coded bytes for each plain byte */
};

/* [preset - 1]; id 0 is not measured. */
struct codec_speeds {
    struct codec_speed of[SL_CODECS][3][SPEED_CLASSES];
};

/** Measures; uses the calling thread for 0.1 to 0.4 s. SL_ENOMEM. */
int codec_speeds_measure(struct codec_speeds *out);
/** SL_ENOENT; SL_ECORRUPT (not such a file, or damaged), SL_EVERSION (of other
 *  codecs or another processor), SL_EIO. *out only with 0. */
int codec_speeds_load(const char *path, struct codec_speeds *out);
/** Writes a new file, then renames. SL_EIO, SL_EACCES, SL_ENOSPC. */
int codec_speeds_save(const char *path, const struct codec_speeds *s);
/** Names the file that the figures of this process come from or, when they have
 *  to be measured, go to. Reads nothing yet. SL_ENAMETOOLONG. */
int codec_speeds_file(const char *path);
/** The figures of this process, which stay; the first call reads the file or
 *  measures, and others wait for it: dynamic puts, on threads of the pool, where
 *  coded work queues behind them. Null: no memory. */
const struct codec_speeds *codec_speeds_get(void);
/** Fills n bytes (a multiple of 8) with data of a class; the same every time. */
void codec_speeds_fill(enum speed_class kind, uint8_t *to, size_t n);

#endif
