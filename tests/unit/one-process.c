/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process, for tests of processes; see one-process.h.
 */
#include "one-process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void one_note_gone(void *opaque, const struct vst_error *why)
{
    struct one *one = opaque;

    one->why = *why;
    one->gone++;
    event_base_loopbreak(one->base);
}

const struct vst_process_cb *one_callback(struct one *one)
{
    static struct vst_process_cb cb;

    cb = (struct vst_process_cb){.gone = one_note_gone, .opaque = one};
    return &cb;
}

int one_begin(void **state)
{
    struct one *one = calloc(1, sizeof(*one));

    one->base = event_base_new();
    one->spawn.log_fd = memfd_create("log", MFD_CLOEXEC);
    one->spawn.id_fd = memfd_create("id", MFD_CLOEXEC);
    *state = one;
    return 0;
}

int one_end(void **state)
{
    struct one *one = *state;

    if (one->process)
        vst_process_kill(one->process, SIGKILL, NULL);
    vst_process_free(&one->process);
    close(one->spawn.log_fd);
    close(one->spawn.id_fd);
    event_base_free(one->base);
    free(one);
    return 0;
}

void one_order(struct one *one, char **words)
{
    struct vst_error err = {0};

    one->spawn.program = words[0];
    one->spawn.words = words;
    assert_int_equal(ftruncate(one->spawn.id_fd, 0), 0);
    one->process = vst_process_spawn(one->base, "g1", &one->spawn, one_callback(one), &err);
    if (!one->process)
        print_error("%s\n", err.text);
    assert_non_null(one->process);
    assert_int_equal(vst_process_get_id(one->process)->pid, 0);
}

void one_await(struct one *one)
{
    while (!one->gone && !vst_process_get_id(one->process)->pid)
        event_base_loop(one->base, EVLOOP_ONCE);
}

void one_start(struct one *one, char **words)
{
    one_order(one, words);
    one_await(one);
    if (one->gone)
        print_error("%s\n", one->why.text);
    assert_int_equal(one->gone, 0);
}

void one_run_to_end(struct one *one)
{
    while (!one->gone)
        event_base_loop(one->base, EVLOOP_ONCE);
    vst_process_free(&one->process);
    assert_int_equal(one->gone, 1);
}

void one_run(struct one *one, char **words, char *ret_text, size_t size)
{
    ssize_t length;

    one_start(one, words);
    one_run_to_end(one);
    length = pread(one->spawn.log_fd, ret_text, size - 1, 0);
    ret_text[length < 0 ? 0 : length] = '\0';
}

void one_shell(struct one *one, const char *script)
{
    char text[256];
    char *words[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, text, NULL};

    snprintf(text, sizeof(text), "%s", script);
    one_start(one, words);
}
