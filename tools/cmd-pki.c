/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pki init, pki issue and pki revoke: an authority in a directory, and what it gives out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "pki.h"

enum { PATH_ROOM = 4096, NAME_MAX_BYTES = 64, HOST_MAX = 253, SERIAL_MAX = 64, REVOKED_MAX = 2 };

/* ---- files made of what was made ---- */

static int write_key(struct tool *tool, const char *dir, const char *name,
                     gnutls_x509_privkey_t key)
{
    gnutls_datum_t pem = {NULL, 0};
    int status = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);

    status = status < 0 ? pki_fail(tool, status, name) : pki_write(tool, dir, name, &pem, 0600);
    pki_forget(&pem);
    return status;
}

static int write_cert(struct tool *tool, const char *dir, const char *name, gnutls_x509_crt_t cert)
{
    gnutls_datum_t pem = {NULL, 0};
    int status = gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pem);

    status = status < 0 ? pki_fail(tool, status, name) : pki_write(tool, dir, name, &pem, 0644);
    pki_forget(&pem);
    return status;
}

static int write_crl(struct tool *tool, const char *dir, gnutls_x509_crl_t crl)
{
    gnutls_datum_t pem = {NULL, 0};
    int status = gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem);

    status = status < 0 ? pki_fail(tool, status, "cacrl.pem")
                        : pki_replace(tool, dir, "cacrl.pem", &pem);
    pki_forget(&pem);
    return status;
}

static int make_directory(struct tool *tool, const char *dir)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return tool_fail_system(tool, errno, dir);
    return 0;
}

static int refuse_existing(struct tool *tool, const char *dir, const char *name)
{
    char path[PATH_ROOM];

    if (pki_path(tool, dir, name, path, sizeof(path)) < 0)
        return -1;
    if (access(path, F_OK) == 0)
        return tool_fail(tool, VST_ERR_EXISTS, "%s exists, and is not overwritten", path);
    return errno == ENOENT ? 0 : tool_fail_system(tool, errno, path);
}

/* ---- the authority ---- */

static void authority_free(struct authority *authority)
{
    gnutls_x509_crt_deinit(authority->cert);
    gnutls_x509_privkey_deinit(authority->key);
}

static int authority_open(struct tool *tool, const char *dir, struct authority *ret_authority)
{
    struct authority authority = {0};
    char cert[PATH_ROOM], key[PATH_ROOM];

    if (pki_path(tool, dir, "cacert.pem", cert, sizeof(cert)) < 0 ||
        pki_path(tool, dir, "cakey.pem", key, sizeof(key)) < 0 ||
        pki_read_cert(tool, cert, &authority.cert) < 0 ||
        pki_read_key(tool, key, &authority.key) < 0) {
        authority_free(&authority);
        return -1;
    }
    snprintf(authority.dir, sizeof(authority.dir), "%s", dir);
    *ret_authority = authority;
    return 0;
}

/* The key last but for the list: an authority without it can be made again. */
static int authority_make(struct tool *tool, struct authority *authority)
{
    gnutls_x509_crl_t crl = NULL;
    int status = pki_make_key(tool, &authority->key);

    if (status == 0)
        status = pki_make_authority(tool, authority->key, &authority->cert);
    if (status == 0)
        status = pki_make_crl(tool, authority, NULL, NULL, 0, &crl);
    if (status == 0)
        status = write_cert(tool, authority->dir, "cacert.pem", authority->cert);
    if (status == 0)
        status = write_crl(tool, authority->dir, crl);
    if (status == 0)
        status = write_key(tool, authority->dir, "cakey.pem", authority->key);
    gnutls_x509_crl_deinit(crl);
    return status;
}

int command_pki_init(struct tool *tool)
{
    const char *dir = tool->args[0];
    struct authority authority = {0};
    int status;

    if (strlen(dir) >= sizeof(authority.dir))
        return tool_fail(tool, VST_ERR_INVALID, "%s: the name is too long", dir);
    snprintf(authority.dir, sizeof(authority.dir), "%s", dir);
    if (make_directory(tool, dir) < 0 || refuse_existing(tool, dir, "cakey.pem") < 0 ||
        refuse_existing(tool, dir, "cacert.pem") < 0)
        return -1;
    status = authority_make(tool, &authority);
    authority_free(&authority);
    if (status == 0)
        output_done(tool, "%s is an authority now; keep %s/cakey.pem to yourself", dir, dir);
    return status;
}

