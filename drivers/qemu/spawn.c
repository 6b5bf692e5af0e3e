/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fork, fork, exec. Between the first fork and the exec only async-signal-safe calls are made,
 * because other threads of the application may have held any lock at the moment of the fork.
 * Users and groups are changed by the bare system calls: those of the C library would wait for
 * threads that the fork left behind.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STAT_MAX = 1024, ID_MAX = 96, START_FIELD = 22, LAST_SIGNAL = 64 };

/* Comes through the link in one piece, and only when something failed. */
struct failure {
    int number;
    char what[256];
};

/* All that is needed after the fork, made before it. */
struct plan {
    const struct vst_spawn *spawn;
    int *fds; /* moved about after the fork */
    int null_fd;
    int log_fd;
    int link[2]; /* ours, the new process's */
    char boot[37];
};

static char *const environment[] = {
    (char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
    (char[]){"LC_ALL=C"},
    NULL,
};

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
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length;

    if (fd < 0)
        return -1;
    length = read(fd, into, size - 1);
    close(fd);
    into[length < 0 ? 0 : length] = '\0';
    return length;
}

/* State and start time of a process. The name in parentheses may hold anything: fields are counted
 * after the last one. */
static int read_stat(pid_t pid, char *ret_state, uint64_t *ret_start)
{
    char path[40], text[STAT_MAX], *at;

    at = stpcpy(path, "/proc/");
    at = put_number(at, (uint64_t)pid);
    strcpy(at, "/stat");
    if (read_text(path, text, sizeof(text)) <= 0)
        return -1;
    at = strrchr(text, ')');
    if (!at || at[1] != ' ' || !at[2])
        return -1;
    *ret_state = at[2];
    for (int field = 2; field < START_FIELD && at; field++)
        at = strchr(at + 1, ' ');
    return at && get_number(at + 1, ret_start) ? 0 : -1;
}

static void read_boot(char ret_boot[37])
{
    char text[64];

    if (read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text)) < 36)
        strcpy(text, "-");
    text[strcspn(text, "\n")] = '\0';
    text[36] = '\0';
    strcpy(ret_boot, text);
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

    read_boot(boot);
    return strcmp(boot, id->boot) == 0 && read_stat(id->pid, &state, &start) == 0 &&
           start == id->start && state != 'Z' && state != 'X';
}

/* ---- users and programs ---- */

