/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The payload of LOG_CARRY_BLOB: a blob record, and the bytes of those of its
 * extents that no sync has covered (docs/format.md).
 */
#ifndef SLUICE_META_CARRY_H
#define SLUICE_META_CARRY_H

#include "store/meta.h"
#include "store/meta_log.h"

/** How many bytes of an extent go into the log: those that its sum is over. */
static inline uint32_t carry_bytes(const struct meta_extent *e)
{
    return e->codec ? e->stored : e->bytes;
}

/** Exactly the bytes that carry_encode writes. */
size_t carry_bound(const struct meta_change *c);
/** What is carried is pointed to in `out` afterwards. */
void carry_encode(const struct meta_change *c, uint8_t *out);

/** The record as a frame of its own; false: the payload is damaged. */
int carry_record(const struct log_frame *f, struct log_frame *put);
/** Each extent whose bytes the frame has; nothing for frames of other kinds.
 *  SL_ECORRUPT, SL_ENOMEM, or what `one` returned that is not 0. */
int carry_each(const struct log_frame *f,
               int (*one)(void *user, const struct meta_extent *e,
                          const uint8_t *bytes),
               void *user);

#endif
