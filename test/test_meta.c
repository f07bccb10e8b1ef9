/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata: the record codec, group commit, and what a reopen finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meta_help.h"
#include "store/meta_record.h"

#include <xxhash.h>

#define EXTENTS 1000u

static int setup(void **state)
{
    *state = help_dir();
    return 0;
}

static int teardown(void **state)
{
    help_remove(*state);
    return 0;
}

static struct meta *open_meta(const char *dir, uint64_t map_bytes)
{
    struct meta_config c = {.dir = dir, .map_bytes = map_bytes};
    struct meta *m = NULL;
    int rc = meta_open(&c, &m);

    if (rc)
        print_message("%s\n", help_line);
    assert_int_equal(rc, 0);
    return m;
}

/* ---- codec ---- */

static struct meta_extent extents[EXTENTS], scratch[EXTENTS];

static struct job sample(uint32_t n, uint32_t name_len)
{
    struct job j = {.extents = extents};

    pattern_put(&j, UINT64_C(0x1122334455667788), 7, 99, n);
    memset(j.name, 0xe9, name_len);
    j.c.blob.name_len = name_len;
    j.c.blob.context = 0xabcd;
    return j;
}

static uint8_t *encode(const struct meta_blob *b, size_t *n)
{
    uint8_t *record = malloc(meta_blob_bound(b));

    assert_non_null(record);
    *n = meta_blob_encode(b, record);
    assert_int_equal(*n, meta_blob_bound(b));
    return record;
}

static void expect_round_trip(uint32_t n, uint32_t name_len)
{
    struct job j = sample(n, name_len);
    struct meta_blob *in = &j.c.blob, out;
    size_t bytes;
    uint8_t *record;

    in->name = j.name;
    record = encode(in, &bytes);
    assert_int_equal(meta_blob_decode(record, bytes, &out, scratch, n), 0);
    assert_int_equal(out.name_len, name_len);
    assert_memory_equal(out.name, in->name, name_len);
    assert_int_equal(out.tag, in->tag);
    assert_int_equal(out.size, in->size);
    assert_int_equal(out.version, 99);
    assert_int_equal(out.created_ns, 7);
    assert_int_equal(out.context, 0xabcd);
    assert_int_equal(out.n_extents, n);
    assert_true(pattern_fits(&out));
    if (n)
        assert_int_equal(meta_blob_decode(record, bytes, &out, scratch, n - 1),
                         SL_ECORRUPT);
    free(record);
}

static void record_round_trips(void **state)
{
    (void)state;
    expect_round_trip(0, 1);
    expect_round_trip(0, 255);
    expect_round_trip(1, 17);
    expect_round_trip(EXTENTS, 255);
}

static void record_layout_is_the_specified_one(void **state)
{
    static const uint8_t head[] = {
        'B', 1, 2, 1,    0xf4, 0x01, 0xcd, 0xab, 1,    0,    0,    0, 0,
        0,   0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0x10,
        0,   0, 0, 0,    0,    0,    99,   0,    0,    0,    0,    0, 0,
        0,   7, 0, 0,    0,    0,    0,    0,    0,    99,   0,    0, 0,
        0,   0, 0, 0,    0xe9, 0,    0,    0,    0,    0,    0,    0, 0};
    struct job j = sample(1, 1);
    size_t n;
    uint8_t *r;
    uint64_t sum;

    (void)state;
    j.c.blob.name = j.name;
    r = encode(&j.c.blob, &n);
    assert_int_equal(n, 56 + 1 + 40 + 8);
    assert_memory_equal(r, head, sizeof head);
    sum = XXH3_64bits(r, n - 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(r[n - 8 + i], (uint8_t)(sum >> (8 * i)));
    free(r);
}

/* A copy in memory of just its size, so that a sanitizer sees each read
 * outside. */
static int decode_copy(const uint8_t *record, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    struct meta_blob out;
    int rc;

    assert_non_null(copy);
    memcpy(copy, record, n);
    rc = meta_blob_decode(copy, n, &out, scratch, EXTENTS);
    free(copy);
    return rc;
}

static void every_damaged_byte_and_every_cut_is_refused(void **state)
{
    static const uint32_t counts[] = {0, 1, 20};

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct job j = sample(counts[k], k == 2 ? 255 : 9);
        size_t n;
        uint8_t *r;

        j.c.blob.name = j.name;
        r = encode(&j.c.blob, &n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(decode_copy(r, i), SL_ECORRUPT);
            for (unsigned bit = 0; bit < 8; bit++) {
                r[i] ^= (uint8_t)(1u << bit);
                assert_int_equal(decode_copy(r, n), SL_ECORRUPT);
                r[i] ^= (uint8_t)(1u << bit);
            }
            r[i] ^= 0xff;
            assert_int_equal(decode_copy(r, n), SL_ECORRUPT);
            r[i] ^= 0xff;
        }
        assert_int_equal(decode_copy(r, n), 0);
        free(r);
    }
}

