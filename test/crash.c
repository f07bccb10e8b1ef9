/* SPDX-License-Identifier: Apache-2.0 */
#include "crash.h"

static uint64_t part_bytes(unsigned blob)
{
    static const uint64_t sizes[CRASH_BLOBS] = {8, 600, 4096, 30000, 1000, 72};
    return sizes[blob];
}

static void tag_name(unsigned writer, char name[16])
{
    snprintf(name, 16, "w%u", writer);
}

static void blob_name(unsigned blob, int alias, char name[100])
{
    int wide = blob % 2u ? 80 : 1;
    snprintf(name, 100, alias ? "alias-%0*u" : "blob-%0*u", wide, blob);
}

/* ---- the ledger ---- */

static const struct crash_version *acked(const struct crash_entry *e)
{
    return &e->version[__atomic_load_n(&e->now, __ATOMIC_ACQUIRE)];
}

static void set_acked(struct crash_entry *e, const struct crash_version *v)
{
    uint32_t other = 1u - __atomic_load_n(&e->now, __ATOMIC_RELAXED);
    e->version[other] = *v;
    __atomic_store_n(&e->now, other, __ATOMIC_RELEASE);
    __atomic_store_n(&e->open, 0u, __ATOMIC_RELEASE);
}

static void begin(struct crash_entry *e, const struct crash_version *v)
{
    e->next = *v;
    __atomic_store_n(&e->open, 1u, __ATOMIC_RELEASE);
}

/* ---- writing ---- */

static void expect(const struct crash_run *r, int rc, const char *what)
{
    if (!rc)
        return;
    snprintf(r->ledger->why, sizeof(r->ledger->why), "writer %u: %s: %d", r->id,
             what, rc);
    _exit(20);
}

/* None mostly, or what is quick; any for few bytes. */
static uint8_t any_codec(struct crash_run *r, uint64_t bytes)
{
    static const uint8_t codecs[] = {SL_CODEC_LZ4,  SL_CODEC_SNAPPY,
                                     SL_CODEC_LZO,  SL_CODEC_ZSTD,
                                     SL_CODEC_ZLIB, SL_CODEC_BLOSC};
    uint64_t x = test_random(&r->random) % 32u;
    if (x == 31u && bytes < 20000u)
        return (uint8_t)(test_random(&r->random) % SL_CODECS);
    return x < sizeof(codecs) ? codecs[x] : SL_CODEC_NONE;
}

static void put(struct crash_run *r, uint64_t tag, unsigned blob)
{
    struct crash_entry *e = &r->ledger->writer[r->id].blob[blob];
    struct crash_version v = *acked(e);
    struct sl_put_opts o = {.size = sizeof(o), .score = -1};
    struct stamp s = {.writer = r->id, .blob = blob};
    static __thread uint8_t buf[CRASH_BLOB_MAX];
    uint64_t n = part_bytes(blob), from = 0, bytes = n * CRASH_PARTS;
    int whole = !v.there || test_random(&r->random) % 3u == 0;
    char name[100];
    blob_name(blob, v.alias, name);
    s.count = ++e->count;
    if (whole) {
        o.flags = SL_F_REPLACE;
    } else {
        s.part = (uint32_t)(test_random(&r->random) % CRASH_PARTS);
        from = s.part * n;
        bytes = n;
    }
    for (uint64_t at = from; at < from + bytes; at += n) {
        s.part = (uint32_t)(at / n);
        v.part[s.part] = s.count;
        stamp_fill(buf + (at - from), at, n, stamp_make(&s));
    }
    o.persist = (uint8_t)(test_random(&r->random) % 3u);
    o.codec = any_codec(r, bytes);
    v.there = 1;
    v.level = v.level > o.persist ? v.level : o.persist;
    begin(e, &v);
    expect(r, sl_put(r->rt, tag, name, from, buf, bytes, &o), "put");
    set_acked(e, &v);
}

static void del(struct crash_run *r, uint64_t tag, unsigned blob)
{
    struct crash_entry *e = &r->ledger->writer[r->id].blob[blob];
    struct crash_version none = {0};
    char name[100];
    if (!acked(e)->there)
        return;
    blob_name(blob, acked(e)->alias, name);
    begin(e, &none);
    expect(r, sl_del(r->rt, tag, name), "delete");
    set_acked(e, &none);
}

static void rename_blob(struct crash_run *r, uint64_t tag, unsigned blob)
{
    struct crash_entry *e = &r->ledger->writer[r->id].blob[blob];
    struct crash_version v = *acked(e);
    char from[100], to[100];
    if (!v.there)
        return;
    blob_name(blob, v.alias, from);
    v.alias = !v.alias;
    blob_name(blob, v.alias, to);
    begin(e, &v);
    expect(r, sl_rename(r->rt, tag, from, tag, to, 0), "rename");
    set_acked(e, &v);
}

