/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A conversation of the QMP client, for tests of it. What the client tells is written down in
 * order, as in
 *
 *     ready(7.2.22) STOP stop={} cont=driver closed(driver)
 *
 * that is: events by name, replies by command with their value or the code of their error; and
 * tests compare that. The monitor is the fake of fake-qmp.h, unless the test has another.
 */
#ifndef VST_TESTS_UNIT_QMP_TALK_H
#define VST_TESTS_UNIT_QMP_TALK_H

#include "test.h"

#include <event2/event.h>

#include "drivers/qemu/qmp.h"
#include "fake-qmp.h"

enum { VST_TALK_ASKS_MAX = 2 * VST_QMP_PENDING_MAX };

struct vst_talk;

/* One command, as its sender sees it. */
struct vst_talk_ask {
    struct vst_talk *talk;
    const char *command;
    struct vst_error err;
    struct json_object *value; /* of a reply whose text was too long for the log: "command=..." */
};

struct vst_talk {
    struct event_base *base;
    struct vst_fake_qmp *fake;
    struct vst_qmp *qmp;
    char log[128 * VST_QMP_PENDING_MAX];
    struct vst_talk_ask asks[VST_TALK_ASKS_MAX];
    unsigned asked;
    struct vst_error closed;
    unsigned events; /* those named UNLOGGED count, but are not in the log */
    /* To do within the callback that writes this entry of the log, once. */
    const char *when;
    void (*then)(struct vst_talk *talk);
};

/* With a fake that greets so; see vst_fake_qmp_new(). */
void vst_talk_begin(struct vst_talk *talk, const char *greeting);
/* With the usual one, and as far as ready(), which is not in the log any more. */
void vst_talk_begin_ready(struct vst_talk *talk);
/* With another monitor, at the other end of `fd`. */
void vst_talk_begin_on(struct vst_talk *talk, int fd);
/* Nothing may come any more. Frees everything. */
void vst_talk_end(struct vst_talk *talk);

/* Sends a command without arguments; its sender, for the error. */
struct vst_talk_ask *vst_talk_ask(struct vst_talk *talk, const char *command);
struct vst_talk_ask *vst_talk_ask_within(struct vst_talk *talk, const char *command,
                                         double seconds);
/* The same in two parts, for commands with arguments: the second is vst_qmp_send(). */
struct vst_qmp_reply vst_talk_reply(struct vst_talk *talk, const char *command);

void vst_talk_note(struct vst_talk *talk, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Runs the loop until the log ends like this. */
void vst_talk_until(struct vst_talk *talk, const char *end);
/* Runs the loop until whatever is under way has come. */
void vst_talk_settle(struct vst_talk *talk);

#endif
