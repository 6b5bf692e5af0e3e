/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clone, clone, exec. Both new processes use our memory, one after the other while this thread
 * waits, as in vfork(2): a fork would copy the page tables of a large application, which takes the
 * longer the larger it is. So between the first clone and the exec
 *
 *  - only async-signal-safe calls are made: other threads go on, and may hold any lock;
 *  - nothing is written but what is in the plan, and errno, which is this thread's;
 *  - users and groups are changed by the bare system calls: those of the C library would have all
 *    threads of the application change theirs.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STAT_MAX = 1024, ID_MAX = 96, START_FIELD = 22, LAST_SIGNAL = 64, STACK_SIZE = 64 * 1024 };

/* What the three processes share. */
struct plan {
    const struct vst_spawn *spawn;
    int *fds; /* room for the new process's */
    int null_fd;
    char boot[37];
    char *stacks;   /* two, for the process between and for the new one */
    int pidfd;      /* in our table of descriptors, which the process between shares */
    int number;     /* errno of what failed; 0: nothing did */
    char what[256]; /* that */
};

static char *const environment[] = {
    (char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
    (char[]){"LC_ALL=C"},
    NULL,
};

/* clone(2) by its other name: ThreadSanitizer takes the usual one for a fork, and what it then
 * notes of the child it notes of us. */
int clone_bare(int (*fn)(void *), void *stack, int flags, void *opaque, ...) __asm__("__clone");

/*
 * What the new processes do with descriptors, by the bare system calls, too: their numbers are in
 * tables of their own, and what ThreadSanitizer noted of them it would hold against ours.
 */
static int open_bare(const char *path)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

static ssize_t read_bare(int fd, char *into, size_t size)
{
    return syscall(SYS_read, fd, into, size);
}

static void close_bare(int fd)
{
    syscall(SYS_close, fd);
}

/* ---- identity ---- */

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n > 0)
        *at++ = digits[--n];
    return at;
}

static const char *get_number(const char *at, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *start = at;

    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return NULL;
    *ret_number = number;
    return at == start ? NULL : at;
}

/* `into` gets a string. */
static ssize_t read_text(const char *path, char *into, size_t size)
{
    int fd = open_bare(path);
    ssize_t length;

    if (fd < 0)
        return -1;
    length = read_bare(fd, into, size - 1);
    close_bare(fd);
    into[length < 0 ? 0 : length] = '\0';
    return length;
}

/* State and start time of a process; -1 with errno. The name in parentheses may hold anything:
 * fields are counted after the last one. */
static int read_stat(pid_t pid, char *ret_state, uint64_t *ret_start)
{
    char path[40], text[STAT_MAX], *at;

    at = stpcpy(path, "/proc/");
    at = put_number(at, (uint64_t)pid);
    stpcpy(at, "/stat");
    if (read_text(path, text, sizeof(text)) <= 0)
        return -1;
    at = strrchr(text, ')');
    errno = ESRCH;
    if (!at || at[1] != ' ' || !at[2])
        return -1;
    *ret_state = at[2];
    for (int field = 2; field < START_FIELD && at; field++)
        at = strchr(at + 1, ' ');
    return at && get_number(at + 1, ret_start) ? 0 : -1;
}

/* False: it cannot be told. */
static bool read_boot(char ret_boot[37])
{
    char text[64];
    bool told = read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text)) >= 36;

    if (!told)
        stpcpy(text, "-");
    text[strcspn(text, "\n")] = '\0';
    text[36] = '\0';
    stpcpy(ret_boot, text);
    return told;
}

int vst_process_id_read(int fd, struct vst_process_id *ret_id, struct vst_error *ret_err)
{
    char text[ID_MAX];
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    uint64_t pid = 0, start = 0;
    const char *at = text;
    size_t boot;

    if (length < 0)
        return vst_error_system(ret_err, errno, "process identity");
    text[length] = '\0';
    at = get_number(at, &pid);
    at = at && *at == ' ' ? get_number(at + 1, &start) : NULL;
    boot = at && *at == ' ' ? strcspn(at + 1, "\n") : 0;
    if (boot < 1 || boot >= sizeof(ret_id->boot) || at[1 + boot] != '\n' || pid < 1 ||
        pid > INT32_MAX)
        return vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no process has been started");
    ret_id->pid = (pid_t)pid;
    ret_id->start = start;
    memcpy(ret_id->boot, at + 1, boot);
    ret_id->boot[boot] = '\0';
    return 0;
}

