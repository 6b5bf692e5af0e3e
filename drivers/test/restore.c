/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restore: the header makes the guest, each byte of its state is compared with what it must be, and
 * with the end of the image verified the guest runs. A failure at any point leaves no guest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/image.h"
#include "guest.h"

enum { MIB = 1024 * 1024 };

struct restore {
    struct vst_test_host *host;
    struct vst_test_guest *guest; /* NULL before the header, and when the guest is gone */
    struct vst_test_watch watch;
    struct vst_stream *stream;
    struct vst_op *op;
    struct vst_channel *image; /* the stream's */
    struct vst_channel *sink;  /* the image's */
    char name[64];             /* the one asked for; "" for the saved one */
    bool paused;
    bool no_args;
};

/* The guest is nobody's job any more. */
static struct vst_test_guest *release(struct restore *restore)
{
    struct vst_test_guest *guest = restore->guest;

    restore->guest = NULL;
    if (!guest)
        return NULL;
    LIST_REMOVE(&restore->watch, link);
    vst_test_guest_set_job(guest, VST_JOB_NONE, NULL);
    return guest;
}

static void fail(struct restore *restore, const struct vst_error *err)
{
    struct vst_test_guest *guest = release(restore);
    struct vst_error copy = *err;

    vst_error_where(&copy, VST_SIDE_HOST, "restore");
    vst_op_fail(restore->op, &copy);
    if (guest)
        vst_test_guest_free(restore->host, guest);
}

static void failed(void *opaque, const struct vst_error *err)
{
    fail(opaque, err);
}

static void finished(void *opaque, enum vst_direction dir)
{
    struct restore *restore = opaque;
    struct vst_test_host *host = restore->host;
    struct vst_test_guest *guest = release(restore);
    const struct vst_test_identity *saved = vst_test_state_identity(restore->sink);

    (void)dir;
    if (!guest)
        return; /* failed before, and told so */
    guest->identity.generation = saved->generation + 1;
    guest->identity.size = saved->size;
    if (vst_driver_domain(host->conn, restore->op, guest->identity.name, guest->identity.uuid) <
        0) {
        vst_test_guest_free(host, guest);
        return;
    }
    vst_test_guest_set_state(guest, restore->paused ? VST_DOMAIN_PAUSED : VST_DOMAIN_RUNNING);
    vst_test_guest_tell(host, guest, VST_EVENT_STARTED, "restored");
}

static void gone(void *opaque)
{
    struct restore *restore = opaque;
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_DRIVER, "%s was destroyed", restore->guest->identity.name);
    restore->guest = NULL;
    vst_stream_fail(restore->stream, &err);
}

/* The saved definition under the name that was asked for. */
static struct vst_definition *make_definition(const struct restore *restore,
                                              const struct vst_image_header *header,
                                              struct vst_error *ret_err)
{
    struct vst_definition *def = vst_definition_copy(header->definition, ret_err);

    if (def && restore->no_args && vst_definition_check_no_args(def, ret_err) < 0)
        vst_definition_free(&def);
    if (def && restore->name[0] && vst_definition_rename(def, restore->name, ret_err) < 0)
        vst_definition_free(&def);
    return def;
}

static int make_guest(struct restore *restore, const struct vst_image_header *header,
                      struct vst_error *ret_err)
{
    struct vst_definition *def;

    if (strcmp(header->driver, "test") != 0)
        return vst_error_set(ret_err, VST_ERR_INCOMPATIBLE,
                             "the image is of a guest of the %s driver", header->driver);
    def = make_definition(restore, header, ret_err);
    if (def)
        restore->guest = vst_test_guest_new(restore->host, &def, ret_err);
    vst_definition_free(&def);
    if (!restore->guest)
        return -1;
    vst_test_guest_watch(restore->guest, &restore->watch);
    vst_test_guest_set_job(restore->guest, VST_JOB_RESTORE, restore->stream);
    vst_test_guest_set_state(restore->guest, VST_DOMAIN_STARTING);
    return 0;
}

static int plug(struct restore *restore, const struct vst_image_header *header,
                struct vst_error *ret_err)
{
    struct vst_test_identity saved = {.size = 0};

    snprintf(saved.name, sizeof(saved.name), "%s", header->definition->name);
    snprintf(saved.uuid, sizeof(saved.uuid), "%s", header->definition->uuid);
    restore->sink = vst_test_state_sink(restore->host->conn->base, &saved,
                                        header->definition->memory_mib * MIB, ret_err);
    if (!restore->sink)
        return -1;
    if (vst_image_plug(restore->image, restore->sink, ret_err) == 0)
        return 0;
    vst_channel_free(&restore->sink);
    return -1;
}

static void on_header(void *opaque, const struct vst_image_header *header)
{
    struct restore *restore = opaque;
    struct vst_error err = {0};

    restore->paused |= !header->running;
    if (make_guest(restore, header, &err) < 0 || plug(restore, header, &err) < 0)
        fail(restore, &err);
}

static int begin(struct restore *restore, struct vst_error *ret_err)
{
    struct vst_image_cb cb = {on_header, restore};

    if (restore->name[0] &&
        vst_test_guest_check_free(restore->host, restore->name, NULL, ret_err) < 0)
        return -1;
    restore->image = vst_image_decode(restore->host->conn->base, &cb, ret_err);
    if (!restore->image)
        return -1;
    return vst_stream_attach(restore->stream, NULL, restore->image, ret_err);
}

static struct restore *restore_new(struct vst_conn *conn, struct vst_stream *stream,
                                   const struct vst_restore_options *opt, struct vst_op *op,
                                   struct vst_error *ret_err)
{
    struct restore *restore = NULL;

    if (opt->name && vst_name_check(opt->name, ret_err) < 0)
        return NULL;
    restore = calloc(1, sizeof(*restore));
    if (!restore) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    restore->host = conn->impl;
    restore->watch = (struct vst_test_watch){.gone = gone, .opaque = restore};
    restore->stream = stream;
    restore->op = op;
    restore->paused = opt->paused;
    restore->no_args = opt->no_args;
    if (opt->name)
        snprintf(restore->name, sizeof(restore->name), "%s", opt->name);
    vst_op_own(op, restore, free);
    return restore;
}

void vst_test_restore(struct vst_conn *conn, struct vst_stream *stream,
                      const struct vst_restore_options *opt, struct vst_op *op)
{
    struct vst_error err = {0};
    struct restore *restore = restore_new(conn, stream, opt, op, &err);
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = restore,
        .name = "test guest",
        .side = VST_SIDE_HOST,
        .stall_seconds = vst_stall_seconds(opt->stall_seconds),
    };

    if (!restore || vst_stream_claim(stream, op, &user, &err) < 0)
        vst_op_fail(op, &err);
    else if (begin(restore, &err) < 0)
        fail(restore, &err);
}
