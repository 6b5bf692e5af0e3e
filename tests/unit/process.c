/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes: what they inherit, how they end, who they are. With small programs of the system, and
 * at the end with the real QEMU and the command lines that are made for it.
 */
#include "test.h"

#include "drivers/qemu/files.h"
#include "drivers/qemu/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct one {
    struct event_base *base;
    struct vst_process *process;
    struct vst_spawn spawn;
    struct vst_error why;
    int gone; /* how often it has been told */
};

static void note_gone(void *opaque, const struct vst_error *why)
{
    struct one *one = opaque;

    one->why = *why;
    one->gone++;
    event_base_loopbreak(one->base);
}

static const struct vst_process_cb *callback(struct one *one)
{
    static struct vst_process_cb cb;

    cb = (struct vst_process_cb){.gone = note_gone, .opaque = one};
    return &cb;
}

static int begin(void **state)
{
    struct one *one = calloc(1, sizeof(*one));

    one->base = event_base_new();
    one->spawn.log_fd = memfd_create("log", MFD_CLOEXEC);
    one->spawn.id_fd = memfd_create("id", MFD_CLOEXEC);
    *state = one;
    return 0;
}

static int end(void **state)
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

/* Has it started; it has not been yet. */
static void order(struct one *one, char **words)
{
    struct vst_error err = {0};

    one->spawn.program = words[0];
    one->spawn.words = words;
    assert_int_equal(ftruncate(one->spawn.id_fd, 0), 0);
    one->process = vst_process_spawn(one->base, "g1", &one->spawn, callback(one), &err);
    if (!one->process)
        print_error("%s\n", err.text);
    assert_non_null(one->process);
    assert_int_equal(vst_process_get_id(one->process)->pid, 0);
}

/* Until it has been started, or will not be. */
static void await_start(struct one *one)
{
    while (!one->gone && !vst_process_get_id(one->process)->pid)
        event_base_loop(one->base, EVLOOP_ONCE);
}

static void start(struct one *one, char **words)
{
    order(one, words);
    await_start(one);
    if (one->gone)
        print_error("%s\n", one->why.text);
    assert_int_equal(one->gone, 0);
}

static void run_to_end(struct one *one)
{
    while (!one->gone)
        event_base_loop(one->base, EVLOOP_ONCE);
    vst_process_free(&one->process);
    assert_int_equal(one->gone, 1);
}

/* What a program prints, line by line in *ret_text. */
static void run_program(struct one *one, char **words, char *ret_text, size_t size)
{
    ssize_t length;

    start(one, words);
    run_to_end(one);
    length = pread(one->spawn.log_fd, ret_text, size - 1, 0);
    ret_text[length < 0 ? 0 : length] = '\0';
}

static void shell(struct one *one, const char *script)
{
    char text[256];
    char *words[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, text, NULL};

    snprintf(text, sizeof(text), "%s", script);
    start(one, words);
}

/* ---- how it ends ---- */

static void the_end_is_told_with_the_last_words(void **state)
{
    struct one *one = *state;

    shell(one, "echo 'qemu-system-x86_64: Size mismatch' >&2; echo 'a\001b'; exit 1");
    run_to_end(one);
    assert_int_equal(one->why.code, VST_ERR_DRIVER);
    assert_int_equal(one->why.side, VST_SIDE_QEMU);
    assert_string_equal(one->why.text, "qemu g1: Size mismatch; a?b");
}

static void an_end_without_words_is_told_too(void **state)
{
    struct one *one = *state;

    shell(one, "kill -9 $$");
    run_to_end(one);
    assert_int_equal(one->why.code, VST_ERR_DRIVER);
    assert_string_equal(one->why.text, "qemu g1: ended without a word (killed, or crashed)");
}

static void of_many_words_the_last_are_told(void **state)
{
    struct one *one = *state;

    shell(one, "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done");
    run_to_end(one);
    assert_non_null(strstr(one->why.text, "qemu g1: ..."));
    assert_non_null(strstr(one->why.text, "line 1998; line 1999"));
    assert_true(strlen(one->why.text) < sizeof(one->why.text));
}

