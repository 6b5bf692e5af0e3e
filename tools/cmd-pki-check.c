/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pki check: whether the files of one directory would do, each with what it is or what is wrong.
 * The directory is that of an authority, of a host or of a client; what is there is checked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "output.h"
#include "pki.h"

enum { PATH_ROOM = 4096, SOON = 30 * 24 * 3600, SAYS = 400 };

/* What was read; NULL: not there. */
struct check {
    struct tool *tool;
    const char *dir;
    struct pki_certs authorities;
    struct pki_crls crls;
    gnutls_x509_trust_list_t trust;
    struct json_object *files; /* with --json */
    unsigned found;
    unsigned bad;
};

/* ---- what is said ---- */

static void say(struct check *check, bool good, const char *file, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct check *check, bool good, const char *file, const char *format, ...)
{
    char says[SAYS];
    va_list args;

    va_start(args, format);
    vsnprintf(says, sizeof(says), format, args);
    va_end(args);
    text_clean(says);
    check->bad += !good;
    if (check->tool->opt.json) {
        struct json_object *entry = json_object_new_object();

        put_text(entry, "file", file);
        put_flag(entry, "good", good);
        put_text(entry, "says", says);
        json_object_array_add(check->files, entry);
    } else {
        printf("%-4s %-15s %s\n", good ? "ok" : "BAD", file, says);
    }
}

/* A failure of reading becomes one of the file's faults, not the end of the check. */
static void say_unread(struct check *check, const char *file)
{
    say(check, false, file, "%s", check->tool->err.text);
    check->tool->err = (struct vst_error){0};
}

static struct text day(time_t at)
{
    struct text text;
    struct tm tm;

    if (!gmtime_r(&at, &tm) || !strftime(text.s, sizeof(text.s), "%Y-%m-%d", &tm))
        snprintf(text.s, sizeof(text.s), "?");
    return text;
}

/* ---- parts ---- */

static bool is_there(struct check *check, const char *file, char path[PATH_ROOM])
{
    if (pki_path(check->tool, check->dir, file, path, PATH_ROOM) < 0) {
        say_unread(check, file);
        return false;
    }
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return false;
    check->found++;
    return true;
}

static bool is_valid_now(gnutls_x509_crt_t cert)
{
    time_t now = time(NULL);

    return gnutls_x509_crt_get_activation_time(cert) <= now &&
           now <= gnutls_x509_crt_get_expiration_time(cert);
}

/* False when that is already bad. */
static bool good_dates(struct check *check, const char *file, gnutls_x509_crt_t cert)
{
    time_t from = gnutls_x509_crt_get_activation_time(cert);

    if (is_valid_now(cert))
        return true;
    if (time(NULL) < from)
        say(check, false, file, "is not valid before %s: is the clock right?", day(from).s);
    else
        say(check, false, file, "expired on %s", day(gnutls_x509_crt_get_expiration_time(cert)).s);
    return false;
}

static void describe(gnutls_x509_crt_t cert, char *ret_text, size_t room)
{
    time_t to = gnutls_x509_crt_get_expiration_time(cert);
    gnutls_datum_t subject = {NULL, 0};

    gnutls_x509_crt_get_dn3(cert, &subject, 0);
    snprintf(ret_text, room, "%.120s, valid until %s%s",
             subject.data ? (const char *)subject.data : "no subject", day(to).s,
             to < time(NULL) + SOON ? " (soon: issue a new one)" : "");
    gnutls_free(subject.data);
}

/* ", for hostb, 10.0.0.2" */
static void describe_names(gnutls_x509_crt_t cert, char *ret_text, size_t room)
{
    size_t at = 0;

    ret_text[0] = '\0';
    for (unsigned i = 0; at < room; i++) {
        char name[256], address[INET6_ADDRSTRLEN];
        size_t size = sizeof(name);
        unsigned type;
        int status = gnutls_x509_crt_get_subject_alt_name2(cert, i, name, &size, &type, NULL);

        if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return;
        if (status == GNUTLS_SAN_IPADDRESS &&
            inet_ntop(size == 4 ? AF_INET : AF_INET6, name, address, sizeof(address)))
            size = (size_t)snprintf(name, sizeof(name), "%s", address);
        else if (status != GNUTLS_SAN_DNSNAME && status != GNUTLS_SAN_URI)
            continue;
        at += (size_t)snprintf(ret_text + at, room - at, "%s%.*s", at ? ", " : ", for ", (int)size,
                               name);
    }
}

/* ---- the authority ---- */

