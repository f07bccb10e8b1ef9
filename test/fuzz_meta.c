/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fuzzes meta_blob_decode: whatever the bytes, it reads nothing outside them,
 * and what it accepts encodes to the same bytes again.
 *
 * Built with libFuzzer as it is. With -DFUZZ_MAIN it has a main of its own,
 * which damages valid records: fuzz_meta [seconds], 10 by default; SEED in the
 * environment repeats a run.
 */
#include "store/meta_record.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define EXTENTS 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *record, size_t size)
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
        size_t n = size - META_SUM_BYTES;
        uint64_t sum = XXH3_64bits(copy, n);
        for (unsigned i = 0; i < META_SUM_BYTES; i++)
            copy[n + i] = (uint8_t)(sum >> (8 * i));
        check(copy, size);
    }
    free(copy);
    return 0;
}

#ifdef FUZZ_MAIN
#include "base/clock.h"

#include <stdio.h>

#define RECORD_MAX                                                             \
    (META_BLOB_HEAD + 255 + EXTENTS * META_EXTENT_BYTES + META_SUM_BYTES)

static uint64_t state;

/* splitmix64 */
static uint64_t pick(uint64_t below)
{
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static size_t valid_record(uint8_t *out)
{
    struct meta_extent e[EXTENTS];
    char name[255];
    struct meta_blob b = {.tag = pick(9), .name = name, .extents = e};

    b.name_len = 1 + (uint32_t)pick(sizeof name);
    memset(name, 'n', sizeof name);
    b.n_extents = (uint32_t)pick(EXTENTS);
    for (uint32_t i = 0; i < b.n_extents; i++) {
        memset(&e[i], 0, sizeof e[i]);
        e[i].offset = b.size + pick(3) * 100;
        e[i].bytes = 1 + (uint32_t)pick(8192);
        e[i].stored = (e[i].bytes + 4095) / 4096 * 4096;
        e[i].loc = pick(1u << 30) * 4096;
        b.size = e[i].offset + e[i].bytes;
    }
    return meta_blob_encode(&b, out);
}

static size_t mutate(uint8_t *r, size_t n)
{
    uint64_t times = pick(6);

    for (uint64_t i = 0; i < times; i++) {
        size_t at = pick(pick(2) ? n : (n < 64 ? n : 64));
        uint64_t flipped = r[at] ^ (1u << pick(8));
        r[at] = (uint8_t)(pick(2) ? flipped : pick(2) ? pick(256) : 255);
    }
    return pick(4) ? n : 1 + pick(n);
}

int main(int argc, char **argv)
{
    static uint8_t record[RECORD_MAX];
    const char *seed = getenv("SEED");
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 10;
    uint64_t end = clock_ns() + seconds * 1000000000u, rounds = 0;

    state = seed ? strtoull(seed, NULL, 0) : clock_real_ns();
    printf("SEED=%llu\n", (unsigned long long)state);
    for (; clock_ns() < end; rounds++) {
        size_t n = valid_record(record);
        struct meta_extent e[EXTENTS];
        struct meta_blob b;
        if (meta_blob_decode(record, n, &b, e, EXTENTS))
            abort();
        n = mutate(record, n);
        LLVMFuzzerTestOneInput(record, n);
    }
    printf("%llu records\n", (unsigned long long)rounds);
    return 0;
}
#endif
