/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of a player on what is its own: every answer is known. */
#include "model.h"

/* Half of the names do not fit into a cell. */
void model_blob_name(unsigned i, char *name, size_t n)
{
    static const int width[] = {3, 60, 3, 255};
    snprintf(name, n, "%0*u", width[i % 4u], i);
}

unsigned model_tag_of(unsigned blob)
{
    return blob % 5u == 0; /* two of ten in the second */
}

static struct model_call call_of(struct model_player *p, unsigned i,
                                 char name[256])
{
    struct model_call c = {.way = model_way(p), .tag = p->tag[model_tag_of(i)]};
    model_blob_name(i, name, 256);
    c.name = name;
    c.opts.size = sizeof(c.opts);
    c.opts.score = -1;
    return c;
}

void model_forget(struct model_blob *b, uint64_t blob_max)
{
    memset(b->bytes, 0, b->size < blob_max ? b->size : blob_max);
    b->there = 0;
    b->size = 0;
    b->level = 0;
    b->score = SL_SCORE_AUTO;
    b->score_known = 1;
}

static float any_score(struct model_player *p)
{
    static const float scores[] = {-1.0f, 0.0f, 0.25f, 0.5f, 1.0f};
    return scores[model_pick(p, 5)];
}

/* ---- put ---- */

/* Range and flags of a put: whole, inside, at the end, behind it. */
static void choose_put(struct model_player *p, const struct model_blob *b,
                       struct model_call *c)
{
    c->size = model_size(p);
    c->offset = 0;
    switch (model_pick(p, 8)) {
    case 0:
    case 1:
        c->opts.flags = SL_F_REPLACE;
        break;
    case 2:
        c->size = b->size;
        break;
    case 3:
        c->offset = b->size;
        break;
    case 4:
        c->offset = model_size(p);
        break;
    case 5:
        c->opts.flags = SL_F_REPLACE;
        c->offset = model_pick(p, 2) ? model_size(p) : 0;
        break;
    default:
        c->offset = b->size ? model_pick(p, b->size) : 0;
        break;
    }
    if (c->offset + c->size > p->world->blob_max)
        c->size = p->world->blob_max - c->offset;
    c->opts.score = any_score(p);
    if (p->world->level_max && model_pick(p, 8) == 0)
        c->opts.persist = (uint8_t)(1u + model_pick(p, p->world->level_max));
    c->opts.codec = model_codec(p, c->size);
    c->opts.context = (uint16_t)model_pick(p, 65536);
}

static void apply_put(struct model_player *p, struct model_blob *b,
                      const struct model_call *c)
{
    if (c->opts.flags & SL_F_REPLACE) {
        struct model_blob was = *b;
        model_forget(b, p->world->blob_max);
        b->level = was.level;
        b->score = was.score;
        b->score_known = was.score_known;
    }
    b->there = 1;
    if (c->opts.score >= 0) {
        b->score = (uint16_t)(c->opts.score * (float)SL_SCORE_ONE);
        b->score_known = 1;
    }
    memcpy(b->bytes + c->offset, p->buf, c->size);
    if (c->offset + c->size > b->size)
        b->size = c->offset + c->size;
    if (c->opts.persist > b->level)
        b->level = c->opts.persist;
}

static void step_put(struct model_player *p, unsigned i)
{
    struct model_blob *b = &p->blob[i];
    char name[256];
    struct model_call c = call_of(p, i, name);
    choose_put(p, b, &c);
    c.data = p->buf;
    model_fill(p, p->buf, c.size);
    struct sl_result made = {{0}};
    if (c.way == WAY_HOST)
        c.opts.result = &made;
    int rc = model_put(p, &c);
    p->puts++;
    p->ways[c.way] += !rc;
    p->levels[c.opts.persist] += !rc;
    if (!rc && c.opts.result && made.v[2] < c.size)
        p->codec[c.opts.codec & SL_CODEC_ID_MASK]++;
    if (!p->tag_there[model_tag_of(i)]) {
        if (rc != SL_ENOTAG)
            model_fail(p, "put into a deleted tag: %d", rc);
        return;
    }
    if (model_allows(p, rc))
        return;
    if (rc)
        model_fail(p, "put of blob %u, %llu bytes at %llu: %d", i,
                   (unsigned long long)c.size, (unsigned long long)c.offset,
                   rc);
    else
        apply_put(p, b, &c);
}

