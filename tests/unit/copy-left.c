/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill -9 of whoever migrates a real guest together with its disk, at each step of the copy: the
 * guest, once it is taken hold of again, is as if no copy had ever been begun. QEMU refuses to
 * begin another copy, to save and to migrate for as long as it has a hold of the disk. That a copy
 * is given up by somebody who lives is in copy-disks.c.
 */
#include <dirent.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "far.h"
#include "loop.h"

enum { SIZE = 4 * 1024 * 1024 };

static struct vst_host host;
static char there[128]; /* URI */
static struct vst_conn *far;
static unsigned char data[SIZE];

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(120);
    vst_host_make(&host);
    far_make_uri(&host, there);
    far = far_connect(host.base, there);
    assert_non_null(far);
    return 0;
}

static int end(void **state)
{
    (void)state;
    host.edge = NULL;
    far_disconnect(&host, &far);
    vst_host_clear(&host);
    return 0;
}

/* ---- a guest with a disk ---- */

static void path_of(char path[160], const char *folder, const char *name)
{
    snprintf(path, 160, "%s/%s/%s", host.dir, folder, name);
}

static void make_folder(const char *name)
{
    char path[160];

    path_of(path, name, "");
    assert_int_equal(mkdir(path, 0700), 0);
}

static void make_disk(void)
{
    char path[160];
    int fd;

    make_folder("disks");
    path_of(path, "disks", "a");
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (unsigned char)random();
    assert_int_equal(write(fd, data, SIZE), SIZE);
    close(fd);
}

/* Both hosts have one file system: what the guest has opened is moved away, and so is not there. */
static void move_away(void)
{
    char from[160], to[160];

    path_of(from, "disks", "");
    path_of(to, "moved", "");
    assert_int_equal(rename(from, to), 0);
    make_folder("disks");
}

static void start(void)
{
    char *counting = vst_host_counting(&host, "g", "P");
    struct vst_error err = {0};
    char *definition;

    counting[strlen(counting) - 1] = '\0';
    assert_true(asprintf(&definition,
                         "%s, \"disks\": [{\"name\": \"a\", \"file\": \"%s/disks/a\", "
                         "\"format\": \"raw\"}]}",
                         counting, host.dir) > 0);
    make_disk();
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    move_away();
    free(definition);
    free(counting);
    vst_host_expect_counting(&host, "g", 3);
}

static int migrate(uint64_t bandwidth, struct vst_error *ret_err)
{
    struct vst_migrate_options opt = {.copy_disks = true, .bandwidth = bandwidth};
    struct vst_domain *domain = far_look_up(host.conn, "g");
    int status;

    assert_non_null(domain);
    status = vst_op_wait(vst_domain_migrate(domain, there, &opt, NULL), ret_err);
    vst_domain_free(&domain);
    return status;
}

/* ---- death ---- */

struct place_of_death {
    const char *machine, *state;
};

static void die(void *opaque, const char *machine, const char *to)
{
    const struct place_of_death *where = opaque;

    if (strcmp(machine, where->machine) == 0 && strcmp(to, where->state) == 0)
        raise(SIGKILL);
}

/* In a process of its own, and so slow that the copy is on its way. */
static void die_at(const struct place_of_death *where)
{
    struct vst_error err = {.text = "no error"};
    int status;
    pid_t pid;

    far_disconnect(&host, &far);
    vst_host_disconnect(&host);
    vst_test_threads_end();
    pid = vst_test_fork();
    if (pid == 0) {
        vst_host_connect(&host);
        host.edge = die;
        host.opaque = (void *)where;
        migrate(SIZE, &err);
        fprintf(stderr, "%s is never entered: %s\n", where->state, err.text);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("%s: not killed", where->state);
}

static void come_back(void)
{
    vst_host_connect(&host);
    far = far_connect(host.base, there);
    assert_non_null(far);
}

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    bool *over = opaque;

    *over = !err;
    for (size_t i = 0; i < count; i++)
        *over &= infos[i].over;
}

/* The source first: it has a connection of its own there. */
static void settle(struct vst_conn *conn)
{
    bool over = false;
    struct vst_migrations_cb cb = {.fn = have_migrations, .opaque = &over};

    while (!over) {
        vst_host_run(&host, 20);
        vst_op_wait(vst_conn_list_migrations(conn, &cb), NULL);
    }
}

/* The destination died with it, and so does not know which files are its own. */
static void remove_copy(void)
{
    char path[160];

    path_of(path, "disks", "a");
    unlink(path);
}

