/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks that come with a guest: files of their own, made by the worker before QEMU is spawned,
 * which QEMU serves over NBD until it has all of the guest. A descriptor is all that QEMU is given
 * to listen on; each connection to it is made here, for a stream of the source. Files that were
 * made here go again with a migration that is given up, unless the guest was told to run on them.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arrival.h"
#include "core/json.h"
#include "core/worker.h"
#include "new-disk.h"

/* One disk, and the stream that fills it. */
struct arriving_disk {
    struct vst_arrival *arrival;
    const struct vst_disk *disk; /* of the definition */
    uint64_t size;
    bool made; /* the file is ours, and this: */
    struct vst_new_disk file;
    struct vst_op *filling; /* the stream's operation; NULL: it has not come, or is over */
    int spare;              /* to break it */
    unsigned finished;      /* directions of its stream: mask of vst_direction */
};

struct vst_arrival_disks {
    struct vst_job job; /* makes the files; from here to `error` the thread's, while it does */
    struct vst_definition *def;
    bool remove; /* what was made */
    struct vst_error error;
    struct vst_arrival *arrival;
    struct vst_worker *worker;
    bool making;
    size_t count;
    struct arriving_disk list[];
};

/* All of it has come, and QEMU's server has let go of it. */
static bool is_copied(const struct arriving_disk *disk)
{
    return disk->finished == (VST_UP | VST_DOWN);
}

static struct vst_qmp *qmp_of(const struct vst_arrival *arrival)
{
    return vst_guest_qmp(arrival->move.guest);
}

static void failed(struct vst_arrival *arrival, const struct vst_error *err)
{
    if (err->code != VST_ERR_LOST) /* then its end comes, and says more */
        vst_move_fail(&arrival->move, VST_HANDOVER_QEMU_FAILED, err);
}

/* ---- files, on the thread ---- */

static void make(struct vst_job *job)
{
    struct vst_arrival_disks *disks = (struct vst_arrival_disks *)job;

    for (size_t i = 0; i < disks->count; i++) {
        struct arriving_disk *disk = &disks->list[i];

        if (vst_new_disk_make(disk->disk, disk->size, &disk->file, &disks->error) < 0)
            return;
        disk->made = true;
    }
}

static void dispose(struct vst_job *job)
{
    struct vst_arrival_disks *disks = (struct vst_arrival_disks *)job;

    for (size_t i = 0; disks->remove && i < disks->count; i++)
        if (disks->list[i].made)
            vst_new_disk_remove(disks->list[i].disk, &disks->list[i].file);
    vst_definition_free(&disks->def);
    free(disks);
}

/* ---- files, on the loop ---- */

static void made(struct vst_job *job)
{
    struct vst_arrival_disks *disks = (struct vst_arrival_disks *)job;
    struct vst_arrival *arrival = disks->arrival;

    disks->making = false;
    if (vst_error_is_set(&disks->error))
        vst_move_fail(&arrival->move, VST_HANDOVER_QEMU_FAILED, &disks->error);
    else
        vst_arrival_spawn(arrival);
}

static const struct vst_disk_copy *find_copy(const struct vst_image_header *offer, const char *name)
{
    for (struct vst_disk_copy **copy = offer->copies; *copy; copy++)
        if (strcmp((*copy)->disk, name) == 0)
            return *copy;
    return NULL;
}

/* Every disk that the guest writes to, and its size. */
static int list_disks(struct vst_arrival_disks *disks, const struct vst_image_header *offer,
                      struct vst_error *ret_err)
{
    for (struct vst_disk **disk = disks->def->disks; disk && *disk; disk++) {
        const struct vst_disk_copy *copy = find_copy(offer, (*disk)->name);

        if ((*disk)->readonly)
            continue;
        if (!copy)
            return vst_error_set(ret_err, VST_ERR_INVALID,
                                 "the offer does not say how large disk %s is", (*disk)->name);
        disks->list[disks->count++] = (struct arriving_disk){
            .arrival = disks->arrival, .disk = *disk, .size = copy->size, .spare = -1};
    }
    return 0;
}

static struct vst_arrival_disks *disks_new(struct vst_arrival *arrival, struct vst_error *ret_err)
{
    struct vst_definition *def = arrival->offer->definition;
    struct vst_arrival_disks *disks;
    size_t most = 0;

