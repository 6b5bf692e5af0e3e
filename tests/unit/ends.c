/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The five shapes of the application's end, each with the same two methods: a descriptor of any
 * kind, pushing and pulling, a callback that may say AGAIN, another stream, and waiting. And files,
 * which are the old one or the whole new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app.h"

enum { STATE = 256 * 1024 };

static struct app app;   /* has the guest */
static struct app other; /* has none */
static char dir[] = "/tmp/virstream-ends-XXXXXX";
static char path[sizeof(dir) + 16];

static int make(void **state)
{
    (void)state;
    app_start(&app, "test:///?memory=256K");
    other = (struct app){.base = app.base};
    assert_non_null(mkdtemp(strcpy(dir, "/tmp/virstream-ends-XXXXXX")));
    snprintf(path, sizeof(path), "%s/image", dir);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_conn_close(&other.conn);
    app_stop(&app);
    unlink(path);
    return rmdir(dir);
}

static void assert_moved(void)
{
    assert_int_equal(app_domain_state(&app, "test1"), -1);
    assert_int_equal(app_domain_state(&other, "test1"), VST_DOMAIN_RUNNING);
}

/* ---- 1: descriptors ---- */

static void move_through(int read_fd, int write_fd)
{
    struct vst_stream *down = app_stream(&app), *up = app_stream(&app);
    struct outcome saved = {0}, restored = {0};

    app_open_other(&app, &other);
    assert_int_equal(vst_stream_set_sink_fd(down, &write_fd), 0);
    assert_int_equal(vst_stream_set_source_fd(up, &read_fd), 0);
    app_begin_save(&app, down, &saved);
    app_begin_restore(&other, up, &restored);
    outcome_await_both(app.base, &saved, &restored);
    assert_int_equal(saved.err.code, VST_ERR_OK);
    assert_int_equal(restored.err.code, VST_ERR_OK);
    assert_moved();
    vst_stream_free(&down);
    vst_stream_free(&up);
}

static void guest_moves_through_a_pipe(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    move_through(fds[0], fds[1]);
}

static void guest_moves_through_a_socket(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    move_through(fds[0], fds[1]);
}

static enum vst_code save_to_fd(int fd)
{
    struct vst_stream *stream = app_stream(&app);
    struct outcome saved = {0};

    assert_int_equal(vst_stream_set_sink_fd(stream, &fd), 0);
    app_begin_save(&app, stream, &saved);
    outcome_await(app.base, &saved);
    vst_stream_free(&stream);
    return saved.err.code;
}

static enum vst_code restore_from_fd(int fd)
{
    struct vst_stream *stream = app_stream(&app);
    struct outcome restored = {0};

    assert_int_equal(vst_stream_set_source_fd(stream, &fd), 0);
    app_begin_restore(&app, stream, &restored);
    outcome_await(app.base, &restored);
    vst_stream_free(&stream);
    return restored.err.code;
}

static void guest_rests_in_a_file(void **state)
{
    (void)state;
    assert_int_equal(save_to_fd(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), VST_ERR_OK);
    assert_int_equal(app_domain_state(&app, "test1"), -1);
    assert_int_equal(restore_from_fd(open(path, O_RDONLY | O_CLOEXEC)), VST_ERR_OK);
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
}

static void full_device_fails_the_save(void **state)
{
    (void)state;
    assert_int_equal(save_to_fd(open("/dev/full", O_WRONLY | O_CLOEXEC)), VST_ERR_SYSTEM);
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
}

static void reader_that_goes_away_fails_the_save(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    close(fds[0]);
    assert_int_equal(save_to_fd(fds[1]), VST_ERR_SYSTEM); /* no connection of ours */
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
}

static void writer_that_goes_away_fails_the_restore(void **state)
{
    int fds[2];

    (void)state;
    save_to_fd(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[1]);
    assert_int_equal(restore_from_fd(fds[0]), VST_ERR_TRUNCATED);
    assert_int_equal(app_domain_state(&app, "test1"), -1);
}

/* ---- files by name ---- */

static enum vst_code save_to_path(const char *to)
{
    struct vst_stream *stream = app_stream(&app);
    struct outcome saved = {0};

    assert_int_equal(vst_stream_set_sink_file(stream, to), 0);
    app_begin_save(&app, stream, &saved);
    outcome_await(app.base, &saved);
    vst_stream_free(&stream);
    return saved.err.code;
}

static enum vst_code restore_from_path(const char *from)
{
    struct vst_stream *stream = app_stream(&app);
    struct outcome restored = {0};

    assert_int_equal(vst_stream_set_source_file(stream, from), 0);
    app_begin_restore(&app, stream, &restored);
    outcome_await(app.base, &restored);
    vst_stream_free(&stream);
    return restored.err.code;
}

