/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes: how they end, and who they are. With small programs of the system.
 */
#include "one-process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- how it ends ---- */

static void the_end_is_told_with_the_last_words(void **state)
{
    struct one *one = *state;

    one_shell(one, "echo 'qemu-system-x86_64: Size mismatch' >&2; echo 'a\001b'; exit 1");
    one_run_to_end(one);
    assert_int_equal(one->why.code, VST_ERR_DRIVER);
    assert_int_equal(one->why.side, VST_SIDE_QEMU);
    assert_string_equal(one->why.text, "qemu g1: Size mismatch; a?b");
}

static void an_end_without_words_is_told_too(void **state)
{
    struct one *one = *state;

    one_shell(one, "kill -9 $$");
    one_run_to_end(one);
    assert_int_equal(one->why.code, VST_ERR_DRIVER);
    assert_string_equal(one->why.text, "qemu g1: ended without a word (killed, or crashed)");
}

static void of_many_words_the_last_are_told(void **state)
{
    struct one *one = *state;

    one_shell(one, "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done");
    one_run_to_end(one);
    assert_non_null(strstr(one->why.text, "qemu g1: ..."));
    assert_non_null(strstr(one->why.text, "line 1998; line 1999"));
    assert_true(strlen(one->why.text) < sizeof(one->why.text));
}

static void expect_no_start(struct one *one, char **words, enum vst_code code, const char *text)
{
    one_order(one, words);
    one_run_to_end(one);
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

    one_shell(one, "exec sleep 1000");
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

    one_order(one, words);
    assert_int_equal(vst_process_kill(one->process, SIGKILL, NULL), 0);
    one_run_to_end(one);
    assert_string_equal(one->why.text, "qemu g1: ended without a word (killed, or crashed)");
}

/* The thread is at it, and we have not heard of it. */
static void order_and_see(struct one *one, char **words, struct vst_process_id *ret_id)
{
    one_order(one, words);
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
    one_note_gone(one, why);
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

    one_shell(one, "exit 1");
    id = *vst_process_get_id(one->process);
    vst_process_free(&one->process);
    while (vst_process_id_exists(&id))
        usleep(1000);
    event_base_loop(one->base, EVLOOP_NONBLOCK);
    assert_int_equal(one->gone, 0);
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
    one_shell(one, "exec sleep 1000");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    vst_process_kill(one->process, SIGKILL, NULL);
    one_run_to_end(one);
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
    one_start(one, words);
    snprintf(pid, sizeof(pid), "%d ", (int)vst_process_get_id(one->process)->pid);
    one_run_to_end(one);
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

    one_shell(one, "echo first; exec sleep 1000");
    vst_process_free(&one->process);
    assert_int_equal(vst_process_id_read(one->spawn.id_fd, &id, NULL), 0);
    assert_true(vst_process_id_exists(&id));
    one->process =
        vst_process_adopt(one->base, "g1", &id, one->spawn.log_fd, one_callback(one), NULL);
    assert_non_null(one->process);
    while (lseek(one->spawn.log_fd, 0, SEEK_END) < 6)
        usleep(1000);
    assert_int_equal(vst_process_kill(one->process, SIGTERM, NULL), 0);
    one_run_to_end(one);
    assert_string_equal(one->why.text, "qemu g1: first");
}

static void another_process_with_its_number_is_not_taken_for_it(void **state)
{
    struct one *one = *state;
    struct vst_error err = {0};
    struct vst_process_id id, other;

    one_shell(one, "exec sleep 1000");
    id = *vst_process_get_id(one->process);
    assert_true(vst_process_id_exists(&id));
    other = id;
    other.start++;
    assert_false(vst_process_id_exists(&other));
    assert_null(
        vst_process_adopt(one->base, "g1", &other, one->spawn.log_fd, one_callback(one), &err));
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

    one_shell(one, "echo no such machine");
    id = *vst_process_get_id(one->process);
    one_run_to_end(one);
    assert_null(
        vst_process_adopt(one->base, "g1", &id, one->spawn.log_fd, one_callback(one), &err));
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
        one->process =
            vst_process_spawn(one->base, "g1", &one->spawn, one_callback(one), &one->why);
        if (one->process)
            one_await(one);
        setrlimit(RLIMIT_NOFILE, &before);
        if (one->gone)
            vst_process_free(&one->process);
        assert_true(one->process || one->why.code == VST_ERR_SYSTEM);
        usleep(1000);
        if (!one->process)
            assert_int_equal(lseek(one->spawn.log_fd, 0, SEEK_END), 0);
    }
    assert_non_null(one->process);
    one_run_to_end(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE_TEST(the_end_is_told_with_the_last_words),
        ONE_TEST(an_end_without_words_is_told_too),
        ONE_TEST(of_many_words_the_last_are_told),
        ONE_TEST(a_program_that_cannot_be_executed_is_an_error_that_names_it),
        ONE_TEST(a_file_that_it_may_not_read_is_an_error_that_names_it),
        ONE_TEST(a_kill_ends_it_and_hits_nobody_afterwards),
        ONE_TEST(a_kill_before_it_has_been_started_ends_it),
        ONE_TEST(one_that_is_killed_and_freed_while_it_is_being_started_ends),
        ONE_TEST(one_that_is_freed_while_it_is_being_started_goes_on),
        ONE_TEST(it_may_be_freed_when_its_end_is_told),
        ONE_TEST(nothing_is_told_after_free),
        ONE_TEST(the_application_hears_nothing_of_a_child),
        ONE_TEST(its_identity_is_on_record_before_it_is_executed),
        ONE_TEST(it_outlives_its_object_and_can_be_adopted),
        ONE_TEST(another_process_with_its_number_is_not_taken_for_it),
        ONE_TEST(a_process_that_has_ended_is_not_adopted),
        ONE_TEST(bad_identities_are_not_found),
        ONE_TEST(without_descriptors_nothing_is_started),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
