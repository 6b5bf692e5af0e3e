/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules, identities, and how the one is matched with the other.
 */
#include "access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    enum vst_role role;
    char *pattern;
};

struct vst_access {
    struct rule *rules;
    size_t count;
};

static const char *const kinds[] = {"unix:", "sasl:", "x509:"};

/* ---- subjects ---- */

/* RFC 3986, 3.1. What is "TYPE=VALUE" has no colon before the "=". */
static bool is_uri(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789+-.");

    return *text && strchr(letters, *text) && text[length] == ':';
}

/* A character of a subject; one that is escaped counts as one, and separates nothing. */
static size_t unit(const char *text)
{
    return text[0] == '\\' && text[1] ? 2 : 1;
}

static bool separates(const char *text)
{
    return *text == ',' || *text == '+';
}

/* No subject has a part without anything in it, so such a rule would be nobody's. */
static bool has_empty_part(const char *subject)
{
    bool empty = true;

    for (; *subject; subject += unit(subject)) {
        if (empty && separates(subject))
            return true;
        empty = separates(subject);
    }
    return empty;
}

static bool is_x509(const char *pattern)
{
    return strncmp(pattern, kinds[2], strlen(kinds[2])) == 0;
}

/* ---- rules ---- */

struct vst_access *vst_access_new(struct vst_error *ret_err)
{
    struct vst_access *access = calloc(1, sizeof(*access));

    if (!access)
        vst_error_no_memory(ret_err);
    return access;
}

static bool is_uid(const char *text)
{
    return strcmp(text, "*") == 0 || (*text && !text[strspn(text, "0123456789")]);
}

static int check_pattern(const char *pattern, struct vst_error *ret_err)
{
    const char *value = strchr(pattern, ':');

    for (size_t i = 0; value && i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strncmp(pattern, kinds[i], strlen(kinds[i])) == 0 && value[1]) {
            if (i == 0 && !is_uid(value + 1))
                return vst_error_set(ret_err, VST_ERR_INVALID,
                                     "`%s`: unix: is followed by a numeric uid, or *", pattern);
            if (is_x509(pattern) && !is_uri(value + 1) && has_empty_part(value + 1))
                return vst_error_set(ret_err, VST_ERR_INVALID,
                                     "`%s`: a part of the subject is empty", pattern);
            return 0;
        }
    return vst_error_set(ret_err, VST_ERR_INVALID,
                         "`%s` is not an identity; one looks like unix:0, sasl:alice or "
                         "x509:CN=ops,O=Example",
                         pattern);
}

int vst_access_add(struct vst_access *access, enum vst_role role, const char *pattern,
                   struct vst_error *ret_err)
{
    struct rule *rules;
    char *copy;

    if (check_pattern(pattern, ret_err) < 0)
        return -1;
    rules = reallocarray(access->rules, access->count + 1, sizeof(*rules));
    if (!rules)
        return vst_error_no_memory(ret_err);
    access->rules = rules;
    copy = strdup(pattern);
    if (!copy)
        return vst_error_no_memory(ret_err);
    rules[access->count++] = (struct rule){role, copy};
    return 0;
}

bool vst_access_is_empty(const struct vst_access *access)
{
    return !access->count;
}

void vst_access_free(struct vst_access **slot)
{
    struct vst_access *access = *slot;

    *slot = NULL;
    if (!access)
        return;
    for (size_t i = 0; i < access->count; i++)
        free(access->rules[i].pattern);
    free(access->rules);
    free(access);
}

/* ---- identities ---- */

/* Takes `name`, which is NULL without memory. */
static int add_name(struct vst_identity *identity, char *name, struct vst_error *ret_err)
{
    char **names = reallocarray(identity->names, identity->count + 1, sizeof(*names));

    if (names)
        identity->names = names;
    if (!names || !name) {
        free(name);
        return vst_error_no_memory(ret_err);
    }
    names[identity->count++] = name;
    return 0;
}

static int add_text(struct vst_identity *identity, const char *kind, const char *text,
                    struct vst_error *ret_err)
{
    char *name;

