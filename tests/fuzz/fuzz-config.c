/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's configuration. Whatever the text is: there is a configuration, or something is told
 * of it, and not both; what it says keeps to the bounds; and its rules match without running wild.
 */
#include <string.h>

#include "remote/address.h"
#include "remote/daemon-config.h"
#include "replay.h"

static void complain(void *opaque, unsigned line, const char *text)
{
    unsigned *told = opaque;

    (void)line;
    FUZZ_CHECK(*text);
    ++*told;
}

static void ask(const struct vst_access *access)
{
    static const char *const uris[] = {"spiffe://example/a*b", "=", NULL};
    struct vst_identity identity = {0};
    enum vst_role role;

    vst_identity_add_unix(&identity, 0, NULL);
    vst_identity_add_user(&identity, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", NULL);
    vst_identity_add_x509(&identity, "CN=a\\,b,O=c+OU=d", uris, NULL);
    role = vst_access_role(access, &identity);
    FUZZ_CHECK(role <= VST_ROLE_ADMIN);
    FUZZ_CHECK(role == VST_ROLE_NONE || !vst_access_is_empty(access));
    vst_identity_clear(&identity);
}

static void look_at(const struct vst_config *config)
{
    struct vst_address address;

    FUZZ_CHECK(config->log && config->access);
    FUZZ_CHECK(config->limits.window <= config->limits.memory_per_client);
    FUZZ_CHECK(config->limits.clients >= 1 && config->limits.handshake_seconds >= 1);
    FUZZ_CHECK(!config->tcp || config->mechanisms);
    for (size_t i = 0; config->tls && config->tls[i]; i++)
        FUZZ_CHECK(vst_address_parse(config->tls[i], &address, NULL) == 0);
    for (size_t i = 0; i < config->pool_count; i++)
        FUZZ_CHECK(config->pools[i].path[0] == '/' && !strchr(config->pools[i].name, '/'));
    ask(config->access);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned told = 0;
    struct vst_config *config = vst_config_parse((const char *)data, size, complain, &told);

    FUZZ_CHECK(!config == !!told);
    if (config)
        look_at(config);
    vst_config_free(&config);
    return 0;
}
