/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QEMU process, watched from the loop through a pidfd: started by us, or adopted from whoever
 * started it. It is not ours: it goes on when the object is freed, or when we end.
 */
#ifndef VST_QEMU_PROCESS_H
#define VST_QEMU_PROCESS_H

#include <event2/event.h>

#include "spawn.h"

struct vst_process;

/*
 * The process has ended, by itself or not, or never began: called once, from the loop, never from
 * inside a call; not called any more after free. `why` is DRIVER with the last words of its log, or
 * what kept the program from being executed, see vst_spawn(); it begins with "qemu NAME: ". Freeing
 * the process inside is allowed.
 */
struct vst_process_cb {
    void (*gone)(void *opaque, const struct vst_error *why);
    void *opaque;
};

/*
 * Has it started, by the worker: the thread that does so stands still until the program has been
 * executed. `name` is the domain's, for errors and the trace. Nothing of *spawn is used any more
 * when this returns. Its log_fd is open for reading, too: the words quoted are the last in this
 * file, so it is one that this run began.
 */
struct vst_process *vst_process_spawn(struct event_base *base, const char *name,
                                      const struct vst_spawn *spawn,
                                      const struct vst_process_cb *cb, struct vst_error *ret_err);

/* NOT_FOUND, with the last words, if it has ended. */
struct vst_process *vst_process_adopt(struct event_base *base, const char *name,
                                      const struct vst_process_id *id, int log_fd,
                                      const struct vst_process_cb *cb, struct vst_error *ret_err);

/* The pid is 0 before it has been started. */
const struct vst_process_id *vst_process_get_id(const struct vst_process *process);

/* No other process can be hit. Having ended already is no error. One that has not been started gets
 * the signal when it has, also if it is not watched any more by then. */
int vst_process_kill(struct vst_process *process, int number, struct vst_error *ret_err);

/* Stops watching; one that has not been started may still be. Sets *process to NULL. Accepts
 * NULL. */
void vst_process_free(struct vst_process **process);

#endif
