/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is wrong with a configuration only as a whole: who connects must be known to somebody.
 */
#include <string.h>

#include "daemon-config-private.h"

unsigned vst_config_line(const struct vst_config *config, const char *section, const char *name)
{
    for (size_t i = 0; vst_config_key(i); i++)
        if (strcmp(vst_config_key(i)->section, section) == 0 &&
            strcmp(vst_config_key(i)->name, name) == 0)
            return config->lines[i];
    return 0;
}

static void tell_at(struct reading *reading, const char *section, const char *name,
                    const char *text)
{
    reading->line = vst_config_line(reading->config, section, name);
    vst_config_tell(reading, "%s", text);
    reading->line = 0;
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

    bool logins = vst_config_line(config, "sasl", "mechanisms"); /* if wrong, that has been told */

    check_user(reading, config);
    if (config->tcp && !logins)
        tell_at(reading, "listen", "tcp",
                "needs [sasl] mechanisms: without TLS nothing else tells who a client is");
    if (config->tls && !config->require_client_cert && !logins)
        tell_at(
            reading, "tls", "require-client-cert",
            "cannot be `no` without [sasl] mechanisms: nothing else would tell who a client is");
    if (config->limits.window > config->limits.memory_per_client)
        tell_at(reading, "limits", "window", "must not be greater than memory-per-client");
}
