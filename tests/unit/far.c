/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other host, and what is asked of it: calls that wait.
 */
#include "far.h"

#include <stdio.h>

static void have_conn(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    if (err)
        print_message("# connect: %s\n", err->text);
    else
        *(struct vst_conn **)opaque = conn;
}

void far_make_uri(const struct vst_host *host, char ret_uri[128])
{
    snprintf(ret_uri, 128, "qemu:///?root=%s/there", host->dir);
}

struct vst_conn *far_connect(struct event_base *base, const char *uri)
{
    struct vst_conn *conn = NULL;
    struct vst_conn_cb cb = {.fn = have_conn, .opaque = &conn};

    vst_op_wait(vst_conn_open(base, uri, NULL, &cb), NULL);
    return conn;
}

void far_disconnect(struct vst_host *host, struct vst_conn **conn)
{
    vst_conn_close(conn);
    vst_host_run(host, 10);
}

static void have_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    if (!err)
        *(struct vst_domain **)opaque = domain;
}

struct vst_domain *far_look_up(struct vst_conn *conn, const char *name)
{
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {.fn = have_domain, .opaque = &domain};

    vst_op_wait(vst_conn_lookup(conn, name, &cb), NULL);
    return domain;
}

static void have_info(const struct vst_domain_info *infos, size_t count,
                      const struct vst_error *err, void *opaque)
{
    if (!err && count == 1)
        *(struct vst_domain_info *)opaque = infos[0];
}

bool far_look(struct vst_conn *conn, const char *name, struct vst_domain_info *ret_info)
{
    struct vst_domain *domain = far_look_up(conn, name);
    struct vst_domain_info info = {0};
    struct vst_info_cb cb = {.fn = have_info, .opaque = &info};

    if (domain)
        vst_op_wait(vst_domain_get_info(domain, &cb), NULL);
    vst_domain_free(&domain);
    if (!info.name[0])
        return false;
    *ret_info = info;
    return true;
}

bool far_runs(struct vst_conn *conn, const char *name)
{
    struct vst_domain_info info;

    return far_look(conn, name, &info) && info.state == VST_DOMAIN_RUNNING;
}

void far_destroy(struct vst_conn *conn, const char *name)
{
    struct vst_domain *domain = far_look_up(conn, name);

    if (domain)
        vst_op_wait(vst_domain_destroy(domain, NULL), NULL);
    vst_domain_free(&domain);
}
