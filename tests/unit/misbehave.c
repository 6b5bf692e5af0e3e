/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The qemu driver against a QEMU that misbehaves, in each way at each command. Whatever happens,
 * the method ends in bounded time and says what was wrong; a start or restore that fails leaves
 * nothing; a save that fails leaves the old image, and a guest that runs, unless QEMU ended by
 * itself.
 *
 * Each case is a process of its own, this program with other arguments, so that all that wait can
 * wait at the same time. QEMU is this program, too.
 */
#include "fake-qemu.h"
#include "host.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STALL_SECONDS = 8, /* longer than a monitor that is lost is waited for */
    CASE_SECONDS = 90, /* the longest: QEMU silent, twice 30 s */
    AT_ONCE = 40,      /* most cases wait, too, for five seconds */
    CASES_MAX = 400,
};

enum method { START, SAVE, SAVE_KEEPING, RESTORE };

static const char *const method_names[] = {"start", "save", "save-keeping", "restore"};

/* By method, the commands in their order; #2 is after those of the start. */
static const char *const commands[][12] = {
    [START] = {"greeting", "qmp_capabilities", "query-status", "cont"},
    [SAVE] = {"query-status#2", "qom-get", "migrate-set-capabilities", "migrate-set-parameters",
              "stop", "getfd", "migrate", "quit"},
    [SAVE_KEEPING] = {"query-migrate", "query-block-jobs", "query-named-block-nodes",
                      "migrate-set-capabilities#2", "cont#2"},
    [RESTORE] = {"greeting", "qmp_capabilities", "query-status", "migrate-set-capabilities",
                 "getfd", "migrate-incoming", "cont"},
};

static const char *const ways[] = {
    "silence",  "garbage",  "flood", "half",  "hang-up",  "die",   "refuse",
    "nonsense", "wrong-id", "no-id", "twice", "greeting", "early", NULL,
};
static const char *const ways_of_moving[] = {
    "mute", "failed", "cut", "stall", "endless", NULL,
};
/* Of a QEMU that takes in it would be a lie that nobody can see through. */
static const char *const ways_of_giving[] = {"idle", NULL};

struct kase {
    enum method method;
    const char *command;
    const char *how;
};

/* ---- one case ---- */

static struct kase the_case;
static char *self;

static bool is(const char *how)
{
    return strcmp(the_case.how, how) == 0;
}

/* The image carries the definition, and with it the order to misbehave. */
static char *define(const char *order)
{
    char *text;

    assert_true(asprintf(&text,
                         "{\"name\": \"g\", \"machine\": \"fake\", \"accel\": \"tcg\", "
                         "\"memory-mib\": 1, \"vcpus\": 1, \"args\": [\"-misbehave\", \"%s\"]}",
                         order) > 0);
    return text;
}

static int start(struct vst_host *host, const char *order, struct vst_error *ret_err)
{
    char *definition = define(order);
    int status = vst_host_start(host, definition, ret_err);

    free(definition);
    return status;
}

static void put_old_image(const struct vst_host *host, char *ret_path, size_t room)
{
    FILE *file;

    snprintf(ret_path, room, "%s/image", host->dir);
    file = fopen(ret_path, "we");
    assert_non_null(file);
    fputs("old", file);
    fclose(file);
}

static bool is_old_image(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_size == 3;
}

static int save(struct vst_host *host, const char *path, bool keep, struct vst_error *ret_err)
{
    struct vst_save_options opt = {.keep_running = keep, .stall_seconds = STALL_SECONDS};

    return vst_host_save(host, "g", vst_host_sink_file(host, path), &opt, ret_err);
}

static int restore(struct vst_host *host, const char *path, struct vst_error *ret_err)
{
    struct vst_restore_options opt = {.stall_seconds = STALL_SECONDS};
    struct vst_stream *stream = vst_stream_new(host->base, NULL);

    assert_non_null(stream);
    assert_int_equal(vst_stream_set_source_file(stream, path), 0);
    return vst_host_restore(host, stream, &opt, ret_err);
}

static void expect_sentence(int status, const struct vst_error *err)
{
    print_message("outcome: %s: %s\n", status ? vst_code_name(err->code) : "ok",
                  status ? err->text : "");
    if (status < 0 && (err->code == VST_ERR_INTERNAL || strlen(err->text) < 20))
        fail_msg("%s: `%s`", vst_code_name(err->code), err->text);
}

