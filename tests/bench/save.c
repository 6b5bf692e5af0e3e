/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the way through the library costs: a guest of 1 GiB of random memory is saved through the
 * record layer into a callback that counts, and the same QEMU writes to a socket, of the same size,
 * that a bare loop reads into one buffer. In turn; each begins with the guest running and ends with
 * it running again. So both read all bytes from QEMU's socket once, and ours checks them too, with
 * two hashes. Not a test.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "virstream/virstream.h"

enum { ROUNDS = 11, MEBIBYTE = 1024 * 1024, BUFFER = 4 * MEBIBYTE };

static char root[] = "/tmp/bench-save-XXXXXX";
static uint64_t counted;

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Of this process, which is what drains in both ways. */
static double processor(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* What one save took. */
struct cost {
    double seconds;
    double processor;
};

static struct cost cost_begins(void)
{
    return (struct cost){now(), processor()};
}

static struct cost cost_since(struct cost begin)
{
    return (struct cost){now() - begin.seconds, processor() - begin.processor};
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

static struct cost save_through_library(struct event_base *base)
{
    struct vst_conn *conn = open_conn(base);
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {found, &domain, NULL};
    struct vst_stream *stream = vst_stream_new(base, NULL);
    struct vst_writer writer = {.write = swallow};
    struct vst_save_options options = {.keep_running = true};
    struct vst_error err = {0};
    struct cost begin;

    if (vst_op_wait(vst_conn_lookup(conn, "bench", &cb), &err) < 0)
        die("look up", &err);
    /* The first method adopts the guest, which is not what is measured. */
    if (vst_op_wait(vst_domain_suspend(domain, NULL), &err) < 0 ||
        vst_op_wait(vst_domain_resume(domain, NULL), &err) < 0)
        die("suspend", &err);
    vst_stream_set_sink_writer(stream, &writer);
    counted = 0;
    begin = cost_begins();
    if (vst_op_wait(vst_domain_save(domain, stream, &options, NULL), &err) < 0)
        die("save", &err);
    begin = cost_since(begin);
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

static struct cost save_to_bare_loop(void)
{
    int monitor = connect_monitor();
    int ends[2], size = BUFFER;
    struct cost begin;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair", NULL);
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
    begin = cost_begins();
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
    begin = cost_since(begin);
    close(ends[0]);
    close(monitor);
    return begin;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *numbers)
{
    qsort(numbers, ROUNDS, sizeof(*numbers), compare);
    return numbers[ROUNDS / 2];
}

static void tell_costs(const char *name, const struct cost *costs)
{
    double seconds[ROUNDS], used[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        seconds[i] = costs[i].seconds;
        used[i] = costs[i].processor;
    }
    median(seconds);
    printf("%-20s %.3f s (%.3f to %.3f), %.3f s of the processor\n", name, seconds[ROUNDS / 2],
           seconds[0], seconds[ROUNDS - 1], median(used));
}

/* The ratio is of two saves in a row, which a busy machine hampers alike. */
static void tell_race(const struct cost *bare, const struct cost *library)
{
    double ratio[ROUNDS];

    for (int i = 0; i < ROUNDS; i++)
        ratio[i] = bare[i].seconds / library[i].seconds;
    printf("saves of %.0f MiB, medians of %d:\n", (double)counted / MEBIBYTE, ROUNDS);
    tell_costs("to a bare loop", bare);
    tell_costs("through the library", library);
    median(ratio);
    printf("speed against the bare loop: %.2f (%.2f to %.2f), aim 0.90\n", ratio[ROUNDS / 2],
           ratio[0], ratio[ROUNDS - 1]);
}

/* In turn, and each as often the first of two. */
static void race(struct event_base *base)
{
    struct cost library[ROUNDS], bare[ROUNDS];

    save_to_bare_loop(); /* for the first touch of all that is touched */
    save_through_library(base);
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2)
            library[i] = save_through_library(base);
        bare[i] = save_to_bare_loop();
        if (i % 2 == 0)
            library[i] = save_through_library(base);
    }
    tell_race(bare, library);
}

static void destroy_guest(struct event_base *base)
{
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {found, &domain, NULL};
    struct vst_conn *conn = open_conn(base);
    struct vst_error err = {0};

    if (vst_op_wait(vst_conn_lookup(conn, "bench", &cb), &err) < 0 ||
        vst_op_wait(vst_domain_destroy(domain, NULL), &err) < 0)
        die("destroy", &err);
    vst_domain_free(&domain);
    close_conn(base, conn);
}

static void remove_root(void)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/console", root);
    unlink(path);
    snprintf(path, sizeof(path), "%s/root", root);
    rmdir(path);
    rmdir(root);
}

int main(int argc, char **argv)
{
    const char *guest = argc > 1 ? argv[1] : getenv("VIRSTREAM_GUEST");
    struct event_base *base = event_base_new();
    struct vst_domain *domain;
    struct vst_conn *conn;
    char path[PATH_MAX];

    if (!realpath(guest ? guest : "tests/guest/guest.elf", path) || !mkdtemp(root))
        die("the guest's file, or a directory", NULL);
    conn = open_conn(base);
    domain = start_guest(conn, path);
    vst_domain_free(&domain);
    close_conn(base, conn);
    wait_for_count();
    race(base);
    destroy_guest(base);
    event_base_free(base);
    remove_root();
    return 0;
}
