/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sentences for what fails in TLS: whose certificate it is about, which file, and what to do.
 */
#include <stdio.h>
#include <string.h>

#include "tls-private.h"

struct vst_tls_time vst_tls_time(time_t at)
{
    struct vst_tls_time text;
    struct tm tm;

    if (!gmtime_r(&at, &tm) || !strftime(text.s, sizeof(text.s), "%Y-%m-%d %H:%M:%S UTC", &tm))
        snprintf(text.s, sizeof(text.s), "an impossible time");
    return text;
}

static enum vst_side own_side(const struct vst_tls_creds *creds)
{
    return creds->role == VST_TLS_CLIENT ? VST_SIDE_CLIENT : VST_SIDE_HOST;
}

static enum vst_side other_side(const struct vst_tls_creds *creds)
{
    return creds->role == VST_TLS_CLIENT ? VST_SIDE_HOST : VST_SIDE_CLIENT;
}

static const char *other_name(const struct vst_tls_creds *creds)
{
    return creds->role == VST_TLS_CLIENT ? "the server" : "the client";
}

/* ---- certificates that are refused ---- */

/* "hostb's certificate (CN=hostb)" or "the client's certificate (CN=alice)" */
static void say_whose(const struct vst_tls_other *other, const char *subject, char *ret_text,
                      size_t room)
{
    snprintf(ret_text, room, "%s's certificate (%.100s)",
             other->host ? other->host : other_name(other->creds), subject);
}

/* Its names, as many as there is room for, separated by commas. */
static void say_names(gnutls_x509_crt_t cert, char *ret_text, size_t room)
{
    size_t at = 0;

    ret_text[0] = '\0';
    for (unsigned i = 0; at < room; i++) {
        char name[256];
        size_t size = sizeof(name) - 1;
        unsigned type;
        int status = gnutls_x509_crt_get_subject_alt_name2(cert, i, name, &size, &type, NULL);

        if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return;
        if (status != GNUTLS_SAN_DNSNAME)
            continue;
        at += (size_t)snprintf(ret_text + at, room - at, "%s%.*s", at ? ", " : "", (int)size, name);
    }
}

static void fail_owner(struct vst_error *err, const struct vst_tls_other *other, const char *whose,
                       gnutls_x509_crt_t cert)
{
    char names[128] = "";

    say_names(cert, names, sizeof(names));
    vst_error_set(err, VST_ERR_AUTH,
                  "%s is for %s and not for %s: connect under a name that it has, or issue it one "
                  "with this name (virstream pki issue --%s %s)",
                  whose, names[0] ? names : "other names", other->host,
                  vst_tls_is_address(other->host) ? "ip" : "host", other->host);
}

static void fail_signer(struct vst_error *err, const struct vst_tls_other *other, const char *whose,
                        gnutls_x509_crt_t cert)
{
    gnutls_datum_t issuer = {NULL, 0};

    gnutls_x509_crt_get_issuer_dn3(cert, &issuer, 0);
    vst_error_set(
        err, VST_ERR_AUTH,
        "%s is signed by %.100s, and no such authority is in %s: issue it one from there, "
        "or add the authority's certificate to that file",
        whose, issuer.data ? (const char *)issuer.data : "somebody unknown",
        other->creds->files.ca);
    gnutls_free(issuer.data);
}

static void fail_revoked(struct vst_error *err, const struct vst_tls_other *other,
                         const char *whose)
{
    vst_error_set(err, VST_ERR_AUTH, "%s was revoked, as %s says: it needs a new one", whose,
                  other->creds->files.crl);
}

static void fail_revocations(struct vst_error *err, const struct vst_tls_other *other,
                             const char *whose)
{
    vst_error_set(err, VST_ERR_AUTH,
                  "%s cannot be verified: the revocation list %s is out of date; fetch a new one",
                  whose, other->creds->files.crl);
}

/* One of the authorities', if it is not the certificate itself. */
static void fail_expired(struct vst_error *err, const char *whose, gnutls_x509_crt_t cert)
{
    time_t to = gnutls_x509_crt_get_expiration_time(cert);

    if (to < time(NULL))
        vst_error_set(err, VST_ERR_AUTH, "%s expired on %s: it needs a new one", whose,
                      vst_tls_time(to).s);
    else
        vst_error_set(err, VST_ERR_AUTH, "%s: the certificate of its authority expired", whose);
}

static void fail_early(struct vst_error *err, const char *whose, gnutls_x509_crt_t cert)
{
    vst_error_set(err, VST_ERR_AUTH, "%s is not valid before %s: is a clock wrong, here or there?",
                  whose, vst_tls_time(gnutls_x509_crt_get_activation_time(cert)).s);
}

