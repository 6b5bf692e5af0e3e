/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process before this one has left; see left.h.
 */
#include "left.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fd.h"
#include "drivers/qemu/root.h"
#include "stand-in.h"

struct left left;

/* ---- a place ---- */

char *left_path_of(const char *file)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/g1/%s", left.path, file);
    return path;
}

static void make_guest(const char *uuid, const char *more)
{
    char definition[512];

    snprintf(definition, sizeof(definition),
             "{\"name\":\"g1\",\"uuid\":\"%s\",\"machine\":\"none\",\"accel\":\"tcg\","
             "\"memory-mib\":16,\"vcpus\":1%s}",
             uuid, more);
    stand_in_make(left.path, definition, &left.pidfd, &left.listening);
}

static void set_job(const char *kind, const char *token, const char *ran)
{
    FILE *to = fopen(left_path_of("job"), "we");

    assert_non_null(to);
    fprintf(to, "{\"job\":\"%s\",\"running\":%s", kind, ran);
    if (token)
        fprintf(to, ",\"token\":\"%s\"", token);
    fprintf(to, "}\n");
    fclose(to);
}

void left_set_job(const char *kind, const char *token)
{
    set_job(kind, token, "true");
}

void left_set_paused_job(const char *kind, const char *token)
{
    set_job(kind, token, "false");
}

bool left_is_alive(void)
{
    struct pollfd end = {.fd = left.pidfd, .events = POLLIN};

    return poll(&end, 1, 0) == 0;
}

bool left_has_place(void)
{
    return access(left_path_of(""), F_OK) == 0;
}

void left_kill(void)
{
    pidfd_send_signal(left.pidfd, SIGKILL, NULL, 0);
    while (left_is_alive())
        usleep(1000);
}

/* ---- a journal ---- */

void left_make_journal(const struct left_line *lines, size_t count)
{
    unsigned char record[VST_JOURNAL_RECORD], host[VST_HANDOVER_ID] = "this host";
    char path[128];
    FILE *to;

    snprintf(path, sizeof(path), "%s/.state", left.path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/.state/journal", left.path);
    to = fopen(path, "we");
    assert_non_null(to);
    vst_journal_encode_host(host, 0, record);
    assert_int_equal(fwrite(record, sizeof(record), 1, to), 1);
    for (size_t i = 0; i < count; i++) {
        struct vst_journal_entry entry = {.role = lines[i].role,
                                          .last = lines[i].last,
                                          .keep = lines[i].keep,
                                          .runs = true,
                                          .guest = "g1",
                                          .uuid = UUID};

        memset(entry.token, lines[i].token, sizeof(entry.token));
        memset(entry.peer, 0x77, sizeof(entry.peer));
        if (lines[i].role == VST_HANDOVER_SOURCE)
            snprintf(entry.uri, sizeof(entry.uri), "qemu+tcp://127.0.0.1:1/");
        vst_journal_encode(&entry, i + 1, record);
        assert_int_equal(fwrite(record, sizeof(record), 1, to), 1);
    }
    fclose(to);
}

void left_make_entry(enum vst_handover_role role, enum vst_handover_record last, bool keep)
{
    left_make_journal(&(struct left_line){role, last, 0x11, keep}, 1);
}

/* ---- a restart ---- */

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    struct left_found *found = opaque;

    if (err)
        fail_msg("migrations: %s", err->text);
    found->came = true;
    found->count = count;
    if (count)
        found->info = infos[count - 1];
}

struct left_found left_look(void)
{
    struct left_found found = {0};
    struct vst_migrations_cb cb = {.fn = have_migrations, .opaque = &found};

    vst_op_wait(vst_conn_list_migrations(left.app.conn, &cb), NULL);
    assert_true(found.came);
    return found;
}

void left_connect(void)
{
    char uri[96];

    snprintf(uri, sizeof(uri), "qemu:///?root=%s", left.path);
    app_start(&left.app, uri);
}

struct left_found left_restart(void)
{
    left_connect();
    return left_look();
}

