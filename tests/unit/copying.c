/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two hosts, and the disks, that copying.h promises.
 */
#include "copying.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/qemu/new-disk.h"

struct vst_host host;
char there[128];
struct vst_conn *far;

int copying_begin(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    far_make_uri(&host, there);
    far = far_connect(host.base, there);
    assert_non_null(far);
    return 0;
}

int copying_end(void **state)
{
    (void)state;
    far_disconnect(&host, &far);
    vst_host_clear(&host);
    return 0;
}

/* ---- disks ---- */

void copying_path_of(char path[160], const char *folder, const char *name)
{
    snprintf(path, 160, "%s/%s/%s", host.dir, folder, name);
}

void copying_make_folder(const char *name)
{
    char path[160];

    copying_path_of(path, name, "");
    assert_int_equal(mkdir(path, 0700), 0);
}

void copying_put(int fd, const void *data, size_t length, off_t offset)
{
    assert_int_equal(pwrite(fd, data, length, offset), length);
}

void copying_put_random(int fd, off_t offset)
{
    static unsigned char data[CLUSTER];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)random();
    copying_put(fd, data, sizeof(data), offset);
}

int copying_make_disk(const char *name, const char *format, uint64_t size)
{
    char path[160];
    struct vst_disk disk = {(char *)name, path, (char *)format, NULL, false};
    struct vst_new_disk made;
    struct vst_error err = {0};
    int fd;

    copying_path_of(path, "disks", name);
    if (vst_new_disk_make(&disk, size, &made, &err) < 0)
        fail_msg("%s", err.text);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Every second cluster has data: with holes it is told whether they stay. */
uint64_t disk_size = SIZE;

void copying_make_raw(const char *name)
{
    int fd = copying_make_disk(name, "raw", disk_size);

    for (int i = 0; i < CLUSTERS; i += 2)
        copying_put_random(fd, (off_t)i * CLUSTER);
    close(fd);
}

static void make_qcow2(const char *name)
{
    const uint64_t used = 1ull << 63; /* once, by us alone */
    int fd = copying_make_disk(name, "qcow2", SIZE);
    uint64_t entry = htobe64(used | (uint64_t)FIRST_FREE * CLUSTER);
    uint16_t one = htobe16(1);

    copying_put(fd, &entry, sizeof(entry), 3 * CLUSTER);
    copying_put(fd, &one, sizeof(one), 2 * CLUSTER + 2 * FIRST_FREE);
    for (int i = 0, next = FIRST_FREE + 1; i < CLUSTERS; i += 2, next++) {
        entry = htobe64(used | (uint64_t)next * CLUSTER);
        copying_put(fd, &entry, sizeof(entry),
                    (off_t)FIRST_FREE * CLUSTER + (off_t)sizeof(entry) * i);
        copying_put(fd, &one, sizeof(one), 2 * CLUSTER + 2 * next);
        copying_put_random(fd, (off_t)next * CLUSTER);
    }
    close(fd);
}

void copying_remove_disk(const char *name)
{
    char path[160];

    copying_path_of(path, "disks", name);
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

    copying_path_of(path, folder, name);
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

void copying_expect_same(const char *name, bool qcow2)
{
    static unsigned char ours[SIZE], copy[SIZE];

    read_disk("moved", name, qcow2, ours);
    read_disk("disks", name, qcow2, copy);
    if (memcmp(ours, copy, SIZE) != 0)
        fail_msg("%s is not the same", name);
}

void copying_move_away(void)
{
    char from[160], to[160];

    copying_path_of(from, "disks", "");
    copying_path_of(to, "moved", "");
    assert_int_equal(rename(from, to), 0);
    copying_make_folder("disks");
}

/* ---- guests ---- */

/* It counts, and has these disks, which are away by now. */
void copying_start_with(const char *disks)
{
    char *counting = vst_host_counting(&host, "g", "P"), *definition;
    struct vst_error err = {0};

    counting[strlen(counting) - 1] = '\0';
    assert_true(asprintf(&definition, "%s, \"disks\": [%s]}", counting, disks) > 0);
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    copying_move_away();
    free(definition);
    free(counting);
    vst_host_expect_counting(&host, "g", 3);
}

/* Adds the definition of one to those before it. */
void copying_describe(char disks[DISKS_MAX], const char *name, const char *format)
{
    size_t used = strlen(disks);
    int length = snprintf(disks + used, DISKS_MAX - used,
                          "%s{\"name\": \"%s\", \"file\": \"%s/disks/%s\", \"format\": \"%s\"}",
                          used ? ", " : "", name, host.dir, name, format);

    assert_true((size_t)length < DISKS_MAX - used);
}

/* With a raw and a qcow2 disk. */
void copying_start(void)
{
    char disks[DISKS_MAX] = "";

    copying_make_folder("disks");
    copying_make_raw("a");
    make_qcow2("b");
    copying_describe(disks, "a", "raw");
    copying_describe(disks, "b", "qcow2");
    copying_start_with(disks);
}

void copying_end_at(struct vst_conn *conn)
{
    struct vst_domain *domain = far_look_up(conn, "g");

    assert_non_null(domain);
    assert_int_equal(vst_op_wait(vst_domain_destroy(domain, NULL), NULL), 0);
    vst_domain_free(&domain);
}

void copying_pause_there(void)
{
    struct vst_domain *domain = far_look_up(far, "g");

    assert_non_null(domain);
    assert_int_equal(vst_op_wait(vst_domain_suspend(domain, NULL), NULL), 0);
    vst_domain_free(&domain);
}

int copying_migrate(const struct vst_migrate_options *opt, bool check, struct vst_error *ret_err)
{
    struct vst_domain *domain = far_look_up(host.conn, "g");
    int status;

    assert_non_null(domain);
    status = vst_op_wait(
        (check ? vst_domain_check_migration : vst_domain_migrate)(domain, there, opt, NULL),
        ret_err);
    vst_domain_free(&domain);
    vst_host_run(&host, 200); /* the way there is closed, and with it its hold of the guest */
    return status;
}

const struct vst_migrate_options with_disks = {.copy_disks = true};
