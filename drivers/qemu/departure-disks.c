/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks that go with a guest: QEMU mirrors each to the NBD server of the QEMU there, through a
 * stream of the same connection. Memory begins to move when every mirror is in step; from then on
 * each write of the guest goes to both. While the guest is paused for the switch the mirrors end,
 * and the switch goes on when the destination has let go of the last one.
 *
 * QEMU's NBD client remembers its socket by the number of the descriptor. When it has a request and
 * finds the connection broken, it closes the socket, takes what has that number by then, be it
 * anybody's, for another connection, and closes that. So QEMU is told to let go (yank) before its
 * socket is shut here, and the stream goes on until it has: a gate keeps back that QEMU's end is
 * closed, so that the destination does not take it for a copy that is complete.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy-node.h"
#include "core/fd.h"
#include "core/fsm.h"
#include "core/json.h"
#include "departure.h"
#include "migration.h"

#define COPY_STATES(X)                                                               \
    X(COPY_WAITING, "its turn", "mirrors are begun one after the other")             \
    X(COPY_PASSING, "reply to getfd", "QEMU gets its end of the stream")             \
    X(COPY_ADDING, "reply to blockdev-add", "NBD is negotiated")                     \
    X(COPY_STARTING, "reply to blockdev-mirror", "the job begins")                   \
    X(COPY_MIRRORING, "BLOCK_JOB_READY", "the disk is copied, and what is written")  \
    X(COPY_READY, "the switch", "both disks are the same, and stay so")              \
    X(COPY_ENDING, "BLOCK_JOB_COMPLETED", "the guest is paused, nothing is written") \
    X(COPY_CLOSING, "the end of the stream", "QEMU has let go of the copy")          \
    X(COPY_OVER, "nothing", "copied, or given up")
VST_FSM(copy, COPY_STATES)

/* Between a copy and its stream's operation, each of which may end first. */
struct copy_tie {
    struct departing_disk *disk;
};

struct departing_disk {
    struct vst_departure *departure;
    enum copy_state state;
    struct vst_disk_copy copy;
    char node[VST_COPY_NAME_MAX + 1]; /* of QEMU's for the copy, and its job */
    struct vst_stream *stream;
    struct vst_channel *gate; /* of the stream: the end of what QEMU sends */
    struct copy_tie *tie;
    int spare;
    uint64_t bandwidth; /* that it was begun with, and then has */
    uint64_t piece;     /* by that which it was begun with */
    uint64_t length;    /* by QEMU's last word: bytes to be copied, and those that were */
    uint64_t done;
};

struct vst_departure_disks {
    bool undoing;                 /* they are given up */
    struct departing_disk *begun; /* the one to which QEMU replies; NULL: none is being begun */
    size_t count;
    struct departing_disk list[];
};

static void go_on(struct vst_departure *departure);

static struct vst_qmp *qmp_of(const struct departing_disk *disk)
{
    return vst_guest_qmp(disk->departure->move.guest);
}

static void enter(struct departing_disk *disk, enum copy_state state)
{
    vst_fsm_trace(copy, disk->copy.disk, disk->state, state);
    disk->state = state;
}

static void fail(struct departing_disk *disk, enum vst_handover_event event,
                 const struct vst_error *err)
{
    struct vst_error why = *err;

    if (disk->departure->disks->undoing || err->code == VST_ERR_LOST)
        return; /* it is known already; or the end of QEMU comes, and says more */
    vst_error_prefix(&why, "disk %s", disk->copy.disk);
    vst_move_fail(&disk->departure->move, event, &why);
}

static bool all_are(const struct vst_departure_disks *disks, enum copy_state state)
{
    for (size_t i = 0; i < disks->count; i++)
        if (disks->list[i].state != state)
            return false;
    return true;
}

/* ---- which, and how large ---- */

