/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host of guests for tests; see host.h.
 */
#include "host.h"

#include <dirent.h>
#include <event2/buffer.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct vst_host *traced;

/* ---- the trace ---- */

/* "MACHINE LABEL: FROM -> TO"; a label may be empty, or have anything in it. */
static void hear_edge(struct vst_host *host, const char *line)
{
    char machine[32];
    const char *to = strstr(line, " -> ");

    if (to && sscanf(line, "%31s", machine) == 1 && host->edge)
        host->edge(host->opaque, machine, to + 4);
}

/* When a process was started, in ticks since boot; 0 when it is no more, zombies included. */
static unsigned long long begun_at(pid_t pid)
{
    unsigned long long begun = 0;
    char path[40], line[1024], state;
    const char *rest;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file && fgets(line, sizeof(line), file) && (rest = strrchr(line, ')')) &&
        (sscanf(rest,
                ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
                &state, &begun) != 2 ||
         state == 'Z' || state == 'X'))
        begun = 0;
    if (file)
        fclose(file);
    return begun;
}

static void hear(unsigned category, const char *line, void *opaque)
{
    struct vst_host *host = traced;
    int pid, end = 0;

    (void)opaque;
    if (!host)
        return;
    if (category == VST_TRACE_STATE)
        hear_edge(host, line);
    else if (category == VST_TRACE_QMP && host->line)
        host->line(host->opaque, line);
    else if (category == VST_TRACE_PROCESS &&
             sscanf(line, "process %d started as%n", &pid, &end) == 1 && end &&
             host->started->count <
                 sizeof(host->started->processes) / sizeof(struct vst_host_process))
        host->started->processes[host->started->count++] =
            (struct vst_host_process){pid, begun_at(pid)};
}

/* ---- making ---- */

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    if (!err)
        ((struct vst_host *)opaque)->conn = conn;
}

void vst_host_connect(struct vst_host *host)
{
    struct vst_conn_cb cb = {opened, host, NULL};
    struct vst_error err = {0};
    char uri[128];

    snprintf(uri, sizeof(uri), "qemu:///?root=%s/root", host->dir);
    host->base = event_base_new();
    assert_non_null(host->base);
    if (vst_op_wait(vst_conn_open(host->base, uri, NULL, &cb), &err) < 0)
        fail_msg("connect: %s", err.text);
}

void vst_host_disconnect(struct vst_host *host)
{
    vst_conn_close(&host->conn);
    event_base_dispatch(host->base); /* ends when nothing is left to wait for */
    event_base_free(host->base);
    host->base = NULL;
}

