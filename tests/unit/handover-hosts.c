/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hosts of the world of the hand-over: disks, QEMUs and the link as they are, troubles
 * included, and the rules that must hold. What happens when is handover-world.c's.
 */
#include "handover-hosts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const unsigned char world_token[VST_HANDOVER_ID] = {1, 2, 3, 4};

const char *world_trouble_text(enum world_trouble trouble)
{
#define TEXT(name, text) text,
    static const char *const texts[] = {WORLD_TROUBLES(TEXT)};

    return texts[trouble];
}

/* ---- chance ---- */

unsigned world_chance(struct world *world, unsigned below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (unsigned)((world->random >> 11) % below);
}

/* Whether this trouble comes now; it is counted. */
bool world_trouble(struct world *world, enum world_trouble kind, unsigned one_in)
{
    unsigned had = 0;

    if (world->mended || !(world->allowed >> kind & 1) || world_chance(world, one_in))
        return false;
    for (unsigned i = 0; i < WORLD_TROUBLE_COUNT; i++)
        had += world->result->troubles[i];
    if (had >= world->most)
        return false;
    world->result->troubles[kind]++;
    if (world->print)
        fprintf(stderr, "  * %s\n", world_trouble_text(kind));
    return true;
}

/* ---- rules ---- */

void world_say(struct world *world, const char *format, ...)
{
    va_list args;

    if (!world->print)
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

const char *world_state(const struct host *host)
{
    return host->machine.table->words[host->machine.state].name;
}

void world_rule(struct world *world, bool kept, const char *text)
{
    if (kept || world->result->outcome == WORLD_BROKEN)
        return;
    world->result->outcome = WORLD_BROKEN;
    snprintf(world->result->text, sizeof(world->result->text), "%s (source %s, destination %s)",
             text, world_state(&world->host[SOURCE]), world_state(&world->host[DESTINATION]));
}

bool world_source_runs(const struct world *world)
{
    return world->source == S_RUN || world->source == S_MIGRATING;
}

static bool in(const struct host *host, const char *state)
{
    return strcmp(world_state(host), state) == 0;
}

/* A restart begins with what the disk says: what is over would not be. */
static bool is_stale(const struct host *host)
{
    if (!host->present)
        return false;
    if (in(host, "DESTINATION_RUNNING"))
        return host->disk != VST_HANDOVER_RECORD_RUNNING;
    return vst_handover_over(&host->machine) && host->disk != VST_HANDOVER_RECORD_DONE &&
           host->disk != VST_HANDOVER_RECORD_NOTHING;
}

void world_look(struct world *world)
{
    world_rule(world, !is_stale(&world->host[SOURCE]) && !is_stale(&world->host[DESTINATION]),
               "what is over is not over on the disk");
    world_rule(world, !world_source_runs(world) || world->destination != D_RUN || world->taken_back,
               "the guest runs twice");
    world_rule(world,
               world->source != S_GONE || world->destination == D_RUN || world->killed_source ||
                   world->killed_destination || world->gave_to_destination,
               "the guest is gone, and nobody has killed a QEMU");
    world_rule(world,
               !world->lacks || world->source != S_GONE || world->killed_source ||
                   world->destination != D_RUN || world->gave_to_destination,
               "memory is gone that the guest lacks, and nobody has killed a QEMU");
}

static void source_resumes(struct world *world)
{
    world_rule(world, !world->destination_ran || world->gave_to_source,
               "the source goes on after the guest has run on the destination");
    if (world->source > S_MIGRATING)
        world->source_resumed = true;
    world->source = S_RUN;
}

static void destination_runs(struct world *world)
{
    world_rule(world, world->destination == D_LOADED, "cont before QEMU has completed");
    world_rule(world, (world->ended || world->post_copy) && !world->damaged,
               "a guest runs that was not verified");
    world_rule(world, !world->source_resumed || world->gave_to_destination || world->taken_back,
               "an old copy runs, after the guest has gone on at the source");
    world->destination_ran = true;
    world->destination = D_RUN;
}

/* Whoever has been told, or after a restart will know, that there is a whole copy relies on it. */
static void keep(struct world *world)
{
    if (world->copy != RELEASED)
        world->copy = KEPT;
}

/* So does who asks for it before that, because he has none any more. */
static void ask(struct world *world)
{
    if (world->copy == NO_COPY)
        world->copy = ASKED;
}

bool world_keeps(const struct world *world)
{
    return world->copy == KEPT || world->copy == ASKED;
}

void world_release(struct world *world)
{
    world->copy = RELEASED;
}

void world_store(struct world *world, enum vst_handover_role role, enum vst_handover_record record,
                 unsigned peer)
{
    world->host[role].disk = record;
    world->host[role].disk_peer = (unsigned char)peer;
    if (record == VST_HANDOVER_RECORD_LOADED)
        keep(world);
}

/* ---- queues ---- */

void world_push(struct world *world, struct queue *queue, unsigned item)
{
    world_rule(world, queue->count < MOST_QUEUED, "a queue of the world is full");
    if (queue->count < MOST_QUEUED)
        queue->item[queue->count++] = (unsigned char)item;
}

unsigned world_pop(struct queue *queue)
{
    unsigned item = queue->item[0];

    memmove(queue->item, queue->item + 1, --queue->count);
    return item;
}

/* What QEMU says, to a daemon that is there. */
void world_tell(struct world *world, enum vst_handover_role role, enum vst_handover_event event)
{
    if (world->host[role].up && world->host[role].present)
        world_push(world, &world->host[role].events, event);
}

/* ---- the link, and the stream in it ---- */

void world_break_stream(struct world *world)
{
    if (world->stream != NO_STREAM)
        world->broken = true;
}

void world_end_session(struct world *world)
{
    if (!world->session)
        return;
    world->session = false;
    world->host[SOURCE].told_down = world->host[DESTINATION].told_down = false;
    world_break_stream(world);
}

static void send_message(struct world *world, enum vst_handover_role role,
                         enum vst_handover_event what)
{
    enum vst_handover_role to = 1 - role;
    struct message *message = &world->message[world->messages];

    if (what == VST_HANDOVER_LOADED && !world->post_copy)
        keep(world);
    if (what == VST_HANDOVER_ABORT)
        world_release(world);
    if (!world->session && role == SOURCE && !world->cut && world->host[DESTINATION].up) {
        world->session = true;
        world_push(world, &world->host[SOURCE].events, VST_HANDOVER_LINK_UP);
    }
    if (!world->session) {
        if (role == SOURCE)
            world_push(world, &world->host[SOURCE].events, VST_HANDOVER_LINK_DOWN);
        return;
    }
    if (world->dead_way[to] || world->messages == MOST_MESSAGES ||
        world_trouble(world, WORLD_LOSE, 4))
        return;
    message->to = to;
    message->what = what;
    memcpy(message->from, world->host[role].id, VST_HANDOVER_ID);
    world->messages++;
}

/* ---- a step of a machine ---- */

void world_act(struct world *world, enum vst_handover_role role,
               const struct vst_handover_actions *actions)
{
    struct host *host = &world->host[role];

    if (actions->entered)
        host->timer = actions->timer_ms != 0;
    if (actions->entered && in(host, "DESTINATION_COMMITTING"))
        ask(world);
    if (actions->write) {
        world_push(world, &host->writes, actions->write);
        world_push(world, &host->peers, host->machine.peer[0]);
    }
    if (actions->qemu)
        world_push(world, &host->commands, actions->qemu);
    if (actions->send)
        send_message(world, role, actions->send);
    world->told_conflict |= actions->tell == VST_HANDOVER_TELL_CONFLICT;
    world_say(world, "  %-24s write %s, send %s, command %u, %s\n", world_state(host),
              vst_handover_record_name(actions->write), vst_handover_event_name(actions->send),
              actions->qemu, vst_handover_told_text(actions->tell));
}

void world_feed(struct world *world, enum vst_handover_role role, enum vst_handover_event event,
                const unsigned char *from)
{
    struct vst_handover_actions actions;

    world_say(world, "%s: %s\n", role == SOURCE ? "source" : "destination",
              vst_handover_event_name(event));
    world_rule(world, vst_handover_feed(&world->host[role].machine, event, from, &actions) == 0,
               "an event that a machine does not know");
    world_act(world, role, &actions);
}

void world_crash(struct world *world, enum vst_handover_role role)
{
    struct host *host = &world->host[role];
    unsigned durable = world_chance(world, host->writes.count + 1);

    while (durable--)
        world_store(world, role, world_pop(&host->writes), world_pop(&host->peers));
    host->writes.count = host->peers.count = host->events.count = 0;
    host->up = host->present = host->timer = false;
    if (role == DESTINATION && host->disk == VST_HANDOVER_RECORD_PREPARED && world->copy == ASKED)
        world->copy = NO_COPY;
    world_end_session(world);
}

void world_restart(struct world *world, enum vst_handover_role role)
{
    struct host *host = &world->host[role];
    struct vst_handover_actions actions;

    world_say(world, "%s: restarted with %s\n", role == SOURCE ? "source" : "destination",
              vst_handover_record_name(host->disk));
    host->up = true;
    host->told_down = true;
    vst_handover_start(&host->machine, role, world_token);
    memset(host->machine.peer, host->disk_peer, VST_HANDOVER_ID);
    host->present = vst_handover_recover(&host->machine, host->disk, &actions) == 0;
    if (host->present)
        world_act(world, role, &actions);
}

/* ---- QEMU ---- */

/* A new stream, where the old one is broken and somebody is there to take it. */
static void source_serve(struct world *world)
{
    bool open = world->session && world->host[DESTINATION].present && world->lacks &&
                world->destination != D_GONE;

    if (world->source == S_POST)
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_COMPLETED);
    else if (!world->broken)
        return;
    else if (open)
        world->broken = false;
    else
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_FAILED);
}

