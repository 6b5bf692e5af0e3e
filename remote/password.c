/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A password from a file, as one job of the worker. Every copy of it is wiped.
 */
#include "password.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/worker.h"

enum { PASSWORD_MAX = 1024 };

struct vst_password {
    struct vst_job job;
    struct vst_worker *worker; /* NULL: it has called back */
    struct vst_password_cb cb;
    char *path;
    char text[PASSWORD_MAX + 2];
    struct vst_error err;
};

static void password_free(struct vst_password *password)
{
    explicit_bzero(password->text, sizeof(password->text));
    free(password->path);
    free(password);
}

static ssize_t read_all(int fd, char *into, size_t room)
{
    size_t used = 0;
    ssize_t n;

    do {
        n = read(fd, into + used, room - used);
        used += n > 0 ? (size_t)n : 0;
    } while ((n > 0 && used < room) || (n < 0 && errno == EINTR));
    return n < 0 ? n : (ssize_t)used;
}

static int check(struct vst_password *password, size_t length)
{
    password->text[length] = '\0';
    password->text[strcspn(password->text, "\r\n")] = '\0';
    if (strlen(password->text) > PASSWORD_MAX)
        return vst_error_set(&password->err, VST_ERR_INVALID,
                             "password-file %s: more than %d bytes", password->path, PASSWORD_MAX);
    if (!password->text[0])
        return vst_error_set(&password->err, VST_ERR_INVALID,
                             "password-file %s: its first line is empty", password->path);
    return 0;
}

static void work(struct vst_job *job)
{
    struct vst_password *password = (struct vst_password *)job;
    char label[400];
    int fd;
    ssize_t n;

    snprintf(label, sizeof(label), "password-file %.300s", password->path);
    fd = vst_open_regular(password->path, label, &password->err);
    if (fd < 0)
        return;
    n = read_all(fd, password->text, sizeof(password->text) - 1);
    if (n < 0)
        vst_error_system(&password->err, errno, "%s", label);
    else
        check(password, (size_t)n);
    vst_close(&fd);
}

static void done(struct vst_job *job)
{
    struct vst_password *password = (struct vst_password *)job;
    bool failed = vst_error_is_set(&password->err);

    vst_worker_put(&password->worker);
    password->cb.loaded(password->cb.opaque, failed ? NULL : password->text,
                        failed ? &password->err : NULL);
}

static void dispose(struct vst_job *job)
{
    password_free((struct vst_password *)job);
}

struct vst_password *vst_password_load(struct event_base *base, const char *path,
                                       const struct vst_password_cb *cb, struct vst_error *ret_err)
{
    struct vst_password *password = calloc(1, sizeof(*password));

    if (!password) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    password->job = (struct vst_job){.work = work, .done = done, .dispose = dispose};
    password->cb = *cb;
    password->path = strdup(path);
    if (password->path)
        password->worker = vst_worker_get(base, ret_err);
    else
        vst_error_no_memory(ret_err);
    if (!password->worker) {
        password_free(password);
        return NULL;
    }
    vst_worker_submit(password->worker, &password->job);
    return password;
}

void vst_password_free(struct vst_password **slot)
{
    struct vst_password *password = *slot;

    *slot = NULL;
    if (!password)
        return;
    if (!password->worker) {
        password_free(password);
        return;
    }
    vst_job_abandon(&password->job);
    vst_worker_put(&password->worker);
}
