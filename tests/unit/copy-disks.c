/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations that take their disks along, between two roots of one process, with real guests. Both
 * hosts have one file system here, so the folder of the disks is moved away as soon as the guest
 * has opened them: to the destination they are not there. What was copied is compared with it.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "drivers/qemu/new-disk.h"
#include "host.h"

enum {
    CLUSTER = 65536,
    CLUSTERS = 64,
    SIZE = CLUSTER * CLUSTERS,
    FIRST_FREE = 4,
    DISKS_MAX = 2000
};

static struct vst_host host;
static char there[128]; /* URI */
static struct vst_conn *far;

static void have_conn(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (err)
        fail_msg("there: %s", err->text);
    far = conn;
}

static int begin(void **state)
{
    struct vst_conn_cb cb = {.fn = have_conn};

    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    snprintf(there, sizeof(there), "qemu:///?root=%s/there", host.dir);
    assert_int_equal(vst_op_wait(vst_conn_open(host.base, there, NULL, &cb), NULL), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_conn_close(&far);
    vst_host_run(&host, 10);
    vst_host_clear(&host);
    return 0;
}

/* ---- disks ---- */

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

static void put(int fd, const void *data, size_t length, off_t offset)
{
    assert_int_equal(pwrite(fd, data, length, offset), length);
}

static void put_random(int fd, off_t offset)
{
    static unsigned char data[CLUSTER];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)random();
    put(fd, data, sizeof(data), offset);
}

static int make_disk(const char *name, const char *format, uint64_t size)
{
    char path[160];
    struct vst_disk disk = {(char *)name, path, (char *)format, NULL, false};
    struct vst_new_disk made;
    struct vst_error err = {0};
    int fd;

    path_of(path, "disks", name);
    if (vst_new_disk_make(&disk, size, &made, &err) < 0)
        fail_msg("%s", err.text);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Every second cluster has data: with holes it is told whether they stay. */
static uint64_t disk_size = SIZE;

static void make_raw(const char *name)
{
    int fd = make_disk(name, "raw", disk_size);

    for (int i = 0; i < CLUSTERS; i += 2)
        put_random(fd, (off_t)i * CLUSTER);
    close(fd);
}

static void make_qcow2(const char *name)
{
    const uint64_t used = 1ull << 63; /* once, by us alone */
    int fd = make_disk(name, "qcow2", SIZE);
    uint64_t entry = htobe64(used | (uint64_t)FIRST_FREE * CLUSTER);
    uint16_t one = htobe16(1);

    put(fd, &entry, sizeof(entry), 3 * CLUSTER);
    put(fd, &one, sizeof(one), 2 * CLUSTER + 2 * FIRST_FREE);
    for (int i = 0, next = FIRST_FREE + 1; i < CLUSTERS; i += 2, next++) {
        entry = htobe64(used | (uint64_t)next * CLUSTER);
        put(fd, &entry, sizeof(entry), (off_t)FIRST_FREE * CLUSTER + (off_t)sizeof(entry) * i);
        put(fd, &one, sizeof(one), 2 * CLUSTER + 2 * next);
        put_random(fd, (off_t)next * CLUSTER);
    }
    close(fd);
}

static void remove_disk(const char *name)
{
    char path[160];

    path_of(path, "disks", name);
    assert_int_equal(unlink(path), 0);
}

/* What the guest sees of a qcow2 file: zeros where there is no cluster, or one said to be zero. */
static void read_qcow2(int fd, unsigned char *into)
{
    uint64_t tables, table, entry;

    memset(into, 0, SIZE);
    assert_int_equal(pread(fd, &tables, sizeof(tables), 40), sizeof(tables));
    assert_int_equal(pread(fd, &table, sizeof(table), (off_t)be64toh(tables)), sizeof(table));
    table = be64toh(table) & 0x00fffffffffffe00;
    for (int i = 0; table && i < CLUSTERS; i++) {
        assert_int_equal(pread(fd, &entry, sizeof(entry), (off_t)(table + 8u * (unsigned)i)),
                         sizeof(entry));
        entry = be64toh(entry);
        if (!(entry & 1) && (entry & 0x00fffffffffffe00))
            assert_int_equal(
                pread(fd, into + (size_t)i * CLUSTER, CLUSTER, (off_t)(entry & 0x00fffffffffffe00)),
                CLUSTER);
    }
}

static void read_disk(const char *folder, const char *name, bool qcow2, unsigned char *into)
{
    struct stat st;
    char path[160];
    int fd;

    path_of(path, folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    if (qcow2) {
        read_qcow2(fd, into);
    } else {
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, SIZE);
        assert_int_equal(pread(fd, into, SIZE, 0), SIZE);
    }
    close(fd);
}

static void expect_same(const char *name, bool qcow2)
{
    static unsigned char ours[SIZE], copy[SIZE];

    read_disk("moved", name, qcow2, ours);
    read_disk("disks", name, qcow2, copy);
    if (memcmp(ours, copy, SIZE) != 0)
        fail_msg("%s is not the same", name);
}

static void move_away(void)
{
    char from[160], to[160];

    path_of(from, "disks", "");
    path_of(to, "moved", "");
    assert_int_equal(rename(from, to), 0);
    make_folder("disks");
}

/* ---- guests ---- */

/* It counts, and has these disks, which are away by now. */
static void start_with(const char *disks)
{
    char *counting = vst_host_counting(&host, "g", "P"), *definition;
    struct vst_error err = {0};

    counting[strlen(counting) - 1] = '\0';
    assert_true(asprintf(&definition, "%s, \"disks\": [%s]}", counting, disks) > 0);
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    move_away();
    free(definition);
    free(counting);
    vst_host_expect_counting(&host, "g", 3);
}

/* Adds the definition of one to those before it. */
static void describe(char disks[DISKS_MAX], const char *name, const char *format)
{
    size_t used = strlen(disks);
    int length = snprintf(disks + used, DISKS_MAX - used,
                          "%s{\"name\": \"%s\", \"file\": \"%s/disks/%s\", \"format\": \"%s\"}",
                          used ? ", " : "", name, host.dir, name, format);

    assert_true((size_t)length < DISKS_MAX - used);
}

/* With a raw and a qcow2 disk. */
static void start(void)
{
    char disks[DISKS_MAX] = "";

    make_folder("disks");
    make_raw("a");
    make_qcow2("b");
    describe(disks, "a", "raw");
    describe(disks, "b", "qcow2");
    start_with(disks);
}

static struct vst_domain *found;

static void have_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    (void)err, (void)opaque;
    found = domain;
}

