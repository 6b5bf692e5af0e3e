/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints the two tables of the hand-over, for whoever is not C:
 *
 *     print-handover promela     what docs/handover.pml includes: both machines, whole
 *     print-handover markdown    the times, the states, and the pictures of docs/handover.md
 */
#include <stdio.h>
#include <string.h>

#include "core/handover-table.h"

static const struct machine {
    const char *name;
    const struct vst_handover_table *table;
} machines[] = {{"source", &vst_handover_source}, {"destination", &vst_handover_destination}};

static bool on(const struct vst_handover_edge *edge, unsigned event)
{
    return edge->on >> event & 1;
}

/* ---- Promela ---- */

#define DEFINE_EVENT(name, text) printf("#define E_%s %d\n", #name, VST_HANDOVER_##name);
#define DEFINE_RECORD(name, text, meaning) \
    printf("#define R_%s %d\n", #name, VST_HANDOVER_RECORD_##name);
#define DEFINE_COMMAND(name, meaning) printf("#define Q_%s %d\n", #name, VST_HANDOVER_QEMU_##name);

static void print_constants(void)
{
    VST_HANDOVER_EVENTS(DEFINE_EVENT)
    VST_HANDOVER_RECORDS(DEFINE_RECORD)
    VST_HANDOVER_COMMANDS(DEFINE_COMMAND)
    for (unsigned m = 0; m < 2; m++)
        for (unsigned s = 0; s < machines[m].table->state_count; s++)
            printf("#define %s %u\n", machines[m].table->words[s].name, s);
}

/* The events of an edge that no edge above it has taken. */
static void print_edge(const struct vst_handover_table *table, const struct vst_handover_edge *edge,
                       uint64_t taken)
{
    const char * or = "";

    printf("\t\t:: ");
    for (unsigned event = 0; event < VST_HANDOVER_EVENT_COUNT; event++) {
        if (!on(edge, event) || taken >> event & 1)
            continue;
        printf("%sevent == E_%s", or, vst_handover_event_name(event));
        or = " || ";
    }
    printf(" ->");
    if (edge->say)
        printf(" say = E_%s;", vst_handover_event_name(edge->say));
    if (edge->to == VST_HANDOVER_STAY)
        printf(" skip\n");
    else
        printf(" next = %s\n", table->words[edge->to].name);
}

/* Edges from any state keep it and say nothing, so they are the `else`. */
static void print_step(const struct machine *machine)
{
    const struct vst_handover_table *table = machine->table;

    printf("\ninline %s_step()\n{\n\tnext = STAY; say = 0;\n\tif\n", machine->name);
    for (unsigned s = 0; s < table->state_count; s++) {
        uint64_t taken = 0;

        for (unsigned e = 0; e < table->edge_count; e++) {
            if (table->edges[e].from != s)
                continue;
            if (!taken)
                printf("\t:: %s == %s ->\n\t\tif\n", machine->name, table->words[s].name);
            print_edge(table, &table->edges[e], taken);
            taken |= table->edges[e].on;
        }
        if (taken)
            printf("\t\t:: else\n\t\tfi\n");
    }
    printf("\t:: else\n\tfi\n}\n");
}

static void print_entry(const struct machine *machine)
{
    const struct vst_handover_table *table = machine->table;

    printf("\ninline %s_enter()\n{\n\t%s = next; write = 0; qemu = 0; timer = 0;\n\tif\n",
           machine->name, machine->name);
    for (unsigned s = 0; s < table->state_count; s++) {
        const struct vst_handover_entry *entry = &table->entries[s];

        printf("\t:: next == %s -> write = %d; qemu = %d; timer = %d", table->words[s].name,
               entry->write, entry->qemu, entry->timer != VST_HANDOVER_TIMER_NONE);
        if (entry->send)
            printf("; say = E_%s", vst_handover_event_name(entry->send));
        printf("\n");
    }
    printf("\tfi\n}\n");
}

static void print_restart(const struct machine *machine)
{
    const struct vst_handover_table *table = machine->table;

    printf("\ninline %s_restart(disk)\n{\n\tnext = STAY; say = 0;\n\tif\n", machine->name);
    for (unsigned r = 0; r < table->restart_count; r++)
        printf("\t:: disk == %d -> next = %s\n", table->restarts[r].last,
               table->words[table->restarts[r].state].name);
    printf("\t:: else\n\tfi\n}\n");
}

static int print_promela(void)
{
    printf("/* Made from core/handover-source.c and core/handover-destination.c. */\n");
    printf("#define STAY 255\n");
    print_constants();
    for (unsigned m = 0; m < 2; m++) {
        print_step(&machines[m]);
        print_entry(&machines[m]);
        print_restart(&machines[m]);
    }
    return 0;
}

/* ---- Markdown ---- */

/* Without the name of the machine in front of it, which the heading says. */
static const char *short_name(const struct machine *machine, unsigned state)
{
    return machine->table->words[state].name + strlen(machine->name) + 1;
}

/* The events of an edge, as one word after the other. */
static void print_events(const struct vst_handover_edge *edge)
{
    const char *comma = "";

    for (unsigned event = 0; event < VST_HANDOVER_EVENT_COUNT; event++) {
        if (!on(edge, event))
            continue;
        printf("%s%s", comma, vst_handover_event_name(event));
        comma = ", ";
    }
}

static void print_duties(const struct vst_handover_entry *entry)
{
    static const char *const timers[] = {
#define TIMER_NAME(name, times, milliseconds, meaning) #name,
        VST_HANDOVER_TIMERS(TIMER_NAME)
#undef TIMER_NAME
    };
    static const char *const commands[] = {
#define COMMAND_NAME(name, meaning) #name,
        VST_HANDOVER_COMMANDS(COMMAND_NAME)
#undef COMMAND_NAME
    };
    const char *between = "";

    if (entry->write)
        printf("writes `%s`", vst_handover_record_name(entry->write)), between = ", ";
    if (entry->send)
        printf("%ssends %s", between, vst_handover_event_name(entry->send)), between = ", ";
    if (entry->qemu)
        printf("%sQEMU: %s", between, commands[entry->qemu]), between = ", ";
    if (entry->timer)
        printf("%stime: %s", between, timers[entry->timer]);
}

/* What is answered without a change of state. */
static void print_answers(const struct vst_handover_table *table, unsigned state)
{
    const char *between = "";

    for (unsigned e = 0; e < table->edge_count; e++) {
        const struct vst_handover_edge *edge = &table->edges[e];

        if (edge->from != state || edge->to != VST_HANDOVER_STAY || !edge->say)
            continue;
        printf("%s", between);
        print_events(edge);
        printf(" / %s", vst_handover_event_name(edge->say));
        between = "; ";
    }
}

static void print_picture(const struct machine *machine)
{
    const struct vst_handover_table *table = machine->table;

    printf("\n```mermaid\nstateDiagram-v2\n    [*] --> %s\n", short_name(machine, 0));
    for (unsigned e = 0; e < table->edge_count; e++) {
        const struct vst_handover_edge *edge = &table->edges[e];

        if (edge->from == VST_HANDOVER_ANY || edge->to == VST_HANDOVER_STAY)
            continue;
        printf("    %s --> %s: ", short_name(machine, edge->from), short_name(machine, edge->to));
        print_events(edge);
        if (edge->say)
            printf(" / %s", vst_handover_event_name(edge->say));
        printf("\n");
    }
    printf("```\n");
}

static void print_time(const char *name, unsigned times, unsigned milliseconds, const char *meaning)
{
    if (times == 1)
        printf("| %s | the patience | %s |\n", name, meaning);
    else if (times)
        printf("| %s | %u times the patience | %s |\n", name, times, meaning);
    else if (milliseconds)
        printf("| %s | %u ms | %s |\n", name, milliseconds, meaning);
}

static void print_times(void)
{
#define PRINT_TIME(name, times, milliseconds, meaning) \
    print_time(#name, times, milliseconds, meaning);
    printf("\n### The times\n\n| time | how long | for what |\n|---|---|---|\n");
    VST_HANDOVER_TIMERS(PRINT_TIME)
#undef PRINT_TIME
}

static void print_state(const struct machine *machine, unsigned state, bool answers)
{
    const struct vst_handover_words *words = &machine->table->words[state];

    printf("| %s | %s | %s | ", short_name(machine, state), words->waits_for, words->meaning);
    print_duties(&machine->table->entries[state]);
    if (answers) {
        printf(" | ");
        print_answers(machine->table, state);
    }
    printf(" |\n");
}

static int print_markdown(void)
{
    print_times();
    for (unsigned m = 0; m < 2; m++) {
        bool answers = machines[m].table == &vst_handover_destination; /* the source only asks */

        printf("\n### The %s's states\n\n| state | waits for | meaning | on entering |%s\n"
               "|---|---|---|---|%s\n",
               machines[m].name, answers ? " answers |" : "", answers ? "---|" : "");
        for (unsigned s = 0; s < machines[m].table->state_count; s++)
            print_state(&machines[m], s, answers);
        print_picture(&machines[m]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "promela") == 0)
        return print_promela();
    if (argc == 2 && strcmp(argv[1], "markdown") == 0)
        return print_markdown();
    fprintf(stderr, "usage: print-handover promela|markdown\n");
    return 2;
}
