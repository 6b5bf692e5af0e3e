/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `qemu -L help` lists the directories and ends. A name is looked for in the working directory,
 * which is the root for every QEMU of ours, in those of raw arguments `-L`, and in those.
 */
#include "firmware.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/fd.h"

enum { FOLDERS_MAX = 4096, SECONDS = 10 };

struct vst_firmware_question {
    struct vst_process *process;
    int log; /* what it says */
    struct event deadline;
    void (*fn)(void *opaque, const char *folders);
    void *opaque;
};

/* ---- names ---- */

/* The next raw argument `option` at *at or after it; NULL: there is none. */
static const char *next_arg(char **const args, size_t *at, const char *option)
{
    for (; args && args[*at] && args[*at + 1]; ++*at)
        if (strcmp(args[*at], option) == 0)
            return args[++*at];
    return NULL;
}

/* The first name that is not a path at *at or after it: of the definition, then of raw arguments.
 */
static const char *next_name(const struct vst_definition *def, size_t *at)
{
    const char *name;
    size_t arg;

    if (*at == 0) {
        *at = 1;
        if (def->firmware && !strchr(def->firmware, '/'))
            return def->firmware;
    }
    for (arg = *at - 1; (name = next_arg(def->args, &arg, "-bios"));)
        if (!strchr(name, '/'))
            break;
    *at = arg + 1;
    return name;
}

bool vst_firmware_is_named(const struct vst_definition *def)
{
    size_t at = 0;

    return next_name(def, &at) != NULL;
}

/* ---- asking ---- */

/* The end of its words is the end of the process, of whatever it ended. */
static void told(void *opaque, const struct vst_error *err)
{
    struct vst_firmware_question *question = opaque;
    char folders[FOLDERS_MAX];
    ssize_t n = pread(question->log, folders, sizeof(folders) - 1, 0);

    (void)err;
    folders[n > 0 && n < FOLDERS_MAX - 1 ? n : 0] = '\0'; /* a part of them would not do */
    question->fn(question->opaque, folders);
}

static void late(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_firmware_question *question = opaque;

    (void)fd, (void)what;
    vst_process_kill(question->process, SIGKILL, NULL); /* then told() comes */
}

static struct vst_process *spawn(struct vst_firmware_question *question, struct vst_qemu *qemu,
                                 struct vst_error *ret_err)
{
    static const char *const words[] = {"qemu-folders", "-L", "help", NULL};
    struct vst_process_cb cb = {told, question};
    struct vst_spawn how = {
        .program = qemu->program,
        .words = (char **)words,
        .log_fd = question->log,
        .id_fd = memfd_create("folders-id", MFD_CLOEXEC),
        .user = qemu->user,
    };
    struct vst_process *process = NULL;

    if (how.log_fd < 0 || how.id_fd < 0)
        vst_error_system(ret_err, errno, "a file in memory");
    else
        process = vst_process_spawn(qemu->conn->base, "folders", &how, &cb, ret_err);
    vst_close(&how.id_fd);
    return process;
}

struct vst_firmware_question *vst_firmware_ask(struct vst_qemu *qemu,
                                               void (*fn)(void *opaque, const char *folders),
                                               void *opaque, struct vst_error *ret_err)
{
    struct vst_firmware_question *question = calloc(1, sizeof(*question));
    struct timeval patience = {SECONDS, 0};

    if (!question) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    question->fn = fn;
    question->opaque = opaque;
    question->log = memfd_create("folders", MFD_CLOEXEC);
    event_assign(&question->deadline, qemu->conn->base, -1, 0, late, question);
    question->process = spawn(question, qemu, ret_err);
    if (!question->process)
        vst_firmware_question_free(&question);
    else
        event_add(&question->deadline, &patience);
    return question;
}

void vst_firmware_question_free(struct vst_firmware_question **slot)
{
    struct vst_firmware_question *question = *slot;

    *slot = NULL;
    if (!question)
        return;
    event_del(&question->deadline);
    if (question->process)
        vst_process_kill(question->process, SIGKILL, NULL);
    vst_process_free(&question->process);
    vst_close(&question->log);
    free(question);
}

/* ---- looking, on a thread ---- */

static bool has(const char *folder, size_t length, const char *name)
{
    char *path;
    bool found;

    if (asprintf(&path, "/%.*s/%s", (int)length, folder, name) < 0)
        return true; /* it is not known that it has not */
    found = access(path, R_OK) == 0;
    free(path);
    return found;
}

static bool is_found(const struct vst_definition *def, const char *folders, const char *name)
{
    const char *folder;
    size_t at = 0;

    if (has("", 0, name))
        return true;
    while ((folder = next_arg(def->args, &at, "-L")))
        if (has(folder, strlen(folder), name))
            return true;
    for (folder = folders; *folder; folder += strspn(folder, "\n")) {
        size_t length = strcspn(folder, "\n");

        if (has(folder, length, name))
            return true;
        folder += length;
    }
    return false;
}

void vst_firmware_check(const struct vst_definition *def, const char *folders,
                        void (*tell)(void *opaque, const struct vst_error *err), void *opaque)
{
    const char *name;
    size_t at = 0;

    while (folders[0] == '/' && (name = next_name(def, &at))) {
        struct vst_error err = {0};

        if (is_found(def, folders, name))
            continue;
        vst_error_set(&err, VST_ERR_NOT_FOUND,
                      "firmware: %s: is in no directory where QEMU of this host looks for it",
                      name);
        tell(opaque, &err);
    }
}
