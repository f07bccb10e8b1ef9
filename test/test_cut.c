/* SPDX-License-Identifier: Apache-2.0 */
/* Power cuts and kills: a workload is recorded write by write (cut_disk.h), the
 * directory is made as a cut at many moments may leave it, and the store must
 * open there, with all that was acknowledged at its level, each blob whole. */
#include "store_help.h"

#if !SANITIZED
#include "cut_disk.h"

#define THREADS 3u
#define BLOBS 12u /* of each thread, in a tag of its own */
#define OPS 160u  /* of each thread */
#define SIZE_MAX_BLOB 20000u

/* ---- the workload ---- */

/* A step of one blob: what it holds behind it. Steps of a blob follow each
 * other; `begun` and `acked` are events. */
struct step {
    unsigned blob;
    unsigned level; /* that it was acknowledged at */
    size_t begun, acked;
    uint8_t *bytes; /* null: absent */
    size_t n;
};

struct player {
    pthread_t thread;
    struct sl_runtime *rt;
    uint64_t tag, seed;
    char tag_name[16];
    struct step step[OPS + BLOBS * 8u];
    unsigned n;
    const uint8_t *now[BLOBS];
    size_t size[BLOBS];
    unsigned level[BLOBS];
    int code;
};

static struct player players[THREADS];

static struct step *begin(struct player *p, unsigned blob)
{
    struct step *s = &p->step[p->n++];
    *s = (struct step){.blob = blob, .acked = SIZE_MAX, .begun = cut_note(0)};
    return s;
}

static void end(struct player *p, struct step *s, unsigned level)
{
    s->level = level;
    s->acked = cut_note(1);
    p->now[s->blob] = s->bytes;
    p->size[s->blob] = s->n;
    p->level[s->blob] = s->bytes ? level : 0;
}

/* Whole or part of it, at a random level; a blob keeps its highest. */
static int put(struct player *p, unsigned blob)
{
    uint64_t r = test_random(&p->seed);
    size_t size = p->size[blob];
    size_t at = r % 3u && size ? (r >> 8) % size : 0;
    size_t n = 1u + (r >> 24) % (SIZE_MAX_BLOB / 2u);
    struct sl_put_opts o = {.size = sizeof(o),
                            .score = -1,
                            .flags = r % 3u ? 0 : SL_F_REPLACE,
                            .persist = (uint8_t)((r >> 40) % 8u < 4u   ? 2u
                                                 : (r >> 40) % 8u < 7u ? 1u
                                                                       : 0)};
    char name[16];
    struct step *s = begin(p, blob);
    s->n = o.flags || at + n > size ? at + n : size;
    s->bytes = calloc(1, s->n);
    if (!s->bytes)
        return SL_ENOMEM;
    if (!o.flags && size)
        memcpy(s->bytes, p->now[blob], size);
    fill(s->bytes + at, n, r);
    snprintf(name, sizeof(name), "b%u", blob);
    int rc = sl_put(p->rt, p->tag, name, at, s->bytes + at, n, &o);
    if (!rc)
        end(p, s, o.persist > p->level[blob] ? o.persist : p->level[blob]);
    return rc;
}

static int del(struct player *p, unsigned blob)
{
    char name[16];
    struct step *s = begin(p, blob);
    snprintf(name, sizeof(name), "b%u", blob);
    int rc = sl_del(p->rt, p->tag, name);
    if (!rc)
        end(p, s, p->level[blob]);
    return rc;
}

/* A step of all blobs at once, of level 2. */
static int del_tag(struct player *p)
{
    struct step *s[BLOBS];
    for (unsigned i = 0; i < BLOBS; i++)
        s[i] = begin(p, i);
    int rc = sl_tag_del(p->rt, p->tag);
    for (unsigned i = 0; i < BLOBS && !rc; i++)
        end(p, s[i], 2);
    return rc ? rc : sl_tag(p->rt, p->tag_name, &p->tag);
}

static void *play(void *arg)
{
    struct player *p = arg;
    unsigned dels = 0;
    p->code = sl_tag(p->rt, p->tag_name, &p->tag);
    for (unsigned i = 0; i < OPS && !p->code; i++) {
        uint64_t r = test_random(&p->seed);
        unsigned blob = (unsigned)(r >> 32) % BLOBS;
        if (r % 64u == 0 && dels++ < 4u)
            p->code = del_tag(p);
        else if (r % 8u == 0 && p->now[blob])
            p->code = del(p, blob);
        else
            p->code = put(p, blob);
    }
    return NULL;
}

static struct sl_config cut_config(const char *dir)
{
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.file_bytes = 2 * MIB; /* space is used again soon */
    c.flush_ms = 3;         /* many commits */
    return c;
}

