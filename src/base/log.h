/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Log lines of the library. The library never prints: lines go to a sink that
 * the program sets; without one they are dropped. Any thread.
 */
#ifndef SLUICE_LOG_H
#define SLUICE_LOG_H

enum sl_log_level { SL_LOG_ERROR = 0, SL_LOG_WARN = 1, SL_LOG_INFO = 2 };

typedef void (*sl_log_fn)(void *user, enum sl_log_level level,
                          const char *line);

/** Sets the sink, before a runtime is opened; null drops. */
void log_sink(sl_log_fn fn, void *user);
/** One line, no newline at its end, at most 511 bytes. */
void log_line(enum sl_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(SL_LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(SL_LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(SL_LOG_INFO, __VA_ARGS__)

#endif
