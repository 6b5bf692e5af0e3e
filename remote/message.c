/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls, results and events as JSON: one table for each kind of body, and one row for each
 * procedure that says which tables are its own.
 */
#include "message-private.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "core/definition.h"
#include "core/uuid.h"
#include "frame.h"
#include "message-table.h"

const char *vst_message_check_name(const char *text)
{
    return vst_name_check(text, NULL) < 0 ? "must be the name of a domain" : NULL;
}

const char *vst_message_check_uuid(const char *text)
{
    unsigned char uuid[VST_UUID_BYTES];
    bool lower = !strpbrk(text, "ABCDEF"); /* they are compared as they stand */

    return vst_uuid_parse(text, uuid) == 0 && lower ? NULL : "must be a UUID";
}

int vst_message_find(const char *name, const char *const *list)
{
    int i = 0;

    while (list[i + 1] && strcmp(list[i], name) != 0)
        i++;
    return i;
}

/* ---- arguments ---- */

static const char *const control_names[] = {
    [VST_SUSPEND] = "suspend",
    [VST_RESUME] = "resume",
    [VST_SHUTDOWN] = "shutdown",
    [VST_DESTROY] = "destroy",
    NULL,
};

const char *vst_control_name(enum vst_control what)
{
    return control_names[what];
}

int vst_control_find(const char *name)
{
    for (int what = 0; control_names[what]; what++)
        if (strcmp(control_names[what], name) == 0)
            return what;
    return -1;
}

static const struct vst_json_member list_arguments_members[] = {
    STRING(vst_list_arguments, "pool", pool),
    STRING(vst_list_arguments, "after", after),
};
OPEN_TABLE(list_arguments);

static const struct vst_json_member name_arguments_members[] = {
    NEEDED(vst_name_arguments, "name", name),
};
OPEN_TABLE(name_arguments);

static const struct vst_json_member start_arguments_members[] = {
    NEEDED(vst_start_arguments, "definition", definition),
    FLAG(vst_start_arguments, "paused", paused),
    FLAG(vst_start_arguments, "no-args", no_args),
};
OPEN_TABLE(start_arguments);

static const struct vst_json_member control_arguments_members[] = {
    NEEDED(vst_control_arguments, "name", name),
    {"what", VST_JSON_STRING, .required = true, .choices = control_names,
     .offset = offsetof(struct vst_control_arguments, what)},
};
OPEN_TABLE(control_arguments);

static const struct vst_json_member save_arguments_members[] = {
    NEEDED(vst_save_arguments, "name", name),
    FLAG(vst_save_arguments, "live", live),
    FLAG(vst_save_arguments, "keep-running", keep_running),
    NUMBER(vst_save_arguments, "zstd-level", zstd_level, INT32_MAX),
    NUMBER(vst_save_arguments, "stall-seconds", stall_seconds, UINT32_MAX),
};
OPEN_TABLE(save_arguments);

static const struct vst_json_member restore_arguments_members[] = {
    STRING(vst_restore_arguments, "name", name),
    FLAG(vst_restore_arguments, "paused", paused),
    FLAG(vst_restore_arguments, "no-args", no_args),
    NUMBER(vst_restore_arguments, "stall-seconds", stall_seconds, UINT32_MAX),
};
OPEN_TABLE(restore_arguments);

#define VOLUME_LENGTH(kind)                                                          \
    {                                                                                \
        "length", VST_JSON_NUMBER, .offset = offsetof(struct kind, length),          \
                                   .max = VST_LENGTH_MOST, .absent = VST_LENGTH_NONE \
    }

static const struct vst_json_member upload_arguments_members[] = {
    NEEDED(vst_upload_arguments, "name", name),
    FLAG(vst_upload_arguments, "in-place", in_place),
    NUMBER(vst_upload_arguments, "offset", offset, UINT64_MAX),
    VOLUME_LENGTH(vst_upload_arguments),
    NUMBER(vst_upload_arguments, "stall-seconds", stall_seconds, UINT32_MAX),
};
OPEN_TABLE(upload_arguments);

static const struct vst_json_member download_arguments_members[] = {
    NEEDED(vst_download_arguments, "name", name),
    NUMBER(vst_download_arguments, "offset", offset, UINT64_MAX),
    VOLUME_LENGTH(vst_download_arguments),
    NUMBER(vst_download_arguments, "stall-seconds", stall_seconds, UINT32_MAX),
};
OPEN_TABLE(download_arguments);

