/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A walk over the pages of an LMDB file. The layouts are those of LMDB 0.9
 * (struct MDB_meta, MDB_page, MDB_node and MDB_db of its mdb.c).
 *
 * The size of the file is compared with the pages that are reachable, not
 * with the highest page number of the head: LMDB never writes a page that is
 * allocated and freed in one transaction, so a sound file may be shorter than
 * its head says; and a write that a full disk cut short may leave a part of a
 * page, which nothing refers to.
 */
#include "store/meta_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_HEAD 16u
#define PAGE_BRANCH 0x01u
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u
#define PAGE_META 0x08u
#define META_MAGIC 0xbeefc0deu
#define META_VERSION 1u
#define META_BYTES 136u
#define DB_BYTES 48u
#define NODE_HEAD 8u
#define NODE_BIG 0x01u
#define NODE_DB 0x02u
#define FREE_DB_FLAGS 0x08u /* integer keys; no flags of the environment */
#define NO_PAGE UINT64_MAX
#define DEPTH_MAX 32u /* LMDB's cursor stack */
#define KEY_MAX 511u
#define PSIZE_MAX 32768u
/* 1 TiB, far above any store's metadata; LMDB maps as much as the head says,
 * so a larger number, which is damage, could take all address space. */
#define MAP_MAX (UINT64_C(1) << 40)

struct view {
    const uint8_t *base;
    uint64_t pages; /* whole pages in the file */
    uint64_t last;  /* highest page number in use, from the head */
    uint64_t txn;   /* number of the newest transaction, from the head */
    uint32_t psize;
    uint8_t *seen;   /* one bit for each page up to last */
    const char *why; /* first fault, null: none */
    uint64_t at;     /* page of the fault */
};

struct head {
    uint64_t mapsize, last, txn;
    uint32_t psize;
    const uint8_t *dbs; /* free list, main */
};

/* One tree while it is walked. */
struct tree {
    uint64_t entries;
    const uint8_t *key; /* last key met, null: none yet */
    uint32_t key_len;
    int inclusive; /* the next leaf key may equal it (a separator) */
    int is_free;   /* the list of free pages */
    int is_main;   /* may hold named databases */
};

static int tree_check(struct view *v, const uint8_t *db, struct tree *t);

