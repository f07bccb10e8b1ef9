/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * fio for `sluice bench file`: one job with io_uring and direct io, as a child
 * process, looked for in PATH.
 */
#ifndef SLUICE_CLI_BENCH_FIO_H
#define SLUICE_CLI_BENCH_FIO_H

#include <stdint.h>

struct fio_job {
    const char *path; /* of `bytes` bytes, that are written already */
    uint64_t bytes, ms;
    unsigned block, depth;
    int write, random;
};

struct fio_result {
    double ops;    /* a second */
    double cpu_us; /* of an operation, user and system */
};

/** 0, FIO_ABSENT when there is no such program, or an exit code after it has
 *  said what failed. */
#define FIO_ABSENT (-1)
int fio_run(const struct fio_job *j, struct fio_result *out);

#endif
