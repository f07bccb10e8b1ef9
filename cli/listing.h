/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Names of a store, sorted, for `sluice ls` and `sluice tag ls`.
 */
#ifndef SLUICE_CLI_LISTING_H
#define SLUICE_CLI_LISTING_H

#include "session.h"

struct listing_entry {
    char *name;
    uint32_t len;
    uint64_t value; /* a blob's bytes, a tag's id */
};
struct listing {
    int with_value;    /* --long */
    uint64_t limit;    /* --limit, 0: none */
    const char *after; /* --after, or null */
    struct listing_entry *entry;
    size_t n, room;
};

/** Lists the blobs of the session's tag, or without a tag all tags, as the
 *  listing's options say, and frees what it took. Exit code. */
int listing_run(struct listing *l, struct session *s);
/** Shows what is known of the session's tag, whose id is found. Exit code. */
int tag_show(const struct session *s);

#endif
