/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every callback does everything, at every call of it: frees the stream, aborts it, cancels the
 * operation, closes the connection, and more. Whatever comes of it, each operation completes once,
 * everything is released once, nothing is called after it was freed, and the guest is where the
 * outcome says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

enum { STATE = 20000, LIMIT = 4096, CHUNK = 3000 };

#define PLACES(X) \
    X(READ)       \
    X(WRITE)      \
    X(FINISH)     \
    X(WRITABLE)   \
    X(READABLE)   \
    X(ENDED)      \
    X(DONE)       \
    X(EVENT)

/* Each is a function of its name, below. */
#define DEEDS(X)       \
    X(free_stream)     \
    X(abort_stream)    \
    X(free_and_abort)  \
    X(cancel)          \
    X(deadline)        \
    X(close_conn)      \
    X(close_and_free)  \
    X(free_domain)     \
    X(destroy)         \
    X(wake)            \
    X(drop_and_cancel) \
    X(finish_pushing)  \
    X(push_and_pull)   \
    X(save_once_more)

#define ENUM(name) name,
#define NAME(name) #name,
enum place { PLACES(ENUM) PLACE_COUNT };
static const char *const place_names[] = {PLACES(NAME)};

struct deed {
    void (*fn)(void);
    const char *name;
};

/* What is tried now: `deed` in call number `nth` of `place`. */
static struct {
    enum place place;
    const struct deed *deed;
    unsigned nth;
    unsigned calls;
    bool hit;
} trial;

static struct app app;
static struct vst_stream *stream;
static struct vst_op *op; /* until it has completed */
static struct outcome outcome, again;
static struct vst_stream *extra;
static unsigned ended, released;
static bool freed;              /* the stream: none of its callbacks may come any more */
static struct evbuffer *bytes;  /* what goes up, or what has come down */
static struct evbuffer *echoed; /* what has come down while others went up */
static struct end end;

static void free_stream(void)
{
    vst_stream_free(&stream);
    freed = true;
}

static void abort_stream(void)
{
    if (stream)
        vst_stream_abort(stream, "because I can");
}

static void free_and_abort(void)
{
    if (stream)
        vst_stream_abort(stream, NULL);
    free_stream();
}

static void cancel(void)
{
    vst_op_cancel(op);
}

static void deadline(void)
{
    static const struct timeval now = {0, 0};

    if (op)
        vst_op_set_timeout(op, &now);
}

static void close_conn(void)
{
    vst_conn_close(&app.conn);
}

static void close_and_free(void)
{
    vst_conn_close(&app.conn);
    free_stream();
    vst_domain_free(&app.domain);
}

static void free_domain(void)
{
    vst_domain_free(&app.domain);
}

static void destroy(void)
{
    if (app.domain)
        vst_domain_destroy(app.domain, NULL);
}

static void wake(void)
{
    if (stream)
        vst_stream_wake(stream);
}

static void drop_and_cancel(void)
{
    if (stream)
        vst_stream_set_callbacks(stream, NULL, NULL);
    vst_op_cancel(op);
}

static void finish_pushing(void)
{
    if (stream)
        vst_stream_finish(stream);
}

static void push_and_pull(void)
{
    size_t n;

    if (stream) {
        vst_stream_write(stream, "?", 1, &n);
        vst_stream_read_buffer(stream, echoed, 10, &n);
    }
}

static enum vst_io discard(const void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                           void *opaque)
{
    (void)buf, (void)ret_err, (void)opaque;
    *ret_n = len;
    return VST_IO_OK;
}

static void save_once_more(void)
{
    if (app.domain && !extra) {
        struct vst_writer nowhere = {discard, NULL, NULL, NULL};

        extra = vst_stream_new(app.base, NULL);
        vst_stream_set_sink_writer(extra, &nowhere);
        vst_domain_save(app.domain, extra, NULL, outcome_done(&again));
    }
}

#define DEED(name) {name, #name},
static const struct deed deeds[] = {DEEDS(DEED)};

static void at(enum place place)
{
    if (place != trial.place || trial.calls++ != trial.nth)
        return;
    trial.hit = true;
    trial.deed->fn();
}

/* ---- the callbacks ---- */

static void in_read(void *opaque)
{
    (void)opaque;
    assert_false(freed);
    at(READ);
}

static void in_write(void *opaque)
{
    (void)opaque;
    assert_false(freed);
    at(evbuffer_get_length(bytes) >= STATE ? FINISH : WRITE);
}

