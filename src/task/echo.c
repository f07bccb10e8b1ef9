/* SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <string.h>

/*
 * The echo module: a task is one number, the answer is twice the number plus
 * the device's. It shows whether tasks and answers are whole and come from
 * where they claim. Method 0 answers at once, method 1 in a later round of the
 * worker.
 */

static int answer(struct sl_task *t)
{
    uint64_t bytes, value;
    const void *data = sl_task_data(t, &bytes);
    if (bytes != sizeof(value))
        return SL_EINVAL;
    memcpy(&value, data, sizeof(value));
    sl_task_result(t)->v[0] = 2u * value + (uint64_t)(int64_t)sl_task_device(t);
    return 0;
}

static int echo_now(struct sl_task *t, void *container)
{
    (void)container;
    return answer(t);
}

static int echo_later(struct sl_task *t, void *container)
{
    (void)container;
    task_finish_later(t, answer(t));
    return SL_LATER;
}

static int (*const methods[])(struct sl_task *, void *) = {echo_now,
                                                           echo_later};

const struct sl_module echo_module = {
    .size = sizeof(echo_module),
    .name = "echo",
    .n_methods = sizeof(methods) / sizeof(methods[0]),
    .methods = methods,
};
