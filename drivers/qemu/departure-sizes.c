/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks that are to be copied, before anything is offered: how large they are, and that nothing
 * is left of copies that were begun before.
 */
#include <json-c/json.h>

#include "departure.h"

static void failed(struct vst_departure *departure, const struct vst_error *err)
{
    if (err->code != VST_ERR_LOST) /* then its end comes, and says more */
        vst_departure_refuse(departure, err);
}

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
    vst_guest_mend(move->guest, "", move->ran, &move->wait);
}

static void told(void *opaque, struct json_object *nodes, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;
    struct vst_error failure = {.side = VST_SIDE_QEMU};

    if (err)
        failed(departure, err);
    else if (departure->state == DEPARTURE_SIZES &&
             vst_guest_has_copies(departure->move.guest, nodes))
        clear(departure);
    else if (vst_departure_disks_take(departure, nodes, &failure) < 0)
        vst_departure_refuse(departure, &failure);
    else
        vst_departure_offer(departure);
}

void vst_departure_ask_sizes(struct vst_departure *departure)
{
    vst_departure_enter(departure, DEPARTURE_SIZES);
    ask(departure);
}
