/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/fsck_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/*
 * Records in an LMDB file that LMDB cannot be trusted with. The layouts are as
 * in meta_check.c, and so is the distrust: each number is compared with what the
 * file has before it is followed.
 *
 * First the trees of the newest head, as far as they hold together: what a sound
 * node of a sound page names is live. Then, if something of a tree was missing,
 * the leaves that are in no tree and not in the list of free pages; at last every
 * byte of what is left: a record tells its own length and has a sum, so it is
 * known wherever it lies. In a sound leaf only its nodes count, as between them
 * are the bytes of records that were deleted.
 *
 * The work is linear in the length of the file whatever it holds: a page is
 * walked once; the nodes of a leaf do not overlap, so together they are no longer
 * than it; and what looks like a record and has another sum is summed up to
 * SEARCH_TIMES the file, behind which no more is looked at, as damage alone does
 * not make so much of it. `read` counts the bytes.
 */

#define PAGE_HEAD 16u
#define PAGE_BRANCH 0x01u
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u
#define META_MAGIC 0xbeefc0deu
#define NODE_HEAD 8u
#define NODE_BIG 0x01u
#define NODE_DB 0x02u
#define DB_BYTES 48u
#define NO_PAGE UINT64_MAX
#define DEPTH_MAX 32u
#define PSIZE_MAX 32768u
/* Of a file that damage made, torn records are a part. */
#define SEARCH_TIMES 8u

enum tree { TREE_MAIN, TREE_TAGS, TREE_BLOBS, TREE_FREE };
/* PAGE_DAMAGED: it was walked as far as it goes, and is searched too. */
enum page { PAGE_UNKNOWN = 0, PAGE_LIVE, PAGE_FREE, PAGE_DAMAGED };

struct walk {
    struct fsck_pages *out;
    uint8_t *page; /* enum page of each */
    uint64_t pages;
    uint32_t psize;
    uint64_t tags_root, blobs_root;
    uint64_t budget; /* bytes that may still be summed in vain */
    int trusted;     /* the head is the newest */
    int broken;      /* something of a tree is missing */
};

struct bytes {
    const uint8_t *p;
    uint64_t n;
};

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = bytes; i; i--)
        v = v << 8 | p[i - 1u];
    return v;
}

/* ---- records ---- */

static int sum_fits(struct walk *w, const uint8_t *p, uint64_t n)
{
    if (n > w->budget) {
        w->out->gave_up = 1;
        return 0;
    }
    w->out->read += n;
    if (get(p + n - META_SUM_BYTES, 8) ==
        XXH3_64bits(p, (size_t)(n - META_SUM_BYTES)))
        return 1;
    w->budget -= n;
    return 0;
}

/* Length of the blob or tag record at p, 0: there is none. */
static uint64_t record_at(struct walk *w, const uint8_t *p, uint64_t left)
{
    uint64_t n = 0;

    if (left < 21u || p[1] != 1)
        return 0;
    if (p[0] == 'T' && p[2] && !p[3])
        n = META_TAG_HEAD + p[2] + META_SUM_BYTES;
    else if (p[0] == 'B' && left >= META_BLOB_HEAD && p[2] <= 2 && p[3] &&
             !get(p + 12, 4))
        n = META_BLOB_HEAD + p[3] + META_EXTENT_BYTES * get(p + 8, 4) +
            META_SUM_BYTES;
    return n && n <= left && n <= UINT32_MAX && sum_fits(w, p, n) ? n : 0;
}

enum where { IN_NO_TREE, IN_OLD_TREE, IN_LIVE_TREE };

static int add(struct fsck_pages *o, const uint8_t *p, uint64_t n,
               enum where where)
{
    struct fsck_founds *l = p[0] == 'T' ? &o->tags : &o->blobs;

    if (l->n == l->room) {
        size_t room = l->room ? 2u * l->room : 256u;
        void *at = realloc(l->at, room * sizeof *l->at);
        if (!at)
            return SL_ENOMEM;
        l->at = at;
        l->room = room;
    }
    l->at[l->n++] =
        (struct fsck_found){.at = (uint64_t)(p - o->base),
                            .version = p[0] == 'T' ? where : get(p + 32, 8),
                            .bytes = (uint32_t)n,
                            .live = where == IN_LIVE_TREE};
    return SL_OK;
}

/* ---- trees ---- */

static const uint8_t *page_at(const struct walk *w, uint64_t page)
{
    if (page < 2 || page >= w->pages || w->page[page])
        return NULL;
    const uint8_t *p = w->out->base + page * w->psize;
    return get(p, 8) == page ? p : NULL;
}

