/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the way through the library costs: a guest of 1 GiB of random memory is saved through the
 * record layer, and the same QEMU writes to a socket that a bare loop drains, in turn. Not a test.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "virstream/virstream.h"

enum { ROUNDS = 5, MEBIBYTE = 1024 * 1024 };

static char root[] = "/tmp/bench-save-XXXXXX";
static uint64_t counted;

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what, const struct vst_error *err)
{
    fprintf(stderr, "save: %s: %s\n", what, err ? err->text : "failed");
    exit(1);
}

/* ---- the library's way ---- */

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(struct vst_conn **)opaque = conn;
}

static void found(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(struct vst_domain **)opaque = domain;
}

static struct vst_conn *open_conn(struct event_base *base)
{
    struct vst_conn *conn = NULL;
    struct vst_conn_cb cb = {opened, &conn, NULL};
    struct vst_error err = {0};
    char uri[128];

    snprintf(uri, sizeof(uri), "qemu:///?root=%s/root", root);
    if (vst_op_wait(vst_conn_open(base, uri, NULL, &cb), &err) < 0)
        die("open", &err);
    return conn;
}

static void close_conn(struct event_base *base, struct vst_conn *conn)
{
    vst_conn_close(&conn);
    event_base_dispatch(base);
}

static struct vst_domain *start_guest(struct vst_conn *conn, const char *kernel)
{
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {found, &domain, NULL};
    struct vst_error err = {0};
    char definition[PATH_MAX + 512];

    snprintf(
        definition, sizeof(definition),
        "{\"name\":\"bench\",\"machine\":\"pc\",\"accel\":\"tcg\",\"memory-mib\":1024,"
        "\"vcpus\":1,\"kernel\":\"%s\",\"append\":\"mode=F\",\"console\":{\"log\":\"%s/console\"},"
        "\"args\":[\"-vga\",\"none\"]}",
        kernel, root);
    if (vst_op_wait(vst_domain_start(conn, definition, NULL, &cb), &err) < 0)
        die("start", &err);
    return domain;
}

/* The guest prints when its memory is full. */
static void wait_for_count(void)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "%s/console", root);
    for (int i = 0; i < 600; i++) {
        if (stat(path, &st) == 0 && st.st_size > 20)
            return;
        poll(NULL, 0, 100);
    }
    die("the guest does not count", NULL);
}

static enum vst_io swallow(const void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                           void *opaque)
{
    (void)buf, (void)ret_err, (void)opaque;
    counted += len;
    *ret_n = len;
    return VST_IO_OK;
}

static double save_through_library(struct event_base *base)
{
    struct vst_conn *conn = open_conn(base);
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {found, &domain, NULL};
    struct vst_stream *stream = vst_stream_new(base, NULL);
    struct vst_writer writer = {.write = swallow};
    struct vst_save_options options = {.keep_running = true};
    struct vst_error err = {0};
    double begin;

    if (vst_op_wait(vst_conn_lookup(conn, "bench", &cb), &err) < 0)
        die("look up", &err);
    /* The first method adopts the guest, which is not what is measured. */
    if (vst_op_wait(vst_domain_suspend(domain, NULL), &err) < 0 ||
        vst_op_wait(vst_domain_resume(domain, NULL), &err) < 0)
        die("suspend", &err);
    vst_stream_set_sink_writer(stream, &writer);
    counted = 0;
    begin = now();
    if (vst_op_wait(vst_domain_save(domain, stream, &options, NULL), &err) < 0)
        die("save", &err);
    begin = now() - begin;
    vst_stream_free(&stream);
    vst_domain_free(&domain);
    close_conn(base, conn);
    return begin;
}

/* ---- the bare way: QMP by hand, and a loop that reads ---- */

