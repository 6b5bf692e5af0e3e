/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Certificates, keys and revocation lists, read from files and checked for themselves: whether they
 * can be read, fit together, and are valid now. Blocks. Whether a peer accepts them is the peer's
 * business, and `virstream pki check` tells it beforehand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fd.h"
#include "tls-private.h"

/*
 * TLS 1.3 and nothing else; AES first, which processors do. Keys are agreed on over curves alone:
 * over a finite field (FFDHE) it costs a hundred times as much, before anybody is known.
 */
#define PRIORITY                                                                              \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:" \
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%SERVER_PRECEDENCE"

enum { FILE_MAX = 4 * 1024 * 1024 };

static enum vst_side own_side(const struct vst_tls_creds *creds)
{
    return creds->role == VST_TLS_CLIENT ? VST_SIDE_CLIENT : VST_SIDE_HOST;
}

/* ---- files ---- */

static int read_all(int fd, gnutls_datum_t *data, size_t size)
{
    data->data = malloc(size + 1);
    data->size = 0;
    if (!data->data)
        return -1;
    while (data->size < size) {
        ssize_t n = read(fd, data->data + data->size, size - data->size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        data->size += (unsigned)n;
    }
    data->data[data->size] = '\0';
    return 0;
}

static int read_open(int fd, const char *path, gnutls_datum_t *data, struct vst_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return vst_error_system(err, errno, "%s", path);
    if (st.st_size > FILE_MAX)
        return vst_error_set(err, VST_ERR_INVALID, "%s: larger than 4 MiB", path);
    return read_all(fd, data, (size_t)st.st_size) < 0 ? vst_error_system(err, errno, "%s", path)
                                                      : 0;
}

/* The caller forgets the data, also after a failure. */
static int read_file(const char *path, gnutls_datum_t *data, struct vst_error *err)
{
    int fd = vst_open_regular(path, path, err);
    int status;

    if (fd < 0)
        return -1;
    status = read_open(fd, path, data, err);
    vst_close(&fd);
    return status;
}

static void forget(gnutls_datum_t *data)
{
    if (data->data)
        explicit_bzero(data->data, data->size);
    free(data->data);
    *data = (gnutls_datum_t){NULL, 0};
}

static int refuse(struct vst_error *err, const char *path, const char *what, int status)
{
    if (status == GNUTLS_E_MEMORY_ERROR)
        return vst_error_no_memory(err);
    vst_error_set(err, VST_ERR_INVALID, "%s: %s (%s)", path, what, gnutls_strerror(status));
    if (err)
        err->system = status;
    return -1;
}

/* ---- dates ---- */

static int check_dates(const char *path, gnutls_x509_crt_t cert, struct vst_error *err)
{
    time_t now = time(NULL);
    time_t from = gnutls_x509_crt_get_activation_time(cert);
    time_t to = gnutls_x509_crt_get_expiration_time(cert);

    if (now > to)
        return vst_error_set(err, VST_ERR_AUTH,
                             "%s expired on %s: issue a new one (virstream pki issue)", path,
                             vst_tls_time(to).s);
    if (now < from)
        return vst_error_set(err, VST_ERR_AUTH,
                             "%s is not valid before %s: is this host's clock right?", path,
                             vst_tls_time(from).s);
    return 0;
}

/* Of a chain the first is the one that is shown; peers look at the others. */
static int check_first(const char *path, const gnutls_x509_crt_t *certs, unsigned count,
                       struct vst_error *err)
{
    (void)count;
    return check_dates(path, certs[0], err);
}

/* Of authorities one is enough: those that have retired stay beside their successors for a while.
 */
static int check_any(const char *path, const gnutls_x509_crt_t *certs, unsigned count,
                     struct vst_error *err)
{
    for (unsigned i = 0; i < count; i++)
        if (check_dates(path, certs[i], NULL) == 0)
            return 0;
    return check_dates(path, certs[0], err);
}

static int check_file_dates(const char *path, const gnutls_datum_t *pem,
                            int (*check)(const char *path, const gnutls_x509_crt_t *certs,
                                         unsigned count, struct vst_error *err),
                            struct vst_error *err)
{
    gnutls_x509_crt_t *certs = NULL;
    unsigned count = 0;
    int status = gnutls_x509_crt_list_import2(&certs, &count, pem, GNUTLS_X509_FMT_PEM, 0);

    if (status < 0)
        return refuse(err, path, "no certificate in PEM form", status);
    status = check(path, certs, count, err);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(certs[i]);
    gnutls_free(certs);
    return status;
}

/* ---- loading ---- */

static int use_authority(struct vst_tls_creds *creds, const gnutls_datum_t *pem,
                         struct vst_error *err)
{
    const char *path = creds->files.ca;
    int status =
        gnutls_certificate_set_x509_trust_mem(creds->certificates, pem, GNUTLS_X509_FMT_PEM);

    if (status <= 0)
        return refuse(err, path, "no certificate of an authority in PEM form",
                      status < 0 ? status : GNUTLS_E_NO_CERTIFICATE_FOUND);
    return 0;
}

static int load_authority(struct vst_tls_creds *creds, struct vst_error *err)
{
    gnutls_datum_t pem = {NULL, 0};
    int status = read_file(creds->files.ca, &pem, err);

    if (status == 0)
        status = check_file_dates(creds->files.ca, &pem, check_any, err);
    if (status == 0)
        status = use_authority(creds, &pem, err);
    forget(&pem);
    return status;
}

static int load_revocations(struct vst_tls_creds *creds, struct vst_error *err)
{
    gnutls_datum_t pem = {NULL, 0};
    int status = read_file(creds->files.crl, &pem, err);

    if (status == 0) {
        int result =
            gnutls_certificate_set_x509_crl_mem(creds->certificates, &pem, GNUTLS_X509_FMT_PEM);

        if (result <= 0)
            status = refuse(err, creds->files.crl, "no revocation list in PEM form",
                            result < 0 ? result : GNUTLS_E_NO_CERTIFICATE_FOUND);
    }
    forget(&pem);
    return status;
}

static int use_pair(struct vst_tls_creds *creds, const gnutls_datum_t *cert,
                    const gnutls_datum_t *key, struct vst_error *err)
{
    int status = gnutls_certificate_set_x509_key_mem2(creds->certificates, cert, key,
                                                      GNUTLS_X509_FMT_PEM, NULL, 0);

    if (status >= 0)
        return 0;
    if (status == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return vst_error_set(err, VST_ERR_INVALID, "%s is not the key of the certificate %s",
                             creds->files.key, creds->files.cert);
    return refuse(err, creds->files.key,
                  status == GNUTLS_E_DECRYPTION_FAILED
                      ? "the key has a password, which is not asked for"
                      : "no private key in PEM form",
                  status);
}

static int load_pair(struct vst_tls_creds *creds, struct vst_error *err)
{
    gnutls_datum_t cert = {NULL, 0}, key = {NULL, 0};
    int status = read_file(creds->files.cert, &cert, err);

    if (status == 0)
        status = read_file(creds->files.key, &key, err);
    if (status == 0)
        status = check_file_dates(creds->files.cert, &cert, check_first, err);
    if (status == 0)
        status = use_pair(creds, &cert, &key, err);
    forget(&cert);
    forget(&key);
    return status;
}

static int check_files(enum vst_tls_role role, const struct vst_tls_files *files,
                       struct vst_error *err)
{
    if (!files->ca)
        return vst_error_set(err, VST_ERR_INVALID,
                             "TLS: the file with the authority's certificate is not named");
    if (!files->cert != !files->key)
        return vst_error_set(err, VST_ERR_INVALID, "TLS: %s without its %s",
                             files->cert ? files->cert : files->key,
                             files->cert ? "key" : "certificate");
    if (role == VST_TLS_SERVER && !files->cert)
        return vst_error_set(err, VST_ERR_INVALID, "TLS: a server needs a certificate and its key");
    return 0;
}

static int load(struct vst_tls_creds *creds, struct vst_error *err)
{
    int status = gnutls_certificate_allocate_credentials(&creds->certificates);

    if (status == 0)
        status = gnutls_priority_init(&creds->priority, PRIORITY, NULL);
    if (status < 0)
        return vst_tls_fail(err, NULL, creds, "", status);
    gnutls_certificate_set_verify_limits(creds->certificates, VST_TLS_KEY_BITS_MAX,
                                         VST_TLS_CHAIN_MAX);
    if (load_authority(creds, err) < 0)
        return -1;
    if (creds->files.crl && load_revocations(creds, err) < 0)
        return -1;
    return creds->files.cert ? load_pair(creds, err) : 0;
}

static int copy_text(char **into, const char *text)
{
    if (!text)
        return 0;
    *into = strdup(text);
    return *into ? 0 : -1;
}

static int copy_files(struct vst_tls_files *into, const struct vst_tls_files *from)
{
    if (copy_text(&into->ca, from->ca) < 0 || copy_text(&into->cert, from->cert) < 0 ||
        copy_text(&into->key, from->key) < 0 || copy_text(&into->crl, from->crl) < 0)
        return -1;
    return 0;
}

struct vst_tls_creds *vst_tls_creds_load(enum vst_tls_role role, const struct vst_tls_files *files,
                                         struct vst_error *ret_err)
{
    struct vst_tls_creds *creds;
    struct vst_error err = {0};

    if (check_files(role, files, ret_err) < 0)
        return NULL;
    creds = calloc(1, sizeof(*creds));
    if (!creds) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    creds->refs = 1;
    creds->role = role;
    if (copy_files(&creds->files, files) == 0 ? load(creds, &err) == 0
                                              : vst_error_no_memory(&err) == 0)
        return creds;
    vst_error_where(&err, own_side(creds), "certificates");
    vst_error_copy(ret_err, &err);
    vst_tls_creds_unref(&creds);
    return NULL;
}

int vst_tls_creds_check_server(const struct vst_tls_creds *creds, struct vst_error *ret_err)
{
    gnutls_x509_crt_t *certs = NULL;
    unsigned count = 0;
    bool serves;
    int status = gnutls_certificate_get_x509_crt(creds->certificates, 0, &certs, &count);

    if (status < 0)
        return refuse(ret_err, creds->files.cert, "looking at it", status);
    serves = count && gnutls_x509_crt_check_key_purpose(certs[0], GNUTLS_KP_TLS_WWW_SERVER, 0);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(certs[i]);
    gnutls_free(certs);
    if (serves)
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID,
                         "%s is not for a server, says its extended key usage: issue one that is "
                         "(virstream pki issue)",
                         creds->files.cert);
}

struct vst_tls_creds *vst_tls_creds_ref(struct vst_tls_creds *creds)
{
    if (creds)
        creds->refs++;
    return creds;
}

const struct vst_tls_files *vst_tls_creds_files(const struct vst_tls_creds *creds)
{
    return &creds->files;
}

void vst_tls_creds_unref(struct vst_tls_creds **slot)
{
    struct vst_tls_creds *creds = *slot;

    *slot = NULL;
    if (!creds || --creds->refs)
        return;
    if (creds->certificates)
        gnutls_certificate_free_credentials(creds->certificates);
    if (creds->priority)
        gnutls_priority_deinit(creds->priority);
    vst_tls_files_clear(&creds->files);
    free(creds);
}

void vst_tls_files_clear(struct vst_tls_files *files)
{
    free(files->ca);
    free(files->cert);
    free(files->key);
    free(files->crl);
    *files = (struct vst_tls_files){0};
}