/* Breaks one rule in `j`, and expects that no checksum makes up for it. */
static void expect_bad(struct job *j)
{
    size_t n;
    uint8_t *r;

    j->c.blob.name = j->name;
    assert_int_equal(meta_blob_check(&j->c.blob), SL_EINVAL);
    r = encode(&j->c.blob, &n);
    assert_int_equal(decode_copy(r, n), SL_ECORRUPT);
    free(r);
}

/* As the second of two; sound would be 4096 for each. */
static void expect_bad_extent(uint64_t offset, uint32_t bytes, uint32_t stored,
                              uint64_t loc)
{
    struct job j = sample(2, 9);

    extents[1].offset = offset;
    extents[1].bytes = bytes;
    extents[1].stored = stored;
    extents[1].loc = loc;
    expect_bad(&j);
}

static void
record_that_breaks_a_rule_is_refused_in_spite_of_its_sum(void **state)
{
    struct job j;

    (void)state;
    expect_bad_extent(0, 4096, 4096, 4096);
    expect_bad_extent(4095, 4096, 4096, 4096);
    expect_bad_extent(UINT64_MAX - 1, 4096, 4096, 4096);
    expect_bad_extent(4096, 0, 4096, 4096);
    expect_bad_extent(4096, 4097, 8192, 4096);
    expect_bad_extent(4096, 4096, 4095, 4096);
    expect_bad_extent(4096, 4096, 0, 4096);
    expect_bad_extent(4096, 4096, 4096, 1);
    expect_bad_extent(4096, 4096, 4096, UINT64_MAX - 4095);
    j = sample(2, 9);
    j.c.blob.size = 8191;
    expect_bad(&j);
    j = sample(2, 9);
    j.c.blob.persist = 3;
    expect_bad(&j);
    j = sample(2, 9);
    j.name[4] = 0;
    expect_bad(&j);
    j = sample(0, 0);
    expect_bad(&j);
}

static void tag_record_refuses_every_damage(void **state)
{
    struct meta_blob in = {.tag = 3, .name = "tag", .name_len = 3}, out;
    uint8_t r[META_TAG_MAX];
    size_t n = meta_tag_encode(&in, r);

    (void)state;
    assert_int_equal(meta_tag_decode(r, n, &out), 0);
    assert_int_equal(out.tag, 3);
    assert_memory_equal(out.name, "tag", 3);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(meta_tag_decode(r, i, &out), SL_ECORRUPT);
        for (unsigned x = 1; x < 256; x++) {
            r[i] ^= (uint8_t)x;
            assert_int_equal(meta_tag_decode(r, n, &out), SL_ECORRUPT);
            r[i] ^= (uint8_t)x;
        }
    }
}

/* ---- what a load finds ---- */

#define TAGS 4u
#define NUMBERS 2500u

/* Version of each blob, 0: absent; the same for the number of tag records. */
struct found {
    uint64_t version[TAGS][NUMBERS];
    unsigned tags, blobs, wrong;
};

static struct found found;

static int on_tag(void *user, uint64_t id, const char *name, uint32_t len)
{
    struct found *f = user;

    f->tags++;
    f->wrong += len != 3 || memcmp(name, "tag", 3) != 0 || id >= TAGS;
    return 0;
}