/* The bytes move, or the record alone changes; what readers see does not. */
static void score_blob(struct crash_run *r, uint64_t tag, unsigned blob)
{
    const struct crash_version *v = acked(&r->ledger->writer[r->id].blob[blob]);
    char name[100];
    if (!v->there)
        return;
    blob_name(blob, v->alias, name);
    expect(r,
           sl_score(r->rt, tag, name,
                    (float)(test_random(&r->random) % 5u) / 4.0f),
           "score");
}

/* What was acknowledged before a flush is of level 1 behind it. */
static void flush(struct crash_run *r)
{
    expect(r, sl_flush(r->rt), "flush");
    for (unsigned i = 0; i < CRASH_BLOBS; i++) {
        struct crash_entry *e = &r->ledger->writer[r->id].blob[i];
        struct crash_version v = *acked(e);
        if (!v.there || v.level)
            continue;
        v.level = 1;
        set_acked(e, &v);
    }
}

static void make_tag(struct crash_run *r, uint64_t *tag)
{
    struct crash_writer *w = &r->ledger->writer[r->id];
    char name[16];
    tag_name(r->id, name);
    if (!w->there)
        __atomic_store_n(&w->open, CRASH_TAG_MAKE, __ATOMIC_RELEASE);
    expect(r, sl_tag(r->rt, name, tag), "tag");
    __atomic_store_n(&w->there, 1u, __ATOMIC_RELEASE);
    __atomic_store_n(&w->open, CRASH_TAG_IDLE, __ATOMIC_RELEASE);
}

static void forget_blobs(struct crash_writer *w)
{
    struct crash_version none = {0};
    for (unsigned i = 0; i < CRASH_BLOBS; i++)
        set_acked(&w->blob[i], &none);
}

static void delete_tag(struct crash_run *r, uint64_t tag)
{
    struct crash_writer *w = &r->ledger->writer[r->id];
    __atomic_store_n(&w->open, CRASH_TAG_DELETE, __ATOMIC_RELEASE);
    expect(r, sl_tag_del(r->rt, tag), "delete of the tag");
    __atomic_store_n(&w->there, 0u, __ATOMIC_RELEASE);
    forget_blobs(w);
    __atomic_store_n(&w->open, CRASH_TAG_IDLE, __ATOMIC_RELEASE);
}

void *crash_write(void *run)
{
    struct crash_run *r = run;
    uint64_t tag = 0;
    make_tag(r, &tag);
    for (;;) {
        uint64_t x = test_random(&r->random) % 128u;
        unsigned blob = (unsigned)(test_random(&r->random) % CRASH_BLOBS);
        if (x < 90) {
            put(r, tag, blob);
        } else if (x < 96) {
            score_blob(r, tag, blob);
        } else if (x < 106) {
            rename_blob(r, tag, blob);
        } else if (x < 120) {
            del(r, tag, blob);
        } else if (x < 126) {
            flush(r);
        } else {
            delete_tag(r, tag);
            make_tag(r, &tag);
        }
        __atomic_fetch_add(&r->ledger->acks, 1u, __ATOMIC_RELEASE);
    }
}

/* ---- looking ---- */

struct look {
    struct crash_ledger *ledger;
    struct sl_runtime *rt;
    uint32_t writer;
    uint64_t tag, *stored;
};

static int wrong(const struct look *k, unsigned blob, const char *why)
{
    snprintf(k->ledger->why, sizeof(k->ledger->why), "writer %u, blob %u: %s",
             k->writer, blob, why);
    return 0;
}

/* Reads what one name has; SL_ECHECKSUM for a part that is a mix. */
static int read_name(const struct look *k, unsigned blob, int alias,
                     struct crash_version *v)
{
    static uint8_t buf[CRASH_BLOB_MAX];
    uint64_t n = part_bytes(blob), size = n * CRASH_PARTS, exists = 0;
    struct sl_stat st;
    char name[100];
    blob_name(blob, alias, name);
    memset(v, 0, sizeof(*v));
    v->alias = (uint8_t)alias;
    int rc = sl_get(k->rt, k->tag, name, 0, buf, size, &exists);
    if (rc == SL_ENOENT)
        return 0;
    if (!rc)
        rc = sl_stat(k->rt, k->tag, name, &st);
    if (rc || exists != size)
        return rc ? rc : SL_ECORRUPT;
    *k->stored += st.stored;
    k->ledger->coded += st.codec != 0;
    k->ledger->padding += (uint64_t)st.extents * 4095u;
    v->there = 1;
    v->level = st.persist;
    for (uint32_t i = 0; i < CRASH_PARTS; i++) {
        struct stamp s;
        if (!stamp_of(buf + i * n, i * n, n, &s) || s.writer != k->writer ||
            s.blob != blob || s.part != i)
            return SL_ECHECKSUM;
        v->part[i] = s.count;
    }
    return 0;
}