static int list_disks(struct vst_departure *departure, struct vst_error *ret_err)
{
    const struct vst_definition *def = vst_guest_definition(departure->move.guest);
    struct vst_departure_disks *disks = departure->disks;

    for (struct vst_disk **disk = def->disks; disk && *disk; disk++) {
        struct departing_disk *made = &disks->list[disks->count];

        if ((*disk)->readonly)
            continue;
        *made = (struct departing_disk){.departure = departure, .spare = -1};
        made->copy.size = vst_departure_size_of(departure, (*disk)->name);
        if (!made->copy.size)
            return vst_error_set(ret_err, VST_ERR_PROTOCOL, "qemu %s does not tell the size of %s",
                                 def->name, (*disk)->name);
        made->copy.disk = strdup((*disk)->name);
        if (!made->copy.disk)
            return vst_error_no_memory(ret_err);
        vst_copy_put_name(made->node, departure->move.token, disks->count++);
    }
    return 0;
}

int vst_departure_disks_take(struct vst_departure *departure, struct vst_error *ret_err)
{
    const struct vst_definition *def = vst_guest_definition(departure->move.guest);
    size_t most = 0;

    while (def->disks && def->disks[most])
        most++;
    departure->disks =
        calloc(1, sizeof(*departure->disks) + most * sizeof(departure->disks->list[0]));
    if (!departure->disks)
        return vst_error_no_memory(ret_err);
    return list_disks(departure, ret_err);
}

int vst_departure_disks_offer(struct vst_departure *departure, struct vst_disk_copy ***ret_copies,
                              struct vst_error *ret_err)
{
    struct vst_departure_disks *disks = departure->disks;
    struct vst_disk_copy **copies;

    if (!disks || !disks->count) {
        *ret_copies = NULL;
        return 0;
    }
    copies = calloc(disks->count + 1, sizeof(struct vst_disk_copy *));
    if (!copies)
        return vst_error_no_memory(ret_err);
    for (size_t i = 0; i < disks->count; i++)
        copies[i] = &disks->list[i].copy;
    *ret_copies = copies;
    return 0;
}

/* ---- the stream of one ---- */

static void let_go_if_all_over(struct vst_departure *departure)
{
    struct vst_departure_disks *disks = departure->disks;

    if (!all_are(disks, COPY_OVER))
        return;
    if (disks->undoing)
        vst_departure_undo(departure);
    else
        vst_departure_switch(departure);
}

/* The destination has all that was sent; or it broke off. */
static void stream_over(const struct vst_error *err, void *opaque)
{
    struct copy_tie *tie = opaque;
    struct departing_disk *disk = tie->disk;
    struct vst_error early = {0};

    if (!disk)
        return;
    disk->tie = NULL;
    vst_close(&disk->spare);
    vst_stream_free(&disk->stream);
    if (disk->departure->disks->undoing)
        return;
    if (!err && disk->state == COPY_CLOSING) {
        enter(disk, COPY_OVER);
        let_go_if_all_over(disk->departure);
        return;
    }
    /* fail() takes LOST for the word of a monitor, behind which there is more to come. */
    if (err && err->code == VST_ERR_LOST) {
        early = (struct vst_error){.code = VST_ERR_CONNECT, .side = err->side};
        memcpy(early.text, err->text, sizeof(early.text));
    } else if (!err) {
        vst_error_set(&early, VST_ERR_PROTOCOL, "the copy was closed before it was complete");
    }
    fail(disk, VST_HANDOVER_LINK_DOWN, vst_error_is_set(&early) ? &early : err);
}

/* The operation may outlive the departure. */
static struct vst_op *move_stream(struct departing_disk *disk)
{
    struct copy_tie *tie = malloc(sizeof(*tie));
    struct vst_done done = {stream_over, tie, free};
    char part[64];

    if (!tie)
        return NULL;
    tie->disk = disk;
    disk->tie = tie;
    snprintf(part, sizeof(part), "disk %s", disk->copy.disk);
    return vst_link_move(disk->departure->link, disk->departure->move.token, part, disk->stream,
                         &done);
}

