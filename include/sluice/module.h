/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Modules: own code that serves tasks of kernels and host threads.
 *
 * A module is a table of methods. A pool is a named instance of a module; it
 * has one container for each lane, and each container belongs to one worker, so
 * a container's methods never run at the same time and need no lock.
 *
 * Usual order: fill a struct sl_module, sl_pool_create, submit with sl_task or
 * sl_task_thread, sl_close. A method either answers at once (returns 0 or a
 * negative code) or keeps the task, returns SL_LATER and calls sl_task_finish
 * later, from any thread. A method must not block.
 */
#ifndef SLUICE_MODULE_H
#define SLUICE_MODULE_H

#include "sluice.h"

#if defined(__cplusplus)
extern "C" {
#endif

struct sl_task;

#define SL_LATER 1

struct sl_module {
    size_t size; /* sizeof(struct sl_module); see sluice.h */
    const char *name;
    uint32_t n_methods;
    /** `container` is what create gave. */
    int (*const *methods)(struct sl_task *t, void *container);
    /** One container; index < lanes. Null: containers are null. */
    int (*create)(void *user, uint32_t index, void **container);
    void (*destroy)(void *container);
    void *user;
};

/** Adds a pool; the module's table must stay. SL_EEXIST, SL_ENOMEM, SL_EINVAL.
 */
SL_API int sl_pool_create(struct sl_runtime *rt, const char *name,
                          const struct sl_module *m, uint32_t *pool);

/** The task's bytes (a private copy, 1 to SL_TASK_MAX), valid until it is
 * finished. */
SL_API const void *sl_task_data(const struct sl_task *t, uint64_t *bytes);
/** Device number of the channel it came by; the host's is 0. */
SL_API int32_t sl_task_device(const struct sl_task *t);
/** Where the answer goes; zeros at first. */
SL_API struct sl_result *sl_task_result(struct sl_task *t);
/** Ends a task whose method returned SL_LATER. Any thread; once. */
SL_API void sl_task_finish(struct sl_task *t, int code);

#if defined(__cplusplus)
}
#endif

#endif
