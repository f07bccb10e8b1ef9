/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * `sluice bench durable`: puts that survive, beside LMDB and RocksDB on the
 * same disk.
 */
#ifndef SLUICE_CLI_BENCH_DURABLE_H
#define SLUICE_CLI_BENCH_DURABLE_H

/** argv[0] is "durable". Exit code. */
int bench_durable(int argc, char **argv);

#endif
