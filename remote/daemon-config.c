/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of keys, and the rules that no table can say. How lines come out of the text is in
 * daemon-config-lines.c.
 */
#include "daemon-config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "daemon-config-private.h"
#include "core/definition.h"
#include "core/distance.h"
#include "core/driver.h"
#include "core/size.h"
#include "core/uri.h"

/* ---- values ---- */

static int set_string(void *place, const struct key *key, const char *value,
                      struct vst_error *ret_err)
{
    char **string = place;

    (void)key;
    *string = strdup(value);
    return *string ? 0 : vst_error_no_memory(ret_err);
}

static int add_string(void *place, const struct key *key, const char *value,
                      struct vst_error *ret_err)
{
    char ***list = place, **longer;
    size_t count = 0;

    (void)key;
    while (*list && (*list)[count])
        count++;
    longer = reallocarray(*list, count + 2, sizeof(**list));
    if (!longer)
        return vst_error_no_memory(ret_err);
    *list = longer;
    longer[count] = strdup(value);
    longer[count + 1] = NULL;
    return longer[count] ? 0 : vst_error_no_memory(ret_err);
}

static int set_flag(void *place, const struct key *key, const char *value,
                    struct vst_error *ret_err)
{
    bool yes = strcmp(value, "yes") == 0;

    (void)key;
    if (!yes && strcmp(value, "no") != 0)
        return vst_error_set(ret_err, VST_ERR_INVALID, "must be yes or no");
    *(bool *)place = yes;
    return 0;
}

static int in_range(uint64_t number, const struct key *key, struct vst_error *ret_err)
{
    if (number >= key->least && number <= key->most)
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID, "must be %llu to %llu",
                         (unsigned long long)key->least, (unsigned long long)key->most);
}

static int set_number(void *place, const struct key *key, const char *value,
                      struct vst_error *ret_err)
{
    unsigned long long number;

    if (!*value || value[strspn(value, "0123456789")])
        return vst_error_set(ret_err, VST_ERR_INVALID, "must be a number");
    errno = 0;
    number = strtoull(value, NULL, 10);
    if (errno)
        number = UINT64_MAX;
    if (in_range(number, key, ret_err) < 0)
        return -1;
    *(uint64_t *)place = number;
    return 0;
}

static int set_nice(void *place, const struct key *key, const char *value,
                    struct vst_error *ret_err)
{
    const char *digits = value + (value[0] == '-');
    uint64_t number;
    struct key positive = {.least = 0, .most = digits > value ? 20 : 19};

    (void)key;
    if (set_number(&number, &positive, digits, NULL) < 0)
        return vst_error_set(ret_err, VST_ERR_INVALID, "must be -20 to 19");
    *(int *)place = digits > value ? -(int)number : (int)number;
    return 0;
}

static int set_size(void *place, const struct key *key, const char *value,
                    struct vst_error *ret_err)
{
    uint64_t size;

    if (vst_size_parse(value, &size) < 0)
        return vst_error_set(ret_err, VST_ERR_INVALID, "must be a size such as 64MiB");
    if (in_range(size, key, ret_err) < 0)
        return -1;
    *(uint64_t *)place = size;
    return 0;
}

static int set_path(void *place, const struct key *key, const char *value,
                    struct vst_error *ret_err)
{
    if (value[0] != '/')
        return vst_error_set(ret_err, VST_ERR_INVALID, "must be an absolute path");
    return set_string(place, key, value, ret_err);
}

static int add_path(void *place, const struct key *key, const char *value,
                    struct vst_error *ret_err)
{
    if (value[0] != '/')
        return vst_error_set(ret_err, VST_ERR_INVALID, "must be an absolute path");
    return add_string(place, key, value, ret_err);
}

/* The second one would find the first one listening. */
static int add_socket(void *place, const struct key *key, const char *value,
                      struct vst_error *ret_err)
{
    for (char *const *path = *(char ***)place; path && *path; path++)
        if (strcmp(*path, value) == 0)
            return vst_error_set(ret_err, VST_ERR_INVALID, "given already");
    return vst_address_check_unix(value, ret_err) < 0 ? -1 : add_path(place, key, value, ret_err);
}

static int add_address(void *place, const struct key *key, const char *value,
                       struct vst_error *ret_err)
{
    struct vst_address address;

    if (vst_address_parse(value, &address, ret_err) < 0)
        return -1;
    return add_string(place, key, value, ret_err);
}

static int set_private(void *place, const struct key *key, const char *value,
                       struct vst_error *ret_err)
{
    struct vst_address address;

