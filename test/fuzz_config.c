/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fuzzes what configures: struct sl_config of any size and content, options of
 * a target, of a put and of a query. Each is refused with a code, or a runtime
 * opens with it and works.
 *
 * An input is: which, how large the struct claims to be, its bytes. Pointers are
 * not taken from it but chosen by it.
 */
#include "api/runtime.h"
#include "store/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct sl_runtime *rt;
static uint64_t tag;
static char dir[] = "fuzz-config-XXXXXX", file[64];

static void remove_all(void)
{
    char cmd[100];
    (void)sl_close(rt);
    snprintf(cmd, sizeof(cmd), "rm -rf -- '%s'", dir);
    (void)!system(cmd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sl_config c = {.size = sizeof(c), .workers = 1, .depth = 16};
    (void)argc;
    (void)argv;
    c.arena_bytes = UINT64_C(8) << 20;
    if (!mkdtemp(dir) || sl_open(&c, &rt) || sl_tag(rt, "t", &tag))
        abort();
    snprintf(file, sizeof(file), "%s/target", dir);
    atexit(remove_all);
    return 0;
}

/* Sets a string: null, empty, a file below the directory, or some text. */
static const char *any_string(uint8_t choice, char text[32])
{
    switch (choice % 4u) {
    case 0:
        return NULL;
    case 1:
        return "";
    case 2:
        return file;
    default:
        text[31] = 0;
        return text;
    }
}

/* ---- the runtime's ---- */

static int is_small(const struct sl_config *c)
{
    return c->workers <= 3 && c->lanes <= 4 && c->depth <= 64 &&
           c->arena_bytes <= UINT64_C(8) << 20 && c->codec_threads <= 4 &&
           c->file_bytes <= UINT64_C(1) << 30 && !c->data_dir &&
           (c->ram_bytes == SL_NONE || c->ram_bytes <= UINT64_C(1) << 24) &&
           (c->events == SL_NONE || c->events <= 65536);
}

/* It opens, and takes and gives bytes; or there is too little of something. */
static void try_open(const struct sl_config *c)
{
    struct sl_runtime *r = NULL;
    uint64_t t;
    char got[4] = "";
    int rc = sl_open(c, &r);
    if (rc)
        return;
    rc = sl_tag(r, "t", &t);
    if (!rc)
        rc = sl_put(r, t, "b", 0, "abc", 4, NULL);
    if (!rc && (sl_get(r, t, "b", 0, got, 4, NULL) || memcmp(got, "abc", 4)))
        if (c->null_bytes == 0)
            abort();
    if (sl_close(r))
        abort();
}

/* Bounds so that most opens are of a size that is tried. */
static void tame(struct sl_config *c, uint8_t how)
{
    if (!(how & 1u))
        return;
    c->workers %= 4u;
    c->lanes %= 5u;
    c->depth %= 65u;
    c->codec_threads %= 5u;
    c->arena_bytes %= (UINT64_C(8) << 20) + 1u;
    c->ram_bytes %= UINT64_C(1) << 24;
    c->null_bytes %= UINT64_C(1) << 24;
    c->file_bytes %= UINT64_C(1) << 24;
    c->events &= c->events - 1u;
    c->events %= 65537u;
    c->spin_us %= 100u;
    c->timeout_ns = UINT64_C(10000000000);
    if (how & 2u)
        c->pinned_bytes %= c->arena_bytes + 1u;
    if (how & 4u) {
        c->evict_high = 0.9f;
        c->evict_low = 0.5f;
        c->flush_ms = 0;
        c->flush_all_ms = 0;
        c->placement %= 3u;
    }
}

static void runtime_config(const uint8_t *data, size_t size, uint8_t how)
{
    /* As large as it says, so that a read behind it is seen. */
    size_t room = sizeof(struct sl_config) + 64u;
    struct sl_config *c = calloc(1, room), copy;
    char text[2][32] = {"", ""};
    if (!c)
        return;
    memcpy(c, data, size < room ? size : room);
    c->data_dir = how & 8u ? any_string((uint8_t)(how >> 5), text[0]) : NULL;
    c->file_path = how & 16u ? any_string((uint8_t)(how >> 6), text[1]) : NULL;
    c->size = how & 128u ? c->size % room : sizeof(*c);
    tame(c, how);
    int rc = config_copy(c, &copy);
    if (rc && rc != SL_ECONFIG)
        abort();
    if (!rc) {
        if (config_check(&copy)) /* what was taken is good */
            abort();
        if (is_small(&copy) && c->size == sizeof(*c) &&
            (!c->file_path || strcmp(c->file_path, file) == 0))
            try_open(c);
        config_free(&copy);
    }
    free(c);
}

/* ---- of calls ---- */

static void target_opts(const uint8_t *data, size_t size, uint8_t how)
{
    static const char *const kinds[] = {"ram", "hbm", "null", "file", "fault"};
    struct sl_target_opts o;
    char name[64], kind[32];
    uint32_t id = 0;
    memset(&o, 0, sizeof(o));
    memcpy(&o, data, size < sizeof(o) ? size : sizeof(o));
    memcpy(name, (const char *)&o, sizeof(o) < 63u ? sizeof(o) : 63u);
    name[63] = 0;
    memcpy(kind, name + 8, sizeof(kind));
    kind[31] = 0;
    o.size = how & 1u ? sizeof(o) : o.size % (sizeof(o) + 1u);
    o.name = how & 2u ? "target" : name;
    o.kind = how & 4u ? kinds[(how >> 5) % 5u] : kind;
    o.path = how & 8u ? file : NULL;
    o.device = how & 16u ? "host" : NULL;
    if (how & 64u)
        o.capacity %= UINT64_C(1) << 22;
    if (o.capacity > UINT64_C(1) << 30 && o.capacity <= SL_BLOB_MAX)
        o.capacity = UINT64_C(1) << 30;
    if (sl_target_add(rt, &o, &id))
        return;
    (void)sl_target_set_score(rt, o.name, o.score);
    if (sl_put(rt, tag, "b", 0, data, size, NULL) || sl_del(rt, tag, "b") ||
        sl_target_remove(rt, o.name))
        abort();
}

static void put_opts(const uint8_t *data, size_t size, uint8_t how)
{
    static uint8_t bytes[5000], got[5000];
    struct sl_put_opts o;
    uint64_t at = 0, n = 1u + size % sizeof(bytes);
    memset(&o, 0, sizeof(o));
    memcpy(&o, data, size < sizeof(o) ? size : sizeof(o));
    memcpy(bytes, data, size < n ? size : n);
    o.result = NULL;
    o.path = NULL;
    o.size = how & 1u ? sizeof(o) : o.size % (sizeof(o) + 1u);
    if (how & 2u)
        o.flags &= SL_F_REPLACE;
    if (how & 4u)
        o.score = -1;
    if (how & 8u)
        o.codec = (uint8_t)(o.codec % (SL_CODECS + 1u));
    if (how & 16u)
        at = o.context;
    if (sl_put(rt, tag, "p", at, bytes, n, &o))
        return;
    if (sl_get(rt, tag, "p", at, got, n, NULL) || memcmp(bytes, got, n))
        abort();
    if (sl_del(rt, tag, "p"))
        abort();
}

static void query_opts(const uint8_t *data, size_t size, uint8_t how)
{
    struct sl_query q;
    uint64_t total;
    char text[2][32];
    memset(&q, 0, sizeof(q));
    memset(text, 0, sizeof(text));
    memcpy(&q, data, size < sizeof(q) ? size : sizeof(q));
    memcpy(text, data, size < sizeof(text) ? size : sizeof(text));
    q.size = how & 1u ? sizeof(q) : q.size % (sizeof(q) + 1u);
    q.tag = any_string((uint8_t)(how >> 1), text[0]);
    q.blob = any_string((uint8_t)(how >> 3), text[1]);
    text[0][31] = 0;
    (void)sl_query(rt, &q, NULL, NULL, &total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t which = data[0], how = data[1];
    data += 2;
    size -= 2;
    switch (which % 8u) {
    case 0:
    case 1:
        target_opts(data, size, how);
        break;
    case 2:
    case 3:
        put_opts(data, size, how);
        break;
    case 4:
        query_opts(data, size, how);
        break;
    default:
        runtime_config(data, size, how);
        break;
    }
    return 0;
}