static int on_blob(void *user, const struct meta_blob *b)
{
    struct found *f = user;

    f->blobs++;
    if (b->tag >= TAGS || b->created_ns >= NUMBERS || !pattern_fits(b) ||
        f->version[b->tag][b->created_ns])
        f->wrong++;
    else
        f->version[b->tag][b->created_ns] = b->version;
    return 0;
}

static void load(struct meta *m)
{
    memset(&found, 0, sizeof found);
    assert_int_equal(meta_load(m, on_tag, on_blob, &found), 0);
    assert_int_equal(found.wrong, 0);
}

static void load_blobs(struct meta *m)
{
    memset(&found, 0, sizeof found);
    assert_int_equal(meta_load(m, NULL, on_blob, &found), 0);
    assert_int_equal(found.wrong, 0);
}

static void put_tag(struct job *j, uint64_t tag)
{
    memset(&j->c, 0, sizeof j->c);
    j->c.op = META_PUT_TAG;
    j->c.blob.tag = tag;
    j->c.blob.name = "tag";
    j->c.blob.name_len = 3;
}

static void fresh_directory_loads_nothing(void **state)
{
    struct meta *m = open_meta(*state, 0);

    load(m);
    assert_int_equal(found.tags + found.blobs, 0);
    meta_close(m);
    m = open_meta(*state, 0);
    load(m);
    assert_int_equal(found.tags + found.blobs, 0);
    meta_close(m);
}

struct producer {
    struct meta *m;
    struct batch *batch;
    struct job *jobs;
    uint64_t tag;
};

static void *produce(void *arg)
{
    struct producer *p = arg;

    for (uint64_t i = 0; i < NUMBERS; i++) {
        pattern_put(&p->jobs[i], p->tag, i, 5, 2);
        p->jobs[i].c.sync = (int)(i & 1);
        batch_submit(p->batch, p->m, &p->jobs[i]);
    }
    return NULL;
}

static unsigned syncs;
static int sync_code;

static int count_sync(void *user)
{
    (void)user;
    syncs++;
    return sync_code;
}

static struct meta *open_tags(const char *dir, uint64_t map_bytes)
{
    struct meta *m = open_meta(dir, map_bytes);

    help_tags(m, TAGS);
    return m;
}

static void changes_of_four_threads_arrive_whole(void **state)
{
    static struct producer p[TAGS];
    struct batch batch = BATCH_INIT;
    struct meta_config c = {.dir = *state, .sync = count_sync};
    pthread_t threads[TAGS];
    unsigned failed = 0;
    struct meta *m;

    syncs = 0;
    assert_int_equal(meta_open(&c, &m), 0);
    help_tags(m, TAGS);
    for (uint64_t t = 0; t < TAGS; t++) {
        p[t].m = m;
        p[t].batch = &batch;
        p[t].tag = t;
        p[t].jobs = jobs_make(NUMBERS, 2);
        pthread_create(&threads[t], NULL, produce, &p[t]);
    }
    for (unsigned t = 0; t < TAGS; t++)
        pthread_join(threads[t], NULL);
    batch_wait(&batch);
    for (unsigned t = 0; t < TAGS; t++) {
        for (unsigned i = 0; i < NUMBERS; i++)
            failed += p[t].jobs[i].code != 0;
        jobs_free(p[t].jobs, NUMBERS);
    }
    assert_int_equal(failed, 0);
    meta_close(m);
    /* 10,000 changes in groups of at most 1024, one sync each. */
    assert_in_range(syncs, 10, TAGS * NUMBERS);

    m = open_meta(*state, 0);
    load(m);
    assert_int_equal(found.blobs, TAGS * NUMBERS);
    meta_close(m);
}

static void close_commits_what_is_queued(void **state)
{
    struct batch batch = BATCH_INIT;
    struct job *jobs = jobs_make(2000, 1);
    struct meta *m = open_tags(*state, 0);

    for (unsigned i = 0; i < 2000; i++) {
        pattern_put(&jobs[i], 1, i, 1, 1);
        batch_submit(&batch, m, &jobs[i]);
    }
    meta_close(m);
    assert_int_equal(batch.left, 0);
    m = open_meta(*state, 0);
    load(m);
    assert_int_equal(found.blobs, 2000);
    meta_close(m);
    jobs_free(jobs, 2000);
}