/* ---- get ---- */

static void compare(struct model_player *p, unsigned i,
                    const struct model_call *c)
{
    const uint8_t *want = p->blob[i].bytes + c->offset;
    const uint8_t *got = c->data;
    uint64_t k = 0;
    if (memcmp(want, got, c->size) == 0)
        return;
    while (want[k] == got[k])
        k++;
    model_fail(p, "blob %u of %llu bytes: byte %llu of a get of %llu at %llu",
               i, (unsigned long long)p->blob[i].size,
               (unsigned long long)(c->offset + k), (unsigned long long)c->size,
               (unsigned long long)c->offset);
}

/* What a call on an absent blob must answer, or 0. */
static int absent(const struct model_player *p, unsigned i)
{
    if (!p->tag_there[model_tag_of(i)])
        return SL_ENOTAG;
    return p->blob[i].there ? 0 : SL_ENOENT;
}

static void get_range(struct model_player *p, unsigned i, struct model_call *c)
{
    const struct model_blob *b = &p->blob[i];
    int want = absent(p, i);
    c->data = p->buf;
    if (c->size > p->world->blob_max)
        c->size = p->world->blob_max;
    memset(p->buf, 0xa5, c->size);
    int rc = model_get(p, c);
    p->gets++;
    if (model_allows(p, rc))
        return;
    if (!want && c->offset + c->size > b->size)
        want = SL_EPASTEND;
    if (rc != want)
        model_fail(p, "get of blob %u, %llu of %llu bytes at %llu: %d, not %d",
                   i, (unsigned long long)c->size, (unsigned long long)b->size,
                   (unsigned long long)c->offset, rc, want);
    else if (!rc)
        compare(p, i, c);
}

static void step_get(struct model_player *p, unsigned i)
{
    char name[256];
    struct model_call c = call_of(p, i, name);
    uint64_t size = p->blob[i].size;
    c.size = size;
    if (model_pick(p, 3)) {
        c.offset = size ? model_pick(p, size) : 0;
        c.size = model_size(p);
        if (model_pick(p, 8) && c.offset + c.size > size)
            c.size = size - c.offset; /* else the end may be passed */
    }
    get_range(p, i, &c);
}

/* ---- size, stat, delete ---- */

static void step_size(struct model_player *p, unsigned i)
{
    char name[256];
    struct model_call c = call_of(p, i, name);
    uint64_t size = p->blob[i].size;
    int want = absent(p, i), rc = model_blob_size(p, &c, &size);
    if (rc != want || size != p->blob[i].size)
        model_fail(p, "size of blob %u: %d, %llu, not %llu", i, rc,
                   (unsigned long long)size,
                   (unsigned long long)p->blob[i].size);
}

static void count_tier(struct model_player *p, const char *kind)
{
    for (unsigned k = 0; k < MODEL_KINDS; k++)
        p->tier[k] += strcmp(kind, model_kinds[k]) == 0;
}

static void step_stat(struct model_player *p, unsigned i)
{
    struct model_blob *b = &p->blob[i];
    struct sl_stat s;
    char name[256];
    struct model_call c = call_of(p, i, name);
    uint64_t bytes = 0;
    int want = absent(p, i), rc = sl_stat(p->world->rt, c.tag, name, &s);
    if (want && rc == want)
        return;
    for (unsigned k = 0; !rc && k < s.n_tiers && k < 4u; k++) {
        bytes += s.tier[k].bytes;
        count_tier(p, s.tier[k].kind);
    }
    if (rc != want || s.size != b->size || s.persist < b->level ||
        bytes > s.size || s.version < b->version ||
        (b->score_known && s.score != b->score))
        model_fail(p,
                   "stat of blob %u: %d, size %llu (%llu), level %u (%u), "
                   "version %llu (%llu), score %u (%u)",
                   i, rc, (unsigned long long)s.size,
                   (unsigned long long)b->size, s.persist, b->level,
                   (unsigned long long)s.version,
                   (unsigned long long)b->version, s.score, b->score);
    else
        b->version = s.version;
}

