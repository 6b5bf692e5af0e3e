/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the configuration to the URIs that the daemon opens for itself. Pure.
 */
#include <ctype.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon-config.h"

/* RFC 3986; a slash may stand as it is. */
static int add_encoded(struct evbuffer *uri, const char *value)
{
    int status = 0;

    for (; *value && status >= 0; value++) {
        bool plain = isalnum((unsigned char)*value) || strchr("-._~/", *value);

        status = evbuffer_add_printf(uri, plain ? "%c" : "%%%02X", (unsigned char)*value);
    }
    return status;
}

static int add_parameter(struct evbuffer *uri, const char *prefix, const char *name,
                         const char *value)
{
    bool first = evbuffer_search(uri, "?", 1, NULL).pos < 0;

    if (!value)
        return 0;
    if (evbuffer_add_printf(uri, "%c%s%s=", first ? '?' : '&', prefix, name) < 0)
        return -1;
    return add_encoded(uri, value);
}

static int fill(struct evbuffer *uri, const struct vst_config *config, const char *given)
{
    if (evbuffer_add_printf(uri, "%s", given ? given : "qemu:///") < 0)
        return -1;
    if (!given && (add_parameter(uri, "", "root", config->root) < 0 ||
                   add_parameter(uri, "", "user", config->user) < 0))
        return -1;
    for (size_t i = 0; i < config->pool_count; i++)
        if (add_parameter(uri, "pool.", config->pools[i].name, config->pools[i].path) < 0)
            return -1;
    return evbuffer_add(uri, "", 1);
}

char *vst_config_uri(const struct vst_config *config, const char *given)
{
    struct evbuffer *uri = evbuffer_new();
    size_t length;
    char *text = NULL;

    if (uri && fill(uri, config, given) >= 0) {
        length = evbuffer_get_length(uri);
        text = malloc(length);
        if (text)
            evbuffer_remove(uri, text, length);
    }
    if (uri)
        evbuffer_free(uri);
    return text;
}
