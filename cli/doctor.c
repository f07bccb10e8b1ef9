/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice doctor`: what this machine offers, and why not more. It gathers all
 * as JSON and prints that, or a line for each thing. */
#include "cli.h"
#include "opt.h"
#include "out.h"

#include "gpu/gpu.h"
#include "gpu/kernels/table.h"
#include "sluice/sluice.h"
#include "store/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <liburing.h>
#include <lmdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char help[] =
    "Usage: sluice doctor [--data DIR] [--json]\n"
    "Shows devices, CPUs, memory limits and what the kernel permits, each "
    "with\n"
    "the reason when it is missing.\n\n"
    "  --data DIR   also tries unbuffered input and output in DIR\n"
    "  --json       as JSON\n"
    "  -v, --verbose\n";

#define PROBE_BYTES 4096u /* a block of all current disks */

/* ---- devices ---- */

static json_t *device(const struct gpu_ops *ops, int ordinal)
{
    struct gpu_info info;
    struct gpu *g;
    char name[32];
    int rc;
    if (!strcmp(ops->kind, "host"))
        snprintf(name, sizeof(name), "host");
    else
        snprintf(name, sizeof(name), "%s:%d", ops->kind, ordinal);
    out_log_hold();
    rc = ops->open(ordinal, &g);
    if (rc)
        return json_pack("{s:s, s:b, s:s}", "device", name, "usable", 0,
                         "reason", out_log_take(rc));
    out_log_take(0);
    ops->info(g, &info);
    ops->close(g);
    return json_pack("{s:s, s:b, s:o, s:i, s:i, s:I, s:i, s:s}", "device", name,
                     "usable", 1, "name",
                     out_text(info.name, strlen(info.name)), "processors",
                     (int)info.sms, "capability", (int)info.cc, "memory",
                     (json_int_t)info.mem_bytes, "numa_node", info.numa_node,
                     "pci", info.pci);
}

static json_t *devices(void)
{
    const struct gpu_ops *const kinds[] = {&gpu_cuda_ops, &gpu_host_ops};
    json_t *list = json_array();
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        char why[256] = "";
        int n = kinds[k]->count(why, sizeof(why));
        for (int i = 0; i < n; i++)
            json_array_append_new(list, device(kinds[k], i));
        if (n <= 0)
            json_array_append_new(
                list, json_pack("{s:s, s:b, s:o}", "device", kinds[k]->kind,
                                "usable", 0, "reason",
                                out_text(why, strnlen(why, sizeof(why)))));
    }
    return list;
}

/* ---- the machine ---- */

static int usable_cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set))
        return (int)sysconf(_SC_NPROCESSORS_ONLN);
    return CPU_COUNT(&set);
}

/* A kernel without NUMA has no such directory, and one node. */
static int numa_nodes(void)
{
    DIR *d = opendir("/sys/devices/system/node");
    const struct dirent *e;
    int n = 0;
    while (d && (e = readdir(d)) != NULL)
        n += !strncmp(e->d_name, "node", 4) && e->d_name[4] >= '0' &&
             e->d_name[4] <= '9';
    if (d)
        closedir(d);
    return n ? n : 1;
}

/* Null stands for no limit. */
static json_t *memory_lock(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return json_null();
    return json_integer((json_int_t)limit.rlim_cur);
}

static json_t *answer(int code, const char *hint)
{
    char reason[256];
    if (!code)
        return json_pack("{s:b}", "ok", 1);
    snprintf(reason, sizeof(reason), "%s%s", strerror(code), hint);
    return json_pack("{s:b, s:s}", "ok", 0, "reason", reason);
}

static json_t *uring(void)
{
    struct io_uring ring;
    int rc = io_uring_queue_init(8, &ring, 0);
    if (rc == 0)
        io_uring_queue_exit(&ring);
    switch (-rc) {
    case EPERM:
        return answer(EPERM, ": kernel.io_uring_disabled, or a filter of "
                             "system calls (containers)");
    case ENOSYS:
        return answer(ENOSYS, ": a kernel without it, or a filter of system "
                              "calls (containers)");
    case ENOMEM:
        return answer(ENOMEM, ": the memory lock limit is too low");
    default:
        return answer(-rc, "");
    }
}

/* An unnamed file; on file systems without them one that is removed at once. */
static int probe_open(const char *dir)
{
    char path[4096];
    int n, fd = open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    n = snprintf(path, sizeof(path), "%s/.sluice-doctor-%ld", dir,
                 (long)getpid());
    if (n < 0 || (size_t)n >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
    /* A refused O_DIRECT may leave the file that O_CREAT made. */
    if (fd >= 0 || errno == EINVAL) {
        int saved = errno;
        unlink(path);
        errno = saved;
    }
    return fd;
}

static int probe(const char *dir)
{
    void *block;
    ssize_t n;
    int code = 0, fd = probe_open(dir);
    if (fd < 0)
        return errno;
    code = posix_memalign(&block, PROBE_BYTES, PROBE_BYTES);
    if (code) {
        close(fd);
        return code;
    }
    memset(block, 0, PROBE_BYTES);
    n = pwrite(fd, block, PROBE_BYTES, 0);
    if (n < 0)
        code = errno;
    else if (n != (ssize_t)PROBE_BYTES)
        code = ENOSPC;
    free(block);
    close(fd);
    return code;
}

static json_t *data(const char *dir)
{
    struct statvfs fs;
    int code = probe(dir);
    json_t *o =
        answer(code, code == EINVAL ? ": this file system has no unbuffered "
                                      "input and output"
                                    : "");
    json_object_set_new(o, "dir", out_text(dir, strlen(dir)));
    if (!statvfs(dir, &fs))
        json_object_set_new(
            o, "free",
            json_integer((json_int_t)fs.f_bavail * (json_int_t)fs.f_frsize));
    return o;
}

static json_t *versions(void)
{
    struct utsname u;
    if (uname(&u))
        u.release[0] = 0;
    return json_pack(
        "{s:s, s:i, s:i, s:s, s:s, s:s, s:s}", "sluice", sl_version(),
        "protocol", (int)SL_WIRE_VERSION, "store", STORE_FORMAT, "linux",
        u.release, "libc", gnu_get_libc_version(), "lmdb",
        mdb_version(NULL, NULL, NULL), "jansson", jansson_version_str());
}

/* ---- report ---- */

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

/* Which tier takes which way here, and why not the better one. */
static void print_tiers(const json_t *root)
{
    const json_t *ring = json_object_get(root, "io_uring");
    const json_t *d;
    size_t i;
    int cuda = 0;
    json_array_foreach(json_object_get(root, "devices"), i, d)
    {
        cuda |= !strncmp(text(d, "device"), "cuda", 4) &&
                json_is_true(json_object_get(d, "usable"));
    }
    printf("%-10s %s\n", "pinned",
           cuda ? "page-locked for the CUDA devices"
                : "shared memory, not page-locked: no CUDA device is usable");
    printf("%-10s plain memory\n", "ram");
    if (json_is_true(json_object_get(ring, "ok")))
        printf("%-10s by io_uring\n", "file");
    else
        printf("%-10s by pread and pwrite: %s\n", "file", text(ring, "reason"));
    printf("%-10s %s\n", "hbm",
           cuda ? "memory of the CUDA devices, for targets that are added"
                : "no: no CUDA device is usable");
}

static void print_device(const json_t *d)
{
    char size[32];
    if (!json_is_true(json_object_get(d, "usable"))) {
        printf("device     %s: no: %s\n", text(d, "device"), text(d, "reason"));
        return;
    }
    printf("device     %s: %s, %lld processors, %s", text(d, "device"),
           text(d, "name"), number(d, "processors"),
           out_size((uint64_t)number(d, "memory"), size));
    if (number(d, "capability"))
        printf(", capability %lld.%lld", number(d, "capability") / 10,
               number(d, "capability") % 10);
    if (number(d, "numa_node") >= 0)
        printf(", NUMA node %lld", number(d, "numa_node"));
    printf("%s%s\n", *text(d, "pci") ? ", PCI " : "", text(d, "pci"));
}

static void print_answer(const char *what, const json_t *o)
{
    if (json_is_true(json_object_get(o, "ok")))
        printf("%-10s yes\n", what);
    else
        printf("%-10s no: %s\n", what, text(o, "reason"));
}

static void print_data(const json_t *o)
{
    char size[32];
    if (!o)
        return;
    print_answer("O_DIRECT", o);
    printf("%-10s %s: %s free\n", "data", text(o, "dir"),
           out_size((uint64_t)number(o, "free"), size));
}

static int print(json_t *root)
{
    const json_t *lock = json_object_get(root, "memory_lock");
    const char *key;
    json_t *v;
    char size[32];
    size_t i;
    json_object_foreach(json_object_get(root, "versions"), key, v)
    {
        if (json_is_string(v))
            printf("%-10s %s\n", key, json_string_value(v));
        else
            printf("%-10s version %lld\n", key,
                   (long long)json_integer_value(v));
    }
    json_array_foreach(json_object_get(root, "devices"), i, v) print_device(v);
    printf("%-10s %s\n", "kernels",
           json_is_true(json_object_get(root, "gpu_kernels"))
               ? "for GPUs and the host"
               : "for the host only: built without a GPU compiler");
    printf("%-10s %lld, %lld of them usable, NUMA nodes: %lld\n", "CPUs",
           number(root, "cpus"), number(root, "cpus_usable"),
           number(root, "numa_nodes"));
    printf("%-10s %s\n", "mem lock",
           json_is_null(lock)
               ? "no limit"
               : out_size((uint64_t)json_integer_value(lock), size));
    print_answer("io_uring", json_object_get(root, "io_uring"));
    print_tiers(root);
    print_data(json_object_get(root, "data"));
    return out_done();
}

int cmd_doctor(int argc, char **argv)
{
    const char *dir = NULL;
    int as_json = 0, first, rc;
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &dir},
        {.name = "json", .kind = OPT_FLAG, .to = &as_json},
    };
    struct opt_set set = {help, opts, 2, 0, 0};
    json_t *root;
    rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    if (dir && access(dir, F_OK))
        return out_fail("'%s': %s", dir, strerror(errno));
    root = json_pack("{s:o, s:o, s:b, s:i, s:i, s:i, s:o, s:o}", "versions",
                     versions(), "devices", devices(), "gpu_kernels",
                     kernel_fatbin_bytes > 0, "cpus",
                     (int)sysconf(_SC_NPROCESSORS_ONLN), "cpus_usable",
                     usable_cpus(), "numa_nodes", numa_nodes(), "memory_lock",
                     memory_lock(), "io_uring", uring());
    if (root && dir)
        json_object_set_new(root, "data", data(dir));
    if (!root || as_json)
        return out_json(root);
    rc = print(root);
    json_decref(root);
    return rc;
}
