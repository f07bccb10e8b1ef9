/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fuzzes what reads records: of blobs, of tags, and the payload of a frame that
 * carries bytes. Whatever the bytes, nothing outside them is read, and a record
 * that is accepted encodes to the same bytes again.
 */
#include "store/meta_carry.h"
#include "store/meta_record.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define EXTENTS 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_blob(const uint8_t *record, size_t size)
{
    struct meta_extent extents[EXTENTS];
    struct meta_blob b;
    uint8_t *again;

    if (meta_blob_decode(record, size, &b, extents, EXTENTS))
        return;
    if (meta_blob_bound(&b) != size || meta_blob_check(&b))
        abort();
    again = malloc(size);
    if (!again)
        return;
    if (meta_blob_encode(&b, again) != size || memcmp(again, record, size) != 0)
        abort();
    free(again);
}

static void check_tag(const uint8_t *record, size_t size)
{
    struct meta_blob b;
    uint8_t again[META_TAG_MAX];

    if (meta_tag_decode(record, size, &b))
        return;
    if (meta_tag_check(&b) || meta_tag_encode(&b, again) != size ||
        memcmp(again, record, size) != 0)
        abort();
}

static void check_rest(const uint8_t *record, size_t size)
{
    uint32_t version = META_FORMAT;
    uint64_t generation;
    uint8_t again[META_GENERATION_BYTES];

    if (!meta_format_decode(record, size, &version) && version != META_FORMAT)
        abort();
    if (meta_generation_decode(record, size, &generation))
        return;
    meta_generation_encode(generation, again);
    if (memcmp(again, record, sizeof(again)) != 0)
        abort();
}

static void put_sum(uint8_t *record, size_t size)
{
    uint64_t sum = XXH3_64bits(record, size - META_SUM_BYTES);

    for (unsigned i = 0; i < META_SUM_BYTES; i++)
        record[size - META_SUM_BYTES + i] = (uint8_t)(sum >> (8 * i));
}

/* Reads all that it is given. */
static int add_up(void *user, const struct meta_extent *e, const uint8_t *bytes)
{
    uint64_t *sum = user;

    for (uint32_t i = 0; i < carry_bytes(e); i++)
        *sum += bytes[i];
    return 0;
}

/* With a sum that fits the record inside, so that what is behind it counts. */
static void check_carry(uint8_t *payload, size_t size)
{
    struct log_frame f = {LOG_CARRY_BLOB, payload, (uint32_t)size}, put;
    uint64_t sum = 0;
    int rc;

    if (carry_record(&f, &put) && put.bytes >= META_SUM_BYTES)
        put_sum(payload + 8, put.bytes);
    rc = carry_each(&f, add_up, &sum);
    if (rc && rc != SL_ECORRUPT && rc != SL_ENOMEM && rc != SL_EVERSION)
        abort();
}

static void check(const uint8_t *record, size_t size)
{
    check_blob(record, size);
    check_tag(record, size);
    check_rest(record, size);
}

/* Once as it is and once with a checksum that fits, so that the checks behind
 * the checksum are reached; in memory of just the size, for the sanitizers. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = calloc(1, size ? size : 1);

    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    check(copy, size);
    if (size >= META_SUM_BYTES) {
        put_sum(copy, size);
        check(copy, size);
    }
    check_carry(copy, size);
    free(copy);
    return 0;
}
