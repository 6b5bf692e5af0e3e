/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens when in the world of the hand-over: histories, by chance; see handover-world.h.
 */
#include <string.h>

#include "handover-hosts.h"

/* ---- what can happen next ---- */

static bool deliver(struct world *world)
{
    struct message message;
    struct host *host;
    unsigned at = 0;

    if (!world->messages)
        return false;
    if (world->messages > 1 && world_trouble(world, WORLD_OVERTAKE, 2))
        at = world_chance(world, world->messages);
    message = world->message[at];
    host = &world->host[message.to];
    if (!world_trouble(world, WORLD_REPEAT, 6)) {
        memmove(&world->message[at], &world->message[at + 1],
                (world->messages - at - 1) * sizeof(message));
        world->messages--;
    }
    if (!host->up)
        return true;
    if (!host->present && message.to == DESTINATION) {
        vst_handover_start(&host->machine, DESTINATION, world_token);
        host->present = true;
    }
    if (host->present)
        world_feed(world, message.to, message.what, message.from);
    return true;
}

static bool write_record(struct world *world, enum vst_handover_role role)
{
    struct host *host = &world->host[role];
    struct vst_handover_actions actions;
    enum vst_handover_record record;
    unsigned peer;
    bool good;

    if (!host->up || !host->writes.count)
        return false;
    record = world_pop(&host->writes);
    peer = world_pop(&host->peers);
    good = !world_trouble(world, WORLD_DISK, 6);
    if (good || world_chance(world, 2))
        world_store(world, role, record, peer);
    if (!host->present)
        return true;
    world_say(world, "%s: %s %s\n", role == SOURCE ? "source" : "destination",
              vst_handover_record_name(record), good ? "written" : "not written");
    vst_handover_written(&host->machine, record, good, &actions);
    world_act(world, role, &actions);
    return true;
}

static bool command(struct world *world, enum vst_handover_role role)
{
    struct host *host = &world->host[role];

    if (!host->commands.count)
        return false;
    if (role == SOURCE)
        world_source_command(world, world_pop(&host->commands));
    else
        world_destination_command(world, world_pop(&host->commands));
    return true;
}

static bool event(struct world *world, enum vst_handover_role role)
{
    struct host *host = &world->host[role];
    enum vst_handover_event what;

    if (!host->up || !host->present)
        return false;
    if (host->events.count) {
        what = world_pop(&host->events);
        world_feed(world, role, what, world->host[1 - role].id);
        return true;
    }
    if (!world->session && !host->told_down) {
        host->told_down = true;
        world_feed(world, role, VST_HANDOVER_LINK_DOWN, NULL);
        return true;
    }
    return false;
}

static bool timer(struct world *world, enum vst_handover_role role)
{
    struct host *host = &world->host[role];

    if (!host->up || !host->present || !host->timer)
        return false;
    host->timer = false;
    world_feed(world, role, VST_HANDOVER_TIMER, NULL);
    return true;
}

/* ---- troubles that come by themselves ---- */

static void kill_qemu(struct world *world, enum vst_handover_role role)
{
    if (role == SOURCE && world->source != S_GONE) {
        world->source = S_GONE;
        world->killed_source = true;
        if (world->stream < ACKED)
            world_break_stream(world);
        world_tell(world, SOURCE, VST_HANDOVER_QEMU_GONE);
    }
    if (role == DESTINATION && world->destination != D_NONE && world->destination != D_GONE) {
        world->destination = D_GONE;
        world->killed_destination = true;
        world_break_stream(world);
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_GONE);
    }
}

static void crash_or_restart(struct world *world, enum vst_handover_role role,
                             enum world_trouble kind)
{
    struct host *host = &world->host[role];

    if (host->up && world_trouble(world, kind, 25))
        world_crash(world, role);
    else if (!host->up && !host->lost && !world_chance(world, 8)) {
        if (world_chance(world, 2))
            host->commands.count = 0; /* what QEMU had not read when the daemon died */
        world_restart(world, role);
    }
}

/* A new identity, as it is in the journal; QEMU lives on, or does not. */
static void wipe_destination(struct world *world)
{
    struct host *host = &world->host[DESTINATION];

    world_crash(world, DESTINATION);
    world_release(world);
    host->disk = VST_HANDOVER_RECORD_NOTHING;
    memset(host->id, host->id[0] + 1, sizeof(host->id));
    if (world_chance(world, 2))
        kill_qemu(world, DESTINATION);
}

static void lose_host(struct world *world, enum vst_handover_role role)
{
    world_crash(world, role);
    kill_qemu(world, role);
    world->host[role].lost = true;
}

static void forget_done(struct world *world)
{
    struct host *host = &world->host[DESTINATION];

    if (host->up && host->present && vst_handover_over(&host->machine) && !host->writes.count &&
        world_trouble(world, WORLD_FORGET, 4)) {
        host->present = false;
        host->commands.count = host->events.count = 0;
        host->disk = VST_HANDOVER_RECORD_NOTHING;
    }
}