void world_source_command(struct world *world, enum vst_handover_command command)
{
    if (world->source == S_GONE) {
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_GONE);
    } else if (command == VST_HANDOVER_QEMU_SERVE) {
        source_serve(world);
    } else if (command == VST_HANDOVER_QEMU_MIGRATE) {
        bool open = world->session && world->destination == D_INCOMING && !world->stream;

        world->source = S_MIGRATING;
        world->stream = OPEN;
        world->broken = !open;
    } else if (command == VST_HANDOVER_QEMU_CONTINUE) {
        if (world->source == S_PAUSED)
            world->source = S_DEVICE;
    } else if (command == VST_HANDOVER_QEMU_RESUME) {
        if (world_trouble(world, WORLD_FAIL, 8)) {
            world_tell(world, SOURCE, VST_HANDOVER_QEMU_REFUSED);
            return;
        }
        world_break_stream(world);
        source_resumes(world);
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_RESUMED);
    } else { /* END */
        world_rule(world, world->destination_ran || world->gave_to_destination,
                   "the source ends its QEMU, and the guest has not run on the destination");
        world->source = S_GONE;
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_GONE);
    }
}

static void destination_stop(struct world *world)
{
    if (world->destination != D_RUN)
        return;
    world_rule(world, world->taken_back, "the destination stops a guest that runs");
    world->destination = D_LOADED;
}