/* ---- results ---- */

static const struct vst_json_member domain_result_members[] = {
    DOMAIN_NAME(vst_domain_result, name),
    DOMAIN_UUID(vst_domain_result, uuid),
};
OPEN_TABLE(domain_result);

static const struct vst_json_member stats_result_members[] = {
    NEEDED(vst_stats_result, "software", software),
    NEEDED(vst_stats_result, "identity", identity),
    NEEDED(vst_stats_result, "role", role),
    NUMBER(vst_stats_result, "uptime-seconds", uptime_seconds, UINT64_MAX),
    NUMBER(vst_stats_result, "clients", clients, UINT64_MAX),
    NUMBER(vst_stats_result, "calls", calls, UINT64_MAX),
    NUMBER(vst_stats_result, "streams", streams, UINT64_MAX),
    NUMBER(vst_stats_result, "received", received, UINT64_MAX),
    NUMBER(vst_stats_result, "sent", sent, UINT64_MAX),
};
const struct vst_json_table vst_stats_result_table = {
    VST_JSON_TABLE(stats_result_members, vst_stats_result), .open = true};

/* ---- which procedure has which; NULL: an empty object ---- */

static const struct {
    const struct vst_json_table *arguments;
    const struct vst_json_table *result;
} bodies[VST_PROCEDURE_COUNT] = {
    [VST_PROCEDURE_LIST] = {&list_arguments_table, &vst_domains_result_table},
    [VST_PROCEDURE_LOOKUP] = {&name_arguments_table, &domain_result_table},
    [VST_PROCEDURE_INFO] = {&name_arguments_table, &vst_domains_result_table},
    [VST_PROCEDURE_STATS] = {NULL, &vst_stats_result_table},
    [VST_PROCEDURE_SCREENSHOT] = {&name_arguments_table, NULL},
    [VST_PROCEDURE_START] = {&start_arguments_table, &domain_result_table},
    [VST_PROCEDURE_CONTROL] = {&control_arguments_table, NULL},
    [VST_PROCEDURE_CONSOLE] = {&name_arguments_table, NULL},
    [VST_PROCEDURE_SAVE] = {&save_arguments_table, NULL},
    [VST_PROCEDURE_RESTORE] = {&restore_arguments_table, &domain_result_table},
    [VST_PROCEDURE_VOLUMES] = {&list_arguments_table, &vst_volumes_result_table},
    [VST_PROCEDURE_VOLUME_UPLOAD] = {&upload_arguments_table, NULL},
    [VST_PROCEDURE_VOLUME_DOWNLOAD] = {&download_arguments_table, NULL},
    [VST_PROCEDURE_VOLUME_DELETE] = {&name_arguments_table, NULL},
    [VST_PROCEDURE_MIGRATE] = {&vst_migrate_arguments_table, NULL},
    [VST_PROCEDURE_MIGRATIONS] = {&list_arguments_table, &vst_migrations_result_table},
    [VST_PROCEDURE_MIGRATION_ORDER] = {&vst_order_arguments_table, NULL},
    [VST_PROCEDURE_MIGRATE_MESSAGE] = {&vst_handover_arguments_table, &vst_answer_result_table},
    [VST_PROCEDURE_MIGRATE_STREAM] = {&vst_incoming_arguments_table, NULL},
    [VST_PROCEDURE_RELAY_BEGIN] = {&vst_migrate_arguments_table, &vst_errand_result_table},
    [VST_PROCEDURE_RELAY_FETCH] = {&vst_fetch_arguments_table, &vst_errand_result_table},
    [VST_PROCEDURE_RELAY_ANSWER] = {&vst_relay_answer_arguments_table, NULL},
    [VST_PROCEDURE_RELAY_STREAM] = {&vst_incoming_arguments_table, NULL},
};

/* ---- bodies ---- */

static struct json_object *encode(const struct vst_json_table *table, const void *from,
                                  struct vst_error *ret_err)
{
    static const struct vst_json_table empty = {.open = true};

    return vst_json_encode(table ? table : &empty, from, ret_err);
}

/* Puts *value, which it takes, into the object. */
static int add(struct json_object *object, const char *name, struct json_object *value,
               struct vst_error *ret_err)
{
    return vst_json_add(object, name, value) < 0 ? vst_error_no_memory(ret_err) : 0;
}