static void guest_rests_in_a_file_by_name(void **state)
{
    (void)state;
    assert_int_equal(save_to_path(path), VST_ERR_OK);
    assert_int_equal(restore_from_path(path), VST_ERR_OK);
    assert_int_equal(save_to_path(path), VST_ERR_OK);
    assert_int_equal(restore_from_path(path), VST_ERR_OK);
}

static void file_that_is_not_there_is_not_found(void **state)
{
    (void)state;
    assert_int_equal(restore_from_path(path), VST_ERR_NOT_FOUND);
    assert_int_equal(save_to_path("/nonexistent/image"), VST_ERR_NOT_FOUND);
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
}

static void save_that_is_given_up_leaves_the_old_file(void **state)
{
    struct vst_stream *stream = app_stream(&app);
    struct vst_layer_spec slow = {.kind = VST_LAYER_RATE, .bytes_per_second = 1000};
    struct outcome saved = {0};
    char text[16] = {0};
    FILE *file = fopen(path, "we");

    (void)state;
    fputs("old", file);
    fclose(file);
    vst_stream_set_sink_file(stream, path);
    assert_int_equal(vst_stream_push_layer(stream, VST_DOWN, &slow), 0);
    app_begin_save(&app, stream, &saved);
    for (int i = 0; i < 10; i++)
        event_base_loop(app.base, EVLOOP_ONCE);
    vst_stream_free(&stream);
    outcome_await(app.base, &saved);
    assert_int_equal(saved.err.code, VST_ERR_CANCELLED);
    file = fopen(path, "re");
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_string_equal(text, "old");
}

/* ---- 2 and 3: pushing and pulling ---- */

/* Pulls what there is now. */
static enum vst_io pull(struct vst_stream *stream, struct evbuffer *into, size_t chunk)
{
    char bytes[4096];
    enum vst_io io;
    size_t n;

    while ((io = vst_stream_read(stream, bytes, chunk, &n)) == VST_IO_OK)
        evbuffer_add(into, bytes, n);
    return io;
}

static struct evbuffer *save_by_pulling(size_t chunk)
{
    struct vst_stream *stream = app_stream(&app);
    struct evbuffer *image = evbuffer_new();
    struct outcome saved = {0};

    app_begin_save(&app, stream, &saved);
    while (pull(stream, image, chunk) == VST_IO_AGAIN)
        event_base_loop(app.base, EVLOOP_ONCE);
    assert_int_equal(app_domain_state(&app, "test1") == -1, saved.calls == 1);
    while (!saved.released)
        event_base_loop(app.base, EVLOOP_ONCE);
    assert_int_equal(saved.err.code, VST_ERR_OK);
    vst_stream_free(&stream);
    return image;
}

static void guest_is_pulled_and_pushed(void **state)
{
    struct evbuffer *image = save_by_pulling(1000);
    struct vst_stream *stream = app_stream(&app);
    struct outcome restored = {0};
    unsigned agains = 0;

    (void)state;
    app_begin_restore(&app, stream, &restored);
    while (evbuffer_get_length(image)) {
        size_t length = evbuffer_get_length(image) < 777 ? evbuffer_get_length(image) : 777, n;
        enum vst_io io =
            vst_stream_write(stream, evbuffer_pullup(image, (ev_ssize_t)length), length, &n);

        assert_int_not_equal(io, VST_IO_FAIL);
        evbuffer_drain(image, n);
        if (io == VST_IO_AGAIN) {
            agains++;
            event_base_loop(app.base, EVLOOP_ONCE);
        }
    }
    assert_int_not_equal(agains, 0);
    assert_int_equal(restored.calls, 0);
    assert_int_equal(vst_stream_finish(stream), 0);
    outcome_await(app.base, &restored);
    assert_int_equal(restored.err.code, VST_ERR_OK);
    evbuffer_free(image);
    vst_stream_free(&stream);
}

static void guest_whose_end_is_not_pulled_is_kept(void **state)
{
    struct vst_stream *stream = app_stream(&app);
    struct evbuffer *image = evbuffer_new();
    struct outcome saved = {0};
    struct vst_progress progress;

    (void)state;
    app_begin_save(&app, stream, &saved);
    /* All bytes, but not the end. */
    do {
        size_t n;

        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        if (evbuffer_get_length(image) < STATE)
            vst_stream_read_buffer(stream, image, 4096, &n);
        vst_stream_get_progress(stream, &progress);
    } while (progress.held || evbuffer_get_length(image) < STATE);
    assert_int_equal(saved.calls, 0);
    vst_stream_free(&stream);
    outcome_await(app.base, &saved);
    assert_int_equal(saved.err.code, VST_ERR_CANCELLED);
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
    evbuffer_free(image);
}

