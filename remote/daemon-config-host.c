/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is wrong with a configuration only on this host: what is served, the plugins of SASL, the
 * database of users, the certificates, the places of sockets. The daemon asks the same before it
 * starts and before it loads again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/connection.h"
#include "daemon-config.h"
#include "sasl-library.h"

struct host {
    struct vst_config *config;
    vst_config_complain *complain;
    vst_config_complain *warn;
    void *opaque;
    int status;
};

static void complain(struct host *host, const char *section, const char *name, const char *text)
{
    host->status = -1;
    host->complain(host->opaque, vst_config_line(host->config, section, name), text);
}

static void warn(struct host *host, const char *section, const char *name, const char *text)
{
    host->warn(host->opaque, vst_config_line(host->config, section, name), text);
}

/* One that is missing among others is no fault: hosts differ in their plugins. */
static void check_mechanisms(struct host *host)
{
    char words[256], text[400], *save = NULL;
    unsigned there = 0, safe = 0;

    snprintf(words, sizeof(words), "%s", host->config->mechanisms);
    for (char *word = strtok_r(words, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
        int ssf = vst_sasl_plugin_ssf(word);

        there += ssf >= 0;
        safe += ssf >= VST_SASL_SSF;
        snprintf(text, sizeof(text), "mechanisms: no plugin of Cyrus SASL on this host offers %s",
                 word);
        if (ssf < 0)
            warn(host, "sasl", "mechanisms", text);
    }
    if (!there)
        complain(host, "sasl", "mechanisms",
                 "mechanisms: Cyrus SASL has none of them on this host, so nobody could log in");
    else if (!safe && host->config->tcp)
        complain(host, "listen", "tcp",
                 "tcp: nobody could log in there, because none of the mechanisms can protect what "
                 "follows: name one that can (GSSAPI), or use tls");
}

/* It is opened by a plugin, which would wait for whoever writes into a FIFO. */
static void check_database(struct host *host)
{
    const char *database = host->config->database;
    char text[600];
    struct stat st;

    if (stat(database, &st) == 0 && !S_ISREG(st.st_mode)) {
        snprintf(text, sizeof(text), "database = %.400s: not a regular file", database);
        complain(host, "sasl", "database", text);
    } else if (access(database, R_OK) < 0) {
        snprintf(text, sizeof(text), "database = %.400s: %s: until it can be read, it has no users",
                 database, strerror(errno));
        warn(host, "sasl", "database", text);
    }
}

static void check_logins(struct host *host)
{
    const struct vst_config *config = host->config;
    struct vst_error err = {0};

    if (!config->mechanisms)
        return;
    if (vst_sasl_library(VST_SASL_SERVER, &err) < 0)
        complain(host, "sasl", "mechanisms", err.text);
    else
        check_mechanisms(host);
    if (config->database)
        check_database(host);
}

static void check_certificates(struct host *host)
{
    struct vst_tls_files *files = &host->config->files;
    struct vst_tls_creds *creds = NULL;
    struct vst_error err = {0};

    if (!host->config->tls)
        return;
    if (vst_tls_find_files(VST_TLS_SERVER, NULL, files, &err) == 0)
        creds = vst_tls_creds_load(VST_TLS_SERVER, files, &err);
    if (!creds || vst_tls_creds_check_server(creds, &err) < 0)
        complain(host, "tls", "cert", err.text);
    vst_tls_creds_unref(&creds);
}

/* Directories of /run come with the service: that one is not there yet is no fault. */
static void check_sockets(struct host *host)
{
    char *const *paths = host->config->unix_paths;
    char text[600], dir[sizeof(((struct sockaddr_un *)0)->sun_path)];

    for (size_t i = 0; paths && paths[i]; i++) {
        int length = (int)(strrchr(paths[i], '/') - paths[i]);

        snprintf(dir, sizeof(dir), "%.*s", length ? length : 1, paths[i]);
        if (access(dir, X_OK) == 0)
            continue;
        snprintf(text, sizeof(text), "unix = %s: %s: %s: until it is there, nothing can listen",
                 paths[i], dir, strerror(errno));
        warn(host, "listen", "unix", text);
    }
}

static void check_uri(struct host *host, const char *given)
{
    const char *key = given ? "serve" : host->config->user ? "user" : "root";
    char *uri = vst_config_uri(host->config, given);
    struct vst_error err = {0};

    if (!uri)
        vst_error_no_memory(&err);
    else
        vst_conn_check_uri(uri, &err);
    if (vst_error_is_set(&err))
        complain(host, "daemon", key, err.text);
    free(uri);
}

static void check_served(struct host *host)
{
    char *const *serve = host->config->serve;

    if (!serve)
        check_uri(host, NULL);
    for (; serve && *serve; serve++)
        check_uri(host, *serve);
}

int vst_config_check_host(struct vst_config *config, vst_config_complain *complain_,
                          vst_config_complain *warn_, void *opaque)
{
    struct host host = {config, complain_, warn_, opaque, 0};

    check_served(&host);
    check_sockets(&host);
    check_logins(&host);
    check_certificates(&host);
    return host.status;
}
