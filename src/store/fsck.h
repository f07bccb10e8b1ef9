/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Checks a store that nobody has open: sl_fsck (sluice.h) does as store_fsck.
 *
 * The whole check runs inside one write transaction of LMDB into which the log
 * is replayed, so it sees what a start would see; a repair commits it, a check
 * aborts it.
 */
#ifndef SLUICE_FSCK_H
#define SLUICE_FSCK_H

#include "sluice/sluice.h"

int store_fsck(const struct sl_fsck_opts *o, struct sl_fsck_report *report);

#endif
