/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where certificates are looked for. It only looks whether files are there; reading them is in
 * tls-creds.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tls.h"

/* Directories in which the files are, and what they belong to. `home` says from where it counts. */
enum home { HOME_NONE, HOME_USER, HOME_CONFIG };

struct place {
    enum home home;
    const char *ca;  /* where cacert.pem and cacrl.pem are */
    const char *own; /* where servercert.pem and clientcert.pem are */
    const char *key; /* where serverkey.pem and clientkey.pem are */
};

static const struct place places[] = {
    {HOME_CONFIG, "virstream/pki", "virstream/pki", "virstream/pki"},
    {HOME_NONE, "/etc/virstream/pki", "/etc/virstream/pki", "/etc/virstream/pki"},
    {HOME_USER, ".pki/libvirt", ".pki/libvirt", ".pki/libvirt"},
    {HOME_NONE, "/etc/pki/CA", "/etc/pki/libvirt", "/etc/pki/libvirt/private"},
};

enum { PLACES = sizeof(places) / sizeof(*places), LOOKED = 300 };

/* What is looked for, and what was found of it. */
struct search {
    enum vst_tls_role role;
    const char *directory;
    struct vst_tls_files found;
    char looked[LOOKED]; /* every place, for the error */
};

static char *format(const char *text, ...) __attribute__((format(printf, 1, 2)));

static char *format(const char *text, ...)
{
    char *path = NULL;
    va_list args;
    int status;

    va_start(args, text);
    status = vasprintf(&path, text, args);
    va_end(args);
    return status < 0 ? NULL : path;
}

/* ---- one path ---- */

static const char *role_name(const struct search *search)
{
    return search->role == VST_TLS_CLIENT ? "client" : "server";
}

/* NULL if there is no such place for this user, or no memory: *lost tells. */
static char *directory_of(enum home home, const char *sub, bool *lost)
{
    const char *base = home == HOME_CONFIG ? secure_getenv("XDG_CONFIG_HOME") : NULL;
    const char *user = secure_getenv("HOME");
    char *path;

    if (home == HOME_NONE)
        path = strdup(sub);
    else if (base && base[0] == '/')
        path = format("%s/%s", base, sub);
    else if (!user || user[0] != '/')
        return NULL;
    else
        path = format(home == HOME_CONFIG ? "%s/.config/%s" : "%s/%s", user, sub);
    *lost = !path;
    return path;
}

/* Sets *into to DIRECTORY/NAME if it is there. -1 without memory. */
static int look(const char *directory, const char *who, const char *name, int how, char **into)
{
    char *path = format("%s/%s%s", directory, who, name);

    if (!path)
        return -1;
    if (access(path, how) == 0)
        *into = path;
    else
        free(path);
    return 0;
}

static void note(struct search *search, const char *directory)
{
    size_t used = strlen(search->looked);

    snprintf(search->looked + used, sizeof(search->looked) - used, "%s%s", used ? ", " : "",
             directory);
}

/* ---- the search ---- */

static int look_for_authority(struct search *search, const char *directory)
{
    if (search->found.ca)
        return 0;
    note(search, directory);
    if (look(directory, "ca", "cert.pem", F_OK, &search->found.ca) < 0)
        return -1;
    if (!search->found.ca || search->found.crl)
        return 0;
    return look(directory, "ca", "crl.pem", F_OK, &search->found.crl);
}

/*
 * The two come from one place. A key that only others may read is none for a client; for a server
 * it is, and opening it will say what is wrong.
 */
static int look_for_pair(struct search *search, const char *directory, const char *key_directory)
{
    char *cert = NULL, *key = NULL;
    int status = 0;

    if (search->found.cert)
        return 0;
    status = look(directory, role_name(search), "cert.pem", F_OK, &cert);
    if (status == 0 && cert)
        status = look(key_directory, role_name(search), "key.pem",
                      search->role == VST_TLS_SERVER ? F_OK : R_OK, &key);
    if (cert && key) {
        search->found.cert = cert;
        search->found.key = key;
        return 0;
    }
    free(cert);
    free(key);
    return status;
}

static int look_in(struct search *search, const struct place *place)
{
    bool lost = false;
    char *ca = directory_of(place->home, place->ca, &lost);
    char *own = ca ? directory_of(place->home, place->own, &lost) : NULL;
    char *key = own ? directory_of(place->home, place->key, &lost) : NULL;
    int status = lost ? -1 : 0;

    if (key && (look_for_authority(search, ca) < 0 || look_for_pair(search, own, key) < 0))
        status = -1;
    free(ca);
    free(own);
    free(key);
    return status;
}

static int look_everywhere(struct search *search)
{
    if (search->directory)
        return look_for_authority(search, search->directory) < 0 ||
                       look_for_pair(search, search->directory, search->directory) < 0
                   ? -1
                   : 0;
    for (size_t i = 0; i < PLACES; i++)
        if (look_in(search, &places[i]) < 0)
            return -1;
    return 0;
}

/* ---- the result ---- */

static int check(const struct search *search, struct vst_error *err)
{
    enum vst_side side = search->role == VST_TLS_CLIENT ? VST_SIDE_CLIENT : VST_SIDE_HOST;
    int status = 0;

    if (!search->found.ca)
        status =
            vst_error_set(err, VST_ERR_NOT_FOUND,
                          "TLS: no cacert.pem, the certificate of the authority; looked in %s: "
                          "make one with virstream pki init, or name it (ca=, pkipath=)",
                          search->looked);
    else if (search->role == VST_TLS_SERVER && !search->found.cert)
        status =
            vst_error_set(err, VST_ERR_NOT_FOUND,
                          "TLS: no servercert.pem with its serverkey.pem; looked in %s: make "
                          "them with virstream pki issue --host NAME, or name them (cert, key)",
                          search->looked);
    if (status < 0)
        vst_error_where(err, side, "certificates");
    return status;
}

static int copy(char **into, const char *text)
{
    *into = text ? strdup(text) : NULL;
    return text && !*into ? -1 : 0;
}

int vst_tls_find_files(enum vst_tls_role role, const char *directory, struct vst_tls_files *files,
                       struct vst_error *ret_err)
{
    struct search search = {.role = role, .directory = directory};
    struct vst_error err = {0};

    if (copy(&search.found.ca, files->ca) < 0 || copy(&search.found.cert, files->cert) < 0 ||
        copy(&search.found.key, files->key) < 0 || copy(&search.found.crl, files->crl) < 0 ||
        look_everywhere(&search) < 0)
        vst_error_no_memory(&err);
    else
        check(&search, &err);
    if (vst_error_is_set(&err)) {
        vst_tls_files_clear(&search.found);
        return vst_error_copy(ret_err, &err);
    }
    vst_tls_files_clear(files);
    *files = search.found;
    return 0;
}
