/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice bench codec`: every codec and preset over several kinds of data, and
 * what the dynamic choice costs beside the best of them. */
#include "bench_codec.h"

#include "base/clock.h"
#include "codec/choose.h"
#include "codec/speed.h"
#include "out.h"
#include "sluice/sluice.h"

#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNIT 65536u
#define SET_BYTES (4u << 20)          /* of each kind of data */
#define PUT_BYTES (1u << 20)          /* dynamic chooses once for each */
#define ENOUGH_NS UINT64_C(100000000) /* for one codec on one set */
#define GRANULE 4096u
#define PUTS (SET_BYTES / PUT_BYTES)
#define ROUNDS 4u
#define SETTINGS (1u + (SL_CODECS - 1u) * 3u)

/* Kinds of data; with files when the system has them. */
struct set {
    const char *name, *files[4];
    int kind; /* enum speed_class when it is generated, else -1 */
    uint8_t *data;
    size_t bytes;
};

/* Nanoseconds and bytes. */
struct sums {
    uint64_t encode, decode;
    uint64_t kept_decode; /* without the units that are kept raw */
    uint64_t plain, coded;
    uint64_t kept; /* rounded, raw where it grows */
};

/* One codec with one preset on one set. */
struct figure {
    unsigned id;
    int preset, there;
    struct sums all, put[PUTS]; /* a slow codec's last puts: not measured */
};

struct bench {
    int json;
    struct figure figure[SETTINGS];
    uint8_t *coded, *again;
    json_t *codecs, *dynamic;
};

/* ---- data ---- */

static void add_file(struct set *s, const char *path, size_t most)
{
    FILE *f = fopen(path, "rbe");
    if (!f)
        return;
    s->bytes += fread(s->data + s->bytes, 1, most - s->bytes, f);
    fclose(f);
}

/* 0, or an exit code. A set of no bytes is left out. */
static int fill(struct set *s, size_t most)
{
    s->data = malloc(most);
    if (!s->data)
        return out_fail("%s", sl_strerror(SL_ENOMEM));
    if (s->kind >= 0) {
        codec_speeds_fill((enum speed_class)s->kind, s->data, most);
        s->bytes = most;
        return 0;
    }
    for (int i = 0; i < 4 && s->files[i]; i++) {
        glob_t found;
        if (glob(s->files[i], 0, NULL, &found) == 0)
            for (size_t k = 0; k < found.gl_pathc && s->bytes < most; k++)
                add_file(s, found.gl_pathv[k], most);
        globfree(&found);
    }
    s->bytes = s->bytes / UNIT * UNIT;
    return 0;
}

/* ---- one codec on one set ---- */

static void add(struct sums *to, const struct sums *s)
{
    to->encode += s->encode;
    to->decode += s->decode;
    to->kept_decode += s->kept_decode;
    to->plain += s->plain;
    to->coded += s->coded;
    to->kept += s->kept;
}

static int unit(struct bench *b, const struct figure *f, const uint8_t *plain,
                struct sums *sum)
{
    size_t room = codec_bound(f->id, UNIT);
    uint64_t t0 = clock_thread_ns();
    int made = codec_encode(f->id, f->preset, plain, UNIT, b->coded, room);
    uint64_t t1 = clock_thread_ns();
    int rc = made < 0
                 ? made
                 : codec_decode(f->id, b->coded, (size_t)made, b->again, UNIT);
    uint64_t t2 = clock_thread_ns();
    if (rc)
        return out_fail("%s: %s", codec_name(f->id), sl_strerror(rc));
    if (memcmp(plain, b->again, UNIT) != 0)
        return out_fail("%s: other bytes came back", codec_name(f->id));
    uint64_t kept = ((uint64_t)made + GRANULE - 1) / GRANULE * GRANULE;
    int is_raw = kept >= UNIT;
    struct sums one = {.encode = t1 - t0,
                       .decode = t2 - t1,
                       .kept_decode = is_raw ? 0 : t2 - t1,
                       .plain = UNIT,
                       .coded = (uint64_t)made,
                       .kept = is_raw ? UNIT : kept};
    add(sum, &one);
    return 0;
}

/* The i-th put of a set, once more: the least times of all rounds count. */
static int measure_put(struct bench *b, const struct set *s, struct figure *f,
                       size_t i)
{
    size_t end =
        (i + 1) * PUT_BYTES < s->bytes ? (i + 1) * PUT_BYTES : s->bytes;
    struct sums now = {0}, *least = &f->put[i];
    int rc = 0;
    for (size_t at = i * PUT_BYTES; at < end && !rc; at += UNIT) {
        rc = unit(b, f, s->data + at, &now);
        if (now.encode + now.decode > ENOUGH_NS)
            break;
    }
    if (now.plain < least->plain)
        return rc; /* broken off: it took longer */
    if (!least->plain || now.encode < least->encode)
        least->encode = now.encode;
    if (!least->plain || now.decode < least->decode) {
        least->decode = now.decode;
        least->kept_decode = now.kept_decode;
    }
    least->plain = now.plain;
    least->coded = now.coded;
    least->kept = now.kept;
    return rc;
}

static int measure(struct bench *b, const struct set *s, struct figure *f)
{
    struct sums warm = {0};
    int rc = unit(b, f, s->data, &warm);
    f->all = (struct sums){0};
    f->there = 1;
    for (size_t i = 0; i * PUT_BYTES < s->bytes && !rc; i++) {
        rc = measure_put(b, s, f, i);
        add(&f->all, &f->put[i]);
        if (f->all.encode + f->all.decode > ENOUGH_NS)
            break;
    }
    return rc;
}

static const char *preset_name(int preset)
{
    static const char *const names[] = {"", "fast", "balanced", "best"};
    return names[preset];
}

static void report(struct bench *b, const struct set *s, const struct figure *f)
{
    double plain = (double)f->all.plain, ratio = plain / (double)f->all.coded;
    double encode = 1e3 * plain / (double)f->all.encode;
    double decode = 1e3 * plain / (double)f->all.decode;
    if (!b->json) {
        printf("%-8s %-6s %-8s  ratio %8.3f  encode %8.1f MB/s  decode %8.1f "
               "MB/s\n",
               s->name, codec_name(f->id), preset_name(f->preset), ratio,
               encode, decode);
        return;
    }
    json_array_append_new(
        b->codecs,
        json_pack("{s:s, s:s, s:s, s:f, s:f, s:f}", "data", s->name, "codec",
                  codec_name(f->id), "preset", preset_name(f->preset), "ratio",
                  ratio, "encode_mbps", encode, "decode_mbps", decode));
}

/* In rounds through all codecs, so that a slow moment of the machine is not one
 * codec's alone; those that took long are measured once. */
static int measure_set(struct bench *b, const struct set *s)
{
    int rc = 0;
    memset(b->figure, 0, sizeof(b->figure));
    b->figure[0] = (struct figure){.there = 1, .all = {.plain = 1, .kept = 1}};
    for (size_t i = 0; i < PUTS; i++)
        b->figure[0].put[i] = b->figure[0].all;
    for (unsigned i = 0; i < ROUNDS * SETTINGS && !rc; i++) {
        unsigned n = i % SETTINGS;
        struct figure *f = &b->figure[n];
        f->id = (n + 2) / 3;
        f->preset = n ? (int)(n - 1) % 3 + 1 : 0;
        if (f->id && codec_find(f->id) &&
            f->all.encode + f->all.decode <= ENOUGH_NS)
            rc = measure(b, s, f);
    }
    for (unsigned n = 1; n < SETTINGS && !rc; n++)
        if (b->figure[n].there)
            report(b, s, &b->figure[n]);
    return rc;
}

/* ---- dynamic ---- */

static double cost_of(const struct codec_goal *g, const struct sums *s)
{
    double plain = (double)s->plain;
    return codec_cost(g, (double)s->encode / plain,
                      (double)s->kept_decode / plain, (double)s->kept / plain);
}

static struct figure *figure_of(struct bench *b, uint8_t byte)
{
    unsigned id = byte & SL_CODEC_ID_MASK;
    unsigned at =
        id ? 1u + (id - 1u) * 3u + (unsigned)codec_preset(byte) - 1u : 0u;
    return &b->figure[at];
}

static void name_of(const struct figure *f, char out[24])
{
    snprintf(out, 24, "%s%s%s", codec_name(f->id), f->preset ? ":" : "",
             preset_name(f->preset));
}

static void report_choice(struct bench *b, const struct set *s, double gbps,
                          const struct figure *pair[2], const double cost[3])
{
    char best[24], chosen[24];
    double ratio = cost[1] / cost[0];
    name_of(pair[0], best);
    name_of(pair[1], chosen);
    if (!b->json) {
        printf("%-8s %5.2f GB/s  best %-15s %8.3f ns/B  dynamic %-15s %8.3f "
               "ns/B  ratio %5.3f  looking %.1f %%\n",
               s->name, gbps, best, cost[0], chosen, cost[1], ratio,
               100.0 * cost[2] / cost[1]);
        return;
    }
    json_array_append_new(b->dynamic,
                          json_pack("{s:s, s:f, s:s, s:f, s:s, s:f, s:f, s:f}",
                                    "data", s->name, "tier_gbps", gbps, "best",
                                    best, "best_ns", cost[0], "chosen", chosen,
                                    "dynamic_ns", cost[1], "ratio", ratio,
                                    "looking_ns", cost[2]));
}

/* The best choice for all puts of the set. */
static const struct figure *best_of(const struct bench *b,
                                    const struct codec_goal *g)
{
    const struct figure *best = b->figure;
    for (unsigned i = 1; i < SETTINGS; i++)
        if (b->figure[i].there &&
            cost_of(g, &b->figure[i].all) < cost_of(g, &best->all))
            best = &b->figure[i];
    return best;
}

/* Costs for each plain byte: of the best, of dynamic with its looking, of the
 * looking alone. A put costs what its own bytes do with what was chosen. */
static int weigh(struct bench *b, const struct set *s, double gbps)
{
    struct codec_goal g = {gbps * 1e9, gbps * 1e9, 1.0, UNIT, GRANULE};
    const struct figure *pair[2] = {best_of(b, &g), NULL};
    double cost[3] = {cost_of(&g, &pair[0]->all), 0.0, 0.0};
    for (size_t i = 0; i * PUT_BYTES < s->bytes; i++) {
        size_t at = i * PUT_BYTES;
        size_t n = s->bytes - at < PUT_BYTES ? s->bytes - at : PUT_BYTES;
        uint64_t begin = clock_thread_ns();
        struct figure *f = figure_of(b, codec_choose(s->data + at, n, &g));
        double looking = (double)(clock_thread_ns() - begin);
        int rc = f->put[i].plain ? 0 : measure_put(b, s, f, i);
        if (rc)
            return rc;
        cost[1] += looking + cost_of(&g, &f->put[i]) * (double)n;
        cost[2] += looking;
        pair[1] = f;
    }
    cost[1] /= (double)s->bytes;
    cost[2] /= (double)s->bytes;
    report_choice(b, s, gbps, pair, cost);
    return 0;
}

/* ---- all ---- */

static int run_sets(struct bench *b)
{
    static const double tiers[] = {0.02, 0.2, 2.0, 20.0};
    struct set sets[] = {
        {.name = "words", .kind = SPEED_TEXT},
        {.name = "text",
         .files = {"/usr/share/dict/*", "/usr/share/common-licenses/*",
                   "/usr/include/*.h"},
         .kind = -1},
        {.name = "binary",
         .files = {"/usr/lib/*/libc.so.6", "/usr/lib/*/libstdc++.so.6",
                   "/proc/self/exe"},
         .kind = -1},
        {.name = "numeric", .kind = SPEED_NUMERIC},
        {.name = "random", .kind = SPEED_RANDOM}};
    int rc = codec_speeds_get() ? 0 : out_fail("%s", sl_strerror(SL_ENOMEM));
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]) && !rc; i++) {
        rc = fill(&sets[i], SET_BYTES);
        if (!rc && sets[i].bytes == 0)
            out_warn("no files for '%s'", sets[i].name);
        if (!rc && sets[i].bytes)
            rc = measure_set(b, &sets[i]);
        for (size_t k = 0; k < 4 && !rc && sets[i].bytes; k++)
            rc = weigh(b, &sets[i], tiers[k]);
        free(sets[i].data);
    }
    return rc;
}

int bench_codec(int json)
{
    struct bench b = {.json = json};
    size_t room = 0;
    for (unsigned id = 0; id < SL_CODECS; id++)
        if (codec_bound(id, UNIT) > room)
            room = codec_bound(id, UNIT);
    b.coded = malloc(room);
    b.again = malloc(UNIT);
    b.codecs = json_array();
    b.dynamic = json_array();
    int rc = b.coded && b.again ? run_sets(&b)
                                : out_fail("%s", sl_strerror(SL_ENOMEM));
    free(b.coded);
    free(b.again);
    json_t *root =
        json_pack("{s:o, s:o}", "codecs", b.codecs, "dynamic", b.dynamic);
    if (rc || !json) {
        json_decref(root);
        return rc ? rc : out_done();
    }
    return out_json(root);
}
