/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The conversation with a monitor: greeting, negotiation, commands in order, deadlines, the end.
 * One function, run(), is entered by everything that the loop has to say; it reads, looks at the
 * deadlines, writes, and arms what is needed next. Lines are the codec's, bytes of commands the
 * command's.
 */
#include "qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fsm.h"
#include "core/fd.h"
#include "core/json.h"
#include "core/turn.h"
#include "qmp-codec.h"
#include "qmp-command.h"

#define QMP_STATES(X)                                                                           \
    X(QMP_GREETING, "a greeting", "connected; QEMU speaks first")                               \
    X(QMP_NEGOTIATING, "the reply to qmp_capabilities", "only this one command may be sent")    \
    X(QMP_READY, "replies and events", "commands are sent as they come")                        \
    X(QMP_DRAINING, "the end of input", "QEMU takes no more commands; its last words are read") \
    X(QMP_CLOSED, "nothing", "the socket is closed")
VST_FSM(qmp, QMP_STATES)

enum { READS_PER_TURN = 16 }; /* of at most 4 KiB each, as evbuffer_read() does them */
enum { TURNS_OF_REST = 64 };  /* more than any socket holds */

struct vst_qmp {
    struct vst_qmp_cb cb; /* all NULL once it must not be called any more */
    void *opaque;
    enum qmp_state state;
    int fd;
    unsigned holds; /* the owner's, and run()'s while it runs */
    char label[12]; /* for the trace: the descriptor */
    char version[40];
    struct vst_qmp_codec *codec;
    struct evbuffer *in;
    struct vst_qmp_commands commands; /* sent before unsent, both in the order of their ids */
    unsigned pending;                 /* the length of that list */
    int64_t first_id;                 /* of qmp_capabilities */
    int64_t next_id;
    struct vst_error error; /* why it ended */
    struct event readable;
    struct event writable;
    struct event timer;
    struct vst_turn turn;
};

static void enter(struct vst_qmp *qmp, enum qmp_state state)
{
    vst_fsm_trace(qmp, qmp->label, qmp->state, state);
    qmp->state = state;
}

/* ---- the end ---- */

static void destroy(struct vst_qmp *qmp)
{
    vst_turn_cancel(&qmp->turn);
    vst_qmp_codec_free(&qmp->codec);
    if (qmp->in)
        evbuffer_free(qmp->in);
    free(qmp);
}

static void take_off(struct vst_qmp *qmp, struct vst_qmp_command *command)
{
    TAILQ_REMOVE(&qmp->commands, command, link);
    qmp->pending--;
}

static void close_socket(struct vst_qmp *qmp, const struct vst_error *err)
{
    if (qmp->state == QMP_CLOSED)
        return;
    vst_error_copy(&qmp->error, err);
    vst_error_where(&qmp->error, VST_SIDE_QEMU, NULL);
    enter(qmp, QMP_CLOSED);
    event_del(&qmp->readable);
    event_del(&qmp->writable);
    event_del(&qmp->timer);
    close(qmp->fd);
    qmp->fd = -1;
}

static void fail(struct vst_qmp *qmp, const struct vst_error *err)
{
    struct vst_error named = *err;

    vst_error_prefix(&named, "QEMU's monitor");
    close_socket(qmp, &named);
}

/* Tells everybody whom the end concerns; closed() is last. */
static void conclude(struct vst_qmp *qmp)
{
    enum vst_code code = qmp->error.code == VST_ERR_CANCELLED ? VST_ERR_CANCELLED : VST_ERR_LOST;
    struct vst_qmp_command *command;
    void (*closed)(void *opaque, const struct vst_error *err);

    while ((command = TAILQ_FIRST(&qmp->commands))) {
        struct vst_error err = {.system = qmp->error.system, .side = VST_SIDE_QEMU};

        take_off(qmp, command);
        vst_error_set(&err, code, "`%s` was not answered: %s", command->name, qmp->error.text);
        vst_qmp_command_complete(command, NULL, &err);
    }
    closed = qmp->cb.closed;
    qmp->cb = (struct vst_qmp_cb){0};
    if (closed)
        closed(qmp->opaque, &qmp->error);
}

