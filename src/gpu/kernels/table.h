/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The kernels of the product: compiled by nvcc into an embedded fat binary when
 * nvcc is there, and by the C compiler for the host device always.
 */
#ifndef SLUICE_KERNELS_TABLE_H
#define SLUICE_KERNELS_TABLE_H

#include <stddef.h>

/** Entry of a kernel on the host device; `arg` points at its struct. */
typedef void (*kernel_host_fn)(const void *arg);

struct kernel_entry {
    const char *name;
    kernel_host_fn host;
};

/** All kernels, ended by a null name (kernels/table.c). */
extern const struct kernel_entry kernel_table[];

/** The fat binary, or null and 0 when built without nvcc. */
extern const unsigned char kernel_fatbin[];
extern const size_t kernel_fatbin_bytes;

/** Finds a kernel of the table; null when unknown. */
const struct kernel_entry *kernel_find(const char *name);

#endif