bool vst_process_id_exists(const struct vst_process_id *id)
{
    uint64_t start;
    char boot[37], state;

    if (read_boot(boot) && strcmp(boot, id->boot) != 0)
        return false;
    if (read_stat(id->pid, &state, &start) < 0)
        return errno != ENOENT && errno != ESRCH;
    return start == id->start && state != 'Z' && state != 'X';
}

/* The descriptor comes first: from then on the number stands for one process, and we look which. */
void vst_process_id_kill(const struct vst_process_id *id)
{
    int pidfd = pidfd_open(id->pid, 0);

    if (pidfd < 0)
        return;
    if (vst_process_id_exists(id))
        pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    close(pidfd);
}

/* ---- users and programs ---- */

int vst_user_find(const char *name, struct vst_user *ret_user, struct vst_error *ret_err)
{
    int number, count = VST_PROCESS_GROUPS_MAX;
    struct passwd entry, *found = NULL;
    char text[4096];

    number = getpwnam_r(name, &entry, text, sizeof(text), &found);
    if (number && number != ENOENT && number != ESRCH)
        return vst_error_system(ret_err, number, "user=%s", name);
    if (!found)
        return vst_error_set(ret_err, VST_ERR_INVALID, "user=%s: this host has no such user", name);
    if (getgrouplist(name, entry.pw_gid, ret_user->groups, &count) < 0)
        return vst_error_set(ret_err, VST_ERR_UNSUPPORTED, "user=%s: in more than %d groups", name,
                             VST_PROCESS_GROUPS_MAX);
    ret_user->uid = entry.pw_uid;
    ret_user->gid = entry.pw_gid;
    ret_user->group_count = (size_t)count;
    return 0;
}

char *vst_program_find(const char *name, struct vst_error *ret_err)
{
    const char *path = getenv("PATH");
    char *file;

    for (path = path ? path : "/usr/bin:/bin"; *path; path += strspn(path, ":")) {
        int length = (int)strcspn(path, ":");

        if (asprintf(&file, "%.*s/%s", length, path, name) < 0) {
            vst_error_no_memory(ret_err);
            return NULL;
        }
        if (file[0] == '/' && access(file, X_OK) == 0)
            return file;
        free(file);
        path += length;
    }
    vst_error_set(ret_err, VST_ERR_NOT_FOUND, "%s: not in PATH; is it installed?", name);
    return NULL;
}

/* ---- in the new process ---- */

/* Ends the process. That is not told to the compiler: what sanitizers do before a function that
 * does not return is not for a borrowed stack. */
static void fail(struct plan *plan, const char *doing, const char *what)
{
    char *end = plan->what + sizeof(plan->what) - 1;
    char *at;

    plan->number = errno;
    at = stpncpy(plan->what, doing, (size_t)(end - plan->what));
    stpncpy(at, what, (size_t)(end - at));
    syscall(SYS_exit_group, 127);
}