static void expect_no_start(struct one *one, char **words, enum vst_code code, const char *text)
{
    order(one, words);
    run_to_end(one);
    assert_int_equal(one->why.code, code);
    assert_int_equal(one->why.side, VST_SIDE_HOST);
    if (strncmp(one->why.text, text, strlen(text)) != 0)
        fail_msg("%s", one->why.text);
}

static void a_program_that_cannot_be_executed_is_an_error_that_names_it(void **state)
{
    char *words[] = {(char[]){"/nonexistent/qemu"}, NULL};

    expect_no_start(*state, words, VST_ERR_NOT_FOUND,
                    "qemu g1: execute /nonexistent/qemu: No such file or directory");
}

static void a_file_that_it_may_not_read_is_an_error_that_names_it(void **state)
{
    char *words[] = {(char[]){"/bin/true"}, NULL};
    char path[] = "/tmp/vst-kernel-XXXXXX";
    const char *files[] = {"/bin/true", path, NULL};
    struct vst_user user = {.uid = 65534, .gid = 65534};
    struct one *one = *state;

    close(mkstemp(path)); /* mode 0600 */
    if (geteuid() == 0)
        one->spawn.user = &user;
    else
        assert_int_equal(chmod(path, 0), 0);
    one->spawn.must_read = files;
    expect_no_start(one, words, VST_ERR_ACCESS, "qemu g1: it may not read /tmp/vst-kernel-");
    unlink(path);
}

static void a_kill_ends_it_and_hits_nobody_afterwards(void **state)
{
    struct one *one = *state;

    shell(one, "exec sleep 1000");
    assert_int_equal(vst_process_kill(one->process, SIGKILL, NULL), 0);
    while (!one->gone)
        event_base_loop(one->base, EVLOOP_ONCE);
    assert_int_equal(vst_process_kill(one->process, SIGKILL, NULL), 0);
    assert_false(vst_process_id_exists(vst_process_get_id(one->process)));
}

/* It is started all the same, and gets the signal then. */
static void a_kill_before_it_has_been_started_ends_it(void **state)
{
    char *words[] = {(char[]){"/bin/sleep"}, (char[]){"1000"}, NULL};
    struct one *one = *state;

    order(one, words);
    assert_int_equal(vst_process_kill(one->process, SIGKILL, NULL), 0);
    run_to_end(one);
    assert_string_equal(one->why.text, "qemu g1: ended without a word (killed, or crashed)");
}

/* The thread is at it, and we have not heard of it. */
static void order_and_see(struct one *one, char **words, struct vst_process_id *ret_id)
{
    order(one, words);
    while (vst_process_id_read(one->spawn.id_fd, ret_id, NULL) < 0)
        usleep(1000);
}

static void one_that_is_killed_and_freed_while_it_is_being_started_ends(void **state)
{
    char *words[] = {(char[]){"/bin/sleep"}, (char[]){"1000"}, NULL};
    struct one *one = *state;
    struct vst_process_id id;

    order_and_see(one, words, &id);
    vst_process_kill(one->process, SIGKILL, NULL);
    vst_process_free(&one->process);
    while (vst_process_id_exists(&id))
        usleep(1000);
    event_base_loop(one->base, EVLOOP_NONBLOCK);
    assert_int_equal(one->gone, 0);
}

static void one_that_is_freed_while_it_is_being_started_goes_on(void **state)
{
    char *words[] = {(char[]){"/bin/echo"}, (char[]){"ran"}, NULL};
    struct one *one = *state;
    struct vst_process_id id;

    order_and_see(one, words, &id);
    vst_process_free(&one->process);
    while (lseek(one->spawn.log_fd, 0, SEEK_END) < 4)
        usleep(1000);
}

static void free_and_tell(void *opaque, const struct vst_error *why)
{
    struct one *one = opaque;

    vst_process_free(&one->process);
    note_gone(one, why);
}