static void push_all(void)
{
    while (stream && evbuffer_get_length(bytes)) {
        char chunk[CHUNK];
        ev_ssize_t length = evbuffer_copyout(bytes, chunk, sizeof(chunk));
        size_t n;

        if (vst_stream_write(stream, chunk, (size_t)length, &n) != VST_IO_OK)
            return;
        evbuffer_drain(bytes, n);
    }
    if (stream)
        vst_stream_finish(stream);
}

static void in_writable(struct vst_stream *which, void *opaque)
{
    (void)opaque;
    assert_false(freed);
    assert_ptr_equal(which, stream);
    at(WRITABLE);
    push_all();
}

static void in_readable(struct vst_stream *which, void *opaque)
{
    size_t n;

    (void)opaque;
    assert_false(freed);
    assert_ptr_equal(which, stream);
    at(READABLE);
    while (stream && vst_stream_read_buffer(stream, echoed, CHUNK, &n) == VST_IO_OK)
        ;
}

static void in_ended(struct vst_stream *which, const struct vst_error *err, void *opaque)
{
    (void)opaque, (void)err;
    assert_false(freed);
    assert_ptr_equal(which, stream);
    assert_int_equal(outcome.calls, 0);
    ended++;
    at(ENDED);
}

static void in_release(void *opaque)
{
    (void)opaque;
    released++;
}

static void in_done(void *opaque)
{
    (void)opaque;
    at(DONE);
    op = NULL;
}

static void in_event(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    (void)event, (void)opaque;
    assert_ptr_equal(conn, app.conn);
    at(EVENT);
}

/* ---- the methods under trial ---- */

enum shape { CALLBACK, CALLBACK_AGAIN, BY_HAND };

static struct manner manner_of(enum shape shape, void (*meanwhile)(void *))
{
    return (struct manner){
        .chunk = CHUNK, .again = shape == CALLBACK_AGAIN, .meanwhile = meanwhile};
}

static void begin(void)
{
    struct vst_stream_options opt = {.limit = LIMIT};
    struct vst_stream_callbacks cb = {in_writable, in_readable, in_ended, in_release};
    struct vst_event_cb events = {.fn = in_event};

    echoed = evbuffer_new();
    stream = vst_stream_new(app.base, &opt);
    vst_stream_set_callbacks(stream, &cb, NULL);
    vst_conn_set_event_callback(app.conn, &events);
    outcome = (struct outcome){.then = in_done};
    again = (struct outcome){0};
    extra = NULL;
    end = (struct end){0};
    ended = released = 0;
    freed = false;
}

/* Runs until all is over, and looks whether it was over in the right way. */
static void await_end(void)
{
    bool has_end = end.manner.chunk;

    while (!outcome.released)
        assert_int_equal(event_base_loop(app.base, EVLOOP_ONCE), 0);
    assert_int_equal(outcome.calls, 1);
    free_stream();
    evbuffer_free(echoed);
    vst_stream_free(&extra);
    while (again.calls != again.released ||
           (trial.deed->fn == save_once_more && trial.hit && app.domain && !again.released))
        if (event_base_loop(app.base, EVLOOP_ONCE) != 0)
            break;
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.released, 1);
    assert_in_range(ended, 0, 1);
    assert_int_equal(released, 1);
    if (has_end)
        assert_int_equal(end.released, 1);
}

static void check_guest(bool save)
{
    bool good = outcome.err.code == VST_ERR_OK;
    int state;

    /* The guest may have been destroyed, or saved once more. */
    if (!app.conn || trial.deed->fn == destroy || trial.deed->fn == save_once_more)
        return;
    state = app_domain_state(&app, "test1");
    if (state != (save == good ? -1 : VST_DOMAIN_RUNNING))
        fail_msg("%s in call %u of %s: %s, and the guest is %d", trial.deed->name, trial.nth,
                 place_names[trial.place], vst_code_name(outcome.err.code), state);
}

static void run_save(enum shape shape, struct evbuffer *image)
{
    (void)image;
    app_start(&app, "test:///?memory=20000");
    bytes = evbuffer_new();
    begin();
    if (shape != BY_HAND)
        end_drain(&end, app.base, stream, bytes, manner_of(shape, in_write));
    op = vst_domain_save(app.domain, stream, NULL, outcome_done(&outcome));
    await_end();
    check_guest(true);
    app_stop(&app);
    evbuffer_free(bytes);
}

