/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QMP's lines: finding them, parsing them with json-c, and telling the four kinds apart. What a
 * message means for the conversation is not known here.
 */
#include "qmp-codec.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/trace.h"

enum { SHOWN_MAX = 120 }; /* bytes of a bad line that its error shows */

struct vst_qmp_codec {
    const char *label;
    size_t line_max;
    size_t searched; /* so many bytes at the front of the input hold no newline */
    struct json_tokener *tokener;
};

struct vst_qmp_codec *vst_qmp_codec_new(const char *label, size_t line_max,
                                        struct vst_error *ret_err)
{
    struct vst_qmp_codec *codec = calloc(1, sizeof(*codec));

    if (codec)
        codec->tokener = json_tokener_new_ex(VST_QMP_DEPTH_MAX);
    if (!codec || !codec->tokener) {
        free(codec);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    codec->label = label;
    codec->line_max = line_max;
    json_tokener_set_flags(codec->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    return codec;
}

void vst_qmp_codec_free(struct vst_qmp_codec **codec)
{
    if (!*codec)
        return;
    json_tokener_free((*codec)->tokener);
    free(*codec);
    *codec = NULL;
}

/* ---- JSON ---- */

/*
 * The object that fills the whole text. json-c has no code for running out of memory: it then says
 * success, and either gives nothing or stops before the end.
 */
static struct json_object *parse(struct vst_qmp_codec *codec, const char *text, size_t length,
                                 const char **ret_complaint)
{
    struct json_object *root;
    enum json_tokener_error error;

    json_tokener_reset(codec->tokener);
    root = json_tokener_parse_ex(codec->tokener, text, (int)length);
    error = json_tokener_get_error(codec->tokener);
    *ret_complaint = NULL;
    if (error == json_tokener_continue)
        *ret_complaint = "it ends too early";
    else if (error != json_tokener_success)
        *ret_complaint = json_tokener_error_desc(error);
    else if (memchr(text, '\0', length))
        *ret_complaint = "a zero byte";
    else if (json_tokener_get_parse_end(codec->tokener) == length &&
             !json_object_is_type(root, json_type_object))
        *ret_complaint = "not an object";
    else if (json_tokener_get_parse_end(codec->tokener) == length)
        return root;
    json_object_put(root);
    return NULL;
}

/* The member, or NULL if it is not there or is of another type. */
static struct json_object *member(struct json_object *object, const char *name, enum json_type type)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, type))
        return NULL;
    return value;
}

/* ---- the four kinds; each returns NULL, or what is wrong ---- */

static const char *read_id(struct json_object *root, struct vst_qmp_message *message)
{
    struct json_object *id = member(root, "id", json_type_int);

    if (!id)
        return json_object_object_get_ex(root, "id", NULL) ? "the id is not a number" : NULL;
    message->id = json_object_get_int64(id);
    return message->id > 0 ? NULL : "the id is not positive";
}

static const char *read_greeting(struct json_object *root, struct vst_qmp_message *message)
{
    struct json_object *qmp = member(root, "QMP", json_type_object);
    struct json_object *version = qmp ? member(qmp, "version", json_type_object) : NULL;

    message->body = version ? member(version, "qemu", json_type_object) : NULL;
    return message->body ? NULL : "a greeting without a version";
}

static const char *read_return(struct json_object *root, struct vst_qmp_message *message)
{
    json_object_object_get_ex(root, "return", &message->body);
    return read_id(root, message);
}

static const char *read_error(struct json_object *root, struct vst_qmp_message *message)
{
    struct json_object *error = member(root, "error", json_type_object);

    message->name = error ? vst_json_string(error, "class") : NULL;
    message->text = error ? vst_json_string(error, "desc") : NULL;
    if (!message->name || !message->text)
        return "an error without class and desc";
    return read_id(root, message);
}

static const char *read_event(struct json_object *root, struct vst_qmp_message *message)
{
    struct json_object *time = member(root, "timestamp", json_type_object);
    struct json_object *s = time ? member(time, "seconds", json_type_int) : NULL;
    struct json_object *us = time ? member(time, "microseconds", json_type_int) : NULL;

    message->name = vst_json_string(root, "event");
    message->body = member(root, "data", json_type_object);
    if (!message->name || !s || !us)
        return "an event without name and time";
    if (!message->body && json_object_object_get_ex(root, "data", NULL))
        return "an event whose data is not an object";
    /* QEMU says -1 in both when its host's clock fails. */
    message->seconds = -1;
    if (json_object_get_int64(s) >= 0)
        message->seconds =
            (double)json_object_get_int64(s) + (double)json_object_get_int64(us) / 1e6;
    return NULL;
}

static const struct {
    const char *member;
    const char *(*read)(struct json_object *root, struct vst_qmp_message *message);
} kinds[] = {
    [VST_QMP_GREETING] = {"QMP", read_greeting},
    [VST_QMP_RETURN] = {"return", read_return},
    [VST_QMP_ERROR] = {"error", read_error},
    [VST_QMP_EVENT] = {"event", read_event},
};