/* An authority may be retired while another one follows it: one that is valid will do. */
static gnutls_x509_crt_t choose_authority(const struct pki_certs *authorities)
{
    for (unsigned i = 0; i < authorities->count; i++)
        if (is_valid_now(authorities->of[i]))
            return authorities->of[i];
    return authorities->of[0];
}

static bool all_are_authorities(const struct pki_certs *authorities)
{
    for (unsigned i = 0; i < authorities->count; i++)
        if (gnutls_x509_crt_get_ca_status(authorities->of[i], NULL) <= 0)
            return false;
    return true;
}

static void check_authority(struct check *check)
{
    static const char file[] = "cacert.pem";
    struct pki_certs *authorities = &check->authorities;
    char path[PATH_ROOM], text[200], more[40] = "";

    if (!is_there(check, file, path)) {
        say(check, false, file, "is missing: nobody can be verified without it");
        return;
    }
    if (pki_read_certs(check->tool, path, authorities) < 0) {
        say_unread(check, file);
        return;
    }
    describe(choose_authority(authorities), text, sizeof(text));
    if (authorities->count > 1)
        snprintf(more, sizeof(more), ", and %u more", authorities->count - 1);
    if (!all_are_authorities(authorities))
        say(check, false, file, "%s%s: is not the certificate of an authority", text, more);
    else if (good_dates(check, file, choose_authority(authorities)))
        say(check, true, file, "%s%s", text, more);
}

static bool is_signed(const struct check *check, gnutls_x509_crl_t crl)
{
    const struct pki_certs *by = &check->authorities;
    const unsigned harmless =
        GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
    unsigned status = 0;

    return !by->count || (gnutls_x509_crl_verify(crl, by->of, (int)by->count, 0, &status) >= 0 &&
                          !(status & ~harmless));
}

static void check_crl(struct check *check)
{
    static const char file[] = "cacrl.pem";
    char path[PATH_ROOM];
    int revoked = 0;

    if (!is_there(check, file, path))
        return;
    if (pki_read_crls(check->tool, path, &check->crls) < 0) {
        say_unread(check, file);
        return;
    }
    for (unsigned i = 0; i < check->crls.count; i++) {
        time_t next = gnutls_x509_crl_get_next_update(check->crls.of[i]);

        if (!is_signed(check, check->crls.of[i])) {
            say(check, false, file, "is not signed by the authority in cacert.pem");
            return;
        }
        if (next != (time_t)-1 && next < time(NULL)) {
            say(check, false, file, "is out of date since %s: fetch a new one", day(next).s);
            return;
        }
        revoked += gnutls_x509_crl_get_crt_count(check->crls.of[i]);
    }
    say(check, true, file, "%d revoked", revoked);
}

/* ---- pairs of a certificate and its key ---- */

static bool same_key(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key)
{
    unsigned char a[64], b[64];
    size_t a_size = sizeof(a), b_size = sizeof(b);

    return gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, a, &a_size) == 0 &&
           gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, b, &b_size) == 0 &&
           a_size == b_size && memcmp(a, b, a_size) == 0;
}

static void check_key(struct check *check, const char *file, gnutls_x509_crt_t cert)
{
    gnutls_x509_privkey_t key = NULL;
    char path[PATH_ROOM];
    struct stat st;

    if (!is_there(check, file, path)) {
        say(check, false, file, "is missing: the certificate is of no use without its key");
        return;
    }
    if (stat(path, &st) == 0 && st.st_mode & (S_IRWXG | S_IRWXO))
        say(check, false, file, "others can use it: chmod 600 %s", path);
    if (pki_read_key(check->tool, path, &key) < 0) {
        say_unread(check, file);
        return;
    }
    if (cert && !same_key(cert, key))
        say(check, false, file, "is not the key of the certificate beside it");
    else
        say(check, true, file, "is the key of the certificate");
    gnutls_x509_privkey_deinit(key);
}

static int trust(struct check *check)
{
    int status = gnutls_x509_trust_list_init(&check->trust, 0);

    if (status == 0)
        status = gnutls_x509_trust_list_add_cas(check->trust, check->authorities.of,
                                                check->authorities.count, 0);
    if (status >= 0 && check->crls.count)
        status =
            gnutls_x509_trust_list_add_crls(check->trust, check->crls.of, check->crls.count, 0, 0);
    return status < 0 ? pki_fail(check->tool, status, "cacert.pem") : 0;
}

