/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scripted leaf; see script.h.
 */
#include "script.h"

#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/turn.h"
#include "test.h"

struct line {
    struct line *next;
    enum vst_io io;
    size_t n;
    unsigned char bytes[];
};

/* What one kind of call will meet. */
struct part {
    struct line *first;
    struct line **end;
    bool waited; /* the AGAIN in front has been announced */
};

struct script {
    struct vst_channel ch;
    struct vst_turn turn;
    struct part reads;
    struct part writes;
    struct part finishes;
    bool no_writes;
    struct script_seen seen;
};

static struct script *script_of(struct vst_channel *ch)
{
    return (struct script *)ch;
}

static void append(struct part *part, enum vst_io io, const void *bytes, size_t n)
{
    struct line *line = calloc(1, sizeof(*line) + (bytes ? n : 0));

    assert_non_null(line);
    line->io = io;
    line->n = n;
    if (bytes && n)
        memcpy(line->bytes, bytes, n);
    *part->end = line;
    part->end = &line->next;
}

static void drop_first(struct part *part)
{
    struct line *line = part->first;

    part->first = line->next;
    if (!part->first)
        part->end = &part->first;
    part->waited = false;
    free(line);
}

/* The line that counts now: AGAIN is over once it has been waited for. NULL: none is left. */
static struct line *present(struct part *part)
{
    while (part->first && part->first->io == VST_IO_AGAIN && part->waited)
        drop_first(part);
    return part->first;
}

static enum vst_io say(struct script *script, enum vst_io io)
{
    if (io == VST_IO_FAIL)
        vst_error_set(vst_channel_fail(&script->ch), SCRIPT_ERROR, "as the script says");
    return io;
}

static enum vst_io no_memory(struct script *script)
{
    vst_error_no_memory(vst_channel_fail(&script->ch));
    return VST_IO_FAIL;
}

static enum vst_io script_do_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                                  size_t *ret_n)
{
    struct script *script = script_of(ch);
    struct line *line = present(&script->reads);

    if (!line)
        return VST_IO_AGAIN;
    if (line->io != VST_IO_OK)
        return say(script, line->io);
    *ret_n = line->n < max ? line->n : max;
    if (evbuffer_add(into, line->bytes, *ret_n) < 0)
        return no_memory(script);
    line->n -= *ret_n;
    memmove(line->bytes, line->bytes + *ret_n, line->n);
    if (!line->n)
        drop_first(&script->reads);
    return VST_IO_OK;
}

static enum vst_io script_do_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                   size_t *ret_n)
{
    struct script *script = script_of(ch);
    struct line *line = present(&script->writes);
    size_t n = evbuffer_get_length(from) < max ? evbuffer_get_length(from) : max;

    /* Nothing is written once it was said that nothing follows. */
    assert_int_equal(script->seen.finished, 0);
    assert_int_equal(script->seen.aborted, 0);
    if (line && line->io != VST_IO_OK)
        return say(script, line->io);
    if (!line && script->no_writes)
        return VST_IO_AGAIN;
    if (line) {
        n = line->n < n ? line->n : n;
        drop_first(&script->writes);
    }
    if (vst_buffer_move(from, script->seen.written, n) < 0)
        return no_memory(script);
    *ret_n = n;
    script->seen.writes++;
    return VST_IO_OK;
}

static enum vst_io script_do_finish(struct vst_channel *ch)
{
    struct script *script = script_of(ch);
    struct line *line = present(&script->finishes);

    assert_int_equal(script->seen.aborted, 0);
    if (line)
        return say(script, line->io);
    script->seen.finished++;
    return VST_IO_OK;
}

static void script_do_abort(struct vst_channel *ch, const struct vst_error *why)
{
    struct script *script = script_of(ch);

    assert_int_equal(script->seen.finished, 0);
    script->seen.aborted++;
    script->seen.why = why->code;
}

static unsigned ready(const struct script *script)
{
    unsigned dirs = script->reads.first ? VST_READ : 0;

    if (script->writes.first || script->finishes.first || !script->no_writes)
        dirs |= VST_WRITE;
    return dirs & script->ch.wanted;
}

static void wake(struct script *script)
{
    if (ready(script))
        vst_turn_schedule(&script->turn);
}

static void script_arm(struct vst_channel *ch, unsigned dirs)
{
    (void)dirs;
    wake(script_of(ch));
}

/* As a descriptor that is polled: announces again and again while it is wanted and ready. */
static void announce(evutil_socket_t fd, short what, void *opaque)
{
    struct script *script = opaque;
    unsigned dirs = ready(script);

    (void)fd, (void)what;
    if (!dirs)
        return;
    if (dirs & VST_READ)
        script->reads.waited = true;
    if (dirs & VST_WRITE)
        script->writes.waited = script->finishes.waited = true;
    script->seen.announced += (dirs & VST_READ) && (dirs & VST_WRITE) ? 2 : 1;
    vst_turn_schedule(&script->turn);
    vst_channel_announce(&script->ch, dirs);
}

static void clear(struct part *part)
{
    while (part->first)
        drop_first(part);
}

static void script_destroy(struct vst_channel *ch)
{
    struct script *script = script_of(ch);

    vst_turn_cancel(&script->turn);
    clear(&script->reads);
    clear(&script->writes);
    clear(&script->finishes);
    evbuffer_free(script->seen.written);
    free(script);
}

static const struct vst_channel_ops script_ops = {
    .name = "script",
    .read = script_do_read,
    .write = script_do_write,
    .destroy = script_destroy,
    .finish = script_do_finish,
    .abort = script_do_abort,
    .arm = script_arm,
};

struct vst_channel *script_new(struct event_base *base)
{
    struct script *script = calloc(1, sizeof(*script));

    assert_non_null(script);
    vst_channel_init(&script->ch, &script_ops, base, NULL);
    vst_turn_init(&script->turn, base, announce, script);
    script->reads.end = &script->reads.first;
    script->writes.end = &script->writes.first;
    script->finishes.end = &script->finishes.first;
    script->seen.written = evbuffer_new();
    return &script->ch;
}

static void add(struct script *script, struct part *part, enum vst_io io, const void *bytes,
                size_t n)
{
    append(part, io, bytes, n);
    wake(script);
}

void script_give(struct vst_channel *ch, const void *bytes, size_t len)
{
    add(script_of(ch), &script_of(ch)->reads, VST_IO_OK, bytes, len);
}

void script_read(struct vst_channel *ch, enum vst_io io)
{
    add(script_of(ch), &script_of(ch)->reads, io, NULL, 0);
}

void script_give_chunks(struct vst_channel *ch, const void *bytes, size_t len, size_t chunk)
{
    for (size_t at = 0; at < len; at += chunk) {
        if (at)
            script_read(ch, VST_IO_AGAIN);
        script_give(ch, (const char *)bytes + at, len - at < chunk ? len - at : chunk);
    }
}

void script_take(struct vst_channel *ch, size_t n)
{
    add(script_of(ch), &script_of(ch)->writes, VST_IO_OK, NULL, n);
}

void script_write(struct vst_channel *ch, enum vst_io io)
{
    add(script_of(ch), &script_of(ch)->writes, io, NULL, 0);
}

void script_stop_writes(struct vst_channel *ch, bool stop)
{
    script_of(ch)->no_writes = stop;
    wake(script_of(ch));
}

void script_finish(struct vst_channel *ch, enum vst_io io)
{
    add(script_of(ch), &script_of(ch)->finishes, io, NULL, 0);
}

const struct script_seen *script_seen(const struct vst_channel *ch)
{
    return &((const struct script *)ch)->seen;
}
