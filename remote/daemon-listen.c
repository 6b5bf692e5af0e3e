/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's listening sockets: those that systemd has passed, and those that the configuration
 * names. A UNIX socket that nobody listens on any more is replaced; one that is in use is not.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "core/fd.h"
#include "daemon-private.h"

#define DEFAULT_PATH "/run/virstream/virstreamd.sock"

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

static const char *const kind_names[] = {
    [VST_LISTEN_UNIX] = "unix",
    [VST_LISTEN_TCP] = "tcp",
    [VST_LISTEN_TLS] = "tls",
};

/* ---- UNIX sockets ---- */

static int set_path(struct sockaddr_un *address, const char *path, struct vst_error *ret_err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (vst_address_check_unix(path, ret_err) < 0)
        return -1;
    memcpy(address->sun_path, path, strlen(path) + 1);
    return 0;
}

/* Whether the path may be taken: there is nothing, or a socket that nobody listens on. */
static int clear_path(int fd, const struct sockaddr_un *address, struct vst_error *ret_err)
{
    struct stat st;

    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : vst_error_system(ret_err, errno, "%s", address->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return vst_error_set(ret_err, VST_ERR_EXISTS, "%s is there, and is no socket",
                             address->sun_path);
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return vst_error_set(ret_err, VST_ERR_BUSY, "%s: another process listens there",
                             address->sun_path);
    if (errno != ECONNREFUSED || unlink(address->sun_path) < 0)
        return vst_error_system(ret_err, errno, "%s", address->sun_path);
    return 0;
}

static int remember(struct daemon *daemon, const char *path, struct vst_error *ret_err)
{
    struct made_socket *made =
        reallocarray(daemon->made, daemon->made_count + 1, sizeof(*daemon->made));
    struct stat st;

    if (!made)
        return vst_error_no_memory(ret_err);
    daemon->made = made;
    /* Whoever is who he is may connect: what he may do is decided by his uid. */
    if (chmod(path, 0666) < 0 || lstat(path, &st) < 0)
        return vst_error_system(ret_err, errno, "%s", path);
    made[daemon->made_count] = (struct made_socket){strdup(path), st.st_dev, st.st_ino};
    return made[daemon->made_count++].path ? 0 : vst_error_no_memory(ret_err);
}

int vst_daemon_listen_unix(struct daemon *daemon, const char *path, int *ret_fd,
                           struct vst_error *ret_err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;
    int status = -1;

    if (fd < 0)
        return vst_error_system(ret_err, errno, "socket");
    if (set_path(&address, path, ret_err) == 0 && clear_path(fd, &address, ret_err) == 0)
        status =
            bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, BACKLOG) == 0
                ? remember(daemon, path, ret_err)
                : vst_error_system(ret_err, errno, "%s: cannot listen", path);
    if (status < 0)
        vst_close(&fd);
    else
        *ret_fd = fd;
    return status;
}

void vst_daemon_remove_sockets(struct daemon *daemon)
{
    struct stat st;

    for (size_t i = 0; i < daemon->made_count; i++) {
        struct made_socket *made = &daemon->made[i];

        if (made->path && lstat(made->path, &st) == 0 && st.st_dev == made->device &&
            st.st_ino == made->inode)
            unlink(made->path);
        free(made->path);
    }
    free(daemon->made);
    daemon->made = NULL;
    daemon->made_count = 0;
}

/* ---- TCP ---- */

int vst_daemon_listen_address(const char *text, int *ret_fd, struct vst_error *ret_err)
{
    static const int on = 1, off = 0;
    struct vst_address address;
    int fd;

    if (vst_address_parse(text, &address, ret_err) < 0)
        return -1;
    fd = socket(address.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vst_error_system(ret_err, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address.socket.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, text[0] == '*' ? &off : &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address.socket, address.length) == 0 &&
        listen(fd, BACKLOG) == 0) {
        *ret_fd = fd;
        return 0;
    }
    vst_error_system(ret_err, errno, "%s: cannot listen", text);
    vst_close(&fd);
    return -1;
}

/* ---- all of them ---- */

static void log_listening(struct daemon *daemon, enum vst_listen_kind kind, const char *name)
{
    vst_log_write(daemon->log, VST_LOG_NOTICE, NULL, "listening on %s (%s)", name,
                  kind_names[kind]);
}

