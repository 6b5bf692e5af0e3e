/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many clients come from one address. Of IPv6 the first 64 bits count: who has one address of
 * such a network has them all.
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

static struct source_list *bucket_of(struct vst_server *server, const unsigned char key[16])
{
    unsigned hash = 0;

    for (int i = 0; i < 16; i++)
        hash = hash * 31 + key[i];
    return &server->sources[hash % SOURCE_BUCKETS];
}

struct source *vst_source_enter(struct vst_server *server, const struct sockaddr *address,
                                struct vst_error *ret_err)
{
    struct source_list *bucket;
    struct source *source;
    unsigned char key[16];

    make_key(address, key);
    bucket = bucket_of(server, key);
    LIST_FOREACH(source, bucket, link)
    if (memcmp(source->key, key, sizeof(key)) == 0)
        break;
    if (!source) {
        source = calloc(1, sizeof(*source));
        if (!source) {
            vst_error_no_memory(ret_err);
            return NULL;
        }
        memcpy(source->key, key, sizeof(key));
        LIST_INSERT_HEAD(bucket, source, link);
    }
    if (source->clients >= server->rules->is.limits.per_source) {
        vst_error_set(ret_err, VST_ERR_BUSY, "too many connections from one address (per-source)");
        return NULL;
    }
    source->clients++;
    return source;
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
