/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * `sluice bench file`: the file tier beside fio on the same file.
 */
#ifndef SLUICE_CLI_BENCH_FILE_H
#define SLUICE_CLI_BENCH_FILE_H

/** argv[0] is "file". Exit code. */
int bench_file(int argc, char **argv);

#endif
