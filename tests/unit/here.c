/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A root and its places, for tests; see here.h.
 */
#include "here.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct vst_definition *here_define(const char *name)
{
    char text[256];
    int length = snprintf(text, sizeof(text),
                          "{\"name\":\"%s\",\"machine\":\"none\",\"accel\":\"tcg\","
                          "\"memory-mib\":16,\"vcpus\":1}",
                          name);

    return vst_definition_parse(text, (size_t)length, NULL);
}

int here_begin(void **state)
{
    struct here *here = calloc(1, sizeof(*here));

    strcpy(here->path, "/tmp/vst-root-XXXXXX");
    assert_non_null(mkdtemp(here->path));
    assert_int_equal(vst_root_open(here->path, &here->root, NULL), 0);
    here->def = here_define("g1");
    *state = here;
    return 0;
}

int here_end(void **state)
{
    struct here *here = *state;
    int result;

    vst_root_free(&here->root);
    vst_definition_free(&here->def);
    result = rmdir(here->path);
    if (result < 0)
        print_error("%s: %s\n", here->path, strerror(errno));
    free(here);
    return result;
}

struct vst_place *here_create(struct here *here)
{
    struct vst_place *place = NULL;
    struct vst_error err = {0};

    if (vst_place_create(here->root, here->def, &place, &err) < 0)
        print_error("%s\n", err.text);
    assert_non_null(place);
    vst_place_clear_job(place);
    return place;
}

struct vst_place *here_reopen(struct here *here)
{
    struct vst_place *place = NULL;

    assert_int_equal(vst_place_open(here->root, "g1", &place, NULL), 0);
    return place;
}

void here_expect_open(struct here *here, const char *name, enum vst_code code, const char *text)
{
    struct vst_place *place = NULL;
    struct vst_error err = {0};

    assert_int_equal(vst_place_open(here->root, name, &place, &err), -1);
    assert_null(place);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.text, text));
}

struct vst_glance here_glance(struct here *here)
{
    struct vst_glance seen;
    struct vst_error err = {0};

    if (vst_place_glance(here->root, "g1", &seen, &err) < 0)
        fail_msg("%s", err.text);
    vst_definition_free(&seen.def);
    return seen;
}

static void read_file(const char *path, char *ret_text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, ret_text, room - 1);

    assert_true(length > 0);
    ret_text[length] = '\0';
    close(fd);
}

/* It ends with this test, however that ends. Until it runs the program it shares our locks, and
 * with them the pipe. */
static pid_t start_sleep(void)
{
    char nothing;
    int pipe_fds[2];
    pid_t pid;

    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid = vst_test_fork();
    if (pid == 0) {
        execl("/bin/sleep", "sleep", "1000", NULL);
        _exit(127);
    }
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &nothing, 1), 0);
    close(pipe_fds[0]);
    return pid;
}

struct vst_process_id here_start(struct vst_place *place)
{
    int fd = vst_place_new_id(place, NULL);
    char path[64], text[1024], boot[64];
    struct vst_process_id id;
    uintmax_t ticks = 0;
    pid_t pid = start_sleep();

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    read_file(path, text, sizeof(text));
    sscanf(strrchr(text, ')'),
           ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %ju",
           &ticks);
    read_file("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    assert_true(dprintf(fd, "%d %ju %s", (int)pid, ticks, boot) > 0);
    assert_int_equal(vst_process_id_read(fd, &id, NULL), 0);
    close(fd);
    return id;
}

void here_kill(const struct vst_process_id *id)
{
    kill(id->pid, SIGKILL);
    waitpid(id->pid, NULL, 0);
}

int here_in_another_process(int (*body)(struct here *), struct here *here)
{
    int status;
    pid_t pid = vst_test_fork();

    if (pid == 0)
        _exit(body(here));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

bool here_has(struct here *here, const char *entry)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", here->path, entry);
    return access(path, F_OK) == 0;
}

void here_write(struct here *here, const char *file, const char *text)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/g1/%s", here->path, file);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

void here_read(struct here *here, const char *file, char *ret_text, size_t room)
{
    char path[128];
    ssize_t length;
    int fd;

    snprintf(path, sizeof(path), "%s/g1/%s", here->path, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    length = read(fd, ret_text, room - 1);
    assert_true(length >= 0);
    ret_text[length] = '\0';
    close(fd);
}
