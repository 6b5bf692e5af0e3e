/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection: how it begins, ends and fails. Everything that is done for it is done in turn();
 * its user is called from nowhere else.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "message.h"
#include "mux-private.h"

static void enter(struct vst_mux *mux, enum mux_state state)
{
    vst_fsm_trace(mux, mux->opt.label, mux->state, state);
    mux->state = state;
}

static void set_timer(struct vst_mux *mux, unsigned ms)
{
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

    event_del(&mux->timer);
    if (!ms || event_add(&mux->timer, &tv) == 0)
        return;
    mux_no_memory(mux);
    mux->over = true; /* a farewell, too: nothing would end it */
}

/* ---- failure ---- */

static const struct vst_error no_memory = {.code = VST_ERR_NO_MEMORY, .text = "out of memory"};

static void empty(struct evbuffer *buffer)
{
    evbuffer_drain(buffer, evbuffer_get_length(buffer));
}

/* Behind what is under way; the peer cannot tell otherwise where a frame begins. */
static int append_error(struct vst_mux *mux, const struct vst_error *err)
{
    char body[VST_ERROR_BODY_MAX];

    return mux_append(mux->out, VST_FRAME_ERROR, 0, body, vst_error_print(err, body));
}

void mux_fail(struct vst_mux *mux, const struct vst_error *err, bool tell)
{
    if (!mux_alive(mux))
        return;
    vst_trace(VST_TRACE_STATE, "mux %s: failed: %s", mux->opt.label, err->text);
    mux->failed = true;
    mux->why = malloc(sizeof(*mux->why));
    if (mux->why)
        *mux->why = *err;
    tell = tell && mux->state != MUX_ENDED && mux->last_write != VST_IO_FAIL;
    enter(mux, MUX_FAILING);
    mux_calls_fail(mux, err);
    empty(mux->control);
    mux->answers = 0; /* nothing is answered any more, and its end is watched for */
    mux->target = NULL;
    set_timer(mux, 0);
    mux->over |= !tell || append_error(mux, err) < 0;
    mux_wake(mux);
}

int mux_broken(struct vst_mux *mux, const char *format, ...)
{
    struct vst_error err = {0};
    va_list args;

    va_start(args, format);
    vst_error_vset(&err, VST_ERR_PROTOCOL, format, args);
    va_end(args);
    mux_fail(mux, &err, true);
    return -1;
}

int mux_no_memory(struct vst_mux *mux)
{
    mux_fail(mux, &no_memory, false);
    return -1;
}

void vst_mux_fail(struct vst_mux *mux, const struct vst_error *err)
{
    mux_fail(mux, err, true);
}

/* From now on it is the peer's turn, and it has only so long. */
void mux_farewell(struct vst_mux *mux)
{
    set_timer(mux, MUX_FAREWELL_MS);
}

void mux_fail_lost(struct vst_mux *mux, const char *text)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_LOST, "%s", text);
    mux_fail(mux, mux->last_write == VST_IO_FAIL ? vst_channel_error(mux->transport) : &err, false);
}

/* Both say GOAWAY before they end, so that no cut looks like an end. */
static void say_goaway(struct vst_mux *mux)
{
    static const struct vst_error closed = {
        .code = VST_ERR_LOST,
        .text = "the connection is being closed",
    };

    mux_calls_fail(mux, &closed);
    if (!mux->goaway_sent && mux_put_error(mux, VST_FRAME_GOAWAY, 0, &closed) < 0)
        return;
    mux->goaway_sent = true;
    enter(mux, MUX_ENDING);
    set_timer(mux, 0);
    mux_wake(mux);
}

void mux_end_of_transport(struct vst_mux *mux)
{
    bool between = !mux->in_body && !evbuffer_get_length(mux->in);

    mux->ended = true;
    if (!mux_alive(mux) || mux->state == MUX_ENDED)
        mux->over = true;
    if (!between)
        mux_fail_lost(mux, "the connection ended within a frame");
    else if (!mux->goaway_came)
        mux_fail_lost(mux, "the connection ended, and the peer had not said that it would");
    else if (mux->state == MUX_OPEN && mux_calls_wait(mux))
        mux_fail_lost(mux, "the peer ended the connection in the middle of a call");
    else if (mux->state == MUX_OPEN)
        say_goaway(mux);
}

/* ---- the turn ---- */