static void run_restore(enum shape shape, struct evbuffer *image)
{
    app_start(&app, "test:///?memory=20000&domains=1");
    vst_domain_destroy(app.domain, NULL);
    bytes = copy_of(image);
    begin();
    if (shape != BY_HAND)
        end_feed(&end, app.base, stream, bytes, manner_of(shape, in_read));
    op = vst_domain_restore(app.conn, stream, NULL, outcome_domain(&outcome));
    if (shape == BY_HAND)
        push_all();
    await_end();
    vst_domain_free(&outcome.domain);
    check_guest(false);
    app_stop(&app);
    evbuffer_free(bytes);
}

/* Both ways at once, with one channel at the far end of both. */
static void run_console(enum shape shape, struct evbuffer *typed)
{
    (void)shape;
    app_start(&app, "test:///?memory=20000");
    bytes = copy_of(typed);
    begin();
    op = vst_domain_open_console(app.domain, stream, outcome_done(&outcome));
    push_all();
    await_end();
    app_stop(&app);
    evbuffer_free(bytes);
}

/* Tries everything everywhere with one method; the number of trials that came to pass. */
static unsigned sweep(void (*run)(enum shape, struct evbuffer *), enum shape shape,
                      struct evbuffer *image)
{
    unsigned hits = 0;

    vst_test_seconds(120);
    for (int place = 0; place < PLACE_COUNT; place++)
        for (size_t deed = 0; deed < sizeof(deeds) / sizeof(*deeds); deed++)
            for (unsigned nth = 0;; nth++) {
                memset(&trial, 0, sizeof(trial));
                trial.place = (enum place)place;
                trial.deed = &deeds[deed];
                trial.nth = nth;
                run(shape, image);
                if (!trial.hit)
                    break;
                hits++;
            }
    return hits;
}

static struct evbuffer *make_image(void)
{
    static const struct manner plain;
    struct evbuffer *image = evbuffer_new();

    app_start(&app, "test:///?memory=20000");
    assert_int_equal(app_save(&app, NULL, NULL, image, plain), VST_ERR_OK);
    app_stop(&app);
    return image;
}

static void sweep_save(enum shape shape, unsigned least)
{
    unsigned hits = sweep(run_save, shape, NULL);

    print_message("# %u trials\n", hits);
    assert_in_range(hits, least, 100000);
}

static void sweep_restore(enum shape shape, unsigned least)
{
    struct evbuffer *image = make_image();
    unsigned hits = sweep(run_restore, shape, image);

    print_message("# %u trials\n", hits);
    assert_in_range(hits, least, 100000);
    evbuffer_free(image);
}

static void save_to_a_callback_survives_every_callback(void **state)
{
    (void)state;
    sweep_save(CALLBACK, 100);
}

static void save_to_a_callback_that_says_again_survives_every_callback(void **state)
{
    (void)state;
    sweep_save(CALLBACK_AGAIN, 150);
}

static void save_by_pulling_survives_every_callback(void **state)
{
    (void)state;
    sweep_save(BY_HAND, 100);
}

static void restore_from_a_callback_survives_every_callback(void **state)
{
    (void)state;
    sweep_restore(CALLBACK, 100);
}

static void restore_from_a_callback_that_says_again_survives_every_callback(void **state)
{
    (void)state;
    sweep_restore(CALLBACK_AGAIN, 150);
}

static void restore_by_pushing_survives_every_callback(void **state)
{
    (void)state;
    sweep_restore(BY_HAND, 100);
}

static void console_survives_every_callback(void **state)
{
    struct evbuffer *typed = evbuffer_new();
    unsigned hits;

    (void)state;
    for (int i = 0; i < 2000; i++)
        evbuffer_add_printf(typed, "%d ", i);
    hits = sweep(run_console, BY_HAND, typed);
    print_message("# %u trials\n", hits);
    assert_in_range(hits, 100, 100000);
    evbuffer_free(typed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(save_to_a_callback_survives_every_callback),
        VST_TEST(save_to_a_callback_that_says_again_survives_every_callback),
        VST_TEST(save_by_pulling_survives_every_callback),
        VST_TEST(restore_from_a_callback_survives_every_callback),
        VST_TEST(restore_from_a_callback_that_says_again_survives_every_callback),
        VST_TEST(restore_by_pushing_survives_every_callback),
        VST_TEST(console_survives_every_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