static bool in_state(const struct host *host, const char *name)
{
    return host->present && strcmp(world_state(host), name) == 0;
}

/* Not one that is known to run there, and has all it needs; nor where the destination has lost its
 * journal, or will: it does not know then what it runs, and nobody is told. */
static bool can_be_taken_back(const struct world *world)
{
    const struct host *source = &world->host[SOURCE];

    return !world->taken_back && world->source != S_GONE && !world->result->troubles[WORLD_WIPE] &&
           (world->destination != D_RUN || world->lacks) &&
           (in_state(source, "SOURCE_COMMITTING") || in_state(source, "SOURCE_DOUBT") ||
            in_state(source, "SOURCE_APART") || in_state(source, "SOURCE_REJOINING"));
}

static void take_back(struct world *world)
{
    world->taken_back = world->gave_to_source = true;
    world_release(world);
    world_feed(world, SOURCE, VST_HANDOVER_RESOLVE_SOURCE, NULL);
}

static void troubles(struct world *world)
{
    struct host *source = &world->host[SOURCE], *destination = &world->host[DESTINATION];

    crash_or_restart(world, SOURCE, WORLD_CRASH_SOURCE);
    crash_or_restart(world, DESTINATION, WORLD_CRASH_DESTINATION);
    forget_done(world);
    if (world_trouble(world, WORLD_KILL_SOURCE, 50))
        kill_qemu(world, SOURCE);
    if (world_trouble(world, WORLD_KILL_DESTINATION, 50))
        kill_qemu(world, DESTINATION);
    if (world_trouble(world, WORLD_CUT, 25)) {
        world->cut = true;
        world_end_session(world);
    } else if (world->cut && !world_chance(world, 8)) {
        world->cut = false;
    }
    if (world_trouble(world, WORLD_ONE_WAY, 40))
        world->dead_way[world_chance(world, 2)] = true;
    if (source->present && world_trouble(world, WORLD_CANCEL, 60))
        world_feed(world, SOURCE, VST_HANDOVER_CANCEL, NULL);
    if (destination->present && world_trouble(world, WORLD_CANCEL, 120)) {
        world_release(world);
        world_feed(world, DESTINATION, VST_HANDOVER_CANCEL, NULL);
    }
    if (world->destination == D_LOADED && world_trouble(world, WORLD_DEAF, 30))
        world_tell(world, DESTINATION, VST_HANDOVER_QEMU_FAILED);
    if (can_be_taken_back(world) && world_trouble(world, WORLD_TAKE_BACK, 10))
        take_back(world);
    if (world_trouble(world, WORLD_HURRY, 15))
        timer(world, world_chance(world, 2));
    if (!destination->lost && !world->taken_back && world_trouble(world, WORLD_WIPE, 20))
        wipe_destination(world);
    if (!source->lost && !destination->lost && world_trouble(world, WORLD_GONE_FOR_GOOD, 60))
        lose_host(world, world_chance(world, 2));
}

/* ---- histories ---- */

static bool something(struct world *world, unsigned which)
{
    switch (which) {
    case 0:
        return deliver(world);
    case 1:
    case 2:
        return write_record(world, which - 1);
    case 3:
    case 4:
        return command(world, which - 3);
    case 5:
    case 6:
        return event(world, which - 5);
    case 7:
        return world_source_qemu_moves(world);
    case 8:
        return world_destination_qemu_moves(world);
    default:
        return world_stream_moves(world);
    }
}

/* One thing that can happen, by chance; false when nothing can. */
static bool happen(struct world *world)
{
    unsigned first = world_chance(world, 10);

    for (unsigned i = 0; i < 10; i++)
        if (something(world, (first + i) % 10))
            return true;
    return false;
}

/* Who knows what became of the hosts; asked only where a machine cannot know it. */
static bool operator_resolves(struct world *world)
{
    struct host *source = &world->host[SOURCE], *destination = &world->host[DESTINATION];
    bool there = world->destination == D_RUN || source->lost;
    bool lost_there = in_state(destination, "DESTINATION_LOST");
    bool not_there = destination->lost || world->result->troubles[WORLD_WIPE];
    enum vst_handover_event verdict =
        there ? VST_HANDOVER_RESOLVE_DESTINATION : VST_HANDOVER_RESOLVE_SOURCE;

    /* Nobody is there who could be told that the source has given up: people speak for him. */
    if (not_there && in_state(source, "SOURCE_TELLING")) {
        world->result->resolved = true;
        world_feed(world, SOURCE, VST_HANDOVER_FINISHED, source->machine.peer);
        return true;
    }
    /* Said once, that the guest runs there, it is served; once more, that it cannot be. */
    if (world->result->resolved && !in_state(source, "SOURCE_APART"))
        return false;
    if (lost_there || (source->lost && in_state(destination, "DESTINATION_LOADED"))) {
        /* at the destination */
    } else if (not_there &&
               (in_state(source, "SOURCE_DOUBT") || in_state(source, "SOURCE_APART"))) {
        destination = source;
    } else {
        return false;
    }
    world->result->resolved = true;
    if (!there)
        world_release(world);
    world->gave_to_source = !there;
    world->gave_to_destination = there;
    world_feed(world, destination == source ? SOURCE : DESTINATION, verdict, NULL);
    return true;
}