static uint16_t get16(const uint8_t *p)
{
    uint16_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static int bad(struct view *v, uint64_t page, const char *why)
{
    if (!v->why) {
        v->why = why;
        v->at = page;
    }
    return SL_ECORRUPT;
}

/* Marks a page as used once. */
static int take(struct view *v, uint64_t page)
{
    uint8_t bit = (uint8_t)(1u << (page % 8));

    if (page < 2 || page > v->last)
        return bad(v, page, "page number out of range");
    if (v->seen[page / 8] & bit)
        return bad(v, page, "page used twice");
    v->seen[page / 8] |= bit;
    return SL_OK;
}

/* A page that must be in the file; *out is its first byte. */
static int page_open(struct view *v, uint64_t page, unsigned kind,
                     const uint8_t **out)
{
    const uint8_t *p;
    int rc = take(v, page);

    if (rc)
        return rc;
    if (page >= v->pages)
        return bad(v, page, "page behind the end of the file");
    p = v->base + page * v->psize;
    if (get64(p) != page)
        return bad(v, page, "page carries another number");
    if (get16(p + 10) != kind)
        return bad(v, page, "page of another kind");
    *out = p;
    return SL_OK;
}

static int overflow_check(struct view *v, uint64_t page, uint64_t bytes)
{
    const uint8_t *p;
    uint64_t n;
    int rc = page_open(v, page, PAGE_OVERFLOW, &p);

    if (rc)
        return rc;
    n = get32(p + 12);
    if (n == 0 || n > v->pages - page || PAGE_HEAD + bytes > n * v->psize)
        return bad(v, page, "value behind the end of its pages");
    for (uint64_t i = 1; !rc && i < n; i++)
        rc = take(v, page + i);
    return rc;
}

/* A list of free pages: count, then numbers, descending. */
static int free_check(struct view *v, uint64_t page, const uint8_t *p,
                      uint64_t bytes)
{
    uint64_t n = bytes >= 8 ? get64(p) : 0;
    uint64_t above = NO_PAGE;
    int rc = SL_OK;

    if (bytes < 8 || bytes % 8 || n > bytes / 8 - 1)
        return bad(v, page, "list of free pages has a wrong length");
    for (uint64_t i = 1; !rc && i <= n; i++) {
        uint64_t id = get64(p + 8 * i);
        if (id >= above)
            return bad(v, page, "list of free pages is not in order");
        above = id;
        rc = take(v, id);
    }
    return rc;
}

/* LMDB's order of keys: bytes, then length; the free list's are numbers. */
static int key_compare(const struct tree *t, const uint8_t *k, uint32_t len)
{
    uint32_t n = len < t->key_len ? len : t->key_len;
    int c;

    if (t->is_free) {
        uint64_t a = get64(k), b = get64(t->key);
        return a < b ? -1 : a > b;
    }
    c = n ? memcmp(k, t->key, n) : 0;
    return c ? c : (len > t->key_len) - (len < t->key_len);
}

static int key_check(struct view *v, uint64_t page, struct tree *t,
                     const uint8_t *k, uint32_t len)
{
    if (t->is_free && (len != 8 || get64(k) == 0 || get64(k) > v->txn))
        return bad(v, page, "key of the free list is no transaction");
    if (t->key) {
        int c = key_compare(t, k, len);
        if (c < 0 || (c == 0 && !t->inclusive))
            return bad(v, page, "keys are not in order");
    }
    t->key = k;
    t->key_len = len;
    t->inclusive = 0;
    return SL_OK;
}

/* Bytes of a node in its page; 0: they end behind the page, whose rest is
 * `room`, or are more than LMDB puts into a page. */
static uint32_t node_bytes(const struct view *v, const uint8_t *node,
                           uint32_t room, int is_leaf)
{
    /* At least two nodes fit a page; a larger value has pages of its own. */
    uint32_t most = (((v->psize - PAGE_HEAD) / 2) & ~1u) - 2u;
    uint32_t klen = get16(node + 6), n = NODE_HEAD + klen;

    if (klen > KEY_MAX)
        return 0;
    if (is_leaf && (get16(node + 4) & NODE_BIG))
        n += 8;
    else if (is_leaf && get16(node + 2))
        return 0;
    else if (is_leaf)
        n += get16(node);
    n = (n + 1) & ~1u;
    return n <= room && n <= most ? n : 0;
}

/* Nodes lie between `upper` and the end of the page and share no byte, or else
 * LMDB moves bytes out of the page when it deletes one. */
static int layout_check(struct view *v, uint64_t page, const uint8_t *p,
                        int is_leaf)
{
    uint8_t used[PSIZE_MAX / 2]; /* nodes begin and end at even bytes */
    uint32_t lower = get16(p + 12), upper = get16(p + 14);

    if (lower < PAGE_HEAD || lower % 2 || upper % 2 || upper < lower ||
        upper > v->psize)
        return bad(v, page, "page with wrong bounds");
    memset(used, 0, v->psize / 2);
    for (uint32_t i = PAGE_HEAD; i < lower; i += 2) {
        uint32_t at = get16(p + i), n;
        if (at < upper || at % 2 || at > v->psize - NODE_HEAD)
            return bad(v, page, "node outside its page");
        n = node_bytes(v, p + at, v->psize - at, is_leaf);
        if (n == 0)
            return bad(v, page, "node with a wrong length");
        if (memchr(used + at / 2, 1, n / 2))
            return bad(v, page, "nodes overlap");
        memset(used + at / 2, 1, n / 2);
    }
    return SL_OK;
}

static int leaf_node(struct view *v, uint64_t page, const uint8_t *node,
                     struct tree *t)
{
    uint32_t size = get16(node) | (uint32_t)get16(node + 2) << 16;
    unsigned flags = get16(node + 4);
    uint32_t klen = get16(node + 6);
    const uint8_t *data = node + NODE_HEAD + klen;
    int rc = klen ? key_check(v, page, t, node + NODE_HEAD, klen)
                  : bad(v, page, "empty key");

    if (rc)
        return rc;
    t->entries++;
    if (flags == NODE_DB && t->is_main && size == DB_BYTES) {
        struct tree named = {0};
        return tree_check(v, data, &named);
    }
    if (flags & ~NODE_BIG)
        return bad(v, page, "node of an unknown kind");
    if (flags == NODE_BIG) {
        uint64_t first = get64(data);
        rc = overflow_check(v, first, size);
        if (rc || !t->is_free)
            return rc;
        data = v->base + first * v->psize + PAGE_HEAD;
    }
    return t->is_free ? free_check(v, page, data, size) : SL_OK;
}

static int page_check(struct view *v, uint64_t page, unsigned depth,
                      struct tree *t);

/* The key of a first child is not used by LMDB and may be empty or old. */
static int branch_node(struct view *v, uint64_t page, const uint8_t *node,
                       int is_first, struct tree *t)
{
    uint32_t klen = get16(node + 6);
    int rc = SL_OK;

    if (is_first)
        return SL_OK;
    rc = klen ? key_check(v, page, t, node + NODE_HEAD, klen)
              : bad(v, page, "branch without a key");
    t->inclusive = 1;
    return rc;
}

static uint64_t branch_child(const uint8_t *node)
{
    return get16(node) | (uint64_t)get16(node + 2) << 16 |
           (uint64_t)get16(node + 4) << 32;
}

static int page_check(struct view *v, uint64_t page, unsigned depth,
                      struct tree *t)
{
    int is_leaf = depth == 1;
    const uint8_t *p = NULL;
    uint32_t n;
    int rc = page_open(v, page, is_leaf ? PAGE_LEAF : PAGE_BRANCH, &p);

    if (!rc)
        rc = layout_check(v, page, p, is_leaf);
    if (rc)
        return rc;
    n = (get16(p + 12) - PAGE_HEAD) / 2;
    if (n < (is_leaf || t->is_free ? 1u : 2u))
        return bad(v, page, "page with too few nodes");
    for (uint32_t i = 0; !rc && i < n; i++) {
        const uint8_t *node = p + get16(p + PAGE_HEAD + 2 * i);
        if (is_leaf) {
            rc = leaf_node(v, page, node, t);
            continue;
        }
        rc = branch_node(v, page, node, i == 0, t);
        if (!rc)
            rc = page_check(v, branch_child(node), depth - 1, t);
    }
    return rc;
}

static int tree_check(struct view *v, const uint8_t *db, struct tree *t)
{
    unsigned flags = get16(db + 4), depth = get16(db + 6);
    uint64_t entries = get64(db + 32), root = get64(db + 40);
    int rc = SL_OK;

    if (flags != (t->is_free ? FREE_DB_FLAGS : 0u))
        return bad(v, 0, "database with unknown flags");
    if (root == NO_PAGE ? depth != 0 : depth == 0 || depth > DEPTH_MAX)
        return bad(v, 0, "database of impossible depth");
    if (root != NO_PAGE)
        rc = page_check(v, root, depth, t);
    if (!rc && t->entries != entries)
        return bad(v, 0, "database with another number of entries");
    return rc;
}

/* ---- heads ---- */

static int head_read(struct view *v, const uint8_t *p, uint64_t index,
                     struct head *h)
{
    const uint8_t *m = p + PAGE_HEAD;

    if ((get16(p + 10) & PAGE_META) == 0 || get32(m) != META_MAGIC)
        return bad(v, index, "no head of LMDB");
    if (get32(m + 4) != META_VERSION) {
        bad(v, index, "written by another version of LMDB");
        return SL_EVERSION;
    }
    h->mapsize = get64(m + 16);
    h->dbs = m + 24;
    h->psize = get32(h->dbs);
    h->last = get64(m + 120);
    h->txn = get64(m + 128);
    if (h->psize < 512 || h->psize > PSIZE_MAX || (h->psize & (h->psize - 1)))
        return bad(v, index, "head with a wrong page size");
    if (h->mapsize > MAP_MAX || h->last < 1 || h->last >= h->mapsize / h->psize)
        return bad(v, index, "head with a wrong size");
    return SL_OK;
}

/* True when both heads say the same of LMDB's version, which is not damage. */
static int is_version_of(const struct view *v, uint64_t bytes)
{
    const uint8_t *m = v->base + PAGE_HEAD;
    uint32_t psize = get32(m + 24);
    const uint8_t *other = m + psize;

    return psize >= 512 && psize <= PSIZE_MAX &&
           psize + PAGE_HEAD + META_BYTES <= bytes &&
           get32(other) == META_MAGIC && get32(other + 4) == get32(m + 4);
}

/* Finds the newest head. Transaction n writes head n % 2, so the numbers of
 * the two differ by one; both are 0 in a file that is new. */
static int heads_check(struct view *v, uint64_t bytes, struct head *newest)
{
    struct head h[2];
    int rc;

    if (bytes < PAGE_HEAD + META_BYTES)
        return bad(v, 0, "file is cut");
    rc = head_read(v, v->base, 0, &h[0]);
    if (rc == SL_EVERSION && !is_version_of(v, bytes))
        rc = SL_ECORRUPT;
    if (rc)
        return rc;
    v->psize = h[0].psize;
    v->pages = bytes / v->psize;
    if (v->pages < 2)
        return bad(v, 0, "file is cut");
    rc = head_read(v, v->base + v->psize, 1, &h[1]);
    if (rc)
        return SL_ECORRUPT; /* the first one was ours */
    if (h[1].psize != h[0].psize)
        return bad(v, 1, "heads differ in page size");
    if ((h[0].txn || h[1].txn) &&
        (h[0].txn % 2 != 0 || h[1].txn % 2 != 1 ||
         (h[0].txn + 1 != h[1].txn && h[1].txn + 1 != h[0].txn)))
        return bad(v, 0, "heads do not follow each other");
    *newest = h[0].txn < h[1].txn ? h[1] : h[0];
    return SL_OK;
}

static int view_check(struct view *v, uint64_t bytes)
{
    struct tree free_list = {.is_free = 1}, names = {.is_main = 1};
    struct head h;
    int rc = heads_check(v, bytes, &h);

    if (rc)
        return rc;
    v->last = h.last;
    v->txn = h.txn;
    v->seen = calloc(v->last / 8 + 1, 1);
    if (!v->seen) {
        v->why = "out of memory";
        return SL_ENOMEM;
    }
    rc = tree_check(v, h.dbs, &free_list);
    if (!rc)
        rc = tree_check(v, h.dbs + DB_BYTES, &names);
    free(v->seen);
    return rc;
}

int meta_check(const char *file, char *why, size_t why_bytes)
{
    struct view v = {0};
    struct stat st;
    void *map = NULL;
    int rc = SL_OK;
    int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st)) {
        snprintf(why, why_bytes, "cannot open it: %s", strerror(errno));
        rc = SL_EIO;
    } else if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        snprintf(why, why_bytes, "empty or no regular file");
        rc = SL_ECORRUPT;
    } else {
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            snprintf(why, why_bytes, "cannot map it: %s", strerror(errno));
            rc = SL_ENOMEM;
        }
    }
    if (fd >= 0)
        close(fd);
    if (rc)
        return rc;

    v.base = map;
    rc = view_check(&v, (uint64_t)st.st_size);
    if (rc)
        snprintf(why, why_bytes, "%s (page %llu)", v.why,
                 (unsigned long long)v.at);
    munmap(map, (size_t)st.st_size);
    return rc;
}
