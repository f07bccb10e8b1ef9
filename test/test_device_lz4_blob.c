/* SPDX-License-Identifier: Apache-2.0 */
/* Puts and gets that cross the link as LZ4 blocks, on each device there is:
 * what a warp codes the host reads, and the other way round; what cells claim
 * is not believed. */
#include "device_help.h"
#include "kernels/lz4_blob.h"

#include "codec/codec.h"

#define BLOBS 24u
#define MOST 8192u
#define PAGE 4096u

static uint64_t seed;

struct lz4_rig {
    struct rig r;
    struct check_lz4_blob_job job[BLOBS];
    uint32_t n;
    sl_devptr data, names; /* MOST and 16 bytes of each job */
    uint8_t want[BLOBS][MOST];
    char name[BLOBS][16];
};

/* Words of a few letters, so that LZ4 halves it, at least. */
static void fill_text(uint8_t *p, size_t n)
{
    static const char words[16][9] = {
        "sluice ", "channel ", "worker ", "extent ", "of ",    "the ",
        "pinned ", "tier ",    "a ",      "warp ",   "reads ", "and ",
        "writes ", "blobs ",   "slot ",   "lane "};
    size_t at = 0;
    while (at < n) {
        const char *w = words[test_random(&seed) >> 60];
        size_t len = strlen(w);
        memcpy(p + at, w, len < n - at ? len : n - at);
        at += len;
    }
}

static void fill_noise(uint8_t *p, size_t n)
{
    fill(p, n, test_random(&seed));
}

static struct lz4_rig *rig_new(const struct sl_config *c)
{
    struct lz4_rig *x = zeroed(1, sizeof(*x));
    rig_open(&x->r, c);
    x->data = room_device(&x->r, BLOBS * MOST);
    x->names = room_device(&x->r, sizeof(x->name));
    return x;
}

static struct lz4_rig *rig_usual(void)
{
    struct sl_config c = device_config();
    return rig_new(&c);
}

static void rig_free(struct lz4_rig *x)
{
    rig_close(&x->r);
    free(x);
}

/* Job number x->n on the blob of that number. */
static struct check_lz4_blob_job *job_add(struct lz4_rig *x,
                                          enum check_lz4_blob_what what,
                                          uint64_t offset, uint64_t size)
{
    uint32_t i = x->n++;
    struct check_lz4_blob_job *j = &x->job[i];
    assert_true(i < BLOBS && offset + size <= MOST);
    snprintf(x->name[i], sizeof(x->name[i]), "blob-%u", i);
    memset(j, 0, sizeof(*j));
    j->tag = x->r.tag;
    j->offset = offset;
    j->size = size;
    j->data_at = x->data + i * MOST + offset;
    j->name_at = x->names + i * sizeof(x->name[i]);
    j->name_len = (uint32_t)strlen(x->name[i]);
    j->what = what;
    j->code = 1;
    return j;
}

/* Runs the jobs: sources are what the blobs are wanted to be. A job that failed
 * is told from one that did not run. */
static void jobs_run(struct lz4_rig *x, int code)
{
    struct check_lz4_blob_args a = {.dev = x->r.d, .n_jobs = x->n};
    uint32_t rooms = x->r.n_rooms;
    if (x->job[0].what == CHECK_LZ4_BLOB_PUT)
        upload(&x->r, x->data, x->want, sizeof(x->want));
    upload(&x->r, x->names, x->name, sizeof(x->name));
    a.jobs_at = room_with(&x->r, x->job, sizeof(x->job));
    run(&x->r, "k_check_lz4_blob", shape_of(2, 32u * CHECK_LZ4_BLOB_WARPS), &a,
        sizeof(a));
    download(&x->r, x->job, a.jobs_at, sizeof(x->job));
    rooms_release(&x->r, rooms);
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->job[i].code != code)
            print_error("job %u: %s\n", i, sl_strerror(x->job[i].code));
        assert_int_equal(x->job[i].code, code);
        assert_int_equal(x->job[i].equal, 32);
    }
}

static void expect_on_host(struct lz4_rig *x, uint32_t i, uint64_t at,
                           uint64_t n)
{
    uint8_t got[MOST];
    memset(got, 0xa5, sizeof(got));
    assert_int_equal(sl_get(x->r.rt, x->r.tag, x->name[i], at, got, n, NULL),
                     0);
    assert_memory_equal(got, x->want[i] + at, n);
    for (uint64_t k = n; k < MOST; k++)
        assert_int_equal(got[k], 0xa5);
}

