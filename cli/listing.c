/* SPDX-License-Identifier: Apache-2.0 */
#include "listing.h"

#include "out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int d = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return d ? d : (a_len > b_len) - (a_len < b_len);
}

static int add(void *user, const char *name, uint32_t len, uint64_t value)
{
    struct listing *l = user;
    struct listing_entry *e;
    if (l->after && compare(name, len, l->after, strlen(l->after)) <= 0)
        return 0;
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 256;
        e = realloc(l->entry, room * sizeof(*e));
        if (!e)
            return SL_ENOMEM;
        l->entry = e;
        l->room = room;
    }
    e = &l->entry[l->n];
    e->name = malloc(len + 1u);
    if (!e->name)
        return SL_ENOMEM;
    memcpy(e->name, name, len);
    e->name[len] = 0;
    e->len = len;
    e->value = value;
    l->n++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct listing_entry *x = a, *y = b;
    return compare(x->name, x->len, y->name, y->len);
}

static size_t shown(const struct listing *l)
{
    return l->limit && l->limit < l->n ? (size_t)l->limit : l->n;
}

static int print_json(const struct listing *l, int tags)
{
    json_t *root = json_array();
    for (size_t i = 0; root && i < shown(l); i++) {
        const struct listing_entry *e = &l->entry[i];
        json_array_append_new(
            root, json_pack("{s:o, s:o}", "name", out_text(e->name, e->len),
                            tags ? "id" : "size",
                            tags ? out_id(e->value)
                                 : json_integer((json_int_t)e->value)));
    }
    return out_json(root);
}

static int print(const struct listing *l)
{
    for (size_t i = 0; i < shown(l); i++) {
        if (l->with_value)
            printf("%llu\t", (unsigned long long)l->entry[i].value);
        fwrite(l->entry[i].name, 1, l->entry[i].len, stdout);
        putchar('\n');
    }
    return out_done();
}

int listing_run(struct listing *l, struct session *s)
{
    int code, rc = s->tag ? session_find(s) : 0;
    if (rc)
        return rc;
    code = s->tag ? sl_list(s->rt, s->tag_id, add, l)
                  : sl_list_tags(s->rt, add, l);
    if (code) {
        rc = session_fail(s, code);
    } else {
        if (l->n)
            qsort(l->entry, l->n, sizeof(l->entry[0]), by_name);
        rc = s->json ? print_json(l, !s->tag) : print(l);
    }
    for (size_t i = 0; i < l->n; i++)
        free(l->entry[i].name);
    free(l->entry);
    return rc;
}

int tag_show(const struct session *s)
{
    struct sl_tag_stat st;
    json_t *root;
    int code = sl_tag_stat(s->rt, s->tag_id, &st);
    if (code)
        return session_fail(s, code);
    root = json_pack("{s:o, s:o, s:I, s:I}", "tag", out_text(st.name, st.len),
                     "id", out_id(st.id), "blobs", (json_int_t)st.blobs, "size",
                     (json_int_t)st.bytes);
    return s->json ? out_json(root) : out_object(root);
}
