/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Addresses as text.
 */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int parse_port(const char *text, in_port_t *ret_port)
{
    size_t digits = strspn(text, "0123456789");

    if (!digits || digits > 5 || text[digits] || atoi(text) > 65535)
        return -1;
    *ret_port = htons((uint16_t)atoi(text));
    return 0;
}

/* "[HOST]" without the brackets, and "*" as what it means. */
static bool is_ip6(char *host, struct sockaddr_in6 *ret_ip6)
{
    size_t length = strlen(host);

    *ret_ip6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (strcmp(host, "*") == 0)
        return true;
    if (length < 2 || host[0] != '[' || host[length - 1] != ']')
        return false;
    host[length - 1] = '\0';
    return inet_pton(AF_INET6, host + 1, &ret_ip6->sin6_addr) == 1;
}

int vst_address_parse(const char *text, struct vst_address *ret_address, struct vst_error *ret_err)
{
    const char *colon = strrchr(text, ':');
    struct sockaddr_in ip4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ip6;
    char host[INET6_ADDRSTRLEN + 2];
    in_port_t port;

    if (!colon || (size_t)(colon - text) >= sizeof(host) || parse_port(colon + 1, &port) < 0)
        goto bad;
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    *ret_address = (struct vst_address){.length = 0};
    if (inet_pton(AF_INET, host, &ip4.sin_addr) == 1) {
        ip4.sin_port = port;
        ret_address->length = sizeof(ip4);
        memcpy(&ret_address->socket, &ip4, sizeof(ip4));
        return 0;
    }
    if (is_ip6(host, &ip6)) {
        ip6.sin6_port = port;
        ret_address->length = sizeof(ip6);
        memcpy(&ret_address->socket, &ip6, sizeof(ip6));
        return 0;
    }
bad:
    return vst_error_set(ret_err, VST_ERR_INVALID,
                         "`%s` is no address to listen on; one looks like 192.0.2.1:16514, "
                         "[::1]:16514 or *:16514",
                         text);
}

bool vst_address_is_loopback(const struct vst_address *address)
{
    if (address->socket.ss_family == AF_INET) {
        const struct sockaddr_in *ip4 = (const struct sockaddr_in *)&address->socket;

        return ntohl(ip4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    return address->socket.ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address->socket)->sin6_addr);
}

int vst_address_check_unix(const char *path, struct vst_error *ret_err)
{
    const size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    const char *slash = strrchr(path, '/');

    if (slash && !slash[1])
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: names a directory, not a socket", path);
    if (strlen(path) <= most)
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID,
                         "%s: the path of a UNIX socket has at most %zu bytes", path, most);
}
