/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is said of migrations: the wishes of whoever asks for one, what is told of those there are,
 * and the messages of hosts to each other. Structs to JSON and back.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "message-table.h"

/* ---- migrate ---- */

static const char *const thens[] = {
    [VST_MIGRATE_THEN_ABORT] = "abort",
    [VST_MIGRATE_THEN_SUSPEND] = "suspend",
    [VST_MIGRATE_THEN_POST_COPY] = "post-copy",
    NULL,
};

static const struct vst_json_member migrate_arguments_members[] = {
    NEEDED(vst_migrate_arguments, "name", name),
    NEEDED(vst_migrate_arguments, "destination", destination),
    STRING(vst_migrate_arguments, "new-name", new_name),
    FLAG(vst_migrate_arguments, "check", check),
    FLAG(vst_migrate_arguments, "offline", offline),
    FLAG(vst_migrate_arguments, "keep-source", keep_source),
    FLAG(vst_migrate_arguments, "auto-converge", auto_converge),
    FLAG(vst_migrate_arguments, "post-copy", post_copy),
    FLAG(vst_migrate_arguments, "copy-disks", copy_disks),
    NUMBER(vst_migrate_arguments, "post-copy-after", post_copy_after, UINT32_MAX),
    NUMBER(vst_migrate_arguments, "downtime-ms", downtime_ms, UINT32_MAX),
    NUMBER(vst_migrate_arguments, "timeout-seconds", timeout_seconds, UINT32_MAX),
    {"then", VST_JSON_STRING, .otherwise = "abort", .choices = thens,
     .offset = offsetof(struct vst_migrate_arguments, then)},
    NUMBER(vst_migrate_arguments, "zstd-level", zstd_level, INT32_MAX),
    NUMBER(vst_migrate_arguments, "stall-seconds", stall_seconds, UINT32_MAX),
    NUMBER(vst_migrate_arguments, "bandwidth", bandwidth, UINT64_MAX),
};
const struct vst_json_table vst_migrate_arguments_table = TABLE(migrate_arguments);

void vst_migrate_arguments_set(const char *name, const char *destination,
                               const struct vst_migrate_options *opt, bool check,
                               struct vst_migrate_arguments *ret_arguments)
{
    *ret_arguments = (struct vst_migrate_arguments){
        .name = (char *)name,
        .destination = (char *)destination,
        .new_name = (char *)opt->name,
        .check = check,
        .offline = opt->offline,
        .keep_source = opt->keep_source,
        .auto_converge = opt->auto_converge,
        .post_copy = opt->post_copy,
        .copy_disks = opt->copy_disks,
        .post_copy_after = opt->post_copy_after,
        .downtime_ms = opt->downtime_ms,
        .timeout_seconds = opt->timeout_seconds,
        .then = (char *)thens[opt->then],
        .zstd_level = (uint64_t)opt->zstd_level,
        .stall_seconds = opt->stall_seconds,
        .bandwidth = opt->bandwidth,
    };
}

void vst_migrate_arguments_get(const struct vst_migrate_arguments *arguments,
                               struct vst_migrate_options *ret_opt)
{
    *ret_opt = (struct vst_migrate_options){
        .name = arguments->new_name,
        .offline = arguments->offline,
        .keep_source = arguments->keep_source,
        .auto_converge = arguments->auto_converge,
        .post_copy = arguments->post_copy,
        .copy_disks = arguments->copy_disks,
        .post_copy_after = (unsigned)arguments->post_copy_after,
        .downtime_ms = (unsigned)arguments->downtime_ms,
        .timeout_seconds = (unsigned)arguments->timeout_seconds,
        .then = (enum vst_migrate_then)vst_message_find(arguments->then, thens),
        .zstd_level = (int)arguments->zstd_level,
        .stall_seconds = (unsigned)arguments->stall_seconds,
        .bandwidth = arguments->bandwidth,
    };
}

/* ---- migration-order ---- */

static const char *const orders[] = {
    [VST_MIGRATION_CANCEL] = "cancel",
    [VST_MIGRATION_RUNS_ON_SOURCE] = "guest-runs-on-source",
    [VST_MIGRATION_RUNS_ON_DESTINATION] = "guest-runs-on-destination",
    [VST_MIGRATION_SET] = "set",
    [VST_MIGRATION_GO_POST_COPY] = "post-copy",
    [VST_MIGRATION_FORGET] = "forget",
    NULL,
};

static const struct vst_json_member order_arguments_members[] = {
    TOKEN(vst_order_arguments, "token", token),
    {"order", VST_JSON_STRING, .required = true, .choices = orders,
     .offset = offsetof(struct vst_order_arguments, order)},
    NUMBER(vst_order_arguments, "bandwidth", bandwidth, UINT64_MAX),
    NUMBER(vst_order_arguments, "downtime-ms", downtime_ms, UINT32_MAX),
};
const struct vst_json_table vst_order_arguments_table = TABLE(order_arguments);