static void it_may_be_freed_when_its_end_is_told(void **state)
{
    char *words[] = {(char[]){"/bin/true"}, NULL};
    struct one *one = *state;
    struct vst_process_cb cb = {.gone = free_and_tell, .opaque = one};

    one->spawn.program = words[0];
    one->spawn.words = words;
    one->process = vst_process_spawn(one->base, "g1", &one->spawn, &cb, NULL);
    assert_non_null(one->process);
    event_base_dispatch(one->base);
    assert_int_equal(one->gone, 1);
    assert_null(one->process);
}

static void nothing_is_told_after_free(void **state)
{
    struct one *one = *state;
    struct vst_process_id id;

    shell(one, "exit 1");
    id = *vst_process_get_id(one->process);
    vst_process_free(&one->process);
    while (vst_process_id_exists(&id))
        usleep(1000);
    event_base_loop(one->base, EVLOOP_NONBLOCK);
    assert_int_equal(one->gone, 0);
}

/* ---- what it is given ---- */

static void only_the_named_descriptors_are_inherited(void **state)
{
    struct one *one = *state;
    char *words[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, (char[]){"ls -l /proc/$$/fd; true"},
                     NULL};
    int fds[] = {open("/proc/version", O_RDONLY | O_CLOEXEC), -1,
                 open("/proc/uptime", O_RDONLY | O_CLOEXEC)};
    int not_closed_on_exec = open("/proc/stat", O_RDONLY);
    char text[4096];

    one->spawn.fds = fds;
    one->spawn.fd_count = 3;
    run_program(one, words, text, sizeof(text));
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    close(not_closed_on_exec);
    assert_non_null(strstr(text, " 0 -> /dev/null\n"));
    assert_non_null(strstr(text, " 1 -> /memfd:log (deleted)\n"));
    assert_non_null(strstr(text, " 2 -> /memfd:log (deleted)\n"));
    assert_non_null(strstr(text, " 3 -> /proc/version\n"));
    assert_null(strstr(text, " 4 -> "));
    assert_non_null(strstr(text, " 5 -> /proc/uptime\n"));
    assert_null(strstr(text, "/proc/stat"));
    assert_null(strstr(text, " 6 -> "));
    assert_null(strstr(text, "memfd:id"));
    assert_null(strstr(text, "socket:"));
}

/* Each number that is to be given is in use, for another file. */
static void descriptors_may_change_places(void **state)
{
    enum { FIRST = 40, COUNT = 3 };
    static const char *const files[COUNT] = {"/proc/version", "/proc/uptime", "/proc/stat"};
    struct one *one = *state;
    char *words[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, (char[]){"ls -l /proc/$$/fd; true"},
                     NULL};
    int fds[FIRST + COUNT];
    char text[4096];

    for (int i = 0; i < FIRST + COUNT; i++)
        fds[i] = -1;
    for (int i = 0; i < COUNT; i++) {
        int fd = open(files[i], O_RDONLY | O_CLOEXEC);

        assert_int_equal(dup3(fd, FIRST + i, O_CLOEXEC), FIRST + i);
        close(fd);
        fds[FIRST - VST_PROCESS_FD_FIRST + COUNT - 1 - i] = FIRST + i;
    }
    one->spawn.fds = fds;
    one->spawn.fd_count = FIRST - VST_PROCESS_FD_FIRST + COUNT;
    run_program(one, words, text, sizeof(text));
    for (int i = 0; i < COUNT; i++)
        close(FIRST + i);
    assert_non_null(strstr(text, " 40 -> /proc/stat\n"));
    assert_non_null(strstr(text, " 41 -> /proc/uptime\n"));
    assert_non_null(strstr(text, " 42 -> /proc/version\n"));
}

static unsigned long long ignored_signals(const char *status)
{
    const char *line = strstr(status, "SigIgn:\t");

    assert_non_null(line);
    return strtoull(line + 8, NULL, 16);
}

