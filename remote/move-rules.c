/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules for guests that go and come.
 */
#include "move-rules.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/definition.h"
#include "core/json.h"
#include "core/reasons.h"
#include "core/uri.h"

enum { OFFER_MAX = 2 * VST_DEFINITION_MAX };

/* ---- out ---- */

static int check_uri(const struct vst_uri *uri, bool args, struct vst_error *ret_err)
{
    static const char *const files[] = {"password-file", "ca", "cert", "key", "pkipath"};

    if (!uri->transport)
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "%s is no other host; one looks like %s+tls://HOST/", uri->text,
                             uri->driver);
    if (!args && strcmp(uri->transport, "unix") == 0)
        return vst_error_set(
            ret_err, VST_ERR_ACCESS,
            "%s: names a socket of this host, which only the role admin may do: to "
            "whoever listens there it would come as the host itself",
            uri->text);
    for (size_t i = 0; !args && i < sizeof(files) / sizeof(*files); i++)
        if (vst_uri_get(uri, files[i]))
            return vst_error_set(ret_err, VST_ERR_ACCESS,
                                 "%s: names a file of this host (%s), which only the role admin "
                                 "may do; without it the host's own certificate is used",
                                 uri->text, files[i]);
    return 0;
}

int vst_move_rules_check_destination(const char *destination, bool args, struct vst_error *ret_err)
{
    struct vst_uri *uri;
    int status;

    if (vst_uri_parse(destination, &uri, ret_err) < 0)
        return -1;
    status = check_uri(uri, args, ret_err);
    vst_uri_free(&uri);
    return status;
}

/* ---- in ---- */

int vst_move_rules_check_source(const struct vst_access *accept,
                                const struct vst_identity *identity, struct vst_error *ret_err)
{
    char text[160];

    if (!accept || vst_access_is_empty(accept) ||
        vst_access_role(accept, identity) != VST_ROLE_NONE)
        return 0;
    vst_identity_print(identity, text, sizeof(text));
    return vst_error_set(ret_err, VST_ERR_ACCESS,
                         "no guest is taken from %s; from whom, the daemon's configuration says, "
                         "under [migrate] accept-from",
                         text);
}

/* What is found; without memory for all of it there is none. */
struct list {
    struct vst_objection *objections;
    size_t count;
    struct vst_error error;
};

/* Takes `text` and `file`. */
static void add(struct list *list, char *text, char *file)
{
    struct vst_objection *grown =
        reallocarray(list->objections, list->count + 2, sizeof(*list->objections));

    if (grown)
        list->objections = grown;
    if (!grown || !text) {
        free(text);
        free(file);
        vst_error_no_memory(&list->error);
        return;
    }
    grown[list->count++] = (struct vst_objection){text, file};
    grown[list->count] = (struct vst_objection){NULL, NULL};
}

/* Whether a part of the path is `..`: then its name says nothing about where it is. */
static bool climbs(const char *path)
{
    for (const char *at = path; *at; at += strcspn(at, "/")) {
        at += strspn(at, "/");
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || !at[2]))
            return true;
    }
    return false;
}

static bool is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    while (length && directory[length - 1] == '/')
        length--;
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

static void check_path(struct list *list, char *const *paths, const char *what, const char *path)
{
    char *text, *file;

    if (!path)
        return;
    for (; !climbs(path) && *paths; paths++)
        if (is_below(path, *paths))
            return;
    file = strdup(path);
    if (!file || asprintf(&text, "%s %.400s: not in a directory that [migrate] allow-path names",
                          what, path) < 0)
        text = NULL;
    add(list, text, file);
}

static void check_paths(struct list *list, char *const *paths, const struct vst_definition *def)
{
    /* Without a slash it is one that QEMU brings. */
    if (def->firmware && strchr(def->firmware, '/'))
        check_path(list, paths, "firmware", def->firmware);
    check_path(list, paths, "kernel", def->kernel);
    check_path(list, paths, "initrd", def->initrd);
    for (size_t i = 0; def->disks && def->disks[i]; i++)
        check_path(list, paths, "disk", def->disks[i]->file);
    if (def->console)
        check_path(list, paths, "console log", def->console->log);
}

static struct vst_definition *read_definition(const char *offer, struct vst_error *ret_err)
{
    struct json_object *object =
        vst_json_parse(offer, strlen(offer), OFFER_MAX, "the offer", ret_err);
    struct vst_definition *def = NULL;
    struct json_object *value;

    if (object && json_object_object_get_ex(object, "definition", &value))
        def = vst_definition_decode(value, ret_err);
    else if (object)
        vst_error_set(ret_err, VST_ERR_INVALID, "the offer: definition: missing");
    json_object_put(object);
    return def;
}

int vst_move_rules_check_offer(const char *offer, char *const *paths, bool args,
                               struct vst_objection **ret_objections, struct vst_error *ret_err)
{
    struct vst_definition *def = read_definition(offer, ret_err);
    struct list list = {.count = 0};
    struct vst_error err = {0};

    if (!def)
        return -1;
    if (!args && vst_definition_check_no_args(def, &err) < 0)
        add(&list, strdup(err.text), NULL);
    if (paths)
        check_paths(&list, paths, def);
    vst_definition_free(&def);
    if (vst_error_is_set(&list.error)) {
        vst_objections_free(&list.objections);
        return vst_error_copy(ret_err, &list.error);
    }
    *ret_objections = list.objections;
    return 0;
}

int vst_objections_tell(const struct vst_objection *objections, const char *more,
                        struct vst_error *ret_err)
{
    struct vst_reasons reasons = {0};

    for (; objections && objections->text; objections++)
        vst_reasons_add(&reasons, "%s", objections->text);
    if (more)
        vst_reasons_add(&reasons, "%s", more);
    return vst_reasons_tell(&reasons, VST_ERR_ACCESS, ret_err);
}

void vst_objections_free(struct vst_objection **slot)
{
    struct vst_objection *objections = *slot;

    *slot = NULL;
    for (struct vst_objection *at = objections; at && at->text; at++) {
        free(at->text);
        free(at->file);
    }
    free(objections);
}
