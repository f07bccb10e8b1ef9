/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/choose.h"

#include "base/clock.h"
#include "codec/local.h"
#include "codec/speed.h"

#include <math.h>
#include <string.h>

#define WINDOW 2048u /* at least */
#define WINDOWS 4u
#define MOST_SAMPLE 32768u
/* The second look: pieces, each by itself. */
#define LEAST_PIECE 4096u
#define MOST_PIECE 16384u
#define PIECES 8u
/* What takes longer than predicted by less than this may do so because the
 * machine is busy: the prediction is from its best moments. */
#define SLOW_MOMENT 1.75
#define LEAST_TIMED 8192u /* bytes; the fixed cost of a call weighs less */
#define WARM_BYTES 64u
/* Repetitions that lie further apart than a window are not in the sample. Of
 * headers and machine code, 2 x 16 KiB leave 2 to 14 % more than 64 KiB in one
 * piece do (measured with lz4, zstd, zlib, snappy), so units leave less. */
#define CONTEXT 0.93
#define LEAST_SAMPLE 512u /* less says nothing */
/* Shares of the time that storing raw takes: the first look, and all. */
#define FIRST_SHARE 0.02
#define ALL_SHARE 0.04
/* A first look that saves less than this is at incompressible bytes. */
#define NOTHING_SAVED 0.97
#define SETTINGS (SL_CODECS * 3u)
#define SCOUT_STORED 0.8f /* of text, by codecs that see its repetitions */

/* A codec with a preset. */
struct setting {
    uint8_t id, preset, tried;
    double stored;   /* predicted, or seen */
    double tried_ns; /* for each byte of the sample; 0: not timed */
    double encode_ns;
    double cost;
};

struct search {
    const struct codec_speeds *speeds;
    const struct codec_goal *goal;
    const uint8_t *data, *sample;
    uint8_t *coded;
    size_t all, n, room;
    int is_part;             /* the sample is not all of the data */
    double left_ns;          /* of the time for looking */
    enum speed_class middle; /* the class that the sample resembles */
    struct setting set[SETTINGS];
    unsigned n_set;
};

double codec_rounded(const struct codec_goal *goal, double stored)
{
    double unit = goal->unit ? (double)goal->unit : 65536.0;
    double granule = goal->granule ? (double)goal->granule : 1.0;
    double kept = ceil(stored * unit / granule) * granule / unit;
    return kept < 1.0 ? kept : 1.0;
}

double codec_cost(const struct codec_goal *goal, double encode_ns,
                  double decode_ns, double stored)
{
    return encode_ns + stored * 1e9 / goal->write_bps +
           goal->reads * (decode_ns + stored * 1e9 / goal->read_bps);
}

static double raw_cost(const struct codec_goal *goal)
{
    return codec_cost(goal, 0.0, 0.0, 1.0);
}

/* ---- the model ---- */

static double between(double x, double x0, double y0, double x1, double y1)
{
    if (x <= x0 || x1 <= x0)
        return y0;
    return x >= x1 ? y1 : y0 + (y1 - y0) * (x - x0) / (x1 - x0);
}

/* A figure at `stored`: what was measured at the classes, joined by lines. */
static double at_stored(double x, const double xs[3], const double ys[3])
{
    return x < xs[1] ? between(x, xs[0], ys[0], xs[1], ys[1])
                     : between(x, xs[1], ys[1], xs[2], ys[2]);
}

static const struct codec_speed *
of_class(const struct search *s, const struct setting *set, enum speed_class k)
{
    return &s->speeds->of[set->id][set->preset - 1][k];
}

static const struct codec_speed *figure(const struct search *s,
                                        const struct setting *set, int point)
{
    const enum speed_class classes[3] = {SPEED_ZEROS, s->middle, SPEED_RANDOM};
    return of_class(s, set, classes[point]);
}

static void price(const struct search *s, struct setting *set)
{
    double xs[3], encode[3], decode[3];
    for (int i = 0; i < 3; i++) {
        const struct codec_speed *f = figure(s, set, i);
        /* A codec that finds nothing in numbers is as fast there as in noise:
         * that says nothing of data in which it does find something. */
        if (i == 1 && f->stored > (float)NOTHING_SAVED)
            f = of_class(s, set, SPEED_TEXT);
        xs[i] = (double)f->stored;
        encode[i] = (double)f->encode_ns;
        decode[i] = (double)f->decode_ns;
    }
    double kept = codec_rounded(s->goal, set->stored);
    /* What does not save a granule is kept raw: coding was for nothing, and
     * nothing is decoded. */
    double decode_ns = kept < 1.0 ? at_stored(set->stored, xs, decode) : 0.0;
    set->encode_ns = at_stored(set->stored, xs, encode);
    double took = set->tried_ns > 0.0 ? set->tried_ns / set->encode_ns : 1.0;
    if (took < 1.0) /* easier data than what was measured, to decode too */
        decode_ns *= took;
    if (took < 1.0 || took > SLOW_MOMENT)
        set->encode_ns = set->tried_ns;
    set->cost = codec_cost(s->goal, set->encode_ns, decode_ns, kept);
}

