/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console: standard input goes up, standard output takes what comes down. From a terminal the keys
 * are pushed, because one of them is ours; anything else is the stream's source as it is.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ends.h"
#include "output.h"
#include "terminal.h"

enum { ESCAPE = 0x1d, /* ^] */ CHUNK = 512 };

struct keyboard {
    struct tool *tool;
    struct vst_stream *stream;
    struct event *readable;
    struct event *gone; /* standard output is a pipe that nobody reads any more; NULL: no pipe */
    struct evbuffer *typed; /* not yet taken by the stream */
    int fd;
    bool ended; /* the escape, or the end of the terminal */
};

/* Gives the stream what it takes. Reads on only when it took all: keys wait in the terminal. */
static void push(struct keyboard *keyboard)
{
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (io == VST_IO_OK && evbuffer_get_length(keyboard->typed))
        io = vst_stream_write_buffer(keyboard->stream, keyboard->typed, &n);
    if (io != VST_IO_OK || keyboard->ended)
        event_del(keyboard->readable);
    else
        event_add(keyboard->readable, NULL);
    if (io == VST_IO_OK && keyboard->ended)
        vst_stream_finish(keyboard->stream);
}

static void take_keys(evutil_socket_t fd, short what, void *opaque)
{
    struct keyboard *keyboard = opaque;
    char keys[CHUNK];
    ssize_t n = read(fd, keys, sizeof(keys));
    char *escape;

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        keyboard->ended = true;
        n = 0;
    }
    escape = memchr(keys, ESCAPE, (size_t)n);
    if (escape) {
        keyboard->ended = true;
        n = escape - keys;
    }
    if (evbuffer_add(keyboard->typed, keys, (size_t)n) < 0)
        vst_stream_abort(keyboard->stream, "out of memory");
    push(keyboard);
}

static void writable(struct vst_stream *stream, void *opaque)
{
    (void)stream;
    push(opaque);
}

static void reader_gone(evutil_socket_t fd, short what, void *opaque)
{
    struct keyboard *keyboard = opaque;

    (void)fd, (void)what;
    vst_stream_abort(keyboard->stream, "whoever read standard output has gone");
}

/* A guest that says nothing would never show it. A pipe's writing end is readable for that alone.
 */
static int watch_reader(struct keyboard *keyboard)
{
    struct stat st;

    if (fstat(STDOUT_FILENO, &st) < 0 || !S_ISFIFO(st.st_mode) ||
        (fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) != O_WRONLY)
        return 0;
    keyboard->gone = event_new(keyboard->tool->base, STDOUT_FILENO, EV_READ, reader_gone, keyboard);
    if (!keyboard->gone || event_add(keyboard->gone, NULL) < 0)
        return tool_fail(keyboard->tool, VST_ERR_NO_MEMORY, "out of memory");
    return 0;
}

static void keyboard_close(struct keyboard *keyboard)
{
    if (keyboard->gone)
        event_free(keyboard->gone);
    if (keyboard->readable)
        event_free(keyboard->readable);
    if (keyboard->typed)
        evbuffer_free(keyboard->typed);
    if (keyboard->fd >= 0)
        close(keyboard->fd);
}

static int keyboard_open(struct keyboard *keyboard, int fd)
{
    static const struct vst_stream_callbacks callbacks = {.writable = writable};

    keyboard->fd = fd;
    keyboard->typed = evbuffer_new();
    keyboard->readable =
        event_new(keyboard->tool->base, fd, EV_READ | EV_PERSIST, take_keys, keyboard);
    if (!keyboard->typed || !keyboard->readable || event_add(keyboard->readable, NULL) < 0)
        return tool_fail(keyboard->tool, VST_ERR_NO_MEMORY, "out of memory");
    vst_stream_set_callbacks(keyboard->stream, &callbacks, keyboard);
    return 0;
}

static int set_source(struct keyboard *keyboard)
{
    struct tool *tool = keyboard->tool;
    int fd;

    if (tool->opt.read_only)
        return 0;
    fd = ends_standard(tool, STDIN_FILENO);
    if (fd < 0)
        return -1;
    if (isatty(fd))
        return keyboard_open(keyboard, fd);
    if (vst_stream_set_source_fd(keyboard->stream, &fd) == 0)
        return 0;
    tool_fail_system(tool, errno, "standard input");
    close(fd);
    return -1;
}

static int print_result(struct tool *tool, const struct vst_progress *outcome)
{
    struct json_object *json;

    if (!tool->opt.json) {
        if (isatty(STDIN_FILENO))
            output_done(tool, "\nconsole of %s closed", vst_domain_get_name(tool->domain));
        return 0;
    }
    json = json_object_new_object();
    put_text(json, "name", vst_domain_get_name(tool->domain));
    put_text(json, "uuid", vst_domain_get_uuid(tool->domain));
    put_number(json, "sent", outcome->up_bytes);
    put_number(json, "received", outcome->down_bytes);
    return output_json(tool, "console", json);
}

/* From here on the terminal is the guest's, and on every way out ours again. */
static int talk(struct tool *tool, struct keyboard *keyboard)
{
    struct vst_progress outcome;
    int status;

    if (!tool->opt.read_only && terminal_enter_raw(&tool->terminal) < 0)
        return tool_fail_system(tool, errno, "terminal");
    status = set_source(keyboard) < 0 ? -1 : watch_reader(keyboard);
    if (status == 0)
        status = tool_wait(tool, vst_domain_open_console(tool->domain, keyboard->stream, NULL));
    terminal_leave_raw(&tool->terminal);
    vst_stream_get_progress(keyboard->stream, &outcome);
    return status < 0 ? -1 : print_result(tool, &outcome);
}

static int set_sink(struct tool *tool, struct vst_stream *stream)
{
    int fd = ends_standard(tool, STDOUT_FILENO);

    if (fd < 0)
        return -1;
    if (stream && vst_stream_set_sink_fd(stream, &fd) == 0)
        return 0;
    tool_fail_system(tool, stream ? errno : ENOMEM, "standard output");
    close(fd);
    return -1;
}

int command_console(struct tool *tool)
{
    struct keyboard keyboard = {.tool = tool, .fd = -1};
    int status = -1;

    tool->data_on_stdout = true;
    keyboard.stream = vst_stream_new(tool->base, NULL);
    if (set_sink(tool, keyboard.stream) == 0 && tool_find_domain(tool) == 0) {
        if (isatty(STDIN_FILENO) && !tool->opt.read_only && !tool->opt.json)
            output_note(tool, "console of %s; ^] leaves", vst_domain_get_name(tool->domain));
        status = talk(tool, &keyboard);
    }
    vst_stream_free(&keyboard.stream);
    keyboard_close(&keyboard);
    return status;
}
