/* SPDX-License-Identifier: Apache-2.0 */
/* A rig whose device codes what is put from its memory. Units are small, as
 * lanes are emulated where no GPU is. */
#ifndef TEST_CODED_HELP_H
#define TEST_CODED_HELP_H

#include "device_help.h"

#define MOST (160u * 1024u)
#define LEAST 16384u
#define UNIT 4096u

static uint64_t seed;

struct data {
    uint8_t *want, *got; /* MOST each */
    sl_devptr at;        /* MOST and 64 bytes */
};

/* Words of a few letters: about a third with LZ4. */
static inline void fill_words(uint8_t *p, size_t n)
{
    static const char words[8][9] = {"sluice ", "channel ", "worker ", "of ",
                                     "pinned ", "tier ",    "a ",      "blob "};
    for (size_t at = 0; at < n;) {
        const char *w = words[test_random(&seed) >> 61];
        size_t len = strlen(w) < n - at ? strlen(w) : n - at;
        memcpy(p + at, w, len);
        at += len;
    }
}

static inline void fill_random(uint8_t *p, size_t n)
{
    fill(p, n, test_random(&seed));
}

static inline struct data rig_data(struct rig *r, const struct sl_config *c)
{
    rig_open(r, c);
    r->rt->unit_bytes = UNIT; /* four are enough, then */
    struct data d = {zeroed(1, MOST), zeroed(1, MOST),
                     room_device(r, MOST + 64u)};
    fill_words(d.want, MOST);
    return d;
}

static inline void rig_done(struct rig *r, struct data *d)
{
    free(d->want);
    free(d->got);
    rig_close(r);
}

static inline void *device(sl_devptr at)
{
    return (void *)(uintptr_t)at;
}

static inline struct sl_device_moved moved(struct rig *r)
{
    struct sl_device_moved m;
    sl_device_moved(r->device, &m);
    return m;
}

/* Puts [from, from + size) of `want` there; how it went. */
static inline struct sl_result put_coded(struct rig *r, struct data *d,
                                         const char *name, uint64_t from,
                                         uint64_t size, int path)
{
    struct sl_result res = {{0}};
    int by = -1;
    struct sl_put_opts o = {.size = sizeof(o),
                            .score = -1.0f,
                            .codec = SL_CODEC_LZ4,
                            .result = &res,
                            .path = &by};
    upload(r, d->at, d->want + from, size);
    assert_int_equal(sl_put(r->rt, r->tag, name, from, device(d->at), size, &o),
                     0);
    assert_int_equal(by, path);
    return res;
}

static inline void expect_on_host(struct rig *r, struct data *d,
                                  const char *name, uint64_t size)
{
    memset(d->got, 0, size);
    assert_int_equal(sl_get(r->rt, r->tag, name, 0, d->got, size, NULL), 0);
    assert_memory_equal(d->got, d->want, size);
}

static inline void expect_on_device(struct rig *r, struct data *d,
                                    const char *name, uint64_t from,
                                    uint64_t size)
{
    uint8_t mark = 0xa5;
    memset(d->got, 0, size);
    upload(r, d->at, d->got, size);
    upload(r, d->at + size, &mark, 1);
    assert_int_equal(
        sl_get(r->rt, r->tag, name, from, device(d->at), size, NULL), 0);
    download(r, d->got, d->at, size);
    assert_memory_equal(d->got, d->want + from, size);
    download(r, &mark, d->at + size, 1);
    assert_int_equal(mark, 0xa5);
}

static inline struct sl_stat stat_of(struct rig *r, const char *name)
{
    struct sl_stat s;
    assert_int_equal(sl_stat(r->rt, r->tag, name, &s), 0);
    return s;
}

#endif
