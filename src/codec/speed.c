/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/speed.h"

#include "base/clock.h"
#include "base/log.h"
#include "sluice/sluice.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLE_BYTES 16384u
#define FIRST_BYTES 4096u
/* A first run of more is the only one; a second one of more is the last. */
#define VERY_SLOW_NS 1000000u
#define SLOW_NS 400000u
/* The least is taken: the others were disturbed. Each run codes other bytes, as
 * the processor foresees the branches of a repeated one. A round goes through all
 * codecs, so that a slow moment of the machine is not one codec's alone; it runs
 * each twice, as the first finds its tables out of the caches. */
#define ROUNDS 3u
#define CLASS_BYTES ((2u * ROUNDS + 1u) * SAMPLE_BYTES)

/* ---- data ---- */

/* splitmix64 */
static uint64_t next_word(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Words of a small language, the frequent ones short and often: about what a
 * page of a book gives to an LZ codec. */
static void fill_text(uint8_t *to, size_t n)
{
    static const char letters[] = "etaoinshrdlucmfwypvbgkjqxz";
    uint64_t state = 1;
    size_t at = 0;
    while (at < n) {
        uint64_t r = next_word(&state);
        /* The product of two uniform numbers: few words make up most. */
        uint64_t word = ((r & 1023u) * (r >> 10 & 1023u)) >> 10;
        uint64_t shape = word * UINT64_C(0x9e3779b97f4a7c15) + 1u;
        size_t len = 2u + word % 8u;
        for (size_t i = 0; i < len && at < n; i++) {
            uint64_t k = next_word(&shape);
            to[at++] = (uint8_t)letters[(k % 26u) * (k >> 8 & 255u) >> 8];
        }
        if (at < n)
            to[at++] = (r >> 40) % 11u == 0 ? '\n' : ' ';
    }
}

/* A wandering curve with noise in the low bits. */
static void fill_numeric(uint8_t *to, size_t n)
{
    uint64_t state = 2;
    double value = 1000.0, slope = 0.0;
    for (size_t at = 0; at + 4u <= n; at += 4u) {
        double r = (double)(next_word(&state) >> 11) / 9007199254740992.0;
        slope = slope * 0.98 + (r - 0.5) * 0.05;
        value += slope;
        float f = (float)value;
        memcpy(to + at, &f, sizeof(f));
    }
}

void codec_speeds_fill(enum speed_class kind, uint8_t *to, size_t n)
{
    uint64_t state = 3;
    memset(to, 0, n);
    if (kind == SPEED_TEXT)
        fill_text(to, n);
    else if (kind == SPEED_NUMERIC)
        fill_numeric(to, n);
    for (size_t at = 0; kind == SPEED_RANDOM && at + 8u <= n; at += 8u) {
        uint64_t word = next_word(&state);
        memcpy(to + at, &word, sizeof(word));
    }
}

/* ---- measuring ---- */

struct tally {
    uint64_t encode, decode; /* ns, the least */
    uint64_t made, all;
    size_t bytes;    /* of a run */
    unsigned rounds; /* to come */
};

struct probe {
    uint8_t *plain[SPEED_CLASSES], *coded, *again;
    size_t room;
    struct tally of[SL_CODECS][3][SPEED_CLASSES];
};

/* One run there and back over the i-th slice of a class. */
static int run(struct probe *p, unsigned id, int preset, enum speed_class k,
               unsigned i)
{
    struct tally *t = &p->of[id][preset - 1][k];
    const uint8_t *plain = p->plain[k] + i * SAMPLE_BYTES;
    uint64_t begin = clock_thread_ns();
    int made = codec_encode(id, preset, plain, t->bytes, p->coded, p->room);
    uint64_t middle = clock_thread_ns();
    int rc = made < 0
                 ? made
                 : codec_decode(id, p->coded, (size_t)made, p->again, t->bytes);
    uint64_t end = clock_thread_ns();
    if (rc)
        return rc;
    if (middle - begin < t->encode)
        t->encode = middle - begin;
    if (end - middle < t->decode)
        t->decode = end - middle;
    t->made += (uint64_t)made;
    t->all += t->bytes;
    return 0;
}

static struct tally empty(size_t bytes)
{
    return (struct tally){
        .encode = UINT64_MAX, .decode = UINT64_MAX, .bytes = bytes};
}

/* Says how many rounds follow. The first run makes the thread's context, too. */
static int run_first(struct probe *p, unsigned id, int preset,
                     enum speed_class k)
{
    struct tally *t = &p->of[id][preset - 1][k];
    *t = empty(FIRST_BYTES);
    int rc = run(p, id, preset, k, 0);
    if (rc || t->encode >= VERY_SLOW_NS)
        return rc;
    *t = empty(SAMPLE_BYTES);
    rc = run(p, id, preset, k, 0);
    t->rounds = t->encode < SLOW_NS ? ROUNDS : 0;
    return rc;
}

static int run_again(struct probe *p, unsigned id, int preset,
                     enum speed_class k, unsigned round)
{
    if (round > p->of[id][preset - 1][k].rounds)
        return 0;
    int rc = run(p, id, preset, k, 2u * round - 1u);
    return rc ? rc : run(p, id, preset, k, 2u * round);
}

/* Round 0 is the first runs. */
static int run_round(struct probe *p, unsigned round)
{
    int rc = 0;
    for (enum speed_class k = SPEED_ZEROS; k < SPEED_CLASSES; k++)
        for (unsigned id = 1; id < SL_CODECS; id++)
            for (int preset = 1; preset <= 3 && codec_find(id) && !rc; preset++)
                rc = round == 0 ? run_first(p, id, preset, k)
                                : run_again(p, id, preset, k, round);
    return rc;
}

static int probe_all(struct probe *p, struct codec_speeds *out)
{
    int rc = 0;
    for (unsigned round = 0; round <= ROUNDS && !rc; round++)
        rc = run_round(p, round);
    for (unsigned id = 1; id < SL_CODECS; id++)
        for (unsigned i = 0; i < 3u * SPEED_CLASSES && codec_find(id); i++) {
            const struct tally *t =
                &p->of[id][i / SPEED_CLASSES][i % SPEED_CLASSES];
            struct codec_speed *f =
                &out->of[id][i / SPEED_CLASSES][i % SPEED_CLASSES];
            f->encode_ns = (float)t->encode / (float)t->bytes;
            f->decode_ns = (float)t->decode / (float)t->bytes;
            f->stored = (float)t->made / (float)t->all;
        }
    return rc;
}

int codec_speeds_measure(struct codec_speeds *out)
{
    struct probe *p = calloc(1, sizeof(*p));
    int rc = SL_ENOMEM;
    memset(out, 0, sizeof(*out));
    for (unsigned id = 1; p && id < SL_CODECS; id++)
        if (codec_bound(id, SAMPLE_BYTES) > p->room)
            p->room = codec_bound(id, SAMPLE_BYTES);
    uint8_t *plain =
        p ? malloc(SPEED_CLASSES * CLASS_BYTES + SAMPLE_BYTES + p->room) : NULL;
    if (plain) {
        for (enum speed_class k = SPEED_ZEROS; k < SPEED_CLASSES; k++) {
            p->plain[k] = plain + k * CLASS_BYTES;
            codec_speeds_fill(k, p->plain[k], CLASS_BYTES);
        }
        p->again = plain + SPEED_CLASSES * CLASS_BYTES;
        p->coded = p->again + SAMPLE_BYTES;
        rc = probe_all(p, out);
    }
    free(plain);
    free(p);
    return rc;
}

/* ---- of the process ---- */

static struct {
    pthread_mutex_t lock;
    char path[4096];
    struct codec_speeds *now; /* atomic; set once, stays */
} mine = {.lock = PTHREAD_MUTEX_INITIALIZER};

int codec_speeds_file(const char *path)
{
    size_t n = strlen(path);
    if (n >= sizeof(mine.path))
        return SL_ENAMETOOLONG;
    pthread_mutex_lock(&mine.lock);
    memcpy(mine.path, path, n + 1u);
    pthread_mutex_unlock(&mine.lock);
    return 0;
}

static struct codec_speeds *find_out(void)
{
    struct codec_speeds *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    if (mine.path[0] && codec_speeds_load(mine.path, s) == 0)
        return s;
    int rc = codec_speeds_measure(s);
    if (rc) {
        log_error("codec: measuring speeds: %s", sl_strerror(rc));
        free(s);
        return NULL;
    }
    if (mine.path[0]) /* it says why when it cannot; a restart measures */
        codec_speeds_save(mine.path, s);
    return s;
}

const struct codec_speeds *codec_speeds_get(void)
{
    /* Acquire; partner: the release below. */
    struct codec_speeds *s = __atomic_load_n(&mine.now, __ATOMIC_ACQUIRE);
    if (s)
        return s;
    pthread_mutex_lock(&mine.lock);
    s = __atomic_load_n(&mine.now, __ATOMIC_RELAXED); /* under the lock */
    if (!s) {
        s = find_out();
        __atomic_store_n(&mine.now, s, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&mine.lock);
    return s;
}