static void destination_end(struct world *world)
{
    world_rule(world, world->destination != D_RUN || world->taken_back,
               "the destination ends a guest that runs");
    world_rule(world, world->destination != D_LOADED || !world_keeps(world),
               "the destination ends a whole copy, and nobody has given it up");
    if (world->destination != D_NONE)
        world->destination = D_GONE;
    world_break_stream(world);
    world_tell(world, DESTINATION, VST_HANDOVER_QEMU_GONE);
}

static void tell_it_runs(struct world *world)
{
    world_tell(world, DESTINATION,
               world->lacks ? VST_HANDOVER_QEMU_LACKS : VST_HANDOVER_QEMU_RESUMED);
}

/* That it was never told to run is known, or not any more. */
static void tell_it_is_gone(struct world *world)
{
    bool known = !world->destination_ran && world_chance(world, 2);

    world_tell(world, DESTINATION, known ? VST_HANDOVER_QEMU_REFUSED : VST_HANDOVER_QEMU_GONE);
}

static void destination_adopt(struct world *world)
{
    world_rule(world, world->destination != D_INCOMING, "committed, and QEMU still loads");
    if (world->destination == D_RUN)
        tell_it_runs(world);
    else if (world->destination == D_LOADED)
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_PAUSED);
    else
        tell_it_is_gone(world);
}

static void destination_rejoin(struct world *world)
{
    enum vst_handover_event there =
        world->lacks ? VST_HANDOVER_QEMU_LACKS : VST_HANDOVER_QEMU_COMPLETED;

    world_tell(world, DESTINATION, world->destination == D_RUN ? there : VST_HANDOVER_QEMU_GONE);
}

void world_destination_command(struct world *world, enum vst_handover_command command)
{
    if (command == VST_HANDOVER_QEMU_CHECK) {
        bool taken = world->destination != D_NONE; /* the name of the guest */

        world_tell(world, DESTINATION,
                   taken || world_trouble(world, WORLD_FAIL, 8) ? VST_HANDOVER_CHECK_FAILED
                                                                : VST_HANDOVER_CHECKED);
    } else if (command == VST_HANDOVER_QEMU_SPAWN) {
        bool good = !world_trouble(world, WORLD_FAIL, 8);

        if (good && world->destination == D_NONE)
            world->destination = D_INCOMING;
        world_tell(world, DESTINATION, good ? VST_HANDOVER_QEMU_READY : VST_HANDOVER_QEMU_FAILED);
    } else if (command == VST_HANDOVER_QEMU_ADOPT) {
        destination_adopt(world);
    } else if (command == VST_HANDOVER_QEMU_REJOIN) {
        destination_rejoin(world);
    } else if (command == VST_HANDOVER_QEMU_STOP) {
        destination_stop(world);
    } else if (command == VST_HANDOVER_QEMU_END) {
        destination_end(world);
    } else if (world->destination == D_GONE || world->destination == D_NONE) { /* CONT */
        tell_it_is_gone(world);
    } else if (world->destination != D_RUN && world_trouble(world, WORLD_FAIL, 8)) {
        world_release(world);
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_REFUSED);
    } else {
        if (world->destination != D_RUN)
            destination_runs(world);
        tell_it_runs(world);
    }
}

