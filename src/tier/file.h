/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The file tier beyond the contract: which way its bytes take, and a way to
 * ask for the slower ones.
 *
 * The best way is io_uring with O_DIRECT. Where the file system refuses
 * O_DIRECT the page cache is used; where the kernel refuses io_uring, requests
 * are served by pread and pwrite and complete inside the call. Either
 * is logged once with the reason.
 */
#ifndef SLUICE_TIER_FILE_H
#define SLUICE_TIER_FILE_H

#include "tier/tier.h"

enum tier_file_avoid {
    TIER_FILE_NO_DIRECT = 1 << 0, /* as if O_DIRECT were refused */
    TIER_FILE_NO_URING = 1 << 1   /* as if io_uring were refused */
};

/** As tier_file_ops.open, without what `avoid` (tier_file_avoid) names. */
int tier_file_open_as(const struct tier_config *c, unsigned avoid,
                      struct tier **out);

/** "io_uring+O_DIRECT", "io_uring+buffered", "pread+O_DIRECT" or
 *  "pread+buffered"; for messages. `t` is a file tier. Any thread. */
const char *tier_file_path_kind(const struct tier *t);

#endif