static void expect_all_on_host(struct lz4_rig *x)
{
    for (uint32_t i = 0; i < x->n; i++) {
        uint64_t size = 0;
        assert_int_equal(sl_size(x->r.rt, x->r.tag, x->name[i], &size), 0);
        expect_on_host(x, i, 0, size);
        expect_on_host(x, i, size / 3u, size / 2u);
    }
}

/* The same jobs as gets, into zeroed memory with bytes beside it. */
static void expect_all_on_device(struct lz4_rig *x)
{
    uint8_t *got = zeroed(BLOBS, MOST);
    memset(got, 0x5a, (size_t)BLOBS * MOST);
    upload(&x->r, x->data, got, (size_t)BLOBS * MOST);
    for (uint32_t i = 0; i < x->n; i++)
        x->job[i].what = CHECK_LZ4_BLOB_GET;
    jobs_run(x, 0);
    download(&x->r, got, x->data, (size_t)BLOBS * MOST);
    for (uint32_t i = 0; i < x->n; i++) {
        const struct check_lz4_blob_job *j = &x->job[i];
        for (uint64_t k = 0; k < MOST; k++) {
            int inside = k >= j->offset && k < j->offset + j->size;
            assert_int_equal(got[i * MOST + k], inside ? x->want[i][k] : 0x5a);
        }
    }
    free(got);
}

static struct sl_stat stat_of(struct lz4_rig *x, uint32_t i)
{
    struct sl_stat s;
    assert_int_equal(sl_stat(x->r.rt, x->r.tag, x->name[i], &s), 0);
    return s;
}

static const uint16_t sizes[] = {0,    1,    64,   255,  256,  257,
                                 1000, 2048, 3001, 4095, 4096, 8192};

/* One blob of text for each size. */
static void put_sizes(struct lz4_rig *x)
{
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        fill_text(x->want[i], MOST);
        job_add(x, CHECK_LZ4_BLOB_PUT, 0, sizes[i]);
    }
    jobs_run(x, 0);
}

/* ---- both ways ---- */

static void the_host_reads_what_a_warp_coded(void **state)
{
    (void)state;
    struct lz4_rig *x = rig_usual();
    put_sizes(x);
    expect_all_on_host(x);
    for (uint32_t i = 0; i < x->n; i++) {
        struct sl_stat s = stat_of(x, i);
        int coded = sizes[i] > 512; /* shorter ones may not shrink enough */
        assert_int_equal(s.size, sizes[i]);
        if (coded) {
            assert_int_equal(s.codec, SL_CODEC_LZ4);
            assert_in_range(s.stored, 1, sizes[i] - 128u);
        }
    }
    expect_all_on_device(x);
    expect_all_on_host(x);
    rig_free(x);
}

static void a_warp_reads_what_the_host_coded(void **state)
{
    (void)state;
    struct lz4_rig *x = rig_usual();
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .codec = SL_CODEC_LZ4};
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        fill_text(x->want[i], MOST);
        job_add(x, CHECK_LZ4_BLOB_GET, 0, sizes[i]);
        assert_int_equal(
            sl_put(x->r.rt, x->r.tag, x->name[i], 0, x->want[i], sizes[i], &o),
            0);
    }
    assert_int_equal(stat_of(x, 10).codec, SL_CODEC_LZ4);
    expect_all_on_device(x);
    rig_free(x);
}

static void a_warp_reads_a_part_and_other_codecs(void **state)
{
    (void)state;
    struct lz4_rig *x = rig_usual();
    struct sl_put_opts o = {.size = sizeof(o), .score = -1.0f};
    for (uint32_t i = 0; i < 12; i++) {
        fill_text(x->want[i], MOST);
        job_add(x, CHECK_LZ4_BLOB_GET, 100u * i, 4000u - 150u * i);
        o.codec = i % 2 ? SL_CODEC_LZ4 : SL_CODEC_ZLIB;
        if (codec_check(o.codec))
            o.codec = 0;
        assert_int_equal(
            sl_put(x->r.rt, x->r.tag, x->name[i], 0, x->want[i], PAGE, &o), 0);
    }
    expect_all_on_device(x);
    rig_free(x);
}

