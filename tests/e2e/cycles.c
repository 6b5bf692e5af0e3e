/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For cycles.sh: one process that saves and restores one guest again and again, on one connection,
 * and looks whether it has grown: open descriptors, memory in use, memory of the process.
 *
 *     cycles URI DEFINITION IMAGE COUNT
 */
#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virstream/virstream.h"

enum {
    WARM_UP = 4, /* the first look comes after one cycle in so many: caches have filled by then */
    GROWTH_MAX = 256 * 1024, /* bytes, over all cycles: blocks kept for later, not one a cycle */
};

struct size {
    int fds;
    size_t in_use; /* bytes, by malloc's count */
    long resident; /* KiB */
};

static struct event_base *base;
static struct vst_conn *conn;
static struct vst_domain *domain;

static void check(int status, const char *what, const struct vst_error *err)
{
    if (status == 0)
        return;
    printf("%s: %s\n", what, err->text);
    exit(1);
}

static struct size measure(void)
{
    struct size size = {0};
    DIR *dir = opendir("/proc/self/fd");
    FILE *file = fopen("/proc/self/status", "re");
    char line[128];

    while (dir && readdir(dir))
        size.fds++;
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "VmRSS: %ld kB", &size.resident) == 1)
            break;
    if (dir)
        closedir(dir);
    if (file)
        fclose(file);
    size.in_use = mallinfo2().uordblks;
    return size;
}

static void opened(struct vst_conn *result, const struct vst_error *err, void *opaque)
{
    (void)err, (void)opaque;
    conn = result;
}

static void found(struct vst_domain *result, const struct vst_error *err, void *opaque)
{
    (void)err, (void)opaque;
    vst_domain_free(&domain);
    domain = result;
}

static const struct vst_domain_cb keep = {found, NULL, NULL};

static void start(const char *path)
{
    char definition[4096];
    struct vst_error err = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, definition, sizeof(definition) - 1);

    if (n <= 0) {
        printf("%s: cannot be read\n", path);
        exit(1);
    }
    close(fd);
    definition[n] = '\0';
    check(vst_op_wait(vst_domain_start(conn, definition, NULL, &keep), &err), "start", &err);
}

/* The guest runs, and counts some ten lines; and what threads still had to close, they close. */
static void let_it_count(void)
{
    static const struct timeval while_counting = {0, 100000};

    event_base_loopexit(base, &while_counting);
    event_base_dispatch(base);
}

static void cycle(const char *image)
{
    struct vst_stream *stream = vst_stream_new(base, NULL);
    struct vst_error err = {0};

    vst_stream_set_sink_file(stream, image);
    check(vst_op_wait(vst_domain_save(domain, stream, NULL, NULL), &err), "save", &err);
    vst_stream_free(&stream);
    stream = vst_stream_new(base, NULL);
    vst_stream_set_source_file(stream, image);
    check(vst_op_wait(vst_domain_restore(conn, stream, NULL, &keep), &err), "restore", &err);
    vst_stream_free(&stream);
    let_it_count();
}

int main(int argc, char **argv)
{
    struct vst_conn_cb cb = {opened, NULL, NULL};
    struct size before = {0}, after;
    struct vst_error err = {0};
    int cycles;

    if (argc != 5)
        return 2;
    cycles = atoi(argv[4]);
    base = event_base_new();
    check(vst_op_wait(vst_conn_open(base, argv[1], NULL, &cb), &err), "open", &err);
    start(argv[2]);
    let_it_count();
    for (int i = 0; i < cycles; i++) {
        if (i == cycles / WARM_UP)
            before = measure();
        cycle(argv[3]);
    }
    after = measure();
    check(vst_op_wait(vst_domain_destroy(domain, NULL), &err), "destroy", &err);
    vst_domain_free(&domain);
    vst_conn_close(&conn);
    event_base_dispatch(base);
    event_base_free(base);
    printf("%d cycles: descriptors %d to %d, in use %zu to %zu bytes, resident %ld to %ld KiB\n",
           cycles, before.fds, after.fds, before.in_use, after.in_use, before.resident,
           after.resident);
    return after.fds > before.fds || after.in_use > before.in_use + GROWTH_MAX ||
           after.resident > before.resident + 16 * GROWTH_MAX / 1024;
}