/* ---- issuing ---- */

/* A name that a directory may have, and a certificate. */
static bool is_name(const char *name, size_t max)
{
    size_t length = strlen(name);

    if (!length || length > max || name[0] == '.' || name[0] == '-')
        return false;
    for (const char *at = name; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == '/' || *at == 0x7f)
            return false;
    return strcmp(name, "revoked") != 0;
}

static bool is_host(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._*";

    return is_name(name, HOST_MAX) && name[strspn(name, letters)] == '\0';
}

static bool is_address(const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool is_uri(const char *text)
{
    size_t scheme = strcspn(text, ":");

    if (!scheme || text[scheme] != ':' || !text[scheme + 1])
        return false;
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    return true;
}

static int check_each(struct tool *tool, const struct words *words, bool (*good)(const char *),
                      const char *what)
{
    for (unsigned i = 0; i < words->count; i++)
        if (!good(words->word[i]))
            return tool_usage(tool, "`%s` is not %s", words->word[i], what);
    return 0;
}

static int check_wish(struct tool *tool)
{
    const struct options *opt = &tool->opt;

    if (!opt->hosts.count && !opt->addresses.count && !opt->client)
        return tool_usage(tool, "for whom? --host, --ip or --client says it");
    if (opt->uris.count && !opt->client)
        return tool_usage(tool, "--uri is for the certificate of a --client");
    if (opt->client && !is_name(opt->client, NAME_MAX_BYTES))
        return tool_usage(tool, "`%s` is not the name of a client", opt->client);
    if (check_each(tool, &opt->hosts, is_host, "the name of a host") < 0 ||
        check_each(tool, &opt->addresses, is_address, "an IP address") < 0)
        return -1;
    return check_each(tool, &opt->uris, is_uri, "a URI");
}

/* What the directory is called, and a host's certificate. */
static const char *first_name(const struct options *opt)
{
    if (opt->hosts.count)
        return opt->hosts.word[0];
    return opt->addresses.count ? opt->addresses.word[0] : opt->client;
}

static int issue_one(struct tool *tool, const struct authority *by, const char *dir,
                     const struct wish *wish)
{
    const char *key_file = wish->server ? "serverkey.pem" : "clientkey.pem";
    const char *cert_file = wish->server ? "servercert.pem" : "clientcert.pem";
    gnutls_x509_privkey_t key = NULL;
    gnutls_x509_crt_t cert = NULL;
    int status = pki_make_key(tool, &key);

    if (status == 0)
        status = pki_make_cert(tool, by, key, wish, &cert);
    if (status == 0)
        status = write_key(tool, dir, key_file, key);
    if (status == 0)
        status = write_cert(tool, dir, cert_file, cert);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
    return status;
}

/* Into the directory of whoever gets it; a list may be there that has become longer since. */
static int copy_authority(struct tool *tool, const struct authority *by, const char *dir)
{
    static const char *const names[] = {"cacert.pem", "cacrl.pem"};
    int status = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names) && status == 0; i++) {
        gnutls_datum_t pem = {NULL, 0};
        char path[PATH_ROOM];

        status = pki_path(tool, by->dir, names[i], path, sizeof(path));
        if (status == 0)
            status = pki_read(tool, path, &pem);
        if (status == 0)
            status = pki_replace(tool, dir, names[i], &pem);
        pki_forget(&pem);
    }
    return status;
}

static int refuse_issued(struct tool *tool, const char *dir)
{
    const struct options *opt = &tool->opt;

    if ((opt->hosts.count || opt->addresses.count) &&
        (refuse_existing(tool, dir, "servercert.pem") < 0 ||
         refuse_existing(tool, dir, "serverkey.pem") < 0))
        return -1;
    if (!opt->client)
        return 0;
    if (refuse_existing(tool, dir, "clientcert.pem") < 0)
        return -1;
    return refuse_existing(tool, dir, "clientkey.pem");
}

static int issue(struct tool *tool, const struct authority *by, const char *dir)
{
    const struct options *opt = &tool->opt;
    struct wish wish = {.names = opt, .subject = first_name(opt), .server = true};

    if (make_directory(tool, dir) < 0 || refuse_issued(tool, dir) < 0 ||
        copy_authority(tool, by, dir) < 0)
        return -1;
    if ((opt->hosts.count || opt->addresses.count) && issue_one(tool, by, dir, &wish) < 0)
        return -1;
    if (!opt->client)
        return 0;
    wish.subject = opt->client;
    wish.server = false;
    return issue_one(tool, by, dir, &wish);
}

