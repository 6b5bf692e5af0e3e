/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's life in this connection: adopted or new, its monitor, its jobs, its end. What is done
 * with it is in the methods' files; how one is made from nothing, in spawn-guest.c; what a manager
 * that died left undone, in mend.c.
 */
#include "guest-private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migration.h"

enum { LOST_SECONDS = 5, TIDY_SECONDS = 20 };

void vst_guest_enter(struct vst_guest *guest, enum guest_state state)
{
    vst_fsm_trace(guest, guest->def ? guest->def->name : "?", guest->state, state);
    guest->state = state;
}

/* ---- who waits and who watches ---- */

void vst_guest_unwait(struct vst_guest_wait *wait)
{
    if (wait->waiting)
        LIST_REMOVE(wait, link);
    wait->waiting = false;
}

void vst_guest_watch(struct vst_guest *guest, struct vst_guest_watch *watch)
{
    LIST_INSERT_HEAD(&guest->watches, watch, link);
    watch->watching = true;
}

void vst_guest_unwatch(struct vst_guest_watch *watch)
{
    if (watch->watching)
        LIST_REMOVE(watch, link);
    watch->watching = false;
}

/* Each may do anything, also end the guest; it is not freed while it is held. */
static void tell_waits(struct vst_guest *guest, const struct vst_error *err)
{
    struct vst_guest_wait *wait;

    while ((err || guest->state == GUEST_READY) && (wait = LIST_FIRST(&guest->waits))) {
        vst_guest_unwait(wait);
        wait->fn(wait->opaque, err ? NULL : guest, err);
    }
}

void vst_guest_become_ready(struct vst_guest *guest)
{
    vst_guest_enter(guest, GUEST_READY);
    guest->held++;
    tell_waits(guest, NULL);
    guest->held--;
    if (guest->state == GUEST_GONE)
        vst_guest_destroy(guest);
}

/* ---- the end ---- */

void vst_guest_destroy(struct vst_guest *guest)
{
    if (guest->held)
        return;
    vst_guest_forget(guest, guest); /* what mend.c asked */
    vst_qmp_free(&guest->qmp);
    vst_process_free(&guest->process);
    vst_console_free(&guest->console);
    vst_guest_drop_files(guest);
    event_del(&guest->timer);
    event_del(&guest->tidy);
    vst_place_close(&guest->place);
    vst_definition_free(&guest->def);
    free(guest);
}

static void tell_end(struct vst_guest *guest, const struct vst_error *why)
{
    struct vst_guest_watch *watch;

    tell_waits(guest, why);
    while ((watch = LIST_FIRST(&guest->watches))) {
        vst_guest_unwatch(watch);
        watch->gone(watch->opaque, why);
    }
}

/* A guest that is not whole yet is nobody's: what becomes of it is told by whoever makes it. */
static void announce(struct vst_guest *guest, enum vst_event_kind kind, const char *reason)
{
    if (!vst_guest_is_made(guest->fate))
        vst_driver_event(guest->qemu->conn, kind, guest->def->name, guest->def->uuid, reason);
}

/* A QEMU that cannot be talked to, but runs, is out of our hands and no more than that. */
static void announce_end(struct vst_guest *guest, const struct vst_error *why)
{
    if (guest->fate == FATE_END)
        announce(guest, VST_EVENT_STOPPED, "");
    else if (guest->process && !vst_guest_lives(guest))
        announce(guest, VST_EVENT_CRASHED, why->text);
}

static bool place_stays(const struct vst_guest *guest)
{
    return guest->fate == FATE_STAY || guest->fate == FATE_SPARE ||
           (guest->fate == FATE_LEAVE && vst_guest_lives(guest));
}

void vst_guest_end(struct vst_guest *guest, const struct vst_error *why)
{
    bool stays = place_stays(guest);
    struct vst_error copy = *why;

    if (guest->state == GUEST_GONE)
        return;
    vst_guest_enter(guest, GUEST_GONE);
    LIST_REMOVE(guest, link);
    if (!stays && guest->process)
        vst_process_kill(guest->process, SIGKILL, NULL);
    if (stays)
        vst_place_close(&guest->place);
    else
        vst_place_remove(&guest->place);
    vst_console_free(&guest->console);
    guest->held++;
    tell_end(guest, &copy);
    announce_end(guest, &copy);
    guest->held--;
    vst_guest_destroy(guest);
}

