/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connection URIs. libevent splits and decodes; this file names what is wrong.
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
    query = evhttp_uri_get_query(uri->parts);
    if (query && *query && evhttp_parse_query_str(query, &uri->parameters) < 0)
        return complain(text, ": the part after `?` cannot be read", ret_err);
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
