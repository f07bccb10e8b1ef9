/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Page-locked ranges of this process, shared by all CUDA devices.
 *
 * The driver registers a range once for the whole process, while each device
 * that is opened pins and unpins on its own. So each range is counted, and
 * keeps the primary context that it was registered in.
 */
#ifndef SLUICE_CUDA_PIN_H
#define SLUICE_CUDA_PIN_H

#include <stddef.h>
#include <stdint.h>

struct cu_context;

/** Registers [mem, mem + bytes), or counts one more user of a range that begins
 *  at mem. `ctx` is the current context, the primary one of `device`. Any
 *  thread. SL_EINVAL (a range at mem is shorter), SL_ENOMEM, SL_EDEVICE. */
int cuda_pin(void *mem, size_t bytes, int device, struct cu_context *ctx);
/** One user less; the last one unregisters. An unknown range is logged. */
void cuda_unpin(void *mem);

#endif