static void changes_of_one_blob_apply_in_order(void **state)
{
    struct batch batch = BATCH_INIT;
    struct job *jobs = jobs_make(600, 3);
    struct meta *m = open_tags(*state, 0);

    /* Blob 0 ends put, blob 1 deleted, blob 2 put behind a tag's delete. */
    for (unsigned i = 0; i < 600; i++) {
        pattern_put(&jobs[i], 2, i % 3, i + 1, 3);
        if (i % 3 == 1 && i >= 300)
            jobs[i].c.op = META_DEL_BLOB;
        if (i % 3 == 2 && i < 597)
            jobs[i].c.op = i % 2 ? META_DEL_TAG : META_PUT_TAG;
        batch_submit(&batch, m, &jobs[i]);
    }
    batch_wait(&batch);
    load_blobs(m);
    assert_int_equal(found.blobs, 2);
    assert_int_equal(found.version[2][0], 598);
    assert_int_equal(found.version[2][2], 600);
    meta_close(m);
    jobs_free(jobs, 600);
}

static void delete_of_a_tag_takes_its_blobs_and_no_others(void **state)
{
    struct meta_extent e[200];
    struct job j = {.extents = e};
    struct meta *m = open_meta(*state, 0);

    for (uint64_t t = 0; t < TAGS; t++) {
        put_tag(&j, t);
        assert_int_equal(submit_wait(m, &j), 0);
        for (uint64_t i = 0; i < 40; i++) {
            pattern_put(&j, t, i, 1, i % 7 ? 1 : 200);
            assert_int_equal(submit_wait(m, &j), 0);
        }
    }
    put_tag(&j, 2);
    j.c.op = META_DEL_TAG;
    assert_int_equal(submit_wait(m, &j), 0);
    assert_int_equal(submit_wait(m, &j), 0); /* of what is absent: done */
    load(m);
    assert_int_equal(found.tags, TAGS - 1);
    assert_int_equal(found.blobs, 40 * (TAGS - 1));
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(found.version[2][i], 0);
    meta_close(m);
}

static void map_that_is_too_small_grows(void **state)
{
    struct batch batch = BATCH_INIT;
    struct job *jobs = jobs_make(NUMBERS, 20);
    struct meta *m = open_tags(*state, 1);

    for (unsigned i = 0; i < NUMBERS; i++) {
        pattern_put(&jobs[i], 0, i, 1, 20);
        batch_submit(&batch, m, &jobs[i]);
    }
    batch_wait(&batch);
    for (unsigned i = 0; i < NUMBERS; i++)
        assert_int_equal(jobs[i].code, 0);
    meta_close(m);
    m = open_meta(*state, 1);
    load(m);
    assert_int_equal(found.blobs, NUMBERS);
    meta_close(m);
    jobs_free(jobs, NUMBERS);
}

static void failed_sync_fails_its_group_only(void **state)
{
    struct meta_config c = {.dir = *state, .sync = count_sync};
    struct meta_extent e[1];
    struct job j = {.extents = e};
    struct meta *m;

    assert_int_equal(meta_open(&c, &m), 0);
    help_tags(m, 1);
    sync_code = SL_EIO;
    pattern_put(&j, 0, 0, 1, 1);
    j.c.sync = 1;
    assert_int_equal(submit_wait(m, &j), SL_EIO);
    pattern_put(&j, 0, 1, 1, 1); /* asks for no sync */
    assert_int_equal(submit_wait(m, &j), 0);
    sync_code = 0;
    pattern_put(&j, 0, 2, 1, 1);
    j.c.sync = 1;
    assert_int_equal(submit_wait(m, &j), 0);
    load(m);
    assert_int_equal(found.blobs, 2);
    assert_int_equal(found.version[0][0], 0);
    meta_close(m);
}