/* Says what a peer would say of it. True when it would accept it. */
static bool is_trusted(struct check *check, const char *file, const struct pki_certs *chain,
                       const char *purpose)
{
    gnutls_typed_vdata_st data = {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)purpose, 0};
    gnutls_datum_t text = {NULL, 0};
    unsigned refused = 0;
    int status;

    if (!check->authorities.count)
        return true;
    status = gnutls_x509_trust_list_verify_crt2(check->trust, chain->of, chain->count, &data, 1, 0,
                                                &refused, NULL);
    if (status == 0 && !refused)
        return true;
    if (status == 0)
        gnutls_certificate_verification_status_print(refused, GNUTLS_CRT_X509, &text, 0);
    if (refused & GNUTLS_CERT_REVOKED)
        say(check, false, file, "was revoked: issue a new one");
    else if (refused & GNUTLS_CERT_SIGNER_NOT_FOUND)
        say(check, false, file, "is not signed by the authority in cacert.pem");
    else
        say(check, false, file, "%s",
            text.data ? (const char *)text.data : gnutls_strerror(status));
    gnutls_free(text.data);
    return false;
}

/* As much as fits. */
static void add_word(char *list, size_t room, const char *word)
{
    size_t used = strlen(list);

    snprintf(list + used, room - used, "%s%s", used ? ", " : "", word);
}

/* Tells all that it is not for. */
static bool has_names(struct check *check, const char *file, gnutls_x509_crt_t cert)
{
    const struct options *opt = &check->tool->opt;
    const struct words *lists[] = {&opt->hosts, &opt->addresses};
    char missing[SAYS - 20] = "";

    for (size_t i = 0; i < 2; i++)
        for (unsigned j = 0; j < lists[i]->count; j++)
            if (!gnutls_x509_crt_check_hostname2(cert, lists[i]->word[j], 0))
                add_word(missing, sizeof(missing), lists[i]->word[j]);
    if (*missing)
        say(check, false, file, "is not for %s", missing);
    return !*missing;
}

static void check_pair(struct check *check, bool server)
{
    const char *file = server ? "servercert.pem" : "clientcert.pem";
    const char *key = server ? "serverkey.pem" : "clientkey.pem";
    struct pki_certs chain = {NULL,
                              0}; /* first itself, then who has signed it, if they are there */
    char path[PATH_ROOM], text[200], names[160];

    if (!is_there(check, file, path)) {
        if (is_there(check, key, path))
            say(check, false, file, "is missing, and its key is there");
        return;
    }
    if (pki_read_certs(check->tool, path, &chain) < 0) {
        say_unread(check, file);
    } else if (good_dates(check, file, chain.of[0]) &&
               is_trusted(check, file, &chain,
                          server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT) &&
               (!server || has_names(check, file, chain.of[0]))) {
        describe(chain.of[0], text, sizeof(text));
        describe_names(chain.of[0], names, sizeof(names));
        say(check, true, file, "%s%s", text, names);
    }
    check_key(check, key, chain.count ? chain.of[0] : NULL);
    pki_free_certs(&chain);
}

static void check_authority_key(struct check *check)
{
    char path[PATH_ROOM];

    if (is_there(check, "cakey.pem", path))
        check_key(check, "cakey.pem",
                  check->authorities.count ? choose_authority(&check->authorities) : NULL);
}

/* ---- all of it ---- */

/* What was found is told in any case: of an error the files are a part. */
static int conclude(struct check *check)
{
    struct tool *tool = check->tool;
    struct json_object *files = check->files;

    check->files = NULL;
    if (!check->found)
        tool_fail(tool, VST_ERR_NOT_FOUND, "%s: no certificates there", check->dir);
    else if (check->bad)
        tool_fail(tool, VST_ERR_AUTH, "%s: %u of its files would not do", check->dir, check->bad);
    else
        return tool->opt.json ? output_json(tool, "pki", files) : 0;
    tool->err_files = files;
    return -1;
}

int command_pki_check(struct tool *tool)
{
    struct check check = {.tool = tool, .dir = tool->args[0]};
    int status = 0;

    if (tool->opt.json && !(check.files = json_object_new_array()))
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    check_authority(&check);
    check_crl(&check);
    check_authority_key(&check);
    if (check.authorities.count)
        status = trust(&check);
    if (status == 0) {
        check_pair(&check, true);
        check_pair(&check, false);
        status = conclude(&check);
    }
    json_object_put(check.files);
    gnutls_x509_trust_list_deinit(check.trust, 0);
    pki_free_crls(&check.crls);
    pki_free_certs(&check.authorities);
    return status;
}