/* What another one leaves where `seen` was tried. */
static double predict(const struct search *s, const struct setting *set,
                      const struct setting *seen)
{
    double xs[3], ys[3];
    for (int i = 0; i < 3; i++) {
        xs[i] = (double)figure(s, seen, i)->stored;
        ys[i] = (double)figure(s, set, i)->stored;
    }
    return at_stored(seen->stored, xs, ys);
}

/* ---- looking ---- */

static double trial_ns(const struct search *s, const struct setting *set)
{
    return (double)s->n * (double)figure(s, set, 1)->encode_ns;
}

/* The share of n bytes that it leaves. */
static double share_left(const struct search *s, const struct setting *set,
                         const uint8_t *from, size_t n)
{
    int made = codec_encode(set->id, set->preset, from, n, s->coded, s->room);
    double stored = made > 0 ? (double)made / (double)n : 1.0;
    return s->is_part && stored < NOTHING_SAVED ? stored * CONTEXT : stored;
}

static void try_setting(struct search *s, struct setting *set)
{
    /* The first call of a thread makes the codec's context. */
    (void)share_left(s, set, s->sample, WARM_BYTES);
    uint64_t begin = clock_thread_ns();
    set->stored = share_left(s, set, s->sample, s->n);
    double took = (double)(clock_thread_ns() - begin);
    s->left_ns -= took;
    set->tried = 1;
    if (s->n >= LEAST_TIMED)
        set->tried_ns = took / (double)s->n;
    price(s, set);
}

/* Whether what the sample promises holds elsewhere: machine code with tables and
 * zeros in it fools a small one. Where coding pays at a fast tier it is cheap, and
 * much can be looked at; where it turns out not to be, the time is up soon. */
static void look_again(struct search *s, struct setting *best)
{
    double most = s->left_ns / 2.0; /* the rest is for the next best one */
    double want = most / PIECES / best->encode_ns;
    size_t part = s->all / PIECES / 8u * 8u, i = 0;
    size_t piece = want < LEAST_PIECE  ? LEAST_PIECE
                   : want > MOST_PIECE ? MOST_PIECE
                                       : (size_t)want / 8u * 8u;
    if (piece > part)
        piece = part;
    double sum = 0.0, ns = 0.0;
    for (; i < PIECES && piece >= LEAST_SAMPLE && ns < most; i++) {
        /* At another place of each part. */
        size_t at = (part - piece) / PIECES * ((5u * i + 2u) % PIECES);
        const uint8_t *from = s->data + part * i + at / 8u * 8u;
        uint64_t begin = clock_thread_ns();
        sum += share_left(s, best, from, piece);
        ns += (double)(clock_thread_ns() - begin);
    }
    s->left_ns -= ns;
    if (i > 0) /* what is too short to be timed costs as predicted */
        best->tried_ns =
            piece * i < LEAST_TIMED ? 0.0 : ns / (double)(piece * i);
    if (i == 1) /* one piece says less than the sample does */
        best->stored = (best->stored + sum) / 2.0;
    else if (i > 1)
        best->stored = sum / (double)i;
    price(s, best);
}

/* Neighbouring values of 4 or 8 bytes that share their high byte, while the low
 * ones differ: an array of numbers. */
static int is_numeric(const uint8_t *p, size_t n)
{
    for (size_t width = 4; width <= 8u; width += 4u) {
        size_t high = 0, low = 0, all = 0;
        for (size_t at = width; at + width <= n; at += width, all++) {
            high += p[at + width - 1u] == p[at - 1u];
            low += p[at] == p[at - width];
        }
        if (all && high * 10u > all * 8u && low * 10u < all * 3u)
            return 1;
    }
    return 0;
}

/* The one for the first look: fast, and good enough to see what text saves. */
static struct setting *scout(struct search *s)
{
    struct setting *best = NULL;
    for (unsigned i = 0; i < s->n_set; i++) {
        const struct setting *set = &s->set[i];
        const struct codec_speed *f = of_class(s, set, SPEED_TEXT);
        if (f->stored > SCOUT_STORED)
            continue;
        if (!best || f->encode_ns < of_class(s, best, SPEED_TEXT)->encode_ns)
            best = &s->set[i];
    }
    return best;
}

