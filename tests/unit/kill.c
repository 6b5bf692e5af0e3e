/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill -9 at every step of save and restore: once of QEMU, once of the process that saves or
 * restores. The steps are the edges that the machines of the driver take, by the library's trace:
 * the n-th edge is where the n-th run is cut off, until a run has no n-th edge.
 */
#include "host.h"
#include "loop.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char old_image[] = "the image that was there before\n";

/* Where to strike: at the edge number `at` of these machines. */
struct strike {
    struct vst_host *host;
    const char *const *machines;
    unsigned at;
    unsigned seen;
    bool struck;
    char where[64];
    void (*hit)(struct strike *strike);
};

static void see(void *opaque, const char *machine, const char *to)
{
    struct strike *strike = opaque;
    const char *const *one = strike->machines;

    while (*one && strcmp(*one, machine) != 0)
        one++;
    if (!*one || strike->struck || strike->seen++ != strike->at)
        return;
    strike->struck = true;
    snprintf(strike->where, sizeof(strike->where), "%s", to);
    strike->hit(strike);
}

/* The one that was started last. */
static void kill_qemu(struct strike *strike)
{
    const struct vst_host_started *started = strike->host->started;

    if (started->count)
        kill(started->processes[started->count - 1].pid, SIGKILL);
}

static void kill_us(struct strike *strike)
{
    (void)strike;
    raise(SIGKILL);
}

/* ---- the parts of a run ---- */

static int make_host(void **state)
{
    struct vst_host *host = calloc(1, sizeof(*host));

    vst_test_seconds(100);
    vst_host_make(host);
    *state = host;
    return 0;
}

static int clear_host(void **state)
{
    vst_host_clear(*state);
    free(*state);
    return 0;
}

