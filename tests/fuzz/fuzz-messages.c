/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control messages: the first byte says what the body is to be taken for; errors always are one.
 */
#include <stdlib.h>

#include "core/buffer.h"
#include "remote/message.h"
#include "replay.h"

static void take_call(const char *body, size_t length)
{
    union vst_arguments arguments;
    struct vst_error err = {0};
    struct vst_call call;

    if (vst_call_parse(body, length, &call, &err) < 0) {
        FUZZ_CHECK(vst_error_is_set(&err));
        return;
    }
    FUZZ_CHECK(call.procedure < VST_PROCEDURE_COUNT);
    if (vst_call_get_arguments(&call, &arguments, &err) == 0)
        vst_arguments_clear(call.procedure, &arguments);
    vst_call_clear(&call);
}

static void take_reply(enum vst_procedure procedure, const char *body, size_t length)
{
    union vst_results results;
    struct vst_error err = {0};

    if (vst_reply_parse(procedure, body, length, &results, &err) == 0)
        vst_results_clear(procedure, &results);
    else
        FUZZ_CHECK(vst_error_is_set(&err));
}

static void take_event(const char *body, size_t length)
{
    struct vst_event_text text;
    struct vst_event event;
    struct vst_error err = {0};

    if (vst_event_parse(body, length, &text, &event, &err) == 0)
        vst_event_text_clear(&text);
    else
        FUZZ_CHECK(vst_error_is_set(&err));
}

/* What is taken for an error is printed within bounds, and taken for the same again. */
static void take_error(const char *body, size_t length)
{
    char text[VST_ERROR_BODY_MAX];
    struct vst_error err, again;

    vst_error_parse(body, length, &err);
    FUZZ_CHECK(err.code != VST_ERR_OK);
    length = vst_error_print(&err, text);
    FUZZ_CHECK(length < sizeof(text));
    vst_error_parse(text, length, &again);
    FUZZ_CHECK(again.code == err.code && again.system == err.system);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *body = (const char *)data + 1;

    if (!size)
        return 0;
    switch (data[0] % 4) {
    case 0:
        take_call(body, size - 1);
        break;
    case 1:
        take_reply((enum vst_procedure)(data[0] / 4 % VST_PROCEDURE_COUNT), body, size - 1);
        break;
    case 2:
        take_event(body, size - 1);
        break;
    default:
        take_error(body, size - 1);
    }
    return 0;
}
