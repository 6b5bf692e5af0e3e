/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pools there are, and names of volumes. Nothing here looks at a disk.
 */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "definition.h"

static const char prefix[] = "pool.";

static struct vst_volume_pool *find(struct vst_volume_pools *pools, const char *name)
{
    struct vst_volume_pool *pool;

    STAILQ_FOREACH(pool, pools, next)
        if (strcmp(pool->name, name) == 0)
            return pool;
    return NULL;
}

static void pool_free(struct vst_volume_pool *pool)
{
    if (!pool)
        return;
    free(pool->name);
    free(pool->dir);
    free(pool);
}

void vst_pools_free(struct vst_volume_pools **slot)
{
    struct vst_volume_pools *pools = *slot;

    *slot = NULL;
    if (!pools)
        return;
    while (!STAILQ_EMPTY(pools)) {
        struct vst_volume_pool *pool = STAILQ_FIRST(pools);

        STAILQ_REMOVE_HEAD(pools, next);
        pool_free(pool);
    }
    free(pools);
}

/* By name, so that lists are sorted. */
static void insert(struct vst_volume_pools *pools, struct vst_volume_pool *pool)
{
    struct vst_volume_pool *at, *before = NULL;

    STAILQ_FOREACH(at, pools, next)
        if (strcmp(at->name, pool->name) < 0)
            before = at;
    if (before)
        STAILQ_INSERT_AFTER(pools, before, pool, next);
    else
        STAILQ_INSERT_HEAD(pools, pool, next);
}

static int add(struct vst_volume_pools *pools, const char *name, const char *dir,
               struct vst_error *ret_err)
{
    struct vst_volume_pool *pool;

    if (vst_name_check(name, ret_err) < 0) {
        vst_error_prefix(ret_err, "pool `%s`", name);
        return -1;
    }
    if (dir[0] != '/')
        return vst_error_set(ret_err, VST_ERR_INVALID, "pool %s: `%s` is not an absolute path",
                             name, dir);
    if (find(pools, name))
        return vst_error_set(ret_err, VST_ERR_INVALID, "pool %s: named twice", name);
    pool = calloc(1, sizeof(*pool));
    if (!pool || !(pool->name = strdup(name)) || !(pool->dir = strdup(dir))) {
        pool_free(pool);
        return vst_error_no_memory(ret_err);
    }
    insert(pools, pool);
    return 0;
}

static struct vst_volume_pools *read_pools(const struct vst_uri *uri, struct vst_error *ret_err)
{
    struct vst_volume_pools *pools = malloc(sizeof(*pools));
    const struct evkeyval *pair;

    if (!pools) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    STAILQ_INIT(pools);
    for (pair = uri->parameters.tqh_first; pools && pair; pair = pair->next.tqe_next)
        if (strncmp(pair->key, prefix, strlen(prefix)) == 0 &&
            add(pools, pair->key + strlen(prefix), pair->value, ret_err) < 0)
            vst_pools_free(&pools);
    return pools;
}

int vst_pools_check(const struct vst_uri *uri, struct vst_error *ret_err)
{
    struct vst_volume_pools *pools = read_pools(uri, ret_err);
    int status = pools ? 0 : -1;

    vst_pools_free(&pools);
    return status;
}

int vst_pools_open(struct vst_conn *conn, struct vst_error *ret_err)
{
    conn->pools = read_pools(conn->uri, ret_err);
    return conn->pools ? 0 : -1;
}

static int fail_unknown(struct vst_volume_pools *pools, const char *name, struct vst_error *ret_err)
{
    const struct vst_volume_pool *pool;
    char known[200];
    size_t used = 0;

    if (STAILQ_EMPTY(pools))
        return vst_error_set(ret_err, VST_ERR_NOT_FOUND,
                             "no pool `%s`: this connection has no pools", name);
    STAILQ_FOREACH(pool, pools, next)
        if (used < sizeof(known))
            used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "",
                                     pool->name);
    return vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no pool `%s`; there are: %s", name, known);
}

struct vst_volume_pool *vst_pools_find(struct vst_volume_pools *pools, const char *name,
                                       struct vst_error *ret_err)
{
    struct vst_volume_pool *pool = find(pools, name);

    if (!pool)
        fail_unknown(pools, name, ret_err);
    return pool;
}

/* How long the character is that begins here; 0: none that a name may have. RFC 3629. */
static size_t character(const unsigned char *at)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    unsigned long code = at[0] & (length == 1 ? 0x7f : 0xff >> (length + 1));
    static const unsigned long least[] = {0, ' ', 0x80, 0x800, 0x10000};

    if ((at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    if (code < least[length] || (code >= 0x7f && code < 0xa0) || code == '/' || code > 0x10ffff ||
        (code >= 0xd800 && code < 0xe000))
        return 0;
    return length;
}

bool vst_volume_name_fits(const char *name)
{
    const unsigned char *at = (const unsigned char *)name;
    size_t length;

    if (!*name || name[0] == '.' || strlen(name) > 255)
        return false;
    while (*at && (length = character(at)))
        at += length;
    return !*at;
}

bool vst_volume_fits(const char *volume)
{
    const char *slash = strchr(volume, '/');
    char pool[VST_NAME_MAX + 1];

    if (!slash || (size_t)(slash - volume) > VST_NAME_MAX || !vst_volume_name_fits(slash + 1))
        return false;
    snprintf(pool, sizeof(pool), "%.*s", (int)(slash - volume), volume);
    return vst_name_check(pool, NULL) == 0;
}

struct vst_volume_pool *vst_pools_split(struct vst_volume_pools *pools, const char *volume,
                                        const char **ret_name, struct vst_error *ret_err)
{
    const char *slash = strchr(volume, '/');
    struct vst_volume_pool *pool;
    char *name;

    if (!slash || !vst_volume_name_fits(slash + 1)) {
        vst_error_set(ret_err, VST_ERR_INVALID,
                      "`%.300s` names no volume: POOL/NAME, where NAME has up to 255 bytes, no "
                      "further `/`, and does not begin with `.`",
                      volume);
        return NULL;
    }
    name = strndup(volume, (size_t)(slash - volume));
    if (!name) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    pool = vst_pools_find(pools, name, ret_err);
    free(name);
    *ret_name = slash + 1;
    return pool;
}
