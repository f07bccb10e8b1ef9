/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Codecs: bytes to fewer bytes and exactly back.
 *
 * Usual order: codec_check on what a request asks for, codec_encode into a
 * buffer that is smaller than the source by what is worth saving (SL_ENOSPC:
 * keep the bytes as they are), codec_decode with the lengths that were kept
 * beside the bytes. A coded block holds neither its own length nor that of the
 * plain bytes, and no checksum: who stores it keeps all three.
 *
 * All functions are for any thread. Each thread keeps the working memory of the
 * codecs that it used until it ends (local.h). What it does not do: streams,
 * threads (pool.h), choosing (choose.h).
 *
 * One file a codec; which library is there is known when Sluice is built.
 */
#ifndef SLUICE_CODEC_H
#define SLUICE_CODEC_H

#include "sluice/wire.h"

#include <stddef.h>

/* Largest block; every library takes it, and lengths fit an int. */
#define CODEC_BYTES_MAX (64u << 20)

enum codec_preset { CODEC_FAST = 1, CODEC_BALANCED = 2, CODEC_BEST = 3 };

/** One codec; n is 1 to CODEC_BYTES_MAX, preset 1 to 3 in all its functions. */
struct codec_ops {
    uint8_t id; /* enum sl_codec */
    /* encode writes to `bound` bytes whatever it is told; else it stays within
     * `room`. */
    uint8_t needs_bound;
    uint8_t one_preset; /* all three do the same */
    const char *name;
    /** No block of n bytes becomes larger. */
    size_t (*bound)(size_t n);
    /** Coded bytes, or SL_ENOSPC (more than room), SL_ENOMEM. */
    int (*encode)(const void *src, size_t n, void *dst, size_t room,
                  int preset);
    /** Writes exactly `size` bytes to dst. SL_ECORRUPT, SL_ENOMEM. */
    int (*decode)(const void *src, size_t n, void *dst, size_t size);
};

extern const struct codec_ops codec_none, codec_bzip2, codec_blosc,
    codec_brotli, codec_lz4, codec_lzma, codec_snappy, codec_lzo, codec_zfp,
    codec_zlib, codec_zstd;

/** Null: an id that does not exist, or is not in this build. */
const struct codec_ops *codec_find(unsigned id);
/** Name of any id that exists, also of one that is not in this build; else
 *  null. */
const char *codec_name(unsigned id);
/** The `codec` byte of a put: 0, SL_ECODEC no such codec, or dynamic with an
 *  id, or a bit that has no meaning; SL_ENOCODEC it is not in this build. */
int codec_check(uint8_t codec);
/** "zstd", "zstd:fast", "zstd:balanced", "zstd:best", "none", "dynamic" to the
 *  byte of a put. SL_ECODEC; SL_ENOCODEC (*out is set). */
int codec_parse(const char *text, uint8_t *out);
/** Preset of a put's byte; 2 when it names none. */
static inline int codec_preset(uint8_t codec)
{
    int preset = (codec >> SL_CODEC_PRESET_SHIFT) & 3;
    return preset ? preset : CODEC_BALANCED;
}

/** Bytes that a block of n bytes (0 to CODEC_BYTES_MAX) takes at most. 0 for an
 *  id that is not there. */
size_t codec_bound(unsigned id, size_t n);
/**
 * Codes n bytes of src into at most `room` bytes of dst, which do not overlap.
 * The coded bytes (0 when n is 0), or SL_ENOSPC they are more than room, and
 * dst is undefined; SL_ENOMEM, SL_ECODEC, SL_ENOCODEC, SL_EINVAL (preset not 0
 * to 3; n).
 */
int codec_encode(unsigned id, int preset, const void *src, size_t n, void *dst,
                 size_t room);
/**
 * Decodes a block of n bytes to exactly `size` bytes. Whatever the n bytes are,
 * nothing outside of them is read and nothing outside of dst is written.
 * SL_ECORRUPT (dst is undefined), SL_ENOMEM, SL_ECODEC, SL_ENOCODEC, SL_EINVAL
 * (size).
 */
int codec_decode(unsigned id, const void *src, size_t n, void *dst,
                 size_t size);

#endif
