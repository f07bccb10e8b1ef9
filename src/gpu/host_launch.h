/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Launches of functions that the table of kernels does not name, on a stream
 * of the `host` device: for tests and tools.
 */
#ifndef SLUICE_HOST_LAUNCH_H
#define SLUICE_HOST_LAUNCH_H

#include "gpu/gpu.h"
#include "gpu/kernels/table.h"

/** As gpu_host_ops.launch, but runs `fn`; l->kernel is not looked at. */
int host_launch_fn(struct gpu_stream *s, kernel_host_fn fn,
                   const struct gpu_launch *l);

#endif
