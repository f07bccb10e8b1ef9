/* SPDX-License-Identifier: Apache-2.0 */
/* LZ4 blocks by the letter of the format, a byte at a time. liblz4 also holds the
 * writer to the rules for a block's end, and lets the offset 0 pass. */
#ifndef LZ4_PLAIN_H
#define LZ4_PLAIN_H

#include "help.h"

/* A nibble of a token, and the bytes that go on with it; `at` stops at n. */
HELP_FN uint64_t lz4_plain_length(const uint8_t *in, uint64_t *at, uint64_t n,
                                  uint64_t nibble)
{
    uint64_t b = nibble == 15u ? 255u : 0u;
    while (b == 255u && *at < n) {
        b = in[(*at)++];
        nibble += b;
    }
    return nibble;
}

/* Whether in[0, n) makes exactly `room` bytes, which are then in `out`. */
HELP_FN int lz4_plain(const uint8_t *in, uint64_t n, uint8_t *out,
                      uint64_t room)
{
    uint64_t at = 0, to = 0;
    while (at < n) {
        uint32_t token = in[at++];
        uint64_t run = lz4_plain_length(in, &at, n, token >> 4);
        if (run > n - at || run > room - to)
            return 0;
        memcpy(out + to, in + at, run);
        at += run;
        to += run;
        if (at == n)
            break;
        if (n - at < 2u)
            return 0;
        uint64_t off = in[at] | (uint64_t)in[at + 1u] << 8;
        at += 2u;
        uint64_t len = 4u + lz4_plain_length(in, &at, n, token & 15u);
        if (off == 0 || off > to || len > room - to)
            return 0;
        for (; len; len--, to++)
            out[to] = out[to - off];
    }
    return to == room;
}

#endif
