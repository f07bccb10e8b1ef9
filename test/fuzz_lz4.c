/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the decompressors of device/lz4.h and lz4_team.h on the host device: any bytes as a
 * block. What both it and liblz4 accept must be the same bytes. */
#include "sluice/device/lz4_team.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>

struct fuzz_arg {
    const uint8_t *src;
    uint8_t *dst;
    int *code;
    uint32_t n, size;
};

SL_KERNEL(fuzz_lz4, struct fuzz_arg)
{
    SL_SHARED(struct sl_lz4_unpack, ws);
    SL_SHARED(struct sl_lz4_unpack_large, large);
    int code;
    if (arg.size <= SL_LZ4_SMALL && arg.n % 2u)
        code = sl_lz4_decompress_warp(ws, arg.src, arg.n, arg.dst, arg.size);
    else
        code = sl_lz4_decompress_large_warp(large, arg.src, arg.n, arg.dst,
                                            arg.size);
    if (slp_lane() == 0)
        *arg.code = code;
}

SL_KERNEL(fuzz_lz4_team, struct fuzz_arg)
{
    SL_SHARED(struct sl_lz4_unpack_team, ws);
    int code = sl_lz4_decompress_team(ws, arg.src, arg.n, arg.dst, arg.size);
    if (slp_thread() == 0)
        *arg.code = code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct sl_host_grid g = {
        .grid = {1, 1, 1}, .block = {32, 1, 1}, .threads = 1};
    if (bytes < 2 || bytes > SL_LZ4_MAX)
        return 0;
    uint32_t size = data[0] | (uint32_t)data[1] << 8;
    uint32_t n = (uint32_t)bytes - 2u;
    int code = 1;
    /* Exactly as large, so that AddressSanitizer sees the first byte outside. */
    uint8_t *src = malloc(n ? n : 1u), *dst = malloc(size ? size : 1u);
    uint8_t *want = malloc(size ? size : 1u);
    if (!src || !dst || !want)
        abort();
    memcpy(src, data + 2, n);
    struct fuzz_arg a = {src, dst, &code, n, size};
    int got =
        LZ4_decompress_safe((const char *)src, (char *)want, (int)n, (int)size);
    for (int team = 0; team < 2; team++) {
        g.block.x = team ? SL_LZ4_TEAM : 32u;
        if (sl_host_launch(team ? fuzz_lz4_team : fuzz_lz4, &g, &a))
            abort();
        if (got == (int)size && n && code == 0 && memcmp(dst, want, size))
            abort();
    }
    free(src);
    free(dst);
    free(want);
    return 0;
}
