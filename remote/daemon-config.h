/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration of virstreamd, from INI text to one struct. Pure: no file is opened and nothing
 * is looked up, so it can be checked anywhere, and fuzzed. What the keys mean is in
 * virstreamd.conf(5); the table in daemon-config.c is what that page and the shipped file are
 * tested against.
 */
#ifndef VST_REMOTE_DAEMON_CONFIG_H
#define VST_REMOTE_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "access.h"
#include "limits.h"
#include "tls.h"

#define VST_CONFIG_MAX (1024 * 1024) /* bytes of text */

enum { VST_CONFIG_KEYS_MAX = 64 };

struct vst_config_pool {
    char *name;
    char *path;
    unsigned line;
};

/* Lists end in NULL, and are NULL when empty; strings are NULL when absent. */
struct vst_config {
    /* [daemon] */
    char *root;
    char *user;
    char *log; /* never NULL: "auto", "stderr" or "journal" */
    int nice;
    char **serve;
    /* [listen] */
    char **unix_paths;
    char **tcp;
    char **tls;
    /* [tls] */
    struct vst_tls_files files;
    bool require_client_cert;
    /* [sasl] */
    char *mechanisms;
    char *database;
    char *saslauthd;
    /* [access] */
    struct vst_access *access;
    /* [migrate] */
    struct vst_access *accept;
    char **allow_paths;
    uint64_t patience_seconds;
    /* [pool NAME] */
    struct vst_config_pool *pools;
    size_t pool_count;
    /* [limits] */
    struct vst_limits limits;
    /* [metrics] */
    char *metrics;
    unsigned lines[VST_CONFIG_KEYS_MAX]; /* by key: the first that has it */
};

/* Everything that is wrong is told, not only the first; line 0 is the file as a whole. */
typedef void vst_config_complain(void *opaque, unsigned line, const char *text);

/* NULL when anything was complained of. */
struct vst_config *vst_config_parse(const char *text, size_t length, vst_config_complain *complain,
                                    void *opaque);
/* The line that first has a key, whatever its value; 0: none does. */
unsigned vst_config_line(const struct vst_config *config, const char *section, const char *name);

/*
 * What is right or wrong only on this host: users that are unknown, mechanisms that no plugin
 * offers, certificates that are not what they should be. Opens files and blocks. 0, or -1 when
 * anything was complained of; with what is warned of the daemon starts. Fills in which TLS files
 * are meant.
 */
int vst_config_check_host(struct vst_config *config, vst_config_complain *complain,
                          vst_config_complain *warn, void *opaque);

/* Sets *config to NULL. Accepts NULL. */
void vst_config_free(struct vst_config **config);

/* The table: one row a key, for whoever documents or tests them all. NULL after the last. */
struct vst_config_key {
    const char *section;
    const char *name;
    const char *otherwise; /* the default as one would write it; NULL: none */
    bool repeats;
};
const struct vst_config_key *vst_config_key(size_t index);

/* What is to be opened: `given`, one of `serve`, or NULL for the one URI that `root` and `user` are
 * parameters of; with the pools. To be freed; NULL: out of memory. */
char *vst_config_uri(const struct vst_config *config, const char *given);

#endif
