/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Name look-up on libevent's resolver. The resolver is made for one look-up and goes with it: it
 * keeps sockets to name servers, which an idle connection has no use for.
 *
 * The answer may come inside the call that asks; and the resolver must not be freed inside its own
 * callback. So everything that follows an answer happens in a turn.
 */
#include "lookup.h"

#include <event2/dns.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/turn.h"

struct vst_lookup {
    struct vst_lookup_cb cb;
    struct evdns_base *dns;
    struct evdns_getaddrinfo_request *request; /* NULL: the answer is here */
    char *host;
    struct vst_address addresses[VST_ADDRESSES_MAX];
    size_t count;
    struct vst_error err;
    struct vst_turn turn;
};

static void lookup_free(struct vst_lookup *lookup)
{
    vst_turn_cancel(&lookup->turn);
    if (lookup->dns)
        evdns_base_free(lookup->dns, 0);
    free(lookup->host);
    free(lookup);
}

static void tell(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_lookup *lookup = opaque;
    struct vst_lookup_cb cb = lookup->cb;
    bool failed = vst_error_is_set(&lookup->err);

    (void)fd, (void)what;
    evdns_base_free(lookup->dns, 0);
    lookup->dns = NULL;
    cb.found(cb.opaque, failed ? NULL : lookup->addresses, lookup->count,
             failed ? &lookup->err : NULL);
    lookup_free(lookup);
}

static void add(struct vst_lookup *lookup, const struct evutil_addrinfo *from)
{
    struct vst_address *address = &lookup->addresses[lookup->count];

    if (from->ai_addrlen > sizeof(address->to) ||
        (from->ai_family != AF_INET && from->ai_family != AF_INET6))
        return;
    memcpy(&address->to, from->ai_addr, from->ai_addrlen);
    address->length = (socklen_t)from->ai_addrlen;
    if (getnameinfo(from->ai_addr, address->length, address->text, sizeof(address->text), NULL, 0,
                    NI_NUMERICHOST) == 0)
        lookup->count++;
}

/* The next of `family` at or after `from`; NULL: there is none. */
static const struct evutil_addrinfo *next_of(const struct evutil_addrinfo *from, int family)
{
    while (from && from->ai_family != family)
        from = from->ai_next;
    return from;
}

/* The two kinds in turn, so that a network that has only one of them is found out early. */
static void add_all(struct vst_lookup *lookup, const struct evutil_addrinfo *list)
{
    const struct evutil_addrinfo *six = next_of(list, AF_INET6), *four = next_of(list, AF_INET);

    while ((six || four) && lookup->count < VST_ADDRESSES_MAX) {
        if (six) {
            add(lookup, six);
            six = next_of(six->ai_next, AF_INET6);
        }
        if (four && lookup->count < VST_ADDRESSES_MAX) {
            add(lookup, four);
            four = next_of(four->ai_next, AF_INET);
        }
    }
}

static void answered(int result, struct evutil_addrinfo *list, void *opaque)
{
    struct vst_lookup *lookup = opaque;

    lookup->request = NULL;
    add_all(lookup, list);
    if (list)
        evutil_freeaddrinfo(list);
    if (result == EVUTIL_EAI_MEMORY)
        vst_error_no_memory(&lookup->err);
    else if (result || !lookup->count)
        vst_error_set(&lookup->err, VST_ERR_CONNECT,
                      "the name `%s` cannot be looked up: %s; see /etc/hosts and the name servers "
                      "in /etc/resolv.conf",
                      lookup->host, result ? evutil_gai_strerror(result) : "it has no address");
    vst_error_where(&lookup->err, VST_SIDE_CLIENT, "lookup");
    vst_turn_schedule(&lookup->turn);
}

/* Files that are missing are no failure: an address needs none of them. */
static struct evdns_base *make_resolver(struct event_base *base)
{
    struct evdns_base *dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);

    if (dns)
        evdns_base_resolv_conf_parse(dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    return dns;
}

struct vst_lookup *vst_lookup_new(struct event_base *base, const char *host, int port,
                                  const struct vst_lookup_cb *cb, struct vst_error *ret_err)
{
    struct evutil_addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP, .ai_flags = EVUTIL_AI_NUMERICSERV};
    struct vst_lookup *lookup = calloc(1, sizeof(*lookup));
    char service[8];

    if (!lookup) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    lookup->cb = *cb;
    vst_turn_init(&lookup->turn, base, tell, lookup);
    lookup->host = strdup(host);
    lookup->dns = make_resolver(base);
    if (!lookup->host || !lookup->dns) {
        lookup_free(lookup);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    snprintf(service, sizeof(service), "%d", port);
    lookup->request = evdns_getaddrinfo(lookup->dns, host, service, &hints, answered, lookup);
    return lookup;
}

void vst_lookup_cancel(struct vst_lookup *lookup)
{
    if (lookup->request)
        evdns_getaddrinfo_cancel(lookup->request);
}