/* Takes *fd. */
static int add(struct daemon *daemon, enum vst_listen_kind kind, int *fd, const char *name,
               struct vst_error *ret_err)
{
    int status = vst_server_listen(daemon->server, kind, fd, name, ret_err);

    vst_close(fd);
    if (status == 0)
        log_listening(daemon, kind, name);
    return status;
}

/* What systemd calls its socket `at`; the names stand in a row, with colons between them. */
static const char *name_of_passed(const struct daemon *daemon, int at, int *ret_length)
{
    const char *name = daemon->fd_names;

    for (; at > 0; at--) {
        name += strcspn(name, ":");
        name += *name == ':';
    }
    *ret_length = (int)strcspn(name, ":");
    return name;
}

static bool is_named(const struct daemon *daemon, int at, const char *name)
{
    int length;
    const char *given = name_of_passed(daemon, at, &length);

    return strlen(name) == (size_t)length && memcmp(given, name, (size_t)length) == 0;
}

bool vst_daemon_listens(const struct daemon *daemon, enum vst_listen_kind kind)
{
    for (int i = 0; i < daemon->fd_count; i++)
        if (is_named(daemon, i, kind_names[kind]))
            return true;
    return kind == VST_LISTEN_TLS ? daemon->config->tls : daemon->config->tcp;
}

/* What systemd has passed says by its name what it is for; a UNIX socket needs none. */
static int kind_of_passed(const struct daemon *daemon, int at)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(address);

    getsockname(VST_LISTEN_FDS_FIRST + at, (struct sockaddr *)&address, &length);
    if (address.ss_family == AF_UNIX)
        return VST_LISTEN_UNIX;
    for (int kind = VST_LISTEN_TCP; kind <= VST_LISTEN_TLS; kind++)
        if (is_named(daemon, at, kind_names[kind]))
            return kind;
    return -1;
}

static int check_passed(const struct daemon *daemon, int at, int kind, struct vst_error *ret_err)
{
    const char *name;
    int length;

    if (kind < 0) {
        name = name_of_passed(daemon, at, &length);
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "systemd has passed a socket named `%.*s`; FileDescriptorName= must "
                             "be tcp or tls",
                             length, name);
    }
    if (kind == VST_LISTEN_TCP && !daemon->config->mechanisms)
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "a tcp socket needs [sasl] mechanisms: without TLS nothing else "
                             "tells who a client is");
    return 0;
}

static int add_passed(struct daemon *daemon, struct vst_error *ret_err)
{
    for (int i = 0; i < daemon->fd_count; i++) {
        int fd = VST_LISTEN_FDS_FIRST + i, kind = kind_of_passed(daemon, i);

        if (check_passed(daemon, i, kind, ret_err) < 0 ||
            add(daemon, (enum vst_listen_kind)kind, &fd, "a socket of systemd's", ret_err) < 0)
            return -1;
    }
    return 0;
}

static int add_unix(struct daemon *daemon, const char *path, struct vst_error *ret_err)
{
    int fd;

    return vst_daemon_listen_unix(daemon, path, &fd, ret_err) < 0
               ? -1
               : add(daemon, VST_LISTEN_UNIX, &fd, path, ret_err);
}

static int add_addresses(struct daemon *daemon, enum vst_listen_kind kind, char **list,
                         struct vst_error *ret_err)
{
    for (size_t i = 0; list && list[i]; i++) {
        int fd;

        if (vst_daemon_listen_address(list[i], &fd, ret_err) < 0 ||
            add(daemon, kind, &fd, list[i], ret_err) < 0)
            return -1;
    }
    return 0;
}

int vst_daemon_listen(struct daemon *daemon, struct vst_error *ret_err)
{
    const struct vst_config *config = daemon->config;
    bool nothing = !config->unix_paths && !config->tcp && !config->tls && !daemon->fd_count;

    if (add_passed(daemon, ret_err) < 0)
        return -1;
    for (size_t i = 0; config->unix_paths && config->unix_paths[i]; i++)
        if (add_unix(daemon, config->unix_paths[i], ret_err) < 0)
            return -1;
    if (nothing && add_unix(daemon, DEFAULT_PATH, ret_err) < 0)
        return -1;
    if (add_addresses(daemon, VST_LISTEN_TCP, config->tcp, ret_err) < 0)
        return -1;
    return add_addresses(daemon, VST_LISTEN_TLS, config->tls, ret_err);
}