static void take(struct walk *w, uint64_t page, uint64_t n)
{
    for (uint64_t i = page; i < page + n && i < w->pages; i++)
        w->page[i] = PAGE_LIVE;
}

/* The value of a leaf's node, which begins in its page; p null: none. */
static struct bytes value_of(struct walk *w, const uint8_t *node, uint64_t room)
{
    uint64_t n = get(node, 4), key = get(node + 6, 2);
    struct bytes none = {NULL, 0}, v = {node + NODE_HEAD + key, n};

    if (NODE_HEAD + key > room)
        return none;
    room -= NODE_HEAD + key;
    if (!(get(node + 4, 2) & NODE_BIG))
        return n <= room ? v : none;
    if (room < 8)
        return none;
    uint64_t first = get(v.p, 8);
    const uint8_t *p = page_at(w, first);
    if (!p || get(p + 10, 2) != PAGE_OVERFLOW)
        return none;
    uint64_t pages = get(p + 12, 4);
    if (pages == 0 || pages > w->pages - first ||
        n + PAGE_HEAD > pages * w->psize)
        return none;
    take(w, first, pages);
    return (struct bytes){p + PAGE_HEAD, n};
}

/* Takes the node's bytes from those that the nodes of its page may have
 * together; 0: it has more, so some overlap. */
static int node_fits(const uint8_t *node, uint64_t *left)
{
    uint64_t n = NODE_HEAD + get(node + 6, 2);

    n += get(node + 4, 2) & NODE_BIG ? 8u : get(node, 4);
    if (n > *left)
        return 0;
    *left -= n;
    return 1;
}

static int main_value(struct walk *w, const uint8_t *node, struct bytes v)
{
    const char *key = (const char *)node + NODE_HEAD;
    uint64_t n = get(node + 6, 2);
    int is_db = (get(node + 4, 2) & NODE_DB) && v.n == DB_BYTES;

    if (is_db && n == 4 && !memcmp(key, "tags", 4)) {
        w->tags_root = get(v.p + 40, 8);
        w->out->tags_said = get(v.p + 32, 8);
    } else if (is_db && n == 5 && !memcmp(key, "blobs", 5)) {
        w->blobs_root = get(v.p + 40, 8);
        w->out->blobs_said = get(v.p + 32, 8);
    } else if (n == 3 && !memcmp(key, META_GENERATION_KEY, 3)) {
        w->out->has_generation =
            !meta_generation_decode(v.p, (size_t)v.n, &w->out->generation);
        return w->out->has_generation;
    }
    return 1;
}

static void free_value(struct walk *w, struct bytes v)
{
    uint64_t n = v.n >= 8 ? get(v.p, 8) : 0;

    for (uint64_t i = 1; i <= n && i < v.n / 8; i++) {
        uint64_t page = get(v.p + 8 * i, 8);
        if (page < w->pages && !w->page[page])
            w->page[page] = PAGE_FREE;
    }
}

/* 0: the node is damaged. */
static int leaf_node(struct walk *w, enum tree t, const uint8_t *node,
                     uint64_t room, int *rc)
{
    struct bytes v = value_of(w, node, room);

    if (!v.p)
        return 0;
    if (t == TREE_MAIN)
        return main_value(w, node, v);
    if (t == TREE_FREE)
        free_value(w, v);
    if (t == TREE_FREE)
        return 1;
    if (record_at(w, v.p, v.n) != v.n || (v.p[0] == 'T') != (t == TREE_TAGS))
        return 0;
    *rc = add(w->out, v.p, v.n, w->trusted ? IN_LIVE_TREE : IN_OLD_TREE);
    return 1;
}

static int walk(struct walk *w, enum tree t, uint64_t page, unsigned depth)
{
    const uint8_t *p = page_at(w, page);
    uint64_t kind = p ? get(p + 10, 2) : 0, lower = p ? get(p + 12, 2) : 0;
    uint64_t left = w->psize;
    int rc = SL_OK, sound = 1;

    if (page == NO_PAGE && depth == 0)
        return SL_OK;
    if ((kind != PAGE_LEAF && kind != PAGE_BRANCH) || lower < PAGE_HEAD ||
        lower > w->psize || depth == DEPTH_MAX) {
        w->broken = 1;
        return SL_OK;
    }
    w->page[page] = PAGE_LIVE;
    for (uint64_t i = PAGE_HEAD; i + 1u < lower && !rc; i += 2) {
        uint64_t at = get(p + i, 2);
        if (at < lower || at + NODE_HEAD > w->psize ||
            (kind == PAGE_LEAF && !node_fits(p + at, &left)))
            sound = 0;
        else if (kind == PAGE_LEAF)
            sound &= leaf_node(w, t, p + at, w->psize - at, &rc);
        else /* the number has 48 bits */
            rc = walk(w, t, get(p + at, 6), depth + 1u);
    }
    if (!sound) { /* in a branch are no records, and bytes of old ones */
        w->page[page] = kind == PAGE_LEAF ? PAGE_DAMAGED : PAGE_LIVE;
        w->broken = 1;
    }
    return rc;
}