static char *print(struct json_object *object, int built, struct vst_error *ret_err)
{
    char *text = NULL;

    if (object && built == 0)
        text = vst_json_print(object, ret_err);
    else
        vst_error_no_memory(ret_err);
    json_object_put(object);
    return text;
}

/* What the peer sent makes no sense: the fault is in it, not in an argument of the caller's. */
static int blame_peer(struct vst_error *err)
{
    if (err && err->code == VST_ERR_INVALID)
        err->code = VST_ERR_PROTOCOL;
    return -1;
}

/* ---- calls ---- */

static int find_procedure(const char *name)
{
    for (int i = 0; i < VST_PROCEDURE_COUNT; i++)
        if (strcmp(vst_procedures[i].name, name) == 0)
            return i;
    return -1;
}

struct vst_call_text { /* what is looked at first */
    char *procedure;
};

static const struct vst_json_member call_text_members[] = {
    NEEDED(vst_call_text, "procedure", procedure),
};
OPEN_TABLE(call_text);

int vst_call_parse(const char *body, size_t length, struct vst_call *ret_call,
                   struct vst_error *ret_err)
{
    struct json_object *object =
        vst_json_parse(body, length, VST_FRAME_CONTROL_MAX, "the call", ret_err);
    struct vst_call_text text = {0};
    int procedure = -1;

    if (object && vst_json_decode(&call_text_table, object, "the call", &text, ret_err) == 0) {
        procedure = find_procedure(text.procedure);
        if (procedure < 0)
            vst_error_set(ret_err, VST_ERR_UNSUPPORTED, "this server has no such procedure");
    } else {
        blame_peer(ret_err);
    }
    vst_json_clear(&call_text_table, &text);
    if (procedure < 0) {
        json_object_put(object);
        return -1;
    }
    *ret_call = (struct vst_call){(enum vst_procedure)procedure, object};
    return 0;
}

int vst_call_get_arguments(const struct vst_call *call, union vst_arguments *ret_arguments,
                           struct vst_error *ret_err)
{
    const struct vst_json_table *table = bodies[call->procedure].arguments;
    struct json_object *value;

    *ret_arguments = (union vst_arguments){0};
    if (!table)
        return 0;
    if (!json_object_object_get_ex(call->body, "arguments", &value))
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: arguments: missing",
                             vst_procedures[call->procedure].name);
    return vst_json_decode(table, value, vst_procedures[call->procedure].name, ret_arguments,
                           ret_err);
}

void vst_arguments_clear(enum vst_procedure procedure, union vst_arguments *arguments)
{
    if (bodies[procedure].arguments)
        vst_json_clear(bodies[procedure].arguments, arguments);
}

void vst_call_clear(struct vst_call *call)
{
    json_object_put(call->body);
    call->body = NULL;
}

char *vst_call_print(enum vst_procedure procedure, const union vst_arguments *arguments,
                     struct vst_error *ret_err)
{
    struct json_object *object = json_object_new_object();
    int built =
        add(object, "procedure", json_object_new_string(vst_procedures[procedure].name), ret_err);

    if (built == 0)
        built = add(object, "arguments", encode(bodies[procedure].arguments, arguments, ret_err),
                    ret_err);
    return print(object, built, ret_err);
}

/* ---- results ---- */

char *vst_reply_print(enum vst_procedure procedure, const union vst_results *result,
                      struct vst_error *ret_err)
{
    struct json_object *object = json_object_new_object();
    int built = add(object, "result", encode(bodies[procedure].result, result, ret_err), ret_err);

    return print(object, built, ret_err);
}

static int decode_result(enum vst_procedure procedure, struct json_object *object,
                         union vst_results *ret_result, struct vst_error *ret_err)
{
    const struct vst_json_table *table = bodies[procedure].result;
    struct json_object *value;

    if (!json_object_object_get_ex(object, "result", &value))
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the answer to %s: result: missing",
                             vst_procedures[procedure].name);
    if (!table)
        return 0;
    return vst_json_decode(table, value, "the result", ret_result, ret_err);
}

int vst_reply_parse(enum vst_procedure procedure, const char *body, size_t length,
                    union vst_results *ret_result, struct vst_error *ret_err)
{
    struct json_object *object =
        vst_json_parse(body, length, VST_FRAME_CONTROL_MAX, "the answer", ret_err);
    int status = -1;

