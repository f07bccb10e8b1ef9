/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/choose.h"

#include "codec/local.h"
#include "codec/speed.h"

#include <math.h>
#include <string.h>

#define WINDOW 4096u /* at least */
#define WINDOWS 2u
#define MOST_SAMPLE 32768u
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
    uint8_t id, preset;
    uint8_t tried;
    double stored; /* predicted, or seen */
    double cost;
};

struct search {
    const struct codec_speeds *speeds;
    const struct codec_goal *goal;
    const uint8_t *sample;
    uint8_t *coded;
    size_t n, room;
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

static const struct codec_speed *figure(const struct search *s,
                                        const struct setting *set, int point)
{
    const enum speed_class classes[3] = {SPEED_ZEROS, s->middle, SPEED_RANDOM};
    return &s->speeds->of[set->id][set->preset - 1][classes[point]];
}

static void price(const struct search *s, struct setting *set)
{
    double xs[3], encode[3], decode[3];
    for (int i = 0; i < 3; i++) {
        const struct codec_speed *f = figure(s, set, i);
        xs[i] = (double)f->stored;
        encode[i] = (double)f->encode_ns;
        decode[i] = (double)f->decode_ns;
    }
    double kept = codec_rounded(s->goal, set->stored);
    /* What does not save a granule is kept raw: coding was for nothing, and
     * nothing is decoded. */
    double decode_ns = kept < 1.0 ? at_stored(set->stored, xs, decode) : 0.0;
    set->cost = codec_cost(s->goal, at_stored(set->stored, xs, encode),
                           decode_ns, kept);
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

static void try_setting(struct search *s, struct setting *set)
{
    int made =
        codec_encode(set->id, set->preset, s->sample, s->n, s->coded, s->room);
    s->left_ns -= trial_ns(s, set);
    set->tried = 1;
    set->stored = made > 0 ? (double)made / (double)s->n : 1.0;
    if (s->is_part && set->stored < NOTHING_SAVED)
        set->stored *= CONTEXT;
    price(s, set);
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
        const struct codec_speed *f =
            &s->speeds->of[set->id][set->preset - 1][SPEED_TEXT];
        if (f->stored > SCOUT_STORED)
            continue;
        if (!best ||
            f->encode_ns <
                s->speeds->of[best->id][best->preset - 1][SPEED_TEXT].encode_ns)
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
    for (best = cheapest(s); !best->tried; best = cheapest(s)) {
        if (best->cost >= raw || trial_ns(s, best) > s->left_ns)
            break;
        try_setting(s, best);
    }
    if (best->cost >= raw)
        return SL_CODEC_NONE;
    return SL_CODEC(best->id, best->preset << SL_CODEC_PRESET_SHIFT);
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
    for (unsigned id = 1; id < SL_CODECS; id++)
        for (uint8_t preset = 1; preset <= 3u && codec_find(id); preset++) {
            struct setting set = {.id = (uint8_t)id, .preset = preset};
            set.stored = (double)figure(s, &set, 0)->stored;
            price(s, &set);
            if (set.cost < raw)
                s->set[s->n_set++] = set;
        }
}

uint8_t codec_choose(const void *data, size_t n, const struct codec_goal *goal)
{
    struct search s = {.goal = goal, .middle = SPEED_TEXT};
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