static struct setting *cheapest(struct search *s)
{
    struct setting *best = s->set;
    for (unsigned i = 1; i < s->n_set; i++)
        if (s->set[i].cost < best->cost)
            best = &s->set[i];
    return best;
}

static void predict_all(struct search *s, const struct setting *seen)
{
    for (unsigned i = 0; i < s->n_set; i++) {
        struct setting *set = &s->set[i];
        if (set->tried)
            continue;
        set->stored = predict(s, set, seen);
        price(s, set);
    }
}

static uint8_t search(struct search *s, struct setting *best)
{
    double raw = raw_cost(s->goal);
    s->middle = is_numeric(s->sample, s->n) ? SPEED_NUMERIC : SPEED_TEXT;
    try_setting(s, best);
    if (best->stored > NOTHING_SAVED && s->middle == SPEED_TEXT)
        return SL_CODEC_NONE;
    predict_all(s, best);
    int doubted = 0;
    while ((best = cheapest(s))->cost < raw) {
        if (!best->tried) {
            if (trial_ns(s, best) <= s->left_ns)
                try_setting(s, best);
            else
                best->cost = HUGE_VAL; /* nothing is taken unseen */
            continue;
        }
        if (s->is_part && doubted && s->left_ns <= 0.0)
            break; /* the sample fooled the last one, perhaps this one too */
        if (s->is_part)
            look_again(s, best);
        if (best->cost < raw)
            return SL_CODEC(best->id, best->preset << SL_CODEC_PRESET_SHIFT);
        doubted = 1;
    }
    return SL_CODEC_NONE;
}

/* ---- the sample ---- */

/* Windows spread over the data, one behind the other. */
static size_t take_sample(const uint8_t *data, size_t n, size_t want,
                          uint8_t *to)
{
    if (n <= want) {
        memcpy(to, data, n);
        return n;
    }
    size_t windows = want < WINDOWS * WINDOW ? 1u : WINDOWS;
    size_t bytes = want / windows / 8u * 8u;
    for (size_t i = 0; i < windows; i++) {
        /* In the middle of the i-th part; at values, not inside of them. */
        size_t at = (n / windows * i + (n / windows - bytes) / 2u) / 8u * 8u;
        memcpy(to + i * bytes, data + at, bytes);
    }
    return windows * bytes;
}

/* All settings of this build that could pay if the data were all zeros. */
static void take_settings(struct search *s)
{
    double raw = raw_cost(s->goal);
    for (unsigned id = 1; id < SL_CODECS; id++) {
        const struct codec_ops *ops = codec_find(id);
        /* Else the luckiest of three measurements would be its speed. */
        uint8_t presets = !ops ? 0 : ops->one_preset ? 1 : 3;
        for (uint8_t preset = 1; preset <= presets; preset++) {
            struct setting set = {.id = (uint8_t)id, .preset = preset};
            set.stored = (double)figure(s, &set, 0)->stored;
            price(s, &set);
            if (set.cost < raw)
                s->set[s->n_set++] = set;
        }
    }
}

uint8_t codec_choose(const void *data, size_t n, const struct codec_goal *goal)
{
    struct search s = {
        .goal = goal, .data = data, .all = n, .middle = SPEED_TEXT};
    s.speeds = codec_speeds_get();
    if (!s.speeds || n < LEAST_SAMPLE)
        return SL_CODEC_NONE;
    take_settings(&s);
    struct setting *first = scout(&s);
    if (!first)
        return SL_CODEC_NONE;
    double all = raw_cost(goal) * (double)n;
    double want = FIRST_SHARE * all / (double)figure(&s, first, 1)->encode_ns;
    if (want < LEAST_SAMPLE)
        return SL_CODEC_NONE;
    if (want > MOST_SAMPLE)
        want = MOST_SAMPLE;
    uint8_t *sample = local_bytes(LOCAL_SAMPLE, MOST_SAMPLE);
    s.room = MOST_SAMPLE;
    s.coded = local_bytes(LOCAL_CODED, s.room);
    if (!sample || !s.coded)
        return SL_CODEC_NONE;
    s.left_ns = ALL_SHARE * all;
    s.n = take_sample(data, n, (size_t)want, sample);
    s.sample = sample;
    s.is_part = s.n < n;
    return search(&s, first);
}
