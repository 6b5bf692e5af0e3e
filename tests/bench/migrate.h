/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the bench of migrations share: the place where everything is, one guest, and
 * the two ways to move it. migrate.c compares, migrate-hosts.c is ours, through two daemons,
 * migrate-qemu.c is QEMU's own.
 */
#ifndef VST_TESTS_BENCH_MIGRATE_H
#define VST_TESTS_BENCH_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PATH_ROOM = 512, DOWNTIME_MS = 300 };

extern char dir[];          /* of the bench */
extern char kernel[];       /* the guest's */
extern unsigned memory_mib; /* the guest's */
extern char build[];        /* where the programs are */

double now(void);
_Noreturn void die(const char *what, const char *why);
/* fork(), whose child dies with us. */
pid_t start_process(void);
/* Seconds of the processor that a process has had, all its threads together. */
double processor_of(pid_t pid);
/* A TCP port of 127.0.0.1 that nobody has now. */
int free_port(void);

/* The guest counts into DIR/NAME.log when its memory is full. */
void wait_for_count(const char *name);

/* ---- through two virstreamds ---- */

void hosts_begin(void);
/* `mode` is the guest's: F fills its memory with noise, D stamps all pages. */
void hosts_start_guest(const char *name, const char *mode);
/* To the other host. Returns how many bytes the one there received. */
uint64_t hosts_move(const char *name, int zstd_level, bool offline);
/* What both daemons have had so far. */
void hosts_processor(double ret_seconds[2]);
/* Guests and daemons. Also after a failure. */
void hosts_end(void);

/* ---- QEMU to QEMU ---- */

/* A guest in a QEMU that is our child; `tls`: that migrates with TLS and certificates. */
struct qemu_guest {
    char name[16];
    bool tls;
    pid_t pid;
    int monitor;
};

void qemu_start_guest(struct qemu_guest *guest, const char *name, bool tls);
/* To a QEMU of its own that is started for it; the old one ends. */
void qemu_move(struct qemu_guest *guest);
void qemu_end(struct qemu_guest *guest);

#endif
