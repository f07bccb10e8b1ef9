/* SPDX-License-Identifier: Apache-2.0 */
#include "store/tag_set.h"

#include "sluice/wire.h"

#include <stdlib.h>

#define FIRST 64u

void tag_set_free(struct tag_set *s)
{
    free(s->at);
    *s = (struct tag_set){0};
}

/* Where the id is, or the empty place where it would be. */
static uint64_t place(const struct tag_set *s, uint64_t id)
{
    uint64_t i = sl_mix64(id) & s->mask;

    while (s->at[i] && s->at[i] != id)
        i = (i + 1u) & s->mask;
    return i;
}

int tag_set_has(const struct tag_set *s, uint64_t id)
{
    if (id == 0)
        return s->has_zero;
    return s->at && s->at[place(s, id)] == id;
}

static int grow(struct tag_set *s)
{
    uint64_t size = s->at ? 2u * (s->mask + 1u) : FIRST;
    struct tag_set bigger = {.at = calloc(size, sizeof *s->at),
                             .mask = size - 1u,
                             .used = s->used,
                             .has_zero = s->has_zero};

    if (!bigger.at)
        return SL_ENOMEM;
    for (uint64_t i = 0; s->at && i <= s->mask; i++)
        if (s->at[i])
            bigger.at[place(&bigger, s->at[i])] = s->at[i];
    free(s->at);
    *s = bigger;
    return SL_OK;
}

int tag_set_add(struct tag_set *s, uint64_t id)
{
    if (id == 0)
        s->has_zero = 1;
    if (tag_set_has(s, id))
        return SL_OK;
    if ((!s->at || s->used >= (s->mask + 1u) / 2u) && grow(s))
        return SL_ENOMEM;
    s->at[place(s, id)] = id;
    s->used++;
    return SL_OK;
}

void tag_set_remove(struct tag_set *s, uint64_t id)
{
    uint64_t i;

    if (id == 0)
        s->has_zero = 0;
    if (!tag_set_has(s, id) || id == 0)
        return;
    i = place(s, id);
    for (uint64_t j = (i + 1u) & s->mask; s->at[j]; j = (j + 1u) & s->mask) {
        uint64_t home = sl_mix64(s->at[j]) & s->mask;
        if (((j - home) & s->mask) < ((j - i) & s->mask))
            continue;
        s->at[i] = s->at[j];
        i = j;
    }
    s->at[i] = 0;
    s->used--;
}