/* What QEMU said before it ended may be that it shuts down, or that a save was complete. */
static void process_gone(void *opaque, const struct vst_error *why)
{
    struct vst_guest *guest = opaque;

    guest->held++;
    if (guest->qmp)
        vst_qmp_read_rest(guest->qmp);
    guest->held--;
    if (guest->state == GUEST_GONE)
        vst_guest_destroy(guest);
    else
        vst_guest_end(guest, why);
}

/* Nearly always the process ends now, and its end says more. */
static void lose_monitor(struct vst_guest *guest, const struct vst_error *err)
{
    static const struct timeval lost = {LOST_SECONDS, 0};

    guest->lost = *err;
    event_add(&guest->timer, &lost);
}

static void monitor_closed(void *opaque, const struct vst_error *err)
{
    lose_monitor(opaque, err);
}

static void timed_out(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_guest *guest = opaque;

    (void)fd, (void)what;
    if (vst_error_is_set(&guest->lost)) {
        vst_error_prefix(&guest->lost, "qemu %s cannot be talked to", guest->def->name);
        vst_guest_end(guest, &guest->lost);
    } else if (guest->state == GUEST_CLEARING) {
        vst_guest_clear_copies_again(guest);
    } else {
        vst_guest_mend_again(guest);
    }
}

void vst_guest_expect_exit(struct vst_guest *guest)
{
    guest->fate = vst_guest_is_made(guest->fate) ? FATE_REMOVE : FATE_END;
}

void vst_guest_kill(struct vst_guest *guest)
{
    struct vst_error why = {0};

    vst_guest_expect_exit(guest);
    if (guest->process) {
        vst_process_kill(guest->process, SIGKILL, NULL);
        return;
    }
    vst_error_set(&why, VST_ERR_CANCELLED, "qemu %s: not started", guest->def->name);
    vst_guest_end(guest, &why);
}

/* ---- the monitor ---- */

static void note_event(struct vst_guest *guest, const char *name)
{
    if (strcmp(name, "STOP") == 0) {
        guest->running = false;
        announce(guest, VST_EVENT_SUSPENDED, "");
    } else if (strcmp(name, "RESUME") == 0) {
        guest->running = true;
        guest->reason[0] = '\0';
        announce(guest, VST_EVENT_RESUMED, "");
    } else if (strcmp(name, "SHUTDOWN") == 0) {
        /* We may let go before QEMU has ended; whoever finds the place then is to know. */
        vst_guest_expect_exit(guest);
        vst_place_set_job(guest->place, VST_WORD_END, false, NULL);
    } else if (strcmp(name, "GUEST_PANICKED") == 0) {
        snprintf(guest->reason, sizeof(guest->reason), "the guest panicked");
    }
}

static void monitor_event(void *opaque, const char *name, struct json_object *data, double seconds)
{
    struct vst_guest *guest = opaque;

    (void)seconds;
    guest->held++;
    if (guest->state >= GUEST_MENDING && guest->state <= GUEST_READY)
        note_event(guest, name);
    if (guest->state == GUEST_READY && guest->job.event)
        guest->job.event(guest->job.opaque, name, data);
    guest->held--;
    if (guest->state == GUEST_GONE)
        vst_guest_destroy(guest);
}

static void monitor_ready(void *opaque, const char *version)
{
    struct vst_guest *guest = opaque;

    snprintf(guest->version, sizeof(guest->version), "%s", version);
    vst_guest_ask_status(guest);
}

static void tidy(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_guest *guest = opaque;

    (void)fd, (void)what;
    vst_place_trim_log(guest->place);
}

