/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Option structs that callers pass. `size` is the first field, and the struct
 * grows at its end, so a caller may be built with an earlier or a later header.
 */
#ifndef SLUICE_OPTS_H
#define SLUICE_OPTS_H

#include <stddef.h>

/** More than any option struct will have: a size that was never set. */
#define OPTS_MAX 65536u

/**
 * Copies the caller's struct `from` into the `bytes` of `to`. What an earlier
 * header lacks becomes zero; what a later one adds is accepted when it is zero.
 * SL_EINVAL, logged with `what`: null, a size that cuts a field or is none, or
 * options of a later version are set; *to is zero then.
 */
int opts_read(void *to, size_t bytes, const void *from, const char *what);

#endif
