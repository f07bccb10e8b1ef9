/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The record codec: fixed little-endian layouts with a checksum at the end.
 *
 * A decoder compares the length first, then the checksum, then each field, and
 * so reads nothing outside the input and hands out nothing that breaks an
 * invariant of the store, even when somebody made the checksum fit.
 */
#include "store/meta_record.h"

#include "sluice/wire.h"
#include "tier/tier.h"

#include <string.h>
#include <xxhash.h>

#define BLOB_MAGIC 'B'
#define TAG_MAGIC 'T'
#define RECORD_VERSION 1u
#define PERSIST_MAX 2u

static const char format_magic[8] = {'s', 'l', 'u', 'i', 'c', 'e', 'm', 'd'};
static const char log_magic[8] = {'s', 'l', 'u', 'i', 'c', 'e', 'l', 'g'};

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8u * i));
}

static uint64_t get_le(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8u * i);
    return v;
}

static void sum_put(uint8_t *record, size_t bytes)
{
    put_le(record + bytes, XXH3_64bits(record, bytes), META_SUM_BYTES);
}

/* True when the last 8 of `bytes` (>= 8) are the checksum of those before. */
static int sum_fits(const uint8_t *record, size_t bytes)
{
    size_t n = bytes - META_SUM_BYTES;

    return get_le(record + n, META_SUM_BYTES) == XXH3_64bits(record, n);
}

/* ---- keys ---- */

size_t meta_key(uint64_t tag, const char *name, uint32_t len,
                uint8_t out[META_KEY_MAX])
{
    /* Big endian, so that LMDB's order keeps the blobs of a tag together. */
    for (unsigned i = 0; i < 8; i++)
        out[i] = (uint8_t)(tag >> (56u - 8u * i));
    if (len)
        memcpy(out + 8, name, len);
    return 8u + len;
}

size_t meta_blob_key(const uint8_t *record, uint8_t out[META_KEY_MAX])
{
    return meta_key(get_le(record + 16, 8),
                    (const char *)(record + META_BLOB_HEAD), record[3], out);
}

size_t meta_tag_key(const uint8_t *record, uint8_t out[META_KEY_MAX])
{
    return meta_key(get_le(record + 4, 8), NULL, 0, out);
}

/* ---- what may be stored ---- */

static int name_check(const char *name, uint32_t len)
{
    if (len == 0 || len > SL_NAME_MAX || memchr(name, 0, len))
        return SL_EINVAL;
    return SL_OK;
}

static int extent_check(const struct meta_extent *e, uint64_t from,
                        uint64_t size)
{
    if (e->bytes == 0 || e->offset < from || e->offset > size ||
        e->bytes > size - e->offset)
        return SL_EINVAL;
    if (e->stored == 0 || e->loc % TIER_BLOCK ||
        e->loc > UINT64_MAX - TIER_BLOCK - e->stored)
        return SL_EINVAL;
    if (e->codec == 0 && (e->stored < e->bytes || e->stored % TIER_BLOCK))
        return SL_EINVAL;
    return SL_OK;
}

int meta_blob_check(const struct meta_blob *b)
{
    uint64_t from = 0;

    if (name_check(b->name, b->name_len) || b->persist > PERSIST_MAX ||
        b->n_extents > META_EXTENTS_MAX)
        return SL_EINVAL;
    for (uint32_t i = 0; i < b->n_extents; i++) {
        const struct meta_extent *e = &b->extents[i];
        if (extent_check(e, from, b->size))
            return SL_EINVAL;
        from = e->offset + e->bytes;
    }
    return SL_OK;
}

int meta_tag_check(const struct meta_blob *b)
{
    return name_check(b->name, b->name_len);
}

/* ---- blobs ---- */

size_t meta_blob_bound(const struct meta_blob *b)
{
    return META_BLOB_HEAD + b->name_len +
           (size_t)b->n_extents * META_EXTENT_BYTES + META_SUM_BYTES;
}

static void extent_encode(const struct meta_extent *e, uint8_t *p)
{
    put_le(p, e->offset, 8);
    put_le(p + 8, e->loc, 8);
    put_le(p + 16, e->sum, 8);
    put_le(p + 24, e->bytes, 4);
    put_le(p + 28, e->stored, 4);
    put_le(p + 32, e->target, 4);
    put_le(p + 36, e->codec, 4);
}

static void extent_decode(const uint8_t *p, struct meta_extent *e)
{
    e->offset = get_le(p, 8);
    e->loc = get_le(p + 8, 8);
    e->sum = get_le(p + 16, 8);
    e->bytes = (uint32_t)get_le(p + 24, 4);
    e->stored = (uint32_t)get_le(p + 28, 4);
    e->target = (uint32_t)get_le(p + 32, 4);
    e->codec = (uint32_t)get_le(p + 36, 4);
}