static int open_stream(struct departing_disk *disk, int *ours, struct vst_error *ret_err)
{
    struct vst_departure *departure = disk->departure;
    struct event_base *base = departure->move.qemu->conn->base;
    struct vst_guest_channels channels;

    if (!vst_link_is_up(departure->link))
        return vst_error_set(ret_err, VST_ERR_CONNECT, "the connection to %s is lost",
                             departure->move.peer);
    disk->stream = vst_stream_new(base, NULL);
    if (!disk->stream)
        return vst_error_no_memory(ret_err);
    if (vst_guest_channels_open_raw(base, ours, &channels, ret_err) < 0)
        return -1;
    disk->spare = channels.spare;
    disk->gate = vst_channel_gate(channels.source, ret_err);
    if (!disk->gate) {
        vst_channel_free(&channels.source);
        vst_channel_free(&channels.sink);
        return -1;
    }
    vst_stream_set_ends(disk->stream, disk->gate, channels.sink);
    if (move_stream(disk))
        return 0;
    disk->tie = NULL;
    return vst_error_no_memory(ret_err);
}

/* QEMU's end fails at once, and with it its job. `why` is for the destination; NULL: it is what the
 * migration is given up for. */
static void break_stream(struct departing_disk *disk, const struct vst_error *why)
{
    if (disk->spare >= 0)
        vst_migration_break(disk->spare);
    vst_close(&disk->spare);
    if (disk->tie)
        disk->tie->disk = NULL;
    disk->tie = NULL;
    vst_departure_abort_stream(disk->departure, disk->stream, why);
    vst_stream_free(&disk->stream);
}

/* ---- one mirror, step by step ---- */

static void sent(struct departing_disk *disk, int status, const struct vst_error *err)
{
    if (status < 0)
        fail(disk, VST_HANDOVER_QEMU_FAILED, err);
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err);

static struct vst_qmp_reply then_step(struct departing_disk *disk)
{
    return (struct vst_qmp_reply){replied, &disk->departure->move};
}

static void pass_socket(struct departing_disk *disk)
{
    struct vst_error err = {0};
    int ours = -1, qemus = -1;

    disk->departure->disks->begun = disk;
    enter(disk, COPY_PASSING);
    if (vst_migration_sockets(&ours, &qemus, &err) < 0 || open_stream(disk, &ours, &err) < 0) {
        vst_close(&ours);
        vst_close(&qemus);
        fail(disk, vst_departure_lacks_stream(disk->departure), &err);
        return;
    }
    /* A name of its own: what is passed and never used stays, and is never closed by the next. */
    sent(disk, vst_qmp_pass_fd(qmp_of(disk), disk->node, &qemus, then_step(disk), &err), &err);
}

static void add_node(struct departing_disk *disk)
{
    struct vst_error err = {0};

    enter(disk, COPY_ADDING);
    sent(disk, vst_copy_add(qmp_of(disk), disk->node, disk->copy.disk, then_step(disk), &err),
         &err);
}

static void start_mirror(struct departing_disk *disk)
{
    struct vst_error err = {0};

    enter(disk, COPY_STARTING);
    disk->bandwidth = disk->departure->opt.bandwidth;
    disk->piece = vst_copy_piece(disk->bandwidth);
    sent(disk,
         vst_copy_start(qmp_of(disk), disk->node, disk->copy.disk, disk->bandwidth, then_step(disk),
                        &err),
         &err);
}

/* An order that QEMU took before this mirror was there went by it. */
static bool keep_pace(struct departing_disk *disk)
{
    uint64_t ordered = disk->departure->opt.bandwidth;
    struct vst_error err = {0};

    if (disk->bandwidth == ordered)
        return false;
    disk->bandwidth = ordered;
    sent(disk, vst_copy_set_speed(qmp_of(disk), disk->node, ordered, then_step(disk), &err), &err);
    return true;
}

static void step(struct departing_disk *disk)
{
    switch (disk->state) {
    case COPY_PASSING:
        add_node(disk);
        return;
    case COPY_ADDING:
        start_mirror(disk);
        return;
    case COPY_STARTING:
        if (keep_pace(disk))
            return;
        enter(disk, COPY_MIRRORING);
        break;
    case COPY_WAITING:
    case COPY_MIRRORING:
    case COPY_READY: /* which may come before the reply to blockdev-mirror */
    case COPY_ENDING:
    case COPY_CLOSING:
    case COPY_OVER:
        break;
    }
    disk->departure->disks->begun = NULL;
    go_on(disk->departure);
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;
    struct departing_disk *disk = departure->disks->begun;

    (void)value;
    if (err)
        fail(disk, VST_HANDOVER_QEMU_FAILED, err);
    else if (!departure->disks->undoing)
        step(disk);
}

