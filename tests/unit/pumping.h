/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of the pump: one between two scripted channels, and what its owner is told.
 */
#ifndef VST_TESTS_UNIT_PUMPING_H
#define VST_TESTS_UNIT_PUMPING_H

#include "core/pump.h"
#include "script.h"
#include "test.h"

enum { PUMPING_LIMIT = 8 };

struct pumping {
    struct event_base *base;
    struct vst_channel *source;
    struct vst_channel *sink;
    struct vst_pump *pump;
    unsigned done;
    struct vst_error err; /* what pumping_done() was given */
    bool free_in_done;
    bool free_ends_in_done;
};

extern struct pumping pumping;

int pumping_make(void **state);
int pumping_drop(void **state);
void pumping_done(void *opaque, const struct vst_error *err);

void pumping_join(void);
/* Runs until nothing happens by itself any more. */
void pumping_settle(void);
void pumping_pass(void);

struct vst_pump_stats pumping_stats(void);
const struct script_seen *pumping_seen(void); /* of the sink */

void assert_sink_got(const char *text);
void assert_ended_well(void);
void assert_ended_badly(enum vst_code code);

#endif