    if (asprintf(&name, "%s%s", kind, text) < 0)
        name = NULL;
    return add_name(identity, name, ret_err);
}

int vst_identity_add_unix(struct vst_identity *identity, uid_t uid, struct vst_error *ret_err)
{
    char text[24];

    snprintf(text, sizeof(text), "%lu", (unsigned long)uid);
    return add_text(identity, "unix:", text, ret_err);
}

int vst_identity_add_user(struct vst_identity *identity, const char *user,
                          struct vst_error *ret_err)
{
    return add_text(identity, "sasl:", user, ret_err);
}

int vst_identity_add_x509(struct vst_identity *identity, const char *subject,
                          const char *const *uris, struct vst_error *ret_err)
{
    /* An empty subject is allowed where there is an alternative name (RFC 5280, 4.1.2.6). */
    if (*subject && add_text(identity, "x509:", subject, ret_err) < 0)
        return -1;
    for (; uris && *uris; uris++)
        if (is_uri(*uris) && add_text(identity, "x509:", *uris, ret_err) < 0)
            return -1;
    return 0;
}

void vst_identity_print(const struct vst_identity *identity, char *ret_text, size_t room)
{
    size_t used = 0;

    snprintf(ret_text, room, "nobody");
    for (size_t i = 0; i < identity->count && used < room; i++)
        used += (size_t)snprintf(ret_text + used, room - used, "%s%s", i ? ", " : "",
                                 identity->names[i]);
}

void vst_identity_principal(const struct vst_identity *identity, char *ret_text, size_t room)
{
    const char *name = identity->count ? identity->names[0] : "";

    for (size_t i = 0; i < identity->count; i++)
        if (strncmp(identity->names[i], "sasl:", 5) == 0)
            name = identity->names[i];
    snprintf(ret_text, room, "%s", strlen(name) < room ? name : "");
}

void vst_identity_clear(struct vst_identity *identity)
{
    for (size_t i = 0; i < identity->count; i++)
        free(identity->names[i]);
    free(identity->names);
    *identity = (struct vst_identity){0};
}

/* ---- the question ---- */

/*
 * As fnmatch(3) with `*` alone. Going back to the last `*` only is enough, because what an earlier
 * one could still take, the last one can.
 */
static bool matches(const char *pattern, const char *text)
{
    const char *star = NULL, *taken = NULL;

    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            taken = text;
        } else if (*pattern && unit(pattern) == unit(text) &&
                   strncmp(pattern, text, unit(text)) == 0) {
            pattern += unit(pattern);
            text += unit(text);
        } else if (star && !separates(taken)) {
            taken += unit(taken);
            text = taken;
            pattern = star;
        } else {
            return false;
        }
    }
    return !pattern[strspn(pattern, "*")];
}

static bool fits(const char *pattern, const char *name)
{
    const char *value = strchr(pattern, ':') + 1;
    size_t kind = (size_t)(value - pattern);

    if (strncmp(pattern, name, kind) != 0)
        return false;
    return strcmp(value, "*") == 0 || matches(value, name + kind);
}

enum vst_role vst_access_role(const struct vst_access *access, const struct vst_identity *identity)
{
    enum vst_role role = VST_ROLE_NONE;

    for (size_t i = 0; i < access->count; i++)
        for (size_t j = 0; j < identity->count; j++)
            if (access->rules[i].role > role && fits(access->rules[i].pattern, identity->names[j]))
                role = access->rules[i].role;
    return role;
}

int vst_access_check(enum vst_role role, enum vst_procedure procedure, struct vst_error *ret_err)
{
    const struct vst_procedure_row *row = &vst_procedures[procedure];

    if (role >= row->role)
        return 0;
    return vst_error_set(ret_err, VST_ERR_ACCESS,
                         "%s needs the role %s, yours is %s; roles are given in the daemon's "
                         "configuration, under [access]",
                         row->name, vst_role_name(row->role), vst_role_name(role));
}

bool vst_access_may_use_args(enum vst_role role)
{
    return role >= VST_ROLE_ADMIN;
}

bool vst_access_may_settle(enum vst_role role)
{
    return role >= VST_ROLE_ADMIN;
}