static void what_does_not_shrink_is_stored_as_it_is(void **state)
{
    (void)state;
    struct lz4_rig *x = rig_usual();
    for (uint32_t i = 0; i < 8; i++) {
        fill_noise(x->want[i], MOST);
        job_add(x, CHECK_LZ4_BLOB_PUT, 0, PAGE - i);
    }
    jobs_run(x, 0);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(stat_of(x, i).codec, SL_CODEC_NONE);
    expect_all_on_host(x);
    expect_all_on_device(x);
    rig_free(x);
}

/* ---- over what is there ---- */

static void coded_blobs_are_overwritten(void **state)
{
    (void)state;
    struct lz4_rig *x = rig_usual();
    for (uint32_t i = 0; i < 12; i++) {
        fill_text(x->want[i], MOST);
        job_add(x, CHECK_LZ4_BLOB_PUT, 0, PAGE);
    }
    jobs_run(x, 0);
    for (uint32_t turn = 0; turn < 3; turn++) { /* whole, and by the host */
        for (uint32_t i = 0; i < 12; i++) {
            uint64_t at = turn == 1 ? 700u + i : 0u;
            uint64_t n = turn == 1 ? 900u : PAGE;
            fill_text(x->want[i] + at, n);
            if (turn == 0)
                continue;
            assert_int_equal(sl_put(x->r.rt, x->r.tag, x->name[i], at,
                                    x->want[i] + at, n, NULL),
                             0);
        }
        if (turn == 0)
            jobs_run(x, 0);
        expect_all_on_host(x);
        if (turn == 0)
            for (uint32_t i = 0; i < 12; i++)
                assert_int_equal(stat_of(x, i).codec, SL_CODEC_LZ4);
    }
    rig_free(x);
}

/* Into the middle, over the end and behind the end of plain and coded blobs. */
static void coded_puts_of_ranges_merge(void **state)
{
    static const uint16_t at[] = {0, 100, 2000, 4000, 4096, 4100, 7000};
    (void)state;
    for (uint32_t coded = 0; coded < 2; coded++) {
        struct lz4_rig *x = rig_usual();
        struct sl_put_opts o = {.size = sizeof(o),
                                .score = -1.0f,
                                .codec = coded ? SL_CODEC_LZ4 : 0};
        for (uint32_t i = 0; i < COUNT(at); i++) {
            uint64_t n = i % 2 ? 1100 : 600;
            job_add(x, CHECK_LZ4_BLOB_PUT, at[i], n);
            fill_text(x->want[i], PAGE);
            assert_int_equal(
                sl_put(x->r.rt, x->r.tag, x->name[i], 0, x->want[i], PAGE, &o),
                0);
            fill_text(x->want[i] + at[i], n);
        }
        jobs_run(x, 0);
        expect_all_on_host(x);
        expect_all_on_device(x);
        rig_free(x);
    }
}

/* ---- what outlives the process ---- */

static void reopen(struct lz4_rig *x, const struct sl_config *c)
{
    rig_close(&x->r);
    rig_open(&x->r, c);
    x->data = room_device(&x->r, BLOBS * MOST);
    x->names = room_device(&x->r, sizeof(x->name));
    for (uint32_t i = 0; i < x->n; i++) {
        x->job[i].tag = x->r.tag;
        x->job[i].data_at = x->data + i * MOST + x->job[i].offset;
        x->job[i].name_at = x->names + i * sizeof(x->name[i]);
    }
}

/* At once (durable), or when all is flushed. */
static void coded_blobs_last(int durable)
{
    struct sl_config c = device_config();
    char dir[64];
    make_dir(dir, sizeof(dir));
    c.data_dir = dir;
    struct lz4_rig *x = rig_new(&c);
    for (uint32_t i = 0; i < 12; i++) {
        fill_text(x->want[i], MOST);
        job_add(x, CHECK_LZ4_BLOB_PUT, 0, PAGE - 64u * i)->persist =
            durable ? 1 + i % 2 : 0;
    }
    jobs_run(x, 0);
    expect_all_on_host(x);
    assert_int_equal(sl_flush(x->r.rt), 0);
    assert_string_equal(stat_of(x, 0).tier[0].kind, "file");
    if (durable) /* a unit of one block is plain when it comes from a chunk */
        assert_int_equal(stat_of(x, 0).codec, SL_CODEC_LZ4);
    expect_all_on_host(x);
    reopen(x, &c);
    expect_all_on_host(x);
    expect_all_on_device(x);
    rig_free(x);
    remove_dir(dir);
}

