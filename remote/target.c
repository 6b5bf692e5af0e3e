/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading the URI of a remote connection: what is wrong with it is named before anything is done.
 */
#include "target.h"

#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum {
    KEEPALIVE = 5,
    KEEPALIVE_LEAST_MS = 250,
    TIMEOUT = 20,
    SECONDS_MAX = 24 * 3600,
    WINDOW_MIN = 64 * 1024,
    WINDOW_MAX = 64 * 1024 * 1024,
};

__attribute__((format(printf, 3, 4))) static int
complain(const struct vst_uri *uri, struct vst_error *ret_err, const char *format, ...)
{
    struct vst_error err = {0};
    va_list args;

    va_start(args, format);
    vst_error_vset(&err, VST_ERR_INVALID, format, args);
    va_end(args);
    vst_error_prefix(&err, "%s", uri->text);
    return vst_error_copy(ret_err, &err);
}

/* ---- parts ---- */

static int read_transport(const struct vst_uri *uri, struct vst_target *target,
                          struct vst_error *ret_err)
{
    static const char *const names[] = {
        [VST_TRANSPORT_UNIX] = "unix", [VST_TRANSPORT_TCP] = "tcp", [VST_TRANSPORT_TLS] = "tls"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], uri->transport) == 0) {
            target->transport = (enum vst_transport)i;
            return 0;
        }
    }
    return complain(uri, ret_err, "no such transport: `%s`; there are unix, tcp and tls",
                    uri->transport);
}

/* A copy with `%41` and the like made into what they stand for. */
static char *decode(const char *text)
{
    size_t length;
    char *copy = evhttp_uridecode(text, 0, &length);

    if (copy && strlen(copy) != length)
        copy[0] = '\0'; /* a zero byte is in no name */
    return copy;
}

static int read_unix(const struct vst_uri *uri, struct vst_target *target,
                     struct vst_error *ret_err)
{
    bool whole = uri->path && *uri->path && strcmp(uri->path, "/") != 0;

    if (uri->host || uri->user || uri->port >= 0)
        return complain(uri, ret_err,
                        "a UNIX socket has no host; three slashes come before its path");
    target->path = decode(whole ? uri->path : VST_SOCKET_PATH);
    target->label = target->path ? strdup(target->path) : NULL;
    if (!target->label)
        return vst_error_no_memory(ret_err);
    if (strlen(target->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return complain(uri, ret_err, "the path of a UNIX socket has at most %zu bytes",
                        sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    return 0;
}

static char *copy_host(const char *host)
{
    size_t length = strlen(host);

    if (host[0] == '[' && host[length - 1] == ']')
        return strndup(host + 1, length - 2);
    return strdup(host);
}

static int read_host(const struct vst_uri *uri, struct vst_target *target,
                     struct vst_error *ret_err)
{
    int standard = target->transport == VST_TRANSPORT_TLS ? VST_PORT_TLS : VST_PORT_TCP;

    if (!uri->host)
        return complain(uri, ret_err, "the name of the host is missing: %s+%s://HOST/", uri->driver,
                        uri->transport);
    if (uri->path && *uri->path && strcmp(uri->path, "/") != 0)
        return complain(uri, ret_err, "nothing but parameters comes after the host");
    target->port = uri->port > 0 ? uri->port : standard;
    target->host = copy_host(uri->host);
    if (target->host && asprintf(&target->label, "%s:%d", uri->host, target->port) < 0)
        target->label = NULL;
    return target->label ? 0 : vst_error_no_memory(ret_err);
}

/* In front of the host, or as a parameter. */
static int read_user(const struct vst_uri *uri, struct vst_target *target,
                     struct vst_error *ret_err)
{
    const char *parameter = vst_uri_get(uri, "user");

    if (uri->user && strchr(uri->user, ':'))
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "a URI holds no password, as everybody can read it; put it into a "
                             "file and say password-file=FILE");
    if (uri->user && parameter)
        return complain(uri, ret_err, "the user is given twice");
    if (!uri->user && !parameter)
        return 0;
    target->user = uri->user ? decode(uri->user) : strdup(parameter);
    if (!target->user)
        return vst_error_no_memory(ret_err);
    return *target->user ? 0 : complain(uri, ret_err, "the name of the user is empty");
}

/* ---- parameters ---- */

static int read_seconds(const struct vst_uri *uri, const char *name, unsigned least,
                        unsigned otherwise, unsigned *ret_seconds, struct vst_error *ret_err)
{
    const char *text = vst_uri_get(uri, name);
    unsigned long seconds = otherwise;
    char *end;

    if (text) {
        seconds = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || seconds < least || seconds > SECONDS_MAX)
            return complain(uri, ret_err, "%s=%s is not a number of seconds from %u to %u", name,
                            text, least, SECONDS_MAX);
    }
    *ret_seconds = (unsigned)seconds;
    return 0;
}

static int read_wire(const struct vst_uri *uri, struct vst_target *target,
                     struct vst_error *ret_err)
{
    static const char *const names[] = {
        [VST_WIRE_EAGER] = "eager", [VST_WIRE_REPLIED] = "replied", [VST_WIRE_ACKED] = "acked"};
    const char *name = vst_uri_get(uri, "wire");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!name || strcmp(names[i], name) == 0) {
            target->wire = (enum vst_wire)i;
            return 0;
        }
    }
    return complain(uri, ret_err, "wire=%s must be one of eager, replied, acked", name);
}

