/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From files to a policy: the configuration, read and parsed, the plugins of SASL and the
 * certificates, loaded. On the worker, because disks can be slow, and a daemon has others to serve
 * meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/worker.h"
#include "daemon-private.h"
#include "sasl-library.h"

enum { COMPLAINTS_MAX = 4096 };

struct load {
    struct vst_job job;
    struct daemon *daemon;
    struct vst_worker *worker;
    struct vst_tls_load *tls;
    bool working; /* a thread has it */
    bool logins;  /* there will be some */
    char *file;   /* NULL: the configuration is not to be read */
    struct vst_config *config;
    char complaints[COMPLAINTS_MAX]; /* "FILE:LINE: ...", a line each */
    char warnings[COMPLAINTS_MAX];   /* the same, and no reason to refuse it */
    struct vst_error err;            /* of SASL */
};

/* ---- the file ---- */

static ssize_t read_all(const char *file, char *text, size_t room, struct vst_error *ret_err)
{
    int fd = vst_open_regular(file, "cannot be read", ret_err);
    size_t used = 0;
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && used < room) {
        n = read(fd, text + used, room - used);
        used += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        vst_error_system(ret_err, errno, "cannot be read");
    vst_close(&fd);
    return n < 0 ? -1 : (ssize_t)used;
}

struct vst_config *vst_daemon_read(const char *file, vst_config_complain *complain,
                                   vst_config_complain *warn, void *opaque)
{
    char *text = malloc(VST_CONFIG_MAX + 1);
    struct vst_config *config = NULL;
    struct vst_error err = {0};
    ssize_t length;

    if (!text) {
        complain(opaque, 0, "out of memory");
        return NULL;
    }
    length = read_all(file, text, VST_CONFIG_MAX + 1, &err);
    if (length < 0)
        complain(opaque, 0, err.text);
    else
        config = vst_config_parse(text, (size_t)length, complain, opaque);
    if (config && vst_config_check_host(config, complain, warn, opaque) < 0)
        vst_config_free(&config);
    free(text);
    return config;
}

static void add_line(const struct load *load, char *lines, unsigned line, const char *text)
{
    size_t used = strlen(lines);
    char place[24] = "";

    if (line)
        snprintf(place, sizeof(place), ":%u", line);
    snprintf(lines + used, COMPLAINTS_MAX - used, "%s%s%s: %s", used ? "\n" : "", load->file, place,
             text);
}

static void note(void *opaque, unsigned line, const char *text)
{
    struct load *load = opaque;

    add_line(load, load->complaints, line, text);
}

static void note_warning(void *opaque, unsigned line, const char *text)
{
    struct load *load = opaque;

    add_line(load, load->warnings, line, text);
}

static void work(struct vst_job *job)
{
    struct load *load = (struct load *)job;

    if (load->file)
        load->config = vst_daemon_read(load->file, note, note_warning, load);
    if (load->config)
        load->logins = load->config->mechanisms;
    /* Or the first login would, on the loop. */
    if (load->logins)
        vst_sasl_library(VST_SASL_SERVER, &load->err);
}

/* ---- the result ---- */

static void load_dispose(struct vst_job *job)
{
    struct load *load = (struct load *)job;

    vst_config_free(&load->config);
    free(load->file);
    free(load);
}

void vst_load_free(struct load **slot)
{
    struct load *load = *slot;
    struct vst_worker *worker;

    *slot = NULL;
    if (!load)
        return;
    vst_tls_load_free(&load->tls);
    worker = load->worker;
    if (load->working)
        vst_job_abandon(&load->job);
    else
        load_dispose(&load->job);
    if (worker)
        vst_worker_put(&worker);
}

static int copy(const char *from, char **ret_copy, struct vst_error *ret_err)
{
    *ret_copy = from ? strdup(from) : NULL;
    return !from || *ret_copy ? 0 : vst_error_no_memory(ret_err);
}

/* What a policy has, out of the configuration; the rules themselves move. */
static void conclude(struct load *load, struct vst_tls_creds *creds)
{
    struct daemon *daemon = load->daemon;
    struct vst_config *config = load->config ? load->config : daemon->config;
    struct vst_error err = {0};
    struct vst_policy policy = {
        .limits = config->limits,
        .access = config->access,
        .accept = config->accept,
        .allow_paths = config->allow_paths,
        .patience_seconds = (unsigned)config->patience_seconds,
        .creds = creds,
        .require_client_cert = config->require_client_cert,
    };

    config->access = config->accept = NULL;
    config->allow_paths = NULL;
    copy(config->mechanisms, &policy.mechanisms, &err);
    copy(config->database, &policy.database, &err);
    copy(config->saslauthd, &policy.saslauthd, &err);
    vst_load_free(&daemon->load);
    vst_daemon_have_policy(daemon, &policy, vst_error_is_set(&err) ? &err : NULL);
    vst_policy_clear(&policy);
}

static void failed(struct load *load, const struct vst_error *err)
{
    struct daemon *daemon = load->daemon;
    struct vst_error copied = *err;

    vst_load_free(&daemon->load);
    vst_daemon_have_policy(daemon, NULL, &copied);
}

static void creds_loaded(void *opaque, struct vst_tls_creds *creds, const struct vst_error *err)
{
    struct load *load = opaque;

    vst_tls_load_free(&load->tls);
    if (err)
        failed(load, err);
    else
        conclude(load, creds);
}

static void load_creds(struct load *load, const struct vst_config *config)
{
    struct vst_error err = {0};

    if (!vst_daemon_listens(load->daemon, VST_LISTEN_TLS)) {
        conclude(load, NULL);
        return;
    }
    load->tls = vst_tls_load(load->daemon->base, VST_TLS_SERVER, NULL, &config->files, creds_loaded,
                             load, &err);
    if (!load->tls)
        failed(load, &err);
}

static void done(struct vst_job *job)
{
    struct load *load = (struct load *)job;
    struct vst_error err = load->err;

    load->working = false;
    if (*load->warnings)
        vst_log_write(load->daemon->log, VST_LOG_WARNING, NULL, "%s", load->warnings);
    if (load->config && !load->config->mechanisms &&
        vst_daemon_listens(load->daemon, VST_LISTEN_TCP))
        note(load, 0, "[sasl] mechanisms cannot go while there is a tcp socket");
    if (*load->complaints)
        vst_error_set(&err, VST_ERR_INVALID, "%s", load->complaints);
    vst_error_where(&err, VST_SIDE_HOST, NULL);
    if (vst_error_is_set(&err))
        failed(load, &err);
    else
        load_creds(load, load->config ? load->config : load->daemon->config);
}

int vst_load_begin(struct daemon *daemon, bool again, struct vst_error *ret_err)
{
    struct load *load = calloc(1, sizeof(*load));

    if (!load)
        return vst_error_no_memory(ret_err);
    load->daemon = daemon;
    load->job = (struct vst_job){.work = work, .done = done, .dispose = load_dispose};
    load->logins = daemon->config->mechanisms;
    daemon->load = load;
    load->worker = vst_worker_get(daemon->base, ret_err);
    if (load->worker && copy(again ? daemon->file : NULL, &load->file, ret_err) == 0) {
        load->working = true;
        vst_worker_submit(load->worker, &load->job);
        return 0;
    }
    vst_load_free(&daemon->load);
    return -1;
}
