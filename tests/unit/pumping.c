/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pump under test, as pumping.h has it.
 */
#include "pumping.h"

#include <stdlib.h>
#include <string.h>

struct pumping pumping;

void pumping_done(void *opaque, const struct vst_error *err)
{
    assert_ptr_equal(opaque, &pumping);
    pumping.done++;
    pumping.err = err ? *err : (struct vst_error){0};
    if (pumping.free_in_done)
        vst_pump_free(&pumping.pump);
    if (pumping.free_ends_in_done) {
        vst_channel_free(&pumping.source);
        vst_channel_free(&pumping.sink);
    }
}

int pumping_make(void **state)
{
    (void)state;
    memset(&pumping, 0, sizeof(pumping));
    pumping.base = event_base_new();
    pumping.source = script_new(pumping.base);
    pumping.sink = script_new(pumping.base);
    pumping.pump = vst_pump_new(pumping.base, PUMPING_LIMIT, pumping_done, &pumping, NULL);
    return 0;
}

int pumping_drop(void **state)
{
    (void)state;
    vst_pump_free(&pumping.pump);
    vst_channel_free(&pumping.source);
    vst_channel_free(&pumping.sink);
    event_base_free(pumping.base);
    return 0;
}

void pumping_join(void)
{
    vst_pump_set_source(pumping.pump, pumping.source);
    vst_pump_set_sink(pumping.pump, pumping.sink);
}

/* Runs until nothing happens by itself any more. */
void pumping_settle(void)
{
    event_base_dispatch(pumping.base);
}

void pumping_pass(void)
{
    event_base_loop(pumping.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

const struct script_seen *pumping_seen(void)
{
    return script_seen(pumping.sink);
}

struct vst_pump_stats pumping_stats(void)
{
    struct vst_pump_stats now;

    vst_pump_get_stats(pumping.pump, &now);
    return now;
}

void assert_sink_got(const char *text)
{
    char got[256];
    ev_ssize_t n = evbuffer_copyout(pumping_seen()->written, got, sizeof(got));

    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

void assert_ended_well(void)
{
    assert_int_equal(pumping.done, 1);
    assert_int_equal(pumping.err.code, VST_ERR_OK);
    assert_int_equal(pumping_seen()->finished, 1);
    assert_int_equal(pumping_seen()->aborted, 0);
}

void assert_ended_badly(enum vst_code code)
{
    assert_int_equal(pumping.done, 1);
    assert_int_equal(pumping.err.code, code);
    assert_int_equal(pumping_seen()->finished, 0);
    assert_int_equal(pumping_seen()->aborted, 1);
    assert_int_equal(pumping_seen()->why, code);
}
