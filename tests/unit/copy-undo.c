/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies of disks that are given up, or cannot be finished, at each step: the guest goes on, and no
 * file is left. That a manager is killed is in copy-left.c.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "copying.h"

static const char *wanted_machine, *wanted_state;
static bool reached;

static void note_edge(void *opaque, const char *machine, const char *to)
{
    (void)opaque;
    reached |= strcmp(machine, wanted_machine) == 0 && strcmp(to, wanted_state) == 0;
}

static bool done;
static struct vst_error outcome;

static void over(const struct vst_error *err, void *opaque)
{
    (void)opaque;
    outcome = err ? *err : (struct vst_error){0};
    done = true;
}

static bool all_over;
static struct vst_migration_info newest;

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    (void)opaque;
    all_over = !err;
    for (size_t i = 0; i < count; i++) {
        all_over &= infos[i].over;
        newest = infos[i];
    }
}

/* At both ends: the source may have the guest back, and still have to tell the destination. */
static void await_rest(struct vst_conn *conn)
{
    struct vst_migrations_cb cb = {.fn = have_migrations};

    for (all_over = false; !all_over;) {
        vst_host_run(&host, 20);
        vst_op_wait(vst_conn_list_migrations(conn, &cb), NULL);
    }
}

/* The last that was started. */
static void kill_destination(struct vst_op *op)
{
    (void)op;
    kill(host.started->processes[host.started->count - 1].pid, SIGKILL);
}

static void break_at(const char *machine, const char *state_name, void (*act)(struct vst_op *op))
{
    struct vst_done cb = {.fn = over};
    struct vst_domain *domain = far_look_up(host.conn, "g");
    struct vst_op *op;

    assert_non_null(domain);
    wanted_machine = machine;
    wanted_state = state_name;
    done = reached = false;
    host.edge = note_edge;
    op = vst_domain_migrate(domain, there, &with_disks, &cb);
    while (!reached && !done)
        event_base_loop(host.base, EVLOOP_ONCE);
    host.edge = NULL;
    if (done)
        fail_msg("%s is never entered: %s", state_name, outcome.text);
    act(op);
    while (!done)
        event_base_loop(host.base, EVLOOP_ONCE);
    vst_domain_free(&domain);
    await_rest(host.conn);
}

static void expect_guest_and_no_file(const char *step)
{
    vst_host_expect_counting(&host, "g", 3);
    for (int i = 0; vst_host_entries(&host, "disks") && i < 400; i++)
        vst_host_run(&host, 25); /* they go on a thread, when their QEMU has ended */
    if (vst_host_entries(&host, "disks"))
        fail_msg("%s: a file is left", step);
}

/* There is room for the copies when it is looked, and none when they are made. */
static void fill_up(struct vst_op *op)
{
    static char zeros[CLUSTER];
    char path[160];
    int fd;

    (void)op;
    copying_path_of(path, "disks", "other");
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static bool may_mount; /* for this process alone */

static void space_that_runs_out_there_is_told_as_that(void **state)
{
    char path[160];

    (void)state;
    if (!may_mount) {
        print_message("no file system may be mounted here\n");
        skip();
    }
    copying_start();
    copying_path_of(path, "disks", "");
    assert_int_equal(mount("small", path, "tmpfs", 0, "size=8M"), 0);
    break_at("copy", "COPY_PASSING", fill_up);
    print_message("%s\n", outcome.text);
    assert_int_equal(outcome.code, VST_ERR_SYSTEM);
    assert_int_equal(outcome.system, ENOSPC);
    assert_int_equal(outcome.side, VST_SIDE_DESTINATION);
    assert_non_null(strstr(outcome.text, ": no space left at qemu:///?root=")); /* of either disk */
    assert_non_null(strstr(outcome.text, "for its copy, "));
    await_rest(far);
    if (!strstr(newest.reason, "no space left at qemu:///?root="))
        fail_msg("there: %s", newest.reason);
    vst_host_expect_counting(&host, "g", 3);
    copying_end_at(host.conn);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
    vst_host_expect_gapless(&host, "g");
}

static void given_up_copy_leaves_the_guest_and_no_file(void **state)
{
    static const char *const steps[][2] = {
        {"copy", "COPY_PASSING"},
        {"copy", "COPY_ADDING"},
        {"copy", "COPY_STARTING"},
        {"copy", "COPY_MIRRORING"},
        {"copy", "COPY_READY"},
        {"departure", "DEPARTURE_MOVING"},
        {"copy", "COPY_ENDING"},
        {"copy", "COPY_CLOSING"},
        {"destination", "DESTINATION_SPAWNING"},
    };
    struct vst_error err = {0};

    (void)state;
    vst_test_seconds(120);
    copying_start();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        break_at(steps[i][0], steps[i][1], vst_op_cancel);
        expect_guest_and_no_file(steps[i][1]);
    }
    if (copying_migrate(&with_disks, false, &err) < 0)
        fail_msg("migrate at last: %s", err.text);
    copying_pause_there();
    copying_expect_same("a", false);
    copying_expect_same("b", true);
    copying_end_at(far);
    vst_host_expect_gapless(&host, "g");
}

/* Of the copies: one is moved away, and another file gets its name. */
static void put_another(struct vst_op *op)
{
    char path[160], away[160];
    int fd;

    copying_path_of(path, "disks", "a");
    copying_path_of(away, "disks", "away");
    assert_int_equal(rename(path, away), 0);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    copying_put(fd, "mine", 4, 0);
    close(fd);
    vst_op_cancel(op);
}

static void file_of_another_that_has_the_name_of_a_copy_stays(void **state)
{
    char path[160];
    struct stat st;

    (void)state;
    copying_start();
    break_at("copy", "COPY_MIRRORING", put_another);
    vst_host_expect_counting(&host, "g", 2);
    copying_path_of(path, "disks", "b");
    while (lstat(path, &st) == 0) /* that one goes */
        vst_host_run(&host, 20);
    copying_path_of(path, "disks", "a");
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    copying_end_at(host.conn);
}

static void destination_that_dies_leaves_the_guest_and_no_file(void **state)
{
    static const char *const steps[] = {"COPY_ADDING", "COPY_MIRRORING", "COPY_READY",
                                        "COPY_ENDING", "COPY_CLOSING"};

    (void)state;
    vst_test_seconds(120);
    copying_start();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        break_at("copy", steps[i], kill_destination);
        print_message("%s: %s\n", steps[i], outcome.text);
        assert_true(vst_error_is_set(&outcome));
        expect_guest_and_no_file(steps[i]);
    }
    copying_end_at(host.conn);
    vst_host_expect_gapless(&host, "g");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(space_that_runs_out_there_is_told_as_that, copying_begin,
                                        copying_end),
        cmocka_unit_test_setup_teardown(given_up_copy_leaves_the_guest_and_no_file, copying_begin,
                                        copying_end),
        cmocka_unit_test_setup_teardown(file_of_another_that_has_the_name_of_a_copy_stays,
                                        copying_begin, copying_end),
        cmocka_unit_test_setup_teardown(destination_that_dies_leaves_the_guest_and_no_file,
                                        copying_begin, copying_end),
    };

    may_mount = unshare(CLONE_NEWNS) == 0 && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