void vst_order_arguments_set(const char *token, enum vst_migration_order order,
                             const struct vst_migration_change *change,
                             struct vst_order_arguments *ret_arguments)
{
    *ret_arguments = (struct vst_order_arguments){
        .token = (char *)token,
        .order = (char *)orders[order],
        .bandwidth = change ? change->bandwidth : 0,
        .downtime_ms = change ? change->downtime_ms : 0,
    };
}

void vst_order_arguments_get(const struct vst_order_arguments *arguments,
                             enum vst_migration_order *ret_order,
                             struct vst_migration_change *ret_change)
{
    *ret_order = (enum vst_migration_order)vst_message_find(arguments->order, orders);
    *ret_change = (struct vst_migration_change){
        .bandwidth = arguments->bandwidth,
        .downtime_ms = (unsigned)arguments->downtime_ms,
    };
}

/* ---- migrate-message, its answer, and migrate-stream ---- */

enum vst_handover_event vst_message_event(const char *name)
{
    int event = VST_HANDOVER_FIRST_MESSAGE;

    while (event <= VST_HANDOVER_LAST_MESSAGE &&
           strcmp(vst_handover_event_name((enum vst_handover_event)event), name) != 0)
        event++;
    return (enum vst_handover_event)event;
}

const char *vst_message_check_question(const char *text)
{
    return vst_message_event(text) <= VST_HANDOVER_LAST_OF_SOURCE
               ? NULL
               : "must be a message of the source";
}

const char *vst_message_check_answer(const char *text)
{
    enum vst_handover_event event = vst_message_event(text);

    return event > VST_HANDOVER_LAST_OF_SOURCE && event <= VST_HANDOVER_LAST_MESSAGE
               ? NULL
               : "must be a message of the destination";
}

static const struct vst_json_member handover_arguments_members[] = {
    TOKEN(vst_handover_arguments, "token", token),
    TOKEN(vst_handover_arguments, "host", host),
    {"event", VST_JSON_STRING, .required = true, .check = vst_message_check_question,
     .offset = offsetof(struct vst_handover_arguments, event)},
    FLAG(vst_handover_arguments, "check", check),
    FLAG(vst_handover_arguments, "no-args", no_args),
    STRING(vst_handover_arguments, "offer", offer),
};
const struct vst_json_table vst_handover_arguments_table = TABLE(handover_arguments);

static const struct vst_json_member incoming_arguments_members[] = {
    TOKEN(vst_incoming_arguments, "token", token),
    STRING(vst_incoming_arguments, "part", part),
};
const struct vst_json_table vst_incoming_arguments_table = TABLE(incoming_arguments);

static const struct vst_json_member answer_result_members[] = {
    TOKEN(vst_answer_result, "token", token),
    TOKEN(vst_answer_result, "host", host),
    {"event", VST_JSON_STRING, .required = true, .check = vst_message_check_answer,
     .offset = offsetof(struct vst_answer_result, event)},
    STRING(vst_answer_result, "text", text),
};
const struct vst_json_table vst_answer_result_table = TABLE(answer_result);

void vst_handover_arguments_set(const struct vst_migrate_message *message,
                                struct vst_handover_arguments *ret_arguments)
{
    *ret_arguments = (struct vst_handover_arguments){
        .token = (char *)message->token,
        .host = (char *)message->host,
        .event = (char *)vst_handover_event_name(message->event),
        .check = message->check,
        .no_args = message->no_args,
        .offer = (char *)message->offer,
    };
}

void vst_handover_arguments_get(const struct vst_handover_arguments *arguments,
                                struct vst_migrate_message *ret_message)
{
    *ret_message = (struct vst_migrate_message){
        .event = vst_message_event(arguments->event),
        .check = arguments->check,
        .no_args = arguments->no_args,
        .offer = arguments->offer,
    };
    snprintf(ret_message->token, sizeof(ret_message->token), "%s", arguments->token);
    snprintf(ret_message->host, sizeof(ret_message->host), "%s", arguments->host);
}

char *vst_answer_print(const struct vst_migrate_message *answer, struct vst_error *ret_err)
{
    const struct vst_answer_result result = {
        .token = (char *)answer->token,
        .host = (char *)answer->host,
        .event = (char *)vst_handover_event_name(answer->event),
        .text = (char *)answer->text,
    };

    return vst_reply_print(VST_PROCEDURE_MIGRATE_MESSAGE, &(union vst_results){.answer = result},
                           ret_err);
}

void vst_answer_get(struct vst_answer_result *result, struct vst_migrate_message *ret_answer)
{
    if (result->text)
        vst_message_clean(result->text, strlen(result->text) + 1, result->text);
    *ret_answer = (struct vst_migrate_message){
        .event = vst_message_event(result->event),
        .text = result->text,
    };
    snprintf(ret_answer->token, sizeof(ret_answer->token), "%s", result->token);
    snprintf(ret_answer->host, sizeof(ret_answer->host), "%s", result->host);
}

