/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists of guests that the connection finds, many at a time. Each guest is a process that sleeps,
 * and its monitor is this test: it answers as many commands as it is told to, and then no more.
 */
#include "app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/turn.h"
#include "drivers/qemu/query.h"
#include "here.h"

enum { GUESTS = 2 * VST_QUERIES_MAX + 5, CRASHED = 10 * VST_QUERIES_MAX, ALL = 1000 };

/* Commands: qmp_capabilities and query-status as the guest is adopted, then the list's own. */
enum { NOTHING = 0, UNTIL_THE_QUESTION = 2 };

struct guest {
    char name[8];
    struct vst_process_id id;
    int listening;
    int monitor; /* -1: nobody is connected */
    bool greeted;
    int answers;        /* commands that it still answers; without any, it does not greet */
    char commands[512]; /* that wait for their answers, each a line */
};

static struct here *here;
static struct app app;
static struct guest guests[GUESTS];
static size_t guest_count;

/* ---- guests ---- */

static void make_guest(struct guest *guest, size_t number)
{
    struct vst_place *place;

    snprintf(guest->name, sizeof(guest->name), "g%02zu", number);
    vst_definition_free(&here->def);
    here->def = here_define(guest->name);
    place = here_create(here);
    guest->listening = vst_place_listen(place, "monitor", NULL);
    guest->id = here_start(place);
    guest->monitor = -1;
    vst_place_close(&place);
}

static void make_guests(size_t count, int answers)
{
    for (guest_count = 0; guest_count < count; guest_count++) {
        make_guest(&guests[guest_count], guest_count);
        guests[guest_count].answers = answers;
    }
}

static void remove_place(const char *name)
{
    struct vst_place *place = NULL;

    if (vst_place_open(here->root, name, &place, NULL) == 0)
        vst_place_remove(&place);
}

static void end_guest(struct guest *guest)
{
    if (guest->id.pid)
        here_kill(&guest->id);
    guest->id.pid = 0;
    vst_close(&guest->listening);
    vst_close(&guest->monitor);
}

static void say(struct guest *guest, const char *text)
{
    send(guest->monitor, text, strlen(text), MSG_NOSIGNAL); /* it may have been given up */
}

static void answer(struct guest *guest)
{
    char *end = strchr(guest->commands, '\n');
    const char *id, *value = "{}";
    char text[128];

    assert_non_null(end);
    *end++ = '\0';
    if (strstr(guest->commands, "query-status"))
        value = "{\"status\": \"running\", \"running\": true}";
    id = strstr(guest->commands, "\"id\":");
    assert_non_null(id);
    snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %lld}\r\n", value, atoll(id + 5));
    say(guest, text);
    guest->answers--;
    memmove(guest->commands, end, strlen(end) + 1);
}

/* The driver sends commands whole. */
static void listen_to(struct guest *guest)
{
    size_t length = strlen(guest->commands);
    ssize_t n = recv(guest->monitor, guest->commands + length, sizeof(guest->commands) - length - 1,
                     MSG_DONTWAIT);

    if (n == 0)
        vst_close(&guest->monitor);
    if (n > 0)
        guest->commands[length + (size_t)n] = '\0';
}

