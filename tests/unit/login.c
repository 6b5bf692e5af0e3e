/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Greetings with a login, with users that saslpasswd2 has made: each mechanism where it may be
 * used and where it may not, what is bound to TLS, and refusals, that say the same whatever the
 * cause. Peers that mean harm: login-hostile.c.
 */
#include "greet.h"

#include <string.h>
#include <time.h>

#include "loop.h"
#include "remote/sasl-library.h"

static struct greet greet;
static struct greet_party *const client = &greet.party[GREET_CLIENT];
static struct greet_party *const server = &greet.party[GREET_SERVER];

enum { ROOM = 1 << 17 };

static const unsigned char one_binding[VST_SASL_BINDING] = "binding of the one TLS session.";
static const unsigned char other_binding[VST_SASL_BINDING] = "binding of the other one, alas!";

static int make(void **state)
{
    (void)state;
    greet_make(&greet, ROOM);
    greet_login(&greet, greet_database(), "alice", "opensesame");
    return 0;
}

static int drop(void **state)
{
    (void)state;
    greet_drop(&greet);
    return 0;
}

static void allow(const char *mechanisms)
{
    client->sasl.mechanisms = server->sasl.mechanisms = mechanisms;
}

static void bind_both(const unsigned char *at_client, const unsigned char *at_server)
{
    client->sasl.binding = at_client;
    server->sasl.binding = at_server;
}

static void expect_login(const char *mechanism)
{
    if (client->err.code || server->err.code)
        fail_msg("%s: client: %s, server: %s", mechanism, client->err.text, server->err.text);
    assert_string_equal(client->user, "alice");
    assert_string_equal(server->user, "alice");
    assert_string_equal(server->asked, "alice");
    assert_string_equal(client->mechanism, mechanism);
    assert_string_equal(server->mechanism, mechanism);
}

/* The client hears nothing but that; the server has the reason. */
static void expect_refusal(const char *reason)
{
    assert_int_equal(client->err.code, VST_ERR_AUTH);
    assert_int_equal(client->err.side, VST_SIDE_HOST);
    assert_string_equal(client->err.text,
                        "the login was refused: user, password or mechanism are not right");
    assert_int_equal(server->err.code, VST_ERR_AUTH);
    if (!strstr(server->err.text, reason))
        fail_msg("%s", server->err.text);
}

static void expect_client_refuses(const char *reason)
{
    assert_int_equal(client->err.code, VST_ERR_AUTH);
    assert_int_equal(client->err.side, VST_SIDE_CLIENT);
    if (!strstr(client->err.text, reason))
        fail_msg("%s", client->err.text);
    assert_true(vst_error_is_set(&server->err));
}

/* ---- logins ---- */

static void scram_logs_in(void **state)
{
    (void)state;
    greet_run(&greet);
    expect_login("SCRAM-SHA-256");
}

static void scram_binds_to_tls(void **state)
{
    (void)state;
    bind_both(one_binding, one_binding);
    greet_run(&greet);
    expect_login("SCRAM-SHA-256-PLUS");
}

static void every_mechanism_of_scram_logs_in(void **state)
{
    static const char *const names[] = {"SCRAM-SHA-1", "SCRAM-SHA-224", "SCRAM-SHA-256",
                                        "SCRAM-SHA-384", "SCRAM-SHA-512"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        make(NULL);
        allow(names[i]);
        greet_run(&greet);
        expect_login(names[i]);
        drop(NULL);
    }
}

static void client_takes_its_first_choice(void **state)
{
    (void)state;
    server->sasl.mechanisms = "SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512";
    client->sasl.mechanisms = "GSSAPI SCRAM-SHA-512 SCRAM-SHA-256";
    greet_run(&greet);
    expect_login("SCRAM-SHA-512");
}

static void plain_logs_in_where_it_cannot_be_read(void **state)
{
    (void)state;
    allow("PLAIN");
    greet_run(&greet);
    expect_login("PLAIN");
}

static void every_size_of_pieces_logs_in(void **state)
{
    (void)state;
    vst_test_seconds(60);
    for (size_t limit = 1; limit <= 200; limit += vst_test_long() ? 1 : 37) {
        greet_make(&greet, limit);
        greet_login(&greet, greet_database(), "alice", "opensesame");
        greet_run(&greet);
        expect_login("SCRAM-SHA-256");
        drop(NULL);
    }
}

