/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_rocks.h"

#ifdef SLUICE_ROCKSDB
#include <dlfcn.h>
#include <rocksdb/c.h>
#include <stdlib.h>

/* The calls that are used, by the types of the header. */
#define CALLS(X)                                                               \
    X(options_create)                                                          \
    X(options_destroy)                                                         \
    X(options_set_create_if_missing)                                           \
    X(options_set_compression)                                                 \
    X(open)                                                                    \
    X(close)                                                                   \
    X(writeoptions_create)                                                     \
    X(writeoptions_destroy)                                                    \
    X(writeoptions_set_sync)                                                   \
    X(writebatch_create)                                                       \
    X(writebatch_destroy)                                                      \
    X(writebatch_put)                                                          \
    X(write)                                                                   \
    X(free)

struct rocks {
    void *library;
#define X(name) __typeof__(&rocksdb_##name) name;
    CALLS(X)
#undef X
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *how;
    rocksdb_t *db;
};

static int load(struct rocks *r)
{
    r->library = dlopen("librocksdb.so", RTLD_NOW | RTLD_LOCAL);
    if (!r->library)
        return -1;
        /* POSIX lets a data pointer from dlsym be a function. */
#define X(n)                                                                   \
    *(void **)(void *)&r->n = dlsym(r->library, "rocksdb_" #n);                \
    if (!r->n)                                                                 \
        return -1;
    CALLS(X)
#undef X
    return 0;
}

struct rocks *rocks_open(const char *dir, int sync, const char **why)
{
    struct rocks *r = calloc(1, sizeof(*r));
    char *error = NULL;
    *why = "out of memory";
    if (!r)
        return NULL;
    if (load(r)) {
        *why = "librocksdb.so is not installed";
        rocks_close(r);
        return NULL;
    }
    r->options = r->options_create();
    r->options_set_create_if_missing(r->options, 1);
    r->options_set_compression(r->options, rocksdb_no_compression);
    r->how = r->writeoptions_create();
    r->writeoptions_set_sync(r->how, (unsigned char)sync);
    r->db = r->open(r->options, dir, &error);
    if (error) {
        *why = "RocksDB cannot open its directory";
        r->free(error);
        rocks_close(r);
        return NULL;
    }
    return r;
}

void rocks_close(struct rocks *r)
{
    if (r->db)
        r->close(r->db);
    if (r->how)
        r->writeoptions_destroy(r->how);
    if (r->options)
        r->options_destroy(r->options);
    /* The library stays: its threads may still end. */
    free(r);
}

int rocks_put(struct rocks *r, const uint32_t *key, unsigned n,
              const void *value, size_t bytes)
{
    rocksdb_writebatch_t *batch = r->writebatch_create();
    char *error = NULL;
    for (unsigned i = 0; i < n; i++)
        r->writebatch_put(batch, (const char *)&key[i], sizeof(key[i]), value,
                          bytes);
    r->write(r->db, r->how, batch, &error);
    r->writebatch_destroy(batch);
    if (error)
        r->free(error);
    return error ? -1 : 0;
}

#else

struct rocks *rocks_open(const char *dir, int sync, const char **why)
{
    (void)dir;
    (void)sync;
    *why = "not in this build";
    return NULL;
}

void rocks_close(struct rocks *r)
{
    (void)r;
}

int rocks_put(struct rocks *r, const uint32_t *key, unsigned n,
              const void *value, size_t bytes)
{
    (void)r;
    (void)key;
    (void)n;
    (void)value;
    (void)bytes;
    return -1;
}

#endif
