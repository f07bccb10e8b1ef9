/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durable puts of 4 KiB over 4096 names, on one disk: Sluice with 1, 16 and 256
 * puts in flight from one thread, LMDB and RocksDB with so many puts in one
 * transaction or batch, which is the most that they can share a sync. Level 2
 * beside their sync, level 1 beside no sync. Each round measures the three one
 * after the other, and compares only what it measured itself, because a disk
 * and a machine that others use change from minute to minute.
 */
#include "bench_durable.h"

#include "base/clock.h"
#include "bench_rocks.h"
#include "opt.h"
#include "out.h"
#include "sluice/sluice.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VALUE 4096u
#define NAMES 4096u
#define MOST 256u
#define ROUNDS_MAX 99u
#define STORES 3u

static const char durable_help[] =
    "Usage: sluice bench durable --data DIR [OPTION]...\n"
    "4 KiB puts a second that survive a power cut (level 2) and the process\n"
    "(level 1), with LMDB and RocksDB on the same disk in the same run. Ratio\n"
    "is Sluice / the other, the median of the rounds; less than 1 is worse.\n\n"
    "  --data DIR   a directory on the disk; what is made in it stays\n"
    "  --ms N       milliseconds of each measurement: 1000\n"
    "  --rounds N   measurements of each store, in turns: 3\n"
    "  --level N    only this one, 1 or 2\n"
    "  --flight N   only so many in flight, up to 256\n"
    "  --alone      Sluice only\n"
    "  --json       one object on standard output\n"
    "  -v, --verbose\n";

struct durable {
    const char *dir;
    uint64_t ms, rounds, level, flight;
    int json, alone;
    json_t *rows;
    uint8_t value[VALUE];
    uint64_t seed;
};

static uint32_t next_key(struct durable *d)
{
    d->seed ^= d->seed << 13;
    d->seed ^= d->seed >> 7;
    d->seed ^= d->seed << 17;
    return (uint32_t)(d->seed % NAMES);
}

static int sub_dir(const struct durable *d, const char *name, char *to,
                   size_t room)
{
    int n = snprintf(to, room, "%s/%s", d->dir, name);
    if (n < 0 || (size_t)n >= room)
        return out_fail("'%s': the name is too long", d->dir);
    mkdir(to, 0700); /* who opens it says what is wrong */
    return 0;
}

/* ---- Sluice ---- */

struct ours {
    struct sl_runtime *rt;
    uint64_t tag;
    struct sl_put_opts how;
};

static int put_begin(struct durable *d, struct ours *o, struct sl_op **op)
{
    char name[16];
    snprintf(name, sizeof(name), "%u", next_key(d));
    return sl_put_begin(o->rt, o->tag, name, 0, d->value, VALUE, &o->how, op);
}

/* Puts a second, or a code. */
static int ours_run(struct durable *d, struct ours *o, unsigned depth,
                    double *rate)
{
    struct sl_op *op[MOST] = {0};
    uint64_t n = 0, begun = clock_ns(), end = begun + d->ms * 1000000u;
    unsigned flying = 0;
    int rc = 0;
    for (unsigned i = 0; !rc && (clock_ns() < end || flying);
         i = (i + 1u) % depth) {
        if (op[i]) {
            rc = sl_wait(&op[i], UINT64_MAX);
            flying--;
            n += !rc;
        }
        if (!rc && clock_ns() < end) {
            rc = put_begin(d, o, &op[i]);
            flying += !rc;
        }
    }
    for (unsigned i = 0; i < depth; i++)
        if (op[i])
            sl_cancel(&op[i]);
    *rate = (double)n * 1e9 / (double)(clock_ns() - begun);
    return rc;
}

/* A blob keeps the higher level of its puts, so each level has its own tag. */
static int ours_open(const struct durable *d, int level, struct ours *o)
{
    char tag[16];
    char dir[1024];
    struct sl_config c = {
        .size = sizeof(c), .data_dir = dir, .file_bytes = UINT64_C(256) << 20};
    int rc = sub_dir(d, "sluice", dir, sizeof(dir));
    if (rc)
        return rc;
    snprintf(tag, sizeof(tag), "level%d", level);
    rc = sl_open(&c, &o->rt);
    if (!rc)
        rc = sl_tag(o->rt, tag, &o->tag);
    return rc ? out_fail("'%s': %s", dir, sl_strerror(rc)) : 0;
}

