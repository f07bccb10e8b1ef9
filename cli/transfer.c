/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice put` and `sluice get`: bytes between files and blobs. */
#include "cli.h"
#include "codec/codec.h"
#include "io.h"
#include "opt.h"
#include "out.h"
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A get has no version to keep together (one process owns the store), so its
 * pieces are as small as still fills a disk: LIMITS, 4 MiB requests. */
#define GET_PIECE (8u << 20)

struct transfer {
    struct session s;
    uint64_t offset, size, persist;
    int has_offset, has_size;
    const char *file, *score, *codec;
    float score_value;
    uint64_t stored, codec_ns; /* of a put */
    uint8_t *buf;
    char spare[64]; /* a put of several pieces: the blob they are put to */
};

static const char put_help[] =
    "Usage: sluice put --data DIR [OPTION]... TAG BLOB FILE\n"
    "Stores FILE ('-': standard input) as the blob, or as a range of it. "
    "Without\n"
    "--offset the blob is what it was until all of FILE is there.\n\n"
    "  --data DIR     directory of the store, created if absent\n"
    "  --offset N     write at byte N and keep the rest of the blob; without\n"
    "                 it FILE becomes the whole blob (k, m, g: KiB, MiB, GiB)\n"
    "  --persist L    0 volatile, 1 survives a crash of the process "
    "(default),\n"
    "                 2 survives a power cut\n"
    "  --score S      0.0 to 1.0, 1.0 for the fastest target; default -1:\n"
    "                 the store chooses\n"
    "  --codec C      none (default), or bzip2, blosc, brotli, lz4, lzma, "
    "snappy,\n"
    "                 lzo, zfp, zlib, zstd, each with :fast, :balanced "
    "(default)\n"
    "                 or :best behind it; or dynamic\n"
    "  --json         what was stored, as JSON\n"
    "  -v, --verbose\n";

static const char get_help[] =
    "Usage: sluice get --data DIR [OPTION]... TAG BLOB FILE\n"
    "Writes the blob, or a range of it, to FILE ('-': standard output). FILE\n"
    "appears under its name only when it is complete.\n\n"
    "  --data DIR     directory of the store\n"
    "  --offset N     from byte N (default 0; k, m, g: KiB, MiB, GiB)\n"
    "  --size N       N bytes (default: to the end)\n"
    "  --json         what was written, as JSON; FILE is not '-' then\n"
    "  -v, --verbose\n";

static int parse(struct transfer *t, struct opt_set *set, int argc, char **argv)
{
    int first, rc = opt_parse(set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    t->s.tag = argv[first];
    t->s.blob = argv[first + 1];
    t->file = argv[first + 2];
    rc = session_names(&t->s);
    return rc ? rc : OPT_GO;
}

static int report(const struct transfer *t)
{
    json_t *root = session_json(&t->s);
    if (root)
        json_object_update_new(root, json_pack("{s:I, s:I}", "offset",
                                               (json_int_t)t->offset, "bytes",
                                               (json_int_t)t->size));
    return out_json(root);
}

/* ---- put ---- */

static int put_report(const struct transfer *t)
{
    json_t *root = session_json(&t->s);
    if (root)
        json_object_update_new(
            root,
            json_pack("{s:I, s:I, s:I, s:f, s:I}", "offset",
                      (json_int_t)t->offset, "bytes", (json_int_t)t->size,
                      "stored", (json_int_t)t->stored, "ratio",
                      t->stored ? (double)t->size / (double)t->stored : 1.0,
                      "codec_ns", (json_int_t)t->codec_ns));
    return out_json(root);
}

/* Into blob `name`; `how` without SL_F_REPLACE behind the first one. */
static int put_pieces(struct transfer *t, const char *name, struct input *in,
                      size_t n, struct sl_put_opts *how)
{
    do {
        int code = sl_put(t->s.rt, t->s.tag_id, name, t->offset + t->size,
                          t->buf, n, how);
        if (code)
            return t->has_offset && t->size
                       ? session_fail_at(&t->s, code, t->size)
                       : session_fail(&t->s, code);
        how->flags = 0;
        t->stored += how->result->v[2];
        t->codec_ns += how->result->v[3];
        t->size += n;
        if (n < SL_IO_MAX)
            return 0;
        if (input_read(in, t->buf, SL_IO_MAX, &n)) {
            if (t->has_offset)
                out_warn("%llu bytes of '%s' are stored",
                         (unsigned long long)t->size, t->file);
            return OUT_FAILED;
        }
    } while (n);
    return 0;
}

/* As a put onto the blob: the higher level stays, and a score that was given. */
static int keep_settings(const struct transfer *t, struct sl_put_opts *how)
{
    struct sl_stat st;
    int code = sl_stat(t->s.rt, t->s.tag_id, t->s.blob, &st);
    if (code)
        return code == SL_ENOENT ? 0 : session_fail(&t->s, code);
    if (st.persist > how->persist)
        how->persist = st.persist;
    if (how->score < 0.0f && st.score <= SL_SCORE_ONE)
        how->score = (float)st.score / (float)SL_SCORE_ONE;
    return 0;
}

/* A name that no blob has. Nobody else has the store meanwhile. */
static int spare_name(struct transfer *t)
{
    int code = 0;
    for (unsigned i = 0; !code; i++) {
        uint64_t size;
        snprintf(t->spare, sizeof(t->spare), ".sluice-put-%ld-%u.part",
                 (long)getpid(), i);
        code = sl_size(t->s.rt, t->s.tag_id, t->spare, &size);
    }
    return code == SL_ENOENT ? 0 : session_fail(&t->s, code);
}

/* Several pieces get the blob's name when all of them are there, so that a
 * failure, as of a full disk, leaves the blob as it was. */
static int put_spare(struct transfer *t, struct input *in, size_t n,
                     struct sl_put_opts *how)
{
    int code, rc = keep_settings(t, how);
    if (!rc)
        rc = spare_name(t);
    if (rc)
        return rc;
    rc = put_pieces(t, t->spare, in, n, how);
    if (!rc) {
        code = sl_rename(t->s.rt, t->s.tag_id, t->spare, t->s.tag_id, t->s.blob,
                         SL_F_REPLACE);
        rc = code ? session_fail(&t->s, code) : 0;
    }
    if (!rc)
        return 0;
    code = sl_del(t->s.rt, t->s.tag_id, t->spare);
    if (code && code != SL_ENOENT)
        session_fail_as("blob", t->spare, code);
    return rc;
}

/* The first piece is read before the store is touched, so that a FILE that
 * cannot be read changes nothing. A FILE of one piece is put whole. */
static int put_first(struct transfer *t, struct input *in, size_t n,
                     uint8_t codec)
{
    struct sl_result result = {{0}};
    struct sl_put_opts how = {.size = sizeof(how),
                              .flags = t->has_offset ? 0 : SL_F_REPLACE,
                              .score = t->score_value,
                              .persist = (uint8_t)t->persist,
                              .codec = codec,
                              .result = &result};
    if (n < SL_IO_MAX || t->has_offset)
        return put_pieces(t, t->s.blob, in, n, &how);
    return put_spare(t, in, n, &how);
}

static int put_run(struct transfer *t, struct input *in)
{
    size_t n;
    uint8_t codec = SL_CODEC_NONE;
    int code = t->codec ? codec_parse(t->codec, &codec) : 0, rc;
    if (code)
        return out_usage("option '--codec': '%s': %s", t->codec,
                         sl_strerror(code));
    t->buf = malloc(SL_IO_MAX);
    if (!t->buf)
        return out_fail("%s", sl_strerror(SL_ENOMEM));
    rc = input_read(in, t->buf, SL_IO_MAX, &n);
    if (!rc)
        rc = session_open(&t->s, 1);
    if (rc)
        return rc;
    code = sl_tag(t->s.rt, t->s.tag, &t->s.tag_id);
    rc = code ? session_fail_as("tag", t->s.tag, code)
              : put_first(t, in, n, codec);
    return session_close(&t->s, rc);
}

int cmd_put(int argc, char **argv)
{
    struct transfer t = {.persist = 1};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &t.s.dir},
        {.name = "offset",
         .kind = OPT_SIZE,
         .to = &t.offset,
         .seen = &t.has_offset},
        {.name = "persist", .kind = OPT_NUMBER, .to = &t.persist, .max = 2},
        {.name = "score", .kind = OPT_TEXT, .to = &t.score},
        {.name = "codec", .kind = OPT_TEXT, .to = &t.codec},
        {.name = "json", .kind = OPT_FLAG, .to = &t.s.json},
    };
    struct opt_set set = {put_help, opts, 6, 3, 3};
    struct input in;
    int rc = parse(&t, &set, argc, argv);
    if (rc != OPT_GO)
        return rc;
    rc = opt_score(t.score, &t.score_value);
    if (rc)
        return rc;
    rc = input_open(&in, t.file);
    if (rc)
        return rc;
    rc = put_run(&t, &in);
    free(t.buf);
    input_close(&in);
    return rc || !t.s.json ? rc : put_report(&t);
}

/* ---- get ---- */

static int get_pieces(struct transfer *t, struct output *out)
{
    uint64_t left = t->size, at = t->offset;
    while (left) {
        uint64_t n = left < GET_PIECE ? left : GET_PIECE;
        int rc,
            code = sl_get(t->s.rt, t->s.tag_id, t->s.blob, at, t->buf, n, NULL);
        if (code)
            return session_fail(&t->s, code);
        rc = output_write(out, t->buf, n);
        if (rc)
            return rc;
        at += n;
        left -= n;
    }
    return 0;
}

/* Settles how many bytes are asked for; says how many there are. */
static int get_range(struct transfer *t)
{
    uint64_t have;
    int code = sl_size(t->s.rt, t->s.tag_id, t->s.blob, &have);
    if (code)
        return session_fail(&t->s, code);
    if (t->offset <= have && !t->has_size)
        t->size = have - t->offset;
    if (t->offset <= have && t->size <= have - t->offset)
        return 0;
    return out_fail("blob '%s' of tag '%s': %s, which has %llu bytes",
                    t->s.blob, t->s.tag, sl_strerror(SL_EPASTEND),
                    (unsigned long long)have);
}

static int get_run(struct transfer *t)
{
    struct output out;
    int rc = session_find(&t->s);
    if (!rc)
        rc = get_range(t);
    if (!rc)
        rc = output_open(&out, t->file);
    if (rc)
        return rc;
    rc = get_pieces(t, &out);
    return output_close(&out, rc);
}

int cmd_get(int argc, char **argv)
{
    struct transfer t = {0};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &t.s.dir},
        {.name = "offset", .kind = OPT_SIZE, .to = &t.offset},
        {.name = "size", .kind = OPT_SIZE, .to = &t.size, .seen = &t.has_size},
        {.name = "json", .kind = OPT_FLAG, .to = &t.s.json},
    };
    struct opt_set set = {get_help, opts, 4, 3, 3};
    int rc = parse(&t, &set, argc, argv);
    if (rc != OPT_GO)
        return rc;
    if (t.s.json && !strcmp(t.file, "-"))
        return out_usage("option '--json': the blob goes to standard output");
    t.buf = malloc(GET_PIECE);
    if (!t.buf)
        return out_fail("%s", sl_strerror(SL_ENOMEM));
    rc = session_open(&t.s, 0);
    if (!rc)
        rc = session_close(&t.s, get_run(&t));
    free(t.buf);
    return rc || !t.s.json ? rc : report(&t);
}