void vst_host_make_with(struct vst_host *host, void (*prepare)(const struct vst_host *host))
{
    static const struct vst_trace trace = {VST_TRACE_STATE | VST_TRACE_PROCESS | VST_TRACE_QMP,
                                           hear, NULL};
    const char *tmp = getenv("TMPDIR");

    *host = (struct vst_host){0};
    host->started = mmap(NULL, sizeof(*host->started), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(host->started != MAP_FAILED);
    snprintf(host->dir, sizeof(host->dir), "%.30s/virstream-host.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(host->dir));
    vst_trace_set(&trace);
    traced = host;
    if (prepare)
        prepare(host);
    vst_host_connect(host);
}

void vst_host_make(struct vst_host *host)
{
    vst_host_make_with(host, NULL);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void vst_host_clear(struct vst_host *host)
{
    vst_host_disconnect(host);
    for (size_t i = 0; i < host->started->count; i++)
        if (vst_host_is_alive(&host->started->processes[i]))
            kill(host->started->processes[i].pid, SIGKILL);
    munmap(host->started, sizeof(*host->started));
    nftw(host->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    vst_trace_set(NULL);
    traced = NULL;
}

/* ---- methods ---- */

struct found {
    struct vst_domain *domain;
    struct vst_domain_info info;
};

static void found(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    struct found *result = opaque;

    if (!err)
        result->domain = domain;
}

static void told(const struct vst_domain_info *infos, size_t count, const struct vst_error *err,
                 void *opaque)
{
    struct found *result = opaque;

    if (!err && count == 1)
        result->info = infos[0];
}

int vst_host_start(struct vst_host *host, const char *definition, struct vst_error *ret_err)
{
    struct found result = {0};
    struct vst_domain_cb cb = {found, &result, NULL};
    int status = vst_op_wait(vst_domain_start(host->conn, definition, NULL, &cb), ret_err);

    vst_domain_free(&result.domain);
    return status;
}

static struct vst_domain *look_up(struct vst_host *host, const char *name,
                                  struct vst_error *ret_err)
{
    struct found result = {0};
    struct vst_domain_cb cb = {found, &result, NULL};

    vst_op_wait(vst_conn_lookup(host->conn, name, &cb), ret_err);
    return result.domain;
}

int vst_host_get_info(struct vst_host *host, const char *name, struct vst_domain_info *ret_info,
                      struct vst_error *ret_err)
{
    struct found result = {.domain = look_up(host, name, ret_err)};
    struct vst_info_cb cb = {told, &result, NULL};
    int status;

    if (!result.domain)
        return -1;
    status = vst_op_wait(vst_domain_get_info(result.domain, &cb), ret_err);
    vst_domain_free(&result.domain);
    if (status == 0)
        *ret_info = result.info;
    return status;
}

static int control(struct vst_host *host, const char *name,
                   struct vst_op *(*method)(struct vst_domain *, const struct vst_done *),
                   struct vst_error *ret_err)
{
    struct vst_domain *domain = look_up(host, name, ret_err);
    int status = domain ? vst_op_wait(method(domain, NULL), ret_err) : -1;

    vst_domain_free(&domain);
    return status;
}

int vst_host_suspend(struct vst_host *host, const char *name, struct vst_error *ret_err)
{
    return control(host, name, vst_domain_suspend, ret_err);
}

int vst_host_destroy(struct vst_host *host, const char *name, struct vst_error *ret_err)
{
    return control(host, name, vst_domain_destroy, ret_err);
}

int vst_host_save(struct vst_host *host, const char *name, struct vst_stream *stream,
                  const struct vst_save_options *opt, struct vst_error *ret_err)
{
    struct vst_domain *domain = look_up(host, name, ret_err);
    int status = domain ? vst_op_wait(vst_domain_save(domain, stream, opt, NULL), ret_err) : -1;

    vst_domain_free(&domain);
    vst_stream_free(&stream);
    return status;
}

int vst_host_restore(struct vst_host *host, struct vst_stream *stream,
                     const struct vst_restore_options *opt, struct vst_error *ret_err)
{
    struct found result = {0};
    struct vst_domain_cb cb = {found, &result, NULL};
    int status = vst_op_wait(vst_domain_restore(host->conn, stream, opt, &cb), ret_err);

    vst_domain_free(&result.domain);
    vst_stream_free(&stream);
    return status;
}

/* ---- streams ---- */

static struct vst_stream *new_stream(struct vst_host *host)
{
    struct vst_stream *stream = vst_stream_new(host->base, NULL);

    assert_non_null(stream);
    return stream;
}

static enum vst_io keep(const void *bytes, size_t length, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    (void)ret_err;
    *ret_n = length;
    return evbuffer_add(opaque, bytes, length) < 0 ? VST_IO_FAIL : VST_IO_OK;
}

struct vst_stream *vst_host_sink(struct vst_host *host, struct evbuffer *into)
{
    struct vst_writer writer = {.write = keep, .opaque = into};
    struct vst_stream *stream = new_stream(host);

    assert_int_equal(vst_stream_set_sink_writer(stream, &writer), 0);
    return stream;
}

struct vst_stream *vst_host_sink_file(struct vst_host *host, const char *path)
{
    struct vst_stream *stream = new_stream(host);

    assert_int_equal(vst_stream_set_sink_file(stream, path), 0);
    return stream;
}

static enum vst_io give(void *into, size_t room, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    int n = evbuffer_remove(opaque, into, room);

    (void)ret_err;
    *ret_n = n > 0 ? (size_t)n : 0;
    return n > 0 ? VST_IO_OK : VST_IO_EOF;
}

struct vst_stream *vst_host_source(struct vst_host *host, struct evbuffer *from)
{
    struct vst_reader reader = {.read = give, .opaque = from};
    struct vst_stream *stream = new_stream(host);

    assert_int_equal(vst_stream_set_source_reader(stream, &reader), 0);
    return stream;
}

void vst_host_run(struct vst_host *host, unsigned milliseconds)
{
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};

    event_base_loopexit(host->base, &time);
    event_base_dispatch(host->base);
}

/* ---- guests ---- */

char *vst_host_none(const char *name)
{
    char *text;

    assert_true(asprintf(&text,
                         "{\"name\": \"%s\", \"machine\": \"none\", \"accel\": \"tcg\", "
                         "\"memory-mib\": 1, \"vcpus\": 1}",
                         name) > 0);
    return text;
}

char *vst_host_counting(const struct vst_host *host, const char *name, const char *mode)
{
    const char *build = getenv("VIRSTREAM_BUILD");
    char *text;

    assert_true(asprintf(&text,
                         "{\"name\": \"%s\", \"machine\": \"pc\", \"accel\": \"tcg\", "
                         "\"memory-mib\": 8, \"vcpus\": 1, "
                         "\"kernel\": \"%s/tests/guest/guest.elf\", \"append\": \"mode=%s\", "
                         "\"console\": {\"log\": \"%s/%s.log\"}}",
                         name, build ? build : ".", mode, host->dir, name) > 0);
    return text;
}

unsigned vst_host_counted(const struct vst_host *host, const char *name)
{
    char path[160], line[64];
    unsigned count = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s.log", host->dir, name);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        count += strchr(line, '\n') != NULL;
    if (file)
        fclose(file);
    return count;
}

void vst_host_expect_counting(struct vst_host *host, const char *name, unsigned more)
{
    unsigned wanted = vst_host_counted(host, name) + more;

    for (int tries = 0; vst_host_counted(host, name) < wanted; tries++) {
        if (tries == 500)
            fail_msg("guest %s does not count any more", name);
        vst_host_run(host, 20);
    }
}

void vst_host_start_counting(struct vst_host *host, const char *name, const char *mode,
                             unsigned lines)
{
    char *definition = vst_host_counting(host, name, mode);
    struct vst_error err = {0};
    char log[128];

    snprintf(log, sizeof(log), "%s/%s.log", host->dir, name);
    unlink(log);
    if (vst_host_start(host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
    vst_host_expect_counting(host, name, lines);
}

void vst_host_expect_gapless(const struct vst_host *host, const char *name)
{
    char command[400];

    /* QEMU logs a character twice where the machine is too busy to read the console. */
    snprintf(command, sizeof(command), "%s --repeats 3 %s/%s.log >&2", VST_COUNT_CHECK, host->dir,
             name);
    assert_int_equal(system(command), 0);
}

/* ---- looking ---- */

unsigned vst_host_entries(const struct vst_host *host, const char *folder)
{
    unsigned count = 0;
    char path[160];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/%s", host->dir, folder);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

bool vst_host_is_alive(const struct vst_host_process *process)
{
    unsigned long long begun = begun_at(process->pid);

    return begun && begun == process->begun;
}

void vst_host_expect_nothing(struct vst_host *host)
{
    static const struct timespec moment = {0, 10 * 1000 * 1000};

    for (size_t i = 0; i < host->started->count; i++) {
        for (int tries = 0; vst_host_is_alive(&host->started->processes[i]); tries++) {
            if (tries == 500)
                fail_msg("process %d is left", (int)host->started->processes[i].pid);
            nanosleep(&moment, NULL);
        }
    }
    host->started->count = 0;
    assert_int_equal(vst_host_entries(host, "root"), 0);
}

bool vst_host_has_qemu(void)
{
    if (!vst_test_can_spawn())
        return false;
    if (system("command -v qemu-system-x86_64 >/dev/null") == 0)
        return true;
    puts("1..0 # SKIP no qemu-system-x86_64");
    return false;
}