static struct vst_domain *look_up(struct vst_conn *conn)
{
    struct vst_domain_cb cb = {.fn = have_domain};

    found = NULL;
    vst_op_wait(vst_conn_lookup(conn, "g", &cb), NULL);
    return found;
}

static void end_at(struct vst_conn *conn)
{
    struct vst_domain *domain = look_up(conn);

    assert_non_null(domain);
    assert_int_equal(vst_op_wait(vst_domain_destroy(domain, NULL), NULL), 0);
    vst_domain_free(&domain);
}

static void pause_there(void)
{
    struct vst_domain *domain = look_up(far);

    assert_non_null(domain);
    assert_int_equal(vst_op_wait(vst_domain_suspend(domain, NULL), NULL), 0);
    vst_domain_free(&domain);
}

static int migrate(const struct vst_migrate_options *opt, bool check, struct vst_error *ret_err)
{
    struct vst_domain *domain = look_up(host.conn);
    int status;

    assert_non_null(domain);
    status = vst_op_wait(
        (check ? vst_domain_check_migration : vst_domain_migrate)(domain, there, opt, NULL),
        ret_err);
    vst_domain_free(&domain);
    vst_host_run(&host, 200); /* the way there is closed, and with it its hold of the guest */
    return status;
}

static const struct vst_migrate_options copying = {.copy_disks = true};

/* ---- tests ---- */

