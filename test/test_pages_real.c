/* SPDX-License-Identifier: Apache-2.0 */
/* Real data on each device, both ways with liblz4: text, JSON, machine code and
 * the memory of this process. DATA names other files, with ':' between them. */
#include "pages_rig.h"

#include <lz4.h>
#include <lz4hc.h>
#include <unistd.h>

#define BYTES_MAX (SANITIZED ? 1u << 18 : 8u << 20)
#define EMULATED_MAX (128u << 10) /* lanes take their time */
#define PATHS                                                                  \
    DATA_DIR "/docs/performance.md:" BUILD_DIR "/compile_commands.json:"

struct set {
    char name[128];
    uint8_t *bytes;
    uint64_t n;
};

static struct set sets[16];
static unsigned n_sets;

static struct set *set_new(const char *name)
{
    assert_true(n_sets < COUNT(sets));
    struct set *s = &sets[n_sets++];
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->bytes = malloc(BYTES_MAX);
    assert_non_null(s->bytes);
    return s;
}

static void read_file(const char *path)
{
    struct set *s = set_new(path);
    FILE *f = fopen(path, "rb");
    if (f) {
        s->n = fread(s->bytes, 1, BYTES_MAX, f);
        fclose(f);
    }
}

static int is_zero(const uint8_t *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1u) == 0;
}

/* Pages that may be written to and are not zero. */
static void read_memory(void)
{
    struct set *s = set_new("memory");
    FILE *maps = fopen("/proc/self/maps", "r"),
         *mem = fopen("/proc/self/mem", "rb");
    char line[512], mode[8];
    unsigned long at, end;
    while (maps && mem && fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx %7s", &at, &end, mode) != 3 ||
            mode[1] != 'w' || end - at > (64ul << 20))
            continue;
        for (; at < end && s->n + 4096u <= BYTES_MAX; at += 4096u) {
            uint8_t *to = s->bytes + s->n;
            if (!fseeko(mem, (off_t)at, SEEK_SET) &&
                fread(to, 4096, 1, mem) == 1 && !is_zero(to, 4096))
                s->n += 4096u;
        }
    }
    if (maps)
        fclose(maps);
    if (mem)
        fclose(mem);
}

static int read_sets(void **state)
{
    const char *given = getenv("DATA");
    char paths[4096], *save = NULL;
    (void)state;
    if (n_sets)
        return 0;
    snprintf(paths, sizeof(paths), "%s",
             given ? given : PATHS "/proc/self/exe");
    for (char *p = strtok_r(paths, ":", &save); p;
         p = strtok_r(NULL, ":", &save))
        read_file(p);
    read_memory();
    return 0;
}

static uint64_t bytes_of(const struct set *s)
{
    uint64_t most = strcmp(pages_device, "host") ? BYTES_MAX : EMULATED_MAX;
    return s->n < most ? s->n : most;
}

static struct sl_pages *open_mode(uint32_t page, uint32_t mode)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = page,
                              .mode = mode,
                              .device = pages_device,
                              .gpu_threshold = 1};
    struct sl_pages *p = NULL;
    assert_int_equal(sl_pages_open(&o, &p), 0);
    return p;
}

/* Ours decode by liblz4 (check_entries) and by us. */
static void ours(const struct set *s, uint32_t page, uint32_t mode)
{
    struct sl_pages *p = open_mode(page, mode);
    struct trip b;
    trip_make(&b, page, bytes_of(s));
    memcpy(b.src, s->bytes, b.bytes);
    trip_compress(&b, p);
    check_entries(&b);
    if (strcmp(pages_device, "cpu") != 0)
        assert_int_equal(b.r.path, SL_PAGES_GPU);
    double ratio = (double)b.bytes / (double)b.blocks;
    assert_int_equal(trip_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, b.bytes);
    printf("# %s, %s, %u: %llu pages, ratio %.3f\n", s->name,
           mode ? "fast" : "default", page, (unsigned long long)b.n, ratio);
    trip_free(&b);
    sl_pages_close(p);
}

/* liblz4's decode by us: level 1, or one of HC. */
static void theirs(const struct set *s, uint32_t page, int level)
{
    struct sl_pages *p = open_mode(page, SL_PAGES_DEFAULT);
    int room = LZ4_compressBound((int)page);
    struct trip b;
    trip_make(&b, page, bytes_of(s));
    memcpy(b.src, s->bytes, b.bytes);
    free(b.dst);
    b.dst = malloc(b.n * (uint64_t)room);
    assert_non_null(b.dst);
    memset(b.entries, 0, b.n * sizeof(*b.entries));
    for (uint64_t i = 0; i < b.n; i++) {
        uint64_t left = b.bytes - i * page;
        int n = left < page ? (int)left : (int)page;
        const char *from = (const char *)b.src + i * page;
        char *to = (char *)b.dst + b.blocks;
        int got = level ? LZ4_compress_HC(from, to, n, room, level)
                        : LZ4_compress_default(from, to, n, room);
        assert_true(got > 0);
        b.entries[i].stored = (uint32_t)got;
        b.entries[i].at_or_fill = b.blocks;
        b.blocks += (uint64_t)got;
    }
    assert_int_equal(trip_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, b.bytes);
    trip_free(&b);
    sl_pages_close(p);
}

static void each_page_goes_both_ways(void **state)
{
    (void)state;
    assert_true(n_sets >= 4u);
    for (unsigned i = 0; i < n_sets; i++) {
        if (sets[i].n < 20000u) /* a file that is not there, or hardly */
            fail_msg("%s: %llu bytes", sets[i].name,
                     (unsigned long long)sets[i].n);
        for (uint32_t page = 4096; page <= 65536u; page *= 16u) {
            ours(&sets[i], page, SL_PAGES_DEFAULT);
            ours(&sets[i], page, SL_PAGES_FAST);
            theirs(&sets[i], page, 0);
            theirs(&sets[i], page, 9);
            theirs(&sets[i], page, 12);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(each_page_goes_both_ways, read_sets),
};

int main(void)
{
    int failed = pages_on_devices(tests, COUNT(tests), 0) != 0;
    for (unsigned i = 0; i < n_sets; i++)
        free(sets[i].bytes);
    return failed;
}
