/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of an authority, and of those it has issued certificates to: read, written, replaced. A
 * file that exists is never overwritten but by the one that takes its name when it is complete.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pki.h"

enum { FILE_MAX = 4 * 1024 * 1024, PATH_ROOM = 4096 };

int pki_fail(struct tool *tool, int status, const char *what)
{
    if (status == GNUTLS_E_MEMORY_ERROR)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    tool_fail(tool, VST_ERR_INVALID, "%s: %s", what, gnutls_strerror(status));
    tool->err.side = VST_SIDE_APPLICATION;
    return -1;
}

int pki_path(struct tool *tool, const char *dir, const char *name, char *ret_path, size_t room)
{
    int length = snprintf(ret_path, room, "%s/%s", dir, name);

    if (length < 0 || (size_t)length >= room)
        return tool_fail(tool, VST_ERR_INVALID, "%s: the name is too long", dir);
    return 0;
}

void pki_forget(gnutls_datum_t *pem)
{
    if (pem->data)
        gnutls_memset(pem->data, 0, pem->size);
    gnutls_free(pem->data);
    *pem = (gnutls_datum_t){NULL, 0};
}

/* ---- reading ---- */

static int read_all(int fd, size_t size, gnutls_datum_t *pem)
{
    pem->data = gnutls_malloc(size + 1);
    if (!pem->data) {
        errno = ENOMEM;
        return -1;
    }
    while (pem->size < size) {
        ssize_t n = read(fd, pem->data + pem->size, size - pem->size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        pem->size += (unsigned)n;
    }
    pem->data[pem->size] = '\0';
    return 0;
}

static int read_open(struct tool *tool, int fd, const char *path, gnutls_datum_t *pem)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return tool_fail_system(tool, errno, path);
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        return tool_fail(tool, VST_ERR_INVALID, "%s: not a file of at most 4 MiB", path);
    return read_all(fd, (size_t)st.st_size, pem) < 0 ? tool_fail_system(tool, errno, path) : 0;
}

int pki_read(struct tool *tool, const char *path, gnutls_datum_t *ret_pem)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    gnutls_datum_t pem = {NULL, 0};
    int status;

    if (fd < 0)
        return tool_fail_system(tool, errno, path);
    status = read_open(tool, fd, path, &pem);
    close(fd);
    if (status == 0)
        *ret_pem = pem;
    else
        pki_forget(&pem);
    return status;
}

int pki_read_cert(struct tool *tool, const char *path, gnutls_x509_crt_t *ret_cert)
{
    gnutls_datum_t pem = {NULL, 0};
    gnutls_x509_crt_t cert = NULL;
    int status;

    if (pki_read(tool, path, &pem) < 0)
        return -1;
    status = gnutls_x509_crt_init(&cert);
    if (status == 0)
        status = gnutls_x509_crt_import(cert, &pem, GNUTLS_X509_FMT_PEM);
    pki_forget(&pem);
    if (status == 0) {
        *ret_cert = cert;
        return 0;
    }
    gnutls_x509_crt_deinit(cert);
    return pki_fail(tool, status, path);
}

int pki_read_certs(struct tool *tool, const char *path, struct pki_certs *ret_certs)
{
    gnutls_datum_t pem = {NULL, 0};
    int status;

    if (pki_read(tool, path, &pem) < 0)
        return -1;
    status = gnutls_x509_crt_list_import2(&ret_certs->of, &ret_certs->count, &pem,
                                          GNUTLS_X509_FMT_PEM, 0);
    pki_forget(&pem);
    return status < 0 ? pki_fail(tool, status, path) : 0;
}

void pki_free_certs(struct pki_certs *certs)
{
    for (unsigned i = 0; i < certs->count; i++)
        gnutls_x509_crt_deinit(certs->of[i]);
    gnutls_free(certs->of);
    *certs = (struct pki_certs){NULL, 0};
}