/* What the source's host knows of its migrations is gone, too. */
static void forget(void)
{
    static const char *const files[] = {"g/job", ".state/journal"};
    char path[160];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        path_of(path, "root", files[i]);
        assert_int_equal(unlink(path), 0);
    }
}

static void die_and_come_back(const struct place_of_death *where)
{
    die_at(where);
    come_back();
    settle(host.conn);
    settle(far);
    far_disconnect(&host, &far); /* with a connection it has hold of that journal */
    far = far_connect(host.base, there);
    assert_non_null(far);
    remove_copy();
    vst_host_expect_counting(&host, "g", 3);
}

/* ---- tests ---- */

static void expect_arrived(void)
{
    static unsigned char copy[SIZE];
    struct vst_domain *domain = far_look_up(far, "g");
    char path[160];
    int fd;

    assert_non_null(domain);
    vst_host_expect_counting(&host, "g", 3);
    assert_int_equal(vst_op_wait(vst_domain_suspend(domain, NULL), NULL), 0);
    path_of(path, "disks", "a");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, copy, SIZE), SIZE);
    assert_memory_equal(copy, data, SIZE);
    close(fd);
    assert_int_equal(vst_op_wait(vst_domain_destroy(domain, NULL), NULL), 0);
    vst_domain_free(&domain);
}

static void disks_of_a_guest_whose_manager_died_are_copied_again(void **state)
{
    static const struct place_of_death steps[] = {
        {"copy", "COPY_ADDING"},           {"copy", "COPY_STARTING"},
        {"copy", "COPY_MIRRORING"},        {"copy", "COPY_READY"},
        {"copy", "COPY_ENDING"},           {"copy", "COPY_CLOSING"},
        {"departure", "DEPARTURE_MOVING"},
    };
    struct vst_error err = {0};

    (void)state;
    start();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        die_and_come_back(&steps[i]);
    if (migrate(0, &err) < 0)
        fail_msg("migrate at last: %s", err.text);
    vst_host_run(&host, 200); /* the way there is closed, and with it its hold of the guest */
    expect_arrived();
    vst_host_expect_gapless(&host, "g");
}

static unsigned count_descriptors(pid_t pid)
{
    char path[64];
    unsigned count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* It was given to QEMU, and nobody has told QEMU what it is for. */
static void descriptor_of_a_copy_whose_manager_died_is_closed(void **state)
{
    static const struct place_of_death adding = {"copy", "COPY_ADDING"};
    unsigned before;
    pid_t pid;

    (void)state;
    start();
    pid = host.started->processes[host.started->count - 1].pid;
    die_and_come_back(&adding);
    before = count_descriptors(pid);
    for (int times = 0; times < 3; times++)
        die_and_come_back(&adding);
    assert_int_equal(count_descriptors(pid), before);
}

static void expect_saved(void)
{
    struct evbuffer *image = evbuffer_new();
    struct vst_error err = {0};

    if (vst_host_save(&host, "g", vst_host_sink(&host, image), NULL, &err) < 0)
        fail_msg("save: %s", err.text);
    assert_true(evbuffer_get_length(image) > 0);
    evbuffer_free(image);
}

static void guest_whose_manager_died_copying_its_disk_is_saved(void **state)
{
    static const struct place_of_death mirroring = {"copy", "COPY_MIRRORING"};

    (void)state;
    start();
    die_and_come_back(&mirroring);
    expect_saved();
}

static void copies_that_no_journal_knows_are_ended_before_others_are_begun(void **state)
{
    static const struct place_of_death ready = {"copy", "COPY_READY"};
    struct vst_migrate_options opt = {.copy_disks = true};
    struct vst_domain *domain;

    (void)state;
    start();
    die_at(&ready);
    forget();
    remove_copy();
    come_back();
    domain = far_look_up(host.conn, "g");
    assert_non_null(domain);
    /* What has come there is still there, and in the way: what is said of that does not matter. */
    vst_op_wait(vst_domain_check_migration(domain, there, &opt, NULL), NULL);
    vst_domain_free(&domain);
    vst_host_expect_counting(&host, "g", 3);
    expect_saved();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(disks_of_a_guest_whose_manager_died_are_copied_again, begin,
                                        end),
        cmocka_unit_test_setup_teardown(descriptor_of_a_copy_whose_manager_died_is_closed, begin,
                                        end),
        cmocka_unit_test_setup_teardown(guest_whose_manager_died_copying_its_disk_is_saved, begin,
                                        end),
        cmocka_unit_test_setup_teardown(
            copies_that_no_journal_knows_are_ended_before_others_are_begun, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
