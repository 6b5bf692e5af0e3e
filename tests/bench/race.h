/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Races for benches of what goes over a wire: a process that sends the bytes of a file, one that
 * takes them and keeps nothing, wall time and processor time of both. All that take part run in
 * turn, several times, so that a machine with other work to do is the same for all. And what the
 * others are measured by: GnuTLS alone, with blocking calls that gather 256 KiB for each write and
 * read as much.
 */
#ifndef VST_TESTS_BENCH_RACE_H
#define VST_TESTS_BENCH_RACE_H

#include <stddef.h>

enum { RACE_ROUNDS_MAX = 15 };

struct race_cost {
    double seconds;
    double sender; /* processor time */
    double taker;
};

/* The sides get the ends of one TCP connection. They return when they are through, or exit. */
struct racer {
    const char *name;
    void (*sends)(int fd);
    void (*takes)(int fd);
    struct race_cost costs[RACE_ROUNDS_MAX];
};

struct race {
    size_t bytes;
    int file; /* of noise, in memory, at its beginning when a racer starts */
    int rounds;
};
extern struct race race;

/* From the arguments [MIB [ROUNDS]]. Makes certificates: see tests/unit/pki.h. */
void race_begin(int argc, char **argv, size_t mib);
void race_end(void);

/* Runs them all, each round in the other order, and prints a line for each. */
void race_run(struct racer *racers, size_t count);

/* Prints medians of what the rounds were to each other. Who has more threads gets more of a machine
 * with other work to do; the processor's time hardly knows of that work. */
void race_compare(const struct racer *ours, const struct racer *other, const char *aim);

void race_send_gnutls(int fd);
void race_take_gnutls(int fd);

_Noreturn void race_die(const char *what);

#endif
