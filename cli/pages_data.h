/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Data for `sluice bench pages`: files, or what every machine has.
 */
#ifndef SLUICE_CLI_PAGES_DATA_H
#define SLUICE_CLI_PAGES_DATA_H

#include <stddef.h>
#include <stdint.h>

/* Most of a set that is loaded; benchmarks repeat it. */
#define DATA_MAX (64u << 20)
#define DATA_SETS 16u

struct data_set {
    char name[64];
    uint8_t *data;
    size_t bytes;
};

/** Loads the files, or with n 0 makes four sets: machine code (the files mapped
 *  into this process), JSON, text and records of numbers, which are made up but
 *  always the same. 0 or an exit code; *sets is how many there are. */
int data_open(char **files, size_t n, struct data_set set[DATA_SETS],
              size_t *sets);
void data_close(struct data_set *set, size_t sets);

#endif
