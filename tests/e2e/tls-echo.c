/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tls-interop.sh: accepts on a TCP port of this host by the TLS layer, one connection after the
 * other, and sends back what comes. Prints the port, and a line about each connection:
 * "CN=alice TLS1.3 AES-256-GCM" when it was accepted, "end" or the error when it is over.
 *
 *     tls-echo DIRECTORY [optional]
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/pump.h"
#include "remote/tls.h"

enum { LIMIT = 1024 * 1024, GUARD_SECONDS = 250 };

static struct event_base *base;
static struct vst_tls_creds *creds;

static void check(bool good, const char *what, const struct vst_error *err)
{
    if (good)
        return;
    printf("%s: %s\n", what, err->text);
    exit(1);
}

static int listen_here(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &length) < 0) {
        perror("listen");
        exit(1);
    }
    printf("%d\n", ntohs(at.sin_port));
    return fd;
}

static void stop(void *opaque)
{
    (void)opaque;
    event_base_loopbreak(base);
}

static bool open_it(struct vst_channel *tls)
{
    enum vst_io io;

    vst_channel_listen(tls, VST_READ, stop, NULL);
    vst_channel_want(tls, VST_READ, true);
    while ((io = vst_channel_open(tls)) == VST_IO_AGAIN)
        event_base_dispatch(base);
    vst_channel_want(tls, VST_READ, false);
    if (io == VST_IO_FAIL)
        printf("%s\n", vst_channel_error(tls)->text);
    else
        printf("%s %s\n",
               vst_tls_get_peer(tls)->subject ? vst_tls_get_peer(tls)->subject : "nobody",
               vst_tls_get_cipher(tls));
    return io == VST_IO_OK;
}

static void over(void *opaque, const struct vst_error *err)
{
    (void)opaque;
    printf("%s\n", err ? err->text : "end");
    event_base_loopbreak(base);
}

static void echo(int fd, bool optional)
{
    struct vst_tls_options opt = {.role = VST_TLS_SERVER, .want_peer = !optional};
    struct vst_error err = {0};
    struct vst_channel *tls = vst_channel_fd(base, &fd, &err);
    struct vst_pump *pump;

    check(tls, "descriptor", &err);
    tls = vst_channel_tls(tls, creds, &opt, &err);
    check(tls, "tls", &err);
    if (open_it(tls)) {
        pump = vst_pump_new(base, LIMIT, over, NULL, &err);
        check(pump, "pump", &err);
        vst_pump_set_source(pump, tls);
        vst_pump_set_sink(pump, tls);
        event_base_dispatch(base);
        vst_pump_free(&pump);
    }
    vst_channel_free(&tls);
}

int main(int argc, char **argv)
{
    struct vst_tls_files files = {0};
    struct vst_error err = {0};
    int listener;

    if (argc < 2)
        return 2;
    alarm(GUARD_SECONDS);
    setvbuf(stdout, NULL, _IOLBF, 0);
    base = event_base_new();
    check(vst_tls_find_files(VST_TLS_SERVER, argv[1], &files, &err) == 0, "files", &err);
    creds = vst_tls_creds_load(VST_TLS_SERVER, &files, &err);
    check(creds, "certificates", &err);
    vst_tls_files_clear(&files);
    listener = listen_here();
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0)
            echo(fd, argc > 2);
    }
}