int command_pki_issue(struct tool *tool)
{
    struct authority by;
    char dir[PATH_ROOM];
    int status;

    if (check_wish(tool) < 0 || authority_open(tool, tool->args[0], &by) < 0)
        return -1;
    status = pki_path(tool, by.dir, first_name(&tool->opt), dir, sizeof(dir));
    if (status == 0)
        status = issue(tool, &by, dir);
    authority_free(&by);
    if (status == 0)
        output_done(tool,
                    "%s has all that is needed there: copy it to /etc/virstream/pki, for the user "
                    "that virstreamd runs as to read, or to ~/.config/virstream/pki",
                    dir);
    return status;
}

/* ---- revoking ---- */

/* Those that NAME has, at most two. */
static int read_issued(struct tool *tool, const char *dir, gnutls_x509_crt_t certs[REVOKED_MAX],
                       unsigned *ret_count)
{
    static const char *const names[REVOKED_MAX] = {"servercert.pem", "clientcert.pem"};
    unsigned count = 0;

    for (unsigned i = 0; i < REVOKED_MAX; i++) {
        char path[PATH_ROOM];

        if (pki_path(tool, dir, names[i], path, sizeof(path)) < 0)
            return -1;
        if (access(path, F_OK) < 0 && errno == ENOENT)
            continue;
        if (pki_read_cert(tool, path, &certs[count]) < 0)
            return -1;
        *ret_count = ++count;
    }
    if (!count)
        return tool_fail(tool, VST_ERR_NOT_FOUND, "%s: nothing was issued there", dir);
    return 0;
}

/* Out of the way of what is issued next under this name. */
static int put_away(struct tool *tool, const struct authority *by, const char *dir,
                    const char *name, gnutls_x509_crt_t cert)
{
    unsigned char serial[SERIAL_MAX];
    size_t size = sizeof(serial);
    char revoked[PATH_ROOM], path[PATH_ROOM], hex[17] = "", last[HOST_MAX + 20];

    gnutls_x509_crt_get_serial(cert, serial, &size);
    for (size_t i = 0; i < size && i < 8; i++)
        snprintf(hex + 2 * i, 3, "%02x", serial[i]);
    snprintf(last, sizeof(last), "%s-%s", name, hex);
    if (pki_path(tool, by->dir, "revoked", revoked, sizeof(revoked)) < 0 ||
        make_directory(tool, revoked) < 0 || pki_path(tool, revoked, last, path, sizeof(path)) < 0)
        return -1;
    return rename(dir, path) < 0 ? tool_fail_system(tool, errno, dir) : 0;
}

static int add_to_list(struct tool *tool, const struct authority *by, gnutls_x509_crt_t *certs,
                       unsigned count)
{
    gnutls_x509_crl_t old = NULL, crl = NULL;
    char path[PATH_ROOM];
    int status = pki_path(tool, by->dir, "cacrl.pem", path, sizeof(path));

    if (status == 0)
        status = pki_read_crl(tool, path, &old);
    if (status == 0)
        status = pki_make_crl(tool, by, old, certs, count, &crl);
    if (status == 0)
        status = write_crl(tool, by->dir, crl);
    gnutls_x509_crl_deinit(old);
    gnutls_x509_crl_deinit(crl);
    return status;
}

int command_pki_revoke(struct tool *tool)
{
    const char *name = tool->args[1];
    gnutls_x509_crt_t certs[REVOKED_MAX] = {NULL};
    struct authority by;
    unsigned count = 0;
    char dir[PATH_ROOM];
    int status;

    if (!is_name(name, HOST_MAX))
        return tool_usage(tool, "`%s` is not a name", name);
    if (authority_open(tool, tool->args[0], &by) < 0)
        return -1;
    status = pki_path(tool, by.dir, name, dir, sizeof(dir));
    if (status == 0)
        status = read_issued(tool, dir, certs, &count);
    if (status == 0)
        status = add_to_list(tool, &by, certs, count);
    if (status == 0)
        status = put_away(tool, &by, dir, name, certs[0]);
    for (unsigned i = 0; i < REVOKED_MAX; i++)
        gnutls_x509_crt_deinit(certs[i]);
    authority_free(&by);
    if (status == 0)
        output_done(tool, "%s is revoked: copy %s/cacrl.pem to every host and client", name,
                    tool->args[0]);
    return status;
}
