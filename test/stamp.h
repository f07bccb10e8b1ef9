/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that tell who wrote them, where and as which version: each word gives
 * its stamp back, so any mix of versions is seen. */
#ifndef TEST_STAMP_H
#define TEST_STAMP_H

#include "help.h"

#define STAMP_STEP UINT64_C(0x9e3779b97f4a7c15)
#define STAMP_MAGIC UINT64_C(0x5a)
/* Words that are the same, so that codecs make them fewer. */
#define STAMP_RUN 16u

/* magic 8 | writer 8 | blob 8 | part 8 | count 32 */
struct stamp {
    uint32_t writer, blob, part, count;
};

HELP_FN uint64_t stamp_make(const struct stamp *s)
{
    return STAMP_MAGIC << 56 | (uint64_t)s->writer << 48 |
           (uint64_t)s->blob << 40 | (uint64_t)s->part << 32 | s->count;
}

/* What a word's place adds to it. */
HELP_FN uint64_t stamp_place(uint64_t word)
{
    return (word / STAMP_RUN + 1u) * STAMP_STEP;
}

/* The bytes [from, from + bytes) of what a stamp fills; multiples of 8. */
HELP_FN void stamp_fill(uint8_t *to, uint64_t from, uint64_t bytes,
                        uint64_t stamp)
{
    for (uint64_t i = 0; i < bytes / 8u; i++) {
        uint64_t w = stamp + stamp_place(from / 8u + i);
        memcpy(to + 8u * i, &w, 8);
    }
}

/* The stamp that fills all of a range; 0: a mix, or what no stamp made. */
HELP_FN uint64_t stamp_of(const uint8_t *at, uint64_t from, uint64_t bytes,
                          struct stamp *out)
{
    uint64_t stamp = 0, w;
    for (uint64_t i = 0; i < bytes / 8u; i++) {
        memcpy(&w, at + 8u * i, 8);
        w -= stamp_place(from / 8u + i);
        if (i && w != stamp)
            return 0;
        stamp = w;
    }
    if (stamp >> 56 != STAMP_MAGIC)
        return 0;
    out->writer = (uint32_t)(stamp >> 48) & 0xffu;
    out->blob = (uint32_t)(stamp >> 40) & 0xffu;
    out->part = (uint32_t)(stamp >> 32) & 0xffu;
    out->count = (uint32_t)stamp;
    return stamp;
}

#endif