static void expect(int fd, const char *word)
{
    static char seen[64 * 1024];
    size_t used = 0;
    ssize_t n;

    while (used < sizeof(seen) - 1 && (n = read(fd, seen + used, sizeof(seen) - 1 - used)) > 0) {
        used += (size_t)n;
        seen[used] = '\0';
        if (strstr(seen, word))
            return;
    }
    die(word, NULL);
}

static void tell(int fd, const char *command, int pass)
{
    struct iovec iov = {(void *)command, strlen(command)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (pass >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &pass, sizeof(int));
    }
    if (sendmsg(fd, &msg, 0) < 0)
        die(command, NULL);
}

static int connect_monitor(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/root/bench/monitor", root);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("connect", NULL);
    expect(fd, "QMP");
    tell(fd, "{\"execute\":\"qmp_capabilities\"}", -1);
    expect(fd, "return");
    return fd;
}

static void drain(int fd)
{
    char *bytes = malloc(MEBIBYTE);
    ssize_t n;

    counted = 0;
    while ((n = read(fd, bytes, MEBIBYTE)) > 0)
        counted += (uint64_t)n;
    free(bytes);
}

static double save_to_bare_loop(void)
{
    int monitor = connect_monitor();
    int ends[2], size = MEBIBYTE;
    double begin;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair", NULL);
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
    begin = now();
    tell(monitor,
         "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":"
         "9223372036854775807}}",
         -1);
    expect(monitor, "return");
    tell(monitor, "{\"execute\":\"stop\"}", -1);
    expect(monitor, "return");
    tell(monitor, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"bare\"}}", ends[1]);
    close(ends[1]);
    expect(monitor, "return");
    tell(monitor, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:bare\"}}", -1);
    drain(ends[0]);
    tell(monitor, "{\"execute\":\"cont\"}", -1);
    expect(monitor, "RESUME");
    begin = now() - begin;
    close(ends[0]);
    close(monitor);
    return begin;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    const char *guest = argc > 1 ? argv[1] : getenv("VIRSTREAM_GUEST");
    double library[ROUNDS], bare[ROUNDS], ratio[ROUNDS];
    struct event_base *base = event_base_new();
    struct vst_domain *domain;
    struct vst_conn *conn;
    struct vst_error err = {0};
    char path[4096];

    if (!realpath(guest ? guest : "tests/guest/guest.elf", path) || !mkdtemp(root))
        die("the guest's file, or a directory", NULL);
    conn = open_conn(base);
    domain = start_guest(conn, path);
    vst_domain_free(&domain);
    close_conn(base, conn);
    wait_for_count();
    save_to_bare_loop();
    for (int i = 0; i < ROUNDS; i++) {
        bare[i] = save_to_bare_loop();
        library[i] = save_through_library(base);
        ratio[i] = bare[i] / library[i];
    }
    qsort(bare, ROUNDS, sizeof(*bare), compare);
    qsort(library, ROUNDS, sizeof(*library), compare);
    qsort(ratio, ROUNDS, sizeof(*ratio), compare);
    printf("save of %.0f MiB, medians of %d: bare loop %.2f s, through the library %.2f s\n",
           (double)counted / MEBIBYTE, ROUNDS, bare[ROUNDS / 2], library[ROUNDS / 2]);
    printf("speed against the bare loop: %.2f (%.2f to %.2f), aim 0.90\n", ratio[ROUNDS / 2],
           ratio[0], ratio[ROUNDS - 1]);
    conn = open_conn(base);
    if (vst_op_wait(vst_conn_lookup(conn, "bench", &(struct vst_domain_cb){found, &domain, NULL}),
                    &err) < 0 ||
        vst_op_wait(vst_domain_destroy(domain, NULL), &err) < 0)
        die("destroy", &err);
    vst_domain_free(&domain);
    close_conn(base, conn);
    event_base_free(base);
    snprintf(path, sizeof(path), "%s/console", root);
    unlink(path);
    snprintf(path, sizeof(path), "%s/root", root);
    rmdir(path);
    rmdir(root);
    return 0;
}
