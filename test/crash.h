/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a store must still have after its process was killed.
 *
 * Writers note in shared memory what they begin and what was acknowledged; the
 * ledger outlives them. Each writer has a tag; a blob is four parts, each of
 * one stamp, written all at once or one at a time. After a kill a blob is what
 * was acknowledged or what was begun, never less and never a mix; a volatile
 * one may also be absent or older. A rename goes from one name of the blob to
 * the other: it never has both.
 */
#ifndef TEST_CRASH_H
#define TEST_CRASH_H

#include "stamp.h"

#include "sluice/sluice.h"

#define CRASH_WRITERS 3u
#define CRASH_BLOBS 6u
#define CRASH_PARTS 4u
#define CRASH_BLOB_MAX (CRASH_PARTS * 30000u)

struct crash_version {
    uint8_t there, level;
    uint8_t alias;              /* it has the second of its names */
    uint32_t part[CRASH_PARTS]; /* count of the stamp of each */
};

/* A kill may come between any two stores: the new version is written beside
 * the old one, then `now` is switched. */
struct crash_entry {
    struct crash_version version[2];
    uint32_t now;  /* atomic: which was acknowledged last */
    uint32_t open; /* atomic: `next` was begun */
    struct crash_version next;
    uint32_t count; /* last one used */
};

enum crash_tag_open { CRASH_TAG_IDLE, CRASH_TAG_MAKE, CRASH_TAG_DELETE };

struct crash_writer {
    struct crash_entry blob[CRASH_BLOBS];
    uint32_t there, open; /* atomic: the tag; enum crash_tag_open */
};

struct crash_ledger {
    struct crash_writer writer[CRASH_WRITERS];
    uint64_t acks; /* atomic */
    /* Counted by all children. */
    uint64_t checks, recovered, volatile_found, absent, coded;
    uint64_t padding; /* that extents may have in the file, of this look */
    uint64_t slowest_open_ns;
    char why[200]; /* "": all is well */
};

/** Writes for ever; a thread of the child. Ends the process when a call fails.
 */
struct crash_run {
    struct crash_ledger *ledger;
    struct sl_runtime *rt;
    uint32_t id;
    uint64_t random;
};
void *crash_write(void *run);
/** Looks at all blobs, and notes what is there as acknowledged. False: see
 *  `why`. *stored: bytes that the blobs take. */
int crash_check(struct crash_ledger *l, struct sl_runtime *rt,
                uint64_t *stored);

#endif