static void conclude(struct vst_mux *mux)
{
    static const struct vst_error closed = {
        .code = VST_ERR_LOST,
        .text = "the connection is closed",
    };
    const struct vst_error *err = mux->failed ? (mux->why ? mux->why : &no_memory) : NULL;

    if (mux->state == MUX_FAILING)
        vst_channel_abort(mux->transport, err);
    enter(mux, MUX_OVER);
    event_del(&mux->timer);
    event_del(&mux->stall);
    mux_calls_fail(mux, &closed);
    mux_pings_fail(mux);
    if (!mux->freed)
        mux->user.closed(mux->user.opaque, err);
}

/* All has been written: now the transport's own end. */
static void finish(struct vst_mux *mux)
{
    mux->last_write = vst_channel_finish(mux->transport);
    if (mux->last_write == VST_IO_AGAIN)
        return;
    if (mux->last_write == VST_IO_FAIL)
        mux_fail(mux, vst_channel_error(mux->transport), false);
    else
        mux_farewell(mux);
    if (mux->state == MUX_ENDING)
        enter(mux, MUX_ENDED);
    else if (mux->last_write == VST_IO_OK)
        enter(mux, MUX_FAILED);
    mux->over |= mux->ended;
}

static bool finishing(const struct vst_mux *mux)
{
    return (mux->state == MUX_ENDING || mux->state == MUX_FAILING) && !mux->over &&
           mux->last_write != VST_IO_FAIL && !mux_has_to_write(mux);
}

static void arm(struct vst_mux *mux)
{
    bool over = mux->state == MUX_OVER;
    bool reads = !over && mux->last_read == VST_IO_AGAIN && !mux_flooded(mux);
    bool writes = !over && mux->last_write == VST_IO_AGAIN;

    vst_channel_want(mux->transport, VST_READ, reads);
    vst_channel_want(mux->transport, VST_WRITE, writes);
    if (!over)
        mux_stall_watch(mux);
}

static void destroy(struct vst_mux *mux)
{
    vst_turn_cancel(&mux->turn);
    event_del(&mux->timer);
    event_del(&mux->stall);
    evbuffer_free(mux->in);
    evbuffer_free(mux->body);
    evbuffer_free(mux->control);
    evbuffer_free(mux->out);
    XXH3_freeState(mux->sum_in);
    XXH3_freeState(mux->sum_out);
    free(mux->why);
    free(mux);
}

static void move(struct vst_mux *mux)
{
    bool more = mux_read(mux), flooded = mux_flooded(mux);

    mux_count_held(mux); /* before what is to be sent goes */
    if (!mux->freed)
        more |= mux_write(mux) || (flooded && !mux_flooded(mux));
    mux_count_held(mux);
    if (!mux->freed && finishing(mux))
        finish(mux);
    if (!mux->freed && mux->over)
        conclude(mux);
    if (more && !mux->freed && mux->state != MUX_OVER)
        mux_wake(mux);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_mux *mux = opaque;

    (void)fd, (void)what;
    if (mux->state == MUX_OVER)
        return;
    mux->held = true;
    move(mux);
    mux->held = false;
    if (mux->freed)
        destroy(mux);
    else
        arm(mux);
}

/* What has said AGAIN is left alone until it is announced: to ask is a system call or two. */
static void readable(void *opaque)
{
    struct vst_mux *mux = opaque;

    mux->last_read = VST_IO_OK;
    turn(-1, 0, mux);
}

static void writable(void *opaque)
{
    struct vst_mux *mux = opaque;

    mux->last_write = VST_IO_OK;
    turn(-1, 0, mux);
}

static void timer(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_mux *mux = opaque;

    (void)fd, (void)what;
    if (mux_stall_delivers(mux)) {
        mux_farewell(mux);
        return;
    }
    if (mux->state == MUX_ENDED)
        mux_fail_lost(mux, "the peer did not end the connection");
    else if (mux->last_write == VST_IO_FAIL)
        mux_fail_lost(mux, "");
    else if (mux_alive(mux))
        mux_tick(mux);
    if (!mux_alive(mux))
        mux->over = true;
    else
        set_timer(mux, mux->opt.keepalive_ms);
    mux_wake(mux);
}

/* ---- for the user ---- */

static int make_buffers(struct vst_mux *mux)
{
    mux->in = evbuffer_new();
    mux->body = evbuffer_new();
    mux->control = evbuffer_new();
    mux->out = evbuffer_new();
    return mux->in && mux->body && mux->control && mux->out ? 0 : -1;
}