/* Begins one more, unless one is being begun; after the last one memory follows. */
static void go_on(struct vst_departure *departure)
{
    struct vst_departure_disks *disks = departure->disks;

    if (disks->begun)
        return;
    for (size_t i = 0; i < disks->count; i++) {
        if (disks->list[i].state == COPY_WAITING) {
            pass_socket(&disks->list[i]);
            return;
        }
    }
    if (all_are(disks, COPY_READY))
        vst_departure_move(departure);
}

bool vst_departure_disks_begin(struct vst_departure *departure)
{
    if (!departure->disks || !departure->disks->count)
        return false;
    vst_departure_enter(departure, DEPARTURE_COPYING);
    go_on(departure);
    return true;
}

int vst_departure_disks_set(struct vst_departure *departure, uint64_t bandwidth,
                            struct vst_qmp_reply reply, struct vst_error *ret_err)
{
    struct vst_departure_disks *disks = departure->disks;
    int told = 0;

    for (size_t i = 0; i < disks->count; i++) {
        const struct departing_disk *disk = &disks->list[i];

        if (disk->state < COPY_STARTING || disk->state > COPY_READY)
            continue;
        if (vst_copy_set_speed(qmp_of(disk), disk->node, bandwidth, reply, ret_err) < 0)
            return -1;
        told++;
    }
    return told;
}

uint64_t vst_departure_disks_piece(const struct vst_departure *departure)
{
    const struct vst_departure_disks *disks = departure->disks;
    uint64_t most = 0;

    for (size_t i = 0; i < disks->count; i++)
        if (disks->list[i].piece > most)
            most = disks->list[i].piece;
    return most;
}

/* ---- what QEMU tells of its jobs ---- */

static void ready(struct departing_disk *disk)
{
    if (disk->departure->disks->undoing ||
        (disk->state != COPY_STARTING && disk->state != COPY_MIRRORING))
        return; /* it may have been said just before it was cancelled */
    enter(disk, COPY_READY);
    go_on(disk->departure);
}

static void failed(struct departing_disk *disk, const char *reason)
{
    struct vst_error err = {0};

    vst_copy_yank(qmp_of(disk), disk->node);
    vst_copy_delete(qmp_of(disk), disk->node);
    vst_copy_explain(vst_guest_definition(disk->departure->move.guest), disk->copy.disk,
                     disk->departure->move.peer, reason, &err);
    enter(disk, COPY_OVER);
    break_stream(disk, &err);
    fail(disk, VST_HANDOVER_QEMU_FAILED, &err);
}

static void ended(struct departing_disk *disk, const char *reason)
{
    if (disk->departure->disks->undoing) {
        vst_copy_delete(qmp_of(disk), disk->node);
        enter(disk, COPY_OVER);
        break_stream(disk, NULL);
        let_go_if_all_over(disk->departure);
    } else if (disk->state == COPY_ENDING && !reason) {
        vst_copy_delete(qmp_of(disk), disk->node);
        enter(disk, COPY_CLOSING);
        if (disk->stream)
            vst_gate_open(disk->gate);
    } else {
        failed(disk, reason);
    }
}

void vst_departure_disks_event(struct vst_departure *departure, const char *name,
                               struct json_object *data)
{
    struct vst_departure_disks *disks = departure->disks;
    const char *device = data ? vst_json_string(data, "device") : NULL;

    for (size_t i = 0; disks && device && i < disks->count; i++) {
        struct departing_disk *disk = &disks->list[i];

        if (strcmp(device, disk->node) != 0)
            continue;
        if (strcmp(name, "BLOCK_JOB_READY") == 0)
            ready(disk);
        else if (strcmp(name, "BLOCK_JOB_COMPLETED") == 0)
            ended(disk, vst_json_string(data, "error"));
        else if (strcmp(name, "BLOCK_JOB_CANCELLED") == 0)
            ended(disk, "it was cancelled");
        return;
    }
}