static void durable_coded_blobs_survive_the_process(void **state)
{
    (void)state;
    coded_blobs_last(1);
}

static void flushed_coded_blobs_survive_the_process(void **state)
{
    (void)state;
    coded_blobs_last(0);
}

static void coded_puts_find_another_tier(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    c.pinned_bytes = SL_NONE;
    c.ram_bytes = 8 * MIB;
    struct lz4_rig *x = rig_new(&c);
    put_sizes(x);
    assert_string_equal(stat_of(x, 10).tier[0].kind, "ram");
    expect_all_on_host(x);
    expect_all_on_device(x);
    rig_free(x);
}

/* ---- cells that lie ---- */

struct lie {
    const char *what;
    uint32_t coded, flags;
    uint64_t size;
    uint8_t codec;
    int code;
};

/* A put whose cell says what it likes about the page in its chunk; by a host
 * thread over the device's channel. */
static int put_raw(struct rig *r, const struct sl_key *k, const uint8_t *page,
                   const struct lie *lie)
{
    const struct sl_dev *d = &r->d;
    struct slg g = slg_make(SL_THREAD);
    struct slm_prep p = slb_prep(0);
    struct slb_need need = {.klass = SL_LENT_MIN_SHIFT};
    struct sl_future f = slb_future(0);
    struct slm_request q;
    struct slb_place at = slb_prepare(d, &g, &p, need);
    assert_int_equal(at.rc, 0);
    memcpy(d->arena + at.chunk, page, PAGE);
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_PUT);
    q.flags = (uint16_t)(SL_F_CODED | lie->flags);
    q.coded = lie->coded;
    q.size = lie->size;
    q.codec = lie->codec;
    q.chunk = at.chunk;
    q.klass = SL_LENT_MIN_SHIFT;
    q.kind = SL_KIND_EXCHANGE;
    slb_address(d, k, &q);
    f.slot = p.slot;
    f.seq = slm_submit(d, p.slot, &q);
    f.kind = q.kind;
    f = slb_launch(&g, f);
    return slb_finish_now(d, SL_THREAD, &f);
}

static void cells_that_lie_are_refused(void **state)
{
    static const struct lie lies[] = {
        {"longer than the chunk", 4097, 0, 8192, SL_CODEC_LZ4, SL_EPROTO},
        {"far longer", UINT32_MAX, 0, 8192, SL_CODEC_LZ4, SL_EPROTO},
        {"longer, as the size", 60000, 0, 65536, SL_CODEC_LZ4, SL_EPROTO},
        {"not shorter", 4096, 0, 4096, SL_CODEC_LZ4, SL_EPROTO},
        {"nothing", 0, 0, 4096, SL_CODEC_LZ4, SL_EPROTO},
        {"nothing of nothing", 0, 0, 0, SL_CODEC_LZ4, SL_EPROTO},
        {"too much", 100, 0, 65537, SL_CODEC_LZ4, SL_EPROTO},
        {"inside the cell", 8, SL_F_INLINE, 16, SL_CODEC_LZ4, SL_EPROTO},
        {"another codec", 100, 0, 4096, SL_CODEC_ZLIB, SL_ECODEC},
        {"no codec", 100, 0, 4096, 0, SL_ECODEC},
    };
    (void)state;
    struct lz4_rig *x = rig_usual();
    struct sl_key key = sl_key_make(x->r.tag, "lie", 3);
    uint8_t page[PAGE];
    uint64_t size;
    if (x->r.on_gpu) { /* the host cannot take a slot of a GPU */
        rig_free(x);
        return;
    }
    fill_noise(page, sizeof(page));
    for (uint32_t i = 0; i < COUNT(lies); i++) {
        int rc = put_raw(&x->r, &key, page, &lies[i]);
        if (rc != lies[i].code)
            print_error("%s: %s\n", lies[i].what, sl_strerror(rc));
        assert_int_equal(rc, lies[i].code);
        assert_int_equal(sl_size(x->r.rt, x->r.tag, "lie", &size), SL_ENOENT);
    }
    rig_free(x);
}

