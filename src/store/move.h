/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Moving bytes between targets while readers and writers run. Private to
 * src/store. A move is an update (update.h): the blob is busy, writers queue
 * behind it, readers see the old places until the new ones are published.
 */
#ifndef SLUICE_STORE_MOVE_H
#define SLUICE_STORE_MOVE_H

#include "store/shard.h"

/** Part of a round (targets_round; its user is a uint32_t, the target): all
 *  blobs of the shard leave the target. SL_ENOSPC. */
int move_drain(struct scatter *s, struct shard *sh);

#endif
