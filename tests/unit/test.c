/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard around every unit test; see test.h.
 */
#include "test.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { USUAL_SECONDS = 20, MOST_FDS = 4096 };

static struct vst_test_own own;
static unsigned char open_before[MOST_FDS];

static void time_is_up(int number)
{
    static const char text[] = "# the time guard of this test ran out\n";

    (void)number;
    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    _exit(124);
}

void vst_test_seconds(unsigned seconds)
{
    const char *slowness = getenv("VST_TEST_SLOWNESS");

    alarm(seconds * (slowness ? (unsigned)atoi(slowness) : 1));
}

pid_t vst_test_fork(void)
{
    unsigned left = alarm(0);
    pid_t pid;

    fflush(NULL);
    pid = fork();
    alarm(left);
    assert_true(pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

int vst_test_long(void)
{
    return getenv("VST_TEST_LONG") != NULL;
}

bool vst_test_can_spawn(void)
{
    if (!getenv("VST_TEST_VALGRIND"))
        return true;
    puts("1..0 # SKIP valgrind ends on the clone(2) that starts QEMU");
    return false;
}

static void list_open(unsigned char *ret_open)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    memset(ret_open, 0, MOST_FDS);
    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd != dirfd(dir) && fd < MOST_FDS)
            ret_open[fd] = 1;
    }
    closedir(dir);
}

static void tell_leak(int fd)
{
    char path[32], target[256];
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    length = readlink(path, target, sizeof(target) - 1);
    target[length < 0 ? 0 : length] = '\0';
    print_error("descriptor %d left open: %s\n", fd, target);
}

/* Files are closed by the library's worker threads, which may be a moment late. */
static void list_open_at_last(unsigned char *ret_open)
{
    for (int tries = 0; tries < 200; tries++) {
        list_open(ret_open);
        if (memcmp(ret_open, open_before, MOST_FDS) == 0)
            return;
        usleep(10 * 1000);
    }
}

static int compare_open(void)
{
    unsigned char open_after[MOST_FDS];
    int result = 0;

    list_open_at_last(open_after);
    for (int fd = 0; fd < MOST_FDS; fd++) {
        if (open_after[fd] == open_before[fd])
            continue;
        result = -1;
        if (open_after[fd])
            tell_leak(fd);
        else
            print_error("descriptor %d was closed by the test, which did not open it\n", fd);
    }
    return result;
}

void vst_test_nothing(void **state)
{
    (void)state;
}

int vst_test_begin(void **state)
{
    struct sigaction action = {.sa_handler = time_is_up};

    own = *(struct vst_test_own *)*state;
    *state = NULL;
    list_open(open_before);
    sigaction(SIGALRM, &action, NULL);
    vst_test_seconds(USUAL_SECONDS);
    return own.setup ? own.setup(state) : 0;
}

int vst_test_end(void **state)
{
    int result = own.teardown ? own.teardown(state) : 0;

    alarm(0);
    return compare_open() < 0 ? -1 : result;
}