/* Garbage that claims to be a page: every reader gets a code, and nothing
 * beside its buffer changes. */
static void garbage_gives_a_code_to_each_reader(void **state)
{
    (void)state;
    struct lz4_rig *x = rig_usual();
    struct lie lie = {.coded = 1500, .codec = SL_CODEC_LZ4, .size = PAGE};
    uint8_t page[PAGE], got[2 * PAGE], *all;
    struct sl_key key;
    if (x->r.on_gpu) {
        rig_free(x);
        return;
    }
    for (uint32_t turn = 0; turn < STEPS(200u); turn++) {
        x->n = 0;
        job_add(x, CHECK_LZ4_BLOB_GET, 0, PAGE);
        key = sl_key_make(x->r.tag, x->name[0], x->job[0].name_len);
        fill_noise(page, sizeof(page));
        page[0] = 0; /* an offset of 0 or before the page: never a block */
        lie.coded = 3 + (uint32_t)test_random(&seed) % 3000u;
        assert_int_equal(put_raw(&x->r, &key, page, &lie), 0);
        memset(got, 0xa5, sizeof(got));
        assert_int_equal(
            sl_get(x->r.rt, x->r.tag, x->name[0], 0, got, PAGE, NULL),
            SL_ECHECKSUM);
        assert_int_equal(
            sl_get(x->r.rt, x->r.tag, x->name[0], 10, got, 100, NULL),
            SL_ECHECKSUM);
        for (uint32_t k = 0; k < sizeof(got); k++)
            assert_int_equal(got[k], 0xa5);
        assert_int_equal(
            sl_put(x->r.rt, x->r.tag, x->name[0], 10, got, 100, NULL),
            SL_ECHECKSUM); /* merged with nothing */
        all = zeroed(BLOBS, MOST);
        upload(&x->r, x->data, all, (size_t)BLOBS * MOST);
        jobs_run(x, SL_EBLOCK);
        download(&x->r, all, x->data, (size_t)BLOBS * MOST);
        for (size_t k = PAGE; k < (size_t)BLOBS * MOST; k++)
            assert_int_equal(all[k], 0);
        free(all);
    }
    assert_int_equal(sl_put(x->r.rt, x->r.tag, x->name[0], 0, page, PAGE, NULL),
                     0);
    memcpy(x->want[0], page, PAGE);
    expect_all_on_host(x);
    rig_free(x);
}

/* Garbage that must become plain at once is refused, and the blob stays. */
static void garbage_over_a_part_changes_nothing(void **state)
{
    (void)state;
    struct lz4_rig *x = rig_usual();
    const struct lie lie = {.coded = 1500, .codec = SL_CODEC_LZ4, .size = 3000};
    uint8_t page[PAGE] = {0};
    struct sl_key key;
    if (x->r.on_gpu) {
        rig_free(x);
        return;
    }
    job_add(x, CHECK_LZ4_BLOB_PUT, 0, PAGE);
    fill_text(x->want[0], MOST);
    jobs_run(x, 0);
    key = sl_key_make(x->r.tag, x->name[0], x->job[0].name_len);
    assert_int_equal(put_raw(&x->r, &key, page, &lie), SL_EBLOCK);
    expect_all_on_host(x);
    expect_all_on_device(x);
    rig_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_reads_what_a_warp_coded),
        cmocka_unit_test(a_warp_reads_what_the_host_coded),
        cmocka_unit_test(a_warp_reads_a_part_and_other_codecs),
        cmocka_unit_test(what_does_not_shrink_is_stored_as_it_is),
        cmocka_unit_test(coded_blobs_are_overwritten),
        cmocka_unit_test(coded_puts_of_ranges_merge),
        cmocka_unit_test(durable_coded_blobs_survive_the_process),
        cmocka_unit_test(flushed_coded_blobs_survive_the_process),
        cmocka_unit_test(coded_puts_find_another_tier),
        cmocka_unit_test(cells_that_lie_are_refused),
        cmocka_unit_test(garbage_gives_a_code_to_each_reader),
        cmocka_unit_test(garbage_over_a_part_changes_nothing),
    };
    seed = test_seed("test_device_lz4_blob");
    return run_on_devices(tests);
}
