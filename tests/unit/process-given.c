/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process is given: descriptors, signals, rights, a user. With small programs of the system,
 * and at the end with the real QEMU and the command lines that are made for it.
 */
#include "one-process.h"

#include "drivers/qemu/files.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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
    one_run(one, words, text, sizeof(text));
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
    one_run(one, words, text, sizeof(text));
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
    one_run(one, words, text, sizeof(text));
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
    one_run(one, words, text, sizeof(text));
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

    one->spawn.user = &user;
    one_run(one, words, text, sizeof(text));
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

static void start_guest(struct one *one, struct guest *guest, const char *definition)
{
    struct sockaddr_un console;
    struct vst_error err = {0};
    struct vst_definition *def;
    struct vst_files *files;
    socklen_t length;
    char *program = vst_program_find("qemu-system-x86_64", NULL);
    int fd;

    assert_non_null(program);
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
    one->process = vst_process_spawn(one->base, "g1", &one->spawn, one_callback(one), &err);
    assert_non_null(one->process);
    one_await(one);
    vst_command_line_free(&one->spawn.words);
    vst_files_free(&files);
    vst_definition_free(&def);
    free(program);
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

    one_run_to_end(one);
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
        start_guest(one, &guest, text);
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
    start_guest(one, &guest, text);
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
    one_run_to_end(one);
    assert_non_null(strstr(one->why.text, "terminating on signal 15"));
    unlink(disk);
    unlink(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE_TEST(only_the_named_descriptors_are_inherited),
        ONE_TEST(descriptors_may_change_places),
        ONE_TEST(signals_privileges_and_limits_are_as_by_default),
        ONE_TEST(it_has_a_session_and_an_environment_of_its_own),
        VST_TEST_IF(geteuid() == 0, "not root", another_user_has_nothing_of_ours, one_begin,
                    one_end),
        ONE_TEST(users_are_found_by_name),
        ONE_TEST(qemu_takes_every_machine_and_bus),
        ONE_TEST(an_unread_console_goes_to_its_log_and_stalls_nothing),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