static void signals_privileges_and_limits_are_as_by_default(void **state)
{
    struct one *one = *state;
    char *words[] = {(char[]){"/bin/cat"}, (char[]){"/proc/self/status"},
                     (char[]){"/proc/self/limits"}, NULL};
    char text[16384];
    sigset_t set, before;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &before);
    run_program(one, words, text, sizeof(text));
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    assert_non_null(strstr(text, "SigBlk:\t0000000000000000"));
    assert_int_equal(ignored_signals(text) & ~(3ull << 31), 0); /* 32, 33: the C library's own */
    assert_non_null(strstr(text, "NoNewPrivs:\t1"));
    assert_non_null(strstr(text, "Umask:\t0077"));
    assert_non_null(strstr(text, "Max core file size        0                    0"));
}

static void it_has_a_session_and_an_environment_of_its_own(void **state)
{
    struct one *one = *state;
    char *words[] = {(char[]){"/bin/sh"}, (char[]){"-c"},
                     (char[]){"cut -d' ' -f6 /proc/$$/stat; pwd; env"}, NULL};
    char text[4096];

    setenv("VST_SECRET", "password", 1);
    run_program(one, words, text, sizeof(text));
    unsetenv("VST_SECRET");
    assert_int_not_equal(atoi(text), getsid(0));
    assert_non_null(strstr(text, "\n/\n"));
    assert_non_null(strstr(text, "LC_ALL=C"));
    assert_null(strstr(text, "VST_SECRET"));
}

static void another_user_has_nothing_of_ours(void **state)
{
    struct one *one = *state;
    char *words[] = {(char[]){"/bin/cat"}, (char[]){"/proc/self/status"}, NULL};
    struct vst_user user = {.uid = 65534, .gid = 65533, .group_count = 1, .groups = {65532}};
    char text[8192];

    if (geteuid() != 0) {
        print_message("# needs root\n");
        return;
    }
    one->spawn.user = &user;
    run_program(one, words, text, sizeof(text));
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
    assert_non_null(strstr(text, "Uid:\t65534\t65534\t65534\t65534"));
    assert_non_null(strstr(text, "Gid:\t65533\t65533\t65533\t65533"));
    assert_non_null(strstr(text, "Groups:\t65532 \n"));
    assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
}

static void users_are_found_by_name(void **state)
{
    struct vst_error err = {0};
    struct vst_user user;

    (void)state;
    assert_int_equal(vst_user_find("root", &user, NULL), 0);
    assert_int_equal(user.uid, 0);
    assert_int_equal(vst_user_find("no such user", &user, &err), -1);
    assert_int_equal(err.code, VST_ERR_INVALID);
}

/* ---- who it is ---- */

static int children_told;

static void note_child(int number)
{
    children_told += number == SIGCHLD;
}

static void the_application_hears_nothing_of_a_child(void **state)
{
    struct one *one = *state;

    children_told = 0;
    signal(SIGCHLD, note_child);
    shell(one, "exec sleep 1000");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    vst_process_kill(one->process, SIGKILL, NULL);
    run_to_end(one);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(children_told, 0);
}

static void its_identity_is_on_record_before_it_is_executed(void **state)
{
    char path[] = "/tmp/vst-id-XXXXXX";
    struct one *one = *state;
    char *words[] = {(char[]){"/bin/cat"}, path, NULL};
    int fd = mkstemp(path), memory = one->spawn.id_fd;
    char text[256], pid[32];

    one->spawn.id_fd = fd;
    start(one, words);
    snprintf(pid, sizeof(pid), "%d ", (int)vst_process_get_id(one->process)->pid);
    run_to_end(one);
    one->spawn.id_fd = memory;
    close(fd);
    unlink(path);
    text[pread(one->spawn.log_fd, text, sizeof(text) - 1, 0)] = '\0';
    assert_memory_equal(text, pid, strlen(pid));
}

static void it_outlives_its_object_and_can_be_adopted(void **state)
{
    struct one *one = *state;
    struct vst_process_id id;

    shell(one, "echo first; exec sleep 1000");
    vst_process_free(&one->process);
    assert_int_equal(vst_process_id_read(one->spawn.id_fd, &id, NULL), 0);
    assert_true(vst_process_id_exists(&id));
    one->process = vst_process_adopt(one->base, "g1", &id, one->spawn.log_fd, callback(one), NULL);
    assert_non_null(one->process);
    while (lseek(one->spawn.log_fd, 0, SEEK_END) < 6)
        usleep(1000);
    assert_int_equal(vst_process_kill(one->process, SIGTERM, NULL), 0);
    run_to_end(one);
    assert_string_equal(one->why.text, "qemu g1: first");
}

