/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is refused in a TLS hand-shake, and what each side says about it.
 */
#include "test.h"

#include <string.h>
#include <time.h>

#include "raw-tls.h"

/* What the client and the server have, and what each says in the end; NULL: it is content. */
struct refusal {
    const char *client_ca, *client, *client_crl;
    const char *server_ca, *server, *server_crl;
    const char *client_says, *server_says;
};

static void make_certificates(void)
{
    pki_issue(&(struct pki_wish){.name = "other"});
    pki_issue(&(struct pki_wish){.name = "stranger", .authority = "other"});
    pki_issue(
        &(struct pki_wish){.name = "strange-host", .authority = "other", .host = "host.example"});
    pki_issue(
        &(struct pki_wish){.name = "elsewhere", .authority = "ca", .host = "elsewhere.example"});
    pki_issue(&(struct pki_wish){
        .name = "only-client", .authority = "ca", .host = "host.example", .only_client = true});
    pki_issue(&(struct pki_wish){.name = "only-server", .authority = "ca", .only_server = true});
    pki_issue(&(struct pki_wish){
        .name = "old", .authority = "ca", .host = "host.example", .days_from = -9, .days_to = -3});
    pki_issue(&(struct pki_wish){
        .name = "early", .authority = "ca", .host = "host.example", .days_from = 3, .days_to = 9});
    pki_issue(&(struct pki_wish){.name = "bad", .authority = "ca", .host = "host.example"});
    pki_revoke("ca", "bad");
    pki_revoke("other", NULL);
}

static const struct refusal refusals[] = {
    {"other", "alice", NULL, "ca", "host", NULL,
     "host.example's certificate (CN=host) is signed by CN=ca, and no such authority is in ",
     "host-cert.pem) is not of an authority that it trusts"},
    {"ca", "stranger", NULL, "ca", "host", NULL,
     "stranger-cert.pem) is not of an authority that it trusts",
     "the client's certificate (CN=stranger) is signed by CN=other"},
    {"ca", "alice", NULL, "ca", "elsewhere", NULL,
     "(CN=elsewhere) is for elsewhere.example and not for host.example",
     "elsewhere-cert.pem) is not acceptable, or not for the name it was asked by"},
    {"ca", "alice", NULL, "ca", "only-client", NULL, "is not meant for a server",
     "only-client-cert.pem) is not one for this purpose"},
    {"ca", "only-server", NULL, "ca", "host", NULL, "is not one for this purpose",
     "(CN=only-server) is not meant for a client"},
    {"ca", "alice", "ca", "ca", "bad", NULL, "(CN=bad) was revoked, as ",
     "bad-cert.pem) was revoked"},
    {"ca", "alice", NULL, "ca", "old", NULL, "(CN=old) expired on ",
     "old-cert.pem) has expired, or is not valid yet"},
    {"ca", "old", NULL, "ca", "host", NULL, "old-cert.pem) has expired, or is not valid yet",
     "(CN=old) expired on "},
    {"ca", "alice", NULL, "ca", "early", NULL, "(CN=early) is not valid before ",
     "early-cert.pem) has expired, or is not valid yet"},
    {"ca", "early", NULL, "ca", "host", NULL, "early-cert.pem) has expired, or is not valid yet",
     "(CN=early) is not valid before "},
    {"ca", "bad", NULL, "ca", "host", "ca", "bad-cert.pem) was revoked",
     "the client's certificate (CN=bad) was revoked"},
    {"ca", NULL, NULL, "ca", "host", NULL, "the server wants a certificate, and there is none here",
     "the client showed no certificate, and one is required"},
    {"ca", "alice", "ca", "ca", "host", "ca", NULL, NULL},
};

/* ---- a clock that is wrong while certificates are loaded: else one is refused by its owner ----
 */

static time_t wrong_by; /* seconds */

/* NOLINTBEGIN(bugprone-reserved-identifier): these names are the linker's */
time_t __real_time(time_t *ret_now);
time_t __wrap_time(time_t *ret_now);
time_t __wrap_time(time_t *ret_now)
{
    time_t now = __real_time(NULL) + wrong_by;

    if (ret_now)
        *ret_now = now;
    return now;
}
/* NOLINTEND(bugprone-reserved-identifier) */

static struct vst_tls_creds *load(enum vst_tls_role role, const char *authority, const char *cert,
                                  const char *crl)
{
    struct vst_tls_creds *creds;

    if (cert && strcmp(cert, "old") == 0)
        wrong_by = -6 * 24 * 3600;
    else if (cert && strcmp(cert, "early") == 0)
        wrong_by = 6 * 24 * 3600;
    creds = pki_creds(role, authority, cert, crl);
    wrong_by = 0;
    return creds;
}

static void assert_says(const struct side *side, const char *text)
{
    if (!text) {
        assert_false(side->failed);
        return;
    }
    print_message("# %s\n", side->err.text);
    assert_true(side->failed);
    assert_int_equal(side->err.code, VST_ERR_AUTH);
    assert_non_null(strstr(side->err.text, text));
}

