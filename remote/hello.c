/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables of the greeting's bodies. What comes from a peer and may end in a log or on a terminal
 * is checked here: bounded, and without control characters.
 */
#include "hello.h"

#include <gnutls/gnutls.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "frame.h"

enum {
    SOFTWARE_MAX = 80,
    DRIVER_MAX = 32,
    MECHANISMS_MAX = 1024,
    USER_MAX = 256,
};

/* ---- checks ---- */

bool vst_text_is_plain(const char *text, size_t most)
{
    size_t n = 0;

    for (; text[n]; n++)
        if (n == most || (unsigned char)text[n] < ' ' || (unsigned char)text[n] > '~')
            return false;
    return n > 0;
}

static const char *check_software(const char *text)
{
    return vst_text_is_plain(text, SOFTWARE_MAX) ? NULL : "must be 1 to 80 printable characters";
}

static const char *check_driver(const char *text)
{
    if (vst_text_is_plain(text, DRIVER_MAX) && !strpbrk(text, " /"))
        return NULL;
    return "must be 1 to 32 printable characters without blanks";
}

static const char *check_user(const char *text)
{
    return vst_text_is_plain(text, USER_MAX) ? NULL : "must be 1 to 256 printable characters";
}

/* Names as RFC 4422 has them. */
static const char *check_mechanisms(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_ ";

    if (strlen(text) <= MECHANISMS_MAX && text[strspn(text, allowed)] == '\0')
        return NULL;
    return "must be names of SASL mechanisms with blanks between them";
}

static const char *check_mechanism(const char *text)
{
    return text[0] && !strchr(text, ' ') && !check_mechanisms(text)
               ? NULL
               : "must be the name of a SASL mechanism";
}

/* ---- tables ---- */

static const struct vst_json_member hello_members[] = {
    {"version", VST_JSON_NUMBER, .required = true, .offset = offsetof(struct vst_hello, version),
     .min = 1, .max = UINT32_MAX},
    {"oldest", VST_JSON_NUMBER, .offset = offsetof(struct vst_hello, oldest), .min = 1,
     .max = UINT32_MAX},
    {"software", VST_JSON_STRING, .required = true, .offset = offsetof(struct vst_hello, software),
     .check = check_software},
    {"driver", VST_JSON_STRING, .offset = offsetof(struct vst_hello, driver),
     .check = check_driver},
    {"window", VST_JSON_NUMBER, .required = true, .offset = offsetof(struct vst_hello, window),
     .min = VST_WINDOW_LEAST, .max = VST_WINDOW_MOST},
    {"streams", VST_JSON_NUMBER, .offset = offsetof(struct vst_hello, streams),
     .max = VST_STREAMS_MAX},
    {"mechanisms", VST_JSON_STRING, .offset = offsetof(struct vst_hello, mechanisms),
     .check = check_mechanisms},
};
static const struct vst_json_table hello_table = {VST_JSON_TABLE(hello_members, vst_hello),
                                                  .open = true};

struct auth_text {
    char *name;
    char *data;
};

static const struct vst_json_member start_members[] = {
    {"mechanism", VST_JSON_STRING, .required = true, .offset = offsetof(struct auth_text, name),
     .check = check_mechanism},
    {"data", VST_JSON_STRING, .offset = offsetof(struct auth_text, data)},
};
static const struct vst_json_table start_table = {VST_JSON_TABLE(start_members, auth_text),
                                                  .open = true};

static const struct vst_json_member done_members[] = {
    {"user", VST_JSON_STRING, .offset = offsetof(struct auth_text, name), .check = check_user},
    {"data", VST_JSON_STRING, .offset = offsetof(struct auth_text, data)},
};
static const struct vst_json_table done_table = {VST_JSON_TABLE(done_members, auth_text),
                                                 .open = true};

/* ---- bodies ---- */

static char *print(const struct vst_json_table *table, const void *from, struct vst_error *ret_err)
{
    struct json_object *object = vst_json_encode(table, from, ret_err);
    char *text = object ? vst_json_print(object, ret_err) : NULL;

    json_object_put(object);
    return text;
}

static int parse(const struct vst_json_table *table, const char *body, size_t length,
                 const char *what, void *into, struct vst_error *ret_err)
{
    struct vst_error err = {0};
    struct json_object *object = vst_json_parse(body, length, VST_FRAME_GREETING_MAX, what, &err);
    int result = object ? vst_json_decode(table, object, what, into, &err) : -1;

    json_object_put(object);
    if (err.code == VST_ERR_INVALID)
        err.code = VST_ERR_PROTOCOL;
    return result < 0 ? vst_error_copy(ret_err, &err) : 0;
}

