/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The conversation and its log; see qmp-talk.h.
 */
#include "qmp-talk.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_MAX = 100 };

void vst_talk_note(struct vst_talk *talk, const char *format, ...)
{
    size_t used = strlen(talk->log);
    const char *entry = talk->log + used + (used > 0);
    va_list args;

    if (used > 0)
        talk->log[used++] = ' ';
    va_start(args, format);
    vsnprintf(talk->log + used, sizeof(talk->log) - used, format, args);
    va_end(args);
    if (talk->when && !strcmp(entry, talk->when)) {
        talk->when = NULL;
        talk->then(talk);
    }
}

static void on_ready(void *opaque, const char *version)
{
    vst_talk_note(opaque, "ready(%s)", version);
}

static void on_event(void *opaque, const char *name, struct json_object *data, double seconds)
{
    struct vst_talk *talk = opaque;

    assert_true(!data || json_object_is_type(data, json_type_object));
    assert_true(seconds > 1.5e9);
    talk->events++;
    if (strcmp(name, "UNLOGGED") != 0)
        vst_talk_note(talk, "%s", name);
}

static void on_closed(void *opaque, const struct vst_error *err)
{
    struct vst_talk *talk = opaque;

    assert_int_equal(talk->closed.code, VST_ERR_OK);
    assert_int_equal(err->side, VST_SIDE_QEMU);
    talk->closed = *err;
    vst_talk_note(talk, "closed(%s)", vst_code_name(err->code));
}

static void on_reply(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_talk_ask *ask = opaque;
    const char *text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);

    assert_true(!err || !value);
    assert_int_equal(ask->err.code, VST_ERR_OK);
    if (err) {
        assert_int_equal(err->side, VST_SIDE_QEMU);
        ask->err = *err;
        text = vst_code_name(err->code);
    } else if (strlen(text) > SHOWN_MAX) {
        assert_null(ask->value);
        ask->value = json_object_get(value);
        text = "...";
    }
    vst_talk_note(ask->talk, "%s=%s", ask->command, text);
}

struct vst_qmp_reply vst_talk_reply(struct vst_talk *talk, const char *command)
{
    struct vst_talk_ask *ask = &talk->asks[talk->asked++];

    assert_true(talk->asked < VST_TALK_ASKS_MAX);
    *ask = (struct vst_talk_ask){.talk = talk, .command = command};
    return (struct vst_qmp_reply){on_reply, ask};
}

struct vst_talk_ask *vst_talk_ask_within(struct vst_talk *talk, const char *command, double seconds)
{
    struct vst_qmp_reply reply = vst_talk_reply(talk, command);
    struct vst_error err = {0};

    assert_int_equal(vst_qmp_send(talk->qmp, command, NULL, NULL, seconds, reply, &err), 0);
    return reply.opaque;
}

struct vst_talk_ask *vst_talk_ask(struct vst_talk *talk, const char *command)
{
    return vst_talk_ask_within(talk, command, VST_QMP_SECONDS);
}

void vst_talk_until(struct vst_talk *talk, const char *end)
{
    for (;;) {
        size_t length = strlen(talk->log);

        if (length >= strlen(end) && !strcmp(talk->log + length - strlen(end), end))
            return;
        event_base_loop(talk->base, EVLOOP_ONCE);
    }
}

void vst_talk_settle(struct vst_talk *talk)
{
    for (int pass = 0; pass < 100; pass++)
        event_base_loop(talk->base, EVLOOP_NONBLOCK);
}

static void open_client(struct vst_talk *talk, int fd)
{
    static const struct vst_qmp_cb callbacks = {on_ready, on_event, on_closed};
    struct vst_error err = {0};

    talk->qmp = vst_qmp_new(talk->base, &fd, &callbacks, talk, &err);
    assert_non_null(talk->qmp);
    assert_int_equal(fd, -1);
}

void vst_talk_begin(struct vst_talk *talk, const char *greeting)
{
    int fd;

    *talk = (struct vst_talk){.base = event_base_new()};
    assert_non_null(talk->base);
    talk->fake = vst_fake_qmp_new(talk->base, greeting, &fd);
    open_client(talk, fd);
}

void vst_talk_begin_ready(struct vst_talk *talk)
{
    vst_talk_begin(talk, NULL);
    vst_talk_until(talk, "ready(7.2.22)");
    talk->log[0] = '\0';
}

void vst_talk_begin_on(struct vst_talk *talk, int fd)
{
    *talk = (struct vst_talk){.base = event_base_new()};
    assert_non_null(talk->base);
    open_client(talk, fd);
}

void vst_talk_end(struct vst_talk *talk)
{
    char log[sizeof(talk->log)];

    vst_talk_settle(talk);
    memcpy(log, talk->log, sizeof(log));
    vst_qmp_free(&talk->qmp);
    assert_null(talk->qmp);
    vst_talk_settle(talk);
    assert_string_equal(talk->log, log);
    for (unsigned i = 0; i < talk->asked; i++)
        json_object_put(talk->asks[i].value);
    if (talk->fake)
        vst_fake_qmp_free(&talk->fake);
    event_base_free(talk->base);
}
