/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A set of tag ids, so that the committer refuses a blob's record without that
 * of its tag. Not locked.
 */
#ifndef SLUICE_TAG_SET_H
#define SLUICE_TAG_SET_H

#include <stdint.h>

struct tag_set {
    uint64_t *at; /* open addressing; 0: empty */
    uint64_t mask, used;
    int has_zero;
};

void tag_set_free(struct tag_set *s);
int tag_set_has(const struct tag_set *s, uint64_t id);
/** SL_ENOMEM. */
int tag_set_add(struct tag_set *s, uint64_t id);
void tag_set_remove(struct tag_set *s, uint64_t id);

#endif
