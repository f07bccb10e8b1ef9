/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata: group commit, and what a reopen finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meta_help.h"

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