static void another_process_with_its_number_is_not_taken_for_it(void **state)
{
    struct one *one = *state;
    struct vst_error err = {0};
    struct vst_process_id id, other;

    shell(one, "exec sleep 1000");
    id = *vst_process_get_id(one->process);
    assert_true(vst_process_id_exists(&id));
    other = id;
    other.start++;
    assert_false(vst_process_id_exists(&other));
    assert_null(vst_process_adopt(one->base, "g1", &other, one->spawn.log_fd, callback(one), &err));
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    other = id;
    other.boot[0] = other.boot[0] == 'x' ? 'y' : 'x';
    assert_false(vst_process_id_exists(&other));
}

static void a_process_that_has_ended_is_not_adopted(void **state)
{
    struct one *one = *state;
    struct vst_error err = {0};
    struct vst_process_id id;

    shell(one, "echo no such machine");
    id = *vst_process_get_id(one->process);
    run_to_end(one);
    assert_null(vst_process_adopt(one->base, "g1", &id, one->spawn.log_fd, callback(one), &err));
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    assert_string_equal(err.text, "qemu g1: no such machine");
}

static void bad_identities_are_not_found(void **state)
{
    static const char *const bad[] = {
        "",
        "\n",
        "1",
        "1 2",
        "1 2 \n",
        "x 2 b\n",
        "0 2 b\n",
        "99999999999 2 b\n",
        "-1 2 b\n",
        "1 2 b3",
        "1 2b\n",
        "1  2 b\n",
        "1 2 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n",
        "1 99999999999999999999999 b\n",
    };
    struct one *one = *state;
    struct vst_process_id id;
    struct vst_error err;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err = (struct vst_error){0};
        assert_int_equal(ftruncate(one->spawn.id_fd, 0), 0);
        assert_int_equal(pwrite(one->spawn.id_fd, bad[i], strlen(bad[i]), 0), strlen(bad[i]));
        assert_int_equal(vst_process_id_read(one->spawn.id_fd, &id, &err), -1);
        assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    }
}

static void without_descriptors_nothing_is_started(void **state)
{
    struct one *one = *state;
    char *words[] = {(char[]){"/bin/echo"}, (char[]){"ran"}, NULL};
    struct rlimit before, few;

    one->spawn.program = words[0];
    one->spawn.words = words;
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    for (few.rlim_cur = 3; !one->process && few.rlim_cur < 64; few.rlim_cur++) {
        assert_int_equal(ftruncate(one->spawn.id_fd, 0), 0);
        one->why = (struct vst_error){0};
        one->gone = 0;
        setrlimit(RLIMIT_NOFILE, &few);
        one->process = vst_process_spawn(one->base, "g1", &one->spawn, callback(one), &one->why);
        if (one->process)
            await_start(one);
        setrlimit(RLIMIT_NOFILE, &before);
        if (one->gone)
            vst_process_free(&one->process);
        assert_true(one->process || one->why.code == VST_ERR_SYSTEM);
        usleep(1000);
        if (!one->process)
            assert_int_equal(lseek(one->spawn.log_fd, 0, SEEK_END), 0);
    }
    assert_non_null(one->process);
    run_to_end(one);
}

/* ---- with QEMU ---- */