static void free_buffers(struct vst_mux *mux)
{
    struct evbuffer *buffers[] = {mux->in, mux->body, mux->control, mux->out};

    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        if (buffers[i])
            evbuffer_free(buffers[i]);
}

static void listen_to(struct vst_mux *mux, struct vst_channel *transport)
{
    mux->transport = transport;
    vst_channel_listen(transport, VST_READ, readable, mux);
    vst_channel_listen(transport, VST_WRITE, writable, mux);
}

struct vst_mux *vst_mux_new(struct vst_channel *transport, const struct vst_mux_options *opt,
                            const struct vst_mux_user *user, struct vst_error *ret_err)
{
    struct vst_mux *mux = calloc(1, sizeof(*mux));

    if (!mux || make_buffers(mux) < 0) {
        if (mux)
            free_buffers(mux);
        free(mux);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    mux->base = transport->base;
    mux->opt = *opt;
    mux->user = *user;
    STAILQ_INIT(&mux->pings);
    STAILQ_INIT(&mux->debtors);
    TAILQ_INIT(&mux->line);
    vst_turn_init(&mux->turn, mux->base, turn, mux);
    event_assign(&mux->timer, mux->base, -1, 0, timer, mux);
    mux_stall_init(mux);
    listen_to(mux, transport);
    set_timer(mux, opt->keepalive_ms);
    mux_wake(mux);
    return mux;
}

void vst_mux_free(struct vst_mux **slot)
{
    static const struct vst_error closed = {
        .code = VST_ERR_LOST,
        .text = "the connection was closed on this side",
    };
    struct vst_mux *mux = *slot;

    if (!mux)
        return;
    *slot = NULL;
    mux->freed = true;
    mux_calls_fail(mux, &closed);
    mux_calls_free(mux);
    mux_pings_fail(mux);
    if (mux->state == MUX_OPEN || mux->state == MUX_ENDING || mux->state == MUX_FAILING)
        vst_channel_abort(mux->transport, &closed);
    vst_channel_free(&mux->transport);
    if (!mux->held)
        destroy(mux);
}

/* What a call with a stream learns of its own messages. */
static void note_sent(struct vst_mux *mux, enum vst_frame_type type, uint32_t id, const char *body,
                      size_t length)
{
    struct mux_call *call = mux_find(mux, id);

    if (type == VST_FRAME_GOAWAY)
        mux->goaway_sent = true;
    else if (type == VST_FRAME_STOP && call)
        mux_call_stopped_with(call, body, length);
    if (mux->opt.role == VST_MUX_SERVER && type != VST_FRAME_EVENT)
        mux_answering(mux, VST_FRAME_HEAD + length);
}

int vst_mux_send(struct vst_mux *mux, enum vst_frame_type type, uint32_t id, const char *body,
                 size_t length)
{
    struct mux_call *call = type == VST_FRAME_STOP ? mux_find(mux, id) : NULL;

    if (!mux_alive(mux) || mux->state == MUX_ENDED || !vst_frame_fits(type, length))
        return -1;
    if (call && call->stopped)
        return 0;
    if (mux_put(mux, type, id, body, length) < 0)
        return -1;
    note_sent(mux, type, id, body, length);
    return 0;
}

void vst_mux_finish(struct vst_mux *mux)
{
    if (mux->state == MUX_OPEN)
        say_goaway(mux);
}

uint32_t vst_mux_next_id(struct vst_mux *mux)
{
    if (mux->state != MUX_OPEN || mux->goaway_came || mux->last_id == UINT32_MAX)
        return 0;
    return ++mux->last_id;
}

/* ---- what it knows about itself ---- */

static size_t held(const struct vst_mux *mux)
{
    return mux->received + mux->unsent + evbuffer_get_length(mux->in) +
           evbuffer_get_length(mux->body) + evbuffer_get_length(mux->control) +
           evbuffer_get_length(mux->out);
}

void mux_count_held(struct vst_mux *mux)
{
    if (held(mux) > mux->stats.most_held)
        mux->stats.most_held = held(mux);
}

void vst_mux_get_stats(struct vst_mux *mux, struct vst_mux_stats *ret_stats)
{
    mux_count_held(mux); /* never less than what is held now */
    *ret_stats = mux->stats;
    ret_stats->held = held(mux);
    ret_stats->streams = mux->count;
    for (unsigned i = 0; i < mux->count; i++)
        if (!mux_call_in_over(mux->calls[i]))
            ret_stats->windows += vst_window_reserved(&mux->calls[i]->window);
}
