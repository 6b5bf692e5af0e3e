/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors as channels: sockets, pipes, terminals, and what they share with other processes.
 */
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static struct event_base *base;

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

static struct vst_channel *take(int fd)
{
    struct vst_channel *ch = vst_channel_fd(base, &fd, NULL);

    assert_non_null(ch);
    assert_int_equal(fd, -1);
    return ch;
}

static bool is_nonblocking(int fd)
{
    return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static void make_pipe(struct vst_channel **ret_in, struct vst_channel **ret_out)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    *ret_in = take(fds[0]);
    *ret_out = take(fds[1]);
}

static void make_sockets(struct vst_channel **ret_a, struct vst_channel **ret_b)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *ret_a = take(fds[0]);
    *ret_b = take(fds[1]);
}

static void tcp_pair(int *ret_a, int *ret_b)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &len);
    *ret_a = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*ret_a, (struct sockaddr *)&address, sizeof(address)), 0);
    *ret_b = accept(listener, NULL, NULL);
    assert_true(*ret_b >= 0);
    close(listener);
}

/* From one channel into the other as far and as often as they go, in one loop. */
static void carry(struct vst_channel *from, struct vst_channel *to, size_t len, size_t chunk)
{
    struct evbuffer *out = evbuffer_new(), *in = evbuffer_new();
    unsigned char *bytes = malloc(len);
    size_t n;

    vst_test_fill(bytes, len, 5);
    evbuffer_add(out, bytes, len);
    while (evbuffer_get_length(in) < len) {
        enum vst_io wrote = VST_IO_AGAIN, read;

        if (evbuffer_get_length(out))
            wrote = vst_channel_write(from, out, chunk, &n);
        read = vst_channel_read(to, in, chunk, &n);
        assert_int_not_equal(wrote, VST_IO_FAIL);
        assert_true(read == VST_IO_OK || read == VST_IO_AGAIN);
        if (wrote == VST_IO_AGAIN && read == VST_IO_AGAIN)
            vst_test_wait(to, VST_READ);
    }
    assert_int_equal(evbuffer_get_length(in), len);
    assert_memory_equal(evbuffer_pullup(in, -1), bytes, len);
    evbuffer_free(out);
    evbuffer_free(in);
    free(bytes);
}

static void bytes_pass_in_any_chunking(void **state)
{
    static const size_t chunks[] = {1, 100, 4096, 4097, 65536, 1 << 20};

    (void)state;
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        size_t len = chunks[i] == 1 ? 5000 : 3 * 1000 * 1000;
        struct vst_channel *a, *b;

        make_pipe(&b, &a);
        carry(a, b, len, chunks[i]);
        vst_channel_free(&a);
        vst_channel_free(&b);
        make_sockets(&a, &b);
        carry(a, b, len, chunks[i]);
        carry(b, a, len, chunks[i]);
        vst_channel_free(&a);
        vst_channel_free(&b);
    }
}

static void nothing_there_is_neither_end_nor_failure(void **state)
{
    struct vst_channel *a, *b;
    char text[16];

    (void)state;
    make_sockets(&a, &b);
    assert_int_equal(vst_test_read_text(b, text, sizeof(text)), VST_IO_AGAIN);
    assert_false(vst_test_announced(b, VST_READ, 5));
    vst_test_send(a, "x", 1);
    assert_true(vst_test_announced(b, VST_READ, 1000));
    assert_int_equal(vst_test_read_text(b, text, sizeof(text)), VST_IO_OK);
    vst_channel_free(&a);
    vst_channel_free(&b);
}