/* A listening socket under a name that needs no path. */
static int listen_at(const char *name, struct sockaddr_un *ret_address, socklen_t *ret_length)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_address->sun_path + 1, sizeof(ret_address->sun_path) - 1, "vst-test-%d-%s",
             (int)getpid(), name);
    *ret_length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret_address->sun_path + 1));
    assert_int_equal(bind(fd, (struct sockaddr *)ret_address, *ret_length), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

struct guest {
    struct sockaddr_un address;
    socklen_t length;
};

/* 0, or -1 when there is no QEMU here. */
static int start_guest(struct one *one, struct guest *guest, const char *definition)
{
    struct sockaddr_un console;
    struct vst_error err = {0};
    struct vst_definition *def;
    struct vst_files *files;
    socklen_t length;
    char *program = vst_program_find("qemu-system-x86_64", NULL);
    int fd;

    if (!program) {
        print_message("# no qemu-system-x86_64 here\n");
        return -1;
    }
    def = vst_definition_parse(definition, strlen(definition), &err);
    assert_non_null(def);
    files = vst_files_open(def, &err);
    assert_non_null(files);
    fd = listen_at("monitor", &guest->address, &guest->length);
    vst_files_set(files, VST_QEMU_FD_MONITOR, &fd);
    if (def->console) {
        fd = listen_at("console", &console, &length);
        vst_files_set(files, VST_QEMU_FD_CONSOLE, &fd);
    }
    one->spawn.program = program;
    one->spawn.words = vst_command_line(def, program, false, &err);
    one->spawn.fds = files->fds;
    one->spawn.fd_count = files->count;
    assert_int_equal(ftruncate(one->spawn.id_fd, 0), 0);
    one->gone = 0;
    one->process = vst_process_spawn(one->base, "g1", &one->spawn, callback(one), &err);
    assert_non_null(one->process);
    await_start(one);
    vst_command_line_free(&one->spawn.words);
    vst_files_free(&files);
    vst_definition_free(&def);
    free(program);
    return 0;
}

static int say(const struct guest *guest, const char *commands)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&guest->address, guest->length), 0);
    assert_int_equal(write(fd, "{\"execute\":\"qmp_capabilities\"}\n", 31), 31);
    assert_int_equal(write(fd, commands, strlen(commands)), strlen(commands));
    return fd;
}

static void quit(struct one *one, const struct guest *guest)
{
    int fd = say(guest, "{\"execute\":\"quit\"}\n");

    run_to_end(one);
    close(fd);
}

#define GUEST "{\"name\":\"g1\",\"accel\":\"tcg\",\"memory-mib\":16,\"vcpus\":1,"

static void qemu_takes_every_machine_and_bus(void **state)
{
    static const struct {
        const char *machine, *bus;
        bool console;
    } rows[] = {
        {"none", NULL, false},  {"microvm", NULL, true}, {"microvm", "virtio", true},
        {"pc", "virtio", true}, {"pc", "ide", true},     {"pc", "scsi", true},
        {"pc", "floppy", true}, {"q35", "virtio", true}, {"q35", "ide", true},
        {"q35", "scsi", true},  {"q35", "floppy", true}, {"microvm", "scsi", false},
    };
    char disk[] = "/tmp/vst-disk-XXXXXX";
    struct one *one = *state;
    int fd = mkstemp(disk);

    assert_int_equal(ftruncate(fd, 1440 * 1024), 0);
    close(fd);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[1024] = "", disks[512] = "";
        struct guest guest;

        if (rows[i].bus)
            snprintf(disks, sizeof(disks),
                     ",\"disks\":[{\"name\":\"a\",\"file\":\"%s\",\"format\":\"raw\","
                     "\"bus\":\"%s\",\"readonly\":true},{\"name\":\"b\",\"file\":\"%s\","
                     "\"format\":\"raw\",\"bus\":\"%s\",\"readonly\":true}]",
                     disk, rows[i].bus, disk, rows[i].bus);
        snprintf(text, sizeof(text), GUEST "\"machine\":\"%s\"%s%s}", rows[i].machine,
                 rows[i].console ? ",\"console\":{}" : "", disks);
        if (start_guest(one, &guest, text) < 0)
            break;
        quit(one, &guest);
        if (strcmp(one->why.text, "qemu g1: ended without a word (killed, or crashed)") != 0)
            fail_msg("%s %s: %s", rows[i].machine, rows[i].bus ? rows[i].bus : "", one->why.text);
    }
    unlink(disk);
}