/* ---- migrations ---- */

struct vst_migration_text {
    char *token;
    char *name;
    char *role;
    char *peer;
    char *phase;
    bool in_doubt;
    bool over;
    char *outcome;
    char *reason;
    char *verdict;
    uint64_t since, pass, total, sent, left, rate, dirty_rate, downtime_ms;
};

static const char *const roles[] = {
    [VST_MIGRATION_OUT] = "out",
    [VST_MIGRATION_IN] = "in",
    NULL,
};

#define NAME_OF(id, name) name,
static const char *const outcomes[] = {VST_MIGRATION_OUTCOMES(NAME_OF) NULL};
static const char *const phases[] = {VST_MIGRATION_PHASES(NAME_OF) NULL};
#undef NAME_OF

#define COUNT(name, member, most) NUMBER(vst_migration_text, name, member, most)
#define WORDS(name, member)                                                          \
    {                                                                                \
        name, VST_JSON_STRING, .otherwise = "",                                      \
                               .offset = offsetof(struct vst_migration_text, member) \
    }

static const struct vst_json_member migration_text_members[] = {
    TOKEN(vst_migration_text, "token", token),
    DOMAIN_NAME(vst_migration_text, name),
    {"role", VST_JSON_STRING, .required = true, .choices = roles,
     .offset = offsetof(struct vst_migration_text, role)},
    WORDS("peer", peer),
    {"phase", VST_JSON_STRING, .required = true, .choices = phases,
     .offset = offsetof(struct vst_migration_text, phase)},
    FLAG(vst_migration_text, "in-doubt", in_doubt),
    FLAG(vst_migration_text, "over", over),
    {"outcome", VST_JSON_STRING, .otherwise = "", .choices = outcomes,
     .offset = offsetof(struct vst_migration_text, outcome)},
    WORDS("reason", reason),
    WORDS("verdict", verdict),
    COUNT("since", since, INT64_MAX),
    COUNT("pass", pass, UINT_MAX),
    COUNT("total", total, UINT64_MAX),
    COUNT("sent", sent, UINT64_MAX),
    COUNT("left", left, UINT64_MAX),
    COUNT("rate", rate, UINT64_MAX),
    COUNT("dirty-rate", dirty_rate, UINT64_MAX),
    COUNT("downtime-ms", downtime_ms, UINT_MAX),
};
const struct vst_json_table vst_migration_text_table = TABLE(migration_text);

/* Nothing is copied. */
static void show(const void *entry, void *ret_text)
{
    const struct vst_migration_info *info = entry;

    *(struct vst_migration_text *)ret_text = (struct vst_migration_text){
        .token = (char *)info->token,
        .name = (char *)info->name,
        .role = (char *)roles[info->role],
        .peer = (char *)info->peer,
        .phase = (char *)vst_migration_phase_name(info->phase),
        .in_doubt = info->in_doubt,
        .over = info->over,
        .outcome = (char *)vst_migration_outcome_name(info->outcome),
        .reason = (char *)info->reason,
        .verdict = (char *)info->verdict,
        .since = info->since < 0 ? 0 : (uint64_t)info->since,
        .pass = info->pass,
        .total = info->total,
        .sent = info->sent,
        .left = info->left,
        .rate = info->rate,
        .dirty_rate = info->dirty_rate,
        .downtime_ms = info->downtime_ms,
    };
}

#define CLEAN(into, from) vst_message_clean(into, sizeof(into), from)

static int read_info(const void *from, void *ret_entry, struct vst_error *ret_err)
{
    const struct vst_migration_text *text = from;
    struct vst_migration_info *info = ret_entry;

    (void)ret_err;
    *info = (struct vst_migration_info){
        .role = (enum vst_migration_role)vst_message_find(text->role, roles),
        .in_doubt = text->in_doubt,
        .over = text->over,
        .phase = (enum vst_migration_phase)vst_message_find(text->phase, phases),
        .outcome = (enum vst_migration_outcome)vst_message_find(text->outcome, outcomes),
        .since = (int64_t)text->since,
        .pass = (unsigned)text->pass,
        .total = text->total,
        .sent = text->sent,
        .left = text->left,
        .rate = text->rate,
        .dirty_rate = text->dirty_rate,
        .downtime_ms = (unsigned)text->downtime_ms,
    };
    CLEAN(info->token, text->token);
    CLEAN(info->name, text->name);
    CLEAN(info->peer, text->peer);
    CLEAN(info->reason, text->reason);
    CLEAN(info->verdict, text->verdict);
    return 0;
}

const struct vst_listing vst_migration_listing = {
    .size = sizeof(struct vst_migration_info),
    .room = sizeof(struct vst_migration_text),
    .show = show,
    .read = read_info,
};