static void half_an_image_pushed_is_truncated(void **state)
{
    struct evbuffer *image = save_by_pulling(4096);
    struct vst_stream *stream = app_stream(&app);
    struct outcome restored = {0};
    size_t n;

    (void)state;
    app_begin_restore(&app, stream, &restored);
    vst_stream_write(stream, evbuffer_pullup(image, 10000), 10000, &n);
    vst_stream_finish(stream);
    outcome_await(app.base, &restored);
    assert_int_equal(restored.err.code, VST_ERR_TRUNCATED);
    evbuffer_free(image);
    vst_stream_free(&stream);
}

/* The loop drives it: callbacks push and pull, the program only runs the base. */
struct carrier {
    struct evbuffer *bytes;
    bool finished;
};

static void push_more(struct vst_stream *stream, void *opaque)
{
    struct carrier *carrier = opaque;
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (evbuffer_get_length(carrier->bytes) && io == VST_IO_OK)
        io = vst_stream_write_buffer(stream, carrier->bytes, &n);
    if (io == VST_IO_OK && !carrier->finished)
        carrier->finished = vst_stream_finish(stream) == 0;
}

static void pull_more(struct vst_stream *stream, void *opaque)
{
    struct carrier *carrier = opaque;

    carrier->finished = pull(stream, carrier->bytes, 4096) == VST_IO_EOF;
}

static void callbacks_push_and_pull(void **state)
{
    struct vst_stream *down = app_stream(&app), *up = app_stream(&app);
    struct vst_stream_callbacks pulls = {.readable = pull_more}, pushes = {.writable = push_more};
    struct carrier carrier = {.bytes = evbuffer_new()};
    struct outcome saved = {0}, restored = {0};

    (void)state;
    vst_stream_set_callbacks(down, &pulls, &carrier);
    app_begin_save(&app, down, &saved);
    outcome_await(app.base, &saved);
    assert_true(carrier.finished);
    carrier.finished = false;
    vst_stream_set_callbacks(up, &pushes, &carrier);
    app_begin_restore(&app, up, &restored);
    push_more(up, &carrier);
    outcome_await(app.base, &restored);
    assert_int_equal(restored.err.code, VST_ERR_OK);
    evbuffer_free(carrier.bytes);
    vst_stream_free(&down);
    vst_stream_free(&up);
}

/* ---- 4 and 5: callbacks ---- */

static void guest_moves_through_callbacks_that_say_again(void **state)
{
    struct manner hesitant = {.again = true, .chunk = 5000};
    struct evbuffer *image = evbuffer_new();

    (void)state;
    assert_int_equal(app_save(&app, NULL, NULL, image, hesitant), VST_ERR_OK);
    assert_int_equal(app_restore(&app, NULL, image, hesitant, NULL), VST_ERR_OK);
    evbuffer_free(image);
}

/* ---- waiting ---- */

static void simple_program_waits(void **state)
{
    struct vst_stream *down = app_stream(&app), *up = app_stream(&app);
    struct vst_domain_cb nobody = {0};
    struct vst_error err = {0};

    (void)state;
    vst_stream_set_sink_file(down, path);
    vst_stream_set_source_file(up, path);
    assert_int_equal(vst_op_wait(vst_domain_save(app.domain, down, NULL, NULL), &err), 0);
    assert_int_equal(vst_op_wait(vst_domain_restore(app.conn, up, NULL, &nobody), &err), 0);
    assert_int_equal(vst_op_wait(vst_domain_destroy(app.domain, NULL), &err), 0);
    assert_int_equal(vst_op_wait(vst_domain_destroy(app.domain, NULL), &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    vst_stream_free(&down);
    vst_stream_free(&up);
}

int main(void)
{
#define ENDS_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        ENDS_TEST(guest_moves_through_a_pipe),
        ENDS_TEST(guest_moves_through_a_socket),
        ENDS_TEST(guest_rests_in_a_file),
        ENDS_TEST(full_device_fails_the_save),
        ENDS_TEST(reader_that_goes_away_fails_the_save),
        ENDS_TEST(writer_that_goes_away_fails_the_restore),
        ENDS_TEST(guest_rests_in_a_file_by_name),
        ENDS_TEST(file_that_is_not_there_is_not_found),
        ENDS_TEST(save_that_is_given_up_leaves_the_old_file),
        ENDS_TEST(guest_is_pulled_and_pushed),
        ENDS_TEST(guest_whose_end_is_not_pulled_is_kept),
        ENDS_TEST(half_an_image_pushed_is_truncated),
        ENDS_TEST(callbacks_push_and_pull),
        ENDS_TEST(guest_moves_through_callbacks_that_say_again),
        ENDS_TEST(simple_program_waits),
    };
#undef ENDS_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
