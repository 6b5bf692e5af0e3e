/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One guest is asked how it is: whether its QEMU still answers, however long we have had it. A
 * guest that this connection does not have is adopted for the question and let go again; one that
 * another process has, or that does not answer in some seconds, is told as far as can be seen from
 * outside.
 */
#ifndef VST_DRIVERS_QEMU_QUERY_H
#define VST_DRIVERS_QEMU_QUERY_H

#include <event2/event_struct.h>

#include "core/fsm.h"
#include "guest.h"

#define QUERY_STATES(X)                                                                  \
    X(QUERY_IDLE, "a name", "nobody is asked")                                           \
    X(QUERY_ASKING, "the guest, or an answer, that comes at once", "who has the guest?") \
    X(QUERY_WAITING, "the guest, or the end of patience", "its monitor is connected")    \
    X(QUERY_HEARING, "a reply, or the end of patience", "does its QEMU answer?")
VST_FSM(query, QUERY_STATES)

/*
 * How many whoever has many questions asks at the same time, and begins with in one turn: each to a
 * guest that this connection does not have takes its lock, about six descriptors, and some calls
 * of the file system that the loop waits for.
 */
enum { VST_QUERIES_MAX = 16 };

/* Its owner's, who may ask one after another with it. */
struct vst_query {
    LIST_ENTRY(vst_query) link; /* unless it is idle */
    struct vst_qemu *qemu;
    enum query_state state;
    const char *name;
    struct vst_domain_info *ret_info;
    void (*answered)(void *opaque, const struct vst_error *absent);
    void *opaque;
    struct vst_guest_wait wait;
    struct vst_guest *guest; /* in HEARING */
    struct vst_guest_watch watch;
    struct event patience;
    bool release; /* it was not ours before */
};

/* `answered` is called once for each question; `absent` says why there is no such guest, and is
 * NULL when *ret_info has been filled. */
void vst_query_init(struct vst_query *query, struct vst_qemu *qemu,
                    void (*answered)(void *opaque, const struct vst_error *absent), void *opaque);

/* The answer may come at once. `name` and `ret_info` are valid until then. */
void vst_query_begin(struct vst_query *query, const char *name, struct vst_domain_info *ret_info);

/* For who does not want to know any more: no answer comes. */
void vst_query_end(struct vst_query *query);

#endif
