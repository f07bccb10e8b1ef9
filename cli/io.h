/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Files that commands read and write. Every function says on standard error
 * what failed, once, and returns 0 or an exit code.
 */
#ifndef SLUICE_CLI_IO_H
#define SLUICE_CLI_IO_H

#include <stddef.h>
#include <stdint.h>

struct input {
    const char *name;
    int fd;
};
/** "-" is standard input. */
int input_open(struct input *f, const char *name);
/** Reads until `room` bytes or the end; *n < room means the end. */
int input_read(struct input *f, void *buf, size_t room, size_t *n);
void input_close(struct input *f);

/**
 * A regular file is written under another name in its directory and renamed
 * when complete; a pipe, a terminal or a device is written as it is.
 */
struct output {
    const char *name;
    char *final; /* null: written as it is */
    int fd;
};
/** "-" is standard output. */
int output_open(struct output *f, const char *name);
int output_write(struct output *f, const void *buf, size_t n);
/** With rc 0 the file gets its name, else it is removed; `rc` or an own
 *  failure. */
int output_close(struct output *f, int rc);

#endif
