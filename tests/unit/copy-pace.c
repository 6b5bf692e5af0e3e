/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies of disks that are slow because somebody wants them so.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "copying.h"

enum { LARGE = 20 * 1024 * 1024 };

static void start_with_a_large_disk(void)
{
    char disks[DISKS_MAX] = "";
    int fd;

    copying_make_folder("disks");
    fd = copying_make_disk("a", "raw", LARGE);
    for (off_t at = 0; at < LARGE; at += CLUSTER)
        copying_put_random(fd, at);
    close(fd);
    copying_describe(disks, "a", "raw");
    copying_start_with(disks);
}

/* QEMU by itself would copy 16 MiB at once, and then rest for longer than a stall may take. */
static void slow_copy_is_no_stall(void **state)
{
    const struct vst_migrate_options slow = {
        .copy_disks = true, .bandwidth = LARGE / 5, .stall_seconds = 3};
    struct vst_error err = {0};

    (void)state;
    start_with_a_large_disk();
    if (copying_migrate(&slow, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    copying_end_at(far);
}

static struct vst_migration_info known;

static void have_one(const struct vst_migration_info *infos, size_t count,
                     const struct vst_error *err, void *opaque)
{
    (void)err, (void)opaque;
    assert_int_equal(count, 1);
    known = infos[0];
}

static void look(void)
{
    struct vst_migrations_cb cb = {.fn = have_one};

    vst_host_run(&host, 20);
    vst_op_wait(vst_conn_list_migrations(host.conn, &cb), NULL);
}

static unsigned memory_told; /* of the bandwidth that was ordered */

static void hear_line(void *opaque, const char *line)
{
    char wanted[64];

    (void)opaque;
    snprintf(wanted, sizeof(wanted), "\"max-bandwidth\":%d", 1024 * CLUSTER);
    memory_told += strstr(line, "migrate-set-parameters") && strstr(line, wanted);
}

static void set_bandwidth(uint64_t bandwidth)
{
    const struct vst_migration_change change = {.bandwidth = bandwidth};
    struct vst_error err = {0};

    if (vst_op_wait(
            vst_conn_order_migration(host.conn, known.token, VST_MIGRATION_SET, &change, NULL),
            &err) < 0)
        fail_msg("set: %s", err.text);
}

/* QEMU goes on with pieces of 2 MiB, and rests for eight seconds after each. */
static void copy_that_is_made_slow_is_no_stall(void **state)
{
    const struct vst_migrate_options fast = {
        .copy_disks = true, .bandwidth = 8 * 1024 * 1024, .stall_seconds = 3};
    struct outcome outcome = {0};
    struct vst_domain *domain;

    (void)state;
    start_with_a_large_disk();
    domain = far_look_up(host.conn, "g");
    assert_non_null(vst_domain_migrate(domain, there, &fast, outcome_done(&outcome)));
    for (known = (struct vst_migration_info){0};
         known.phase != VST_MIGRATION_PHASE_DISKS || !known.left;)
        look();
    set_bandwidth(256 * 1024);
    vst_host_run(&host, 6000);
    set_bandwidth(1024 * 1024 * 1024);
    outcome_await(host.base, &outcome);
    if (vst_error_is_set(&outcome.err))
        fail_msg("migrate: %s", outcome.err.text);
    vst_domain_free(&domain);
    copying_end_at(far);
}

/* At the first speed it would take all day. Memory has that which was ordered, too, now and when
 * its turn comes. */
static void slow_copy_is_made_fast(void **state)
{
    const struct vst_migrate_options slow = {.copy_disks = true, .bandwidth = 64};
    struct outcome outcome = {0};
    struct vst_domain *domain;

    (void)state;
    copying_start();
    domain = far_look_up(host.conn, "g");
    assert_non_null(vst_domain_migrate(domain, there, &slow, outcome_done(&outcome)));
    for (known = (struct vst_migration_info){0}; !strstr(known.verdict, "0 of 2") || !known.left;)
        look();
    assert_int_equal(known.phase, VST_MIGRATION_PHASE_DISKS);
    assert_int_equal(known.total, 2 * SIZE);
    memory_told = 0;
    host.line = hear_line;
    set_bandwidth(1024 * CLUSTER);
    outcome_await(host.base, &outcome);
    host.line = NULL;
    if (vst_error_is_set(&outcome.err))
        fail_msg("migrate: %s", outcome.err.text);
    assert_int_equal(memory_told, 2);
    vst_domain_free(&domain);
    copying_end_at(far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slow_copy_is_no_stall, copying_begin, copying_end),
        cmocka_unit_test_setup_teardown(copy_that_is_made_slow_is_no_stall, copying_begin,
                                        copying_end),
        cmocka_unit_test_setup_teardown(slow_copy_is_made_fast, copying_begin, copying_end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
