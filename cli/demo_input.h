/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The files of a directory tree in one buffer, for `sluice demo`.
 */
#ifndef SLUICE_CLI_DEMO_INPUT_H
#define SLUICE_CLI_DEMO_INPUT_H

#include <stddef.h>
#include <stdint.h>

/* Files begin at multiples of it, so that warps copy whole lines. */
#define DEMO_ALIGN 128u

struct demo_file {
    char *path;       /* owned */
    char *hashed;     /* owned; null unless the path is too long for a name */
    const char *name; /* below the directory, or `hashed` */
    uint64_t at;      /* in data */
    uint64_t bytes;
};

struct demo_input {
    struct demo_file *file; /* sorted by path */
    size_t n, room;
    uint64_t bytes;    /* of all files */
    uint64_t span;     /* of data, gaps for alignment included */
    uint64_t reserved; /* bytes mapped at data */
    uint8_t *data;
    uint64_t skipped;  /* files that could not be read; each was named */
    uint64_t left_out; /* files beyond the limit */
};

/**
 * Reads the regular files below `dir`, without following symbolic links, in
 * sorted order, as long as they fit `limit` bytes together. 0 or an exit code,
 * the cause said; free in both cases.
 */
int demo_input_load(const char *dir, uint64_t limit, struct demo_input *in);
void demo_input_free(struct demo_input *in);

#endif