/* ---- heads ---- */

static int head_at(const struct fsck_pages *o, uint64_t at, unsigned number,
                   uint32_t *psize, uint64_t *txn)
{
    const uint8_t *m;

    if (at + PAGE_HEAD + 136u > o->bytes)
        return 0;
    m = o->base + at + PAGE_HEAD;
    if (get(m, 4) != META_MAGIC)
        return 0;
    *psize = (uint32_t)get(m + 24, 4);
    *txn = get(m + 128, 8);
    return *psize >= 512 && *psize <= PSIZE_MAX &&
           (*psize & (*psize - 1u)) == 0 && (*txn == 0 || *txn % 2 == number);
}

/* Where the newest head that can be read has its databases; null: none. Two
 * heads that follow each other leave no doubt which it is. */
static const uint8_t *head_find(struct walk *w)
{
    const struct fsck_pages *o = w->out;
    uint64_t txn[2] = {0, 0}, at = 0;
    uint32_t size = 0;
    int first = head_at(o, 0, 0, &w->psize, &txn[0]), second = 0;

    for (uint32_t ps = 512; ps <= PSIZE_MAX && !second; ps *= 2u)
        if (!first || ps == w->psize) {
            second = head_at(o, ps, 1, &size, &txn[1]) && size == ps;
            at = ps;
        }
    w->trusted = first && second &&
                 (txn[0] + 1 == txn[1] || txn[1] + 1 == txn[0] ||
                  (txn[0] == 0 && txn[1] == 0));
    if (second)
        w->psize = size;
    if (!first && !second)
        return NULL;
    return o->base + (second && (!first || txn[1] > txn[0]) ? at : 0) +
           PAGE_HEAD + 24;
}

static int trees(struct walk *w)
{
    const uint8_t *dbs = head_find(w);
    int rc;

    w->tags_root = w->blobs_root = 0; /* no page of a tree */
    w->broken = !w->trusted;
    if (!dbs) /* as LMDB would make it here */
        w->psize = (uint32_t)sysconf(_SC_PAGESIZE);
    w->pages = w->out->bytes / w->psize;
    w->budget = SEARCH_TIMES * w->out->bytes;
    w->page = calloc(w->pages + 1u, 1);
    if (!w->page)
        return SL_ENOMEM;
    if (!dbs)
        return SL_OK;
    rc = walk(w, TREE_MAIN, get(dbs + DB_BYTES + 40, 8), 0);
    if (!rc)
        rc = walk(w, TREE_TAGS, w->tags_root, 0);
    if (!rc)
        rc = walk(w, TREE_BLOBS, w->blobs_root, 0);
    if (!rc && w->broken && w->trusted)
        rc = walk(w, TREE_FREE, get(dbs + 40, 8), 0);
    return rc;
}

/* ---- what is in no tree ---- */

static int stray_leaf(struct walk *w, const uint8_t *p)
{
    uint64_t page = (uint64_t)(p - w->out->base) / w->psize;
    uint64_t lower = get(p + 12, 2), found = 0, left = w->psize;
    int rc = SL_OK, sound = 1;

    for (uint64_t i = PAGE_HEAD; i + 1u < lower && !rc; i += 2) {
        uint64_t at = get(p + i, 2);
        struct bytes v = {NULL, 0};
        if (at >= lower && at + NODE_HEAD <= w->psize &&
            node_fits(p + at, &left))
            v = value_of(w, p + at, w->psize - at);
        if (v.p && v.n && record_at(w, v.p, v.n) == v.n)
            rc = add(w->out, v.p, v.n, IN_NO_TREE);
        else
            sound = 0;
        found++;
    }
    if (found)
        w->page[page] = sound ? PAGE_LIVE : PAGE_DAMAGED;
    return rc;
}

