/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The drain of a live save, while it is being started: the loop goes on, and the save can be given
 * up. The program is held up by a lease of ours on its file, which whoever executes it waits for.
 */
#include "host.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct vst_host host;
static char path_before[4096], cat[128];
static int lease = -1;
static bool draining;

static void note_edge(void *opaque, const char *machine, const char *to)
{
    (void)opaque;
    if (strcmp(machine, "save") == 0)
        draining = strcmp(to, "SAVE_DRAINING") == 0;
}

static void copy_program(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    char part[65536];
    ssize_t n;

    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, part, sizeof(part))) > 0)
        assert_int_equal(write(out, part, (size_t)n), n);
    assert_int_equal(n, 0);
    close(in);
    close(out);
}

/* A cat(1) of our own, which comes first in PATH. */
static void put_cat_first(const struct vst_host *made)
{
    char path[sizeof(path_before) + sizeof(made->dir) + 8];

    snprintf(path, sizeof(path), "%s/bin", made->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(cat, sizeof(cat), "%s/bin/cat", made->dir);
    copy_program("/bin/cat", cat);
    snprintf(path, sizeof(path), "%s/bin:%s", made->dir, path_before);
    setenv("PATH", path, 1);
}

static int begin(void **state)
{
    char *definition;
    struct vst_error err = {0};

    (void)state;
    vst_test_seconds(60);
    draining = false;
    vst_host_make_with(&host, put_cat_first);
    host.edge = note_edge;
    definition = vst_host_counting(&host, "g", "P");
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
    vst_host_expect_counting(&host, "g", 2);
    return 0;
}

static void let_go(void)
{
    if (lease >= 0) {
        fcntl(lease, F_SETLEASE, F_UNLCK); /* who waits may have it open, too, being a fork of us */
        close(lease);
    }
    lease = -1;
}

static int end(void **state)
{
    (void)state;
    let_go();
    vst_host_clear(&host);
    setenv("PATH", path_before, 1);
    return 0;
}

/* Whoever executes it stands still from now on; the kernel asks us by a signal to let go. */
static void hold_cat(void)
{
    signal(SIGIO, SIG_IGN);
    lease = open(cat, O_RDONLY | O_CLOEXEC);
    assert_true(lease >= 0);
    assert_int_equal(fcntl(lease, F_SETLEASE, F_WRLCK), 0);
}

/* Somebody waits for it: then the kernel says what it is to become. */
static bool is_wanted(void)
{
    return fcntl(lease, F_GETLEASE) != F_WRLCK;
}

struct saving {
    struct evbuffer *image;
    struct vst_stream *stream;
    struct vst_domain *domain;
    struct vst_op *op;
    bool over;
    struct vst_error err;
};

static void found(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    if (!err)
        ((struct saving *)opaque)->domain = domain;
}

static void saved(const struct vst_error *err, void *opaque)
{
    struct saving *saving = opaque;

    saving->over = true;
    if (err)
        saving->err = *err;
}

/* A live save, up to where its drain stands at the program. */
static void begin_saving(struct saving *saving)
{
    struct vst_save_options opt = {.live = true, .stall_seconds = 20};
    struct vst_domain_cb look = {found, saving, NULL};
    struct vst_done done = {saved, saving, NULL};

    *saving = (struct saving){.image = evbuffer_new()};
    saving->stream = vst_host_sink(&host, saving->image);
    assert_int_equal(vst_op_wait(vst_conn_lookup(host.conn, "g", &look), NULL), 0);
    saving->op = vst_domain_save(saving->domain, saving->stream, &opt, &done);
    while (!draining || !is_wanted())
        event_base_loop(host.base, EVLOOP_NONBLOCK);
}

/* What was begun is given time to happen. */
static void let_go_in_a_while(void)
{
    vst_host_run(&host, 300);
    let_go();
}

static void end_saving(struct saving *saving)
{
    while (!saving->over)
        event_base_loop(host.base, EVLOOP_ONCE);
    vst_stream_free(&saving->stream);
    vst_domain_free(&saving->domain);
    evbuffer_free(saving->image);
}

static void expect_running(void)
{
    struct vst_domain_info info = {0};

    assert_int_equal(vst_host_get_info(&host, "g", &info, NULL), 0);
    assert_int_equal(info.state, VST_DOMAIN_RUNNING);
    vst_host_expect_counting(&host, "g", 2);
    vst_host_expect_gapless(&host, "g");
}

/* The guest may stand still until what it writes to is drained, but who asks is answered. */
static void the_loop_goes_on_while_the_drain_is_being_started(void **state)
{
    struct vst_domain_info info = {0};
    struct saving saving;

    (void)state;
    vst_test_seconds(40); /* by itself the kernel would let go in 45 */
    hold_cat();
    begin_saving(&saving);
    assert_int_equal(vst_host_get_info(&host, "g", &info, NULL), 0);
    assert_int_equal(info.state, VST_DOMAIN_RUNNING);
    assert_false(saving.over);
    let_go();
    end_saving(&saving);
    if (saving.err.text[0])
        fail_msg("%s", saving.err.text);
    expect_running();
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
}

static void a_save_that_is_given_up_meanwhile_ends_and_leaves_the_guest_running(void **state)
{
    struct saving saving;

    (void)state;
    hold_cat();
    begin_saving(&saving);
    vst_stream_abort(saving.stream, "the test gives up");
    let_go_in_a_while();
    end_saving(&saving);
    assert_int_equal(saving.err.code, VST_ERR_CANCELLED);
    expect_running();
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
}

static void a_save_whose_qemu_dies_meanwhile_says_so(void **state)
{
    struct saving saving;

    (void)state;
    hold_cat();
    begin_saving(&saving);
    kill(host.started->processes[host.started->count - 1].pid, SIGKILL);
    let_go_in_a_while();
    end_saving(&saving);
    assert_non_null(strstr(saving.err.text, "ended without a word"));
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
}

static void a_connection_that_is_closed_meanwhile_leaves_the_guest_running(void **state)
{
    struct saving saving;

    (void)state;
    hold_cat();
    begin_saving(&saving);
    vst_domain_free(&saving.domain);
    vst_conn_close(&host.conn);
    let_go_in_a_while();
    end_saving(&saving);
    vst_host_disconnect(&host);
    vst_host_connect(&host);
    expect_running();
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
}

static void without_the_program_a_live_save_fails_and_the_guest_runs(void **state)
{
    struct vst_save_options opt = {.live = true, .stall_seconds = 20};
    struct evbuffer *image = evbuffer_new();
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(unlink(cat), 0);
    assert_int_equal(vst_host_save(&host, "g", vst_host_sink(&host, image), &opt, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    evbuffer_free(image);
    expect_running();
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(the_loop_goes_on_while_the_drain_is_being_started, begin, end),
        VST_TEST_WITH(a_save_that_is_given_up_meanwhile_ends_and_leaves_the_guest_running, begin,
                      end),
        VST_TEST_WITH(a_save_whose_qemu_dies_meanwhile_says_so, begin, end),
        VST_TEST_WITH(a_connection_that_is_closed_meanwhile_leaves_the_guest_running, begin, end),
        VST_TEST_WITH(without_the_program_a_live_save_fails_and_the_guest_runs, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    snprintf(path_before, sizeof(path_before), "%s", getenv("PATH"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