/* ---- the switch, and the end ---- */

bool vst_departure_disks_finish(struct vst_departure *departure)
{
    struct vst_departure_disks *disks = departure->disks;
    struct vst_error err = {0};

    if (!disks || !disks->count)
        return false;
    for (size_t i = 0; i < disks->count; i++) {
        struct departing_disk *disk = &disks->list[i];

        enter(disk, COPY_ENDING);
        /* In step, it is completed by this. */
        if (vst_copy_cancel(qmp_of(disk), disk->node, false, &err) == 0)
            continue;
        fail(disk, VST_HANDOVER_QEMU_FAILED, &err);
        break;
    }
    return true;
}

/* One that was never begun is over at once, one that has a job when QEMU says so. */
static void give_up(struct departing_disk *disk)
{
    bool has_job = disk->state >= COPY_STARTING && disk->state <= COPY_ENDING;
    bool has_node = disk->state >= COPY_ADDING && disk->state <= COPY_CLOSING;

    if (has_job && disk->departure->move.guest) {
        vst_copy_yank(qmp_of(disk), disk->node);
        if (vst_copy_cancel(qmp_of(disk), disk->node, true, NULL) == 0)
            return;
    }
    break_stream(disk, NULL); /* QEMU may be waiting for it, to add the node */
    if (disk->state == COPY_OVER)
        return;
    if (has_node && disk->departure->move.guest)
        vst_copy_delete(qmp_of(disk), disk->node);
    enter(disk, COPY_OVER);
}

bool vst_departure_disks_undo(struct vst_departure *departure)
{
    struct vst_departure_disks *disks = departure->disks;

    if (!disks || disks->undoing)
        return false;
    disks->undoing = true;
    for (size_t i = 0; i < disks->count; i++)
        give_up(&disks->list[i]);
    return departure->move.guest && !all_are(disks, COPY_OVER);
}

void vst_departure_disks_drop(struct vst_departure *departure)
{
    struct vst_departure_disks *disks = departure->disks;

    departure->disks = NULL;
    for (size_t i = 0; disks && i < disks->count; i++) {
        break_stream(&disks->list[i], NULL);
        free(disks->list[i].copy.disk);
    }
    free(disks);
}

/* ---- how far it is ---- */

static void take_job(struct vst_departure_disks *disks, struct json_object *job)
{
    const char *device = vst_json_string(job, "device");
    struct json_object *value;

    for (size_t i = 0; device && i < disks->count; i++) {
        if (strcmp(device, disks->list[i].node) != 0)
            continue;
        if (json_object_object_get_ex(job, "len", &value))
            disks->list[i].length = json_object_get_uint64(value);
        if (json_object_object_get_ex(job, "offset", &value))
            disks->list[i].done = json_object_get_uint64(value);
    }
}

void vst_departure_disks_look(struct vst_departure *departure, struct json_object *jobs)
{
    size_t count = json_object_is_type(jobs, json_type_array) ? json_object_array_length(jobs) : 0;
    struct vst_migration_info *info = &departure->progress;
    struct vst_departure_disks *disks = departure->disks;
    uint64_t before = info->sent;
    size_t are_ready = 0;

    for (size_t i = 0; i < count; i++)
        take_job(disks, json_object_array_get_idx(jobs, i));
    info->total = info->sent = 0;
    for (size_t i = 0; i < disks->count; i++) {
        const struct departing_disk *disk = &disks->list[i];

        info->total += disk->length > disk->copy.size ? disk->length : disk->copy.size;
        info->sent += disk->done;
        are_ready += disk->state == COPY_READY;
    }
    info->left = info->total - (info->sent < info->total ? info->sent : info->total);
    info->rate = info->sent > before ? (info->sent - before) * VST_DEPARTURE_LOOKS : 0;
    snprintf(info->verdict, sizeof(info->verdict), "%zu of %zu disks are in step; memory follows",
             are_ready, disks->count);
}
