/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/kernels/table.h"

#include <string.h>

/* Host entries, defined by SL_KERNEL in the .cu files. */
#define KERNEL_LIST(X)                                                         \
    X(k_pingpong)                                                              \
    X(k_page_put)                                                              \
    X(k_page_get)                                                              \
    X(k_demo_put)                                                              \
    X(k_demo_get)                                                              \
    X(k_bench_noop)                                                            \
    X(k_bench_fill)                                                            \
    X(k_bench_put)                                                             \
    X(k_bench_get)                                                             \
    X(k_bench_text)                                                            \
    X(k_bench_put_lz4)                                                         \
    X(k_bench_get_lz4)                                                         \
    X(k_bench_ring)                                                            \
    X(k_lz4_pack)                                                              \
    X(k_lz4_pack_fast)                                                         \
    X(k_lz4_pack_large)                                                        \
    X(k_lz4_pack_large_fast)                                                   \
    X(k_lz4_part)                                                              \
    X(k_lz4_part_fast)                                                         \
    X(k_lz4_part_large)                                                        \
    X(k_lz4_part_large_fast)                                                   \
    X(k_lz4_sum)                                                               \
    X(k_lz4_base)                                                              \
    X(k_lz4_places)                                                            \
    X(k_lz4_gather)                                                            \
    X(k_lz4_gather_parts)                                                      \
    X(k_lz4_unpack)                                                            \
    X(k_lz4_unpack_large)                                                      \
    X(k_lz4_unpack_team)                                                       \
    X(k_unit_send)                                                             \
    X(k_unit_fetch)

#define KERNEL_DECLARE(name) void name(const void *arg);
KERNEL_LIST(KERNEL_DECLARE)

#define KERNEL_ENTRY(name) {#name, name},
const struct kernel_entry kernel_table[] = {KERNEL_LIST(KERNEL_ENTRY){0, 0}};

const struct kernel_entry *kernel_find(const char *name)
{
    for (const struct kernel_entry *k = kernel_table; k->name; k++) {
        if (strcmp(k->name, name) == 0)
            return k;
    }
    return 0;
}
