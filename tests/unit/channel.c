/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all channels share: pass-through, errors that stay, wants going down and announcements going
 * up, and freeing a stack while it announces.
 */
#include "loop.h"

#include <stdlib.h>
#include <string.h>

/* A leaf that says what it is told to say. */
struct told {
    struct vst_channel ch;
    enum vst_io says;
    unsigned armed;
    unsigned calls;
    bool *gone;
};

static enum vst_io told_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    struct told *told = (struct told *)ch;

    (void)into, (void)max;
    told->calls++;
    if (told->says == VST_IO_FAIL)
        vst_error_set(vst_channel_fail(ch), VST_ERR_DAMAGED, "as told");
    if (told->says == VST_IO_OK) {
        evbuffer_add(into, "x", 1);
        *ret_n = 1;
    }
    return told->says;
}

static enum vst_io told_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    struct told *told = (struct told *)ch;

    (void)max;
    told->calls++;
    if (told->says == VST_IO_OK) {
        evbuffer_drain(from, 1);
        *ret_n = 1;
    }
    return told->says;
}

static enum vst_io told_finish(struct vst_channel *ch)
{
    struct told *told = (struct told *)ch;

    told->calls++;
    return told->says;
}

static void told_arm(struct vst_channel *ch, unsigned dirs)
{
    ((struct told *)ch)->armed = dirs;
}

static size_t told_buffered(struct vst_channel *ch)
{
    (void)ch;
    return 42;
}

static void told_destroy(struct vst_channel *ch)
{
    struct told *told = (struct told *)ch;

    if (told->gone)
        *told->gone = true;
    free(told);
}

static const struct vst_channel_ops told_ops = {
    .name = "told",
    .read = told_read,
    .write = told_write,
    .finish = told_finish,
    .arm = told_arm,
    .buffered = told_buffered,
    .destroy = told_destroy,
};

/* A layer that adds nothing but, when `swapped`, waits below for the other direction. */
struct thin {
    struct vst_channel ch;
    bool swapped;
};

static enum vst_io thin_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    return vst_channel_read(ch->lower, into, max, ret_n);
}

static enum vst_io thin_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    return vst_channel_write(ch->lower, from, max, ret_n);
}

static unsigned swap(const struct vst_channel *ch, unsigned dirs)
{
    if (!((const struct thin *)ch)->swapped)
        return dirs;
    return (dirs & VST_READ ? VST_WRITE : 0) | (dirs & VST_WRITE ? VST_READ : 0);
}

static unsigned thin_wants(struct vst_channel *ch, unsigned dirs)
{
    return swap(ch, dirs);
}

static void thin_ready(struct vst_channel *ch, unsigned dirs)
{
    vst_channel_announce(ch, swap(ch, dirs));
}

static void thin_destroy(struct vst_channel *ch)
{
    free(ch);
}

static const struct vst_channel_ops thin_ops = {
    .name = "thin",
    .read = thin_read,
    .write = thin_write,
    .wants = thin_wants,
    .ready = thin_ready,
    .destroy = thin_destroy,
};

/* The stack of every test: thin on told. */
static struct vst_channel *top;
static struct told *leaf;
static struct thin *thin;
static unsigned announced[2];

static int make(void **state)
{
    (void)state;
    leaf = calloc(1, sizeof(*leaf));
    thin = calloc(1, sizeof(*thin));
    vst_channel_init(&leaf->ch, &told_ops, NULL, NULL);
    vst_channel_init(&thin->ch, &thin_ops, NULL, &leaf->ch);
    top = &thin->ch;
    memset(announced, 0, sizeof(announced));
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(&top);
    return 0;
}

static enum vst_io read_top(void)
{
    struct evbuffer *into = evbuffer_new();
    size_t n;
    enum vst_io io = vst_channel_read(top, into, 10, &n);

    evbuffer_free(into);
    return io;
}