static void each_refusal_has_its_sentence(void **state)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        const struct refusal *row = &refusals[i];

        session_drop(state);
        session_make(state);
        make_certificates();
        session_secure(load(VST_TLS_CLIENT, row->client_ca, row->client, row->client_crl),
                       load(VST_TLS_SERVER, row->server_ca, row->server, row->server_crl), true, 0);
        session_talk();
        assert_says(&session.side[CLIENT], row->client_says);
        assert_says(&session.side[SERVER], row->server_says);
    }
}

/* ---- a peer that is not one of ours ---- */

static void older_version_is_refused(void **state)
{
    struct raw_tls raw;
    int status;

    (void)state;
    session_secure_well();
    raw_begin(&raw, CLIENT, "NORMAL:-VERS-ALL:+VERS-TLS1.2");
    assert_false(raw_shake(&raw, &status));
    assert_non_null(strstr(vst_channel_error(session.side[SERVER].ch)->text,
                           "the client does not speak TLS 1.3, the only version here"));
    assert_int_equal(status, GNUTLS_E_FATAL_ALERT_RECEIVED);
    assert_int_equal(gnutls_alert_get(raw.session), GNUTLS_A_PROTOCOL_VERSION);
    raw_end(&raw);
}

/* A hand-shake over a finite field costs a hundred times what it costs over a curve, and comes
 * before anybody is known. */
static void costly_key_exchange_is_refused(void **state)
{
    static const char *const says[] = {"the client agrees on keys in no way that is accepted here",
                                       "the server ended the TLS session: Handshake failed"};

    for (int side = CLIENT; side <= SERVER; side++) {
        const struct side *victim = &session.side[!side];
        struct raw_tls raw;
        int status;

        session_drop(state);
        session_make(state);
        session_secure_well();
        raw_begin(&raw, side,
                  "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-FFDHE2048:+GROUP-FFDHE8192");
        raw_show(&raw, side == CLIENT ? "alice" : "host");
        assert_false(raw_shake(&raw, &status));
        print_message("# %s\n", vst_channel_error(victim->ch)->text);
        assert_int_equal(vst_channel_error(victim->ch)->code, VST_ERR_CONNECT);
        assert_non_null(strstr(vst_channel_error(victim->ch)->text, says[side]));
        raw_end(&raw);
    }
}

/* The signature of such a key is random: to verify it would take long, and then fail. */
static void costly_certificate_is_refused_before_its_signature_is_verified(void **state)
{
    static const unsigned bits[][2] = {{16392, 17}, {2048, 65}, {16384, 16383}, {2048, 64}};

    for (int i = 0; i < 2 * 4; i++) {
        const struct side *victim = &session.side[i % 2];
        const struct vst_error *err;
        struct raw_tls raw;
        int status;

        session_drop(state);
        session_make(state);
        session_secure_well();
        raw_begin(&raw, !(i % 2), "NORMAL:-VERS-ALL:+VERS-TLS1.3");
        raw_show_rsa(&raw, bits[i / 2][0], bits[i / 2][1]);
        raw_shake(&raw, &status);
        err = vst_channel_error(victim->ch);
        print_message("# %s\n", err->text);
        assert_int_equal(err->code, i / 2 < 3 ? VST_ERR_AUTH : VST_ERR_PROTOCOL);
        assert_non_null(strstr(err->text, i / 2 < 3 ? "'s certificate costs too much to verify"
                                                    : "Public key signature verification"));
        raw_end(&raw);
    }
}

/* What others say who came to the wrong port. */
static void other_protocols_are_refused(void **state)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
                                        "\x16\x03\x01\xff\xff\x01\x00\xff\xff\x03\x03",
                                        "\0\0\0\0\0\0\0\0"};

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        for (int side = CLIENT; side <= SERVER; side++) {
            struct side *victim = &session.side[side], *other = &session.side[!side];

            session_drop(state);
            session_make(state);
            session_secure_well();
            vst_test_send(other->ch->lower, words[i], 8 + strlen(words[i]) / 2);
            vst_channel_free(&other->ch);
            session_open();
            assert_true(victim->failed);
            assert_int_equal(victim->err.code, side == CLIENT ? VST_ERR_CONNECT : VST_ERR_PROTOCOL);
            if (side == CLIENT)
                assert_non_null(strstr(victim->err.text, "the port does not speak TLS"));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(each_refusal_has_its_sentence, session_make, session_drop),
        VST_TEST_WITH(older_version_is_refused, session_make, session_drop),
        VST_TEST_WITH(costly_key_exchange_is_refused, session_make, session_drop),
        VST_TEST_WITH(costly_certificate_is_refused_before_its_signature_is_verified, session_make,
                      session_drop),
        VST_TEST_WITH(other_protocols_are_refused, session_make, session_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
