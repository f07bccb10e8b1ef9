/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/shard.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

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

/* Buffers are sized by this. A codec that this build lacks is told to who reads
 * the blob. */
int recover_is_unit(const struct meta_extent *e)
{
    if (e->bytes > UNIT_BYTES || e->loc > SL_BLOB_MAX - UNIT_BYTES)
        return 0;
    if (e->codec == SL_CODEC_NONE)
        return e->stored == unit_stored(e->bytes);
    return e->stored <= UNIT_BYTES &&
           unit_stored(e->stored) <= unit_stored(e->bytes);
}

int recover_check(const struct meta_blob *m, const char **why)
{
    *why = "the record has a size or a version above its limit";
    if (m->size > SL_BLOB_MAX || m->version > RECOVER_VERSION_MAX)
        return SL_ECORRUPT;
    *why = "the record has a score that is none";
    if (m->score > SL_SCORE_ONE && m->score != SL_SCORE_AUTO)
        return SL_ECORRUPT;
    for (uint32_t i = 0; i < m->n_extents; i++) {
        *why = "a codec that this program does not know";
        if (m->extents[i].codec >= SL_CODECS)
            return SL_EVERSION;
        *why = "the record has an extent that no store writes";
        if (!recover_is_unit(&m->extents[i]))
            return SL_ECORRUPT;
    }
    return 0;
}

int recover_outside(const struct target *t)
{
    log_error("store: target %s: its capacity of %llu bytes ends before bytes "
              "of a blob%s",
              t->spec.name, (unsigned long long)t->spec.capacity,
              t->spec.number ? "" : "; file_bytes is too small");
    return t->spec.number ? SL_ECORRUPT : SL_ECONFIG;
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
        b->ext[i] = extent_of(e->offset, e->bytes);
        extent_set_loc(&b->ext[i], e->loc);
        extent_set_stored(&b->ext[i], e->stored);
        b->ext[i].sum = e->sum;
        b->ext[i].codec = e->codec & SL_CODEC_ID_MASK;
        b->ext[i].target = (uint8_t)target;
        rc = unit_reserve(sh, &b->ext[i]);
        if (rc == SL_EINVAL)
            rc = recover_outside(&sh->store->target[target]);
        blob_set_n(b, i + 1u);
    }
    return rc;
}

/* One line for blobs whose space cannot be had; the code to hand up. What
 * recover_outside and target_of say stands alone. */
static int space_failed(const struct store *s, const struct tag *tag,
                        const struct meta_blob *m, const struct blob *b, int rc)
{
    const char *why = sl_strerror(rc), *path = NULL;
    if (rc == SL_ECORRUPT || rc == SL_ECONFIG || rc == SL_ENOTARGET)
        return rc;
    if (rc == SL_EEXIST)
        why = "its space is another blob's too"; /* two records name it */
    if (rc == SL_ESHRUNK)
        path = s->target[b->ext[b->n - 1u].target].spec.path;
    log_error("store: blob '%.*s' of tag '%.*s': %s%s%s", (int)m->name_len,
              m->name, (int)tag->len, tag->name, path ? path : "",
              path ? ": " : "", why);
    return rc == SL_EEXIST ? SL_ECORRUPT : rc;
}

static int load_blob(void *user, const struct meta_blob *m)
{
    struct store *s = user;
    struct sl_task key;
    const char *why;
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
    int rc = recover_check(m, &why);
    if (rc) {
        log_error("store: blob '%.*s' of tag '%.*s': %s", (int)m->name_len,
                  m->name, (int)tag->len, tag->name, why);
        return rc;
    }
    rc = blob_make(sh, &key, tag, &b);
    if (rc)
        return rc;
    rc = load_extents(sh, b, m);
    if (rc)
        return space_failed(s, tag, m, b, rc);
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

/* ---- the index ---- */

/*
 * The records come in the order of their keys, which scatters over the index: a
 * cache miss for each of ten million. So the index is made at the end, at its
 * final size, with the places fetched ahead, and by as many threads as there
 * are CPUs, each for one shard after the other.
 */
#define INDEX_AHEAD 16u

struct indexing {
    struct table *table;
    struct blob *blob[INDEX_AHEAD];
    uint64_t lo[INDEX_AHEAD];
    uint64_t n;
};

static int index_blob(void *user, struct blob *b)
{
    struct indexing *x = user;
    uint32_t i = (uint32_t)(x->n++ % INDEX_AHEAD);
    int rc = x->blob[i] ? table_insert(x->table, x->blob[i], x->lo[i]) : 0;
    x->blob[i] = b;
    x->lo[i] = blob_hash(b).lo;
    __builtin_prefetch(table_slot(x->table, x->lo[i]), 1);
    return rc;
}

static int index_shard(struct shard *sh)
{
    struct indexing x = {.table = &sh->index};
    uint64_t n = 0;
    for (uint32_t i = 0; i < sh->tag_used; i++)
        n += sh->tag_list[i]->n;
    int rc = table_reserve(&sh->index, n);
    if (!rc)
        rc = tags_each_blob(sh, index_blob, &x);
    for (uint32_t i = 0; i < INDEX_AHEAD && !rc; i++)
        rc = x.blob[i] ? table_insert(x.table, x.blob[i], x.lo[i]) : 0;
    return rc;
}

struct index_job {
    struct store *s;
    uint32_t next; /* atomic: shard that nobody has begun */
    int code;      /* atomic: any that failed */
};

static void *index_some(void *user)
{
    struct index_job *j = user;
    for (;;) {
        /* Relaxed: shards are apart, and the joins publish them. */
        uint32_t i = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED);
        if (i >= j->s->config.n_shards)
            return NULL;
        int rc = index_shard(j->s->shards[i]);
        if (rc)
            __atomic_store_n(&j->code, rc, __ATOMIC_RELAXED);
    }
}

#define INDEX_THREADS 16

static int index_all(struct store *s)
{
    struct index_job j = {.s = s};
    pthread_t thread[INDEX_THREADS];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t n = 0;
    sigset_t all, old;
    sigfillset(&all); /* signals are for the program's threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (n < INDEX_THREADS && (long)n + 1 < cpus &&
           n + 1u < s->config.n_shards &&
           !pthread_create(&thread[n], NULL, index_some, &j))
        n++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    index_some(&j);
    while (n)
        pthread_join(thread[--n], NULL);
    return j.code;
}

int store_recover(struct store *s)
{
    if (!s->meta)
        return 0;
    int rc = meta_load(s->meta, load_tag, load_blob, s);
    return rc ? rc : index_all(s);
}
