/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/kernels/table.h"

#include <string.h>

/* The kernels of the device tests, instead of the product's: a program that
 * links this file does not take that of src/gpu/kernels. */
#define KERNEL_LIST(X)                                                         \
    X(k_check_echo)                                                            \
    X(k_check_ops_thread)                                                      \
    X(k_check_ops_warp)                                                        \
    X(k_check_ops_block)                                                       \
    X(k_check_diverge)                                                         \
    X(k_check_wait)                                                            \
    X(k_check_abandon)                                                         \
    X(k_check_whole)                                                           \
    X(k_check_lz4)                                                             \
    X(k_check_lz4_large)                                                       \
    X(k_check_lz4_team)                                                        \
    X(k_check_lz4_blob)

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