/* ---- the security layer ---- */

static void on_plain_tcp(void)
{
    client->sasl.secret = server->sasl.secret = false;
}

/* Whatever goes in at one end comes out at the other; below it cannot be seen. */
static void check_layer(struct vst_channel *from, struct vst_channel *to)
{
    enum { LEN = 300000 };
    static unsigned char data[LEN];
    struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
    size_t n;

    vst_test_fill(data, LEN, 3);
    evbuffer_add(out, data, LEN);
    while (evbuffer_get_length(in) < LEN) {
        enum vst_io wrote = VST_IO_AGAIN, got;

        if (evbuffer_get_length(out))
            wrote = vst_channel_write(from, out, LEN, &n);
        got = vst_channel_read(to, in, LEN, &n);
        assert_true(wrote == VST_IO_OK || wrote == VST_IO_AGAIN);
        assert_true(got == VST_IO_OK || got == VST_IO_AGAIN);
        vst_channel_want(from, VST_WRITE, evbuffer_get_length(out) && wrote == VST_IO_AGAIN);
        event_base_loop(greet.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    assert_memory_equal(evbuffer_pullup(in, LEN), data, LEN);
    evbuffer_free(in);
    evbuffer_free(out);
}

static void digest_protects_plain_tcp(void **state)
{
    (void)state;
    on_plain_tcp();
    allow("DIGEST-MD5");
    greet_run(&greet);
    expect_login("DIGEST-MD5");
    check_layer(client->transport, server->transport);
    check_layer(server->transport, client->transport);
}

/* EOF is that of below; an end within a packet is a loss. */
static void end_between_packets_is_an_end(void **state)
{
    char text[20];

    (void)state;
    on_plain_tcp();
    allow("DIGEST-MD5");
    greet_run(&greet);
    assert_int_equal(vst_test_send(client->transport, "last words", 10), VST_IO_OK);
    assert_int_equal(vst_channel_finish(client->transport), VST_IO_AGAIN);
    vst_test_wait(server->transport, VST_READ);
    assert_int_equal(vst_test_read_text(server->transport, text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "last words");
    assert_int_equal(vst_test_read_text(server->transport, text, sizeof(text)), VST_IO_EOF);
    assert_int_equal(vst_channel_finish(client->transport), VST_IO_OK);
}

static void plain_tcp_has_no_mechanism_without_a_layer(void **state)
{
    (void)state;
    on_plain_tcp();
    allow("SCRAM-SHA-256 PLAIN");
    greet_run(&greet);
    assert_int_equal(server->err.code, VST_ERR_AUTH);
    assert_non_null(strstr(server->err.text, "fit for this connection"));
    assert_string_equal(client->err.text, server->err.text);
}

/* A server that offers it all the same gets nothing. */
static void client_on_plain_tcp_takes_none_without_a_layer(void **state)
{
    (void)state;
    client->sasl.secret = false;
    allow("SCRAM-SHA-256");
    greet_run(&greet);
    expect_client_refuses("with a security layer");
}

static void client_on_plain_tcp_insists_on_a_login(void **state)
{
    (void)state;
    client->sasl.secret = false;
    server->opt.sasl = NULL;
    greet_run(&greet);
    assert_int_equal(client->err.code, VST_ERR_AUTH);
    assert_non_null(strstr(client->err.text, "nothing would protect"));
}

/* ---- refusals ---- */

static double run_timed(void)
{
    struct timespec begin, end;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    greet_run(&greet);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

static void wrong_password_and_unknown_user_look_the_same(void **state)
{
    double wrong, unknown;

    (void)state;
    client->sasl.password = "opensesam";
    wrong = run_timed();
    expect_refusal("SCRAM-SHA-256: ");
    drop(NULL);
    make(NULL);
    client->sasl.user = "mallory";
    unknown = run_timed();
    expect_refusal("user not found");
    /* Whatever was computed meanwhile; on a busy machine both may take longer. */
    assert_true(wrong >= 0.24 && unknown >= 0.24);
}

static void missing_database_refuses(void **state)
{
    (void)state;
    server->sasl.database = "/nonexistent/sasldb2";
    greet_run(&greet);
    expect_refusal("SCRAM-SHA-256");
}

static void server_that_admits_not_refuses_after_the_login(void **state)
{
    (void)state;
    server->refuses = 1;
    greet_run(&greet);
    assert_string_equal(server->asked, "alice");
    assert_int_equal(client->err.code, VST_ERR_ACCESS);
    assert_string_equal(client->err.text, "no role for you");
}

/* It needs a ticket, which nobody has here. */
static void kerberos_without_a_ticket_says_what_to_do(void **state)
{
    (void)state;
    allow("GSSAPI");
    greet_run(&greet);
    expect_client_refuses("kinit");
    expect_client_refuses("allow with mech= one that takes the password: the server offers GSSAPI, "
                          "allowed here are GSSAPI");
}

static bool has_kerberos(void)
{
    const char **names = NULL;

    if (vst_sasl_library(VST_SASL_SERVER, NULL) == 0)
        names = sasl_global_listmech();
    while (names && *names && strcmp(*names, "GSSAPI") != 0)
        names++;
    return names && *names;
}

static void no_common_mechanism_names_both_lists(void **state)
{
    (void)state;
    server->sasl.mechanisms = "SCRAM-SHA-512 PLAIN";
    client->sasl.mechanisms = "SCRAM-SHA-256 GSSAPI";
    greet_run(&greet);
    expect_client_refuses("the server offers SCRAM-SHA-512 PLAIN, allowed here are SCRAM-SHA-256 "
                          "GSSAPI");
}

static void client_without_a_password_says_so(void **state)
{
    (void)state;
    allow("SCRAM-SHA-256");
    client->sasl.password = NULL;
    greet_run(&greet);
    expect_client_refuses("give a user and a password");
}

/* ---- somebody in between ---- */

static void other_tls_session_is_refused(void **state)
{
    (void)state;
    bind_both(one_binding, other_binding);
    greet_run(&greet);
    expect_refusal("hannel binding");
}

static void client_takes_no_login_that_does_not_bind(void **state)
{
    (void)state;
    allow("SCRAM-SHA-256");
    bind_both(one_binding, NULL);
    greet_run(&greet);
    expect_client_refuses("somebody may be in between");
}

static void server_takes_no_login_that_does_not_bind(void **state)
{
    (void)state;
    allow("SCRAM-SHA-256");
    bind_both(NULL, one_binding);
    greet_run(&greet);
    expect_client_refuses("no common mechanism: the server offers SCRAM-SHA-256-PLUS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(scram_logs_in, make, drop),
        VST_TEST_WITH(scram_binds_to_tls, make, drop),
        VST_TEST(every_mechanism_of_scram_logs_in),
        VST_TEST_WITH(client_takes_its_first_choice, make, drop),
        VST_TEST_WITH(plain_logs_in_where_it_cannot_be_read, make, drop),
        VST_TEST(every_size_of_pieces_logs_in),
        VST_TEST_WITH(digest_protects_plain_tcp, make, drop),
        VST_TEST_WITH(end_between_packets_is_an_end, make, drop),
        VST_TEST_WITH(plain_tcp_has_no_mechanism_without_a_layer, make, drop),
        VST_TEST_WITH(client_on_plain_tcp_takes_none_without_a_layer, make, drop),
        VST_TEST_WITH(client_on_plain_tcp_insists_on_a_login, make, drop),
        VST_TEST_WITH(wrong_password_and_unknown_user_look_the_same, make, drop),
        VST_TEST_WITH(missing_database_refuses, make, drop),
        VST_TEST_WITH(server_that_admits_not_refuses_after_the_login, make, drop),
        VST_TEST_IF(has_kerberos(), "Cyrus SASL has no GSSAPI here",
                    kerberos_without_a_ticket_says_what_to_do, make, drop),
        VST_TEST_WITH(no_common_mechanism_names_both_lists, make, drop),
        VST_TEST_WITH(client_without_a_password_says_so, make, drop),
        VST_TEST_WITH(other_tls_session_is_refused, make, drop),
        VST_TEST_WITH(client_takes_no_login_that_does_not_bind, make, drop),
        VST_TEST_WITH(server_takes_no_login_that_does_not_bind, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