/* These are wrong whatever the command is. */
static bool must_fail(void)
{
    static const char *const bad[] = {"silence", "garbage",  "flood", "half",   "hang-up", "die",
                                      "refuse",  "wrong-id", "no-id", "failed", "cut",     "stall",
                                      "endless", "mute",     "idle",  NULL};

    for (const char *const *one = bad; *one; one++)
        if (is(*one))
            return true;
    return false;
}

/* Another process finds it as it was before. */
static void expect_running(struct vst_host *host)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    vst_host_disconnect(host);
    vst_host_connect(host);
    if (vst_host_get_info(host, "g", &info, &err) < 0)
        fail_msg("info: %s", err.text);
    if (info.state != VST_DOMAIN_RUNNING)
        fail_msg("state %s: %s", vst_domain_state_name(info.state), info.reason);
    assert_int_equal(vst_host_destroy(host, "g", &err), 0);
}

static void expect_crashed(struct vst_host *host)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    if (vst_host_get_info(host, "g", &info, &err) < 0)
        fail_msg("info: %s", err.text);
    assert_int_equal(info.state, VST_DOMAIN_CRASHED);
    assert_non_null(strstr(info.reason, "this is the end"));
    assert_int_equal(vst_host_destroy(host, "g", &err), 0);
}

/* Told to run, a guest is not ended for what its QEMU says, or does not: also when what is wrong
 * came of an earlier command. */
static void expect_kept_if_told_to_run(struct vst_host *host, const char *outcome)
{
    bool told = strstr(outcome, "was told to run the guest") != NULL;
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    assert_true(told || is("die") || is("refuse") || strcmp(the_case.command, "cont") != 0);
    if (!told)
        return;
    assert_int_equal(vst_host_get_info(host, "g", &info, &err), 0);
    assert_int_equal(vst_host_destroy(host, "g", &err), 0);
}

static void start_case(struct vst_host *host, const char *order)
{
    struct vst_error err = {0};
    int status = start(host, order, &err);

    expect_sentence(status, &err);
    assert_true(status < 0 || !must_fail());
    if (status == 0)
        expect_running(host);
    else
        expect_kept_if_told_to_run(host, err.text);
}

static void save_case(struct vst_host *host, const char *order)
{
    bool keep = the_case.method == SAVE_KEEPING;
    bool quits = strcmp(the_case.command, "quit") == 0;
    struct vst_error err = {0};
    char image[100];
    int status;

    put_old_image(host, image, sizeof(image));
    if (start(host, order, &err) < 0)
        fail_msg("start: %s", err.text);
    status = save(host, image, keep, &err);
    expect_sentence(status, &err);
    assert_true(quits ? status == 0 : status < 0 || !must_fail() || keep);
    if (is_old_image(image) != (status < 0 && err.code != VST_ERR_CLEANUP))
        fail_msg("the old image is %s", is_old_image(image) ? "still there" : "gone");
    if (is("die") && !quits)
        expect_crashed(host);
    else if (status < 0 || keep)
        expect_running(host);
}

static void restore_case(struct vst_host *host, const char *order)
{
    struct vst_error err = {0};
    char image[100];
    int status;

    put_old_image(host, image, sizeof(image));
    if (start(host, order, &err) < 0 || save(host, image, false, &err) < 0)
        fail_msg("making an image: %s", err.text);
    status = restore(host, image, &err);
    expect_sentence(status, &err);
    assert_true(status < 0 || !must_fail());
    if (status == 0)
        expect_running(host);
    else
        expect_kept_if_told_to_run(host, err.text);
}

static void one_case(void **state)
{
    struct vst_host *host = calloc(1, sizeof(*host));
    char order[100];

    (void)state;
    vst_test_seconds(CASE_SECONDS);
    snprintf(order, sizeof(order), "%s%s=%s", the_case.method == RESTORE ? "in:" : "",
             the_case.command, the_case.how);
    vst_host_make_with(host, vst_fake_qemu_put_in_path);
    if (the_case.method == START)
        start_case(host, order);
    else if (the_case.method == RESTORE)
        restore_case(host, order);
    else
        save_case(host, order);
    vst_host_expect_nothing(host);
    vst_host_clear(host);
    free(host);
}

