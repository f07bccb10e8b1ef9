/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Messages between CPU threads: many senders, one receiver, no lock.
 *
 * A lock-free stack that the receiver takes whole and turns round, so each
 * sender's messages arrive in its order. Messages are the sender's memory until
 * they ran.
 */
#ifndef SLUICE_MAILBOX_H
#define SLUICE_MAILBOX_H

#include <stddef.h>

struct message {
    struct message *next;
    void (*run)(struct message *m); /* on the receiver; may free m */
};

struct mailbox {
    struct message *head; /* atomic */
};

/** Release; partner: mailbox_run. */
static inline void mailbox_post(struct mailbox *b, struct message *m)
{
    struct message *old = __atomic_load_n(&b->head, __ATOMIC_RELAXED);
    do {
        m->next = old; /* relaxed is enough: the exchange below publishes it */
    } while (!__atomic_compare_exchange_n(&b->head, &old, m, 1,
                                          __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

static inline int mailbox_ready(const struct mailbox *b)
{
    /* A hint; mailbox_run acquires. */
    return __atomic_load_n(&b->head, __ATOMIC_RELAXED) != NULL;
}

/** Runs all messages that are there; returns how many. */
static inline unsigned mailbox_run(struct mailbox *b)
{
    unsigned n = 0;
    if (!mailbox_ready(b))
        return 0;
    /* Acquire; partner: mailbox_post of each sender. */
    struct message *m = __atomic_exchange_n(&b->head, NULL, __ATOMIC_ACQUIRE);
    struct message *first = NULL;
    while (m) {
        struct message *next = m->next;
        m->next = first;
        first = m;
        m = next;
    }
    while (first) {
        struct message *next = first->next;
        first->run(first);
        first = next;
        n++;
    }
    return n;
}

#endif