int vst_guest_connect(struct vst_guest *guest, struct vst_error *ret_err)
{
    static const struct timeval often = {TIDY_SECONDS, 0};
    static const struct vst_qmp_cb cb = {monitor_ready, monitor_event, monitor_closed};
    struct event_base *base = guest->qemu->conn->base;
    int monitor = vst_place_connect(guest->place, "monitor", ret_err);
    int console = -1;

    vst_place_trim_log(guest->place);
    event_add(&guest->tidy, &often);
    if (monitor < 0)
        return -1;
    guest->qmp = vst_qmp_new(base, &monitor, &cb, guest, ret_err);
    vst_close(&monitor);
    if (!guest->qmp)
        return -1;
    if (!guest->def->console)
        return 0;
    console = vst_place_connect(guest->place, "console", ret_err);
    if (console >= 0)
        guest->console = vst_console_new(base, &console, ret_err);
    vst_close(&console);
    return guest->console ? 0 : -1;
}

/* ---- getting hold ---- */

struct vst_guest *vst_guest_find(struct vst_qemu *qemu, const char *name)
{
    struct vst_guest *guest;

    LIST_FOREACH(guest, &qemu->guests, link)
        if (vst_place_is_named(guest->place) && strcmp(guest->def->name, name) == 0)
            return guest;
    return NULL;
}

struct vst_guest *vst_guest_new(struct vst_qemu *qemu)
{
    struct vst_guest *guest = calloc(1, sizeof(*guest));

    if (!guest)
        return NULL;
    guest->qemu = qemu;
    event_assign(&guest->timer, qemu->conn->base, -1, 0, timed_out, guest);
    event_assign(&guest->tidy, qemu->conn->base, -1, EV_PERSIST, tidy, guest);
    return guest;
}

struct vst_process_cb vst_guest_process_cb(struct vst_guest *guest)
{
    return (struct vst_process_cb){process_gone, guest};
}

/* That something of it is not found does not mean that there is no such domain. */
static void tell_state(const char *name, const char *what, struct vst_error *err)
{
    char words[sizeof(err->text)];

    if (err->code != VST_ERR_NOT_FOUND)
        return;
    memcpy(words, err->text, sizeof(words));
    *err = (struct vst_error){0};
    vst_error_set(err, VST_ERR_STATE, "domain %s %s: %s", name, what, words);
    vst_error_where(err, VST_SIDE_QEMU, NULL);
}

static int adopt_process(struct vst_guest *guest, struct vst_error *ret_err)
{
    struct vst_process_cb cb = vst_guest_process_cb(guest);
    struct vst_process_id id;
    struct vst_glance glance;
    int log_fd;

    if (vst_place_read_id(guest->place, &id, ret_err) < 0) {
        tell_state(guest->def->name, "has lost the identity of its QEMU", ret_err);
        return -1;
    }
    log_fd = vst_place_open_log(guest->place, ret_err);
    if (log_fd < 0)
        return -1;
    guest->process =
        vst_process_adopt(guest->qemu->conn->base, guest->def->name, &id, log_fd, &cb, ret_err);
    if (!guest->process)
        tell_state(guest->def->name, "has ended by itself", ret_err);
    if (vst_place_glance(guest->qemu->root, guest->def->name, &glance, NULL) == 0) {
        guest->since = glance.since;
        vst_definition_free(&glance.def);
    }
    vst_close(&log_fd);
    return guest->process ? 0 : -1;
}

/* 0, or 1 for a guest that runs and whose sockets take no connection. */
static int adopt(struct vst_guest *guest, const char *name, struct vst_error *ret_err)
{
    if (vst_place_open(guest->qemu->root, name, &guest->place, ret_err) < 0)
        return -1;
    guest->def = vst_place_read_definition(guest->place, ret_err);
    if (!guest->def)
        tell_state(name, "has lost its definition", ret_err);
    if (!guest->def || vst_place_get_job(guest->place, &guest->left, ret_err) < 0)
        return -1;
    if (adopt_process(guest, ret_err) < 0)
        return -1;
    vst_guest_enter(guest, GUEST_GREETING);
    if (vst_guest_connect(guest, ret_err) == 0)
        return 0;
    vst_qmp_free(&guest->qmp);
    return 1;
}

