/* SPDX-License-Identifier: Apache-2.0 */
/* A player's tags: two tags and three names, which change hands. */
#include "model.h"

/* Half of the names are too long for a cell. */
static void name_of(const struct model_player *p, unsigned name,
                    char text[MODEL_TAG_NAME])
{
    snprintf(text, MODEL_TAG_NAME, name % 2u ? "own-%u-%060u" : "own-%u-%u",
             p->id, name);
}

void model_tag_name(const struct model_player *p, unsigned t,
                    char name[MODEL_TAG_NAME])
{
    name_of(p, p->name[t], name);
}

/* The tag gets the name of `other`, which gets its own. */
static void swap_names(struct model_player *p, unsigned t, unsigned other)
{
    uint8_t was = p->name[t];
    p->name[t] = p->name[other];
    p->name[other] = was;
}

/* Each name finds its tag, or none. */
static void check_names(struct model_player *p)
{
    for (unsigned i = 0; i < MODEL_NAMES; i++) {
        int there = i < MODEL_TAGS && p->tag_there[i];
        char name[MODEL_TAG_NAME];
        uint64_t id = 0;
        name_of(p, p->name[i], name);
        int rc = sl_tag_find(p->world->rt, name, &id);
        if (rc != (there ? 0 : SL_ENOTAG) || (there && id != p->tag[i]))
            model_fail(p, "name %s: %d, tag %llx, not %llx", name, rc,
                       (unsigned long long)id,
                       (unsigned long long)(there ? p->tag[i] : 0));
    }
}

static void check_stat(struct model_player *p, unsigned t)
{
    struct sl_tag_stat st;
    char name[MODEL_TAG_NAME];
    model_tag_name(p, t, name);
    int rc = sl_tag_stat(p->world->rt, p->tag[t], &st);
    if (rc || strcmp(st.name, name) != 0)
        model_fail(p, "stat of tag %s: %d, %s", name, rc, rc ? "" : st.name);
}

void model_check_tag(struct model_player *p, unsigned t)
{
    uint64_t bytes = 0, blobs = 0, sum = 0, n = 0;
    int rc = sl_tag_size(p->world->rt, p->tag[t], &bytes, &blobs);
    check_names(p);
    if (!p->tag_there[t]) {
        if (rc != SL_ENOTAG)
            model_fail(p, "size of a deleted tag: %d", rc);
        return;
    }
    check_stat(p, t);
    for (unsigned i = 0; i < MODEL_BLOBS; i++) {
        if (model_tag_of(i) != t || !p->blob[i].there)
            continue;
        n++;
        sum += p->blob[i].size;
    }
    if (rc || bytes != sum || blobs != n)
        model_fail(p, "tag %u: %d, %llu bytes (%llu), %llu blobs (%llu)", t, rc,
                   (unsigned long long)bytes, (unsigned long long)sum,
                   (unsigned long long)blobs, (unsigned long long)n);
}

/* Versions rise as long as a blob is of the same tag and name. */
static void new_blobs(struct model_player *p, unsigned t)
{
    for (unsigned i = 0; i < MODEL_BLOBS; i++)
        if (model_tag_of(i) == t)
            p->blob[i].version = 0;
}

/* Under its last name or the free one. An id belongs to one tag at a time. */
static void create_tag(struct model_player *p, unsigned t)
{
    char name[MODEL_TAG_NAME];
    uint64_t id = 0;
    if (model_pick(p, 2))
        swap_names(p, t, MODEL_TAGS);
    model_tag_name(p, t, name);
    int rc = sl_tag(p->world->rt, name, &id);
    if (model_allows(p, rc))
        return;
    for (unsigned i = 0; i < MODEL_TAGS; i++) {
        if (i == t || p->tag[i] != id)
            continue;
        if (p->tag_there[i])
            model_fail(p, "tag %s has the id of another", name);
        p->tag[i] ^= UINT64_C(64); /* the deleted one needs one of nobody */
    }
    if (rc || !id)
        model_fail(p, "create of tag %s: %d", name, rc);
    if (p->tag[t] != id)
        new_blobs(p, t);
    p->tag[t] = id;
    p->tag_there[t] = 1;
}

static void delete_tag(struct model_player *p, unsigned t)
{
    int rc = sl_tag_del(p->world->rt, p->tag[t]);
    if (model_allows(p, rc))
        return;
    if (rc)
        model_fail(p, "delete of tag %u: %d", t, rc);
    p->tag_there[t] = 0;
    for (unsigned i = 0; i < MODEL_BLOBS; i++)
        if (model_tag_of(i) == t)
            model_forget(&p->blob[i], p->world->blob_max);
    check_names(p);
}

/* To the free name, to the other tag's, or to the one that it has. */
static void rename_tag(struct model_player *p, unsigned t)
{
    unsigned to = (unsigned)model_pick(p, MODEL_NAMES);
    int in_use = to < MODEL_TAGS && to != t && p->tag_there[to];
    int want = in_use ? SL_EEXIST : 0;
    char name[MODEL_TAG_NAME];
    model_tag_name(p, to, name);
    int rc = sl_tag_rename(p->world->rt, p->tag[t], name);
    if (model_allows(p, rc))
        return;
    if (!p->tag_there[t])
        want = SL_ENOTAG;
    if (rc != want)
        model_fail(p, "rename of tag %u to %s: %d, not %d", t, name, rc, want);
    p->refused += rc == SL_EEXIST;
    if (rc)
        return;
    p->tag_renames += to != t;
    swap_names(p, t, to);
    check_names(p);
}

void model_step_tag(struct model_player *p, unsigned t)
{
    uint64_t x = model_pick(p, 16);
    if (x == 2)
        rename_tag(p, t);
    else if (!p->tag_there[t])
        create_tag(p, t);
    else if (x < 2)
        delete_tag(p, t);
    else if (x < 9)
        model_check_list(p, t);
    else
        model_check_tag(p, t);
}
