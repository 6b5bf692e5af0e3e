/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host of guests, for tests of the qemu driver with QEMU or something like it: a root of its own,
 * one connection at a time, and methods as calls that wait. It watches the library's trace, and so
 * knows every edge of every machine as it is taken, and every QEMU that was ever started.
 *
 * What goes wrong in making it fails the running test.
 */
#ifndef VST_TESTS_UNIT_HOST_H
#define VST_TESTS_UNIT_HOST_H

#include <event2/event.h>
#include <sys/types.h>

#include "core/error.h"
#include "test.h"
#include "virstream/virstream.h"

/* In memory that children share, so that a process they started is known, too. */
struct vst_host_started {
    size_t count;
    struct vst_host_process {
        pid_t pid;
        unsigned long long begun; /* in ticks since boot: its number is used again */
    } processes[8192];
};

struct vst_host {
    char dir[64]; /* of its own; in it root/, and whatever the test needs */
    struct event_base *base;
    struct vst_conn *conn;
    struct vst_host_started *started; /* every QEMU since the last look, probes included */
    /* Hears of every edge, before anything else happens; it must not call the library. */
    void (*edge)(void *opaque, const char *machine, const char *to);
    /* And of every line of a monitor, likewise. */
    void (*line)(void *opaque, const char *line);
    void *opaque;
};

/* Connected. One host at a time can have the trace: that which was made last. */
void vst_host_make(struct vst_host *host);
/* The same, with something to do before the connection. */
void vst_host_make_with(struct vst_host *host, void (*prepare)(const struct vst_host *host));
/* Ends what still runs, and removes everything. */
void vst_host_clear(struct vst_host *host);

/* The connection of another process, so to say: nothing that this one knew is known to the next. */
void vst_host_disconnect(struct vst_host *host);
void vst_host_connect(struct vst_host *host);

/* 0, or -1 with the outcome. */
int vst_host_start(struct vst_host *host, const char *definition, struct vst_error *ret_err);
int vst_host_get_info(struct vst_host *host, const char *name, struct vst_domain_info *ret_info,
                      struct vst_error *ret_err);
int vst_host_suspend(struct vst_host *host, const char *name, struct vst_error *ret_err);
int vst_host_destroy(struct vst_host *host, const char *name, struct vst_error *ret_err);
/* `stream` is freed. */
int vst_host_save(struct vst_host *host, const char *name, struct vst_stream *stream,
                  const struct vst_save_options *opt, struct vst_error *ret_err);
int vst_host_restore(struct vst_host *host, struct vst_stream *stream,
                     const struct vst_restore_options *opt, struct vst_error *ret_err);

/* Streams with the application's end in memory, or in a file. */
struct vst_stream *vst_host_sink(struct vst_host *host, struct evbuffer *into);
struct vst_stream *vst_host_sink_file(struct vst_host *host, const char *path);
/* All of it at once. `from` is drained. */
struct vst_stream *vst_host_source(struct vst_host *host, struct evbuffer *from);

/* Runs the loop for that long. */
void vst_host_run(struct vst_host *host, unsigned milliseconds);

/* The definition of a tiny guest whose machine is nothing at all, and that of a PC which counts on
 * its console, with the log in the host's directory. To be freed. */
char *vst_host_none(const char *name);
char *vst_host_counting(const struct vst_host *host, const char *name, const char *mode);
/* Starts it, with a new log, and waits until it has counted so far. */
void vst_host_start_counting(struct vst_host *host, const char *name, const char *mode,
                             unsigned lines);
/* Lines that the guest has counted so far. */
unsigned vst_host_counted(const struct vst_host *host, const char *name);
/* Runs the loop until it has counted this many more. */
void vst_host_expect_counting(struct vst_host *host, const char *name, unsigned more);
/* The log shows a count without a gap and without a repeat. */
void vst_host_expect_gapless(const struct vst_host *host, const char *name);

/* How many entries a folder of the host's directory has; hidden ones count. */
unsigned vst_host_entries(const struct vst_host *host, const char *folder);
bool vst_host_is_alive(const struct vst_host_process *process);
/* Nothing in the root, and no QEMU; the processes are given a moment to end. */
void vst_host_expect_nothing(struct vst_host *host);

/* Whether QEMU is there to be tested with, and can be; says why not, for TAP, if it is not. */
bool vst_host_has_qemu(void);

#endif
