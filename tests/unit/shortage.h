/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations that fail where they are called: those of this project's code alone, as the linker
 * leads them here (shortage_ldflags in Makefile.am), of libevent, and starts of threads. What other
 * libraries allocate inside is left alone, unless a test wraps their functions; for memory that
 * runs out wherever it is asked for see memory.h.
 */
#ifndef VST_TESTS_UNIT_SHORTAGE_H
#define VST_TESTS_UNIT_SHORTAGE_H

#include "core/channel.h"
#include "test.h"

/* To be called before libevent has any memory. */
void shortage_prepare(void);

/* The allocation after the next `after` ones fails, once, on whichever thread it is. */
void shortage_begin(long after);
/* Whether it has; and no further one will. */
bool shortage_end(void);

/* The thread that calls this is not concerned, and not counted. */
void shortage_spare_this_thread(void);

/* The loop gets room for many timers, and for turns: when that runs out libevent may not say so. */
void shortage_make_room(struct event_base *base);

/* Moves all that is in `from` from one end to the other, and into `into`; or says why not. */
typedef int (*shortage_transfer)(struct event_base *base, struct vst_channel *ends[2],
                                 struct evbuffer *from, struct evbuffer *into,
                                 struct vst_error *ret_err);
/* Each allocation of it fails once: then that is said, or all of `length` bytes have arrived.
 * Returns how many there were. */
long shortage_sweep(shortage_transfer transfer, size_t length);

/* For what stands in the place of an allocation: whether it is the one that fails; errno is set. */
bool shortage_hits(void);

/* It stands in the place of a function that is called with ld's --wrap. */
#define SHORTAGE_WRAP(type, failure, name, parameters, arguments)     \
    type __real_##name parameters;                                    \
    type __wrap_##name parameters;                                    \
    type __wrap_##name parameters                                     \
    {                                                                 \
        return shortage_hits() ? (failure) : __real_##name arguments; \
    }

#endif
