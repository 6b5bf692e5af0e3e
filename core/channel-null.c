/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The null channel: /dev/null without system calls. It never says AGAIN, so it announces nothing.
 */
#include "channel.h"

#include <stdlib.h>

static enum vst_io null_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    (void)ch, (void)into, (void)max, (void)ret_n;
    return VST_IO_EOF;
}

static enum vst_io null_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    size_t len = evbuffer_get_length(from);

    (void)ch;
    *ret_n = len < max ? len : max;
    evbuffer_drain(from, *ret_n);
    return VST_IO_OK;
}

static enum vst_io null_write_hole(struct vst_channel *ch, uint64_t n, uint64_t *ret_n)
{
    (void)ch;
    *ret_n = n;
    return VST_IO_OK;
}

static void null_destroy(struct vst_channel *ch)
{
    free(ch);
}

static const struct vst_channel_ops null_ops = {
    .name = "null",
    .read = null_read,
    .write = null_write,
    .destroy = null_destroy,
    .write_hole = null_write_hole,
};

struct vst_channel *vst_channel_null(struct event_base *base, struct vst_error *ret_err)
{
    struct vst_channel *ch = malloc(sizeof(*ch));

    if (!ch) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_channel_init(ch, &null_ops, base, NULL);
    return ch;
}
