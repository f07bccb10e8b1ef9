/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/pool.h"
#include "codec/speed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES 8192u
#define JOBS 200u

/* What a job's `done` reports to. */
struct tally {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done, held;
    int open; /* held jobs may go on */
};

struct work {
    struct codec_job job;
    struct tally *tally;
    struct codec_pool *pool;
    uint8_t coded[2 * BYTES], again[BYTES];
    unsigned steps;
    int wrong;
};

static uint8_t text[BYTES];

static void tally_open(struct tally *t)
{
    memset(t, 0, sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
}

static void tally_count(struct tally *t)
{
    pthread_mutex_lock(&t->lock);
    t->done++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void tally_wait(struct tally *t, const unsigned *what, unsigned n)
{
    pthread_mutex_lock(&t->lock);
    while (*what < n)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static void tally_release(struct tally *t)
{
    pthread_mutex_lock(&t->lock);
    t->open = 1;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* Encodes, then as the next step decodes; then it is done. */
static void step(struct codec_job *j)
{
    struct work *w = j->user;
    if (w->steps++ == 0 && j->result > 0) {
        size_t made = (size_t)j->result;
        *j = (struct codec_job){.work = CODEC_DECODE,
                                .id = j->id,
                                .src = w->coded,
                                .n = made,
                                .dst = w->again,
                                .room = BYTES,
                                .done = step,
                                .user = w};
        if (codec_pool_submit(w->pool, j) == 0)
            return;
    }
    w->wrong = j->result != 0 || memcmp(text, w->again, BYTES) != 0;
    tally_count(w->tally);
}

static void every_job_comes_back_once(void **state)
{
    struct codec_pool *p;
    struct tally t;
    struct work *w = calloc(JOBS, sizeof(*w));
    (void)state;
    assert_non_null(w);
    tally_open(&t);
    assert_int_equal(codec_pool_create(4, 0, &p), 0);
    assert_int_equal(codec_pool_threads(p), 4);
    for (unsigned i = 0; i < JOBS; i++) {
        uint8_t id = (uint8_t)(i % SL_CODECS);
        if (!codec_find(id))
            id = 0;
        w[i].tally = &t;
        w[i].pool = p;
        w[i].job = (struct codec_job){.work = CODEC_ENCODE,
                                      .id = id,
                                      .preset = 1,
                                      .src = text,
                                      .n = BYTES,
                                      .dst = w[i].coded,
                                      .room = 2 * BYTES,
                                      .done = step,
                                      .user = &w[i]};
        assert_int_equal(codec_pool_submit(p, &w[i].job), 0);
    }
    tally_wait(&t, &t.done, JOBS);
    codec_pool_destroy(p);
    assert_int_equal(t.done, JOBS);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(w[i].steps, 2);
        if (w[i].wrong)
            fail_msg("job %u of codec %u: %d", i, w[i].job.id, w[i].job.result);
    }
    free(w);
}

/* Holds its thread until the tally is opened. */
static int hold(struct codec_job *j)
{
    struct tally *t = j->user;
    pthread_mutex_lock(&t->lock);
    t->held++;
    pthread_cond_broadcast(&t->changed);
    while (!t->open)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return -7;
}

static void held(struct codec_job *j)
{
    tally_count(j->user);
}

static void a_full_queue_says_try_again(void **state)
{
    struct codec_pool *p;
    struct tally t;
    struct codec_job jobs[4];
    (void)state;
    tally_open(&t);
    assert_int_equal(codec_pool_create(1, 2, &p), 0);
    for (unsigned i = 0; i < 4; i++)
        jobs[i] = (struct codec_job){
            .work = CODEC_CALL, .call = hold, .done = held, .user = &t};
    assert_int_equal(codec_pool_submit(p, &jobs[0]), 0);
    tally_wait(&t, &t.held, 1); /* the only thread has it */
    assert_int_equal(codec_pool_submit(p, &jobs[1]), 0);
    assert_int_equal(codec_pool_submit(p, &jobs[2]), 0);
    assert_int_equal(codec_pool_submit(p, &jobs[3]), SL_EAGAIN);
    tally_release(&t);
    tally_wait(&t, &t.done, 3);
    assert_int_equal(codec_pool_submit(p, &jobs[3]), 0);
    tally_wait(&t, &t.done, 4);
    codec_pool_destroy(p);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(jobs[i].result, -7);
}

static void the_end_does_what_is_queued(void **state)
{
    struct codec_pool *p;
    struct tally t;
    struct work *w = calloc(JOBS, sizeof(*w));
    (void)state;
    assert_non_null(w);
    tally_open(&t);
    assert_int_equal(codec_pool_create(2, 0, &p), 0);
    for (unsigned i = 0; i < JOBS; i++) {
        w[i].tally = &t;
        w[i].pool = p; /* `step` submits once more, also during the end */
        w[i].job = (struct codec_job){.work = CODEC_ENCODE,
                                      .src = text,
                                      .n = BYTES,
                                      .dst = w[i].coded,
                                      .room = 2 * BYTES,
                                      .done = step,
                                      .user = &w[i]};
        assert_int_equal(codec_pool_submit(p, &w[i].job), 0);
    }
    codec_pool_destroy(p);
    assert_int_equal(t.done, JOBS);
    free(w);
}

static void a_pool_starts_and_stops_idle(void **state)
{
    struct codec_pool *p;
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(codec_pool_create(0, 0, &p), 0);
        assert_in_range(codec_pool_threads(p), 1, 8);
        codec_pool_destroy(p);
    }
    codec_pool_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_comes_back_once),
        cmocka_unit_test(a_full_queue_says_try_again),
        cmocka_unit_test(the_end_does_what_is_queued),
        cmocka_unit_test(a_pool_starts_and_stops_idle),
    };
    codec_speeds_fill(SPEED_TEXT, text, BYTES);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
