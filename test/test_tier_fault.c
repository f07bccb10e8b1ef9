/* SPDX-License-Identifier: Apache-2.0 */
/* The failing tier fails as it is told, and only then. */
#include "tier/fault.h"
#include "tier_rig.h"

static struct tier *tier;
static struct tier_port *port;
static uint64_t at;
static uint8_t *old, *new, *seen;
#define BYTES 16384u

static int setup(void **state)
{
    struct tier_config c = {.kind = "fault",
                            .name = "test",
                            .capacity = MIB,
                            .n_ports = 1,
                            .queue_depth = 4};
    (void)state;
    assert_int_equal(tier_open(&c, &tier), SL_OK);
    assert_int_equal(tier->ops->port_open(tier, 0, &port), SL_OK);
    assert_int_equal(tier->ops->alloc(tier, BYTES, &at), SL_OK);
    old = buffer(BYTES);
    new = buffer(BYTES);
    seen = buffer(BYTES);
    pattern(old, BYTES, 1);
    pattern(new, BYTES, 2);
    assert_int_equal(transfer(port, RIG_WRITE, at, old, BYTES), SL_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (port)
        tier->ops->port_close(port);
    tier->ops->close(tier);
    free(old);
    free(new);
    free(seen);
    return 0;
}

static int put(void)
{
    return transfer(port, RIG_WRITE, at, new, BYTES);
}

static void look(void)
{
    assert_int_equal(transfer(port, RIG_READ, at, seen, BYTES), SL_OK);
}

static void nth_write_fails_and_leaves_the_bytes(void **state)
{
    struct fault_rule third = {.nth = 3, .times = 2, .code = SL_EIO};
    (void)state;
    fault_arm(tier, FAULT_WRITE, third);
    assert_int_equal(put(), SL_OK);
    assert_int_equal(transfer(port, RIG_WRITE, at, old, BYTES), SL_OK);
    assert_int_equal(put(), SL_EIO);
    assert_int_equal(put(), SL_EIO);
    look();
    assert_memory_equal(seen, old, BYTES);
    assert_int_equal(put(), SL_OK);
    look();
    assert_memory_equal(seen, new, BYTES);
    assert_int_equal(fault_seen(tier, FAULT_WRITE), 6);
    assert_int_equal(fault_seen(tier, FAULT_READ), 2);
}

static void reads_and_flushes_fail_by_their_own_rules(void **state)
{
    struct fault_rule once = {.nth = 1, .times = 1, .code = SL_ECHECKSUM};
    struct fault_rule always = {.times = FAULT_ALL, .code = SL_EIO};
    (void)state;
    fault_arm(tier, FAULT_READ, once);
    fault_arm(tier, FAULT_FLUSH, always);
    assert_int_equal(put(), SL_OK);
    assert_int_equal(transfer(port, RIG_READ, at, seen, BYTES), SL_ECHECKSUM);
    look();
    for (int i = 0; i < 5; i++)
        assert_int_equal(transfer(port, RIG_FLUSH, 0, NULL, 0), SL_EIO);
    always.times = 0;
    fault_arm(tier, FAULT_FLUSH, always);
    assert_int_equal(transfer(port, RIG_FLUSH, 0, NULL, 0), SL_OK);
}

static void full_tier_refuses_alloc_until_disarmed(void **state)
{
    struct fault_rule full = {.times = FAULT_ALL, .code = SL_ENOSPC};
    struct fault_rule off = {.times = 0};
    uint64_t loc = 3;
    (void)state;
    fault_arm(tier, FAULT_ALLOC, full);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tier->ops->alloc(tier, 4096, &loc), SL_ENOSPC);
    assert_int_equal(loc, 3);
    fault_arm(tier, FAULT_ALLOC, off);
    assert_int_equal(tier->ops->alloc(tier, 4096, &loc), SL_OK);
}

static void torn_write_puts_the_first_bytes_only(void **state)
{
    static const uint32_t torn[] = {1, 1000, 4096, 5001, BYTES, BYTES + 9};
    (void)state;
    for (size_t i = 0; i < sizeof(torn) / sizeof(torn[0]); i++) {
        struct fault_rule r = {.nth = 1,
                               .times = 1,
                               .code = i % 2 ? SL_EIO : SL_OK,
                               .torn = torn[i]};
        uint32_t n = torn[i] < BYTES ? torn[i] : BYTES;
        assert_int_equal(transfer(port, RIG_WRITE, at, old, BYTES), SL_OK);
        fault_arm(tier, FAULT_WRITE, r);
        assert_int_equal(put(), r.code);
        look();
        assert_memory_equal(seen, new, n);
        assert_memory_equal(seen + n, old + n, BYTES - n);
    }
}

static void lost_write_is_reported_as_done(void **state)
{
    struct fault_rule lost = {.nth = 1, .times = 1, .code = SL_OK};
    (void)state;
    fault_arm(tier, FAULT_WRITE, lost);
    assert_int_equal(put(), SL_OK);
    look();
    assert_memory_equal(seen, old, BYTES);
}

static void completions_are_held_until_told(void **state)
{
    struct request r[5];
    (void)state;
    fault_pass(tier, 0);
    for (int i = 0; i < 5; i++) {
        r[i] = request_make(at, seen, BYTES);
        assert_int_equal(tier->ops->read(port, &r[i].io), SL_OK);
        assert_int_equal(tier->ops->poll(port), 0);
    }
    assert_int_equal(fault_held(tier), 5);
    assert_int_equal(tier->ops->pending(port), 5);
    fault_pass(tier, 2);
    assert_int_equal(tier->ops->poll(port), 2);
    assert_int_equal(tier->ops->poll(port), 0);
    assert_int_equal(r[0].calls + r[1].calls, 2);
    assert_int_equal(r[2].calls, 0);
    assert_int_equal(fault_held(tier), 3);
    fault_pass(tier, FAULT_ALL);
    assert_int_equal(tier->ops->poll(port), 3);
    assert_int_equal(tier->ops->pending(port), 0);
}

static void port_close_delivers_what_is_held(void **state)
{
    struct request r = request_make(at, new, BYTES);
    struct fault_rule torn = {.times = 1, .code = SL_EIO, .torn = 9};
    (void)state;
    fault_pass(tier, 0);
    fault_arm(tier, FAULT_WRITE, torn);
    assert_int_equal(tier->ops->write(port, &r.io), SL_OK);
    tier->ops->port_close(port);
    port = NULL;
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.code, SL_EIO);
}

static void wrapped_file_stays_persistent(void **state)
{
    struct tier *t = NULL;
    char path[64];
    struct tier_config c = {
        .kind = "fault", .path = path, .capacity = MIB, .n_ports = 1};
    (void)state;
    assert_false(tier->ops->persistent);
    make_path(path, sizeof(path), ".");
    assert_int_equal(tier_open(&c, &t), SL_OK);
    assert_true(t->ops->persistent);
    assert_string_equal(t->ops->kind, "fault");
    t->ops->close(t);
    unlink(path);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nth_write_fails_and_leaves_the_bytes),
        CASE(reads_and_flushes_fail_by_their_own_rules),
        CASE(full_tier_refuses_alloc_until_disarmed),
        CASE(torn_write_puts_the_first_bytes_only),
        CASE(lost_write_is_reported_as_done),
        CASE(completions_are_held_until_told),
        CASE(port_close_delivers_what_is_held),
        CASE(wrapped_file_stays_persistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