static void start(struct vst_host *host, char *definition)
{
    struct vst_error err = {0};

    if (vst_host_start(host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
}

static char *target_path(const struct vst_host *host)
{
    static char path[100];

    snprintf(path, sizeof(path), "%s/images/g.image", host->dir);
    return path;
}

static void put_old_image(const struct vst_host *host)
{
    char dir[80];
    FILE *file;

    snprintf(dir, sizeof(dir), "%s/images", host->dir);
    mkdir(dir, 0700);
    file = fopen(target_path(host), "we");
    assert_non_null(file);
    fputs(old_image, file);
    fclose(file);
}

static bool is_old_image(const struct vst_host *host)
{
    char text[sizeof(old_image)] = "";
    FILE *file = fopen(target_path(host), "re");
    size_t length;

    assert_non_null(file);
    length = fread(text, 1, sizeof(text), file);
    fclose(file);
    return length == strlen(old_image) && memcmp(text, old_image, length) == 0;
}

static struct vst_stream *source_file(struct vst_host *host)
{
    struct vst_stream *stream = vst_stream_new(host->base, NULL);

    assert_non_null(stream);
    assert_int_equal(vst_stream_set_source_file(stream, target_path(host)), 0);
    return stream;
}

static int restore(struct vst_host *host, struct vst_error *ret_err)
{
    struct vst_restore_options opt = {.stall_seconds = 10};

    return vst_host_restore(host, source_file(host), &opt, ret_err);
}

static void expect_sentence(const struct strike *strike, const struct vst_error *err)
{
    if (err->code == VST_ERR_INTERNAL || err->code == VST_ERR_STALLED ||
        err->code == VST_ERR_TIMEOUT || strlen(err->text) < 20)
        fail_msg("at %s: %s: %s", strike->where, vst_code_name(err->code), err->text);
}

/* ---- QEMU is killed during a save ---- */

enum sink { SINK_FILE, SINK_BROKEN, SINK_SMALL };

/* More than an image has before QEMU gives anything. */
enum { SMALL = 1000 };

static enum vst_io take_some(const void *bytes, size_t length, size_t *ret_n,
                             struct vst_error *ret_err, void *opaque)
{
    size_t *room = opaque;

    (void)bytes;
    if (*room == 0) {
        vst_error_set(ret_err, VST_ERR_SYSTEM, "the application takes no more of the image");
        return VST_IO_FAIL;
    }
    *ret_n = length < *room ? length : *room;
    *room -= *ret_n;
    return VST_IO_OK;
}

static struct vst_stream *make_sink(struct vst_host *host, enum sink sink)
{
    static size_t room;
    struct vst_writer writer = {.write = take_some, .opaque = &room};
    struct vst_stream *stream;

    if (sink == SINK_FILE)
        return vst_host_sink_file(host, target_path(host));
    room = sink == SINK_SMALL ? SMALL : 0;
    stream = vst_stream_new(host->base, NULL);
    assert_non_null(stream);
    assert_int_equal(vst_stream_set_sink_writer(stream, &writer), 0);
    return stream;
}

static int save(struct vst_host *host, enum sink sink, bool keep_running, struct strike *strike,
                struct vst_error *ret_err)
{
    struct vst_save_options opt = {.keep_running = keep_running, .stall_seconds = 10};
    int status;

    host->edge = strike ? see : NULL;
    host->opaque = strike;
    status = vst_host_save(host, "g", make_sink(host, sink), &opt, ret_err);
    host->edge = NULL;
    return status;
}

/* Asks until the answer is final: ends are seen a moment after they happen. */
static struct vst_domain_info ask(struct vst_host *host, enum vst_domain_state wanted,
                                  struct vst_error *ret_err)
{
    struct vst_domain_info info;

    for (int tries = 0; tries < 100; tries++) {
        info = (struct vst_domain_info){.state = wanted};
        if (vst_host_get_info(host, "g", &info, ret_err) < 0 || info.state == wanted)
            break;
        vst_host_run(host, 20);
    }
    return info;
}

/* After the end of the guest: whatever is left of it is told, and can be cleared away. */
static void expect_crashed(struct vst_host *host, const struct strike *strike)
{
    struct vst_error err = {0};
    struct vst_domain_info info = ask(host, VST_DOMAIN_CRASHED, &err);

    if (vst_error_is_set(&err))
        fail_msg("at %s: info: %s", strike->where, err.text);
    if (info.state != VST_DOMAIN_CRASHED || !info.reason[0])
        fail_msg("at %s: state %s (%s)", strike->where, vst_domain_state_name(info.state),
                 info.reason);
    if (vst_host_destroy(host, "g", &err) < 0)
        fail_msg("at %s: destroy: %s", strike->where, err.text);
}

/* The old image, or after QEMU had given everything, the new one. */
static void expect_image(struct vst_host *host, const struct strike *strike, bool is_new)
{
    if (is_old_image(host) == is_new)
        fail_msg("at %s: the old image is %s", strike->where, is_new ? "still there" : "gone");
    assert_int_equal(vst_host_entries(host, "images"), 1);
}

/* False when the run had no such edge any more. */
static bool kill_qemu_in_save(struct vst_host *host, enum sink sink, bool keep_running, unsigned at)
{
    static const char *const machines[] = {"save", "gate", "file", "guest", NULL};
    struct strike strike = {host, machines, .at = at, .hit = kill_qemu};
    struct vst_error err = {0};
    int status;

    put_old_image(host);
    start(host, vst_host_none("g"));
    status = save(host, sink, keep_running, &strike, &err);
    if (status < 0)
        expect_sentence(&strike, &err);
    expect_image(host, &strike, status == 0 || err.code == VST_ERR_CLEANUP);
    if (strike.struck && vst_host_entries(host, "root"))
        expect_crashed(host, &strike);
    else if (!strike.struck && (status < 0 || keep_running))
        assert_int_equal(vst_host_destroy(host, "g", NULL), 0);
    vst_host_expect_nothing(host);
    return strike.struck;
}

static void kill_qemu_in_every_save(struct vst_host *host, enum sink sink, bool keep_running)
{
    unsigned at = 0;

    while (kill_qemu_in_save(host, sink, keep_running, at))
        at++;
    print_message("# %u edges\n", at);
    assert_true(at >= 10);
}

static void qemu_killed_in_a_save(void **state)
{
    kill_qemu_in_every_save(*state, SINK_FILE, false);
}

static void qemu_killed_in_a_save_that_keeps_it_running(void **state)
{
    kill_qemu_in_every_save(*state, SINK_FILE, true);
}

static void qemu_killed_in_a_save_that_fails_at_once(void **state)
{
    kill_qemu_in_every_save(*state, SINK_BROKEN, false);
}

static void qemu_killed_in_a_save_that_fails_later(void **state)
{
    kill_qemu_in_every_save(*state, SINK_SMALL, false);
}

/* ---- QEMU is killed during a restore ---- */

static const char *const restoring[] = {"restore", "guest", "process", "probe", NULL};

static void make_image(struct vst_host *host, char *definition)
{
    struct vst_error err = {0};

    put_old_image(host);
    start(host, definition);
    if (save(host, SINK_FILE, false, NULL, &err) < 0)
        fail_msg("save: %s", err.text);
}

static bool kill_qemu_in_restore(struct vst_host *host, unsigned at)
{
    struct strike strike = {host, restoring, .at = at, .hit = kill_qemu};
    struct vst_error err = {0};
    int status;

    vst_host_disconnect(host); /* so that QEMU is probed again */
    vst_host_connect(host);
    host->edge = see;
    host->opaque = &strike;
    status = restore(host, &err);
    host->edge = NULL;
    if (status < 0)
        expect_sentence(&strike, &err);
    else if (strike.struck && vst_host_get_info(host, "g", &(struct vst_domain_info){0}, &err) < 0)
        fail_msg("at %s: restored, but not there: %s", strike.where, err.text);
    if (status == 0)
        vst_host_destroy(host, "g", NULL);
    vst_host_expect_nothing(host);
    return strike.struck;
}

static void qemu_killed_in_a_restore(void **state)
{
    struct vst_host *host = *state;
    struct vst_error err = {0};
    unsigned at = 0;

    make_image(host, vst_host_none("g"));
    while (kill_qemu_in_restore(host, at))
        at++;
    print_message("# %u edges\n", at);
    assert_true(at >= 12);
    if (restore(host, &err) < 0)
        fail_msg("the name cannot be used again: %s", err.text);
}

/* ---- the process that saves is killed ---- */

/* In a process of its own; true if it was killed on the way. */
static bool in_child(struct vst_host *host, struct strike *strike,
                     int (*method)(struct vst_host *host, struct strike *strike))
{
    int status;
    pid_t pid;

    vst_host_disconnect(host);
    vst_test_threads_end();
    pid = vst_test_fork();
    if (pid == 0) {
        vst_host_connect(host);
        _exit(method(host, strike) < 0 ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    vst_host_connect(host);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
}

static int save_and_be_killed(struct vst_host *host, struct strike *strike)
{
    struct vst_error err = {0};
    int status = save(host, SINK_FILE, true, strike, &err);

    if (status < 0)
        print_error("save: %s\n", err.text);
    return status;
}

/* The next command finds it as it was before the save. */
static void expect_state(struct vst_host *host, unsigned at, enum vst_domain_state wanted)
{
    struct vst_error err = {0};
    struct vst_domain_info info = ask(host, wanted, &err);

    if (vst_error_is_set(&err))
        fail_msg("edge %u: info: %s", at, err.text);
    if (info.state != wanted)
        fail_msg("edge %u: state %s (%s)", at, vst_domain_state_name(info.state), info.reason);
    if (info.reason[0] && !strstr(info.reason, "was cut off"))
        fail_msg("edge %u: %s", at, info.reason);
    if (vst_host_entries(host, "images") != 1)
        fail_msg("edge %u: a temporary file is left", at);
}

static bool kill_saver(struct vst_host *host, unsigned at, enum vst_domain_state wanted)
{
    static const char *const machines[] = {"save", "gate", "file", "conn", NULL};
    struct strike strike = {host, machines, .at = at, .hit = kill_us};
    bool killed;

    put_old_image(host);
    killed = in_child(host, &strike, save_and_be_killed);
    expect_state(host, at, wanted);
    return killed;
}

static void saver_killed_and_the_guest_runs_on(void **state)
{
    struct vst_host *host = *state;
    unsigned at = 0;

    start(host, vst_host_counting(host, "g", "F"));
    vst_host_expect_counting(host, "g", 2);
    while (kill_saver(host, at, VST_DOMAIN_RUNNING)) {
        vst_host_expect_counting(host, "g", 2);
        at++;
    }
    print_message("# %u edges\n", at);
    assert_true(at >= 10);
    vst_host_expect_gapless(host, "g");
}

/* A guest that stays paused can be saved only once, so there is a new one for each. */
static void saver_killed_and_a_paused_guest_stays_paused(void **state)
{
    struct vst_host *host = *state;
    unsigned at = 0;
    bool killed;

    do {
        start(host, vst_host_none("g"));
        assert_int_equal(vst_host_suspend(host, "g", NULL), 0);
        killed = kill_saver(host, at++, VST_DOMAIN_PAUSED);
        assert_int_equal(vst_host_destroy(host, "g", NULL), 0);
    } while (killed);
    print_message("# %u edges\n", at - 1);
    assert_true(at > 10);
}

/* More of an image than QEMU has written when the first of it comes, and less than all. */
enum { LIVE_PART = 2 * 1024 * 1024 };

static enum vst_io take_and_be_killed(const void *bytes, size_t length, size_t *ret_n,
                                      struct vst_error *ret_err, void *opaque)
{
    size_t *seen = opaque;

    (void)bytes, (void)ret_err;
    *ret_n = length;
    *seen += length;
    if (*seen > LIVE_PART)
        raise(SIGKILL);
    return VST_IO_OK;
}

static int save_live_and_be_killed(struct vst_host *host, struct strike *strike)
{
    size_t seen = 0;
    struct vst_writer writer = {.write = take_and_be_killed, .opaque = &seen};
    struct vst_save_options opt = {.live = true, .stall_seconds = 10};
    struct vst_stream *stream = vst_stream_new(host->base, NULL);
    struct vst_error err = {0};

    (void)strike;
    assert_int_equal(vst_stream_set_sink_writer(stream, &writer), 0);
    if (vst_host_save(host, "g", stream, &opt, &err) < 0)
        print_error("live save: %s\n", err.text);
    return -1;
}

/* Also while nobody comes to look after it. Twice: what the first one leaves on is not in the way
 * of the next. */
static void live_saver_killed_and_the_guest_counts_on(void **state)
{
    struct vst_save_options live = {.live = true};
    struct vst_host *host = *state;
    struct vst_domain_info info;
    struct vst_error err = {0};

    put_old_image(host);
    start(host, vst_host_counting(host, "g", "D"));
    vst_host_expect_counting(host, "g", 2);
    for (int i = 0; i < 2; i++) {
        assert_true(in_child(host, NULL, save_live_and_be_killed));
        vst_host_expect_counting(host, "g", 50);
        info = ask(host, VST_DOMAIN_RUNNING, &err);
        if (info.state != VST_DOMAIN_RUNNING || !strstr(info.reason, "went on"))
            fail_msg("state %s (%s) %s", vst_domain_state_name(info.state), info.reason, err.text);
        if (vst_host_save(host, "g", vst_host_sink_file(host, target_path(host)), &live, &err) < 0)
            fail_msg("the next live save: %s", err.text);
        vst_host_expect_counting(host, "g", 50);
    }
    vst_host_expect_gapless(host, "g");
    assert_int_equal(vst_host_destroy(host, "g", NULL), 0);
    vst_host_expect_nothing(host);
}

/* ---- the process that restores is killed ---- */

static int restore_and_be_killed(struct vst_host *host, struct strike *strike)
{
    struct vst_error err = {0};
    int status;

    host->edge = see;
    host->opaque = strike;
    status = restore(host, &err);
    host->edge = NULL;
    if (status < 0)
        print_error("restore: %s\n", err.text);
    return status;
}

/* What is left is nobody's: the next command, whatever it is, sees no such domain, or one that is
 * whole. */
static void restorer_killed_and_nothing_is_left(void **state)
{
    struct vst_host *host = *state;
    unsigned at = 0;
    bool killed;

    make_image(host, vst_host_none("g"));
    do {
        struct strike strike = {host, restoring, .at = at, .hit = kill_us};
        struct vst_domain_info info;
        struct vst_error err = {0};

        killed = in_child(host, &strike, restore_and_be_killed);
        info = ask(host, VST_DOMAIN_RUNNING, &err);
        if (!vst_error_is_set(&err)) {
            if (info.state != VST_DOMAIN_RUNNING)
                fail_msg("edge %u: state %s (%s), holder %d", at, vst_domain_state_name(info.state),
                         info.reason, info.busy_pid);
            vst_host_destroy(host, "g", NULL);
        } else if (err.code != VST_ERR_NOT_FOUND) {
            fail_msg("edge %u: %s", at, err.text);
        }
        at++;
    } while (killed);
    vst_host_expect_nothing(host);
    print_message("# %u edges\n", at - 1);
    assert_true(at >= 12);
}

static void restorer_killed_and_the_next_one_restores(void **state)
{
    struct vst_host *host = *state;
    unsigned at = 0;
    bool killed;

    make_image(host, vst_host_none("g"));
    do {
        struct strike strike = {host, restoring, .at = at, .hit = kill_us};
        struct vst_error err = {0};

        killed = in_child(host, &strike, restore_and_be_killed);
        for (int tries = 0; restore(host, &err) < 0 && err.code == VST_ERR_BUSY; tries++) {
            assert_true(tries < 100); /* a fork of the killed process is still about to end */
            vst_host_run(host, 20);
            err = (struct vst_error){0};
        }
        if (vst_error_is_set(&err) && err.code != VST_ERR_EXISTS)
            fail_msg("edge %u: %s", at, err.text);
        if (vst_host_destroy(host, "g", &err) < 0)
            fail_msg("edge %u: destroy: %s", at, err.text);
        at++;
    } while (killed);
    vst_host_expect_nothing(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(qemu_killed_in_a_save, make_host, clear_host),
        VST_TEST_WITH(qemu_killed_in_a_save_that_keeps_it_running, make_host, clear_host),
        VST_TEST_WITH(qemu_killed_in_a_save_that_fails_at_once, make_host, clear_host),
        VST_TEST_WITH(qemu_killed_in_a_save_that_fails_later, make_host, clear_host),
        VST_TEST_WITH(qemu_killed_in_a_restore, make_host, clear_host),
        VST_TEST_WITH(saver_killed_and_the_guest_runs_on, make_host, clear_host),
        VST_TEST_WITH(saver_killed_and_a_paused_guest_stays_paused, make_host, clear_host),
        VST_TEST_WITH(live_saver_killed_and_the_guest_counts_on, make_host, clear_host),
        VST_TEST_WITH(restorer_killed_and_nothing_is_left, make_host, clear_host),
        VST_TEST_WITH(restorer_killed_and_the_next_one_restores, make_host, clear_host),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