/* Without an owner it stays until its commands have been completed, in a turn of the loop. */
static void release(struct vst_qmp *qmp)
{
    if (--qmp->holds > 0)
        return;
    if (qmp->pending > 0)
        vst_turn_schedule(&qmp->turn);
    else
        destroy(qmp);
}

static void set_gone(struct vst_error *err, int number, bool within_line)
{
    if (number != 0 && number != ECONNRESET && number != EPIPE) {
        vst_error_system(err, number, "QEMU's monitor");
        return;
    }
    vst_error_set(err, VST_ERR_DRIVER, "QEMU closed its monitor%s",
                  within_line ? " in the middle of a line" : "");
    err->system = number;
}

/* ---- what QEMU says ---- */

static void negotiated(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_qmp *qmp = opaque;
    struct vst_error why = {0};

    (void)value;
    if (err && qmp->state == QMP_GREETING)
        vst_error_set(&why, VST_ERR_TIMEOUT,
                      "QEMU's monitor is silent; it may serve another client");
    if (err) {
        vst_error_copy(&why, err);
        close_socket(qmp, &why);
    }
    if (qmp->state != QMP_NEGOTIATING)
        return;
    enter(qmp, QMP_READY);
    if (qmp->cb.ready)
        qmp->cb.ready(qmp->opaque, qmp->version);
}

static int take_greeting(struct vst_qmp *qmp, const struct vst_qmp_message *message,
                         struct vst_error *ret_err)
{
    static const char *const parts[] = {"major", "minor", "micro"};
    int numbers[3];

    if (qmp->state == QMP_NEGOTIATING)
        return 0; /* QEMU may see a client that comes early come twice */
    if (qmp->state != QMP_GREETING)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "a second greeting");
    for (size_t i = 0; i < 3; i++) {
        struct json_object *part;

        if (!json_object_object_get_ex(message->body, parts[i], &part) ||
            !json_object_is_type(part, json_type_int))
            return vst_error_set(ret_err, VST_ERR_PROTOCOL, "a greeting without a version");
        numbers[i] = json_object_get_int(part);
    }
    snprintf(qmp->version, sizeof(qmp->version), "%d.%d.%d", numbers[0], numbers[1], numbers[2]);
    enter(qmp, QMP_NEGOTIATING);
    return 0;
}

static void take_refusal(struct vst_qmp_command *command, const struct vst_qmp_message *message)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};
    bool generic = strcmp(message->name, "GenericError") == 0;

    vst_error_set(&err, VST_ERR_DRIVER, "%s: %s%s%s%s", command->name, message->text,
                  generic ? "" : " (", generic ? "" : message->name, generic ? "" : ")");
    vst_qmp_command_complete(command, NULL, &err);
}

/* Commands are executed in order, so only the oldest one can be meant. */
static int take_reply(struct vst_qmp *qmp, const struct vst_qmp_message *message,
                      struct vst_error *ret_err)
{
    struct vst_qmp_command *oldest = TAILQ_FIRST(&qmp->commands);

    if (qmp->state == QMP_NEGOTIATING && message->id != qmp->first_id)
        return 0; /* to a command of whoever was here before us, and died */
    if (message->id == 0 && message->kind == VST_QMP_ERROR)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "not understood: %s", message->text);
    if (message->id == 0)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "a reply without an id");
    if (!oldest || !vst_qmp_command_is_out(oldest))
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "a reply with id %lld, but none is due",
                             (long long)message->id);
    if (message->id != oldest->id)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL,
                             "a reply with id %lld, but due is that to `%s`, %lld",
                             (long long)message->id, oldest->name, (long long)oldest->id);
    take_off(qmp, oldest);
    if (message->kind == VST_QMP_ERROR)
        take_refusal(oldest, message);
    else
        vst_qmp_command_complete(oldest, message->body, NULL);
    return 0;
}

