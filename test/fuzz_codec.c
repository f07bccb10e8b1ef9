/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fuzzes every decoder: whatever the bytes, nothing outside of the two buffers
 * is read or written (both are of just their size, for the sanitizers), and what
 * a codec accepts as n bytes it encodes and decodes to the same n bytes.
 *
 * An input is: codec, two bytes of plain length, the coded bytes.
 */
#include "codec/codec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted, coded again. */
static void code_again(unsigned id, const uint8_t *plain, size_t n)
{
    size_t bound = codec_bound(id, n);
    uint8_t *coded = malloc(bound), *again = malloc(n);
    if (!coded || !again)
        abort();
    int made = codec_encode(id, CODEC_FAST, plain, n, coded, bound);
    if (made <= 0 || codec_decode(id, coded, (size_t)made, again, n) != 0 ||
        memcmp(plain, again, n) != 0)
        abort();
    free(coded);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    unsigned id = data[0] % SL_CODECS;
    size_t n = (size_t)data[1] | (size_t)data[2] << 8;
    size_t bytes = size - 3;
    uint8_t *coded = malloc(bytes), *plain = malloc(n ? n : 1);
    if (!coded || !plain)
        abort();
    memcpy(coded, data + 3, bytes);
    memset(plain, 0, n ? n : 1);
    int rc = codec_find(id) ? codec_decode(id, coded, bytes, plain, n) : 0;
    if (rc && rc != SL_ECORRUPT && rc != SL_ENOMEM)
        abort();
    if (!rc && n && codec_find(id))
        code_again(id, plain, n);
    free(coded);
    free(plain);
    return 0;
}