static int read_window(const struct vst_uri *uri, struct vst_target *target,
                       struct vst_error *ret_err)
{
    if (vst_uri_get_size(uri, "window", 256 * 1024, &target->window, ret_err) < 0)
        return -1;
    if (target->window < WINDOW_MIN || target->window > WINDOW_MAX)
        return complain(uri, ret_err, "window: from 64K to 64M");
    return 0;
}

static int read_files(const struct vst_uri *uri, struct vst_target *target,
                      struct vst_error *ret_err)
{
    const struct {
        const char *name;
        char **into;
    } files[] = {
        {"ca", &target->files.ca}, {"cert", &target->files.cert}, {"key", &target->files.key}};

    target->pki_path = vst_uri_get(uri, "pkipath");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        const char *path = vst_uri_get(uri, files[i].name);

        if (path && !(*files[i].into = strdup(path)))
            return vst_error_no_memory(ret_err);
    }
    return 0;
}

/* What makes no difference on a transport is a mistake, too: it protects nothing. */
static int check_parameters(const struct vst_uri *uri, const struct vst_target *target,
                            struct vst_error *ret_err)
{
    static const char *const all[] = {"wire", "window",  "keepalive",     "timeout",
                                      "mech", "user",    "password-file", "ca",
                                      "cert", "pkipath", "key",           NULL};
    static const char *const login[] = {"wire", "window", "keepalive",     "timeout",
                                        "mech", "user",   "password-file", NULL};

    return vst_uri_check(uri, target->transport == VST_TRANSPORT_TLS ? all : login, ret_err);
}

int vst_target_read(const struct vst_uri *uri, struct vst_target *target, struct vst_error *ret_err)
{
    unsigned keepalive = 0;

    if (read_transport(uri, target, ret_err) < 0 || check_parameters(uri, target, ret_err) < 0 ||
        read_user(uri, target, ret_err) < 0)
        return -1;
    if ((target->transport == VST_TRANSPORT_UNIX ? read_unix(uri, target, ret_err)
                                                 : read_host(uri, target, ret_err)) < 0)
        return -1;
    target->password_file = vst_uri_get(uri, "password-file");
    target->mechanisms = vst_uri_get(uri, "mech");
    if (target->password_file && !target->user)
        return complain(uri, ret_err, "password-file: whose? Say user=NAME");
    if (read_files(uri, target, ret_err) < 0 || read_wire(uri, target, ret_err) < 0 ||
        read_window(uri, target, ret_err) < 0 ||
        read_seconds(uri, "keepalive", 0, KEEPALIVE, &keepalive, ret_err) < 0)
        return -1;
    target->keepalive_ms = keepalive * 1000;
    return read_seconds(uri, "timeout", 1, TIMEOUT, &target->timeout, ret_err);
}

/* Silence is noticed after four times the keepalive: in a third of the patience. */
void vst_target_set_patience(struct vst_target *target, const struct vst_uri *uri, unsigned seconds)
{
    unsigned twelfth = seconds < KEEPALIVE * 12 ? seconds * 1000 / 12 : KEEPALIVE * 1000;

    if (!vst_uri_get(uri, "keepalive"))
        target->keepalive_ms = twelfth > KEEPALIVE_LEAST_MS ? twelfth : KEEPALIVE_LEAST_MS;
    if (!vst_uri_get(uri, "timeout"))
        target->timeout = seconds < TIMEOUT ? seconds : TIMEOUT;
}

void vst_target_clear(struct vst_target *target)
{
    free(target->path);
    free(target->host);
    free(target->user);
    free(target->label);
    vst_tls_files_clear(&target->files);
    *target = (struct vst_target){0};
}
