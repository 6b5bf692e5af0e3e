/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a client that relays a migration and the source of it say to each other. Errors in it are
 * JSON in a string, as the body of an ERROR has them.
 */
#include <stdio.h>
#include <string.h>

#include "message-table.h"

#define HOST(kind)                                                     \
    {                                                                  \
        "host", VST_JSON_STRING, .check = vst_message_check_uuid,      \
                                 .offset = offsetof(struct kind, host) \
    }

/* ---- relay-fetch ---- */

static const struct vst_json_member fetch_arguments_members[] = {
    TOKEN(vst_fetch_arguments, "token", token),
    NUMBER(vst_fetch_arguments, "after", after, UINT64_MAX),
};
const struct vst_json_table vst_fetch_arguments_table = TABLE(fetch_arguments);

static const char *const errands[] = {
    [VST_ERRAND_NONE] = "none", [VST_ERRAND_ASK] = "ask",   [VST_ERRAND_CARRY] = "carry",
    [VST_ERRAND_TOLD] = "told", [VST_ERRAND_OVER] = "over", NULL,
};

static const struct vst_json_member errand_result_members[] = {
    TOKEN(vst_errand_result, "token", token),
    NUMBER(vst_errand_result, "number", number, UINT64_MAX),
    {"errand", VST_JSON_STRING, .required = true, .choices = errands,
     .offset = offsetof(struct vst_errand_result, errand)},
    STRING(vst_errand_result, "part", part),
    HOST(vst_errand_result),
    {"event", VST_JSON_STRING, .check = vst_message_check_question,
     .offset = offsetof(struct vst_errand_result, event)},
    FLAG(vst_errand_result, "check", check),
    STRING(vst_errand_result, "offer", offer),
    STRING(vst_errand_result, "error", error),
};
const struct vst_json_table vst_errand_result_table = TABLE(errand_result);

char *vst_errand_print(enum vst_procedure procedure, const struct vst_errand *errand,
                       struct vst_error *ret_err)
{
    const struct vst_migrate_message *message = &errand->message;
    bool asks = errand->kind == VST_ERRAND_ASK;
    char error[VST_ERROR_BODY_MAX];
    struct vst_errand_result result = {
        .token = (char *)errand->token,
        .number = errand->number,
        .errand = (char *)errands[errand->kind],
        .part = errand->part[0] ? (char *)errand->part : NULL,
        .host = asks ? (char *)message->host : NULL,
        .event = asks ? (char *)vst_handover_event_name(message->event) : NULL,
        .check = message->check,
        .offer = (char *)message->offer,
    };

    if (vst_error_is_set(&errand->err)) {
        vst_error_print(&errand->err, error);
        result.error = error;
    }
    return vst_reply_print(procedure, &(union vst_results){.errand = result}, ret_err);
}

void vst_errand_get(const struct vst_errand_result *result, struct vst_errand *ret_errand)
{
    struct vst_migrate_message *message = &ret_errand->message;

    *ret_errand = (struct vst_errand){.number = result->number};
    ret_errand->kind = (enum vst_errand_kind)vst_message_find(result->errand, errands);
    /* A question without its words is none. */
    if (ret_errand->kind == VST_ERRAND_ASK && (!result->host || !result->event))
        ret_errand->kind = VST_ERRAND_NONE;
    if (ret_errand->kind == VST_ERRAND_ASK)
        message->event = vst_message_event(result->event);
    message->check = result->check;
    message->offer = result->offer;
    snprintf(ret_errand->token, sizeof(ret_errand->token), "%s", result->token);
    snprintf(ret_errand->part, sizeof(ret_errand->part), "%s", result->part ? result->part : "");
    snprintf(message->host, sizeof(message->host), "%s", result->host ? result->host : "");
    if (result->error)
        vst_error_parse(result->error, strlen(result->error), &ret_errand->err);
}

/* ---- relay-answer ---- */

static const struct vst_json_member relay_answer_arguments_members[] = {
    TOKEN(vst_relay_answer_arguments, "token", token),
    NUMBER(vst_relay_answer_arguments, "number", number, UINT64_MAX),
    HOST(vst_relay_answer_arguments),
    {"event", VST_JSON_STRING, .check = vst_message_check_answer,
     .offset = offsetof(struct vst_relay_answer_arguments, event)},
    STRING(vst_relay_answer_arguments, "text", text),
    STRING(vst_relay_answer_arguments, "error", error),
};
const struct vst_json_table vst_relay_answer_arguments_table = TABLE(relay_answer_arguments);

void vst_relay_answer_set(const char *token, uint64_t number,
                          const struct vst_migrate_message *answer, const char *error,
                          struct vst_relay_answer_arguments *ret_arguments)
{
    *ret_arguments = (struct vst_relay_answer_arguments){
        .token = (char *)token,
        .number = number,
        .error = (char *)error,
    };
    if (!answer)
        return;
    ret_arguments->host = (char *)answer->host;
    ret_arguments->event = (char *)vst_handover_event_name(answer->event);
    ret_arguments->text = (char *)answer->text;
}

void vst_relay_answer_get(struct vst_relay_answer_arguments *arguments,
                          struct vst_migrate_message *ret_answer, struct vst_error *ret_err)
{
    *ret_answer = (struct vst_migrate_message){.text = arguments->text};
    if (arguments->error) {
        vst_error_parse(arguments->error, strlen(arguments->error), ret_err);
        return;
    }
    if (!arguments->event || !arguments->host) {
        vst_error_set(ret_err, VST_ERR_PROTOCOL, "relay-answer: neither an answer nor an error");
        return;
    }
    if (arguments->text)
        vst_message_clean(arguments->text, strlen(arguments->text) + 1, arguments->text);
    ret_answer->event = vst_message_event(arguments->event);
    snprintf(ret_answer->token, sizeof(ret_answer->token), "%s", arguments->token);
    snprintf(ret_answer->host, sizeof(ret_answer->host), "%s", arguments->host);
}
