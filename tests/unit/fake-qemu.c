/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fake QEMU: one loop of poll(2), three descriptors at most. It shares no code with what it
 * tests, and ends where a real program would handle an error.
 */
#include "fake-qemu.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MONITOR = 3, LEASH = 4, STATE_BYTES = 300 * 1000, PART_BYTES = 10 * 1000, MIB = 1 << 20 };
enum { FAULTS = 4 };

#define GREETING                                                                  \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": " \
    "7}, \"package\": \"fake\"}, \"capabilities\": [\"oob\"]}}\r\n"

/* Where to misbehave. */
struct fault {
    const char *command;
    const char *how;
    int turn; /* how often the command is still to come */
};

struct fake {
    struct fault faults[FAULTS];
    size_t count; /* of these; 0: it behaves, now if not before */
    bool probe;
    bool silent;   /* to this client */
    bool running;  /* the guest's CPUs */
    bool incoming; /* waits for its state */
    int client;    /* -1: none */
    int passed;    /* from the client; -1: none */
    int moving;    /* the socket of the migration under way; -1: none */
    long moved;
    long most;     /* bytes that will be moved */
    bool stuck;    /* does not end when they are */
    bool mute;     /* and does not tell */
    bool restless; /* it passes over its memory again and again, until the guest is stopped */
    int pass;
    const char *told; /* how the migration is: "active", ...; NULL: there was none */
    struct json_tokener *tokener;
};