static const char *classify(struct json_object *root, struct vst_qmp_message *message)
{
    int found = -1;

    for (int kind = VST_QMP_GREETING; kind <= VST_QMP_EVENT; kind++) {
        if (!json_object_object_get_ex(root, kinds[kind].member, NULL))
            continue;
        if (found >= 0)
            return "two kinds of message in one";
        found = kind;
    }
    if (found < 0)
        return "neither greeting nor reply nor event";
    message->kind = (enum vst_qmp_kind)found;
    message->root = root;
    return kinds[found].read(root, message);
}

/* ---- lines ---- */

/* 1: a line of *ret_length bytes and its newline are at the front of `in`. */
static int find_line(struct vst_qmp_codec *codec, struct evbuffer *in, size_t *ret_length,
                     struct vst_error *ret_err)
{
    struct evbuffer_ptr from;
    size_t there = evbuffer_get_length(in);

    if (there <= codec->searched)
        return 0;
    evbuffer_ptr_set(in, &from, codec->searched, EVBUFFER_PTR_SET);
    from = evbuffer_search_eol(in, &from, NULL, EVBUFFER_EOL_LF);
    codec->searched = from.pos < 0 ? there : (size_t)from.pos;
    if (codec->searched > codec->line_max)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "a line of more than %zu bytes",
                             codec->line_max);
    if (from.pos < 0)
        return 0;
    *ret_length = (size_t)from.pos;
    return 1;
}

/* What is shown must not reach a terminal as a control sequence. */
static int complain(const char *line, size_t length, const char *complaint,
                    struct vst_error *ret_err)
{
    char shown[SHOWN_MAX + 1];
    size_t n = 0;

    if (!complaint)
        return vst_error_no_memory(ret_err);
    for (; n < length && n < SHOWN_MAX; n++)
        shown[n] = line[n] < ' ' || line[n] > '~' ? '?' : line[n];
    shown[n] = '\0';
    return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s: %s%s", complaint, shown,
                         n < length ? "..." : "");
}

static int read_line(struct vst_qmp_codec *codec, const char *line, size_t length,
                     struct vst_qmp_message *ret_message, struct vst_error *ret_err)
{
    struct vst_qmp_message message = {0};
    struct json_object *root;
    const char *complaint;

    if (length > 0 && line[length - 1] == '\r')
        length--;
    vst_trace(VST_TRACE_QMP, "qmp %s <- %.*s", codec->label, (int)length, line);
    root = parse(codec, line, length, &complaint);
    if (!root)
        return complain(line, length, complaint, ret_err);
    complaint = classify(root, &message);
    if (complaint) {
        json_object_put(root);
        return complain(line, length, complaint, ret_err);
    }
    *ret_message = message;
    return 0;
}

int vst_qmp_codec_step(struct vst_qmp_codec *codec, struct evbuffer *in,
                       struct vst_qmp_message *ret_message, struct vst_error *ret_err)
{
    size_t length = 0;
    const char *line;
    int found = find_line(codec, in, &length, ret_err);

    if (found <= 0)
        return found;
    line = (const char *)evbuffer_pullup(in, (ev_ssize_t)length + 1);
    if (!line)
        return vst_error_no_memory(ret_err);
    if (read_line(codec, line, length, ret_message, ret_err) < 0)
        return -1;
    evbuffer_drain(in, length + 1);
    codec->searched = 0;
    return 1;
}

void vst_qmp_message_clear(struct vst_qmp_message *message)
{
    json_object_put(message->root);
    *message = (struct vst_qmp_message){0};
}

/* ---- commands ---- */

/*
 * json-c leaves bytes out, and says nothing, when memory runs out while it writes. A guest must
 * never be told something else than was meant: what was written is read back and compared.
 */
static int check_command(struct vst_qmp_codec *codec, const char *line, size_t length,
                         const char *command, struct json_object *arguments,
                         struct vst_error *ret_err)
{
    const char *complaint;
    struct json_object *root = parse(codec, line, length, &complaint), *written = NULL;
    int result = 0;

    if (root && arguments)
        json_object_object_get_ex(root, "arguments", &written);
    if (!root && complaint)
        result = vst_error_set(ret_err, VST_ERR_INVALID, "%s cannot be told to QEMU: %s", command,
                               complaint);
    else if (!root || !json_object_equal(arguments, written))
        result = vst_error_no_memory(ret_err);
    json_object_put(root);
    return result;
}

int vst_qmp_codec_encode(struct vst_qmp_codec *codec, const char *command,
                         struct json_object *arguments, int64_t id, char **ret_line,
                         size_t *ret_length, struct vst_error *ret_err)
{
    const char *text = "";
    char *line;
    int length;

    if (arguments)
        text = json_object_to_json_string_ext(arguments, JSON_C_TO_STRING_PLAIN |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE);
    if (!text)
        return vst_error_no_memory(ret_err);
    length = asprintf(&line, "{\"execute\":\"%s\"%s%s,\"id\":%lld}\n", command,
                      arguments ? ",\"arguments\":" : "", text, (long long)id);
    if (length < 0)
        return vst_error_no_memory(ret_err);
    if (length > VST_QMP_COMMAND_MAX) {
        free(line);
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: %d bytes, the most allowed is %d",
                             command, length, VST_QMP_COMMAND_MAX);
    }
    if (check_command(codec, line, (size_t)length, command, arguments, ret_err) < 0) {
        free(line);
        return -1;
    }
    *ret_line = line;
    *ret_length = (size_t)length;
    return 0;
}
