/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's log in both forms, and its talk with systemd: datagrams on sockets of the test's.
 */
#include "remote/log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "remote/notify.h"
#include "test.h"

static const struct vst_log_field fields[] = {
    {"client", "3"}, {"identity", "x509:CN=a \"b\""}, {"domain", NULL}, {"evil", "two\nlines"},
    {NULL, NULL},
};

static char path[108];

/* A datagram socket, as journald or systemd would have it. */
static int make_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(path, sizeof(path), "/tmp/virstream-log.%d", (int)getpid());
    unlink(path);
    memcpy(address.sun_path, path, sizeof(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static size_t take(int fd, char *ret_bytes, size_t room)
{
    ssize_t n = read(fd, ret_bytes, room - 1);

    ret_bytes[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void text_has_fields_and_no_line_but_its_own(void **state)
{
    char line[1024];
    struct vst_log *log;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    log = vst_log_new(ends[1], NULL, NULL);
    vst_log_write(log, VST_LOG_WARNING, fields, "went %s\n2026 error: forged", "wrong");
    take(ends[0], line, sizeof(line));
    assert_non_null(strstr(line, " warning: went wrong\\x0a2026 error: forged client=3 "
                                 "identity=\"x509:CN=a \\\"b\\\"\" evil=two\\x0alines\n"));
    assert_null(strstr(line, "domain"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    vst_log_write(NULL, VST_LOG_ERROR, NULL, "nowhere");
    vst_log_free(&log);
    close(ends[0]);
    close(ends[1]);
}

/* What a pipe that polls as writable takes without blocking. */
static void line_is_never_longer_than_a_pipe_takes(void **state)
{
    static char megabyte[1 << 20], ugly[1 << 10], line[70000];
    const struct vst_log_field long_fields[] = {{"domain", megabyte}, {NULL, NULL}};
    const struct vst_log_field ugly_fields[] = {{"domain", ugly}, {"volume", ugly}, {NULL, NULL}};
    struct vst_log *log;
    int ends[2];

    (void)state;
    memset(megabyte, 'x', sizeof(megabyte) - 1);
    memset(ugly, '\1', sizeof(ugly) - 1);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    log = vst_log_new(ends[1], NULL, NULL);
    vst_log_write(log, VST_LOG_NOTICE, long_fields, "no such guest");
    assert_in_range(take(ends[0], line, sizeof(line)), 256, 512);
    assert_non_null(strstr(line, "no such guest domain=xxx"));
    vst_log_write(log, VST_LOG_NOTICE, ugly_fields, "%s", ugly);
    assert_int_equal(take(ends[0], line, sizeof(line)), PIPE_BUF);
    assert_ptr_equal(strchr(line, '\n'), line + PIPE_BUF - 1);
    vst_log_free(&log);
    close(ends[0]);
    close(ends[1]);
}

static void log_that_is_full_loses_lines_and_no_time(void **state)
{
    char bytes[70000];
    struct vst_log *log;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0); /* blocking: it is not ours to change */
    log = vst_log_new(ends[1], NULL, NULL);
    for (int i = 0; i < 5000; i++)
        vst_log_write(log, VST_LOG_INFO, NULL, "line %d", i);
    while (take(ends[0], bytes, sizeof(bytes)) == sizeof(bytes) - 1)
        ;
    vst_log_write(log, VST_LOG_INFO, NULL, "the next");
    take(ends[0], bytes, sizeof(bytes));
    assert_non_null(strstr(bytes, " lines lost) the next\n"));
    vst_log_free(&log);
    close(ends[0]);
    close(ends[1]);
}

static void journal_gets_fields_in_its_own_form(void **state)
{
    static const char wanted[] = "MESSAGE=two words\nPRIORITY=5\nSYSLOG_IDENTIFIER=virstreamd\n"
                                 "VIRSTREAM_CLIENT=3\nVIRSTREAM_IDENTITY=x509:CN=a \"b\"\n"
                                 "VIRSTREAM_EVIL\n\x09\0\0\0\0\0\0\0two\nlines\n";
    int fd = make_socket();
    struct vst_log *log = vst_log_new(-1, path, NULL);
    char bytes[1024];

    (void)state;
    assert_non_null(log);
    vst_log_write(log, VST_LOG_NOTICE, fields, "two words");
    assert_int_equal(take(fd, bytes, sizeof(bytes)), sizeof(wanted) - 1);
    assert_memory_equal(bytes, wanted, sizeof(wanted) - 1);
    vst_log_free(&log);
    close(fd);
    unlink(path);
}

static void journal_that_is_not_there_is_an_error(void **state)
{
    struct vst_error err = {0};

    (void)state;
    assert_null(vst_log_new(-1, "/nowhere/socket", &err));
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
}

static void journal_is_known_by_device_and_inode(void **state)
{
    char stream[64];
    struct stat st;

    (void)state;
    assert_int_equal(fstat(STDOUT_FILENO, &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    assert_true(vst_log_is_journal(STDOUT_FILENO, stream));
    assert_false(vst_log_is_journal(STDOUT_FILENO, "1:2"));
    assert_false(vst_log_is_journal(STDOUT_FILENO, "x"));
    assert_false(vst_log_is_journal(STDOUT_FILENO, NULL));
}

/* ---- systemd ---- */

static void systemd_is_told(void **state)
{
    int fd = make_socket();
    struct vst_notify notify;
    char bytes[600];

    (void)state;
    setenv("NOTIFY_SOCKET", path, 1);
    setenv("WATCHDOG_USEC", "30000000", 1);
    snprintf(bytes, sizeof(bytes), "%d", (int)getpid());
    setenv("WATCHDOG_PID", bytes, 1);
    assert_int_equal(vst_notify_open(&notify, NULL), 0);
    assert_int_equal(notify.watchdog_us, 30000000);
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    vst_notify_send(&notify, "READY=1\nSTATUS=%d clients", 3);
    take(fd, bytes, sizeof(bytes));
    assert_string_equal(bytes, "READY=1\nSTATUS=3 clients");
    vst_notify_close(&notify);
    close(fd);
    unlink(path);
}

static void watchdog_of_another_process_is_not_ours(void **state)
{
    struct vst_notify notify;

    (void)state;
    setenv("WATCHDOG_USEC", "30000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(vst_notify_open(&notify, NULL), 0);
    assert_int_equal(notify.watchdog_us, 0);
    assert_int_equal(notify.fd, -1);
    vst_notify_send(&notify, "READY=1");
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_int_equal(vst_notify_open(&notify, NULL), -1);
}

static void sockets_for_somebody_else_are_not_ours(void **state)
{
    char *names = NULL;

    (void)state;
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_PID", "1", 1);
    assert_int_equal(vst_listen_fds(&names, NULL), 0);
    assert_string_equal(names, "");
    assert_null(getenv("LISTEN_FDS"));
    free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(text_has_fields_and_no_line_but_its_own),
        VST_TEST(line_is_never_longer_than_a_pipe_takes),
        VST_TEST(log_that_is_full_loses_lines_and_no_time),
        VST_TEST(journal_gets_fields_in_its_own_form),
        VST_TEST(journal_that_is_not_there_is_an_error),
        VST_TEST(journal_is_known_by_device_and_inode),
        VST_TEST(systemd_is_told),
        VST_TEST(watchdog_of_another_process_is_not_ours),
        VST_TEST(sockets_for_somebody_else_are_not_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