static int take_message(struct vst_qmp *qmp, const struct vst_qmp_message *message,
                        struct vst_error *ret_err)
{
    if (message->kind == VST_QMP_GREETING)
        return take_greeting(qmp, message, ret_err);
    if (qmp->state == QMP_GREETING)
        return 0; /* meant for whoever was here before us, and died */
    if (message->kind != VST_QMP_EVENT)
        return take_reply(qmp, message, ret_err);
    if (qmp->cb.event)
        qmp->cb.event(qmp->opaque, message->name, message->body, message->seconds);
    return 0;
}

static void take_lines(struct vst_qmp *qmp)
{
    while (qmp->state != QMP_CLOSED) {
        struct vst_qmp_message message;
        struct vst_error err = {0};
        int found = vst_qmp_codec_step(qmp->codec, qmp->in, &message, &err);

        if (found == 0)
            return;
        if (found > 0) {
            take_message(qmp, &message, &err);
            vst_qmp_message_clear(&message);
        }
        if (vst_error_is_set(&err))
            fail(qmp, &err);
    }
}

static void receive(struct vst_qmp *qmp)
{
    for (int reads = 0; reads < READS_PER_TURN && qmp->state != QMP_CLOSED; reads++) {
        int n = evbuffer_read(qmp->in, qmp->fd, -1);
        bool again = n < 0 && (errno == EAGAIN || errno == EINTR);
        struct vst_error err = {0};

        if (n > 0) {
            take_lines(qmp);
            continue;
        }
        if (again && qmp->state != QMP_DRAINING)
            return;
        set_gone(&err, n < 0 && !again ? errno : 0, evbuffer_get_length(qmp->in) > 0);
        close_socket(qmp, &err);
    }
}

/* ---- deadlines ---- */

static struct vst_qmp_command *most_urgent(const struct vst_qmp *qmp)
{
    struct vst_qmp_command *command, *urgent = NULL;

    TAILQ_FOREACH(command, &qmp->commands, link) {
        if (!urgent || command->deadline < urgent->deadline)
            urgent = command;
    }
    return urgent;
}

static void expire(struct vst_qmp *qmp)
{
    int64_t now = vst_now_us();
    struct vst_qmp_command *command;

    while (qmp->state != QMP_CLOSED && (command = most_urgent(qmp)) && command->deadline <= now) {
        struct vst_error err = {.side = VST_SIDE_QEMU};

        vst_error_set(&err, VST_ERR_TIMEOUT, "QEMU did not answer `%s` within %g s", command->name,
                      command->seconds);
        if (command->sent > 0) {
            vst_qmp_command_abandon(command, &err);
        } else {
            take_off(qmp, command);
            vst_qmp_command_complete(command, NULL, &err);
        }
    }
}

/* ---- commands ---- */

static struct vst_qmp_command *next_to_write(const struct vst_qmp *qmp)
{
    struct vst_qmp_command *command;

    if (qmp->state != QMP_NEGOTIATING && qmp->state != QMP_READY)
        return NULL;
    TAILQ_FOREACH(command, &qmp->commands, link) {
        if (command->sent < command->length)
            return qmp->state == QMP_READY || command->id == qmp->first_id ? command : NULL;
    }
    return NULL;
}

static void transmit(struct vst_qmp *qmp)
{
    struct vst_qmp_command *command;

    while ((command = next_to_write(qmp))) {
        bool begins = command->sent == 0;
        int written = vst_qmp_command_write(command, qmp->fd), number = errno;

        if (begins && command->sent > 0)
            vst_trace(VST_TRACE_QMP, "qmp %s -> %.*s", qmp->label, (int)command->length - 1,
                      command->line);
        if (written == 0)
            return;
        if (written < 0) {
            set_gone(&qmp->error, number, false);
            enter(qmp, QMP_DRAINING);
        }
    }
}

/* ---- the loop ---- */

