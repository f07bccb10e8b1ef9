/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fuzzes the protocol: cells that any producer could write, with what they say
 * lies in their chunks. Each is answered, and who is beside it is served.
 *
 * An input is a row of tasks: 4 bytes that choose, a cell, and bytes of its side
 * chunk and of its chunk, as many as two of the 4 say.
 */
#include "hostile_help.h"

#define TASKS_MAX 12u
#define INPUTS_OF_A_STORE 2000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct rig rig;
static uint64_t inputs;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_open(&rig);
    return 0;
}

struct input {
    const uint8_t *at;
    size_t left;
};

/* Zeros behind the end. */
static void take(struct input *in, void *to, size_t n)
{
    size_t k = n < in->left ? n : in->left;
    memset(to, 0, n);
    if (k)
        memcpy(to, in->at, k);
    in->at += k;
    in->left -= k;
}

/* Both chunks are lent to the device, however the last cell used them. */
static void lend_chunks(void)
{
    uint32_t klass, id = rig.device->channel->id;
    if (!chunk_is_lent(rig.rt->arena, rig.chunk, id, &klass))
        rig.chunk = borrow(rig.d, 13);
    if (!chunk_is_lent(rig.rt->arena, rig.side, id, &klass))
        rig.side = borrow(rig.d, 12);
}

/* What noise would hardly ever meet is set, unless the input says not to. */
static void aim(struct sl_cell *c, const uint8_t how[4], uint32_t ring)
{
    if (how[0] & 1u)
        c->pool = SL_POOL_STORE;
    if (how[0] & 2u)
        c->tag = rig.tag;
    if (how[0] & 4u)
        c->chunk = rig.chunk;
    if (how[0] & 8u)
        c->side = rig.side;
    if (how[0] & 16u)
        c->klass = 13;
    if (how[0] & 32u)
        c->size &= 8191u;
    if (how[0] & 64u)
        c->offset &= 65535u;
    if (how[0] & 128u)
        c->container = (uint16_t)(ring % rig.d->n_lanes);
    if (how[1] & 2u)
        c->method %= SL_STORE_METHODS + 1u;
    if (how[1] & 4u)
        c->name_len = (uint8_t)(1u + c->name_len % 50u);
    if (how[1] & 8u)
        c->persist = 0;
    if (how[1] & 16u)
        c->codec %= SL_CODECS;
    if (how[1] & 32u)
        c->score = SL_SCORE_AUTO;
    if (c->pool == SL_POOL_ADMIN && c->method == SL_ADMIN_LIST)
        c->size %= 20u; /* else most of the time there is no chunk left */
}

static void one_task(struct input *in)
{
    uint8_t how[4], side[255], chunk[255];
    struct sl_cell c;
    uint32_t ring;
    take(in, how, sizeof(how));
    take(in, &c, sizeof(c));
    take(in, side, how[2]);
    take(in, chunk, how[3]);
    ring = how[1] >> 6 & 1u;
    lend_chunks();
    memcpy(rig.d->arena + rig.side + (how[1] & 1u ? SL_SIDE_LIST : 0), side,
           how[2]);
    memcpy(rig.d->arena + rig.chunk, chunk, how[3]);
    aim(&c, how, ring);
    if (send_cell(&rig, &c, ring))
        abort();
}

static int drop_tag(void *user, const char *name, uint32_t len, uint64_t id)
{
    (void)user;
    (void)name;
    (void)len;
    (void)sl_tag_del(rig.rt, id);
    return 0;
}

/* What earlier inputs left behind goes now and then. */
static void start_anew(void)
{
    sl_device_close(rig.device);
    if (++inputs % INPUTS_OF_A_STORE == 0)
        (void)sl_list_tags(rig.rt, drop_tag, NULL);
    if (sl_device_open(rig.rt, "host", &rig.device) ||
        sl_tag(rig.rt, "victim", &rig.tag))
        abort();
    rig.d = sl_device_handle(rig.device);
    rig.chunk = 0;
    rig.side = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    for (unsigned i = 0; in.left && i < TASKS_MAX; i++)
        one_task(&in);
    start_anew();
    if (inputs % 64u == 0)
        expect_service(&rig);
    return 0;
}