int vst_user_find(const char *name, struct vst_user *ret_user, struct vst_error *ret_err)
{
    int number, count = VST_PROCESS_GROUPS_MAX;
    struct passwd entry, *found = NULL;
    char text[4096];

    number = getpwnam_r(name, &entry, text, sizeof(text), &found);
    if (number)
        return vst_error_system(ret_err, number, "user %s", name);
    if (!found)
        return vst_error_set(ret_err, VST_ERR_NOT_FOUND, "user %s: no such user", name);
    if (getgrouplist(name, entry.pw_gid, ret_user->groups, &count) < 0)
        return vst_error_set(ret_err, VST_ERR_UNSUPPORTED, "user %s: in more than %d groups", name,
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
    vst_error_set(ret_err, VST_ERR_NOT_FOUND, "%s: not in PATH; is QEMU installed?", name);
    return NULL;
}

/* ---- after the fork ---- */

__attribute__((noreturn)) static void fail(const struct plan *plan, const char *doing,
                                           const char *what)
{
    struct failure failure = {.number = errno};
    char *end = failure.what + sizeof(failure.what) - 1;
    char *at = stpncpy(failure.what, doing, sizeof(failure.what) - 1);

    stpncpy(at, what, (size_t)(end - at));
    send(plan->link[1], &failure, sizeof(failure), MSG_NOSIGNAL);
    _exit(127);
}

/* What the application ignores or blocks must not be ignored or blocked in the guest. */
static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number <= LAST_SIGNAL; number++)
        sigaction(number, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Out of the way of the numbers that are to be given; closed by the exec. */
static void move_up(const struct plan *plan, int *fd)
{
    if (*fd < 0)
        return;
    *fd = fcntl(*fd, F_DUPFD_CLOEXEC, VST_PROCESS_FD_FIRST + (int)plan->spawn->fd_count);
    if (*fd < 0)
        fail(plan, "descriptors", "");
}

static void place(const struct plan *plan, int fd, int number)
{
    if (fd < 0)
        close(number);
    else if (dup2(fd, number) < 0)
        fail(plan, "descriptors", "");
}

static void place_descriptors(struct plan *plan)
{
    size_t count = plan->spawn->fd_count;

    move_up(plan, &plan->link[1]);
    move_up(plan, &plan->null_fd);
    move_up(plan, &plan->log_fd);
    for (size_t i = 0; i < count; i++)
        move_up(plan, &plan->fds[i]);
    place(plan, plan->null_fd, STDIN_FILENO);
    place(plan, plan->log_fd, STDOUT_FILENO);
    place(plan, plan->log_fd, STDERR_FILENO);
    for (size_t i = 0; i < count; i++)
        place(plan, plan->fds[i], VST_PROCESS_FD_FIRST + (int)i);
    if (close_range(VST_PROCESS_FD_FIRST + (unsigned)count, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        fail(plan, "descriptors", "");
}

static void become_user(const struct plan *plan, const struct vst_user *user)
{
    if (syscall(SYS_setgroups, user->group_count, user->groups) < 0 ||
        syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0 ||
        syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
        fail(plan, "becoming another user", "");
}

__attribute__((noreturn)) static void become_program(struct plan *plan)
{
    const struct vst_spawn *spawn = plan->spawn;
    const struct rlimit no_core = {0, 0};

    reset_signals();
    place_descriptors(plan);
    umask(077);
    if (chdir("/") < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
        fail(plan, "limits", "");
    if (spawn->user)
        become_user(plan, spawn->user);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail(plan, "no new privileges", "");
    for (const char *const *file = spawn->must_read; file && *file; file++)
        if (access(*file, R_OK) < 0)
            fail(plan, "it may not read ", *file);
    execve(spawn->program, spawn->words, environment);
    fail(plan, "execute ", spawn->program);
}

/* The process cannot vanish before its start time is read: it would be our zombie. */
static void write_identity(const struct plan *plan, pid_t pid)
{
    char text[ID_MAX], state, *at;
    uint64_t start;

    if (read_stat(pid, &state, &start) < 0)
        fail(plan, "reading /proc", "");
    at = put_number(text, (uint64_t)pid);
    *at++ = ' ';
    at = put_number(at, start);
    *at++ = ' ';
    at = stpcpy(at, plan->boot);
    *at++ = '\n';
    if (pwrite(plan->spawn->id_fd, text, (size_t)(at - text), 0) != at - text)
        fail(plan, "writing the identity of the process", "");
}

/* Nobody may run unknown. The end of the link means that we are not wanted, or orphaned. */
static void wait_for_go(const struct plan *plan)
{
    char byte;

    if (recv(plan->link[1], &byte, 1, 0) != 1)
        _exit(127);
}

__attribute__((noreturn)) static void be_between(struct plan *plan)
{
    pid_t pid;

    close(plan->link[0]);
    if (setsid() < 0)
        fail(plan, "session", "");
    pid = _Fork();
    if (pid < 0)
        fail(plan, "fork", "");
    if (pid == 0) {
        wait_for_go(plan);
        become_program(plan);
    }
    write_identity(plan, pid);
    _exit(0);
}

/* ---- before and after ---- */

/* No handler of the application may run on the wrong side of the fork. */
static pid_t fork_between(struct plan *plan)
{
    sigset_t all, before;
    pid_t pid;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = _Fork();
    if (pid == 0)
        be_between(plan);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* It does nothing but fork once more. Somebody else's waitpid(-1) may have been faster. */
static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int start(struct plan *plan, struct vst_process_id *ret_id, struct vst_error *ret_err)
{
    pid_t pid = fork_between(plan);

    if (pid < 0)
        return vst_error_system(ret_err, errno, "fork");
    reap(pid);
    if (vst_process_id_read(plan->spawn->id_fd, ret_id, NULL) == 0)
        return 0;
    vst_spawn_read_failure(plan->link[0], ret_err);
    return vst_error_set(ret_err, VST_ERR_SYSTEM, "the process between ended too early");
}

static int prepare(struct plan *plan, struct vst_error *ret_err)
{
    const struct vst_spawn *spawn = plan->spawn;

    read_boot(plan->boot);
    plan->fds = calloc(spawn->fd_count + 1, sizeof(*plan->fds));
    if (!plan->fds)
        return vst_error_no_memory(ret_err);
    for (size_t i = 0; i < spawn->fd_count; i++)
        plan->fds[i] = spawn->fds[i];
    plan->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (plan->null_fd < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, plan->link) < 0 ||
        fcntl(plan->link[0], F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        return vst_error_system(ret_err, errno, "descriptors");
    return 0;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

int vst_spawn(const struct vst_spawn *spawn, struct vst_process_id *ret_id, int *ret_link,
              struct vst_error *ret_err)
{
    struct plan plan = {.spawn = spawn, .null_fd = -1, .log_fd = spawn->log_fd, .link = {-1, -1}};
    int result = prepare(&plan, ret_err);

    if (result == 0)
        result = start(&plan, ret_id, ret_err);
    free(plan.fds);
    close_if_open(plan.null_fd);
    close_if_open(plan.link[1]);
    if (result == 0)
        *ret_link = plan.link[0];
    else
        close_if_open(plan.link[0]);
    return result;
}

int vst_spawn_go(int link, struct vst_error *ret_err)
{
    if (send(link, "", 1, MSG_NOSIGNAL) != 1)
        return vst_error_system(ret_err, errno, "the new process");
    return 0;
}

enum vst_io vst_spawn_read_failure(int link, struct vst_error *ret_err)
{
    struct failure failure;
    ssize_t length = recv(link, &failure, sizeof(failure), 0);

    if (length == sizeof(failure)) {
        failure.what[sizeof(failure.what) - 1] = '\0';
        vst_error_system(ret_err, failure.number, "%s", failure.what);
        return VST_IO_OK;
    }
    return length < 0 && (errno == EAGAIN || errno == EINTR) ? VST_IO_AGAIN : VST_IO_EOF;
}