/* All that wait now look again; who still finds it held waits again. */
static void look_again(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_qemu *qemu = opaque;
    LIST_HEAD(, vst_guest_wait) now = LIST_HEAD_INITIALIZER(now);
    struct vst_guest_wait *wait;

    (void)fd, (void)what;
    while ((wait = LIST_FIRST(&qemu->held))) {
        LIST_REMOVE(wait, link);
        LIST_INSERT_HEAD(&now, wait, link);
    }
    while ((wait = LIST_FIRST(&now))) {
        vst_guest_unwait(wait);
        vst_guest_get(qemu, wait->name, wait);
    }
}

/* Whether it is worth it: see vst_root_is_held_briefly(). */
static bool wait_for_hold(struct vst_qemu *qemu, const char *name, struct vst_guest_wait *wait)
{
    static const struct timeval pause = {0, VST_HOLD_LOOK_US};

    if (wait->at_once || wait->looks >= VST_HOLD_LOOKS ||
        !vst_root_is_held_briefly(qemu->root, name))
        return false;
    wait->looks++;
    if (name != wait->name)
        snprintf(wait->name, sizeof(wait->name), "%s", name);
    LIST_INSERT_HEAD(&qemu->held, wait, link);
    wait->waiting = true;
    if (!event_initialized(&qemu->look))
        event_assign(&qemu->look, qemu->conn->base, -1, 0, look_again, qemu);
    if (!event_pending(&qemu->look, EV_TIMEOUT, NULL))
        event_add(&qemu->look, &pause);
    return true;
}

/* One whose monitor refuses is nearly always about to end. */
static struct vst_guest *take_up(struct vst_qemu *qemu, const char *name, bool to_end_it,
                                 struct vst_error *ret_err)
{
    struct vst_guest *guest = vst_guest_new(qemu);
    struct vst_error err = {0};
    int deaf;

    if (!guest) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    deaf = adopt(guest, name, &err);
    if (deaf > 0 && !to_end_it && err.system == ECONNREFUSED) {
        lose_monitor(guest, &err);
    } else if (deaf < 0 || (deaf > 0 && !to_end_it)) {
        vst_guest_destroy(guest);
        vst_error_copy(ret_err, &err);
        return NULL;
    }
    LIST_INSERT_HEAD(&qemu->guests, guest, link);
    return guest;
}

void vst_guest_get(struct vst_qemu *qemu, const char *name, struct vst_guest_wait *wait)
{
    struct vst_guest *guest = vst_guest_find(qemu, name);
    struct vst_error err = {0};

    if (guest && vst_guest_is_untouchable(guest->fate)) {
        vst_guest_check_idle(guest, &err);
        wait->fn(wait->opaque, NULL, &err);
        return;
    }
    if (guest && guest->state == GUEST_READY) {
        wait->fn(wait->opaque, guest, NULL);
        return;
    }
    if (!guest && !(guest = take_up(qemu, name, wait->to_end_it, &err))) {
        if (err.code != VST_ERR_BUSY || !wait_for_hold(qemu, name, wait))
            wait->fn(wait->opaque, NULL, &err);
        return;
    }
    if (!guest->qmp && wait->to_end_it) {
        wait->fn(wait->opaque, guest, NULL);
        return;
    }
    LIST_INSERT_HEAD(&guest->waits, wait, link);
    wait->waiting = true;
}

void vst_guest_release(struct vst_guest *guest)
{
    if (guest->job.kind != VST_JOB_NONE || !LIST_EMPTY(&guest->waits) ||
        !LIST_EMPTY(&guest->watches) || vst_console_is_viewed(guest->console))
        return;
    vst_guest_enter(guest, GUEST_GONE);
    LIST_REMOVE(guest, link);
    vst_guest_destroy(guest);
}

void vst_guest_release_all(struct vst_qemu *qemu)
{
    struct vst_guest_wait *wait;
    struct vst_guest *guest;

    if (event_initialized(&qemu->look))
        event_del(&qemu->look);
    while ((wait = LIST_FIRST(&qemu->held)))
        vst_guest_unwait(wait);
    while ((guest = LIST_FIRST(&qemu->guests))) {
        vst_guest_enter(guest, GUEST_GONE);
        LIST_REMOVE(guest, link);
        vst_guest_destroy(guest);
    }
}
