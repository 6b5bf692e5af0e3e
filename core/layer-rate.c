/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * At most so many bytes a second: one bucket of tokens per direction. A direction whose bucket is
 * low says AGAIN and stops watching what is below, until a timer finds enough tokens for a piece of
 * reasonable size; so a low rate costs few turns of the loop and few small pieces.
 */
#include <event2/event_struct.h>
#include <stdlib.h>

#include "channel.h"
#include "clock.h"

/* A piece is what comes in a hundredth of a second, within these. */
enum { PIECES_PER_SECOND = 100, BURSTS_PER_SECOND = 10 };

struct bucket {
    double tokens;  /* in bytes; at most the burst */
    int64_t filled; /* when, in nanoseconds */
    bool dry;       /* the timer runs */
    struct event timer;
    struct rate *rate;
    enum vst_dir dir;
};

struct rate {
    struct vst_channel base;
    double per_second;
    double burst; /* at least a byte */
    double piece; /* at least a byte, at most the burst */
    struct bucket buckets[2];
};

static struct rate *rate_of(struct vst_channel *ch)
{
    return (struct rate *)ch;
}

static struct bucket *bucket_of(struct vst_channel *ch, enum vst_dir dir)
{
    return &rate_of(ch)->buckets[dir == VST_WRITE];
}

static void fill(struct bucket *bucket)
{
    const struct rate *rate = bucket->rate;
    int64_t at = vst_now_ns();

    bucket->tokens += (double)(at - bucket->filled) * 1e-9 * rate->per_second;
    if (bucket->tokens > rate->burst)
        bucket->tokens = rate->burst;
    bucket->filled = at;
}

static enum vst_io wait_for_piece(struct bucket *bucket)
{
    const struct rate *rate = bucket->rate;
    double seconds = (rate->piece - bucket->tokens) / rate->per_second;
    struct timeval delay = {.tv_sec = (time_t)seconds};

    /* Rounded up: a timer that is early would have to run twice. */
    delay.tv_usec = (suseconds_t)((seconds - (double)delay.tv_sec) * 1e6) + 1;
    if (event_add(&bucket->timer, &delay) < 0) {
        vst_error_no_memory(vst_channel_fail(&bucket->rate->base));
        return VST_IO_FAIL;
    }
    bucket->dry = true;
    vst_channel_rearm(&bucket->rate->base);
    return VST_IO_AGAIN;
}

/* Cuts *max to what may pass now. AGAIN: the timer will tell. */
static enum vst_io allow(struct bucket *bucket, size_t *max)
{
    if (bucket->dry)
        return VST_IO_AGAIN;
    fill(bucket);
    if (bucket->tokens < bucket->rate->piece)
        return wait_for_piece(bucket);
    if (bucket->tokens < (double)*max)
        *max = (size_t)bucket->tokens;
    return VST_IO_OK;
}

static enum vst_io rate_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    struct bucket *bucket = bucket_of(ch, VST_READ);
    enum vst_io io = allow(bucket, &max);

    if (io == VST_IO_OK)
        io = vst_channel_read(ch->lower, into, max, ret_n);
    if (io == VST_IO_OK)
        bucket->tokens -= (double)*ret_n;
    return io;
}

static enum vst_io rate_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    struct bucket *bucket = bucket_of(ch, VST_WRITE);
    enum vst_io io = allow(bucket, &max);

    if (io == VST_IO_OK)
        io = vst_channel_write(ch->lower, from, max, ret_n);
    if (io == VST_IO_OK)
        bucket->tokens -= (double)*ret_n;
    return io;
}

/* The directions that wait for what is below, and not for tokens. */
static unsigned wet(struct vst_channel *ch, unsigned dirs)
{
    if (bucket_of(ch, VST_READ)->dry)
        dirs &= ~(unsigned)VST_READ;
    if (bucket_of(ch, VST_WRITE)->dry)
        dirs &= ~(unsigned)VST_WRITE;
    return dirs;
}

static size_t rate_buffered(struct vst_channel *ch)
{
    return bucket_of(ch, VST_READ)->dry ? 0 : vst_channel_buffered(ch->lower);
}

static void timer_fired(evutil_socket_t fd, short what, void *opaque)
{
    struct bucket *bucket = opaque;

    (void)fd, (void)what;
    bucket->dry = false;
    vst_channel_rearm(&bucket->rate->base);
    vst_channel_announce(&bucket->rate->base, bucket->dir);
}

static void rate_destroy(struct vst_channel *ch)
{
    event_del(&bucket_of(ch, VST_READ)->timer);
    event_del(&bucket_of(ch, VST_WRITE)->timer);
    free(ch);
}

static const struct vst_channel_ops rate_ops = {
    .name = "rate",
    .read = rate_read,
    .write = rate_write,
    .destroy = rate_destroy,
    .wants = wet,
    .buffered = rate_buffered,
    .hole = vst_layer_hole,
    .skip = vst_layer_skip,
    .write_hole = vst_layer_write_hole,
};

static void init_bucket(struct rate *rate, enum vst_dir dir)
{
    struct bucket *bucket = bucket_of(&rate->base, dir);

    *bucket =
        (struct bucket){.tokens = rate->burst, .filled = vst_now_ns(), .rate = rate, .dir = dir};
    event_assign(&bucket->timer, rate->base.base, -1, 0, timer_fired, bucket);
}

static double within(double value, double least, double most)
{
    return value < least ? least : value > most ? most : value;
}

struct vst_channel *vst_channel_rate(struct vst_channel *lower, uint64_t bytes_per_second,
                                     size_t burst, struct vst_error *ret_err)
{
    struct rate *rate;

    if (!bytes_per_second) {
        vst_error_set(ret_err, VST_ERR_INVALID, "a rate of 0 bytes a second moves nothing");
        return NULL;
    }
    rate = calloc(1, sizeof(*rate));
    if (!rate) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    rate->per_second = (double)bytes_per_second;
    rate->burst = burst ? (double)burst : rate->per_second / BURSTS_PER_SECOND;
    rate->burst = within(rate->burst, 1, 1e15);
    rate->piece = within(rate->per_second / PIECES_PER_SECOND, 1, rate->burst);
    vst_channel_init(&rate->base, &rate_ops, lower->base, lower);
    init_bucket(rate, VST_READ);
    init_bucket(rate, VST_WRITE);
    return &rate->base;
}