static void mend(struct world *world)
{
    world->mended = true;
    world->cut = world->dead_way[0] = world->dead_way[1] = false;
    for (unsigned role = 0; role < 2; role++)
        if (!world->host[role].up && !world->host[role].lost)
            world_restart(world, role);
    /* A link that was dead in one direction has been given up by both by now. */
    world_end_session(world);
}

static bool settled(const struct world *world, enum vst_handover_role role)
{
    const struct host *host = &world->host[role];

    if (world->host[1 - role].lost &&
        (in_state(host, "DESTINATION_LACKING") || in_state(host, "DESTINATION_DEAD")))
        return true; /* it will never hear of its memory again */
    /* A token that begins nothing is not kept by a daemon. */
    return host->lost || !host->present || vst_handover_over(&host->machine) ||
           in_state(host, "DESTINATION_NEW") || in_state(host, "DESTINATION_RUNNING") ||
           in_state(host, "DESTINATION_ABORTED");
}

static bool timers(struct world *world)
{
    bool source = timer(world, SOURCE), destination = timer(world, DESTINATION);

    return source || destination;
}

/* In peace, timers run out when nothing else happens any more. */
static void run_in_peace(struct world *world)
{
    for (unsigned i = 0; i < MENDED_STEPS && world->result->outcome != WORLD_BROKEN; i++) {
        world->result->steps++;
        if (happen(world)) {
            world_look(world);
            continue;
        }
        if (settled(world, SOURCE) && settled(world, DESTINATION))
            return;
        if (!operator_resolves(world) && !timers(world))
            break;
        world_look(world);
    }
    world_rule(world, false, "it does not come to an end");
}

static enum world_outcome judge(struct world *world)
{
    bool here = world_source_runs(world), there = world->destination == D_RUN;
    bool died = world->killed_source || world->killed_destination;

    world_rule(world, !here || !there || world->told_conflict,
               "the guest runs twice, and nobody has been told");
    world_rule(world, here || there || died, "the guest does not run anywhere");
    world_rule(world, here || there || !world_keeps(world) || world->killed_destination,
               "the guest does not run anywhere, and there was a whole copy");
    world_rule(world, !in_state(&world->host[DESTINATION], "DESTINATION_RUNNING") || there || died,
               "the destination believes to have the guest");
    world_rule(world, !there || !world->lacks || world->killed_source || world->gave_to_destination,
               "the guest will never have all of its memory");
    if (there && world->lacks)
        return WORLD_GUEST_DIED;
    return there ? WORLD_AT_DESTINATION : here ? WORLD_AT_SOURCE : WORLD_GUEST_DIED;
}

void world_run(uint64_t seed, unsigned allowed, unsigned most, bool print,
               struct world_result *ret_result)
{
    struct world world = {.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1,
                          .allowed = allowed,
                          .most = most,
                          .post_copy = seed & 1,
                          .print = print,
                          .result = ret_result};
    enum world_outcome outcome;

    *ret_result = (struct world_result){0};
    memset(world.host[SOURCE].id, 1, VST_HANDOVER_ID);
    memset(world.host[DESTINATION].id, 2, VST_HANDOVER_ID);
    world.session = world.host[SOURCE].up = world.host[DESTINATION].up = true;
    world.host[SOURCE].present = true;
    vst_handover_start(&world.host[SOURCE].machine, SOURCE, world_token);
    vst_handover_start(&world.host[DESTINATION].machine, DESTINATION, world_token);
    world_feed(&world, SOURCE, VST_HANDOVER_BEGIN, NULL);
    for (unsigned i = 0; i < TROUBLED_STEPS && ret_result->outcome != WORLD_BROKEN; i++) {
        ret_result->steps++;
        troubles(&world);
        if (!happen(&world) && !world_chance(&world, 4))
            timer(&world, world_chance(&world, 2));
        world_look(&world);
    }
    if (ret_result->outcome != WORLD_BROKEN)
        mend(&world);
    if (ret_result->outcome != WORLD_BROKEN)
        run_in_peace(&world);
    outcome = judge(&world);
    if (ret_result->outcome != WORLD_BROKEN)
        ret_result->outcome = outcome;
}