size_t meta_blob_encode(const struct meta_blob *b, void *out)
{
    uint8_t *p = out;
    size_t at = META_BLOB_HEAD;

    p[0] = BLOB_MAGIC;
    p[1] = RECORD_VERSION;
    p[2] = b->persist;
    p[3] = (uint8_t)b->name_len;
    put_le(p + 4, b->score, 2);
    put_le(p + 6, b->context, 2);
    put_le(p + 8, b->n_extents, 4);
    put_le(p + 12, 0, 4);
    put_le(p + 16, b->tag, 8);
    put_le(p + 24, b->size, 8);
    put_le(p + 32, b->version, 8);
    put_le(p + 40, b->created_ns, 8);
    put_le(p + 48, b->changed_ns, 8);
    memcpy(p + at, b->name, b->name_len);
    at += b->name_len;
    for (uint32_t i = 0; i < b->n_extents; i++, at += META_EXTENT_BYTES)
        extent_encode(&b->extents[i], p + at);
    sum_put(p, at);
    return at + META_SUM_BYTES;
}

int meta_blob_decode(const void *in, size_t bytes, struct meta_blob *out,
                     struct meta_extent *scratch, uint32_t max)
{
    const uint8_t *p = in;
    struct meta_blob b = {0};
    const uint8_t *e;

    if (bytes < META_BLOB_HEAD + META_SUM_BYTES || p[0] != BLOB_MAGIC ||
        p[1] != RECORD_VERSION)
        return SL_ECORRUPT;
    b.persist = p[2];
    b.name_len = p[3];
    b.score = (uint16_t)get_le(p + 4, 2);
    b.context = (uint16_t)get_le(p + 6, 2);
    b.n_extents = (uint32_t)get_le(p + 8, 4);
    if (b.n_extents > max || b.n_extents > META_EXTENTS_MAX ||
        bytes != meta_blob_bound(&b) || !sum_fits(p, bytes) ||
        get_le(p + 12, 4) != 0)
        return SL_ECORRUPT;
    b.tag = get_le(p + 16, 8);
    b.size = get_le(p + 24, 8);
    b.version = get_le(p + 32, 8);
    b.created_ns = get_le(p + 40, 8);
    b.changed_ns = get_le(p + 48, 8);
    b.name = (const char *)(p + META_BLOB_HEAD);
    e = p + META_BLOB_HEAD + b.name_len;
    for (uint32_t i = 0; i < b.n_extents; i++, e += META_EXTENT_BYTES)
        extent_decode(e, &scratch[i]);
    b.extents = scratch;
    if (meta_blob_check(&b))
        return SL_ECORRUPT;
    *out = b;
    return SL_OK;
}

/* ---- tags ---- */

size_t meta_tag_encode(const struct meta_blob *b, uint8_t out[META_TAG_MAX])
{
    size_t n = META_TAG_HEAD + b->name_len;

    out[0] = TAG_MAGIC;
    out[1] = RECORD_VERSION;
    out[2] = (uint8_t)b->name_len;
    out[3] = 0;
    put_le(out + 4, b->tag, 8);
    memcpy(out + META_TAG_HEAD, b->name, b->name_len);
    sum_put(out, n);
    return n + META_SUM_BYTES;
}

int meta_tag_decode(const void *in, size_t bytes, struct meta_blob *out)
{
    const uint8_t *p = in;
    struct meta_blob b = {0};

    if (bytes < META_TAG_HEAD + META_SUM_BYTES || p[0] != TAG_MAGIC ||
        p[1] != RECORD_VERSION || p[3] != 0)
        return SL_ECORRUPT;
    b.name_len = p[2];
    b.name = (const char *)(p + META_TAG_HEAD);
    b.tag = get_le(p + 4, 8);
    if (bytes != META_TAG_HEAD + (size_t)b.name_len + META_SUM_BYTES ||
        !sum_fits(p, bytes) || meta_tag_check(&b))
        return SL_ECORRUPT;
    *out = b;
    return SL_OK;
}

/* ---- the format record ---- */

void meta_format_encode(uint8_t out[META_FORMAT_BYTES])
{
    memcpy(out, format_magic, sizeof format_magic);
    put_le(out + 8, META_FORMAT, 4);
    put_le(out + 12, 0, 4);
    sum_put(out, META_FORMAT_BYTES - META_SUM_BYTES);
}

int meta_format_decode(const void *in, size_t bytes, uint32_t *version)
{
    const uint8_t *p = in;
    uint32_t v;

    if (bytes < 12 || memcmp(p, format_magic, sizeof format_magic) != 0)
        return SL_ECORRUPT;
    /* The first 12 bytes mean the same in every version; what follows is
     * known only for this one. */
    v = (uint32_t)get_le(p + 8, 4);
    if (v != META_FORMAT) {
        *version = v;
        return SL_EVERSION;
    }
    if (bytes != META_FORMAT_BYTES || !sum_fits(p, bytes) ||
        get_le(p + 12, 4) != 0)
        return SL_ECORRUPT;
    return SL_OK;
}

/* ---- the generation of the log ---- */

void meta_generation_encode(uint64_t generation,
                            uint8_t out[META_GENERATION_BYTES])
{
    memcpy(out, log_magic, sizeof log_magic);
    put_le(out + 8, generation, 8);
    sum_put(out, META_GENERATION_BYTES - META_SUM_BYTES);
}

int meta_generation_decode(const void *in, size_t bytes, uint64_t *generation)
{
    const uint8_t *p = in;

    if (bytes != META_GENERATION_BYTES ||
        memcmp(p, log_magic, sizeof log_magic) != 0 || !sum_fits(p, bytes))
        return SL_ECORRUPT;
    *generation = get_le(p + 8, 8);
    return SL_OK;
}