/* What the application ignores or blocks is not to be ignored or blocked in the guest. */
static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number <= LAST_SIGNAL; number++)
        sigaction(number, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Out of the way of the numbers that are to be given. */
static int move_up(struct plan *plan, int fd)
{
    int up = -1;

    if (fd >= 0)
        up = fcntl(fd, F_DUPFD_CLOEXEC, VST_PROCESS_FD_FIRST + (int)plan->spawn->fd_count);
    if (fd >= 0 && up < 0)
        fail(plan, "descriptors", "");
    return up;
}

static void place(struct plan *plan, int fd, int number)
{
    if (fd < 0)
        close_bare(number);
    else if (syscall(SYS_dup3, fd, number, 0) < 0)
        fail(plan, "descriptors", "");
}

static void place_descriptors(struct plan *plan)
{
    const struct vst_spawn *spawn = plan->spawn;
    int null_fd = move_up(plan, plan->null_fd);
    int log_fd = move_up(plan, spawn->log_fd);

    for (size_t i = 0; i < spawn->fd_count; i++)
        plan->fds[i] = move_up(plan, spawn->fds[i]);
    place(plan, null_fd, STDIN_FILENO);
    place(plan, log_fd, STDOUT_FILENO);
    place(plan, log_fd, STDERR_FILENO);
    for (size_t i = 0; i < spawn->fd_count; i++)
        place(plan, plan->fds[i], VST_PROCESS_FD_FIRST + (int)i);
    /* Not left to the exec: we go on as soon as it has given our memory back, which is before it
     * closes anything, and a lock that we let go of then would still be held. */
    if (close_range(VST_PROCESS_FD_FIRST + (unsigned)spawn->fd_count, ~0U, 0) < 0)
        fail(plan, "descriptors", "");
}

static void become_user(struct plan *plan, const struct vst_user *user)
{
    if (syscall(SYS_setgroups, user->group_count, user->groups) < 0 ||
        syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0 ||
        syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
        fail(plan, "becoming another user", "");
}

/* How the application favours itself is not for the guest, nor the right to do so; if that is not
 * to be changed, it is a guest all the same. */
static void be_ordinary(void)
{
    const struct rlimit none = {0, 0};

    if (getpriority(PRIO_PROCESS, 0) < 0)
        setpriority(PRIO_PROCESS, 0, 0);
    setrlimit(RLIMIT_NICE, &none);
}

/* Before anything runs that would have to be found. */
static void write_identity(struct plan *plan)
{
    char text[ID_MAX], state, *at;
    pid_t pid = getpid();
    uint64_t start = 0;

    if (read_stat(pid, &state, &start) < 0)
        fail(plan, "reading /proc", "");
    at = put_number(text, (uint64_t)pid);
    *at++ = ' ';
    at = put_number(at, start);
    *at++ = ' ';
    at = stpcpy(at, plan->boot);
    *at++ = '\n';
    if (syscall(SYS_pwrite64, plan->spawn->id_fd, text, (size_t)(at - text), 0) != at - text)
        fail(plan, "writing the identity of the process", "");
}

static int be_program(void *opaque)
{
    const struct rlimit no_core = {0, 0};
    struct plan *plan = opaque;
    const struct vst_spawn *spawn = plan->spawn;

    write_identity(plan);
    reset_signals();
    place_descriptors(plan);
    umask(077);
    if (chdir("/") < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
        fail(plan, "limits", "");
    be_ordinary();
    if (spawn->user)
        become_user(plan, spawn->user);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail(plan, "no new privileges", "");
    for (const char *const *file = spawn->must_read; file && *file; file++)
        if (access(*file, R_OK) < 0)
            fail(plan, "it may not read ", *file);
    execve(spawn->program, spawn->words, environment);
    fail(plan, "execute ", spawn->program);
    return 127;
}

/* ---- in the process between ---- */

static int be_between(void *opaque)
{
    struct plan *plan = opaque;

    if (setsid() < 0 ||
        clone_bare(be_program, plan->stacks + 2 * STACK_SIZE,
                   CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, plan, &plan->pidfd) < 0)
        fail(plan, "clone", "");
    return 0;
}

/* ---- in ours ---- */

/* Without a signal at its end, it is invisible to the application: waitpid(-1) does not find it. */
static int clone_between(struct plan *plan)
{
    pid_t pid = clone_bare(be_between, plan->stacks + STACK_SIZE,
                           CLONE_VM | CLONE_VFORK | CLONE_FILES, plan);

    if (pid < 0)
        return -1;
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    return 0;
}

/*
 * No handler of the application may run in the borrowed memory, nor a cancellation. Becoming
 * another user makes memory undumpable, which is right as long as it is shared, and is taken back.
 */
static int run(struct plan *plan, struct vst_error *ret_err)
{
    int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    sigset_t all, before;
    int cancel, result;

    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = clone_between(plan);
    if (result < 0)
        vst_error_system(ret_err, errno, "clone");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setcancelstate(cancel, NULL);
    if (plan->spawn->user && dumpable == 1)
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (plan->number)
        result = vst_error_system(ret_err, plan->number, "%s", plan->what);
    return result;
}

static int prepare(struct plan *plan, struct vst_error *ret_err)
{
    const struct vst_spawn *spawn = plan->spawn;

    read_boot(plan->boot);
    plan->stacks = aligned_alloc(16, 2 * STACK_SIZE);
    plan->fds = calloc(spawn->fd_count + 1, sizeof(*plan->fds));
    if (!plan->stacks || !plan->fds)
        return vst_error_no_memory(ret_err);
    plan->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return plan->null_fd < 0 ? vst_error_system(ret_err, errno, "/dev/null") : 0;
}

int vst_spawn(const struct vst_spawn *spawn, struct vst_process_id *ret_id, int *ret_pidfd,
              struct vst_error *ret_err)
{
    struct plan plan = {.spawn = spawn, .null_fd = -1, .pidfd = -1};
    int result = prepare(&plan, ret_err);

    if (result == 0)
        result = run(&plan, ret_err);
    if (result == 0)
        result = vst_process_id_read(spawn->id_fd, ret_id, ret_err);
    free(plan.stacks);
    free(plan.fds);
    if (plan.null_fd >= 0)
        close(plan.null_fd);
    if (result == 0)
        *ret_pidfd = plan.pidfd;
    else if (plan.pidfd >= 0)
        close(plan.pidfd);
    return result;
}
