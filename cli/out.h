/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the command line says: error lines, JSON, sizes, the progress bar.
 *
 * Data goes to standard output, all else to standard error. A command returns
 * an exit code: 0 done, 1 the operation failed, 2 wrong usage. Used from the
 * main thread, but out_log, which the library's threads call.
 */
#ifndef SLUICE_CLI_OUT_H
#define SLUICE_CLI_OUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum out_exit { OUT_OK = 0, OUT_FAILED = 1, OUT_USAGE = 2 };

/** Names the command for error lines; borrowed for ever. */
void out_command(const char *name);
/** One line on standard error, "sluice: COMMAND: ..."; returns OUT_FAILED. */
int out_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** The same with a hint at --help; returns OUT_USAGE. */
int out_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** The same without failing: names what was skipped. */
void out_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** Sink of the library's log; information is shown when `verbose`. */
void out_log_start(int verbose);
/**
 * Holds the next error lines of the library back, because the caller is about
 * to say what failed and one line should name both. out_log_take ends it: with
 * a code it returns the exact cause that was logged, or else the code's text;
 * with 0 it prints what was held and returns null.
 */
void out_log_hold(void);
const char *out_log_take(int code);

/** Prints and frees `root`; a null root is lack of memory. Exit code. */
int out_json(json_t *root);
/** Prints and frees an object for people: "key: value" a line; a list of
 *  objects as their values, by comma. Exit code. */
int out_object(json_t *root);
/** A string of any bytes: those that are no UTF-8 become "\\xNN". */
json_t *out_text(const char *s, size_t len);
/** An id as text: it has 64 bits, and JSON's readers hold fewer. */
json_t *out_id(uint64_t id);
/** Flushes standard output: a full disk or a closed pipe is a failure. */
int out_done(void);

/** "1.5 MiB" into `buf` (at least 32 bytes); returns `buf`. */
const char *out_size(uint64_t bytes, char buf[32]);
/** Reads "4096", "64k", "16m", "2g", "1t"; 0 when it is one, else -1. */
int out_parse_size(const char *text, uint64_t *out);
/** Reads a plain decimal number; 0 when it is one, else -1. */
int out_parse_number(const char *text, uint64_t *out);

/** A bar on standard error, only when that is a terminal. */
struct out_bar {
    const char *phase;
    uint64_t total;
    int shown;
    int percent;
};
void out_bar_start(struct out_bar *b, const char *phase, uint64_t total);
void out_bar_step(struct out_bar *b, uint64_t done);
/** Wipes the line. */
void out_bar_end(struct out_bar *b);

/** The p-th percentile (0 to 100) of n values, which it sorts; 0 if n is 0. */
uint64_t out_percentile(uint64_t *values, size_t n, double p);
/** The median of n values, which it sorts; 0 if n is 0. */
double out_median(double *values, size_t n);

#endif