static int ours_rate(struct durable *d, unsigned depth, int level, double *rate)
{
    struct ours o = {.how = {.size = sizeof(o.how),
                             .flags = SL_F_REPLACE,
                             .score = -1,
                             .persist = (uint8_t)level}};
    double warm;
    uint64_t ms = d->ms;
    int rc = ours_open(d, level, &o);
    if (rc)
        return rc;
    d->ms = ms / 4u + 1u;
    rc = ours_run(d, &o, depth, &warm);
    d->ms = ms;
    if (!rc)
        rc = ours_run(d, &o, depth, rate);
    int closed = sl_close(o.rt);
    if (rc || closed)
        return out_fail("put: %s", sl_strerror(rc ? rc : closed));
    return 0;
}

/* ---- LMDB ---- */

static int lmdb_put(struct durable *d, MDB_env *env, MDB_dbi *dbi,
                    unsigned depth)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, dbi);
    for (unsigned i = 0; i < depth && !rc; i++) {
        uint32_t k = next_key(d);
        MDB_val key = {sizeof(k), &k}, value = {VALUE, d->value};
        rc = mdb_put(txn, *dbi, &key, &value, 0);
    }
    if (!rc)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

static int lmdb_rate(struct durable *d, unsigned depth, int level, double *rate)
{
    char dir[1024];
    MDB_env *env = NULL;
    MDB_dbi dbi;
    uint64_t n = 0;
    int rc = sub_dir(d, "lmdb", dir, sizeof(dir));
    if (rc)
        return rc;
    rc = mdb_env_create(&env);
    if (!rc)
        rc = mdb_env_set_mapsize(env, (size_t)1 << 30);
    if (!rc)
        rc = mdb_env_open(env, dir, level > 1 ? 0 : MDB_NOSYNC, 0600);
    for (unsigned i = 0; i < 8u && !rc; i++)
        rc = lmdb_put(d, env, &dbi, depth);
    uint64_t begun = clock_ns(), end = begun + d->ms * 1000000u;
    for (; !rc && clock_ns() < end; n += depth)
        rc = lmdb_put(d, env, &dbi, depth);
    *rate = (double)n * 1e9 / (double)(clock_ns() - begun);
    mdb_env_close(env);
    return rc ? out_fail("LMDB: %s", mdb_strerror(rc)) : 0;
}

/* ---- RocksDB ---- */

/* *rate 0: it is not here. */
static int rocks_rate(struct durable *d, unsigned depth, int level,
                      double *rate, const char **why)
{
    char dir[1024];
    uint32_t key[MOST];
    uint64_t n = 0;
    int rc = sub_dir(d, "rocksdb", dir, sizeof(dir));
    *rate = 0;
    if (rc)
        return rc;
    struct rocks *r = rocks_open(dir, level > 1, why);
    if (!r)
        return 0;
    uint64_t begun = clock_ns(), end = begun + d->ms * 1000000u;
    for (; !rc && clock_ns() < end; n += depth) {
        for (unsigned i = 0; i < depth; i++)
            key[i] = next_key(d);
        rc = rocks_put(r, key, depth, d->value, VALUE);
    }
    *rate = (double)n * 1e9 / (double)(clock_ns() - begun);
    rocks_close(r);
    return rc ? out_fail("RocksDB: a write failed") : 0;
}

/* ---- a row ---- */

enum who { SLUICE, LMDB, ROCKS };

struct series {
    unsigned depth, n;
    int level;
    double rate[STORES][ROUNDS_MAX];  /* 0: it is not here */
    double ratio[STORES][ROUNDS_MAX]; /* Sluice against it */
    const char *why;                  /* there is no RocksDB */
};

static int one_rate(struct durable *d, struct series *s, enum who who)
{
    double *rate = &s->rate[who][s->n];
    if (who == SLUICE)
        return ours_rate(d, s->depth, s->level, rate);
    if (d->alone)
        return 0;
    if (who == LMDB)
        return lmdb_rate(d, s->depth, s->level, rate);
    return rocks_rate(d, s->depth, s->level, rate, &s->why);
}