static void fail_otherwise(struct vst_error *err, const char *whose, unsigned refused)
{
    gnutls_datum_t text = {NULL, 0};

    gnutls_certificate_verification_status_print(refused, GNUTLS_CRT_X509, &text, 0);
    vst_error_set(err, VST_ERR_AUTH, "%s is not acceptable: %s", whose,
                  text.data ? (const char *)text.data : "unknown reason");
    gnutls_free(text.data);
}

static void say_refused(struct vst_error *err, const struct vst_tls_other *other, const char *whose,
                        gnutls_x509_crt_t cert)
{
    enum {
        REVOCATIONS =
            GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE
    };

    if (other->refused & GNUTLS_CERT_SIGNER_NOT_FOUND)
        fail_signer(err, other, whose, cert);
    else if (other->refused & GNUTLS_CERT_REVOKED)
        fail_revoked(err, other, whose);
    else if (other->refused & GNUTLS_CERT_EXPIRED)
        fail_expired(err, whose, cert);
    else if (other->refused & GNUTLS_CERT_NOT_ACTIVATED)
        fail_early(err, whose, cert);
    else if (other->refused & REVOCATIONS)
        fail_revocations(err, other, whose);
    else if (other->refused & GNUTLS_CERT_PURPOSE_MISMATCH)
        vst_error_set(err, VST_ERR_AUTH, "%s is not meant for a %s: issue it another (%s)", whose,
                      other->host ? "server" : "client",
                      other->host ? "virstream pki issue --host" : "virstream pki issue --client");
    else if (other->refused & GNUTLS_CERT_UNEXPECTED_OWNER && other->host)
        fail_owner(err, other, whose, cert);
    else
        fail_otherwise(err, whose, other->refused);
}

void vst_tls_fail_verify(struct vst_error *err, gnutls_session_t session,
                         const struct vst_tls_other *other)
{
    gnutls_datum_t subject = {NULL, 0};
    gnutls_x509_crt_t cert = NULL;
    char whose[400];
    int status = vst_tls_peer_certificate(session, &cert);

    if (status < 0 || !cert) {
        vst_tls_fail(err, NULL, other->creds, "handshake",
                     status < 0 ? status : GNUTLS_E_NO_CERTIFICATE_FOUND);
        return;
    }
    gnutls_x509_crt_get_dn3(cert, &subject, 0);
    say_whose(other, subject.data ? (const char *)subject.data : "without a name", whose,
              sizeof(whose));
    say_refused(err, other, whose, cert);
    vst_error_where(err, other_side(other->creds), "handshake");
    gnutls_free(subject.data);
    gnutls_x509_crt_deinit(cert);
}

gnutls_alert_description_t vst_tls_verify_alert(unsigned refused)
{
    if (refused & GNUTLS_CERT_SIGNER_NOT_FOUND)
        return GNUTLS_A_UNKNOWN_CA;
    if (refused & GNUTLS_CERT_REVOKED)
        return GNUTLS_A_CERTIFICATE_REVOKED;
    if (refused & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED))
        return GNUTLS_A_CERTIFICATE_EXPIRED;
    if (refused & GNUTLS_CERT_PURPOSE_MISMATCH)
        return GNUTLS_A_UNSUPPORTED_CERTIFICATE;
    return GNUTLS_A_BAD_CERTIFICATE;
}

/* ---- what the other side refuses ---- */

static const struct refusal {
    int alert;
    const char *text; /* about our certificate, whose file comes before it */
} refusals[] = {
    {GNUTLS_A_CERTIFICATE_EXPIRED, "has expired, or is not valid yet; issue a new one"},
    {GNUTLS_A_CERTIFICATE_REVOKED, "was revoked; issue a new one"},
    {GNUTLS_A_UNKNOWN_CA, "is not of an authority that it trusts; issue one from its authority"},
    {GNUTLS_A_UNSUPPORTED_CERTIFICATE, "is not one for this purpose; issue one that is"},
    {GNUTLS_A_BAD_CERTIFICATE, "is not acceptable, or not for the name it was asked by"},
    {GNUTLS_A_CERTIFICATE_UNKNOWN, "is not acceptable"},
    {GNUTLS_A_ACCESS_DENIED, "has no access"},
};

/* True when the alert is about our certificate. */
static bool say_our_certificate(struct vst_error *err, const struct vst_tls_creds *creds, int alert)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        if (refusals[i].alert != alert)
            continue;
        vst_error_set(err, VST_ERR_AUTH, "%s says that our certificate (%s) %s", other_name(creds),
                      creds->files.cert ? creds->files.cert : "none", refusals[i].text);
        return true;
    }
    return false;
}