static void change_that_breaks_a_rule_is_einval_alone(void **state)
{
    struct batch batch = BATCH_INIT;
    struct job *jobs = jobs_make(3, 1);
    struct meta *m = open_tags(*state, 0);

    for (unsigned i = 0; i < 3; i++)
        pattern_put(&jobs[i], 0, i, 1, 1);
    jobs[1].extents[0].stored = 1;
    for (unsigned i = 0; i < 3; i++)
        batch_submit(&batch, m, &jobs[i]);
    batch_wait(&batch);
    assert_int_equal(jobs[0].code, 0);
    assert_int_equal(jobs[1].code, SL_EINVAL);
    assert_int_equal(jobs[2].code, 0);
    load(m);
    assert_int_equal(found.blobs, 2);
    meta_close(m);
    jobs_free(jobs, 3);
}

static int stop_at_third(void *user, const struct meta_blob *b)
{
    unsigned *n = user;

    (void)b;
    return ++*n == 3 ? SL_ECANCELED : 0;
}

static void callback_ends_the_load(void **state)
{
    struct meta_extent e[1];
    struct job j = {.extents = e};
    struct meta *m = open_tags(*state, 0);
    unsigned n = 0;

    for (unsigned i = 0; i < 5; i++) {
        pattern_put(&j, 0, i, 1, 1);
        assert_int_equal(submit_wait(m, &j), 0);
    }
    assert_int_equal(meta_load(m, NULL, stop_at_third, &n), SL_ECANCELED);
    assert_int_equal(n, 3);
    meta_close(m);
}

/* ---- against a model ---- */

static uint64_t model[TAGS][NUMBERS];

static void random_change(struct job *j, uint64_t version)
{
    uint64_t tag = help_random(TAGS), number = help_random(300);
    uint64_t dice = help_random(1000), was = model[tag][number];

    pattern_put(j, tag, number, version,
                (uint32_t)help_random(dice < 100 ? 600 : 4));
    model[tag][number] = version;
    if (dice >= 998) {
        put_tag(j, tag); /* which is there */
        model[tag][number] = was;
    } else if (dice >= 996) {
        j->c.op = META_DEL_TAG;
        memset(model[tag], 0, sizeof model[tag]);
    } else if (dice >= 600) {
        j->c.op = META_DEL_BLOB;
        model[tag][number] = 0;
    }
}

static void random_changes_and_reopens_follow_a_model(void **state)
{
    enum { ROUNDS = 30, BURST = 250 };
    struct job *jobs = jobs_make(BURST, 600);
    uint64_t version = 1;

    help_seed();
    memset(model, 0, sizeof model);
    for (unsigned r = 0; r < ROUNDS; r++) {
        struct batch batch = BATCH_INIT;
        struct meta *m = open_meta(*state, 1);
        load_blobs(m);
        assert_memory_equal(found.version, model, sizeof model);
        help_tags(m, TAGS);
        for (unsigned i = 0; i + 1 < BURST; i++) {
            random_change(&jobs[i], version++);
            batch_submit(&batch, m, &jobs[i]);
            if (jobs[i].c.op == META_DEL_TAG) { /* and there again */
                uint64_t tag = jobs[i++].c.blob.tag;
                put_tag(&jobs[i], tag);
                batch_submit(&batch, m, &jobs[i]);
            }
            if (help_random(40) == 0)
                batch_wait(&batch);
        }
        batch_wait(&batch);
        meta_close(m);
    }
    jobs_free(jobs, BURST);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_round_trips),
        cmocka_unit_test(record_layout_is_the_specified_one),
        cmocka_unit_test(every_damaged_byte_and_every_cut_is_refused),
        cmocka_unit_test(
            record_that_breaks_a_rule_is_refused_in_spite_of_its_sum),
        cmocka_unit_test(tag_record_refuses_every_damage),
        CASE(fresh_directory_loads_nothing),
        CASE(changes_of_four_threads_arrive_whole),
        CASE(close_commits_what_is_queued),
        CASE(changes_of_one_blob_apply_in_order),
        CASE(delete_of_a_tag_takes_its_blobs_and_no_others),
        CASE(map_that_is_too_small_grows),
        CASE(failed_sync_fails_its_group_only),
        CASE(change_that_breaks_a_rule_is_einval_alone),
        CASE(callback_ends_the_load),
        CASE(random_changes_and_reopens_follow_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