static enum vst_io write_top(void)
{
    struct evbuffer *from = evbuffer_new();
    size_t n;
    enum vst_io io;

    evbuffer_add(from, "x", 1);
    io = vst_channel_write(top, from, 10, &n);
    evbuffer_free(from);
    return io;
}

static void what_a_layer_lacks_passes_through(void **state)
{
    (void)state;
    assert_int_equal(vst_channel_open(top), VST_IO_OK);
    assert_int_equal(vst_channel_buffered(top), 42);
    leaf->says = VST_IO_AGAIN;
    assert_int_equal(vst_channel_finish(top), VST_IO_AGAIN);
    assert_int_equal(leaf->calls, 1);
}

static void failure_stays_and_is_found_from_the_top(void **state)
{
    (void)state;
    leaf->says = VST_IO_FAIL;
    assert_int_equal(read_top(), VST_IO_FAIL);
    leaf->says = VST_IO_OK;
    assert_int_equal(read_top(), VST_IO_FAIL);
    assert_int_equal(leaf->calls, 1);
    assert_int_equal(vst_channel_error(top)->code, VST_ERR_DAMAGED);
    assert_ptr_equal(vst_channel_fail(top), vst_channel_error(&leaf->ch));
}

static void a_failed_read_does_not_stop_writes(void **state)
{
    (void)state;
    leaf->says = VST_IO_FAIL;
    assert_int_equal(read_top(), VST_IO_FAIL);
    leaf->says = VST_IO_OK;
    assert_int_equal(write_top(), VST_IO_OK);
}

static void end_stays(void **state)
{
    (void)state;
    leaf->says = VST_IO_EOF;
    assert_int_equal(read_top(), VST_IO_EOF);
    leaf->says = VST_IO_OK;
    assert_int_equal(read_top(), VST_IO_EOF);
    assert_int_equal(leaf->calls, 1);
}

static void moving_nothing_is_refused(void **state)
{
    struct evbuffer *empty = evbuffer_new();
    size_t n;

    (void)state;
    assert_int_equal(vst_channel_read(top, empty, 0, &n), VST_IO_FAIL);
    assert_int_equal(vst_channel_write(top, empty, 1, &n), VST_IO_FAIL);
    assert_int_equal(leaf->calls, 0);
    assert_int_equal(vst_channel_error(top)->code, VST_ERR_INTERNAL);
    evbuffer_free(empty);
}

static void abort_keeps_the_reason_and_stops_writes(void **state)
{
    struct vst_error why = {.code = VST_ERR_CANCELLED, .text = "enough"};

    (void)state;
    vst_channel_abort(top, &why);
    assert_int_equal(write_top(), VST_IO_FAIL);
    assert_int_equal(vst_channel_finish(top), VST_IO_FAIL);
    assert_string_equal(vst_channel_error(top)->text, "enough");
    assert_int_equal(leaf->calls, 0);
}

static void wants_go_down_and_follow_the_layer(void **state)
{
    (void)state;
    vst_channel_want(top, VST_READ, true);
    assert_int_equal(leaf->armed, VST_READ);
    thin->swapped = true;
    vst_channel_rearm(top);
    assert_int_equal(leaf->armed, VST_WRITE);
    vst_channel_want(top, VST_WRITE, true);
    assert_int_equal(leaf->armed, VST_READ | VST_WRITE);
    vst_channel_want(top, VST_READ, false);
    vst_channel_want(top, VST_WRITE, false);
    assert_int_equal(leaf->armed, 0);
}

static void count(void *opaque)
{
    (*(unsigned *)opaque)++;
}

static void only_what_is_wanted_is_announced(void **state)
{
    (void)state;
    vst_channel_listen(top, VST_READ, count, &announced[0]);
    vst_channel_listen(top, VST_WRITE, count, &announced[1]);
    vst_channel_announce(&leaf->ch, VST_READ | VST_WRITE);
    vst_channel_want(top, VST_WRITE, true);
    vst_channel_announce(&leaf->ch, VST_READ);
    assert_int_equal(announced[0] + announced[1], 0);
    thin->swapped = true;
    vst_channel_announce(&leaf->ch, VST_READ);
    assert_int_equal(announced[0], 0);
    assert_int_equal(announced[1], 1);
}

