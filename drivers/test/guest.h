/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guests of one connection of the test driver. They live in memory, as long as the connection.
 * What befalls them is told as the qemu driver tells it: a guest that is saved is suspended first.
 */
#ifndef VST_DRIVERS_TEST_GUEST_H
#define VST_DRIVERS_TEST_GUEST_H

#include <sys/queue.h>

#include "console.h"
#include "core/definition.h"
#include "core/driver.h"
#include "state.h"

/* Somebody who is told when the guest is gone, once, and is no longer on its list then. */
struct vst_test_watch {
    LIST_ENTRY(vst_test_watch) link;
    void (*gone)(void *opaque);
    void *opaque;
};

struct vst_test_guest {
    TAILQ_ENTRY(vst_test_guest) link;
    struct vst_definition *def;
    struct vst_test_identity identity;
    enum vst_domain_state state;
    int64_t since;
    struct vst_test_console *console;
    bool powerdown; /* it was asked to end while it was paused, and will hear of it */
    enum vst_job_kind job;
    struct vst_stream *stream; /* of the job */
    LIST_HEAD(, vst_test_watch) watches;
};

struct vst_test_host {
    struct vst_conn *conn;
    TAILQ_HEAD(, vst_test_guest) guests;
};

/* Adds a paused guest; takes *def on success. EXISTS if its name or UUID is taken. */
struct vst_test_guest *vst_test_guest_new(struct vst_test_host *host, struct vst_definition **def,
                                          struct vst_error *ret_err);
/* The same where nothing can be taken: it does not look. */
struct vst_test_guest *vst_test_guest_add(struct vst_test_host *host, struct vst_definition **def,
                                          struct vst_error *ret_err);
void vst_test_guest_free(struct vst_test_host *host, struct vst_test_guest *guest);

void vst_test_guest_watch(struct vst_test_guest *guest, struct vst_test_watch *watch);

/* NULL with NOT_FOUND. */
struct vst_test_guest *vst_test_guest_find(struct vst_test_host *host, const char *name_or_uuid,
                                           struct vst_error *ret_err);

/* EXISTS when the name, or the UUID unless NULL, is taken. */
int vst_test_guest_check_free(struct vst_test_host *host, const char *name, const char *uuid,
                              struct vst_error *ret_err);

/* Found, and no job has hold of it: else NOT_FOUND or BUSY. */
struct vst_test_guest *vst_test_guest_find_idle(struct vst_test_host *host, const char *name,
                                                struct vst_error *ret_err);

/* A job has hold of the guest from here on, until NONE. */
void vst_test_guest_set_job(struct vst_test_guest *guest, enum vst_job_kind job,
                            struct vst_stream *stream);

/* Tells nobody. */
void vst_test_guest_set_state(struct vst_test_guest *guest, enum vst_domain_state state);

/* These tell the application; from the loop only. */
void vst_test_guest_tell(struct vst_test_host *host, const struct vst_test_guest *guest,
                         enum vst_event_kind kind, const char *reason);
/* One that runs again may hear what it was asked, and be gone. */
void vst_test_guest_run(struct vst_test_host *host, struct vst_test_guest *guest, bool running);
void vst_test_guest_end(struct vst_test_host *host, struct vst_test_guest *guest);

void vst_test_guest_get_info(const struct vst_test_guest *guest, struct vst_domain_info *ret_info);

/* ---- the methods, in files of their own ---- */

void vst_test_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                   const struct vst_save_options *opt, struct vst_op *op);
void vst_test_restore(struct vst_conn *conn, struct vst_stream *stream,
                      const struct vst_restore_options *opt, struct vst_op *op);
void vst_test_open_console(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                           struct vst_op *op);
void vst_test_screenshot(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                         struct vst_op *op);

#endif
