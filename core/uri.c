/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connection URIs. libevent splits and decodes; this file does so with the parameters one by one,
 * and names what is wrong.
 */
#include "uri.h"

#include <errno.h>
#include <event2/http.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "size.h"

static int split_scheme(struct vst_uri *uri, const char *scheme)
{
    const char *plus = strchr(scheme, '+');

    uri->driver = plus ? strndup(scheme, (size_t)(plus - scheme)) : strdup(scheme);
    uri->transport = plus ? strdup(plus + 1) : NULL;
    return uri->driver && (!plus || uri->transport) ? 0 : -1;
}

/* libevent says no more than that it failed; but running out of memory leaves its number. */
static int complain(const char *text, const char *complaint, struct vst_error *ret_err)
{
    if (errno == ENOMEM)
        return vst_error_no_memory(ret_err);
    return vst_error_set(ret_err, VST_ERR_INVALID, "`%s`%s", text, complaint);
}

/* What libevent reads as a whole takes `+` for a blank, as in forms; in the name of a file it is
 * one of its letters. NULL: has a zero byte, or no memory. */
static char *decode(const char *text)
{
    size_t length;
    char *decoded = evhttp_uridecode(text, 0, &length);

    if (decoded && strlen(decoded) == length)
        return decoded;
    free(decoded);
    return NULL;
}

/* `pair` is written into. */
static int add_parameter(struct vst_uri *uri, char *pair, struct vst_error *ret_err)
{
    char *value = strchr(pair, '='), *name;
    int result = -1;

    if (!value)
        return complain(uri->text, ": what follows `?` must be NAME=VALUE, with `&` between",
                        ret_err);
    *value++ = '\0';
    name = decode(pair);
    value = decode(value);
    if (name && evhttp_find_header(&uri->parameters, name))
        vst_error_set(ret_err, VST_ERR_INVALID, "`%s`: %s is given twice", uri->text, name);
    else if (!name || !value || evhttp_add_header(&uri->parameters, name, value) < 0)
        complain(uri->text, ": the part after `?` cannot be read", ret_err);
    else
        result = 0;
    free(name);
    free(value);
    return result;
}

static int read_query(struct vst_uri *uri, const char *query, struct vst_error *ret_err)
{
    char *copy = strdup(query), *state, *pair;
    int result = 0;

    if (!copy)
        return vst_error_no_memory(ret_err);
    for (pair = strtok_r(copy, "&", &state); pair && result == 0;
         pair = strtok_r(NULL, "&", &state))
        result = add_parameter(uri, pair, ret_err);
    free(copy);
    return result;
}

static int fill(struct vst_uri *uri, const char *text, struct vst_error *ret_err)
{
    const char *query, *scheme;

    uri->text = strdup(text);
    if (!uri->text)
        return vst_error_no_memory(ret_err);
    errno = 0;
    uri->parts = evhttp_uri_parse(text);
    scheme = uri->parts ? evhttp_uri_get_scheme(uri->parts) : NULL;
    if (!scheme || !strstr(text, "://"))
        return complain(text, " is not a connection URI; one looks like qemu:///", ret_err);
    if (split_scheme(uri, scheme) < 0)
        return vst_error_no_memory(ret_err);
    if (evhttp_uri_get_fragment(uri->parts))
        return complain(text, ": a `#` in a name is written as %23", ret_err);
    query = evhttp_uri_get_query(uri->parts);
    if (query && read_query(uri, query, ret_err) < 0)
        return -1;
    uri->user = evhttp_uri_get_userinfo(uri->parts);
    uri->host = evhttp_uri_get_host(uri->parts);
    if (uri->host && !*uri->host)
        uri->host = NULL;
    uri->port = evhttp_uri_get_port(uri->parts);
    uri->path = evhttp_uri_get_path(uri->parts);
    return 0;
}

int vst_uri_parse(const char *text, struct vst_uri **ret_uri, struct vst_error *ret_err)
{
    struct vst_uri *uri = calloc(1, sizeof(*uri));

    if (!uri)
        return vst_error_no_memory(ret_err);
    TAILQ_INIT(&uri->parameters);
    if (fill(uri, text, ret_err) < 0) {
        vst_uri_free(&uri);
        return -1;
    }
    *ret_uri = uri;
    return 0;
}

void vst_uri_free(struct vst_uri **slot)
{
    struct vst_uri *uri = *slot;

    *slot = NULL;
    if (!uri)
        return;
    evhttp_clear_headers(&uri->parameters);
    if (uri->parts)
        evhttp_uri_free(uri->parts);
    free(uri->text);
    free(uri->driver);
    free(uri->transport);
    free(uri);
}

const char *vst_uri_get(const struct vst_uri *uri, const char *name)
{
    return evhttp_find_header(&uri->parameters, name);
}

static bool is_listed(const char *name, const char *const *list)
{
    for (; *list; list++) {
        size_t length = strlen(*list);

        if ((*list)[length - 1] == '.' ? strncmp(name, *list, length) == 0
                                       : strcmp(name, *list) == 0)
            return true;
    }
    return false;
}

int vst_uri_check(const struct vst_uri *uri, const char *const *allowed, struct vst_error *ret_err)
{
    const struct evkeyval *pair;

    for (pair = uri->parameters.tqh_first; pair; pair = pair->next.tqe_next)
        if (!is_listed(pair->key, allowed))
            return vst_error_set(ret_err, VST_ERR_INVALID, "%s: no such parameter: `%s`", uri->text,
                                 pair->key);
    return 0;
}

int vst_uri_get_size(const struct vst_uri *uri, const char *name, uint64_t fallback,
                     uint64_t *ret_size, struct vst_error *ret_err)
{
    const char *value = vst_uri_get(uri, name);

    if (!value) {
        *ret_size = fallback;
        return 0;
    }
    if (vst_size_parse(value, ret_size) < 0)
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: %s=%s is not a size such as 64MiB",
                             uri->text, name, value);
    return 0;
}
