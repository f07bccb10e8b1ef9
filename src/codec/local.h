/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Working memory of codecs: one of each kind for each thread, made at the first
 * use, freed when the thread ends. Setting up a zstd or zlib context costs more
 * than coding 4 KiB with it.
 */
#ifndef SLUICE_CODEC_LOCAL_H
#define SLUICE_CODEC_LOCAL_H

#include <stddef.h>

enum local_kind {
    LOCAL_ASIDE, /* codec.c: what an encoder may write beyond its room */
    LOCAL_LZ4,
    LOCAL_LZO,
    LOCAL_ZFP,
    LOCAL_DEFLATE_FAST, /* and one for each preset */
    LOCAL_DEFLATE_BALANCED,
    LOCAL_DEFLATE_BEST,
    LOCAL_INFLATE,
    LOCAL_ZSTD_ENCODE,
    LOCAL_ZSTD_DECODE,
    LOCAL_SAMPLE, /* choose.c */
    LOCAL_CODED,
    LOCAL_UNIT, /* store/code.c */
    LOCALS
};

/** At least `bytes` bytes, aligned for anything, contents undefined; the
 *  caller's until its next call with this kind. Null: no memory. */
void *local_bytes(enum local_kind kind, size_t bytes);
/** What `make` made at this thread's first call. Null: make gave null. */
void *local_object(enum local_kind kind, void *(*make)(void),
                   void (*drop)(void *));

#endif
