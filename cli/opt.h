/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Options of a command, as a table over getopt_long.
 *
 * Each command lists its options with the place each is stored in. --help and
 * --verbose are added to all. A mistake is one line and exit code 2.
 */
#ifndef SLUICE_CLI_OPT_H
#define SLUICE_CLI_OPT_H

#include <stddef.h>
#include <stdint.h>

enum opt_kind {
    OPT_FLAG,   /* int, set to 1 */
    OPT_TEXT,   /* const char * */
    OPT_SIZE,   /* uint64_t, with k, m, g, t */
    OPT_NUMBER, /* uint64_t */
};

struct opt {
    const char *name;
    enum opt_kind kind;
    void *to;
    char letter;       /* 0: it has no short form */
    int *seen;         /* may be null; 1 when the option is given */
    uint64_t min, max; /* OPT_SIZE and OPT_NUMBER; max 0: any */
};

struct opt_set {
    const char *help; /* what --help prints */
    const struct opt *opts;
    size_t n;
    int min_args, max_args; /* positional */
};

#define OPT_GO (-1)

/**
 * Parses argv (argv[0] is the command's name). Returns OPT_GO, with the
 * positional arguments moved to argv[*first..argc), or an exit code. Starts
 * the library's log as --verbose asks.
 */
int opt_parse(const struct opt_set *set, int argc, char **argv, int *first);
/** Reads the value of --score: -1 or 0 to 1; null is -1. 0 or OUT_USAGE. */
int opt_score(const char *text, float *out);

#endif