static void finish_ends_one_half_of_a_socket(void **state)
{
    struct vst_channel *a, *b;
    char text[16];

    (void)state;
    make_sockets(&a, &b);
    assert_int_equal(vst_channel_finish(a), VST_IO_OK);
    assert_int_equal(vst_test_read_text(b, text, sizeof(text)), VST_IO_EOF);
    assert_int_equal(vst_test_send(b, "back", 4), VST_IO_OK);
    assert_int_equal(vst_test_read_text(a, text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "back");
    vst_channel_free(&a);
    vst_channel_free(&b);
}

static void finish_ends_a_pipe(void **state)
{
    struct vst_channel *in, *out;
    char text[16];

    (void)state;
    make_pipe(&in, &out);
    vst_test_send(out, "all", 3);
    assert_int_equal(vst_channel_finish(out), VST_IO_OK);
    assert_int_equal(vst_channel_finish(out), VST_IO_OK);
    assert_int_equal(vst_test_read_text(in, text, sizeof(text)), VST_IO_OK);
    assert_int_equal(vst_test_read_text(in, text, sizeof(text)), VST_IO_EOF);
    vst_channel_want(out, VST_WRITE, true);
    vst_channel_free(&out);
    vst_channel_free(&in);
}

static void reset_is_failure_not_end(void **state)
{
    struct vst_error why = {.code = VST_ERR_CANCELLED, .text = "x"};
    struct vst_channel *a, *b;
    char text[16];
    int one, other;

    (void)state;
    tcp_pair(&one, &other);
    a = take(one);
    b = take(other);
    vst_channel_abort(a, &why);
    vst_channel_free(&a);
    vst_test_wait(b, VST_READ);
    assert_int_equal(vst_test_read_text(b, text, sizeof(text)), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(b)->system, ECONNRESET);
    assert_int_equal(vst_channel_error(b)->code, VST_ERR_LOST);
    vst_channel_free(&b);
}

static void what_the_peer_said_last_is_read_after_a_failed_write(void **state)
{
    struct vst_channel *a, *b;
    char text[16];

    (void)state;
    make_sockets(&a, &b);
    vst_test_send(b, "goodbye", 7);
    vst_channel_free(&b);
    assert_int_equal(vst_test_send(a, "x", 1), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(a)->system, EPIPE);
    assert_int_equal(vst_test_read_text(a, text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "goodbye");
    vst_channel_free(&a);
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

/* Writes to a pipe that nobody reads. */
static void write_in_vain(void)
{
    struct vst_channel *in, *out;

    make_pipe(&in, &out);
    vst_channel_free(&in);
    assert_int_equal(vst_test_send(out, "x", 1), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(out)->system, EPIPE);
    vst_channel_free(&out);
}

static void broken_pipe_raises_no_signal(void **state)
{
    struct sigaction count = {.sa_handler = count_signal}, before, after;
    sigset_t mask;

    (void)state;
    signals = 0;
    sigaction(SIGPIPE, &count, &before);
    write_in_vain();
    sigaction(SIGPIPE, NULL, &after);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(signals, 0);
    assert_ptr_equal(after.sa_handler, count_signal);
    assert_false(sigismember(&mask, SIGPIPE));
    sigaction(SIGPIPE, &before, NULL);
}

static void signal_that_was_pending_stays_so(void **state)
{
    struct sigaction count = {.sa_handler = count_signal}, before;
    sigset_t pipe_only, mask;

    (void)state;
    signals = 0;
    sigaction(SIGPIPE, &count, &before);
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigprocmask(SIG_BLOCK, &pipe_only, &mask);
    write_in_vain();
    sigpending(&pipe_only);
    assert_false(sigismember(&pipe_only, SIGPIPE));
    raise(SIGPIPE);
    write_in_vain();
    sigprocmask(SIG_SETMASK, &mask, NULL);
    assert_int_equal(signals, 1);
    sigaction(SIGPIPE, &before, NULL);
}

/* A shell that gives us its standard output must not find it non-blocking afterwards. */
static void shared_pipe_stays_blocking_for_others(void **state)
{
    struct vst_channel *in, *out;
    int fds[2], others[2];
    char text[16];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    others[0] = dup(fds[0]);
    others[1] = dup(fds[1]);
    in = take(fds[0]);
    out = take(fds[1]);
    assert_false(is_nonblocking(others[0]));
    assert_false(is_nonblocking(others[1]));
    assert_int_equal(vst_test_read_text(in, text, sizeof(text)), VST_IO_AGAIN);
    vst_test_send(out, "abc", 3);
    assert_int_equal(vst_test_read_text(in, text, sizeof(text)), VST_IO_OK);
    vst_channel_free(&in);
    vst_channel_free(&out);
    close(others[0]);
    close(others[1]);
}

static void shared_socket_stays_blocking_for_others(void **state)
{
    struct vst_channel *a;
    int fds[2], other;
    char text[16];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    other = dup(fds[0]);
    a = take(fds[0]);
    assert_int_equal(vst_test_read_text(a, text, sizeof(text)), VST_IO_AGAIN);
    assert_false(is_nonblocking(other));
    vst_channel_free(&a);
    close(other);
    close(fds[1]);
}

static void make_terminal(int *ret_master, int *ret_slave)
{
    struct termios raw;

    assert_int_equal(openpty(ret_master, ret_slave, NULL, NULL, NULL), 0);
    tcgetattr(*ret_slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(*ret_slave, TCSANOW, &raw);
}

static void terminal_is_read_and_written_and_given_back(void **state)
{
    int master, slave, other_master, other_slave;
    struct vst_channel *a, *b;

    (void)state;
    make_terminal(&master, &slave);
    other_master = dup(master);
    other_slave = dup(slave);
    a = take(master);
    b = take(slave);
    assert_false(is_nonblocking(other_slave));
    carry(a, b, 3000, 100);
    carry(b, a, 3000, 100);
    vst_channel_free(&a);
    vst_channel_free(&b);
    assert_false(is_nonblocking(other_master));
    assert_false(is_nonblocking(other_slave));
    close(other_master);
    close(other_slave);
}

static void descriptors_are_closed_on_exec(void **state)
{
    struct vst_channel *in;
    int fds[2], number;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    number = fds[0];
    in = take(fds[0]);
    assert_true(fcntl(number, F_GETFD) & FD_CLOEXEC);
    vst_channel_free(&in);
    assert_int_equal(fcntl(number, F_GETFD), -1);
    close(fds[1]);
}

static void what_cannot_be_polled_is_refused(void **state)
{
    struct vst_error err = {0};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), before = fd;

    (void)state;
    assert_null(vst_channel_fd(base, &fd, &err));
    assert_int_equal(err.code, VST_ERR_INVALID);
    assert_int_equal(fd, before);
    close(fd);
    memset(&err, 0, sizeof(err));
    assert_null(vst_channel_any_fd(base, &fd, &err));
    assert_int_equal(err.system, EBADF);
}

static void one_descriptor_serves_two_users(void **state)
{
    struct vst_channel *a, *b;
    struct evbuffer *from = evbuffer_new(), *into = evbuffer_new();
    char text[16];
    size_t n;

    (void)state;
    make_sockets(&a, &b);
    evbuffer_expand(from, 100000);
    for (;;) {
        evbuffer_add(from, "0123456789", 10);
        if (vst_channel_write(a, from, 10, &n) == VST_IO_AGAIN)
            break;
    }
    vst_channel_want(a, VST_WRITE, true);
    assert_false(vst_test_announced(a, VST_READ, 5));
    vst_test_send(b, "x", 1);
    assert_true(vst_test_announced(a, VST_READ, 1000));
    assert_int_equal(vst_test_read_text(a, text, sizeof(text)), VST_IO_OK);
    vst_channel_want(a, VST_WRITE, false);
    while (vst_channel_read(b, into, 100000, &n) == VST_IO_OK)
        ;
    assert_true(vst_test_announced(a, VST_WRITE, 1000));
    evbuffer_free(from);
    evbuffer_free(into);
    vst_channel_free(&a);
    vst_channel_free(&b);
}

static void no_word(int severity, const char *text)
{
    (void)severity, (void)text;
}

/* Somebody closes a descriptor that was given away: the user must hear of it, not wait for ever. */
static void what_the_loop_cannot_watch_fails(void **state)
{
    struct vst_channel *b;
    int fds[2];
    char text[16];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    b = take(fds[1]);
    close(fds[1]);
    event_set_log_callback(no_word);
    vst_test_wait(b, VST_READ);
    event_set_log_callback(NULL);
    assert_int_equal(vst_test_read_text(b, text, sizeof(text)), VST_IO_FAIL);
    assert_int_equal(vst_test_send(b, "x", 1), VST_IO_FAIL);
    vst_channel_free(&b);
    close(fds[0]);
}

static void an_idle_read_leaves_no_memory_in_the_buffer(void **state)
{
    struct evbuffer *into = evbuffer_new();
    struct vst_channel *a, *b;
    size_t n;

    (void)state;
    make_sockets(&a, &b);
    assert_int_equal(vst_channel_read(b, into, 1 << 20, &n), VST_IO_AGAIN);
    assert_int_equal(evbuffer_get_contiguous_space(into), 0);
    assert_int_equal(evbuffer_peek(into, -1, NULL, NULL, 0), 0);
    vst_channel_free(&a);
    vst_channel_free(&b);
    evbuffer_free(into);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(bytes_pass_in_any_chunking, make, drop),
        VST_TEST_WITH(nothing_there_is_neither_end_nor_failure, make, drop),
        VST_TEST_WITH(finish_ends_one_half_of_a_socket, make, drop),
        VST_TEST_WITH(finish_ends_a_pipe, make, drop),
        VST_TEST_WITH(reset_is_failure_not_end, make, drop),
        VST_TEST_WITH(what_the_peer_said_last_is_read_after_a_failed_write, make, drop),
        VST_TEST_WITH(broken_pipe_raises_no_signal, make, drop),
        VST_TEST_WITH(signal_that_was_pending_stays_so, make, drop),
        VST_TEST_WITH(shared_pipe_stays_blocking_for_others, make, drop),
        VST_TEST_WITH(shared_socket_stays_blocking_for_others, make, drop),
        VST_TEST_WITH(terminal_is_read_and_written_and_given_back, make, drop),
        VST_TEST_WITH(descriptors_are_closed_on_exec, make, drop),
        VST_TEST_WITH(what_cannot_be_polled_is_refused, make, drop),
        VST_TEST_WITH(one_descriptor_serves_two_users, make, drop),
        VST_TEST_WITH(what_the_loop_cannot_watch_fails, make, drop),
        VST_TEST_WITH(an_idle_read_leaves_no_memory_in_the_buffer, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