    while (def->disks && def->disks[most])
        most++;
    disks = calloc(1, sizeof(*disks) + most * sizeof(disks->list[0]));
    if (!disks) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    disks->job = (struct vst_job){.work = make, .done = made, .dispose = dispose};
    disks->arrival = arrival;
    disks->def = vst_definition_copy(def, ret_err);
    if (disks->def && list_disks(disks, arrival->offer, ret_err) == 0)
        disks->worker = vst_worker_get(arrival->move.qemu->conn->base, ret_err);
    if (disks->worker)
        return disks;
    dispose(&disks->job);
    return NULL;
}

void vst_arrival_disks_make(struct vst_arrival *arrival)
{
    struct vst_error err = {0};

    arrival->disks = disks_new(arrival, &err);
    if (!arrival->disks) {
        vst_move_fail(&arrival->move, VST_HANDOVER_QEMU_FAILED, &err);
        return;
    }
    arrival->disks->making = true;
    vst_worker_submit(arrival->disks->worker, &arrival->disks->job);
}

/* ---- QEMU's server ---- */

static void acknowledged(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (err)
        failed(opaque, err);
}

static void exported(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (err)
        failed(opaque, err);
    else
        vst_arrival_ready(opaque);
}

static int listen_for_nbd(struct vst_arrival *arrival, struct vst_error *ret_err)
{
    int fd = vst_place_listen(vst_guest_place(arrival->move.guest), "nbd", ret_err);

    if (fd < 0)
        return -1;
    return vst_qmp_pass_fd(qmp_of(arrival), "nbd", &fd,
                           (struct vst_qmp_reply){acknowledged, &arrival->move}, ret_err);
}

/* {"type": "fd", "data": {"str": "nbd"}} */
static struct json_object *nbd_address(void)
{
    struct json_object *data = vst_json_object("str", json_object_new_string("nbd"));
    struct json_object *address = vst_json_object("type", json_object_new_string("fd"));

    if (vst_json_add(address, "data", data) == 0)
        return address;
    json_object_put(address);
    return NULL;
}

static int serve(struct vst_arrival *arrival, struct vst_error *ret_err)
{
    struct vst_arrival_disks *disks = arrival->disks;

    if (listen_for_nbd(arrival, ret_err) < 0 ||
        vst_qmp_execute(qmp_of(arrival), "nbd-server-start",
                        (struct vst_qmp_reply){acknowledged, &arrival->move}, ret_err, "addr",
                        nbd_address(), "max-connections",
                        json_object_new_int64((int64_t)disks->count), NULL) < 0)
        return -1;
    /* One after the other: that of the last is the answer to all. */
    for (size_t i = 0; i < disks->count; i++) {
        const char *name = disks->list[i].disk->name;
        bool last = i + 1 == disks->count;

        if (vst_qmp_execute(qmp_of(arrival), "block-export-add",
                            (struct vst_qmp_reply){last ? exported : acknowledged, &arrival->move},
                            ret_err, "type", json_object_new_string("nbd"), "id",
                            json_object_new_string(name), "node-name", json_object_new_string(name),
                            "name", json_object_new_string(name), "writable",
                            json_object_new_boolean(true), NULL) < 0)
            return -1;
    }
    return 0;
}

void vst_arrival_disks_export(struct vst_arrival *arrival)
{
    struct vst_error err = {0};

    if (!arrival->disks->count)
        vst_arrival_ready(arrival);
    else if (serve(arrival, &err) < 0)
        failed(arrival, &err);
}

static void stopped(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (err)
        failed(opaque, err);
    else
        vst_arrival_completed(opaque);
}

void vst_arrival_disks_close(struct vst_arrival *arrival)
{
    struct vst_arrival_disks *disks = arrival->disks;
    struct vst_error err = {0};

    for (size_t i = 0; i < disks->count; i++) {
        if (is_copied(&disks->list[i]))
            continue;
        vst_error_set(&err, VST_ERR_PROTOCOL, "the source has not copied all of disk %s",
                      disks->list[i].disk->name);
        failed(arrival, &err);
        return;
    }
    if (!disks->count)
        vst_arrival_completed(arrival);
    else if (vst_qmp_execute(qmp_of(arrival), "nbd-server-stop",
                             (struct vst_qmp_reply){stopped, &arrival->move}, &err, NULL) < 0)
        failed(arrival, &err);
}

/* ---- streams ---- */

