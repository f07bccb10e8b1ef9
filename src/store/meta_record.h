/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Keys and records of the metadata, byte by byte (docs/format.md).
 *
 * Nothing here allocates, logs or blocks; all functions are for any thread.
 */
#ifndef SLUICE_META_RECORD_H
#define SLUICE_META_RECORD_H

#include "store/meta.h"

/* Longest key: tag id and a name of SL_NAME_MAX; LMDB's limit is 511. */
#define META_KEY_MAX (8u + 255u)
#define META_BLOB_HEAD 56u /* before the name */
#define META_EXTENT_BYTES 40u
#define META_TAG_HEAD 12u /* before the name */
#define META_SUM_BYTES 8u /* behind all */
#define META_TAG_MAX (META_TAG_HEAD + 255u + META_SUM_BYTES)
#define META_FORMAT_BYTES 24u
#define META_FORMAT_KEY "format"
#define META_FORMAT 1u
#define META_GENERATION_BYTES 24u
#define META_GENERATION_KEY "log"
/* So that a record stays below LMDB's limit of 4 GiB for a value. */
#define META_EXTENTS_MAX (1u << 26)

/** Key of a blob; returns its bytes. `len` 0 gives the prefix of the tag, which
 *  is the key of the tag's own record too. */
size_t meta_key(uint64_t tag, const char *name, uint32_t len,
                uint8_t out[META_KEY_MAX]);
/** Keys of encoded records that are known to be whole. */
size_t meta_blob_key(const uint8_t *record, uint8_t out[META_KEY_MAX]);
size_t meta_tag_key(const uint8_t *record, uint8_t out[META_KEY_MAX]);
/** 0 when the blob may be stored: SL_EINVAL. */
int meta_blob_check(const struct meta_blob *b);
/** SL_EINVAL. */
int meta_tag_check(const struct meta_blob *b);
/** Uses tag, name and name_len; returns the bytes written. */
size_t meta_tag_encode(const struct meta_blob *b, uint8_t out[META_TAG_MAX]);
/** SL_ECORRUPT. `out->name` points into the input. */
int meta_tag_decode(const void *in, size_t bytes, struct meta_blob *out);
void meta_format_encode(uint8_t out[META_FORMAT_BYTES]);
/** SL_ECORRUPT, or SL_EVERSION with the number in *version. */
int meta_format_decode(const void *in, size_t bytes, uint32_t *version);
void meta_generation_encode(uint64_t generation,
                            uint8_t out[META_GENERATION_BYTES]);
/** SL_ECORRUPT. */
int meta_generation_decode(const void *in, size_t bytes, uint64_t *generation);

#endif
