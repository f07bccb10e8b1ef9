/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/shard.h"

#include <string.h>

/*
 * Recovery: every tag into every shard, every blob into its own, the units it
 * names out of the file's free space. What no record names is free.
 */

static int load_tag(void *user, uint64_t id, const char *name, uint32_t len)
{
    struct store *s = user;
    for (uint32_t i = 0; i < s->config.n_shards; i++) {
        struct tag *t;
        int rc = tag_add(s->shards[i], id, name, len, &t);
        if (!rc)
            rc = tag_load_name(s->shards[i], id, name, len);
        if (rc)
            return rc;
        t->ready = 1;
    }
    return 0;
}

/* The index of the target that a record means; a code. */
static int target_of(const struct store *s, uint32_t number)
{
    int t = target_of_number(s, number);
    if (t < 0)
        log_error("store: target number %u of a record is not in the list of "
                  "targets",
                  number);
    return t < 0 ? SL_ENOTARGET : t;
}

static int load_extents(struct shard *sh, struct blob *b,
                        const struct meta_blob *m)
{
    int rc = blob_reserve(b, m->n_extents);
    for (uint32_t i = 0; i < m->n_extents && !rc; i++) {
        const struct meta_extent *e = &m->extents[i];
        int target = target_of(sh->store, e->target);
        if (target < 0)
            return target;
        if (e->codec != 0)
            return SL_EVERSION;
        /* Buffers are sized by this: a record that says else is refused. */
        if (e->bytes > UNIT_BYTES || e->stored != unit_stored(e->bytes))
            return SL_ECORRUPT;
        if (e->loc > SL_BLOB_MAX - e->stored)
            return SL_ECORRUPT;
        b->ext[i] = extent_of(e->offset, e->bytes);
        extent_set_loc(&b->ext[i], e->loc);
        extent_set_stored(&b->ext[i], e->stored);
        b->ext[i].sum = e->sum;
        b->ext[i].target = (uint8_t)target;
        rc = unit_reserve(sh, &b->ext[i]);
        blob_set_n(b, i + 1u);
    }
    return rc;
}

static int load_blob(void *user, const struct meta_blob *m)
{
    struct store *s = user;
    struct sl_task key;
    struct blob *b;
    memset(&key, 0, sizeof(key));
    key.hash = sl_key_hash(m->tag, m->name, m->name_len);
    key.cell.name_len = (uint8_t)m->name_len;
    key.cell.score = m->score;
    key.name = (const uint8_t *)m->name;
    struct shard *sh =
        s->shards[sl_key_container(key.hash, s->config.n_shards)];
    struct tag *tag = tag_find(sh, m->tag);
    if (!tag) {
        log_error("store: blob '%.*s' names tag %llx, which has no record",
                  (int)m->name_len, m->name, (unsigned long long)m->tag);
        return SL_ECORRUPT;
    }
    if (m->size > SL_BLOB_MAX || m->version > BLOB_VERSION_MAX) {
        log_error("store: blob '%.*s' of tag '%.*s' has a size or a version "
                  "above 2^48",
                  (int)m->name_len, m->name, (int)tag->len, tag->name);
        return SL_ECORRUPT;
    }
    int rc = blob_create(sh, &key, tag, &b);
    if (rc)
        return rc;
    rc = load_extents(sh, b, m);
    if (rc) {
        log_error("store: blob '%.*s' of tag '%.*s': an extent cannot be: %s",
                  (int)m->name_len, m->name, (int)tag->len, tag->name,
                  sl_strerror(rc));
        /* Space that two records name, or none can have. */
        return rc == SL_EEXIST || rc == SL_EINVAL ? SL_ECORRUPT : rc;
    }
    b->context = m->context;
    b->persist = m->persist & 3u;
    b->recorded = 1;
    b->size = m->size & SL_BLOB_MAX;
    tag->bytes += m->size;
    tag->shown++;
    b->version = (m->version ? m->version : 1u) & BLOB_VERSION_MAX;
    blob_set_created(b, m->created_ns);
    blob_set_changed(b, m->changed_ns);
    return 0;
}

int store_recover(struct store *s)
{
    return s->meta ? meta_load(s->meta, load_tag, load_blob, s) : 0;
}