/* Each of them begins in every third round. */
static int one_round(struct durable *d, struct series *s)
{
    int rc = 0;
    for (unsigned i = 0; i < STORES && !rc; i++)
        rc = one_rate(d, s, (enum who)((s->n + i) % STORES));
    for (unsigned i = LMDB; i < STORES; i++)
        if (s->rate[i][s->n] > 0)
            s->ratio[i][s->n] = s->rate[SLUICE][s->n] / s->rate[i][s->n];
    s->n++;
    return rc;
}

static void report_text(struct series *s)
{
    printf("%5d %9u %9.0f", s->level, s->depth,
           out_median(s->rate[SLUICE], s->n));
    for (unsigned i = LMDB; i < STORES; i++) {
        double rate = out_median(s->rate[i], s->n);
        double ratio = out_median(s->ratio[i], s->n);
        if (rate > 0)
            printf("  %9.0f x%-6.2f %5.2f to %-5.2f", rate, ratio,
                   s->ratio[i][0], s->ratio[i][s->n - 1u]);
    }
    if (s->rate[ROCKS][0] > 0 || !s->why)
        puts("");
    else
        printf("  %s\n", s->why);
    fflush(stdout);
}

static void report_json(const struct durable *d, struct series *s)
{
    json_array_append_new(
        d->rows,
        json_pack("{s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "level", s->level,
                  "in_flight", (int)s->depth, "rounds", (int)s->n, "sluice",
                  out_median(s->rate[SLUICE], s->n), "lmdb",
                  out_median(s->rate[LMDB], s->n), "rocksdb",
                  out_median(s->rate[ROCKS], s->n), "ratio_lmdb",
                  out_median(s->ratio[LMDB], s->n), "ratio_rocksdb",
                  out_median(s->ratio[ROCKS], s->n)));
}

static int row(struct durable *d, unsigned depth, int level)
{
    struct series s = {.depth = depth, .level = level};
    int rc = 0;
    while (s.n < d->rounds && !rc)
        rc = one_round(d, &s);
    if (rc)
        return rc;
    if (d->json)
        report_json(d, &s);
    else
        report_text(&s);
    return 0;
}

static int rows(struct durable *d, int level)
{
    static const unsigned depths[] = {1, 16, 256};
    int rc = 0;
    if (d->level && d->level != (uint64_t)level)
        return 0;
    if (d->flight)
        return row(d, (unsigned)d->flight, level);
    for (unsigned i = 0; i < 3 && !rc; i++)
        rc = row(d, depths[i], level);
    return rc;
}

static int run(struct durable *d)
{
    int rc;
    if (!d->json)
        puts("puts of 4 KiB a second; ratio: Sluice against it, lowest and "
             "highest\n"
             "level in flight    Sluice       LMDB ratio                    "
             "RocksDB ratio");
    rc = rows(d, 2);
    if (!rc)
        rc = rows(d, 1);
    if (rc || !d->json)
        return rc ? rc : out_done();
    return out_json(json_pack("{s:O}", "durable", d->rows));
}

int bench_durable(int argc, char **argv)
{
    struct durable d = {.ms = 1000, .rounds = 3, .seed = clock_ns() | 1u};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &d.dir},
        {.name = "ms",
         .kind = OPT_NUMBER,
         .to = &d.ms,
         .min = 1,
         .max = 600000},
        {.name = "rounds",
         .kind = OPT_NUMBER,
         .to = &d.rounds,
         .min = 1,
         .max = ROUNDS_MAX},
        {.name = "level",
         .kind = OPT_NUMBER,
         .to = &d.level,
         .min = 1,
         .max = 2},
        {.name = "flight",
         .kind = OPT_NUMBER,
         .to = &d.flight,
         .min = 1,
         .max = MOST},
        {.name = "alone", .kind = OPT_FLAG, .to = &d.alone},
        {.name = "json", .kind = OPT_FLAG, .to = &d.json},
    };
    const struct opt_set set = {.help = durable_help, .opts = opts, .n = 7};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    if (!d.dir || !*d.dir)
        return out_usage("option '--data' is missing");
    for (unsigned i = 0; i < VALUE; i++)
        d.value[i] = (uint8_t)(next_key(&d) >> 3);
    d.rows = json_array();
    mkdir(d.dir, 0700);
    rc = d.rows ? run(&d) : out_fail("out of memory");
    json_decref(d.rows);
    return rc;
}