#define must(condition) \
    ((condition) ? (void)0 : (fprintf(stderr, "fake-qemu: not so: %s\n", #condition), _exit(3)))

/* ---- saying ---- */

static void say_bytes(struct fake *fake, const char *bytes, size_t length)
{
    while (length > 0 && fake->client >= 0 && !fake->silent) {
        ssize_t n = send(fake->client, bytes, length, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* it has left, which its end of the socket will tell, too */
        bytes += n;
        length -= (size_t)n;
    }
}

__attribute__((format(printf, 2, 3))) static void say(struct fake *fake, const char *format, ...)
{
    char text[4096];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    must(length > 0 && (size_t)length < sizeof(text));
    say_bytes(fake, text, (size_t)length);
}

static void say_event(struct fake *fake, const char *name, const char *data)
{
    say(fake,
        "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 0}, \"event\": "
        "\"%s\"%s%s}\r\n",
        name, data ? ", \"data\": " : "", data ? data : "");
}

static void tell(struct fake *fake, const char *status)
{
    char data[64];

    snprintf(data, sizeof(data), "{\"status\": \"%s\"}", status);
    fake->told = status;
    if (!fake->mute)
        say_event(fake, "MIGRATION", data);
}

static void reply(struct fake *fake, const char *value, long long id)
{
    say(fake, "{\"return\": %s, \"id\": %lld}\r\n", value, id);
}

static void flood(struct fake *fake)
{
    static char piece[MIB];

    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 64; i++)
        say_bytes(fake, piece, sizeof(piece));
}

static void hang_up(struct fake *fake)
{
    if (fake->client >= 0)
        close(fake->client);
    fake->client = -1;
    fake->silent = false;
}

/* ---- moving a state ---- */

static void end_moving(struct fake *fake)
{
    if (fake->moving >= 0)
        close(fake->moving);
    fake->moving = -1;
}

static bool is_endless(const struct fake *fake)
{
    for (size_t i = 0; i < fake->count; i++)
        if (!strcmp(fake->faults[i].how, "endless"))
            return true;
    return false;
}

static void move(struct fake *fake)
{
    static char bytes[4096];
    ssize_t n;

    if (fake->incoming)
        n = read(fake->moving, bytes, sizeof(bytes));
    else if (fake->moved < fake->most)
        n = send(fake->moving, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        n = 0;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 || is_endless(fake)) {
        fake->moved += n > 0 ? n : fake->most;
        return;
    }
    end_moving(fake);
    fake->incoming &= n < 0;
    tell(fake, n < 0 ? "failed" : "completed");
}

/* ---- a guest that changes its memory faster than it is sent ---- */

/* Three passes between two looks: 64 MiB/s are changed, 8 MiB/s sent. */
static void pass_again(struct fake *fake, char *ret_text, size_t room)
{
    char event[32];

    fake->pass += fake->pass ? 3 : 1;
    snprintf(event, sizeof(event), "{\"pass\": %d}", fake->pass);
    say_event(fake, "MIGRATION_PASS", event);
    snprintf(ret_text, room,
             "{\"status\": \"%s\", \"expected-downtime\": 4000, \"ram\": {\"total\": %d, "
             "\"transferred\": %d, \"remaining\": %d, \"mbps\": %f, \"dirty-sync-count\": %d, "
             "\"dirty-pages-rate\": %d}}",
             fake->told, 256 * MIB, fake->pass * MIB, 32 * MIB, 8.5 * MIB * 8 / 1e6, fake->pass,
             64 * MIB / 4096);
}

/* What is left is little now: the switch is waited for. */
static void calm_down(struct fake *fake)
{
    if (!fake->restless || fake->moving < 0)
        return;
    fake->restless = false;
    usleep(VST_FAKE_CALM_MS * 1000); /* that little has to be sent, too */
    tell(fake, "pre-switchover");
}

static void switch_over(struct fake *fake)
{
    must(!strcmp(fake->told, "pre-switchover"));
    fake->stuck = false;
    tell(fake, "device");
}

static bool wants_to_move(const struct fake *fake)
{
    return fake->moving >= 0 && (fake->moved < fake->most || !fake->stuck);
}

static void begin_moving(struct fake *fake, const char *how)
{
    fake->moving = fake->passed;
    fake->passed = -1;
    must(fake->moving >= 0);
    fake->moved = 0;
    fake->most = fake->incoming ? 1L << 40 : STATE_BYTES;
    fake->stuck = !strcmp(how, "idle") || !strcmp(how, "stall") || !strcmp(how, "endless");
    fake->restless = !strcmp(how, "restless");
    fake->stuck |= fake->restless;
    fake->mute = !strcmp(how, "mute") || !strcmp(how, "cut");
    if (fake->stuck)
        fake->most = !strcmp(how, "idle") ? 0 : PART_BYTES;
    tell(fake, "setup");
    tell(fake, "active");
    if (!strcmp(how, "cut") || !strcmp(how, "failed")) {
        end_moving(fake);
        tell(fake, "failed");
    } else if (!strcmp(how, "idle")) {
        tell(fake, "completed");
    }
}

static void cancel_moving(struct fake *fake)
{
    if (fake->moving < 0 || is_endless(fake))
        return;
    end_moving(fake);
    fake->mute = fake->restless = false;
    tell(fake, "cancelling");
    tell(fake, "cancelled");
}

/* ---- obeying ---- */

static void describe_migration(struct fake *fake, char *ret_text, size_t room)
{
    if (!fake->told)
        snprintf(ret_text, room, "{}");
    else if (fake->restless)
        pass_again(fake, ret_text, room);
    else if (!strcmp(fake->told, "failed"))
        snprintf(ret_text, room,
                 "{\"status\": \"failed\", \"error-desc\": \"the fake has its reasons\"}");
    else
        snprintf(ret_text, room, "{\"status\": \"%s\"}", fake->told);
}

static const char *status_of(const struct fake *fake)
{
    if (fake->incoming)
        return "inmigrate";
    return fake->running ? "running" : "paused";
}

static void run(struct fake *fake, bool on)
{
    if (fake->running != on)
        say_event(fake, on ? "RESUME" : "STOP", NULL);
    fake->running = on;
}

static void obey(struct fake *fake, const char *command, const char *how, long long id)
{
    char value[512] = "{}";

    if (!strcmp(command, "stop"))
        run(fake, false);
    else if (!strcmp(command, "cont"))
        run(fake, true);
    else if (!strcmp(command, "query-status"))
        snprintf(value, sizeof(value), "{\"status\": \"%s\", \"running\": %s}", status_of(fake),
                 fake->running ? "true" : "false");
    else if (!strcmp(command, "query-kvm"))
        snprintf(value, sizeof(value), "{\"enabled\": true, \"present\": true}");
    else if (!strcmp(command, "query-machines"))
        snprintf(value, sizeof(value), "[{\"name\": \"fake\", \"cpu-max\": 1}]");
    else if (!strcmp(command, "qom-list-types"))
        snprintf(value, sizeof(value), "[{\"name\": \"fake-device\"}]");
    else if (!strcmp(command, "qom-get"))
        snprintf(value, sizeof(value), "\"fake-machine\"");
    else if (!strcmp(command, "query-migrate"))
        describe_migration(fake, value, sizeof(value));
    else if (!strcmp(command, "migrate_cancel"))
        cancel_moving(fake);
    else if (!strcmp(command, "quit"))
        say_event(fake, "SHUTDOWN", "{\"guest\": false, \"reason\": \"host-qmp-quit\"}");
    reply(fake, strcmp(how, "nonsense") ? value : "42", id);
    if (!strncmp(command, "migrate", 7) && (!command[7] || !strcmp(command + 7, "-incoming")))
        begin_moving(fake, how);
    if (!strcmp(command, "stop"))
        calm_down(fake);
    if (!strcmp(command, "migrate-continue"))
        switch_over(fake);
    if (!strcmp(command, "quit"))
        _exit(0);
}

/* ---- misbehaving ---- */

/* True when that was all there is to say to this command. */
static bool misbehave(struct fake *fake, const char *how, long long id)
{
    if (!strcmp(how, "silence")) {
        fake->silent = true;
    } else if (!strcmp(how, "garbage")) {
        say(fake, "{\"return\": this is no JSON}\r\n");
    } else if (!strcmp(how, "flood")) {
        flood(fake);
    } else if (!strcmp(how, "half")) {
        say(fake, "{\"return\": {");
        hang_up(fake);
    } else if (!strcmp(how, "hang-up")) {
        hang_up(fake);
    } else if (!strcmp(how, "die")) {
        fprintf(stderr, "fake-qemu: this is the end\n");
        _exit(1);
    } else if (!strcmp(how, "refuse")) {
        say(fake,
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"the fake does not like it\"}, "
            "\"id\": %lld}\r\n",
            id);
    } else if (!strcmp(how, "wrong-id")) {
        reply(fake, "{}", id + 1000);
    } else if (!strcmp(how, "no-id")) {
        say(fake, "{\"return\": {}}\r\n");
    } else {
        return false;
    }
    return true;
}

/* What comes before an answer that is as it should be. */
static void precede(struct fake *fake, const char *how)
{
    if (!strcmp(how, "greeting"))
        say(fake, GREETING);
    if (strcmp(how, "early") != 0)
        return;
    say_event(fake, "MIGRATION", "{\"status\": \"setup\"}");
    say_event(fake, "MIGRATION", "{\"status\": \"active\"}");
    if (!fake->incoming)
        say_event(fake, "MIGRATION", "{\"status\": \"completed\"}");
}

/* "": it behaves. */
static const char *next_how(struct fake *fake, const char *command)
{
    const char *how = "";

    for (size_t i = 0; i < fake->count; i++)
        if (!strcmp(fake->faults[i].command, command) && --fake->faults[i].turn == 0)
            how = fake->faults[i].how;
    return how;
}

static void hear(struct fake *fake, struct json_object *request)
{
    const char *command = json_object_get_string(json_object_object_get(request, "execute"));
    long long id = json_object_get_int64(json_object_object_get(request, "id"));
    const char *how;

    must(command);
    how = next_how(fake, command);
    if (misbehave(fake, how, id))
        return;
    precede(fake, how);
    obey(fake, command, how, id);
    if (!strcmp(how, "twice"))
        reply(fake, "{}", id);
}

/* One byte, so that a descriptor belongs to the command that it came with. */
static ssize_t hear_byte(struct fake *fake, char *ret_byte)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec one = {ret_byte, 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fake->client, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    if (header && header->cmsg_type == SCM_RIGHTS) {
        if (fake->passed >= 0)
            close(fake->passed);
        memcpy(&fake->passed, CMSG_DATA(header), sizeof(int));
    }
    return n;
}

static void listen_to_client(struct fake *fake)
{
    ssize_t n = 1;
    char byte;

    while (fake->client >= 0 && (n = hear_byte(fake, &byte)) > 0) {
        struct json_object *request;

        if (byte == '\n')
            continue;
        request = json_tokener_parse_ex(fake->tokener, &byte, 1);
        if (request && !fake->silent)
            hear(fake, request);
        json_object_put(request);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN))
        hang_up(fake);
    if (fake->client < 0)
        fake->count = 0;
}

static void greet(struct fake *fake)
{
    const char *how = next_how(fake, "greeting");

    json_tokener_reset(fake->tokener);
    if (*how) {
        if (!misbehave(fake, how, 0))
            _exit(3);
        return;
    }
    say(fake, GREETING);
}

/* ---- the process ---- */

static void loop(struct fake *fake)
{
    for (;;) {
        struct pollfd polled[] = {
            {fake->client < 0 && !fake->probe ? MONITOR : -1, POLLIN, 0},
            {fake->client, POLLIN, 0},
            {wants_to_move(fake) ? fake->moving : -1, fake->incoming ? POLLIN : POLLOUT, 0},
            {fake->probe ? LEASH : -1, POLLIN, 0},
        };

        must(poll(polled, 4, -1) > 0 || errno == EINTR);
        if (polled[3].revents)
            _exit(1);
        if (polled[0].revents) {
            fake->client = accept(MONITOR, NULL, NULL);
            greet(fake);
        }
        if (polled[1].revents)
            listen_to_client(fake);
        if (polled[2].revents && fake->moving >= 0)
            move(fake);
    }
}

bool vst_fake_qemu_is_meant(char **argv)
{
    const char *name = strrchr(argv[0], '/');

    name = name ? name + 1 : argv[0];
    return !strcmp(name, "qemu-system-x86_64") || !strcmp(name, "qemu-probe");
}

/* [in:]COMMAND[#N]=HOW, or nothing. */
static void take_order(struct fake *fake, char *order)
{
    struct fault *fault = &fake->faults[fake->count];

    if (!*order || (!strncmp(order, "in:", 3) && !fake->incoming))
        return;
    if (!strncmp(order, "in:", 3))
        order += 3;
    must(fake->count++ < FAULTS);
    fault->command = strsep(&order, "=");
    fault->how = order;
    order = strchr(fault->command, '#');
    fault->turn = order ? atoi(order + 1) : 1;
    if (order)
        *order = '\0';
    must(fault->how);
}

void vst_fake_qemu(char **argv)
{
    struct fake fake = {.client = -1, .passed = -1, .moving = -1};

    fake.probe = !strcmp(argv[0], "qemu-probe");
    fake.tokener = json_tokener_new();
    for (char **arg = argv + 1; *arg; arg++) {
        if (!strcmp(*arg, "-incoming"))
            fake.incoming = !fake.probe;
        if (!strcmp(*arg, "-misbehave") && arg[1])
            take_order(&fake, arg[1]);
    }
    if (fake.probe) {
        fake.client = MONITOR;
        greet(&fake);
    }
    loop(&fake);
    _exit(0);
}

void vst_fake_qemu_put_in_path(const struct vst_host *host)
{
    char *self = realpath("/proc/self/exe", NULL);
    char path[200], file[100];

    assert_non_null(self);
    snprintf(file, sizeof(file), "%s/qemu-system-x86_64", host->dir);
    assert_int_equal(symlink(self, file), 0);
    snprintf(path, sizeof(path), "%s:/usr/bin:/bin", host->dir);
    setenv("PATH", path, 1);
    free(self);
}
