/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding and loading certificates on the worker: one job, which belongs to the thread while it
 * runs. What it has made when nobody wants it any more is dropped there.
 */
#include <stdlib.h>
#include <string.h>

#include "core/worker.h"
#include "tls.h"

struct vst_tls_load {
    struct vst_job job;
    struct vst_worker *worker;
    enum vst_tls_role role;
    char *directory;
    struct vst_tls_files files;
    struct vst_tls_creds *creds;
    struct vst_error err;
    void (*loaded)(void *opaque, struct vst_tls_creds *creds, const struct vst_error *err);
    void *opaque;
};

static void load_free(struct vst_tls_load *load)
{
    vst_tls_creds_unref(&load->creds);
    vst_tls_files_clear(&load->files);
    free(load->directory);
    free(load);
}

static void work(struct vst_job *job)
{
    struct vst_tls_load *load = (struct vst_tls_load *)job;

    if (vst_tls_find_files(load->role, load->directory, &load->files, &load->err) == 0)
        load->creds = vst_tls_creds_load(load->role, &load->files, &load->err);
}

/* The callee may free the load. */
static void done(struct vst_job *job)
{
    struct vst_tls_load *load = (struct vst_tls_load *)job;
    struct vst_tls_creds *creds = load->creds;
    struct vst_error err = load->err;

    vst_worker_put(&load->worker);
    load->creds = NULL;
    load->loaded(load->opaque, creds, creds ? NULL : &err);
}

static void dispose(struct vst_job *job)
{
    load_free((struct vst_tls_load *)job);
}

static int copy(char **into, const char *text)
{
    *into = text ? strdup(text) : NULL;
    return text && !*into ? -1 : 0;
}

static int copy_wishes(struct vst_tls_load *load, const char *directory,
                       const struct vst_tls_files *files, struct vst_error *err)
{
    if (copy(&load->directory, directory) < 0 || copy(&load->files.ca, files->ca) < 0 ||
        copy(&load->files.cert, files->cert) < 0 || copy(&load->files.key, files->key) < 0 ||
        copy(&load->files.crl, files->crl) < 0)
        return vst_error_no_memory(err);
    return 0;
}

struct vst_tls_load *vst_tls_load(struct event_base *base, enum vst_tls_role role,
                                  const char *directory, const struct vst_tls_files *files,
                                  void (*loaded)(void *opaque, struct vst_tls_creds *creds,
                                                 const struct vst_error *err),
                                  void *opaque, struct vst_error *ret_err)
{
    struct vst_tls_load *load = calloc(1, sizeof(*load));

    if (!load) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    load->job = (struct vst_job){.work = work, .done = done, .dispose = dispose};
    load->role = role;
    load->loaded = loaded;
    load->opaque = opaque;
    if (copy_wishes(load, directory, files, ret_err) == 0)
        load->worker = vst_worker_get(base, ret_err);
    if (!load->worker) {
        load_free(load);
        return NULL;
    }
    vst_worker_submit(load->worker, &load->job);
    return load;
}

void vst_tls_load_free(struct vst_tls_load **slot)
{
    struct vst_tls_load *load = *slot;
    struct vst_worker *worker;

    *slot = NULL;
    if (!load)
        return;
    if (!load->worker) { /* it has called back */
        load_free(load);
        return;
    }
    worker = load->worker;
    vst_job_abandon(&load->job); /* from here on it is the thread's */
    vst_worker_put(&worker);
}
