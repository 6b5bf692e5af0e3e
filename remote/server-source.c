/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many clients come from one address, or from one user of this host. Of IPv6 the first 64 bits
 * count: who has one address of such a network has them all. When strangers have to make room it is
 * one of the source that has most of them, so that nobody can drive out the others by coming often.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "server-private.h"

static void make_key(const struct sockaddr *address, unsigned char ret_key[16])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

    memset(ret_key, 0, 16);
    if (address->sa_family == AF_INET) {
        memcpy(ret_key, mapped, sizeof(mapped));
        memcpy(ret_key + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
    } else {
        const struct in6_addr *ip6 = &((const struct sockaddr_in6 *)address)->sin6_addr;

        memcpy(ret_key, ip6, IN6_IS_ADDR_V4MAPPED(ip6) ? 16 : 8);
    }
}

/* In a network that nobody comes from: multicast. */
static void make_user_key(uid_t uid, unsigned char ret_key[16])
{
    memset(ret_key, 0, 16);
    ret_key[0] = 0xff;
    memcpy(ret_key + 12, &uid, 4);
}

static struct source_list *bucket_of(struct vst_server *server, const unsigned char key[16])
{
    unsigned hash = 0;

    for (int i = 0; i < 16; i++)
        hash = hash * 31 + key[i];
    return &server->sources[hash % SOURCE_BUCKETS];
}

static struct source *find(struct vst_server *server, const unsigned char key[16],
                           struct vst_error *ret_err)
{
    struct source_list *bucket = bucket_of(server, key);
    struct source *source;

    LIST_FOREACH(source, bucket, link)
        if (memcmp(source->key, key, sizeof(source->key)) == 0)
            return source;
    source = calloc(1, sizeof(*source));
    if (!source) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    memcpy(source->key, key, sizeof(source->key));
    LIST_INSERT_HEAD(bucket, source, link);
    return source;
}

static struct source *enter(struct source *source)
{
    if (source) {
        source->clients++;
        source->strangers++;
    }
    return source;
}

struct source *vst_source_enter(struct vst_server *server, const struct sockaddr *address,
                                struct vst_error *ret_err)
{
    struct source *source;
    unsigned char key[16];

    make_key(address, key);
    source = find(server, key, ret_err);
    if (source && source->clients >= server->rules->is.limits.per_source) {
        vst_error_set(ret_err, VST_ERR_BUSY, "too many connections from one address (per-source)");
        return NULL;
    }
    return enter(source);
}

struct source *vst_source_enter_user(struct vst_server *server, uid_t uid,
                                     struct vst_error *ret_err)
{
    unsigned char key[16];

    make_user_key(uid, key);
    return enter(find(server, key, ret_err));
}

struct client *vst_source_crowding(const struct vst_server *server)
{
    struct client *client, *crowding = NULL;
    uint64_t most = 0;

    TAILQ_FOREACH(client, &server->anonymous, link)
        if (client->source && client->source->strangers > most) {
            most = client->source->strangers;
            crowding = client;
        }
    return crowding;
}

void vst_source_leave(struct source **slot)
{
    struct source *source = *slot;

    *slot = NULL;
    if (!source || --source->clients)
        return;
    LIST_REMOVE(source, link);
    free(source);
}