static void record(const char *dir, uint64_t seed)
{
    struct sl_config c = cut_config(dir);
    struct sl_runtime *rt = open_store(&c);
    uint8_t byte = 1;
    uint64_t tag;
    struct sl_put_opts o = {.size = sizeof(o), .score = -1, .persist = 2};
    assert_int_equal(sl_tag(rt, "first", &tag), 0);
    assert_int_equal(sl_put(rt, tag, "grow the file", 0, &byte, 1, &o), 0);
    assert_int_equal(sl_close(rt), 0);
    cut_begin(dir);
    rt = open_store(&c);
    for (unsigned i = 0; i < THREADS; i++) {
        struct player *p = &players[i];
        memset(p, 0, sizeof(*p));
        p->rt = rt;
        p->seed = test_fork(seed, i);
        snprintf(p->tag_name, sizeof(p->tag_name), "tag%u", i);
        assert_int_equal(pthread_create(&p->thread, NULL, play, p), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(players[i].thread, NULL);
        assert_int_equal(players[i].code, 0);
    }
    assert_int_equal(sl_close(rt), 0);
    cut_end();
}

/* ---- what must be there ---- */

struct tally {
    uint64_t images, there, absent, older;
};

static int is_step(const struct step *s, const uint8_t *bytes, uint64_t n,
                   int code)
{
    if (!s || !s->bytes)
        return code == SL_ENOENT || code == SL_ENOTAG;
    return code == 0 && n == s->n && memcmp(bytes, s->bytes, n) == 0;
}

/* A blob is what a step left that began before the cut and is not older than
 * the last one that was acknowledged at `level` or above. */
static void check_blob(const struct player *p, unsigned blob, size_t upto,
                       unsigned level, struct sl_runtime *rt, uint64_t tag,
                       struct tally *t)
{
    static uint8_t bytes[2u * SIZE_MAX_BLOB];
    const struct step *last = NULL; /* the oldest that may be */
    uint64_t n = 0;
    char name[16];
    unsigned i, from = 0, behind = 0;
    for (i = 0; i < p->n; i++)
        if (p->step[i].blob == blob && p->step[i].acked < upto &&
            p->step[i].level >= level) {
            last = &p->step[i];
            from = i + 1u;
        }
    snprintf(name, sizeof(name), "b%u", blob);
    int code = tag ? sl_size(rt, tag, name, &n) : SL_ENOTAG;
    if (!code) {
        assert_true(n <= sizeof(bytes));
        code = sl_get(rt, tag, name, 0, bytes, n, NULL);
    }
    int good = is_step(last, bytes, n, code);
    for (i = from; i < p->n && !good; i++) {
        if (p->step[i].blob != blob || p->step[i].begun >= upto)
            continue;
        behind++;
        good = is_step(&p->step[i], bytes, n, code);
    }
    if (!good)
        print_error("%s %s: code %d, %llu bytes; cut before event %zu\n",
                    p->tag_name, name, code, (unsigned long long)n, upto);
    if (!good && last)
        print_error("the last of level %u: begun %zu, acknowledged %zu, %zu "
                    "bytes\n",
                    last->level, last->begun, last->acked,
                    last->bytes ? last->n : 0);
    assert_true(good);
    t->there += code == 0;
    t->absent += code != 0;
    t->older += behind > 0;
}

static void check_image(const char *dir, size_t upto, unsigned level,
                        struct tally *t)
{
    struct sl_config c = cut_config(dir);
    struct sl_fsck_report report;
    struct sl_fsck_opts o = {.size = sizeof(o), .dir = dir};
    assert_int_equal(sl_fsck(&o, &report), 0);
    struct sl_runtime *rt = open_store(&c);
    for (unsigned i = 0; i < THREADS; i++) {
        uint64_t tag = 0;
        int rc = sl_tag_find(rt, players[i].tag_name, &tag);
        assert_true(rc == 0 || rc == SL_ENOTAG);
        for (unsigned b = 0; b < BLOBS; b++)
            check_blob(&players[i], b, upto, level, rt, rc ? 0 : tag, t);
    }
    assert_int_equal(sl_close(rt), 0);
    assert_int_equal(sl_fsck(&o, &report), 0);
    t->images++;
}

static void make_image(const char *from, const char *to, size_t upto,
                       unsigned keep, uint64_t *seed, struct cut_loss *loss)
{
    char cmd[400];
    snprintf(cmd, sizeof(cmd),
             "rm -rf '%s' && mkdir -p '%s/meta' && cp '%s/format' '%s/'", to,
             to, from, to);
    assert_int_equal(system(cmd), 0);
    for (unsigned i = 0; i < CUT_FILES; i++)
        cut_image(to, i, upto, keep, seed, loss);
}

static void forget(void)
{
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned k = 0; k < players[i].n; k++)
            free(players[i].step[k].bytes);
    cut_free();
}

static void recorded_store_survives_cuts_and_kills(void **state)
{
    (void)state;
    uint64_t seed = test_seed("cut"), steps = test_steps(60);
    struct tally cuts = {0}, kills = {0};
    struct cut_loss loss = {0}, none = {0};
    char dir[64], image[80];
    make_dir(dir, sizeof(dir));
    snprintf(image, sizeof(image), "%s.cut", dir);
    record(dir, seed);
    for (uint64_t i = 0; i < steps; i++) {
        size_t upto = (size_t)(test_random(&seed) % (cut_events + 1u));
        int kill = i % 4u == 3u;
        unsigned keep = kill ? 8u : (unsigned)(test_random(&seed) % 8u);
        make_image(dir, image, upto, keep, &seed, kill ? &none : &loss);
        check_image(image, upto, kill ? 1u : 2u, kill ? &kills : &cuts);
    }
    print_message(
        "%zu events; %llu cuts: %llu blobs there, %llu absent, %llu "
        "sectors lost, %llu kept; %llu kills: %llu there, %llu "
        "absent\n",
        cut_events, (unsigned long long)cuts.images,
        (unsigned long long)cuts.there, (unsigned long long)cuts.absent,
        (unsigned long long)loss.lost, (unsigned long long)loss.kept,
        (unsigned long long)kills.images, (unsigned long long)kills.there,
        (unsigned long long)kills.absent);
    assert_true(cuts.there > cuts.images && kills.there > kills.images);
    assert_true(loss.lost > 100 && loss.kept > 100);
    assert_true(none.lost == 0);
    forget();
    remove_dir(image);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_store_survives_cuts_and_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
int main(void)
{
    puts("skipped: a sanitizer has write and fsync for itself");
    return 77;
}
#endif