static void serve(struct guest *guest)
{
    if (guest->monitor < 0) {
        guest->monitor = accept4(guest->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        guest->greeted = false;
        guest->commands[0] = '\0';
    }
    if (guest->monitor < 0)
        return;
    if (!guest->greeted && guest->answers > 0) {
        guest->greeted = true;
        say(guest, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": "
                   "7}, \"package\": \"\"}, \"capabilities\": []}}\r\n");
    }
    listen_to(guest);
    while (guest->commands[0] && guest->answers > 0)
        answer(guest);
}

static void pass(void)
{
    event_base_loop(app.base, EVLOOP_NONBLOCK);
    for (size_t i = 0; i < guest_count; i++)
        serve(&guests[i]);
    usleep(500);
}

static size_t connected(void)
{
    size_t count = 0;

    for (size_t i = 0; i < guest_count; i++)
        count += guests[i].monitor >= 0;
    return count;
}

/* Guests whose commands wait for an answer. */
static size_t waiting(void)
{
    size_t count = 0;

    for (size_t i = 0; i < guest_count; i++)
        count += guests[i].commands[0] != 0;
    return count;
}

static bool is_free(const char *name)
{
    struct vst_place *place = NULL;
    bool is = vst_place_open(here->root, name, &place, NULL) == 0;

    vst_place_close(&place);
    return is;
}

static void expect_all_free(void)
{
    for (size_t i = 0; i < guest_count; i++)
        if (!is_free(guests[i].name))
            fail_msg("%s is still held", guests[i].name);
}

/* ---- lists ---- */

static struct {
    char names[CRASHED + 1][8];
    size_t count;
    size_t running;
    struct vst_error err;
    bool over;
} told;

static void note(const struct vst_domain_info *infos, size_t count, const struct vst_error *err,
                 void *opaque)
{
    (void)opaque;
    assert_true(count <= CRASHED);
    told.over = true;
    told.count = count;
    if (err)
        told.err = *err;
    for (size_t i = 0; i < count; i++) {
        snprintf(told.names[i], sizeof(told.names[i]), "%.7s", infos[i].name);
        told.running += infos[i].state == VST_DOMAIN_RUNNING && !infos[i].reason[0];
    }
}

static struct vst_op *begin_list(void)
{
    const struct vst_info_cb cb = {note, NULL, NULL};

    return vst_conn_list(app.conn, &cb);
}

static void await(void)
{
    while (!told.over)
        pass();
}

static void expect_order(void)
{
    for (size_t i = 1; i < told.count; i++)
        assert_true(strcmp(told.names[i - 1], told.names[i]) < 0);
}

static void begin_with_all_slots(void)
{
    begin_list();
    while (connected() < VST_QUERIES_MAX)
        pass();
}

/* ---- tests ---- */

static int make(void **state)
{
    char uri[96];

    vst_test_seconds(60);
    here_begin(state);
    here = *state;
    guest_count = 0;
    memset(&told, 0, sizeof(told));
    snprintf(uri, sizeof(uri), "qemu:///?root=%s", here->path);
    app_start(&app, uri);
    return 0;
}

static int drop(void **state)
{
    char **names;

    app_stop(&app);
    for (size_t i = 0; i < guest_count; i++)
        end_guest(&guests[i]);
    names = vst_root_list(here->root, NULL);
    for (size_t i = 0; names[i]; i++) {
        remove_place(names[i]);
        free(names[i]);
    }
    free(names);
    return here_end(state);
}

static void as_many_guests_are_asked_at_once_as_may_be_and_no_more(void **state)
{
    (void)state;
    make_guests(GUESTS, UNTIL_THE_QUESTION);
    begin_with_all_slots();
    while (waiting() < VST_QUERIES_MAX)
        pass();
    for (int i = 0; i < 20; i++)
        pass();
    assert_int_equal(connected(), VST_QUERIES_MAX);
    assert_true(guests[VST_QUERIES_MAX - 1].monitor >= 0);
    vst_conn_close(&app.conn);
    await();
    assert_int_equal(told.err.code, VST_ERR_CANCELLED);
}

static void answer_makes_room_for_the_next(void **state)
{
    (void)state;
    make_guests(GUESTS, NOTHING);
    begin_with_all_slots();
    guests[3].answers = ALL;
    while (guests[VST_QUERIES_MAX].monitor < 0)
        pass();
    assert_int_equal(guests[3].monitor, -1);
    assert_false(told.over);
    for (size_t i = 0; i < GUESTS; i++)
        guests[i].answers = ALL;
    await();
    assert_int_equal(told.count, GUESTS);
    assert_int_equal(told.running, GUESTS);
    expect_order();
    expect_all_free();
}

static void guests_that_answer_in_any_order_are_told_by_name(void **state)
{
    (void)state;
    make_guests(VST_QUERIES_MAX, NOTHING);
    begin_with_all_slots();
    for (size_t i = VST_QUERIES_MAX; i-- > 0;) {
        guests[i].answers = ALL;
        while (guests[i].monitor >= 0)
            pass();
    }
    await();
    assert_int_equal(told.count, VST_QUERIES_MAX);
    assert_int_equal(told.running, VST_QUERIES_MAX);
    expect_order();
}

static void guest_that_goes_meanwhile_is_left_out(void **state)
{
    (void)state;
    make_guests(3, UNTIL_THE_QUESTION);
    begin_list();
    while (waiting() < 3)
        pass();
    say(&guests[1], "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 0}, \"event\": "
                    "\"SHUTDOWN\", \"data\": {\"guest\": true}}\r\n");
    end_guest(&guests[1]);
    while (here_has(here, "g01"))
        pass();
    assert_false(told.over);
    guests[0].answers = guests[2].answers = ALL;
    await();
    assert_int_equal(told.count, 2);
    assert_string_equal(told.names[0], "g00");
    assert_string_equal(told.names[1], "g02");
    assert_int_equal(told.running, 2);
}

/* Of some the monitor is waited for, of others the answer. */
static void cancelled_list_lets_go_of_all_guests(void **state)
{
    struct vst_op *op;

    (void)state;
    make_guests(VST_QUERIES_MAX + 2, NOTHING);
    for (size_t i = 0; i < VST_QUERIES_MAX; i += 2)
        guests[i].answers = UNTIL_THE_QUESTION;
    op = begin_list();
    while (connected() < VST_QUERIES_MAX || waiting() < VST_QUERIES_MAX / 2)
        pass();
    vst_op_cancel(op);
    await();
    assert_int_equal(told.err.code, VST_ERR_CANCELLED);
    expect_all_free();
}

/* The second finds the guests already there, and is answered last. */
static void lists_at_the_same_time_let_go_of_all_guests(void **state)
{
    struct outcome second = {0};

    (void)state;
    make_guests(3, UNTIL_THE_QUESTION);
    begin_list();
    while (waiting() < 3)
        pass();
    vst_conn_list(app.conn, outcome_infos(&second));
    for (size_t i = 0; i < 3; i++)
        guests[i].answers = ALL;
    await();
    while (!second.released)
        pass();
    assert_int_equal(told.running, 3);
    assert_int_equal(second.count, 3);
    expect_all_free();
}

/* ---- many that answer at once ---- */

struct count {
    struct vst_turn turn;
    size_t passes;
};

static void count_pass(evutil_socket_t fd, short what, void *opaque)
{
    struct count *count = opaque;

    (void)fd, (void)what;
    count->passes++;
    if (!told.over)
        vst_turn_schedule(&count->turn);
}

static void make_crashed(size_t count)
{
    char name[8];

    for (size_t i = 0; i < count; i++) {
        struct vst_place *place;

        snprintf(name, sizeof(name), "c%03zu", i);
        vst_definition_free(&here->def);
        here->def = here_define(name);
        place = here_create(here);
        vst_place_close(&place);
    }
}

static void long_list_of_guests_that_are_not_to_be_asked_lets_the_loop_turn(void **state)
{
    struct count count = {0};

    (void)state;
    make_crashed(CRASHED);
    vst_turn_init(&count.turn, app.base, count_pass, &count);
    vst_turn_schedule(&count.turn);
    begin_list();
    while (!told.over)
        event_base_loop(app.base, EVLOOP_ONCE);
    vst_turn_cancel(&count.turn);
    assert_int_equal(told.count, CRASHED);
    expect_order();
    assert_true(count.passes >= CRASHED / VST_QUERIES_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(as_many_guests_are_asked_at_once_as_may_be_and_no_more, make, drop),
        VST_TEST_WITH(answer_makes_room_for_the_next, make, drop),
        VST_TEST_WITH(guests_that_answer_in_any_order_are_told_by_name, make, drop),
        VST_TEST_WITH(guest_that_goes_meanwhile_is_left_out, make, drop),
        VST_TEST_WITH(cancelled_list_lets_go_of_all_guests, make, drop),
        VST_TEST_WITH(lists_at_the_same_time_let_go_of_all_guests, make, drop),
        VST_TEST_WITH(long_list_of_guests_that_are_not_to_be_asked_lets_the_loop_turn, make, drop),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
