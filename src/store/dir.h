/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The directory of a store: format version, lock, and the paths in it.
 *
 *   DIR/format   one line: "sluice-store 1\n"
 *   DIR/lock     locked while a process has the store open; holds its pid
 *   DIR/data     the file tier
 *   DIR/meta/    LMDB
 *
 * Usual order: dir_open, then the tier on `data` and meta_open on `path`;
 * dir_close last. The lock belongs to the open file, so a child that is forked
 * while the store is open keeps it locked until the child ends or calls exec.
 */
#ifndef SLUICE_DIR_H
#define SLUICE_DIR_H

#include "sluice/status.h"

#define STORE_FORMAT 1

struct store_dir {
    char *path, *data, *meta;
    int lock_fd;
};

/**
 * Opens or creates (the last component only). SL_ENOTDIR (`path` is something
 * else, or its parent is missing), SL_EACCES, SL_EBUSY, SL_EVERSION (another
 * number), SL_ECORRUPT (`format` is empty or is no format line), SL_EINVAL (a
 * non-empty directory without `format`, so that nobody's files are mixed with
 * ours), SL_ENOSPC, SL_ENOMEM, SL_EIO. Each logs one line that names the path.
 * On an error nothing in an existing directory has changed. Any thread.
 */
int dir_open(const char *path, struct store_dir **out);
void dir_close(struct store_dir *d);

/** The code for an errno of a call on a store's files. */
int dir_errno(int err);
/** Brings the entries of a directory to stable storage; codes of dir_errno,
 *  not logged. */
int dir_sync(const char *path);
/** "a/b" for "a" and "b", to be freed; null without memory. */
char *dir_join(const char *a, const char *b);

#endif
