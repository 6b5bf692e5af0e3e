/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop of the command: waiting for one operation after the other, with one deadline for the
 * whole, and signals that cancel what is in flight.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "ask.h"
#include "ends.h"
#include "output.h"
#include "tool.h"

/* Whoever says it again and again knows better than we whether the other side will ever answer. A
 * server undoes it all the same; a guest of this process is left as if that had been killed. */
static void leave(struct tool *tool)
{
    tool_fail(tool, VST_ERR_CANCELLED, "cancelled, and not waited for %s", tool->command->undo);
    ask_end(tool);
    terminal_leave_raw(&tool->terminal);
    ends_restore(tool);
    output_error(tool);
    fflush(NULL);
    _exit(vst_code_exit(tool->err.code));
}

static void interrupted(evutil_socket_t number, short what, void *opaque)
{
    struct tool *tool = opaque;

    (void)number, (void)what;
    if (tool->interrupts++ == 0) {
        output_note(tool, "cancelling");
        vst_op_cancel(tool->op);
    } else if (tool->interrupts == 2) {
        output_note(tool, "still waiting for %s; the next signal leaves at once",
                    tool->command->undo);
    } else {
        leave(tool);
    }
}

/* As under nohup(1): whoever started us does not want the signal to count. */
static bool is_ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

int tool_watch_signals(struct tool *tool)
{
    static const int numbers[TOOL_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

    for (int i = 0; i < TOOL_SIGNALS; i++) {
        if (numbers[i] == SIGHUP && is_ignored(SIGHUP))
            continue;
        tool->signals[i] = evsignal_new(tool->base, numbers[i], interrupted, tool);
        if (!tool->signals[i] || event_add(tool->signals[i], NULL) < 0)
            return tool_fail(tool, VST_ERR_NO_MEMORY, "signals cannot be watched");
    }
    return 0;
}

struct timeval tool_time_left(const struct tool *tool)
{
    struct timespec now;
    struct timeval left = {0};
    int64_t us;

    clock_gettime(CLOCK_MONOTONIC, &now);
    us = (int64_t)(tool->deadline.tv_sec - now.tv_sec) * 1000000 +
         (tool->deadline.tv_nsec - now.tv_nsec) / 1000;
    if (us > 0) {
        left.tv_sec = us / 1000000;
        left.tv_usec = us % 1000000;
    }
    return left;
}

int tool_wait(struct tool *tool, struct vst_op *op)
{
    struct timeval left = tool_time_left(tool);
    int status;

    tool->op = op;
    if (op && tool->opt.timeout && vst_op_set_timeout(op, &left) < 0) {
        tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
        vst_op_cancel(op);
    }
    if (tool->interrupts)
        vst_op_cancel(op);
    status = vst_op_wait(op, tool->err.code == VST_ERR_OK ? &tool->err : NULL);
    tool->op = NULL;
    return status;
}

static void too_late(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    tool_fail(opaque, VST_ERR_TIMEOUT, "the time that --timeout gave is over");
}

int tool_follow(struct tool *tool)
{
    struct timeval left = tool_time_left(tool);

    if (tool->opt.timeout && event_base_once(tool->base, -1, EV_TIMEOUT, too_late, tool, &left) < 0)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    while (!tool->interrupts && tool->err.code == VST_ERR_OK)
        if (event_base_loop(tool->base, EVLOOP_ONCE) != 0)
            return tool_fail(tool, VST_ERR_INTERNAL, "the loop has failed");
    if (tool->interrupts)
        tool_fail(tool, VST_ERR_CANCELLED, "cancelled");
    return -1;
}

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct vst_conn **into = opaque;

    (void)err;
    *into = conn;
}

static int connect_to(struct tool *tool, const char *uri, struct vst_conn **into)
{
    struct vst_conn_cb cb = {opened, into, NULL};
    struct vst_conn_options options = {
        .ask_password = ask_password,
        .step = tool->command->run == command_doctor ? doctor_step : NULL,
        .opaque = tool,
    };
    int status = tool_wait(tool, vst_conn_open(tool->base, uri, &options, &cb));

    ask_end(tool);
    return status;
}

int tool_connect(struct tool *tool)
{
    if (tool_watch_signals(tool) < 0)
        return -1;
    return connect_to(tool, tool->opt.uri, &tool->conn);
}

int tool_connect_other(struct tool *tool, const char *uri)
{
    return connect_to(tool, uri, &tool->other);
}

static void found(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    struct tool *tool = opaque;

    (void)err;
    tool->domain = domain;
}

struct vst_domain_cb tool_domain_cb(struct tool *tool)
{
    return (struct vst_domain_cb){found, tool, NULL};
}

int tool_find_domain(struct tool *tool)
{
    struct vst_domain_cb cb = tool_domain_cb(tool);

    if (tool_connect(tool) < 0)
        return -1;
    return tool_wait(tool, vst_conn_lookup(tool->conn, tool->args[0], &cb));
}

void tool_close(struct tool *tool)
{
    if (!tool->base)
        return;
    vst_domain_free(&tool->domain);
    vst_conn_close(&tool->conn);
    vst_conn_close(&tool->other);
    for (int i = 0; i < TOOL_SIGNALS; i++)
        if (tool->signals[i])
            event_free(tool->signals[i]);
    /* Until nothing is left to wait for: the connection lets go of what it holds. */
    event_base_dispatch(tool->base);
    event_base_free(tool->base);
    tool->base = NULL;
}