static int be_a_case(char **argv)
{
    const struct CMUnitTest tests[] = {VST_TEST(one_case)};

    the_case = (struct kase){(enum method)atoi(argv[2]), argv[3], argv[4]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* ---- all cases ---- */

static struct kase cases[CASES_MAX];
static pid_t pids[CASES_MAX];
static FILE *outputs[CASES_MAX];
static size_t case_count;

/* For a minute these do nothing but wait. */
static bool waits(const struct kase *kase)
{
    return !strcmp(kase->how, "silence") || !strcmp(kase->command, "quit");
}

static void add_cases(enum method method, const char *command, const char *const *hows)
{
    for (; *hows; hows++) {
        assert_true(case_count < CASES_MAX);
        cases[case_count++] = (struct kase){method, command, *hows};
    }
}

static void add_method(enum method method)
{
    for (const char *const *command = commands[method]; *command; command++) {
        bool moves = !strcmp(*command, "migrate") || !strcmp(*command, "migrate-incoming");

        add_cases(method, *command, ways);
        if (moves)
            add_cases(method, *command, ways_of_moving);
        if (moves && method == SAVE)
            add_cases(method, *command, ways_of_giving);
    }
}

/* All of them take as long as the longest, but not as much. */
static void thin_out(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < case_count; i++)
        if (i % (waits(&cases[i]) ? 7 : 3) == 0)
            cases[kept++] = cases[i];
    case_count = kept;
}

static void launch(size_t i)
{
    char method[4],
        *argv[] = {self, (char[]){"--case"}, method, (char *)cases[i].command, (char *)cases[i].how,
                   NULL};
    posix_spawn_file_actions_t actions;

    outputs[i] = tmpfile();
    assert_non_null(outputs[i]);
    snprintf(method, sizeof(method), "%d", cases[i].method);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(outputs[i]), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(outputs[i]), STDERR_FILENO);
    assert_int_equal(posix_spawn(&pids[i], self, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
}

static void show(size_t i, bool failed)
{
    char line[700];

    rewind(outputs[i]);
    if (failed)
        print_error("%s, %s=%s:\n", method_names[cases[i].method], cases[i].command, cases[i].how);
    while (fgets(line, sizeof(line), outputs[i]))
        if (failed)
            print_error("    %s", line);
        else if (vst_test_long() && strstr(line, "outcome: "))
            print_message("# %s, %s=%s: %s", method_names[cases[i].method], cases[i].command,
                          cases[i].how, strstr(line, "outcome: ") + 9);
    fclose(outputs[i]);
}

/* Waits for whichever ends first; true if it had failed. */
static bool reap(size_t *running)
{
    size_t i = 0;
    int status;
    pid_t pid = wait(&status);

    while (i < case_count && pids[i] != pid)
        i++;
    assert_true(i < case_count);
    show(i, status != 0);
    if (!waits(&cases[i]))
        --*running;
    return status != 0;
}

/* Those that wait come first, and all at once. */
static size_t run_cases(void)
{
    size_t running = 0, failed = 0, next = 0, i;

    for (i = 0; i < case_count; i++)
        if (waits(&cases[i]))
            launch(i);
    for (i = 0; i < case_count; i++) {
        while (running < AT_ONCE && next < case_count) {
            if (!waits(&cases[next])) {
                launch(next);
                running++;
            }
            next++;
        }
        failed += reap(&running);
    }
    return failed;
}

static void whatever_qemu_does_is_told_and_does_no_harm(void **state)
{
    size_t failed;

    (void)state;
    vst_test_seconds(3 * CASE_SECONDS);
    for (enum method method = START; method <= RESTORE; method++)
        add_method(method);
    if (!vst_test_long())
        thin_out();
    failed = run_cases();
    print_message("# %zu cases\n", case_count);
    if (failed)
        fail_msg("%zu of them failed", failed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(whatever_qemu_does_is_told_and_does_no_harm),
    };

    if (vst_fake_qemu_is_meant(argv))
        vst_fake_qemu(argv);
    self = realpath("/proc/self/exe", NULL);
    if (argc == 5 && strcmp(argv[1], "--case") == 0)
        return be_a_case(argv);
    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
