/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A simple program that wants to block: it makes a loop of its own, and waits for one operation
 * after the other.
 *
 *     restore-wait FILE [URI]
 */
#include <event2/event.h>
#include <stdio.h>

#include <virstream/virstream.h>

static void take_conn(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(struct vst_conn **)opaque = conn;
}

static void take_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(struct vst_domain **)opaque = domain;
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct vst_stream *stream = base ? vst_stream_new(base, NULL) : NULL;
    struct vst_conn *conn = NULL;
    struct vst_domain *domain = NULL;
    struct vst_conn_cb conn_cb = {take_conn, &conn, NULL};
    struct vst_domain_cb domain_cb = {take_domain, &domain, NULL};
    struct vst_error err = {.code = VST_ERR_NO_MEMORY, .text = "out of memory"};

    if (argc < 2) {
        fprintf(stderr, "usage: restore-wait FILE [URI]\n");
        return 2;
    }
    if (stream && vst_stream_set_source_file(stream, argv[1]) == 0) {
        err = (struct vst_error){0};
        if (vst_op_wait(vst_conn_open(base, argv[2], NULL, &conn_cb), &err) == 0)
            vst_op_wait(vst_domain_restore(conn, stream, NULL, &domain_cb), &err);
    }
    if (domain)
        printf("%s is restored\n", vst_domain_get_name(domain));
    else
        fprintf(stderr, "restore-wait: %s\n", err.text);
    vst_domain_free(&domain);
    vst_stream_free(&stream);
    vst_conn_close(&conn);
    if (base) {
        event_base_dispatch(base); /* the connection lets go of what it holds */
        event_base_free(base);
    }
    return vst_code_exit(err.code);
}
