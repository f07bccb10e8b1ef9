/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Is this file an LMDB database that LMDB can be trusted with?
 *
 * LMDB follows page numbers and offsets of its file without checking them and
 * reads the file through a map, so a damaged or cut file ends in SIGBUS,
 * SIGSEGV or abort. meta_check walks all that is reachable from the newest
 * head, before LMDB opens the file, and refuses what LMDB would stumble over.
 * It does not see damage inside values; those records carry checksums.
 *
 * It accepts what LMDB 0.9 writes for this store: no duplicate keys, no
 * integer keys but in the list of free pages, 64-bit little-endian.
 */
#ifndef SLUICE_META_CHECK_H
#define SLUICE_META_CHECK_H

#include "sluice/status.h"

#include <stddef.h>

/**
 * Checks a data.mdb that nobody writes meanwhile. SL_ECORRUPT, SL_EVERSION
 * (LMDB's own data version), SL_ENOMEM, SL_EIO; `why` gets one line in words.
 * Reads the whole file once.
 */
int meta_check(const char *file, char *why, size_t why_bytes);

#endif
