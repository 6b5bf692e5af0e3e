/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors as bodies of frames. Printing allocates nothing. What comes from a peer may end on
 * somebody's terminal: it is bounded, and nothing of it is a control sequence.
 */
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/utf8.h"
#include "message-private.h"

/* ---- printing ---- */

/* Room for an escaped member is always left: six bytes for each of vst_error's, and the names. */
_Static_assert(VST_ERROR_BODY_MAX > 6 * (sizeof(((struct vst_error *)0)->text) +
                                         sizeof(((struct vst_error *)0)->phase)) +
                                        256,
               "an error that is all escapes fits");

struct text {
    char *into;
    size_t length;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text->length += (size_t)vsnprintf(text->into + text->length, VST_ERROR_BODY_MAX - text->length,
                                      format, args);
    va_end(args);
}

static void put_string(struct text *text, const char *name, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;

    put(text, "%s\"%s\":\"", text->length > 1 ? "," : "", name);
    while (*at) {
        size_t length = vst_utf8_character((const char *)at);

        if (*at == '"' || *at == '\\')
            put(text, "\\%c", *at);
        else if (*at < ' ' || *at == 0x7f)
            put(text, "\\u%04x", *at);
        else if (length)
            put(text, "%.*s", (int)length, (const char *)at);
        else
            put(text, "?");
        at += length ? length : 1;
    }
    put(text, "\"");
}

size_t vst_error_print(const struct vst_error *err, char ret_body[VST_ERROR_BODY_MAX])
{
    struct text text = {ret_body, 0};

    put(&text, "{");
    put_string(&text, "code", vst_code_name(err->code));
    if (err->system > 0) /* the number of a library, which is below, means nothing over there */
        put(&text, ",\"system\":%d", err->system);
    if (err->side != VST_SIDE_NONE)
        put_string(&text, "side", vst_side_name(err->side));
    if (err->phase[0])
        put_string(&text, "phase", err->phase);
    put_string(&text, "text", err->text);
    put(&text, "}");
    return text.length;
}

/* ---- reading ---- */

struct error_text {
    char *code;
    char *side;
    char *phase;
    char *text;
    uint64_t system;
};

static const struct vst_json_member error_members[] = {
    {"code", VST_JSON_STRING, .required = true, .offset = offsetof(struct error_text, code)},
    {"system", VST_JSON_NUMBER, .offset = offsetof(struct error_text, system), .max = INT_MAX},
    {"side", VST_JSON_STRING, .otherwise = "", .offset = offsetof(struct error_text, side)},
    {"phase", VST_JSON_STRING, .otherwise = "", .offset = offsetof(struct error_text, phase)},
    {"text", VST_JSON_STRING, .required = true, .offset = offsetof(struct error_text, text)},
};

static const struct vst_json_table error_table = {VST_JSON_TABLE(error_members, error_text),
                                                  .open = true};

enum vst_code vst_message_code(const char *name)
{
    static const char *const names[] = {
#define NAME(id, text, exit, meaning) [VST_ERR_##id] = (text),
        VST_CODES(NAME)
#undef NAME
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return (enum vst_code)i;
    return VST_ERR_DRIVER;
}

static enum vst_side find_side(const char *name)
{
    for (int side = VST_SIDE_NONE; side <= VST_SIDE_QEMU; side++)
        if (strcmp(vst_side_name((enum vst_side)side), name) == 0)
            return (enum vst_side)side;
    return VST_SIDE_HOST;
}

/* As much as fits, whole characters only. The C1 controls are control sequences, too. */
void vst_message_clean(char *into, size_t size, const char *from)
{
    size_t used = 0;

    while (*from) {
        const unsigned char *at = (const unsigned char *)from;
        size_t length = vst_utf8_character((const char *)at);
        bool control = (at[0] < ' ' && at[0] != '\n') || at[0] == 0x7f ||
                       (at[0] == 0xc2 && at[1] < 0xa0) || !length;

        length = length ? length : 1;
        if (used + (control ? 1 : length) >= size)
            break;
        if (control)
            into[used++] = '?';
        for (size_t i = 0; !control && i < length; i++)
            into[used++] = from[i];
        from += length;
    }
    into[used] = '\0';
}

static int fill(const struct error_text *text, struct vst_error *ret_err)
{
    if (strcmp(text->code, vst_code_name(VST_ERR_OK)) == 0)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the peer's error says `ok`");
    ret_err->code = vst_message_code(text->code);
    ret_err->system = (int)text->system;
    ret_err->side = find_side(text->side);
    vst_message_clean(ret_err->phase, sizeof(ret_err->phase), text->phase);
    vst_message_clean(ret_err->text, sizeof(ret_err->text), text->text);
    return -1;
}

void vst_error_parse(const char *body, size_t length, struct vst_error *ret_err)
{
    const char *what = "the peer's error";
    struct error_text text = {0};
    struct json_object *object;

    *ret_err = (struct vst_error){0};
    object = vst_json_parse(body, length, VST_ERROR_BODY_MAX * 4, what, ret_err);
    if (object && vst_json_decode(&error_table, object, what, &text, ret_err) == 0)
        fill(&text, ret_err);
    else if (ret_err->code == VST_ERR_INVALID)
        ret_err->code = VST_ERR_PROTOCOL;
    vst_json_clear(&error_table, &text);
    json_object_put(object);
}

void vst_error_from_server(const char *body, size_t length, struct vst_error *ret_err)
{
    vst_error_parse(body, length, ret_err);
    if (ret_err->side == VST_SIDE_CLIENT)
        ret_err->side = VST_SIDE_HOST;
}
