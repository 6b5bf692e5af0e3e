/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a connection tells of itself: what the client has counted, and what its server says.
 */
#include <json-c/json.h>

#include "client-private.h"
#include "message-private.h"

struct remote_stats {
    char *uri;
    char *mechanism;
    struct vst_stats_result *server;
    uint64_t received, sent, frames_in, frames_out, dropped, stalls, windows, held, most_held,
        streams, round_trip_us;
};

#define TEXT(name, member)                                                     \
    {                                                                          \
        name, VST_JSON_STRING, .offset = offsetof(struct remote_stats, member) \
    }
#define NUMBER(name, member)                                                                      \
    {                                                                                             \
        name, VST_JSON_NUMBER, .offset = offsetof(struct remote_stats, member), .max = UINT64_MAX \
    }

static const struct vst_json_member members[] = {
    TEXT("uri", uri),
    TEXT("login", mechanism),
    NUMBER("round-trip-us", round_trip_us),
    NUMBER("streams", streams),
    NUMBER("received", received),
    NUMBER("sent", sent),
    NUMBER("frames-in", frames_in),
    NUMBER("frames-out", frames_out),
    NUMBER("dropped", dropped),
    NUMBER("stalls", stalls),
    NUMBER("windows", windows),
    NUMBER("held", held),
    NUMBER("most-held", most_held),
    {"server", VST_JSON_STRUCT, .table = &vst_stats_result_table,
     .offset = offsetof(struct remote_stats, server)},
};

static const struct vst_json_table table = {VST_JSON_TABLE(members, remote_stats)};

char *vst_remote_stats_print(const struct remote *remote, struct vst_stats_result *server)
{
    struct vst_mux_stats mux = {0};
    struct remote_stats stats;
    struct json_object *object;
    char *text;

    if (remote->mux)
        vst_mux_get_stats(remote->mux, &mux);
    stats = (struct remote_stats){
        .uri = remote->conn->uri->text,
        .mechanism = remote->mechanism,
        .server = server,
        .received = mux.received,
        .sent = mux.sent,
        .frames_in = mux.frames_in,
        .frames_out = mux.frames_out,
        .dropped = mux.dropped,
        .stalls = mux.stalls,
        .windows = mux.windows,
        .held = mux.held,
        .most_held = mux.most_held,
        .streams = mux.streams,
        .round_trip_us = (uint64_t)mux.round_trip_us,
    };
    object = vst_json_encode(&table, &stats, NULL);
    text = object ? vst_json_print(object, NULL) : NULL;
    json_object_put(object);
    return text;
}
