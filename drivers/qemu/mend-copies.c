/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies of the guest's disks that nobody waits for any more: whoever migrated it has died, and
 * with it what it knew of them. QEMU tells which there are. As long as there is one, QEMU has a
 * hold of the disk, and neither begins another copy of it nor ends a migration or a save. A QEMU
 * that does not let go of them has a guest all the same: it goes on, and people are told.
 */
#include "guest-private.h"

#include <json-c/json.h>

#include "copy-node.h"

enum { LOOK_US = 50000, LOOKS = 200 };

static void give_up(struct vst_guest *guest, const struct vst_error *err)
{
    if (err->code == VST_ERR_LOST)
        return; /* the end of the process comes, and says more */
    guest->copied = true;
    vst_guest_copies_cleared(guest);
}

static size_t length_of(struct json_object *list)
{
    return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

static void end_nodes(struct vst_guest *guest, struct json_object *nodes)
{
    for (size_t i = 0; i < length_of(nodes); i++) {
        const char *name = vst_copy_of_node(json_object_array_get_idx(nodes, i), guest->def);

        if (!name)
            continue;
        guest->copies++;
        vst_copy_yank(guest->qmp, name);
        vst_copy_delete(guest->qmp, name); /* refused, while its job is about to end */
    }
}

static void told_nodes(void *opaque, struct json_object *nodes, const struct vst_error *err)
{
    static const struct timeval pause = {0, LOOK_US};
    struct vst_guest *guest = opaque;

    if (err) {
        give_up(guest, err);
        return;
    }
    end_nodes(guest, nodes);
    guest->copied = guest->copies > 0;
    if (guest->copied && guest->polls++ < LOOKS)
        event_add(&guest->timer, &pause);
    else
        vst_guest_copies_cleared(guest);
}

static void end_jobs(struct vst_guest *guest, struct json_object *jobs)
{
    for (size_t i = 0; i < length_of(jobs); i++) {
        const char *name = vst_copy_of_job(json_object_array_get_idx(jobs, i));

        if (!name)
            continue;
        guest->copies++;
        vst_copy_yank(guest->qmp, name);
        vst_copy_cancel(guest->qmp, name, true, NULL);
    }
}

static void told_jobs(void *opaque, struct json_object *jobs, const struct vst_error *err)
{
    struct vst_guest *guest = opaque;
    struct vst_error failure = {0};

    if (err) {
        give_up(guest, err);
        return;
    }
    end_jobs(guest, jobs);
    if (vst_qmp_execute(guest->qmp, "query-named-block-nodes",
                        (struct vst_qmp_reply){told_nodes, guest}, &failure, "flat",
                        json_object_new_boolean(true), NULL) < 0)
        give_up(guest, &failure);
}

void vst_guest_clear_copies_again(struct vst_guest *guest)
{
    struct vst_error err = {0};

    guest->copies = 0;
    if (vst_qmp_execute(guest->qmp, "query-block-jobs", (struct vst_qmp_reply){told_jobs, guest},
                        &err, NULL) < 0)
        give_up(guest, &err);
}

/* What the copies of that migration would be called is known by its token. */
static void for_each_name(struct vst_guest *guest, const char *token,
                          void (*fn)(struct vst_qmp *qmp, const char *name))
{
    char name[VST_COPY_NAME_MAX + 1];

    for (size_t i = 0; token[0] && guest->def->disks && guest->def->disks[i]; i++) {
        vst_copy_put_name(name, token, i);
        fn(guest->qmp, name);
    }
}

/* QEMU does not tell which there are. */
static void close_descriptors(struct vst_guest *guest)
{
    struct vst_place_job job;

    if (vst_place_get_job(guest->place, &job, NULL) == 0)
        for_each_name(guest, job.token, vst_copy_close);
}

void vst_guest_yank_copies(struct vst_guest *guest)
{
    if (vst_place_job_moves(&guest->left) || vst_place_job_is_stray(&guest->left))
        for_each_name(guest, guest->left.token, vst_copy_yank);
}

void vst_guest_clear_copies(struct vst_guest *guest)
{
    guest->polls = 0;
    vst_guest_enter(guest, GUEST_CLEARING);
    close_descriptors(guest);
    vst_guest_clear_copies_again(guest);
}

bool vst_guest_has_copies(const struct vst_guest *guest, struct json_object *nodes)
{
    for (size_t i = 0; i < length_of(nodes); i++)
        if (vst_copy_of_node(json_object_array_get_idx(nodes, i), guest->def))
            return true;
    return false;
}
