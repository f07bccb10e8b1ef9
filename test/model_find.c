/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a player's blobs, found in each way: list, cursor, query. */
#include "model.h"

struct listing {
    struct model_player *p;
    unsigned tag;
    uint32_t seen, wrong; /* bits of blobs */
};

static int listed(void *user, const char *name, uint32_t len, uint64_t size)
{
    struct listing *l = user;
    unsigned i = (unsigned)strtoul(name, NULL, 10);
    char want[256];
    if (i >= MODEL_BLOBS) {
        l->wrong |= 1u << 31;
        return 0;
    }
    model_blob_name(i, want, sizeof(want));
    if (strlen(want) != len || memcmp(name, want, len) != 0 ||
        model_tag_of(i) != l->tag || size != l->p->blob[i].size)
        l->wrong |= 1u << i;
    l->p->twice += l->seen >> i & 1u; /* others delete beside it */
    l->seen |= 1u << i;
    return 0;
}

/* In pieces of 1 to 4. */
static int by_cursor(struct listing *l)
{
    struct sl_runtime *rt = l->p->world->rt;
    struct sl_cursor c = {0};
    size_t n = 1u + model_pick(l->p, 4);
    struct sl_entry e[4];
    int got;
    do {
        got = sl_list_next(rt, l->p->tag[l->tag], &c, e, n);
        for (int k = 0; k < got; k++)
            (void)listed(l, e[k].name, e[k].len, e[k].value);
    } while (got == (int)n);
    return got < 0 ? got : 0;
}

static int matched(void *user, const struct sl_match *m)
{
    struct listing *l = user;
    if (m->tag != l->p->tag[l->tag])
        l->wrong |= 1u << 30;
    return listed(user, m->blob, (uint32_t)strlen(m->blob), m->size);
}

/* The blobs of one tag whose number is at most `last`, one digit. */
static int by_query(struct listing *l, unsigned last, uint32_t want)
{
    char name[MODEL_TAG_NAME], tag[MODEL_TAG_NAME + 2u], blob[32];
    struct sl_query q = {.size = sizeof(q), .tag = tag, .blob = blob};
    uint64_t total = 0;
    unsigned n = (unsigned)__builtin_popcount(want);
    model_tag_name(l->p, l->tag, name);
    snprintf(tag, sizeof(tag), "^%s$", name);
    snprintf(blob, sizeof(blob), "^0*[0-%u]$", last);
    q.limit = model_pick(l->p, 3);
    int rc = sl_query(l->p->world->rt, &q, matched, l, &total);
    if (rc)
        return rc;
    unsigned seen = (unsigned)__builtin_popcount(l->seen);
    l->p->twice += total - n;
    if (total < n || (q.limit && seen > q.limit) || (l->seen & ~want))
        l->wrong |= 1u << 29;
    if (q.limit && (n == 0 || seen > 0))
        l->seen = want;
    return 0;
}

void model_check_list(struct model_player *p, unsigned t)
{
    struct listing l = {.p = p, .tag = t};
    unsigned last = MODEL_BLOBS - 1u;
    uint64_t way = model_pick(p, 3);
    p->lists++;
    uint32_t want = 0;
    int rc, absent = p->tag_there[t] ? 0 : SL_ENOTAG;
    if (way == 2) {
        last = (unsigned)model_pick(p, MODEL_BLOBS);
        absent = 0; /* no tag matches */
    }
    for (unsigned i = 0; i <= last; i++)
        if (model_tag_of(i) == t && p->blob[i].there)
            want |= 1u << i;
    if (way == 0)
        rc = sl_list(p->world->rt, p->tag[t], listed, &l);
    else if (way == 1)
        rc = by_cursor(&l);
    else
        rc = by_query(&l, last, want);
    if (rc != absent || l.wrong || l.seen != want)
        model_fail(p, "list of tag %u in way %u: %d, %x wrong, %x seen, not %x",
                   t, (unsigned)way, rc, l.wrong, l.seen, want);
}