    if (value[0] != '/' && vst_address_parse(value, &address, ret_err) < 0)
        return -1;
    if (value[0] != '/' && !vst_address_is_loopback(&address))
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "must be a loopback address or the path of a UNIX socket: whoever can "
                             "reach it may read it");
    if (value[0] == '/' && vst_address_check_unix(value, ret_err) < 0)
        return -1;
    return set_string(place, key, value, ret_err);
}

static bool is_local_driver(const char *name)
{
    for (const struct vst_driver *const *driver = vst_drivers; *driver; driver++)
        if (!(*driver)->remote && strcmp((*driver)->name, name) == 0)
            return true;
    return false;
}

static bool is_served(char *const *served, const char *driver)
{
    size_t length = strlen(driver);

    for (; served && *served; served++)
        if (strncmp(*served, driver, length) == 0 && (*served)[length] == ':')
            return true;
    return false;
}

/* What can be known of it before it is opened. */
static int add_served(void *place, const struct key *key, const char *value,
                      struct vst_error *ret_err)
{
    struct vst_uri *uri = NULL;
    int status = vst_uri_parse(value, &uri, ret_err);

    if (status == 0 && uri->transport)
        status = vst_error_set(ret_err, VST_ERR_INVALID, "only guests of this host can be served");
    else if (status == 0 && !is_local_driver(uri->driver))
        status = vst_error_set(ret_err, VST_ERR_INVALID, "there is no driver `%.40s`", uri->driver);
    else if (status == 0 && is_served(*(char ***)place, uri->driver))
        status = vst_error_set(ret_err, VST_ERR_INVALID,
                               "the guests of `%.40s` are served already; one line for each driver",
                               uri->driver);
    vst_uri_free(&uri);
    return status == 0 ? add_string(place, key, value, ret_err) : -1;
}

static int set_log(void *place, const struct key *key, const char *value, struct vst_error *ret_err)
{
    if (strcmp(value, "auto") != 0 && strcmp(value, "stderr") != 0 && strcmp(value, "journal") != 0)
        return vst_error_set(ret_err, VST_ERR_INVALID, "must be auto, stderr or journal");
    return set_string(place, key, value, ret_err);
}

static int add_rule(void *place, const struct key *key, const char *value,
                    struct vst_error *ret_err)
{
    return vst_access_add(*(struct vst_access **)place, (enum vst_role)vst_role_find(key->key.name),
                          value, ret_err);
}

/* From whom guests may come: the role is not looked at. */
static int add_source(void *place, const struct key *key, const char *value,
                      struct vst_error *ret_err)
{
    (void)key;
    return vst_access_add(*(struct vst_access **)place, VST_ROLE_TRANSFER, value, ret_err);
}

/* ---- keys ---- */

#define PLACE(member) .offset = offsetof(struct vst_config, member)
#define KEY(section, name, otherwise, member, setter)                          \
    {                                                                          \
        .key = {section, name, otherwise, false}, PLACE(member), .set = setter \
    }
#define LIST(section, name, otherwise, member, setter)                        \
    {                                                                         \
        .key = {section, name, otherwise, true}, PLACE(member), .set = setter \
    }
#define LIMIT(member, name, least_, most_, otherwise, text, kind) \
    {.key = {"limits", name, text, false},                        \
     PLACE(limits.member),                                        \
     .set = set_##kind,                                           \
     .least = least_,                                             \
     .most = most_},

static const struct key keys[] = {
    KEY("daemon", "root", NULL, root, set_path),
    KEY("daemon", "user", NULL, user, set_string),
    KEY("daemon", "log", "auto", log, set_log),
    KEY("daemon", "nice", "-10", nice, set_nice),
    LIST("daemon", "serve", "qemu:///", serve, add_served),
    LIST("listen", "unix", "/run/virstream/virstreamd.sock", unix_paths, add_socket),
    LIST("listen", "tcp", NULL, tcp, add_address),
    LIST("listen", "tls", NULL, tls, add_address),
    KEY("tls", "ca", NULL, files.ca, set_path),
    KEY("tls", "cert", NULL, files.cert, set_path),
    KEY("tls", "key", NULL, files.key, set_path),
    KEY("tls", "crl", NULL, files.crl, set_path),
    KEY("tls", "require-client-cert", "yes", require_client_cert, set_flag),
    KEY("sasl", "mechanisms", NULL, mechanisms, set_string),
    KEY("sasl", "database", NULL, database, set_path),
    KEY("sasl", "saslauthd", NULL, saslauthd, set_path),
    LIST("access", "observe", NULL, access, add_rule),
    LIST("access", "operate", NULL, access, add_rule),
    LIST("access", "transfer", NULL, access, add_rule),
    LIST("access", "admin", NULL, access, add_rule),
    LIST("migrate", "accept-from", NULL, accept, add_source),
    LIST("migrate", "allow-path", NULL, allow_paths, add_path),
    {.key = {"migrate", "patience-seconds", "60", false},
     PLACE(patience_seconds),
     .set = set_number,
     .least = 1,
     .most = 86400},
    KEY("metrics", "listen", NULL, metrics, set_private),
    VST_LIMITS(LIMIT)};

