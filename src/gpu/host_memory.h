/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Memory of the `host` device: plain memory that knows that it is a device's,
 * so that what asks for the owner of an address runs without a GPU.
 */
#ifndef SLUICE_HOST_MEMORY_H
#define SLUICE_HOST_MEMORY_H

#include "gpu/gpu.h"

/* The memory part of gpu_host_ops. */
int host_alloc(struct gpu *g, size_t bytes, sl_devptr *out);
void host_release(struct gpu *g, sl_devptr p);
int host_memory_of(sl_devptr p, struct gpu_memory *out);

#endif