static void disks_go_with_a_running_guest(void **state)
{
    struct vst_error err = {0};

    (void)state;
    start();
    if (migrate(&copying, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    vst_host_expect_counting(&host, "g", 3);
    pause_there();
    expect_same("a", false);
    expect_same("b", true);
    end_at(far);
    vst_host_expect_gapless(&host, "g");
}

static void disks_go_with_a_paused_guest(void **state)
{
    struct vst_error err = {0};

    (void)state;
    start();
    assert_int_equal(vst_host_suspend(&host, "g", NULL), 0);
    if (migrate(&copying, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    expect_same("a", false);
    expect_same("b", true);
    end_at(far);
}

/* So small that each is in step while the next one is being begun. */
static void six_small_disks_go_one_after_the_other(void **state)
{
    char disks[DISKS_MAX] = "", name[] = "d0";
    struct vst_error err = {0};

    (void)state;
    make_folder("disks");
    for (; name[1] < '6'; name[1]++) {
        close(make_disk(name, "raw", CLUSTER));
        describe(disks, name, "raw");
    }
    start_with(disks);
    if (migrate(&copying, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    vst_host_expect_counting(&host, "g", 3);
    end_at(far);
    vst_host_expect_gapless(&host, "g");
}

/* A boot sector that writes 1 into the next sector, 2 into the one after it, and so on. */
static const unsigned char writer[] = {
    0x31, 0xc0,                                           /*     xor  %ax, %ax          */
    0x8e, 0xd8, 0x8e, 0xd0,                               /*     mov  %ax, %ds; %ss     */
    0xbc, 0x00, 0x7c,                                     /*     mov  $0x7c00, %sp      */
    0x66, 0xc7, 0x06, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, /*     movl $1, 0x8000        */
    0x66, 0xa1, 0x00, 0x80,                               /* 1:  mov  0x8000, %eax      */
    0x66, 0xa3, 0x38, 0x7c,                               /*     mov  %eax, 3f + 8      */
    0xbe, 0x30, 0x7c,                                     /*     mov  $3f, %si          */
    0xb8, 0x00, 0x43, 0xb2, 0x80,                         /*     extended write, disk 1 */
    0xcd, 0x13,                                           /*     int  $0x13             */
    0x72, 0x07,                                           /*     jc   2f                */
    0x66, 0xff, 0x06, 0x00, 0x80,                         /*     incl 0x8000            */
    0xeb, 0xe5,                                           /*     jmp  1b                */
    0xf4, 0xeb, 0xfd,                                     /* 2:  hlt; jmp 2b            */
    0x10, 0x00, 0x01, 0x00, 0x00, 0x80, 0x00, 0x00,       /* 3:  one sector from 0x8000 */
};

enum { WRITTEN_SIZE = 256 * 1024 * 1024, SECTOR = 512 };

/* How far it has come without a gap. */
static uint32_t count_written(const char *folder)
{
    uint32_t value, count = 0;
    char path[160];
    int fd;

    path_of(path, folder, "w");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    while (pread(fd, &value, sizeof(value), (off_t)(count + 1) * SECTOR) == sizeof(value) &&
           value == count + 1)
        count++;
    close(fd);
    return count;
}

/* It is paused: nothing is there behind what it has come to. */
static void expect_no_gap(const char *folder)
{
    uint32_t value, count = count_written(folder);
    char path[160];
    int fd;

    path_of(path, folder, "w");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (uint32_t after = count + 1; after < count + 1000; after++)
        if (pread(fd, &value, sizeof(value), (off_t)after * SECTOR) == sizeof(value) && value)
            fail_msg("sector %u is missing, %u is there", count + 1, after);
    close(fd);
}

static void await_written(const char *folder, uint32_t more)
{
    uint32_t wanted = count_written(folder) + more;

    for (int tries = 0; count_written(folder) < wanted; tries++) {
        if (tries == 500)
            fail_msg("the guest writes no more than %u", count_written(folder));
        vst_host_run(&host, 20);
    }
}

static void start_writer(void)
{
    const unsigned char bootable[] = {0x55, 0xaa};
    struct vst_error err = {0};
    char *definition;
    int fd;

    make_folder("disks");
    fd = make_disk("w", "raw", WRITTEN_SIZE);
    put(fd, writer, sizeof(writer), 0);
    put(fd, bootable, sizeof(bootable), SECTOR - sizeof(bootable));
    put_random(fd, WRITTEN_SIZE - CLUSTER);
    close(fd);
    assert_true(asprintf(&definition,
                         "{\"name\": \"g\", \"machine\": \"pc\", \"accel\": \"tcg\", "
                         "\"memory-mib\": 8, \"vcpus\": 1, \"disks\": [{\"name\": \"w\", "
                         "\"file\": \"%s/disks/w\", \"format\": \"raw\", \"bus\": \"ide\"}]}",
                         host.dir) > 0);
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
    move_away();
    await_written("moved", 10);
}

static void nothing_that_is_written_meanwhile_is_missing(void **state)
{
    struct vst_error err = {0};
    uint32_t before, at_switch;

    (void)state;
    start_writer();
    before = count_written("moved");
    if (migrate(&copying, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    at_switch = count_written("moved");
    await_written("disks", 100);
    pause_there();
    expect_no_gap("moved");
    expect_no_gap("disks");
    print_message("%u sectors before, %u at the switch, %u at last\n", before, at_switch,
                  count_written("disks"));
    assert_true(at_switch > before);
    assert_true(count_written("disks") > at_switch);
    end_at(far);
}

static void missing_disks_are_no_blocker_when_they_are_copied(void **state)
{
    struct vst_error err = {0};

    (void)state;
    start();
    if (migrate(&copying, true, &err) < 0)
        fail_msg("check: %s", err.text);
    assert_int_equal(vst_host_entries(&host, "disks"), 0);
    assert_int_equal(migrate(NULL, true, &err), -1);
    assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
    end_at(host.conn);
}

/* To the destination, which has other files by the same names. */
static void disks_of_another_size_keep_the_guest(void **state)
{
    struct vst_error err = {0};

    (void)state;
    start();
    close(make_disk("a", "raw", SIZE));
    close(make_disk("b", "qcow2", SIZE));
    if (migrate(NULL, true, &err) < 0)
        fail_msg("check: %s", err.text);
    remove_disk("a");
    remove_disk("b");
    close(make_disk("a", "raw", SIZE / 2));
    close(make_disk("b", "qcow2", 2 * SIZE));
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        assert_int_equal(migrate(NULL, check, &err), -1);
        assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
        assert_non_null(strstr(err.text, "disks/a: has 2097152 bytes here, and 4194304 at "));
        assert_non_null(strstr(err.text, "disks/b: has 8388608 bytes here, and 4194304 at "));
    }
    vst_host_expect_counting(&host, "g", 3);
    end_at(host.conn);
    vst_host_expect_gapless(&host, "g");
}

/* Far more than there is room for, and nearly all of it a hole. */
static void hole_needs_no_room(void **state)
{
    struct vst_error err = {0};
    struct statvfs fs;
    struct stat st;
    char path[160];

    (void)state;
    disk_size = (uint64_t)1 << 42;
    start();
    disk_size = SIZE;
    path_of(path, "moved", "a");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(statvfs(path, &fs), 0);
    assert_true((uint64_t)st.st_size > (uint64_t)fs.f_bavail * fs.f_frsize);
    if (migrate(&copying, true, &err) < 0)
        fail_msg("check: %s", err.text);
    end_at(host.conn);
}

static void file_that_is_there_is_not_written_over(void **state)
{
    struct vst_error err = {0};

    (void)state;
    start();
    close(make_disk("b", "raw", SIZE));
    assert_int_equal(migrate(&copying, false, &err), -1);
    assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
    assert_non_null(strstr(err.text, "is there already"));
    assert_int_equal(vst_host_entries(&host, "disks"), 1);
    vst_host_expect_counting(&host, "g", 3);
    end_at(host.conn);
    vst_host_expect_gapless(&host, "g");
}

/* ---- it is given up at each step ---- */

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

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    (void)opaque;
    all_over = !err;
    for (size_t i = 0; i < count; i++)
        all_over &= infos[i].over;
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
    struct vst_domain *domain = look_up(host.conn);
    struct vst_op *op;

    assert_non_null(domain);
    wanted_machine = machine;
    wanted_state = state_name;
    done = reached = false;
    host.edge = note_edge;
    op = vst_domain_migrate(domain, there, &copying, &cb);
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
    path_of(path, "disks", "other");
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
    start();
    path_of(path, "disks", "");
    assert_int_equal(mount("small", path, "tmpfs", 0, "size=8M"), 0);
    break_at("copy", "COPY_PASSING", fill_up);
    print_message("%s\n", outcome.text);
    assert_int_equal(outcome.code, VST_ERR_SYSTEM);
    assert_int_equal(outcome.system, ENOSPC);
    assert_int_equal(outcome.side, VST_SIDE_DESTINATION);
    assert_non_null(strstr(outcome.text, ": no space left at qemu:///?root=")); /* of either disk */
    assert_non_null(strstr(outcome.text, "for its copy, "));
    vst_host_expect_counting(&host, "g", 3);
    end_at(host.conn);
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
    start();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        break_at(steps[i][0], steps[i][1], vst_op_cancel);
        expect_guest_and_no_file(steps[i][1]);
    }
    if (migrate(&copying, false, &err) < 0)
        fail_msg("migrate at last: %s", err.text);
    pause_there();
    expect_same("a", false);
    expect_same("b", true);
    end_at(far);
    vst_host_expect_gapless(&host, "g");
}

/* Of the copies: one is moved away, and another file gets its name. */
static void put_another(struct vst_op *op)
{
    char path[160], away[160];
    int fd;

    path_of(path, "disks", "a");
    path_of(away, "disks", "away");
    assert_int_equal(rename(path, away), 0);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    put(fd, "mine", 4, 0);
    close(fd);
    vst_op_cancel(op);
}

static void file_of_another_that_has_the_name_of_a_copy_stays(void **state)
{
    char path[160];
    struct stat st;

    (void)state;
    start();
    break_at("copy", "COPY_MIRRORING", put_another);
    vst_host_expect_counting(&host, "g", 2);
    path_of(path, "disks", "b");
    while (lstat(path, &st) == 0) /* that one goes */
        vst_host_run(&host, 20);
    path_of(path, "disks", "a");
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    end_at(host.conn);
}

static void destination_that_dies_leaves_the_guest_and_no_file(void **state)
{
    static const char *const steps[] = {"COPY_ADDING", "COPY_MIRRORING", "COPY_READY",
                                        "COPY_ENDING", "COPY_CLOSING"};

    (void)state;
    vst_test_seconds(120);
    start();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        break_at("copy", steps[i], kill_destination);
        print_message("%s: %s\n", steps[i], outcome.text);
        assert_true(vst_error_is_set(&outcome));
        expect_guest_and_no_file(steps[i]);
    }
    end_at(host.conn);
    vst_host_expect_gapless(&host, "g");
}

/* ---- it is slow, by one's own wish ---- */

/* QEMU by itself would copy 16 MiB at once, and then rest for longer than a stall may take. */
static void slow_copy_is_no_stall(void **state)
{
    const uint64_t size = 20 * 1024 * 1024;
    const struct vst_migrate_options slow = {
        .copy_disks = true, .bandwidth = size / 5, .stall_seconds = 3};
    char disks[DISKS_MAX] = "";
    struct vst_error err = {0};
    int fd;

    (void)state;
    make_folder("disks");
    fd = make_disk("a", "raw", size);
    for (off_t at = 0; at < (off_t)size; at += CLUSTER)
        put_random(fd, at);
    close(fd);
    describe(disks, "a", "raw");
    start_with(disks);
    if (migrate(&slow, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    end_at(far);
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

/* At the first speed it would take all day. */
static void slow_copy_is_made_fast(void **state)
{
    const struct vst_migrate_options slow = {.copy_disks = true, .bandwidth = 64};
    const struct vst_migration_change change = {.bandwidth = 1024 * CLUSTER};
    struct vst_done cb = {.fn = over};
    struct vst_error err = {0};
    struct vst_domain *domain;

    (void)state;
    start();
    domain = look_up(host.conn);
    done = false;
    assert_non_null(vst_domain_migrate(domain, there, &slow, &cb));
    for (known = (struct vst_migration_info){0}; !strstr(known.verdict, "0 of 2") || !known.left;)
        look();
    assert_string_equal(known.phase, "disks");
    assert_int_equal(known.total, 2 * SIZE);
    if (vst_op_wait(
            vst_conn_order_migration(host.conn, known.token, VST_MIGRATION_SET, &change, NULL),
            &err) < 0)
        fail_msg("set: %s", err.text);
    while (!done)
        vst_host_run(&host, 20);
    if (vst_error_is_set(&outcome))
        fail_msg("migrate: %s", outcome.text);
    vst_domain_free(&domain);
    end_at(far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(disks_go_with_a_running_guest, begin, end),
        cmocka_unit_test_setup_teardown(disks_go_with_a_paused_guest, begin, end),
        cmocka_unit_test_setup_teardown(six_small_disks_go_one_after_the_other, begin, end),
        cmocka_unit_test_setup_teardown(nothing_that_is_written_meanwhile_is_missing, begin, end),
        cmocka_unit_test_setup_teardown(missing_disks_are_no_blocker_when_they_are_copied, begin,
                                        end),
        cmocka_unit_test_setup_teardown(disks_of_another_size_keep_the_guest, begin, end),
        cmocka_unit_test_setup_teardown(hole_needs_no_room, begin, end),
        cmocka_unit_test_setup_teardown(file_that_is_there_is_not_written_over, begin, end),
        cmocka_unit_test_setup_teardown(space_that_runs_out_there_is_told_as_that, begin, end),
        cmocka_unit_test_setup_teardown(given_up_copy_leaves_the_guest_and_no_file, begin, end),
        cmocka_unit_test_setup_teardown(file_of_another_that_has_the_name_of_a_copy_stays, begin,
                                        end),
        cmocka_unit_test_setup_teardown(destination_that_dies_leaves_the_guest_and_no_file, begin,
                                        end),
        cmocka_unit_test_setup_teardown(slow_copy_is_no_stall, begin, end),
        cmocka_unit_test_setup_teardown(slow_copy_is_made_fast, begin, end),
    };

    may_mount = unshare(CLONE_NEWNS) == 0 && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
