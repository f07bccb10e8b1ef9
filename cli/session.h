/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the commands on a store directory share.
 */
#ifndef SLUICE_CLI_SESSION_H
#define SLUICE_CLI_SESSION_H

#include "sluice/sluice.h"

#include <jansson.h>

/** The store a command works on, and what in it. */
struct session {
    const char *dir;    /* --data */
    const char *tag;    /* null: all tags */
    const char *blob;   /* null: the whole tag */
    const char *newtag; /* null: it keeps its name */
    int json;
    struct sl_runtime *rt;
    uint64_t tag_id;
};

/** Usage check of --data, tag and blob; 0 or an exit code. */
int session_names(const struct session *s);
/** Opens, only an existing store unless `create`; 0 or an exit code. */
int session_open(struct session *s, int create);
/** Finds the tag's id. 0 or an exit code. */
int session_find(struct session *s);
/** Says what failed with tag or blob; OUT_FAILED. */
int session_fail(const struct session *s, int code);
/** The same of a blob behind `stored` bytes that stay. */
int session_fail_at(const struct session *s, int code, uint64_t stored);
/** The same of something else, with its name. */
int session_fail_as(const char *what, const char *name, int code);
/** The names of tag and blob as a new object; null: no memory. */
json_t *session_json(const struct session *s);
/** Closes; `rc` unless closing fails, which is said then. */
int session_close(struct session *s, int rc);

#endif