void left_run(unsigned milliseconds)
{
    for (unsigned i = 0; i < milliseconds; i++) {
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

void left_wait_for_the_end(void)
{
    while (left_is_alive() || left_has_place()) {
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

void left_wait_for_phase(enum vst_migration_phase phase)
{
    struct left_found found = left_look();

    for (int i = 0; found.info.phase != phase && i < 300; i++) {
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
        usleep(10000);
        found = left_look();
    }
    assert_int_equal(found.info.phase, phase);
}

struct vst_domain *left_look_up(void)
{
    struct outcome outcome = {0};

    vst_conn_lookup(left.app.conn, "g1", outcome_domain(&outcome));
    outcome_await(left.app.base, &outcome);
    assert_non_null(outcome.domain);
    return outcome.domain;
}

/* ---- the monitor ---- */

void left_say(const char *text)
{
    assert_int_equal(write(left.monitor, text, strlen(text)), strlen(text));
}

void left_expect(const char *command, const char *value)
{
    const char *at, *rest;
    char text[256];

    while (!(at = strstr(left.heard, command)) || !strchr(at, '\n')) {
        ssize_t n = read(left.monitor, left.heard + left.heard_length,
                         sizeof(left.heard) - left.heard_length - 1);

        left.heard_length += n > 0 ? (size_t)n : 0;
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    at = strstr(at, "\"id\":");
    assert_non_null(at);
    snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %lld}\r\n", value, atoll(at + 5));
    rest = strchr(at, '\n') + 1; /* what came after it is still to be answered */
    left.heard_length = strlen(rest);
    memmove(left.heard, rest, left.heard_length + 1);
    left_say(text);
}

void left_greet(void)
{
    while (left.monitor < 0) {
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
        left.monitor = accept4(left.listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    left_say("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
             "\"package\": \"\"}, \"capabilities\": []}}\r\n");
    left_expect("qmp_capabilities", "{}");
}

/* ---- each test ---- */

static int make(const char *uuid, const char *more)
{
    memset(&left, 0, sizeof(left));
    left.monitor = -1;
    strcpy(left.path, "/tmp/vst-recover-XXXXXX");
    assert_non_null(mkdtemp(left.path));
    make_guest(uuid, more);
    return 0;
}

int left_make(void **state)
{
    (void)state;
    return make(UUID, "");
}

int left_make_stranger(void **state)
{
    (void)state;
    return make(OTHER_UUID, "");
}

int left_make_with_disk(void **state)
{
    (void)state;
    return make(UUID, ",\"disks\":[{\"name\":\"a\",\"file\":\"/nowhere\",\"format\":\"raw\"}]");
}

int left_drop(void **state)
{
    static const char *const files[] = {"journal", "journal.new", "lock", ""};
    struct vst_root *root = NULL;
    struct vst_place *place = NULL;
    char path[128];

    (void)state;
    app_stop(&left.app);
    pidfd_send_signal(left.pidfd, SIGKILL, NULL, 0);
    close(left.pidfd);
    vst_close(&left.listening);
    vst_close(&left.monitor);
    unlink(left_path_of("job"));
    vst_root_open(left.path, &root, NULL);
    if (vst_place_open(root, "g1", &place, NULL) == 0)
        vst_place_remove(&place);
    vst_root_free(&root);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "%s/.state/%s", left.path, files[i]);
        if (unlink(path) < 0)
            rmdir(path);
    }
    return rmdir(left.path);
}

void left_hear_reason(struct vst_domain *domain, const char *reason)
{
    struct outcome info = {0};

    vst_domain_get_info(domain, outcome_infos(&info));
    left_expect("query-status", "{\"status\": \"postmigrate\", \"running\": false}");
    outcome_await(left.app.base, &info);
    assert_int_equal(info.info.state, VST_DOMAIN_PAUSED);
    assert_non_null(strstr(info.info.reason, reason));
}

void left_expect_refusal(struct outcome *outcome, int code, const char *text)
{
    outcome_await(left.app.base, outcome);
    assert_int_equal(outcome->err.code, code);
    assert_non_null(strstr(outcome->err.text, text));
}

void left_destroy(struct vst_domain *domain)
{
    struct outcome destroyed = {0};

    vst_close(&left.listening); /* it is adopted by now, or dead */
    vst_domain_destroy(domain, outcome_done(&destroyed));
    left_expect("quit", "{}");
    pidfd_send_signal(left.pidfd, SIGKILL, NULL, 0);
    outcome_await(left.app.base, &destroyed);
    assert_int_equal(destroyed.err.code, VST_ERR_OK);
    assert_false(left_is_alive() || left_has_place());
}