/* A layer of which nothing is asked: it has the three methods that it must have. */
static const struct vst_channel_ops plain_ops = {
    .name = "plain",
    .read = thin_read,
    .write = thin_write,
    .destroy = thin_destroy,
};

static void layer_without_a_say_passes_wants_and_announcements(void **state)
{
    struct vst_channel *plain = calloc(1, sizeof(*plain));
    unsigned times = 0;

    (void)state;
    vst_channel_init(plain, &plain_ops, NULL, top);
    top = plain;
    vst_channel_listen(top, VST_READ, count, &times);
    vst_channel_want(top, VST_READ, true);
    assert_int_equal(leaf->armed, VST_READ);
    vst_channel_announce(&leaf->ch, VST_READ);
    assert_int_equal(times, 1);
    /* Nothing changes below it, so nothing is armed anew. */
    leaf->armed = 0;
    vst_channel_rearm(top);
    assert_int_equal(leaf->armed, 0);
}

static void free_top(void *opaque)
{
    (void)opaque;
    vst_channel_free(&top);
}

static void stack_freed_by_a_listener_goes_when_the_announcement_returns(void **state)
{
    bool gone = false;

    (void)state;
    leaf->gone = &gone;
    vst_channel_listen(top, VST_READ, free_top, NULL);
    vst_channel_listen(top, VST_WRITE, count, &announced[1]);
    vst_channel_want(top, VST_READ, true);
    vst_channel_want(top, VST_WRITE, true);
    vst_channel_announce(&leaf->ch, VST_READ | VST_WRITE);
    assert_null(top);
    assert_true(gone);
    assert_int_equal(announced[1], 0);
}

static void free_accepts_nothing(void **state)
{
    struct vst_channel *none = NULL;

    (void)state;
    vst_channel_free(&none);
    assert_null(none);
}

static void null_takes_everything_and_ends_at_once(void **state)
{
    struct vst_channel *null = vst_channel_null(NULL, NULL);
    struct evbuffer *buffer = evbuffer_new();
    size_t n = 0;

    (void)state;
    evbuffer_add(buffer, "0123456789", 10);
    assert_int_equal(vst_channel_write(null, buffer, 4, &n), VST_IO_OK);
    assert_int_equal(n, 4);
    assert_int_equal(vst_channel_write(null, buffer, 100, &n), VST_IO_OK);
    assert_int_equal(n, 6);
    assert_int_equal(vst_channel_finish(null), VST_IO_OK);
    assert_int_equal(vst_channel_read(null, buffer, 4, &n), VST_IO_EOF);
    evbuffer_free(buffer);
    vst_channel_free(&null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(what_a_layer_lacks_passes_through, make, drop),
        VST_TEST_WITH(failure_stays_and_is_found_from_the_top, make, drop),
        VST_TEST_WITH(a_failed_read_does_not_stop_writes, make, drop),
        VST_TEST_WITH(end_stays, make, drop),
        VST_TEST_WITH(moving_nothing_is_refused, make, drop),
        VST_TEST_WITH(abort_keeps_the_reason_and_stops_writes, make, drop),
        VST_TEST_WITH(wants_go_down_and_follow_the_layer, make, drop),
        VST_TEST_WITH(only_what_is_wanted_is_announced, make, drop),
        VST_TEST_WITH(layer_without_a_say_passes_wants_and_announcements, make, drop),
        VST_TEST_WITH(stack_freed_by_a_listener_goes_when_the_announcement_returns, make, drop),
        VST_TEST(free_accepts_nothing),
        VST_TEST(null_takes_everything_and_ends_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
