/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations against a plain model, in every mix of tiers. */
#include "store_help.h"

#define BLOBS 12u
#define BLOB_MAX 300000u

struct model {
    uint8_t *bytes[BLOBS];
    uint64_t size[BLOBS];
    int there[BLOBS];
};

struct run {
    struct sl_runtime *rt;
    uint64_t tag, seed;
    struct model m;
    uint8_t *buf;
    int persist; /* puts ask for level 0 or 1 at random */
};

static uint64_t pick_size(struct run *r)
{
    static const uint64_t limits[] = {40, 200, 5000, 70000, BLOB_MAX};
    return test_random(&r->seed) % (limits[test_random(&r->seed) % 5u] + 1u);
}

static void step_put(struct run *r, unsigned i, const char *name)
{
    uint64_t size = pick_size(r);
    uint64_t offset = test_random(&r->seed) % 3u ? pick_size(r) : 0;
    int replace = test_random(&r->seed) % 5u == 0;
    struct sl_put_opts o = {
        .size = sizeof(o), .flags = replace ? SL_F_REPLACE : 0u, .score = -1};
    static const float scores[] = {-1.0f, 0.0f, 0.5f, 1.0f};
    o.score = scores[test_random(&r->seed) % 4u];
    if (r->persist)
        o.persist = (uint8_t)(test_random(&r->seed) % 8u == 0);
    if (offset + size > BLOB_MAX)
        size = BLOB_MAX - offset;
    fill(r->buf, size, test_random(&r->seed));
    assert_int_equal(sl_put(r->rt, r->tag, name, offset, r->buf, size, &o), 0);
    struct model *m = &r->m;
    if (replace || !m->there[i]) {
        memset(m->bytes[i], 0, BLOB_MAX);
        m->size[i] = 0;
    }
    m->there[i] = 1;
    memcpy(m->bytes[i] + offset, r->buf, size);
    if (offset + size > m->size[i])
        m->size[i] = offset + size;
}

static void step_get(struct run *r, unsigned i, const char *name)
{
    struct model *m = &r->m;
    uint64_t offset = m->size[i] ? test_random(&r->seed) % m->size[i] : 0;
    uint64_t size = pick_size(r), exists = 0;
    if (test_random(&r->seed) % 4u == 0) {
        offset = 0;
        size = m->size[i];
    }
    memset(r->buf, 0xa5, BLOB_MAX);
    int rc = sl_get(r->rt, r->tag, name, offset, r->buf, size, &exists);
    if (!m->there[i]) {
        assert_int_equal(rc, SL_ENOENT);
        return;
    }
    assert_true(exists == m->size[i]);
    if (offset + size > m->size[i]) {
        assert_int_equal(rc, SL_EPASTEND);
        return;
    }
    assert_int_equal(rc, 0);
    assert_memory_equal(r->buf, m->bytes[i] + offset, size);
}

static void check_sizes(struct run *r)
{
    uint64_t bytes = 0, blobs = 0, sum = 0, n = 0;
    for (unsigned i = 0; i < BLOBS; i++) {
        n += r->m.there[i] ? 1u : 0u;
        sum += r->m.there[i] ? r->m.size[i] : 0u;
    }
    assert_int_equal(sl_tag_size(r->rt, r->tag, &bytes, &blobs), 0);
    assert_true(bytes == sum && blobs == n);
}

static void step(struct run *r)
{
    char name[80];
    unsigned i = (unsigned)(test_random(&r->seed) % BLOBS);
    /* Half of the names do not fit into a cell. */
    snprintf(name, sizeof(name), "%0*u", i % 2u ? 60 : 3, i);
    switch (test_random(&r->seed) % 16u) {
    case 0: {
        int rc = sl_del(r->rt, r->tag, name);
        assert_int_equal(rc, r->m.there[i] ? 0 : SL_ENOENT);
        r->m.there[i] = 0;
        r->m.size[i] = 0;
        break;
    }
    case 1:
        check_sizes(r);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        step_put(r, i, name);
        break;
    default:
        step_get(r, i, name);
        break;
    }
}

static void run_model(struct sl_config *c, unsigned steps, unsigned reopen)
{
    struct run r;
    memset(&r, 0, sizeof(r));
    r.seed = test_seed("store_model");
    r.rt = open_store(c);
    r.persist = c->data_dir != NULL;
    r.buf = malloc(BLOB_MAX);
    for (unsigned i = 0; i < BLOBS; i++)
        r.m.bytes[i] = calloc(1, BLOB_MAX);
    assert_int_equal(sl_tag(r.rt, "model", &r.tag), 0);
    for (unsigned s = 0; s < steps; s++) {
        step(&r);
        if (reopen && s % reopen == reopen - 1u) {
            assert_int_equal(sl_close(r.rt), 0);
            r.rt = open_store(c);
            uint64_t tag = 0;
            assert_int_equal(sl_tag_find(r.rt, "model", &tag), 0);
            assert_true(tag == r.tag);
            check_sizes(&r);
        }
    }
    for (unsigned i = 0; i < BLOBS; i++)
        free(r.m.bytes[i]);
    free(r.buf);
    assert_int_equal(sl_close(r.rt), 0);
}

static void pinned_alone_behaves_like_the_model(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    run_model(&c, STEPS(20000u), 0);
}

static void all_tiers_behave_like_the_model(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    c.pinned_bytes = 1 * MIB;
    c.ram_bytes = 2 * MIB;
    c.file_path = "store-model-file";
    c.file_bytes = 64 * MIB;
    run_model(&c, STEPS(10000u), 0);
    unlink("store-model-file");
}

static void a_directory_behaves_like_the_model_over_restarts(void **state)
{
    (void)state;
    char dir[64];
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.pinned_bytes = 1 * MIB;
    c.file_bytes = 64 * MIB;
    run_model(&c, STEPS(1500u), STEPS(300u));
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pinned_alone_behaves_like_the_model),
        cmocka_unit_test(all_tiers_behave_like_the_model),
        cmocka_unit_test(a_directory_behaves_like_the_model_over_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