bool world_source_qemu_moves(struct world *world)
{
    bool open = !world->broken && !world->dead_way[DESTINATION];

    if (world->source >= S_MIGRATING && world->source <= S_DEVICE && world->broken) {
        source_resumes(world);
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_FAILED);
    } else if (world->source == S_MIGRATING && open) {
        world->source = S_PAUSED;
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_PAUSED);
    } else if (world->source == S_DEVICE && world->stream == OPEN && open && world->post_copy) {
        world->source = S_SERVES;
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_SWITCHED);
    } else if (world->source == S_SERVES && world->stream == ARRIVED && !world->broken &&
               !world->dead_way[SOURCE]) {
        world->stream = ACKED;
        world->source = S_POST;
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_COMPLETED);
    } else if (world->source == S_DEVICE && world->stream == OPEN && open) {
        world->stream = ARRIVED;
        world->damaged = world_trouble(world, WORLD_DAMAGE, 2);
    } else if (world->source == S_DEVICE && world->stream == ACKED) {
        world->source = S_POST;
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_COMPLETED);
    } else {
        return false;
    }
    return true;
}

/* The device state, and after it the memory that was lacking. */
static bool post_copy_moves(struct world *world)
{
    if (world->source != S_SERVES || world->stream != OPEN || world->broken ||
        world->dead_way[DESTINATION])
        return false;
    if (world->destination == D_INCOMING) {
        world->destination = D_LOADED;
        world->lacks = true;
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_SWITCHED);
    } else if (world->lacks && world->destination != D_GONE && !world_chance(world, 4)) {
        world->lacks = false;
        world->stream = ARRIVED;
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_COMPLETED);
    }
    return true;
}

bool world_destination_qemu_moves(struct world *world)
{
    if (post_copy_moves(world))
        return true;
    if (world->destination == D_INCOMING && world->stream >= ARRIVED) {
        world->destination = D_LOADED;
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_COMPLETED);
    } else if (world->destination == D_INCOMING && world->broken) {
        world->destination = D_GONE;
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_FAILED);
    } else if (world->destination == D_LOADED && world->stream == ARRIVED && !world->broken &&
               !world->post_copy && !world->dead_way[SOURCE]) {
        world->stream = ACKED;
    } else {
        return false;
    }
    return true;
}

/* The daemons' part in the stream: END, or that nothing moves any more. */
bool world_stream_moves(struct world *world)
{
    struct host *source = &world->host[SOURCE], *destination = &world->host[DESTINATION];

    if (world->stream >= (world->post_copy ? ACKED : ARRIVED) && !world->ended &&
        (!world->broken || world_chance(world, 2)) && destination->present) {
        world->ended = true;
        world_tell(world, DESTINATION,
                   world->damaged ? VST_HANDOVER_STREAM_FAILED : VST_HANDOVER_STREAM_VERIFIED);
        return true;
    }
    if (destination->present && !world->ended && !destination->events.count &&
        (world->broken || world->dead_way[DESTINATION] || !world->session) &&
        in(destination, "DESTINATION_LOADING")) {
        world_tell(world, DESTINATION, VST_HANDOVER_STREAM_FAILED);
        return true;
    }
    if (destination->present && world->ended && !world->damaged && world->broken && !world->late &&
        !destination->events.count) {
        world->late = true;
        world_tell(world, DESTINATION, VST_HANDOVER_STREAM_FAILED);
        return true;
    }
    if (destination->present && world->post_copy && world->broken && !world->ended &&
        !destination->events.count &&
        (in(destination, "DESTINATION_SWITCHED") || in(destination, "DESTINATION_TAKING"))) {
        world_tell(world, DESTINATION, VST_HANDOVER_STREAM_FAILED);
        return true;
    }
    if (source->present && (world->broken || world->dead_way[0] || world->dead_way[1]) &&
        !source->commands.count && !source->events.count && in(source, "SOURCE_SERVING")) {
        world_break_stream(world);
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_FAILED); /* or no progress */
        return true;
    }
    if (source->present && (world->dead_way[DESTINATION] || !world->stream) &&
        in(source, "SOURCE_MOVING") && !source->commands.count && !source->events.count) {
        world_tell(world, SOURCE, VST_HANDOVER_STALLED);
        return true;
    }
    return false;
}
