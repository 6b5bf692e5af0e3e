/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is wrong with a configuration only as a whole: who connects must be known to somebody.
 */
#include <stdio.h>
#include <string.h>

#include "address.h"
#include "daemon-config-private.h"

static void tell_at(struct reading *reading, const char *section, const char *name,
                    const char *text)
{
    for (size_t i = 0; vst_config_key(i); i++)
        if (strcmp(vst_config_key(i)->section, section) == 0 &&
            strcmp(vst_config_key(i)->name, name) == 0)
            reading->line = reading->seen[i];
    vst_config_tell(reading, "%s", text);
    reading->line = 0;
}

static void check_addresses(struct reading *reading, const char *name, char **addresses)
{
    struct vst_address address;

    for (size_t i = 0; addresses && addresses[i]; i++) {
        struct vst_error err = {0};

        if (vst_address_parse(addresses[i], &address, &err) < 0)
            tell_at(reading, "listen", name, err.text);
    }
}

static void check_metrics(struct reading *reading, const char *listen)
{
    struct vst_error err = {0};
    struct vst_address address;

    if (!listen || listen[0] == '/')
        return;
    if (vst_address_parse(listen, &address, &err) < 0)
        tell_at(reading, "metrics", "listen", err.text);
    else if (!vst_address_is_loopback(&address))
        tell_at(reading, "metrics", "listen",
                "must be a loopback address or the path of a UNIX socket: whoever can reach it may "
                "read it");
}

static void check_user(struct reading *reading, const struct vst_config *config)
{
    if ((config->root || config->user) && config->serve)
        tell_at(reading, "daemon", config->root ? "root" : "user",
                "is part of the URIs where these are given with `serve`");
}

void vst_config_check_whole(struct reading *reading)
{
    const struct vst_config *config = reading->config;

    check_addresses(reading, "tcp", config->tcp);
    check_addresses(reading, "tls", config->tls);
    check_metrics(reading, config->metrics);
    check_user(reading, config);
    if (config->tcp && !config->mechanisms)
        tell_at(reading, "listen", "tcp",
                "needs [sasl] mechanisms: without TLS nothing else tells who a client is");
    if (config->tls && !config->require_client_cert && !config->mechanisms)
        tell_at(
            reading, "tls", "require-client-cert",
            "cannot be `no` without [sasl] mechanisms: nothing else would tell who a client is");
    if (config->limits.window > config->limits.memory_per_client)
        tell_at(reading, "limits", "window", "must not be greater than memory-per-client");
}
