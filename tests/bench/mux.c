/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the mux costs: one stream between two processes over a UNIX socket, against bare write() and
 * read() of the same pieces.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/leaf.h"
#include "core/pump.h"
#include "remote/mux.h"

enum { PIECE = 256 * 1024, WINDOW = 256 * 1024 };

static const uint64_t total = 6ull << 30;
static char bytes[PIECE];

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* ---- a source of `total` bytes, without a copy ---- */

struct tap {
    struct vst_leaf leaf;
    uint64_t left;
};

static unsigned tap_ready(const struct vst_leaf *leaf)
{
    (void)leaf;
    return VST_READ;
}

static enum vst_io tap_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                            size_t *ret_n)
{
    struct tap *tap = (struct tap *)ch;
    size_t n = max < PIECE ? max : PIECE;

    if (!tap->left)
        return VST_IO_EOF;
    if (n > tap->left)
        n = tap->left;
    evbuffer_add_reference(into, bytes, n, NULL, NULL);
    tap->left -= n;
    *ret_n = n;
    return VST_IO_OK;
}

static void tap_destroy(struct vst_channel *ch)
{
    vst_leaf_fini((struct vst_leaf *)ch);
}

static const struct vst_channel_ops tap_ops = {
    .name = "tap",
    .read = tap_read,
    .destroy = tap_destroy,
    .arm = vst_leaf_arm,
};

/* ---- the two sides ---- */

static struct side {
    struct event_base *base;
    struct vst_mux *mux;
    struct vst_mux_ends ends;
    struct vst_pump *pump;
    struct tap tap;
    bool done;
} side;

static void done(void *opaque, const struct vst_error *err)
{
    (void)opaque;
    if (err)
        fprintf(stderr, "%s\n", err->text);
    side.done = true;
    if (side.ends.receives) {
        vst_mux_send(side.mux, VST_FRAME_REPLY, 1, "{}", 2);
        vst_mux_ended(side.mux, 1, NULL);
    }
}

static void message(void *opaque, const struct vst_frame *frame, const char *body)
{
    (void)opaque, (void)body;
    if (frame->type == VST_FRAME_REPLY) {
        vst_mux_ended(side.mux, 1, NULL);
        return;
    }
    if (frame->type != VST_FRAME_CALL)
        return;
    side.ends = (struct vst_mux_ends){.receives = true};
    vst_mux_open(side.mux, frame->id, &side.ends, NULL);
    side.pump = vst_pump_new(side.base, 1 << 20, done, NULL, NULL);
    vst_pump_set_source(side.pump, side.ends.ret_source);
    vst_pump_set_sink(side.pump, vst_channel_null(side.base, NULL));
}

static void stopped(void *opaque, uint32_t id, const struct vst_error *why)
{
    (void)opaque, (void)id;
    fprintf(stderr, "stopped: %s\n", why->text);
}

static void closed(void *opaque, const struct vst_error *err)
{
    (void)opaque;
    if (err)
        fprintf(stderr, "closed: %s\n", err->text);
    event_base_loopbreak(side.base);
}

static void begin(int fd, enum vst_mux_role role, bool sums)
{
    const struct vst_mux_options opt = {
        .role = role,
        .label = "bench",
        .window = WINDOW,
        .peer_window = WINDOW,
        .memory = 64 << 20,
        .streams = 8,
        .sums = sums,
    };
    const struct vst_mux_user user = {message, stopped, closed, NULL};

    side = (struct side){.base = event_base_new()};
    side.mux = vst_mux_new(vst_channel_fd(side.base, &fd, NULL), &opt, &user, NULL);
}

static void serve(int fd)
{
    begin(fd, VST_MUX_SERVER, false);
    event_base_dispatch(side.base);
    _exit(0);
}

static void call(int fd, bool sums)
{
    struct vst_mux_stats stats;

    begin(fd, VST_MUX_CLIENT, sums);
    side.ends = (struct vst_mux_ends){.sends = true};
    vst_mux_open(side.mux, vst_mux_next_id(side.mux), &side.ends, NULL);
    vst_mux_send(side.mux, VST_FRAME_CALL, 1, "{}", 2);
    vst_leaf_init(&side.tap.leaf, &tap_ops, side.base, tap_ready);
    side.tap.left = total;
    side.pump = vst_pump_new(side.base, 1 << 20, done, NULL, NULL);
    vst_pump_set_source(side.pump, &side.tap.leaf.ch);
    vst_pump_set_sink(side.pump, side.ends.ret_sink);
    while (!side.done)
        event_base_loop(side.base, EVLOOP_ONCE);
    vst_mux_get_stats(side.mux, &stats);
    printf("    stalls for want of credit: %llu; frames out: %llu, in: %llu\n",
           (unsigned long long)stats.stalls, (unsigned long long)stats.frames_out,
           (unsigned long long)stats.frames_in);
    vst_mux_finish(side.mux);
    event_base_dispatch(side.base);
}

static void bare_read(int fd)
{
    while (read(fd, bytes, PIECE) > 0)
        ;
    _exit(0);
}

static void bare_write(int fd)
{
    for (uint64_t left = total; left;) {
        ssize_t n = write(fd, bytes, left < PIECE ? left : PIECE);

        if (n < 0)
            exit(1);
        left -= (uint64_t)n;
    }
    shutdown(fd, SHUT_WR);
}

static double run(int kind)
{
    int fds[2];
    double began;
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        exit(1);
    child = fork();
    if (!child) {
        close(fds[0]);
        if (kind)
            serve(fds[1]);
        bare_read(fds[1]);
    }
    close(fds[1]);
    began = now();
    if (kind)
        call(fds[0], kind == 2);
    else
        bare_write(fds[0]);
    if (!kind)
        close(fds[0]);
    waitpid(child, NULL, 0);
    return (double)total / (now() - began) / 1e9;
}

int main(void)
{
    static const char *const names[] = {"bare write and read", "mux", "mux, data summed"};
    double bare = 0;

    memset(bytes, 'x', sizeof(bytes));
    for (int kind = 0; kind < 3; kind++) {
        double rate = run(kind);

        bare = kind ? bare : rate;
        printf("%-20s %6.2f GB/s  %4.2f of bare\n", names[kind], rate, rate / bare);
    }
    return 0;
}
