/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of what a restart finds: the place and the process of one guest, g1, and a journal, as
 * a process before this one has left them. QEMU is a process that is asleep and knows nothing, and
 * its monitor is the test.
 */
#ifndef VST_TESTS_UNIT_LEFT_H
#define VST_TESTS_UNIT_LEFT_H

#include "app.h"

#include "core/journal-codec.h"

#define UUID "8ad1f1a4-9dc1-4c5f-9b0f-2f7f0c3a1d11"
#define OTHER_UUID "8ad1f1a4-9dc1-4c5f-9b0f-2f7f0c3a1d22"
#define TOKEN "11111111-1111-1111-1111-111111111111"
#define OTHER_TOKEN "22222222-2222-2222-2222-222222222222"

extern struct left {
    char path[64];
    struct app app;
    int pidfd;
    int listening;
    int monitor;
    char heard[8192];
    size_t heard_length;
} left;

/* Set-up and tear-down of a test: a guest with UUID, or OTHER_UUID; nothing is connected. */
int left_make(void **state);
int left_make_stranger(void **state);
int left_make_with_disk(void **state);
int left_drop(void **state);

/* ---- the place ---- */

char *left_path_of(const char *file);
/* As a migration of that token leaves it; or of none, by an older version. The guest ran before. */
void left_set_job(const char *kind, const char *token);
/* The same of a guest that was paused. */
void left_set_paused_job(const char *kind, const char *token);
bool left_is_alive(void);
bool left_has_place(void);
/* Its QEMU dies. */
void left_kill(void);

/* ---- the journal ---- */

/* Of the guest g1 with UUID. */
struct left_line {
    enum vst_handover_role role;
    enum vst_handover_record last;
    char token; /* what it consists of */
    bool keep;
};

void left_make_journal(const struct left_line *lines, size_t count);
/* Of TOKEN alone. */
void left_make_entry(enum vst_handover_role role, enum vst_handover_record last, bool keep);

/* ---- a restart ---- */

struct left_found {
    bool came;
    size_t count;
    struct vst_migration_info info; /* the last one */
};

/* Only connects: no journal has been opened. */
void left_connect(void);
/* The migrations, for which the journal is opened, and all goes on. */
struct left_found left_look(void);
/* Both. */
struct left_found left_restart(void);
/* Runs the loop for that long. */
void left_run(unsigned milliseconds);
/* Until process and place are gone. */
void left_wait_for_the_end(void);
/* Long enough for whoever would kill it: each state has a clock, and none is slower at first. */
void left_wait_for_phase(enum vst_migration_phase phase);
struct vst_domain *left_look_up(void);

/* ---- the monitor ---- */

void left_say(const char *text);
/* Runs the loop until the driver asks for `command`, and answers. */
void left_expect(const char *command, const char *value);
void left_greet(void);
/* Whoever asks how it is hears that it is paused, and this. */
void left_hear_reason(struct vst_domain *domain, const char *reason);

/* Waits for it. */
void left_expect_refusal(struct outcome *outcome, int code, const char *text);
/* Of one that has been adopted. */
void left_destroy(struct vst_domain *domain);

#endif
