/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * RocksDB for `sluice bench durable`, loaded at run time when the build had its
 * header.
 */
#ifndef SLUICE_CLI_BENCH_ROCKS_H
#define SLUICE_CLI_BENCH_ROCKS_H

#include <stddef.h>
#include <stdint.h>

struct rocks;

/** Null, with the reason in *why. Creates the database. */
struct rocks *rocks_open(const char *dir, int sync, const char **why);
void rocks_close(struct rocks *r);
/** `n` puts as one batch, written (and synced) once; 0 or -1. */
int rocks_put(struct rocks *r, const uint32_t *key, unsigned n,
              const void *value, size_t bytes);

#endif
