/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leaves whose other side is the application: a reader that is asked for bytes, a writer that is
 * given them. They call the application, and only from a pump's turn, which is the loop.
 */
#ifndef VST_CORE_CHANNEL_APP_H
#define VST_CORE_CHANNEL_APP_H

#include "channel.h"
#include "virstream/stream.h"

struct vst_channel *vst_channel_reader(struct event_base *base, const struct vst_reader *reader,
                                       struct vst_error *ret_err);
struct vst_channel *vst_channel_writer(struct event_base *base, const struct vst_writer *writer,
                                       struct vst_error *ret_err);

/* "Ask again": announces, in a turn, whatever is wanted. For any channel of these two kinds. */
void vst_channel_app_wake(struct vst_channel *ch);

/* The application is not called again, except for `release`: its reads and writes say AGAIN. */
void vst_channel_app_mute(struct vst_channel *ch);

#endif