static int stray_pages(struct walk *w)
{
    int rc = SL_OK;

    for (uint64_t i = 2; i < w->pages && !rc; i++) {
        const uint8_t *p = page_at(w, i);
        if (p && get(p + 10, 2) == PAGE_BRANCH)
            w->page[i] = PAGE_LIVE; /* has no records */
        else if (p && get(p + 10, 2) == PAGE_LEAF && get(p + 12, 2) <= w->psize)
            rc = stray_leaf(w, p);
    }
    return rc;
}

static void stray_generation(struct fsck_pages *o, const uint8_t *p)
{
    uint64_t generation;

    if (meta_generation_decode(p, META_GENERATION_BYTES, &generation) ||
        (o->has_generation && generation <= o->generation))
        return;
    o->generation = generation;
    o->has_generation = 1;
}

static int search(struct walk *w)
{
    struct fsck_pages *o = w->out;
    int wants = !w->trusted || !o->has_generation;
    uint64_t at = 0;
    int rc = stray_pages(w);

    while (at < o->bytes && !rc) {
        uint64_t page = at / w->psize, n;
        if (page < w->pages &&
            (w->page[page] == PAGE_LIVE || w->page[page] == PAGE_FREE)) {
            at = (page + 1u) * w->psize;
            continue;
        }
        n = record_at(w, o->base + at, o->bytes - at);
        if (n)
            rc = add(o, o->base + at, n, IN_NO_TREE);
        else if (wants && o->bytes - at >= META_GENERATION_BYTES)
            stray_generation(o, o->base + at);
        at += n ? n : 1u;
    }
    return rc;
}

/* Live ones first, then the newest. */
static int compare(const void *a, const void *b)
{
    const struct fsck_found *x = a, *y = b;

    if (x->live != y->live)
        return x->live ? -1 : 1;
    if (x->version != y->version)
        return x->version > y->version ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The log knows its generation, too: it is the newest word on it, unless the
 * head is. */
static int log_find(struct fsck_pages *o, const struct store_dir *d,
                    int trusted)
{
    char *path = dir_join(d->path, "log");
    uint8_t head[LOG_HEAD];
    struct log_frame frame;
    struct meta_log l;
    size_t at = 0;
    int rc, fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd < 0 ? 0 : pread(fd, head, sizeof head, 0);

    if (fd >= 0)
        close(fd);
    free(path);
    if (n != (ssize_t)sizeof head)
        return SL_OK;
    rc = log_look(d->path, get(head + 8, 8), &l);
    if (rc)
        return rc;
    if ((l.n > 1 || l.hole.synced) && (!trusted || !o->has_generation)) {
        o->generation = get(head + 8, 8);
        o->has_generation = 1;
    }
    while (o->generation == get(head + 8, 8) && log_next(&l, &at, &frame))
        o->has_log |= frame.op != LOG_DEL_BLOB && frame.op != LOG_DEL_TAG;
    log_close(&l);
    return SL_OK;
}

static int map(struct fsck_pages *o, const struct store_dir *d)
{
    char *path = dir_join(d->meta, "data.mdb");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat st;
    void *p = NULL;
    int rc = path ? SL_OK : SL_ENOMEM;

    if (path && fd < 0 && errno != ENOENT)
        rc = dir_errno(errno);
    if (fd >= 0 && !fstat(fd, &st) && st.st_size > 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        rc = p == MAP_FAILED ? SL_ENOMEM : SL_OK;
    }
    if (p && !rc) {
        o->base = p;
        o->bytes = (uint64_t)st.st_size;
    }
    if (fd >= 0)
        close(fd);
    free(path);
    return rc;
}

int fsck_pages_find(const struct store_dir *d, struct fsck_pages *out)
{
    struct walk w = {.out = out};
    int rc = map(out, d);

    if (!rc)
        rc = trees(&w);
    if (!rc && w.broken)
        rc = search(&w);
    if (!rc)
        rc = log_find(out, d, w.trusted);
    if (!w.trusted) /* of what was then */
        out->tags_said = out->blobs_said = 0;
    free(w.page);
    if (out->tags.n)
        qsort(out->tags.at, out->tags.n, sizeof *out->tags.at, compare);
    if (out->blobs.n)
        qsort(out->blobs.at, out->blobs.n, sizeof *out->blobs.at, compare);
    return rc;
}

void fsck_pages_free(struct fsck_pages *p)
{
    union {
        const uint8_t *in;
        void *p;
    } u = {p->base};

    if (p->base)
        munmap(u.p, (size_t)p->bytes);
    free(p->tags.at);
    free(p->blobs.at);
}