/* Arms exactly what the state calls for. The only failure is that of libevent to get memory. */
static int rearm(struct vst_qmp *qmp)
{
    struct vst_qmp_command *urgent = most_urgent(qmp);
    int result;

    if (qmp->state == QMP_DRAINING)
        vst_turn_schedule(&qmp->turn);
    result = next_to_write(qmp) ? event_add(&qmp->writable, NULL) : event_del(&qmp->writable);
    if (urgent && urgent->deadline != VST_QMP_NEVER) {
        int64_t wait = urgent->deadline - vst_now_us();
        struct timeval in = {wait > 0 ? wait / 1000000 : 0, wait > 0 ? wait % 1000000 : 0};

        result |= event_add(&qmp->timer, &in);
    } else {
        event_del(&qmp->timer);
    }
    return result;
}

static void run(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_qmp *qmp = opaque;
    struct vst_error err = {0};

    (void)fd, (void)what;
    qmp->holds++;
    receive(qmp);
    expire(qmp);
    transmit(qmp);
    if (qmp->state != QMP_CLOSED && rearm(qmp) < 0) {
        vst_error_no_memory(&err);
        fail(qmp, &err);
    }
    if (qmp->state == QMP_CLOSED)
        conclude(qmp);
    release(qmp);
}

void vst_qmp_read_rest(struct vst_qmp *qmp)
{
    qmp->holds++;
    for (int turns = 0; turns < TURNS_OF_REST && qmp->state != QMP_CLOSED; turns++)
        run(-1, 0, qmp);
    release(qmp);
}

/* ---- the calls ---- */

static int send_command(struct vst_qmp *qmp, const char *name, struct json_object *arguments,
                        int *fd, double seconds, struct vst_qmp_reply reply,
                        struct vst_error *ret_err)
{
    struct vst_qmp_command *command;

    if (vst_error_is_set(&qmp->error))
        return vst_error_set(ret_err, VST_ERR_LOST, "`%s` cannot be sent: %s", name,
                             qmp->error.text);
    if (qmp->pending >= VST_QMP_PENDING_MAX)
        return vst_error_set(ret_err, VST_ERR_BUSY, "`%s` cannot be sent: QEMU owes %d replies",
                             name, VST_QMP_PENDING_MAX);
    command =
        vst_qmp_command_new(qmp->codec, name, arguments, qmp->next_id, seconds, reply, ret_err);
    if (!command)
        return -1;
    if (fd) {
        command->fd = *fd;
        *fd = -1;
    }
    qmp->next_id++;
    qmp->pending++;
    TAILQ_INSERT_TAIL(&qmp->commands, command, link);
    vst_turn_schedule(&qmp->turn);
    return 0;
}

int vst_qmp_send(struct vst_qmp *qmp, const char *command, struct json_object *arguments, int *fd,
                 double seconds, struct vst_qmp_reply reply, struct vst_error *ret_err)
{
    int result = send_command(qmp, command, arguments, fd, seconds, reply, ret_err);

    if (result < 0)
        vst_error_where(ret_err, VST_SIDE_QEMU, NULL);
    json_object_put(arguments);
    if (fd && *fd >= 0)
        close(*fd);
    if (fd)
        *fd = -1;
    return result;
}

int vst_qmp_execute(struct vst_qmp *qmp, const char *command, struct vst_qmp_reply reply,
                    struct vst_error *ret_err, ...)
{
    struct json_object *arguments = json_object_new_object();
    bool complete = arguments != NULL;
    const char *name;
    va_list pairs;

    va_start(pairs, ret_err);
    while ((name = va_arg(pairs, const char *))) {
        struct json_object *value = va_arg(pairs, struct json_object *);

        if (complete && value && json_object_object_add(arguments, name, value) == 0)
            continue;
        complete = false;
        json_object_put(value);
    }
    va_end(pairs);
    if (complete)
        return vst_qmp_send(qmp, command, arguments, NULL, VST_QMP_SECONDS, reply, ret_err);
    json_object_put(arguments);
    return vst_error_no_memory(ret_err);
}

int vst_qmp_pass_fd(struct vst_qmp *qmp, const char *name, int *fd, struct vst_qmp_reply reply,
                    struct vst_error *ret_err)
{
    struct json_object *arguments = vst_json_object("fdname", json_object_new_string(name));