    *ret_result = (union vst_results){0};
    if (object)
        status = decode_result(procedure, object, ret_result, ret_err);
    json_object_put(object);
    return status < 0 ? blame_peer(ret_err) : 0;
}

void vst_results_clear(enum vst_procedure procedure, union vst_results *result)
{
    if (bodies[procedure].result)
        vst_json_clear(bodies[procedure].result, result);
}

/* ---- STARTED ---- */

struct vst_started_text {
    uint64_t total;
    char *token;
};

static const struct vst_json_member started_text_members[] = {
    NUMBER(vst_started_text, "total", total, INT64_MAX),
    {"token", VST_JSON_STRING, .check = vst_message_check_uuid,
     .offset = offsetof(struct vst_started_text, token)},
};
OPEN_TABLE(started_text);

void vst_started_print(const struct vst_started *started, char ret_body[VST_STARTED_MAX])
{
    if (started->token[0])
        snprintf(ret_body, VST_STARTED_MAX, "{\"token\":\"%s\"}", started->token);
    else
        snprintf(ret_body, VST_STARTED_MAX, started->total ? "{\"total\":%" PRIu64 "}" : "{}",
                 started->total);
}

int vst_started_parse(const char *body, size_t length, struct vst_started *ret_started,
                      struct vst_error *ret_err)
{
    struct json_object *object =
        vst_json_parse(body, length, VST_FRAME_GREETING_MAX, "STARTED", ret_err);
    struct vst_started_text text = {0};
    int status = -1;

    if (object)
        status = vst_json_decode(&started_text_table, object, "STARTED", &text, ret_err);
    json_object_put(object);
    if (status == 0) {
        *ret_started = (struct vst_started){.total = text.total};
        snprintf(ret_started->token, sizeof(ret_started->token), "%s",
                 text.token ? text.token : "");
    }
    vst_json_clear(&started_text_table, &text);
    return status < 0 ? blame_peer(ret_err) : 0;
}

/* ---- events ---- */

static const struct vst_json_member event_text_members[] = {
    NEEDED(vst_event_text, "event", kind),
    DOMAIN_NAME(vst_event_text, name),
    DOMAIN_UUID(vst_event_text, uuid),
    {"reason", VST_JSON_STRING, .otherwise = "", .offset = offsetof(struct vst_event_text, reason)},
};
OPEN_TABLE(event_text);

char *vst_event_print(const struct vst_event *event, struct vst_error *ret_err)
{
    char kind[16] = "";
    struct vst_event_text text = {kind, (char *)event->name, (char *)event->uuid,
                                  (char *)event->reason};
    struct json_object *object;

    strncpy(kind, vst_event_kind_name(event->kind), sizeof(kind) - 1);
    object = vst_json_encode(&event_text_table, &text, ret_err);
    return print(object, 0, ret_err);
}

static int find_event(const char *name)
{
    for (int kind = VST_EVENT_STARTED; kind <= VST_EVENT_CRASHED; kind++)
        if (strcmp(vst_event_kind_name((enum vst_event_kind)kind), name) == 0)
            return kind;
    return -1;
}

int vst_event_parse(const char *body, size_t length, struct vst_event_text *ret_text,
                    struct vst_event *ret_event, struct vst_error *ret_err)
{
    struct json_object *object =
        vst_json_parse(body, length, VST_FRAME_GREETING_MAX, "the event", ret_err);
    int status = -1;
    int kind;

    *ret_text = (struct vst_event_text){0};
    if (object)
        status = vst_json_decode(&event_text_table, object, "the event", ret_text, ret_err);
    json_object_put(object);
    if (status < 0)
        return blame_peer(ret_err);
    vst_message_clean(ret_text->reason, strlen(ret_text->reason) + 1, ret_text->reason);
    kind = find_event(ret_text->kind);
    if (kind < 0) {
        vst_event_text_clear(ret_text);
        return vst_error_set(ret_err, VST_ERR_UNSUPPORTED, "an event of an unknown kind");
    }
    *ret_event = (struct vst_event){(enum vst_event_kind)kind, ret_text->name, ret_text->uuid,
                                    ret_text->reason};
    return 0;
}

void vst_event_text_clear(struct vst_event_text *text)
{
    vst_json_clear(&event_text_table, text);
}