int pki_read_crls(struct tool *tool, const char *path, struct pki_crls *ret_crls)
{
    gnutls_datum_t pem = {NULL, 0};
    int status;

    if (pki_read(tool, path, &pem) < 0)
        return -1;
    status =
        gnutls_x509_crl_list_import2(&ret_crls->of, &ret_crls->count, &pem, GNUTLS_X509_FMT_PEM, 0);
    pki_forget(&pem);
    return status < 0 ? pki_fail(tool, status, path) : 0;
}

void pki_free_crls(struct pki_crls *crls)
{
    for (unsigned i = 0; i < crls->count; i++)
        gnutls_x509_crl_deinit(crls->of[i]);
    gnutls_free(crls->of);
    *crls = (struct pki_crls){NULL, 0};
}

int pki_read_key(struct tool *tool, const char *path, gnutls_x509_privkey_t *ret_key)
{
    gnutls_datum_t pem = {NULL, 0};
    gnutls_x509_privkey_t key = NULL;
    int status;

    if (pki_read(tool, path, &pem) < 0)
        return -1;
    status = gnutls_x509_privkey_init(&key);
    if (status == 0)
        status = gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    pki_forget(&pem);
    if (status == 0) {
        *ret_key = key;
        return 0;
    }
    gnutls_x509_privkey_deinit(key);
    return pki_fail(tool, status, path);
}

int pki_read_crl(struct tool *tool, const char *path, gnutls_x509_crl_t *ret_crl)
{
    gnutls_datum_t pem = {NULL, 0};
    gnutls_x509_crl_t crl = NULL;
    int status;

    if (pki_read(tool, path, &pem) < 0)
        return -1;
    status = gnutls_x509_crl_init(&crl);
    if (status == 0)
        status = gnutls_x509_crl_import(crl, &pem, GNUTLS_X509_FMT_PEM);
    pki_forget(&pem);
    if (status == 0) {
        *ret_crl = crl;
        return 0;
    }
    gnutls_x509_crl_deinit(crl);
    return pki_fail(tool, status, path);
}

/* ---- writing ---- */

static int write_all(int fd, const gnutls_datum_t *pem)
{
    size_t done = 0;

    while (done < pem->size) {
        ssize_t n = write(fd, pem->data + done, pem->size - done);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            done += (size_t)n;
    }
    return fsync(fd);
}

static int write_new(struct tool *tool, const char *path, const gnutls_datum_t *pem, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int number;

    if (fd < 0)
        return tool_fail_system(tool, errno, path);
    number = write_all(fd, pem) < 0 ? errno : 0;
    if (close(fd) < 0 && !number)
        number = errno;
    if (!number)
        return 0;
    unlink(path);
    return tool_fail_system(tool, number, path);
}

static int sync_directory(struct tool *tool, const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status = 0;

    if (fd < 0)
        return tool_fail_system(tool, errno, dir);
    if (fsync(fd) < 0)
        status = tool_fail_system(tool, errno, dir);
    close(fd);
    return status;
}

int pki_write(struct tool *tool, const char *dir, const char *name, const gnutls_datum_t *pem,
              mode_t mode)
{
    char path[PATH_ROOM];

    if (pki_path(tool, dir, name, path, sizeof(path)) < 0 || write_new(tool, path, pem, mode) < 0)
        return -1;
    return sync_directory(tool, dir);
}

int pki_replace(struct tool *tool, const char *dir, const char *name, const gnutls_datum_t *pem)
{
    char path[PATH_ROOM], hidden[PATH_ROOM];

    if (pki_path(tool, dir, name, path, sizeof(path)) < 0 ||
        pki_path(tool, dir, ".new.pem", hidden, sizeof(hidden)) < 0)
        return -1;
    if (unlink(hidden) < 0 && errno != ENOENT)
        return tool_fail_system(tool, errno, hidden);
    if (write_new(tool, hidden, pem, 0644) < 0)
        return -1;
    if (rename(hidden, path) < 0) {
        tool_fail_system(tool, errno, path);
        unlink(hidden);
        return -1;
    }
    return sync_directory(tool, dir);
}