    if (arguments)
        return vst_qmp_send(qmp, "getfd", arguments, fd, VST_QMP_SECONDS, reply, ret_err);
    vst_close(fd);
    return vst_error_no_memory(ret_err);
}

void vst_qmp_forget(struct vst_qmp *qmp, const void *opaque)
{
    struct vst_qmp_command *command;

    TAILQ_FOREACH(command, &qmp->commands, link) {
        if (command->reply.opaque == opaque)
            command->reply = (struct vst_qmp_reply){0};
    }
}

void vst_qmp_set_greeting_deadline(struct vst_qmp *qmp, double seconds)
{
    struct vst_qmp_command *first = TAILQ_FIRST(&qmp->commands);

    if (!first || first->id != qmp->first_id)
        return;
    vst_qmp_command_set_deadline(first, seconds);
    vst_turn_schedule(&qmp->turn);
}

static struct vst_qmp *prepare(struct event_base *base, int fd, const struct vst_qmp_cb *cb,
                               void *opaque, struct vst_error *ret_err)
{
    struct vst_qmp *qmp = calloc(1, sizeof(*qmp));

    if (!qmp) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    TAILQ_INIT(&qmp->commands);
    qmp->cb = *cb;
    qmp->opaque = opaque;
    qmp->holds = 1;
    /* Ids count from the time, so that they are new to a QEMU that has replies to a client before
     * us: no client sends a command every microsecond. */
    qmp->first_id = qmp->next_id = vst_now_us();
    qmp->fd = -1;
    snprintf(qmp->label, sizeof(qmp->label), "%d", fd);
    event_assign(&qmp->readable, base, fd, EV_READ | EV_PERSIST, run, qmp);
    event_assign(&qmp->writable, base, fd, EV_WRITE, run, qmp);
    event_assign(&qmp->timer, base, -1, 0, run, qmp);
    vst_turn_init(&qmp->turn, base, run, qmp);
    qmp->codec = vst_qmp_codec_new(qmp->label, VST_QMP_LINE_MAX, ret_err);
    qmp->in = qmp->codec ? evbuffer_new() : NULL;
    if (!qmp->in || event_add(&qmp->readable, NULL) < 0) {
        vst_error_no_memory(ret_err);
        destroy(qmp);
        return NULL;
    }
    return qmp;
}

struct vst_qmp *vst_qmp_new(struct event_base *base, int *fd, const struct vst_qmp_cb *cb,
                            void *opaque, struct vst_error *ret_err)
{
    struct vst_qmp *qmp;
    int flags;

    flags = fcntl(*fd, F_GETFL);
    if (flags < 0 || fcntl(*fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0) {
        vst_error_system(ret_err, errno, "QEMU's monitor");
        return NULL;
    }
    qmp = prepare(base, *fd, cb, opaque, ret_err);
    if (!qmp)
        return NULL;
    if (vst_qmp_send(qmp, "qmp_capabilities", NULL, NULL, VST_QMP_SECONDS,
                     (struct vst_qmp_reply){negotiated, qmp}, ret_err) < 0) {
        event_del(&qmp->readable);
        destroy(qmp);
        return NULL;
    }
    qmp->fd = *fd;
    *fd = -1;
    return qmp;
}

/* Only commands that somebody waits for must outlive the owner. */
static void drop_untold(struct vst_qmp *qmp)
{
    struct vst_qmp_command *command, *next;

    for (command = TAILQ_FIRST(&qmp->commands); command; command = next) {
        next = TAILQ_NEXT(command, link);
        if (command->reply.fn)
            continue;
        take_off(qmp, command);
        vst_qmp_command_complete(command, NULL, NULL);
    }
}

void vst_qmp_free(struct vst_qmp **qmp)
{
    struct vst_qmp *gone = *qmp;
    struct vst_error err = {0};

    if (!gone)
        return;
    *qmp = NULL;
    gone->cb = (struct vst_qmp_cb){0};
    vst_error_set(&err, VST_ERR_CANCELLED, "the monitor was closed on this side");
    close_socket(gone, &err);
    vst_qmp_forget(gone, gone); /* the negotiation's reply */
    drop_untold(gone);
    release(gone);
}
