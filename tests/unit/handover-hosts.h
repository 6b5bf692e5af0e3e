/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by the two files of the world of the hand-over only: what is in it, and what its hosts,
 * QEMUs and the link do. See handover-world.h.
 */
#ifndef VST_TESTS_UNIT_HANDOVER_HOSTS_H
#define VST_TESTS_UNIT_HANDOVER_HOSTS_H

#include "core/handover-table.h"
#include "handover-world.h"

#define SOURCE VST_HANDOVER_SOURCE
#define DESTINATION VST_HANDOVER_DESTINATION

enum { MOST_MESSAGES = 8, MOST_QUEUED = 8, TROUBLED_STEPS = 80, MENDED_STEPS = 3000 };

enum source_qemu { S_RUN, S_MIGRATING, S_PAUSED, S_DEVICE, S_SERVES, S_POST, S_GONE };
enum destination_qemu { D_NONE, D_INCOMING, D_LOADED, D_RUN, D_GONE };
/* What has come of the stream: opened, all at the destination, acknowledged at the source. */
enum stream { NO_STREAM, OPEN, ARRIVED, ACKED };

/* Of the guest, at the destination, whole: it is to be kept until the source has given up, or
 * people have, or QEMU cannot run it. */
enum copy { NO_COPY, KEPT, ASKED /* kept, but not known after a restart */, RELEASED };

struct queue {
    unsigned char item[MOST_QUEUED];
    unsigned count;
};

struct host {
    struct vst_handover machine;
    bool up, present;                  /* the daemon; a machine for the token in it */
    bool lost;                         /* for good */
    unsigned char id[VST_HANDOVER_ID]; /* one byte, again and again */
    enum vst_handover_record disk;     /* of the token, the last that is surely there */
    unsigned char disk_peer;           /* in it: the byte of the peer, 0 if that was not known */
    struct queue writes, peers;        /* records on their way, and the peer in each */
    struct queue commands, events;
    bool timer;
    bool told_down; /* the end of the session is known */
};

struct message {
    enum vst_handover_role to;
    enum vst_handover_event what;
    unsigned char from[VST_HANDOVER_ID];
};

struct world {
    struct host host[2];
    enum source_qemu source;
    enum destination_qemu destination;
    enum stream stream;
    bool broken, damaged, ended; /* the stream is; END has been told of */
    bool late;                   /* ... and that its operation has failed, after that */
    bool post_copy;              /* is what this history goes over to */
    bool lacks;                  /* the destination does, memory that only the source has */
    bool session, cut, dead_way[2];
    struct message message[MOST_MESSAGES];
    unsigned messages;
    /* What must never be. */
    bool destination_ran, source_resumed, killed_source, killed_destination;
    bool gave_to_source, gave_to_destination;
    bool taken_back; /* given to the source, by the word of people who could not know */
    bool told_conflict;
    enum copy copy;
    bool mended;
    uint64_t random;
    unsigned allowed, most;
    bool print;
    struct world_result *result;
};

extern const unsigned char world_token[VST_HANDOVER_ID];

/* A number below this. Whether this trouble comes now, one time in so many; it is counted. */
unsigned world_chance(struct world *world, unsigned below);
bool world_trouble(struct world *world, enum world_trouble kind, unsigned one_in);
const char *world_state(const struct host *host);
void world_rule(struct world *world, bool kept, const char *text);
void world_look(struct world *world);
void world_release(struct world *world);
bool world_keeps(const struct world *world);
/* This record is on the disk, with this peer. */
void world_store(struct world *world, enum vst_handover_role role, enum vst_handover_record record,
                 unsigned peer);
void world_push(struct world *world, struct queue *queue, unsigned item);
unsigned world_pop(struct queue *queue);
void world_tell(struct world *world, enum vst_handover_role role, enum vst_handover_event event);
void world_break_stream(struct world *world);
void world_end_session(struct world *world);
void world_act(struct world *world, enum vst_handover_role role,
               const struct vst_handover_actions *actions);
void world_feed(struct world *world, enum vst_handover_role role, enum vst_handover_event event,
                const unsigned char *from);
void world_crash(struct world *world, enum vst_handover_role role);
void world_restart(struct world *world, enum vst_handover_role role);
void world_source_command(struct world *world, enum vst_handover_command command);
void world_destination_command(struct world *world, enum vst_handover_command command);
bool world_source_qemu_moves(struct world *world);
bool world_destination_qemu_moves(struct world *world);
bool world_stream_moves(struct world *world);
bool world_source_runs(const struct world *world);
void __attribute__((format(printf, 2, 3))) world_say(struct world *world, const char *format, ...);

#endif
