/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks, before anything is offered: how large they are, so that the destination can tell
 * whether it has the same, or room for copies; and that nothing is left of copies that were begun
 * before, if they are to be copied.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "departure.h"

static void failed(struct vst_departure *departure, const struct vst_error *err)
{
    if (err->code != VST_ERR_LOST) /* then its end comes, and says more */
        vst_departure_dismiss(departure, err);
}

/* ---- what QEMU says of them ---- */

static struct json_object *image_of(struct json_object *nodes, const char *name)
{
    size_t count =
        json_object_is_type(nodes, json_type_array) ? json_object_array_length(nodes) : 0;

    for (size_t i = 0; i < count; i++) {
        struct json_object *node = json_object_array_get_idx(nodes, i), *image;

        if (vst_json_says(node, "node-name", name) &&
            json_object_object_get_ex(node, "image", &image))
            return image;
    }
    return NULL;
}

/* Of what its file takes, snapshots within it are not copied: then it says nothing of a copy. */
static uint64_t allocated_of(struct json_object *image)
{
    struct json_object *snapshots;

    if (json_object_object_get_ex(image, "snapshots", &snapshots) &&
        json_object_is_type(snapshots, json_type_array) && json_object_array_length(snapshots))
        return 0;
    return vst_json_number(image, "actual-size");
}

static struct vst_disk_size *size_new(const char *disk, struct json_object *image)
{
    struct vst_disk_size *size = calloc(1, sizeof(*size));

    if (!size)
        return NULL;
    *size = (struct vst_disk_size){strdup(disk), vst_json_number(image, "virtual-size"),
                                   allocated_of(image)};
    if (size->disk)
        return size;
    free(size);
    return NULL;
}

static int take_sizes(struct vst_departure *departure, struct json_object *nodes,
                      struct vst_error *ret_err)
{
    struct vst_disk **disks = vst_guest_definition(departure->move.guest)->disks;
    size_t most = 0, count = 0;

    vst_departure_drop_sizes(departure);
    while (disks[most])
        most++;
    departure->sizes = calloc(most + 1, sizeof(struct vst_disk_size *));
    if (!departure->sizes)
        return vst_error_no_memory(ret_err);
    for (size_t i = 0; i < most; i++) {
        struct json_object *image = image_of(nodes, disks[i]->name);

        if (!image || !vst_json_number(image, "virtual-size"))
            continue;
        departure->sizes[count] = size_new(disks[i]->name, image);
        if (!departure->sizes[count++])
            return vst_error_no_memory(ret_err);
    }
    return 0;
}

uint64_t vst_departure_size_of(const struct vst_departure *departure, const char *disk)
{
    for (struct vst_disk_size **size = departure->sizes; size && *size; size++)
        if (strcmp((*size)->disk, disk) == 0)
            return (*size)->size;
    return 0;
}

void vst_departure_drop_sizes(struct vst_departure *departure)
{
    for (struct vst_disk_size **size = departure->sizes; size && *size; size++) {
        free((*size)->disk);
        free(*size);
    }
    free(departure->sizes);
    departure->sizes = NULL;
}

/* ---- asking ---- */

static void told(void *opaque, struct json_object *nodes, const struct vst_error *err);

static void ask(struct vst_departure *departure)
{
    struct vst_error err = {0};

    if (vst_qmp_execute(vst_guest_qmp(departure->move.guest), "query-named-block-nodes",
                        (struct vst_qmp_reply){told, &departure->move}, &err, "flat",
                        json_object_new_boolean(true), NULL) < 0)
        failed(departure, &err);
}

static void cleared(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    (void)guest;
    if (err)
        failed(opaque, err);
    else
        ask(opaque);
}

/* Whoever migrated it last could not end them. Once: if they stay, QEMU says why it does not begin
 * another. */
static void clear(struct vst_departure *departure)
{
    struct vst_move *move = &departure->move;

    vst_departure_enter(departure, DEPARTURE_CLEARING);
    move->wait = (struct vst_guest_wait){.fn = cleared, .opaque = move};
    vst_guest_mend(move->guest, VST_WORD_NONE, move->ran, &move->wait);
}

static void told(void *opaque, struct json_object *nodes, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;
    struct vst_error failure = {.side = VST_SIDE_QEMU};
    bool copies = departure->opt.copy_disks;

    if (err)
        failed(departure, err);
    else if (copies && departure->state == DEPARTURE_SIZES &&
             vst_guest_has_copies(departure->move.guest, nodes))
        clear(departure);
    else if (take_sizes(departure, nodes, &failure) < 0 ||
             (copies && vst_departure_disks_take(departure, &failure) < 0))
        vst_departure_dismiss(departure, &failure);
    else
        vst_departure_offer(departure);
}

void vst_departure_ask_sizes(struct vst_departure *departure)
{
    struct vst_disk **disks = vst_guest_definition(departure->move.guest)->disks;

    if (!disks || !disks[0]) {
        vst_departure_offer(departure);
        return;
    }
    vst_departure_enter(departure, DEPARTURE_SIZES);
    ask(departure);
}
