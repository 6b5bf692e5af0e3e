/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A gate: what the channel below says of its own end, a clean one or a failure, is kept back until
 * its owner, who knows better, lets it through, or fails the stream for a reason of its own. Bytes
 * pass, in both directions, as if it were not there.
 */
#include <stdlib.h>

#include "channel.h"
#include "fsm.h"
#include "turn.h"

#define GATE_STATES(X)                                                            \
    X(GATE_CLOSED, "the end below", "bytes pass; nothing is known of the end")    \
    X(GATE_HOLDING, "the word of the owner", "the end has come and is kept back") \
    X(GATE_OPEN, "nothing", "the end passes")
VST_FSM(gate, GATE_STATES)

struct gate {
    struct vst_channel base;
    enum gate_state state;
    struct vst_turn turn; /* tells the user that it is open */
};

static struct gate *gate_of(struct vst_channel *ch)
{
    return (struct gate *)ch;
}

static void enter(struct gate *gate, enum gate_state state)
{
    vst_fsm_trace(gate, gate->base.lower->ops->name, gate->state, state);
    gate->state = state;
    vst_channel_rearm(&gate->base);
}

static bool holds(const struct gate *gate)
{
    return gate->state == GATE_HOLDING;
}

static enum vst_io keep_back(struct gate *gate, enum vst_io io)
{
    if (gate->state != GATE_CLOSED || (io != VST_IO_EOF && io != VST_IO_FAIL))
        return io;
    enter(gate, GATE_HOLDING);
    return VST_IO_AGAIN;
}

static enum vst_io gate_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    if (holds(gate_of(ch)))
        return VST_IO_AGAIN;
    return keep_back(gate_of(ch), vst_channel_read(ch->lower, into, max, ret_n));
}

static enum vst_io gate_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    if (holds(gate_of(ch)))
        return VST_IO_AGAIN;
    return keep_back(gate_of(ch), vst_channel_write(ch->lower, from, max, ret_n));
}

static enum vst_io gate_finish(struct vst_channel *ch)
{
    if (holds(gate_of(ch)))
        return VST_IO_AGAIN;
    return keep_back(gate_of(ch), vst_channel_finish(ch->lower));
}

/* What is at its end is always ready, so it must not be watched while the end is kept back. */
static unsigned gate_wants(struct vst_channel *ch, unsigned dirs)
{
    return holds(gate_of(ch)) ? 0 : dirs;
}

static void gate_destroy(struct vst_channel *ch)
{
    vst_turn_cancel(&gate_of(ch)->turn);
    free(ch);
}

static const struct vst_channel_ops gate_ops = {
    .name = "gate",
    .read = gate_read,
    .write = gate_write,
    .destroy = gate_destroy,
    .finish = gate_finish,
    .wants = gate_wants,
};

static void opened(evutil_socket_t fd, short what, void *opaque)
{
    struct gate *gate = opaque;

    (void)fd, (void)what;
    vst_channel_announce(&gate->base, VST_READ | VST_WRITE);
}

struct vst_channel *vst_channel_gate(struct vst_channel *lower, struct vst_error *ret_err)
{
    struct gate *gate = calloc(1, sizeof(*gate));

    if (!gate) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_channel_init(&gate->base, &gate_ops, lower->base, lower);
    vst_turn_init(&gate->turn, lower->base, opened, gate);
    return &gate->base;
}

void vst_gate_open(struct vst_channel *ch)
{
    struct gate *gate = gate_of(ch);

    enter(gate, GATE_OPEN);
    vst_turn_schedule(&gate->turn);
}