char *vst_hello_print(const struct vst_hello *hello, struct vst_error *ret_err)
{
    return print(&hello_table, hello, ret_err);
}

int vst_hello_parse(const char *body, size_t length, struct vst_hello *ret_hello,
                    struct vst_error *ret_err)
{
    struct vst_hello hello = {0};

    if (parse(&hello_table, body, length, "HELLO", &hello, ret_err) < 0)
        return -1;
    *ret_hello = hello;
    return 0;
}

void vst_hello_clear(struct vst_hello *hello)
{
    vst_json_clear(&hello_table, hello);
}

/* ---- data as base64 ---- */

/* GnuTLS cannot do with nothing. */
static char *to_base64(const unsigned char *data, size_t length)
{
    const gnutls_datum_t plain = {(unsigned char *)data, (unsigned)length};
    gnutls_datum_t text;
    char *copy;

    if (length == 0)
        return strdup("");
    if (gnutls_base64_encode2(&plain, &text) < 0)
        return NULL;
    copy = strndup((const char *)text.data, text.size);
    gnutls_memset(text.data, 0, text.size);
    gnutls_free(text.data);
    return copy;
}

static int from_base64(const char *text, struct vst_auth *auth, const char *what,
                       struct vst_error *ret_err)
{
    const gnutls_datum_t coded = {(unsigned char *)text, (unsigned)strlen(text)};
    gnutls_datum_t plain = {NULL, 0};
    int result = coded.size ? gnutls_base64_decode2(&coded, &plain) : 0;

    if (result == GNUTLS_E_MEMORY_ERROR)
        return vst_error_no_memory(ret_err);
    if (result < 0)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s: data: must be base64", what);
    auth->data = malloc(plain.size + 1);
    if (auth->data && plain.size)
        memcpy(auth->data, plain.data, plain.size);
    auth->length = plain.size;
    if (plain.data) {
        gnutls_memset(plain.data, 0, plain.size);
        gnutls_free(plain.data);
    }
    return auth->data ? 0 : vst_error_no_memory(ret_err);
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
}

static char *print_auth(const struct vst_json_table *table, const struct vst_auth *auth,
                        struct vst_error *ret_err)
{
    struct auth_text text = {.name = auth->name};
    char *body = NULL;

    if (auth->data && !(text.data = to_base64(auth->data, auth->length)))
        vst_error_no_memory(ret_err);
    else
        body = print(table, &text, ret_err);
    wipe(text.data);
    free(text.data);
    return body;
}

static int parse_auth(const struct vst_json_table *table, const char *what, const char *body,
                      size_t length, struct vst_auth *ret_auth, struct vst_error *ret_err)
{
    struct vst_auth auth = {0};
    struct auth_text text = {0};
    int result;

    if (parse(table, body, length, what, &text, ret_err) < 0)
        return -1;
    result = text.data ? from_base64(text.data, &auth, what, ret_err) : 0;
    if (result == 0) {
        auth.name = text.name;
        text.name = NULL;
        *ret_auth = auth;
    }
    wipe(text.data);
    vst_json_clear(table, &text);
    return result;
}

char *vst_auth_start_print(const struct vst_auth *auth, struct vst_error *ret_err)
{
    return print_auth(&start_table, auth, ret_err);
}

char *vst_auth_done_print(const struct vst_auth *auth, struct vst_error *ret_err)
{
    return print_auth(&done_table, auth, ret_err);
}

int vst_auth_start_parse(const char *body, size_t length, struct vst_auth *ret_auth,
                         struct vst_error *ret_err)
{
    return parse_auth(&start_table, "AUTH_START", body, length, ret_auth, ret_err);
}

int vst_auth_done_parse(const char *body, size_t length, struct vst_auth *ret_auth,
                        struct vst_error *ret_err)
{
    return parse_auth(&done_table, "AUTH_DONE", body, length, ret_auth, ret_err);
}

void vst_auth_clear(struct vst_auth *auth)
{
    if (auth->data)
        explicit_bzero(auth->data, auth->length);
    free(auth->data);
    free(auth->name);
    *auth = (struct vst_auth){0};
}
