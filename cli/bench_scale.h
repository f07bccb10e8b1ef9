/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * `sluice bench scale`: what a call costs as the store gets larger.
 */
#ifndef SLUICE_CLI_BENCH_SCALE_H
#define SLUICE_CLI_BENCH_SCALE_H

#include <stdint.h>

#define SCALE_BYTES 64u    /* of a blob */
#define SCALE_NAME_LEN 16u /* of its name, without the NUL */
#define SCALE_TAG "scale"

/** Name of blob number i: SCALE_NAME_LEN hex digits, in no order. */
void scale_name(uint64_t i, char name[SCALE_NAME_LEN + 1u]);
/** The same, sorted by number, for records that are written by key. */
void scale_sorted_name(uint64_t i, char name[SCALE_NAME_LEN + 1u]);

struct scale_start {
    double start_s; /* sl_open: check, load, index */
    double cpu_s;   /* of all threads in it */
    double close_s;
};
/**
 * Makes a store of n durable blobs of SCALE_BYTES zeros in a new directory,
 * each with a record and a block of the file, opens and checks it. The records
 * go through the metadata's interface in the order of their keys, and the file
 * has its blocks, which nobody writes: they read as zeros. 0 or an exit code.
 */
int scale_start(const char *dir, uint64_t n, struct scale_start *out);

/** The command; argv[0] is "scale". Exit code. */
int bench_scale(int argc, char **argv);

#endif