static void say_alert(struct vst_error *err, const struct vst_tls_creds *creds, int alert)
{
    const char *name = gnutls_alert_get_name((gnutls_alert_description_t)alert);

    if (say_our_certificate(err, creds, alert))
        return;
    if (alert == GNUTLS_A_CERTIFICATE_REQUIRED)
        vst_error_set(err, VST_ERR_AUTH,
                      "%s wants a certificate, and there is none here: issue one "
                      "(virstream pki issue --client), or name it (cert=, key=)",
                      other_name(creds));
    else if (alert == GNUTLS_A_PROTOCOL_VERSION)
        vst_error_set(err, VST_ERR_CONNECT, "%s does not speak TLS 1.3, the only version here",
                      other_name(creds));
    else
        vst_error_set(err, VST_ERR_CONNECT, "%s ended the TLS session: %s", other_name(creds),
                      name ? name : "unknown alert");
}

/* ---- everything else ---- */

int vst_tls_fail_cut(struct vst_error *err, const struct vst_tls_creds *creds, const char *phase)
{
    if (strcmp(phase, "handshake") == 0)
        vst_error_set(err, VST_ERR_LOST,
                      "%s closed the connection in the middle of the TLS hand-shake",
                      other_name(creds));
    else
        vst_error_set(err, VST_ERR_LOST,
                      "the connection ended, and %s had not said that this is the end",
                      other_name(creds));
    vst_error_where(err, other_side(creds), phase);
    return -1;
}

static void say(struct vst_error *err, gnutls_session_t session, const struct vst_tls_creds *creds,
                int status)
{
    const char *other = other_name(creds);

    switch (status) {
    case GNUTLS_E_MEMORY_ERROR:
        vst_error_no_memory(err);
        return;
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
        say_alert(err, creds, session ? (int)gnutls_alert_get(session) : -1);
        return;
    case GNUTLS_E_NO_CERTIFICATE_FOUND:
    case GNUTLS_E_CERTIFICATE_REQUIRED:
        vst_error_set(err, VST_ERR_AUTH,
                      "%s showed no certificate, and one is required: issue it one "
                      "(virstream pki issue --client)",
                      other);
        return;
    case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
    case GNUTLS_E_NO_CIPHER_SUITES:
        vst_error_set(err, VST_ERR_CONNECT, "%s does not speak TLS 1.3, the only version here",
                      other);
        return;
    case GNUTLS_E_CONSTRAINT_ERROR:
        vst_error_set(err, VST_ERR_AUTH,
                      "%s's certificate costs too much to verify: an RSA key may have %d bits and "
                      "an exponent of %d, and a chain %d certificates",
                      other, VST_TLS_KEY_BITS_MAX, VST_TLS_EXPONENT_BITS_MAX, VST_TLS_CHAIN_MAX);
        return;
    case GNUTLS_E_NO_COMMON_KEY_SHARE:
        vst_error_set(err, VST_ERR_CONNECT,
                      "%s agrees on keys in no way that is accepted here: X25519, P-256 or P-384",
                      other);
        return;
    case GNUTLS_E_UNEXPECTED_PACKET_LENGTH:
    case GNUTLS_E_UNEXPECTED_PACKET:
    case GNUTLS_E_RECORD_OVERFLOW:
        vst_error_set(err, VST_ERR_PROTOCOL, "what %s sends is not TLS, or breaks its rules: %s",
                      other, gnutls_strerror(status));
        return;
    case GNUTLS_E_DECRYPTION_FAILED:
        vst_error_set(err, VST_ERR_DAMAGED,
                      "what came from %s is not what was sent: a record was altered on the way",
                      other);
        return;
    default:
        vst_error_set(err, VST_ERR_PROTOCOL, "TLS with %s failed: %s", other,
                      gnutls_strerror(status));
    }
}

/* Who connects and hears no TLS has come to the wrong port: there is no connection to speak of. */
static bool is_wrong_port(const struct vst_tls_creds *creds, const char *phase, int status)
{
    return creds->role == VST_TLS_CLIENT && strcmp(phase, "handshake") == 0 &&
           (status == GNUTLS_E_UNEXPECTED_PACKET_LENGTH || status == GNUTLS_E_UNEXPECTED_PACKET ||
            status == GNUTLS_E_RECORD_OVERFLOW);
}

int vst_tls_fail(struct vst_error *err, gnutls_session_t session, const struct vst_tls_creds *creds,
                 const char *phase, int status)
{
    bool fresh = err && err->code == VST_ERR_OK;

    if (is_wrong_port(creds, phase, status))
        vst_error_set(err, VST_ERR_CONNECT,
                      "the port does not speak TLS: is it that of a tcp socket? (%s)",
                      gnutls_strerror(status));
    say(err, session, creds, status);
    if (fresh && err->code != VST_ERR_NO_MEMORY)
        err->system = status;
    vst_error_where(err, session ? other_side(creds) : own_side(creds), phase);
    return -1;
}