static void step_del(struct model_player *p, unsigned i)
{
    char name[256];
    struct model_call c = call_of(p, i, name);
    int want = absent(p, i), rc = model_del(p, &c);
    if (model_allows(p, rc))
        return;
    if (rc != want)
        model_fail(p, "delete of blob %u: %d, not %d", i, rc, want);
    model_forget(&p->blob[i], p->world->blob_max);
}

/* ---- score ---- */

static void step_score(struct model_player *p, unsigned i)
{
    struct model_blob *b = &p->blob[i];
    char name[256];
    struct model_call c = call_of(p, i, name);
    c.opts.score = any_score(p);
    int want = absent(p, i), rc = model_score(p, &c);
    p->scores++;
    if (model_allows(p, rc)) {
        b->score_known =
            0; /* the score is new, the bytes are where they were */
        return;
    }
    if (rc != want)
        model_fail(p, "score of blob %u: %d, not %d", i, rc, want);
    if (rc)
        return;
    b->score = c.opts.score < 0
                   ? SL_SCORE_AUTO
                   : (uint16_t)(c.opts.score * (float)SL_SCORE_ONE);
    b->score_known = 1;
}

/* ---- rename ---- */

/* Of several reasons to refuse any may be told. */
static int rename_may_be(const struct model_player *p, unsigned from,
                         unsigned to, uint32_t flags, int rc)
{
    int no_tag =
        !p->tag_there[model_tag_of(from)] || !p->tag_there[model_tag_of(to)];
    int no_blob = !p->blob[from].there;
    int in_use = from != to && p->blob[to].there && !(flags & SL_F_REPLACE);
    return (rc == SL_ENOTAG && no_tag) || (rc == SL_ENOENT && no_blob) ||
           (rc == SL_EEXIST && in_use) ||
           (rc == 0 && !no_tag && !no_blob && !in_use);
}

static void step_rename(struct model_player *p, unsigned from)
{
    unsigned to = (unsigned)model_pick(p, MODEL_BLOBS);
    uint32_t flags = model_pick(p, 2) ? SL_F_REPLACE : 0;
    struct model_blob moved = p->blob[from];
    char name[256], newname[256];
    model_blob_name(from, name, sizeof(name));
    model_blob_name(to, newname, sizeof(newname));
    int rc = sl_rename(p->world->rt, p->tag[model_tag_of(from)], name,
                       p->tag[model_tag_of(to)], newname, flags);
    if (model_allows(p, rc))
        return;
    if (!rename_may_be(p, from, to, flags, rc))
        model_fail(p, "rename of blob %u to %u: %d", from, to, rc);
    if (rc || from == to)
        return;
    model_forget(&p->blob[to], p->world->blob_max);
    p->blob[from] = p->blob[to];
    p->blob[to] = moved;
    p->blob[from].version = 0;
    p->blob[to].version = 0;
    p->renames++;
}

/* ---- the rest ---- */

static void step_flush(struct model_player *p)
{
    int rc;
    if (!p->world->level_max || model_pick(p, 20))
        return;
    rc = sl_flush(p->world->rt);
    p->flushes++;
    if (rc && !model_allows(p, rc))
        model_fail(p, "flush: %d", rc);
}

void model_step_own(struct model_player *p)
{
    unsigned i = (unsigned)model_pick(p, MODEL_BLOBS);
    uint64_t x = model_pick(p, 64);
    if (x < 26)
        step_put(p, i);
    else if (x < 50)
        step_get(p, i);
    else if (x < 53)
        step_size(p, i);
    else if (x < 56)
        step_stat(p, i);
    else if (x < 58)
        step_del(p, i);
    else if (x < 59)
        step_rename(p, i);
    else if (x < 60)
        step_score(p, i);
    else if (x < 63)
        model_step_tag(p, model_tag_of(i));
    else
        step_flush(p);
}

void model_look(struct model_player *p)
{
    for (unsigned t = 0; t < MODEL_TAGS; t++) {
        model_check_tag(p, t);
        model_check_list(p, t);
    }
    for (unsigned i = 0; i < MODEL_BLOBS && !p->why[0]; i++) {
        char name[256];
        struct model_call c = call_of(p, i, name);
        c.way = WAY_HOST;
        c.size = p->blob[i].size;
        if (!p->blob[i].there)
            p->blob[i].version = 0; /* kept while the store is open */
        step_stat(p, i);
        get_range(p, i, &c);
    }
}
