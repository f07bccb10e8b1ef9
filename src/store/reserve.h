/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Disk space kept back, DIR/reserve: so that on a full disk what was
 * acknowledged can still be committed, and blobs can be deleted, which takes
 * some pages of the metadata. The committer's; not locked.
 */
#ifndef SLUICE_RESERVE_H
#define SLUICE_RESERVE_H

struct reserve {
    char *path;
    int fd;
    int gone; /* given up, or never had */
};

/** Codes of dir_errno, logged. A full disk is none: `gone` tells. */
int reserve_open(const char *dir, struct reserve *r);
/** Gives the space to the disk; false when there is none left to give. */
int reserve_release(struct reserve *r);
/** Takes it again if the disk has it; sets `gone`. */
void reserve_restore(struct reserve *r);
void reserve_close(struct reserve *r);

#endif