enum { KEY_COUNT = sizeof(keys) / sizeof(*keys) };

const struct vst_config_key *vst_config_key(size_t index)
{
    return index < KEY_COUNT ? &keys[index].key : NULL;
}

/* ---- one line ---- */

static bool has_section(const char *section)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(section, keys[i].key.section) == 0)
            return true;
    return false;
}

static const char *nearest_section(const char *section)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (vst_distance(section, keys[i].key.section, 2) <= 2)
            return keys[i].key.section;
    return NULL;
}

static const char *nearest_key(const char *section, const char *name)
{
    const char *nearest = NULL;
    size_t least = 3;

    for (size_t i = 0; i < KEY_COUNT; i++) {
        size_t letters = vst_distance(name, keys[i].key.name, 2);

        if (letters < least && strcmp(section, keys[i].key.section) == 0) {
            least = letters;
            nearest = keys[i].key.name;
        }
    }
    return nearest;
}

static void complain_of_unknown(struct reading *reading, const char *section, const char *name)
{
    bool known = has_section(section);
    const char *nearest = known ? nearest_key(section, name) : nearest_section(section);

    if (known && nearest)
        vst_config_tell(reading, "[%s] has no key `%s`; did you mean `%s`?", section, name,
                        nearest);
    else if (known)
        vst_config_tell(reading, "[%s] has no key `%s`", section, name);
    else if (nearest)
        vst_config_tell(reading, "there is no section [%s]; did you mean [%s]?", section, nearest);
    else
        vst_config_tell(reading, "there is no section [%s]", section);
}

static void set(struct reading *reading, const struct key *key, const char *value)
{
    size_t index = (size_t)(key - keys);
    struct vst_error err = {0};

    if (!key->key.repeats && reading->config->lines[index]) {
        vst_config_tell(reading, "%s: given in line %u already", key->key.name,
                        reading->config->lines[index]);
        return;
    }
    if (!reading->config->lines[index])
        reading->config->lines[index] = reading->line;
    if (!*value)
        vst_config_tell(reading, "%s: has no value", key->key.name);
    else if (key->set((char *)reading->config + key->offset, key, value, &err) < 0)
        vst_config_tell(reading, "%s = %s: %s", key->key.name, value, err.text);
}

static int add_pool(struct vst_config *config, const char *name, const char *path, unsigned line)
{
    struct vst_config_pool *pools = config->pools, *pool;

    pools = reallocarray(pools, config->pool_count + 1, sizeof(*pools));
    if (!pools)
        return -1;
    config->pools = pools;
    pool = &pools[config->pool_count];
    *pool = (struct vst_config_pool){strdup(name), strdup(path), line};
    if (pool->name && pool->path) {
        config->pool_count++;
        return 0;
    }
    free(pool->name);
    free(pool->path);
    return -1;
}

static void set_pool(struct reading *reading, const char *pool, const char *name, const char *value)
{
    const struct vst_config *config = reading->config;
    struct vst_error err = {0};

    for (size_t i = 0; i < config->pool_count; i++)
        if (strcmp(config->pools[i].name, pool) == 0)
            vst_error_set(&err, VST_ERR_INVALID, "its path was given in line %u already",
                          config->pools[i].line);
    if (strcmp(name, "path") != 0)
        vst_error_set(&err, VST_ERR_INVALID, "there is no key `%s` here, only `path`", name);
    if (value[0] != '/')
        vst_error_set(&err, VST_ERR_INVALID, "path must be an absolute one");
    vst_name_check(pool, &err);
    if (vst_error_is_set(&err))
        vst_config_tell(reading, "[pool %s]: %s", pool, err.text);
    else if (add_pool(reading->config, pool, value, reading->line) < 0)
        vst_config_tell(reading, "out of memory");
}

void vst_config_set(struct reading *reading, const char *section, const char *name,
                    const char *value)
{
    static const char pool[] = "pool ";

    if (strncmp(section, pool, strlen(pool)) == 0) {
        set_pool(reading, section + strlen(pool), name, value);
        return;
    }
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(section, keys[i].key.section) == 0 && strcmp(name, keys[i].key.name) == 0) {
            set(reading, &keys[i], value);
            return;
        }
    if (!*section)
        vst_config_tell(reading, "`%s` stands before the first section", name);
    else
        complain_of_unknown(reading, section, name);
}
