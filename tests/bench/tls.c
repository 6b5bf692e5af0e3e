/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file through TLS into nothing: by the TLS layer and a pump on either side, and by GnuTLS alone.
 *
 *     tls [MIB [ROUNDS]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/pump.h"
#include "race.h"
#include "tests/unit/pki.h"

static struct event_base *base;

static void moved(void *opaque, const struct vst_error *err)
{
    (void)opaque;
    if (err) {
        fprintf(stderr, "pump: %s\n", err->text);
        exit(1);
    }
    event_base_loopbreak(base);
}

static struct vst_channel *make_tls(enum vst_tls_role role, int fd)
{
    struct vst_tls_options opt = {.role = role, .want_peer = true};
    bool client = role == VST_TLS_CLIENT;
    struct vst_tls_creds *creds = pki_creds(role, "ca", client ? "alice" : "host", NULL);
    struct vst_channel *tls;

    opt.host = client ? "127.0.0.1" : NULL;
    tls = vst_channel_tls(vst_channel_fd(base, &fd, NULL), creds, &opt, NULL);
    vst_tls_creds_unref(&creds);
    return tls;
}

static void opened(void *opaque)
{
    (void)opaque;
    event_base_loopbreak(base);
}

static void open_now(struct vst_channel *tls)
{
    enum vst_io io;

    vst_channel_listen(tls, VST_READ, opened, NULL);
    vst_channel_want(tls, VST_READ, true);
    while ((io = vst_channel_open(tls)) == VST_IO_AGAIN)
        event_base_dispatch(base);
    if (io != VST_IO_OK)
        moved(NULL, vst_channel_error(tls));
    vst_channel_want(tls, VST_READ, false);
}

static void pump(struct vst_channel *source, struct vst_channel *sink)
{
    struct vst_pump *moving = vst_pump_new(base, 1024 * 1024, moved, NULL, NULL);
    struct vst_pump_stats stats;

    vst_pump_set_source(moving, source);
    vst_pump_set_sink(moving, sink);
    event_base_dispatch(base);
    vst_pump_get_stats(moving, &stats);
    if (stats.delivered != race.bytes)
        race_die("not all has arrived");
    vst_pump_free(&moving);
}

static void send_ours(int fd)
{
    struct vst_channel *tls, *source;

    base = event_base_new();
    tls = make_tls(VST_TLS_CLIENT, fd);
    open_now(tls);
    source = vst_channel_any_fd(base, &race.file, NULL);
    pump(source, tls);
    vst_channel_free(&source);
    vst_channel_free(&tls);
    event_base_free(base);
}

static void take_ours(int fd)
{
    struct vst_channel *tls, *sink;

    base = event_base_new();
    tls = make_tls(VST_TLS_SERVER, fd);
    open_now(tls);
    sink = vst_channel_null(base, NULL);
    pump(tls, sink);
    vst_channel_free(&sink);
    vst_channel_free(&tls);
    event_base_free(base);
}

int main(int argc, char **argv)
{
    struct racer racers[] = {
        {.name = "channels", .sends = send_ours, .takes = take_ours},
        {.name = "GnuTLS alone", .sends = race_send_gnutls, .takes = race_take_gnutls},
    };

    race_begin(argc, argv, 1024);
    race_run(racers, 2);
    race_compare(&racers[0], &racers[1], "0.90");
    race_end();
    return 0;
}