static void end_filling(struct arriving_disk *disk, const struct vst_error *err)
{
    struct vst_op *op = disk->filling;

    disk->filling = NULL;
    vst_close(&disk->spare);
    if (op && err)
        vst_op_fail(op, err);
    else if (op)
        vst_op_done(op);
}

static void stream_finished(void *opaque, enum vst_direction dir)
{
    struct arriving_disk *disk = opaque;

    disk->finished |= dir;
    if (is_copied(disk))
        end_filling(disk, NULL);
}

static void stream_failed(void *opaque, const struct vst_error *err)
{
    struct arriving_disk *disk = opaque;
    struct vst_arrival *arrival = disk->arrival;
    struct vst_error why = vst_arrival_seen_from_here(err);

    vst_error_prefix(&why, "disk %s", disk->disk->name);
    vst_error_where(&why, VST_SIDE_DESTINATION, "copy");
    if (disk->spare >= 0)
        vst_migration_break(disk->spare);
    if (vst_arrival_awaits_reason(arrival, err))
        return; /* which whoever fills it is told, too */
    end_filling(disk, &why);
    vst_move_fail(&arrival->move, VST_HANDOVER_STREAM_FAILED, &why);
}

static int open_disk(struct arriving_disk *disk, struct vst_guest_channels *ret_channels,
                     struct vst_error *ret_err)
{
    struct vst_arrival *arrival = disk->arrival;
    int fd = vst_place_connect(vst_guest_place(arrival->move.guest), "nbd", ret_err);
    int status = -1;

    if (fd >= 0)
        status =
            vst_guest_channels_open_raw(arrival->move.qemu->conn->base, &fd, ret_channels, ret_err);
    vst_close(&fd);
    return status;
}

static int take(struct arriving_disk *disk, struct vst_stream *stream, struct vst_op *op,
                struct vst_error *ret_err)
{
    struct vst_stream_user user = {
        .finished = stream_finished,
        .failed = stream_failed,
        .opaque = disk,
        .name = "QEMU",
        .side = VST_SIDE_QEMU,
    };
    struct vst_guest_channels channels;

    if (disk->filling || disk->finished || !disk->arrival->move.guest)
        return vst_error_set(ret_err, VST_ERR_STATE, "disk %s is not expected now",
                             disk->disk->name);
    if (vst_stream_claim(stream, op, &user, ret_err) < 0 || open_disk(disk, &channels, ret_err) < 0)
        return -1;
    vst_arrival_stop_awaiting(disk->arrival);
    disk->filling = op;
    disk->spare = channels.spare;
    return vst_stream_attach(stream, channels.source, channels.sink, ret_err);
}

static struct arriving_disk *find_disk(const struct vst_move *move, const char *name)
{
    struct vst_arrival_disks *disks = vst_arrival_of(move)->disks;

    for (size_t i = 0; disks && i < disks->count; i++)
        if (strcmp(disks->list[i].disk->name, name) == 0)
            return &disks->list[i];
    return NULL;
}

void vst_arrival_disks_take(struct vst_qemu *qemu, const unsigned char *token, const char *name,
                            struct vst_stream *stream, struct vst_op *op)
{
    struct vst_move *move = vst_move_find(qemu, token, VST_MIGRATION_IN);
    struct arriving_disk *disk = move ? find_disk(move, name) : NULL;
    struct vst_error err = {0};

    if (!disk)
        vst_error_set(&err, VST_ERR_NOT_FOUND, "no disk %.40s of this migration is expected here",
                      name);
    else if (take(disk, stream, op, &err) == 0)
        return;
    vst_error_where(&err, VST_SIDE_DESTINATION, "copy");
    if (disk && disk->filling == op)
        stream_failed(disk, &err);
    else
        vst_op_fail(op, &err);
}

/* ---- the end ---- */

void vst_arrival_disks_drop(struct vst_arrival *arrival, bool remove)
{
    struct vst_arrival_disks *disks = arrival->disks;
    struct vst_worker *worker;
    struct vst_error err = {0};

    arrival->disks = NULL;
    if (!disks)
        return;
    vst_error_set(&err, VST_ERR_CANCELLED, "%s", vst_move_reason(&arrival->move));
    for (size_t i = 0; i < disks->count; i++)
        end_filling(&disks->list[i], &err);
    disks->remove = remove || disks->making;
    worker = disks->worker;
    if (disks->making)
        vst_job_abandon(&disks->job);
    else
        vst_worker_dispose(worker, &disks->job);
    vst_worker_put(&worker);
}