/* Prints letters on the first serial port for ever, as fast as it takes them. */
static const unsigned char printing_sector[512] = {
    0xfa,         0xb0, 'A',  0xba, 0xf8,
    0x03,         0xee, /* cli; mov al,'A'; mov dx,0x3f8; again: out */
    0xba,         0xfd, 0x03, 0xec, 0xa8,
    0x20,         0x74,                   /* mov dx,0x3fd; wait: in; test al,0x20; jz wait */
    0xfb,         0xb0, 'B',  0xeb, 0xf0, /* mov al,'B'; jmp to mov dx,0x3f8 */
    [510] = 0x55, 0xaa,
};

/* Disk and log belong to somebody else than the user that QEMU becomes; nobody reads the console.
 */
static void an_unread_console_goes_to_its_log_and_stalls_nothing(void **state)
{
    struct vst_user nobody = {.uid = 65534, .gid = 65534};
    char disk[] = "/tmp/vst-disk-XXXXXX", log[] = "/tmp/vst-log-XXXXXX", text[1024];
    struct stat st = {.st_size = 0};
    struct one *one = *state;
    struct guest guest;
    int fd = mkstemp(disk), monitor;

    assert_int_equal(write(fd, printing_sector, sizeof(printing_sector)), 512);
    assert_int_equal(ftruncate(fd, 1440 * 1024), 0);
    close(fd);
    fd = mkstemp(log);
    assert_int_equal(write(fd, "before\n", 7), 7);
    close(fd);
    if (geteuid() == 0)
        one->spawn.user = &nobody;
    snprintf(text, sizeof(text),
             GUEST "\"machine\":\"pc\",\"console\":{\"log\":\"%s\"},\"disks\":[{\"name\":\"boot\","
                   "\"file\":\"%s\",\"format\":\"raw\",\"bus\":\"floppy\",\"readonly\":true}]}",
             log, disk);
    if (start_guest(one, &guest, text) == 0) {
        monitor = say(&guest, "{\"execute\":\"cont\"}\n");
        while (stat(log, &st) == 0 && st.st_size < 200000 && !one->gone)
            event_base_loop(one->base, EVLOOP_NONBLOCK);
        close(monitor);
        assert_int_equal(one->gone, 0);
        fd = open(log, O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, text, 12), 12);
        close(fd);
        assert_memory_equal(text, "before\nABBBB", 12);
        vst_process_kill(one->process, SIGTERM, NULL);
        run_to_end(one);
        assert_non_null(strstr(one->why.text, "terminating on signal 15"));
    }
    unlink(disk);
    unlink(log);
}

#define TEST(function) VST_TEST_WITH(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_end_is_told_with_the_last_words),
        TEST(an_end_without_words_is_told_too),
        TEST(of_many_words_the_last_are_told),
        TEST(a_program_that_cannot_be_executed_is_an_error_that_names_it),
        TEST(a_file_that_it_may_not_read_is_an_error_that_names_it),
        TEST(a_kill_ends_it_and_hits_nobody_afterwards),
        TEST(a_kill_before_it_has_been_started_ends_it),
        TEST(one_that_is_killed_and_freed_while_it_is_being_started_ends),
        TEST(one_that_is_freed_while_it_is_being_started_goes_on),
        TEST(it_may_be_freed_when_its_end_is_told),
        TEST(nothing_is_told_after_free),
        TEST(only_the_named_descriptors_are_inherited),
        TEST(descriptors_may_change_places),
        TEST(signals_privileges_and_limits_are_as_by_default),
        TEST(it_has_a_session_and_an_environment_of_its_own),
        TEST(another_user_has_nothing_of_ours),
        TEST(users_are_found_by_name),
        TEST(the_application_hears_nothing_of_a_child),
        TEST(its_identity_is_on_record_before_it_is_executed),
        TEST(it_outlives_its_object_and_can_be_adopted),
        TEST(another_process_with_its_number_is_not_taken_for_it),
        TEST(a_process_that_has_ended_is_not_adopted),
        TEST(bad_identities_are_not_found),
        TEST(without_descriptors_nothing_is_started),
        TEST(qemu_takes_every_machine_and_bus),
        TEST(an_unread_console_goes_to_its_log_and_stalls_nothing),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