static int read_version(const struct look *k, unsigned blob,
                        struct crash_version *v)
{
    struct crash_version other;
    int rc = read_name(k, blob, 0, v);
    if (!rc)
        rc = read_name(k, blob, 1, &other);
    if (!rc && v->there && other.there)
        return SL_EEXIST;
    if (!rc && other.there)
        *v = other;
    return rc;
}

static int same(const struct crash_version *a, const struct crash_version *b)
{
    return a->there == b->there && (!a->there || a->alias == b->alias) &&
           (!a->there || memcmp(a->part, b->part, sizeof(a->part)) == 0);
}

/* Volatile bytes may be gone, or be those that a flush had brought down. */
static int may_be(const struct crash_version *found,
                  const struct crash_version *was)
{
    if (same(found, was))
        return 1;
    if (!was->there || was->level)
        return 0;
    for (unsigned i = 0; found->there && i < CRASH_PARTS; i++)
        if (found->part[i] > was->part[i])
            return 0;
    return 1;
}

static int check_blob(const struct look *k, unsigned blob)
{
    struct crash_entry *e = &k->ledger->writer[k->writer].blob[blob];
    struct crash_version v, was = *acked(e);
    int open = (int)__atomic_load_n(&e->open, __ATOMIC_ACQUIRE);
    char why[100];
    int rc = read_version(k, blob, &v);
    if (rc) {
        snprintf(why, sizeof(why), "cannot be read: %d", rc);
        return wrong(k, blob, why);
    }
    if (!may_be(&v, &was) && !(open && same(&v, &e->next))) {
        snprintf(why, sizeof(why),
                 "there %d, level %d, parts %u %u %u %u; was %d %d %u %u %u %u",
                 v.there, v.level, v.part[0], v.part[1], v.part[2], v.part[3],
                 was.there, was.level, was.part[0], was.part[1], was.part[2],
                 was.part[3]);
        return wrong(k, blob, why);
    }
    if (v.there && same(&v, &was) && v.level < was.level)
        return wrong(k, blob, "level is lower");
    k->ledger->recovered += v.there && was.level;
    k->ledger->volatile_found += v.there && !was.level;
    k->ledger->absent += !v.there;
    set_acked(e, &v);
    return 1;
}

static int check_writer(const struct look *k)
{
    struct crash_writer *w = &k->ledger->writer[k->writer];
    uint64_t bytes = 0, blobs = 0, n = 0, sum = 0;
    for (unsigned i = 0; i < CRASH_BLOBS; i++) {
        if (!check_blob(k, i))
            return 0;
        if (!acked(&w->blob[i])->there)
            continue;
        n++;
        sum += part_bytes(i) * CRASH_PARTS;
    }
    int rc = sl_tag_size(k->rt, k->tag, &bytes, &blobs);
    if (rc || bytes != sum || blobs != n)
        return wrong(k, 0, "size of the tag");
    return 1;
}

/* No byte of the file is taken but what the blobs take; coded extents of which
 * the exact bytes are told take whole blocks. */
static int check_file(struct crash_ledger *l, struct sl_runtime *rt,
                      uint64_t stored)
{
    struct sl_tier_info t[8];
    int n = sl_tiers(rt, t, 8);
    for (int i = 0; i < n && i < 8; i++) {
        if (strcmp(t[i].kind, "file") != 0 ||
            (t[i].used >= stored && t[i].used <= stored + l->padding))
            continue;
        snprintf(l->why, sizeof(l->why), "file: %llu bytes in use, blobs: %llu",
                 (unsigned long long)t[i].used, (unsigned long long)stored);
        return 0;
    }
    return 1;
}

int crash_check(struct crash_ledger *l, struct sl_runtime *rt, uint64_t *stored)
{
    *stored = 0;
    l->padding = 0;
    for (uint32_t i = 0; i < CRASH_WRITERS; i++) {
        struct crash_writer *w = &l->writer[i];
        struct look k = {l, rt, i, 0, stored};
        uint32_t open = __atomic_load_n(&w->open, __ATOMIC_ACQUIRE);
        char name[16];
        tag_name(i, name);
        int rc = sl_tag_find(rt, name, &k.tag);
        if (rc == SL_ENOTAG && (!w->there || open == CRASH_TAG_DELETE)) {
            __atomic_store_n(&w->there, 0u, __ATOMIC_RELEASE);
            forget_blobs(w);
        } else if (rc || (!w->there && open != CRASH_TAG_MAKE)) {
            return wrong(&k, 0, rc ? "tag is gone" : "tag is there");
        } else if (!check_writer(&k)) {
            return 0;
        } else {
            __atomic_store_n(&w->there, 1u, __ATOMIC_RELEASE);
        }
        __atomic_store_n(&w->open, CRASH_TAG_IDLE, __ATOMIC_RELEASE);
    }
    l->checks++;
    return check_file(l, rt, *stored);
}
