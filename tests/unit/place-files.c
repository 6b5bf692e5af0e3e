/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files and sockets of a place.
 */
#include "here.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void where_a_guest_has_gone_is_kept_as_it_was_said(void **state)
{
    static const struct vst_place_job away = {.word = VST_WORD_AWAY,
                                              .token = "11111111-1111-1111-1111-111111111111",
                                              .to = "a \"host\" \\"};
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_place_job job;

    assert_int_equal(vst_place_put_job(place, &away, NULL), 0);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_true(vst_place_job_is_away(&job) && !vst_place_job_moves(&job));
    assert_string_equal(job.token, away.token);
    assert_string_equal(job.to, away.to);
    vst_place_remove(&place);
}

static void a_job_comes_and_goes(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_place_job job;

    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, VST_WORD_NONE);
    assert_int_equal(vst_place_set_job(place, VST_WORD_RESTORE, true, NULL), 0);
    assert_int_equal(vst_place_set_job(place, VST_WORD_SAVE, false, NULL), 0);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, VST_WORD_SAVE);
    assert_false(job.running);
    vst_place_clear_job(place);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, VST_WORD_NONE);
    vst_place_remove(&place);
}

static void expect_word_in_file(struct here *here, struct vst_place *place,
                                enum vst_place_word word, const char *text)
{
    char expected[64], found[64];
    struct vst_place_job job;

    assert_int_equal(vst_place_set_job(place, word, true, NULL), 0);
    here_read(here, "job", found, sizeof(found));
    snprintf(expected, sizeof(expected), "{\"job\":\"%s\",\"running\":true}", text);
    assert_string_equal(found, expected);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, word);
}

/* Guests outlive the version that wrote them. */
static void the_words_of_jobs_stay_as_they_are_on_disk(void **state)
{
    static const char *const texts[] = {
        [VST_WORD_START] = "start", [VST_WORD_RESTORE] = "restore", [VST_WORD_SAVE] = "save",
        [VST_WORD_KEEP] = "keep",   [VST_WORD_LIVE] = "live",       [VST_WORD_END] = "end",
        [VST_WORD_OUT] = "out",     [VST_WORD_IN] = "in",           [VST_WORD_LACK] = "lack",
        [VST_WORD_STRAY] = "stray", [VST_WORD_AWAY] = "away",
    };
    struct here *here = *state;
    struct vst_place *place = here_create(here);

    for (enum vst_place_word word = VST_WORD_NONE + 1; word < VST_WORD_UNKNOWN; word++)
        expect_word_in_file(here, place, word, texts[word]);
    vst_place_remove(&place);
}

static void a_word_that_is_not_known_is_a_job_and_an_empty_one_is_none(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_place_job job;

    here_write(here, "job", "{\"job\":\"taken back\",\"running\":true}");
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, VST_WORD_UNKNOWN);
    assert_true(job.running);
    here_write(here, "job", "{\"job\":\"\"}");
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, VST_WORD_NONE);
    vst_place_remove(&place);
}

static void damaged_files_are_errors(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_place_job job;
    struct vst_process_id id;
    struct vst_glance seen;
    struct vst_error err = {0};

    here_write(here, "job", "{\"job\":");
    assert_int_equal(vst_place_get_job(place, &job, &err), -1);
    assert_int_equal(err.code, VST_ERR_INVALID);
    err = (struct vst_error){0};
    here_write(here, "identity", "rubbish");
    assert_int_equal(vst_place_read_id(place, &id, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    here_write(here, "definition.json", "{}");
    assert_null(vst_place_read_definition(place, NULL));
    assert_int_equal(vst_place_glance(here->root, "g1", &seen, NULL), 0);
    assert_null(seen.def);
    assert_int_equal(seen.damage.code, VST_ERR_INVALID);
    assert_int_equal(vst_root_get_job(here->root, "g1", &job, NULL), -1);
    assert_true(vst_root_has(here->root, "g1"));
    vst_place_remove(&place);
    assert_int_equal(vst_place_glance(here->root, "g1", &seen, NULL), -1);
}

/* With the identity lost, a QEMU that has the monitor is one. */
static void qemu_without_identity_is_known_by_its_monitor(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here), *another = NULL;
    int listening = vst_place_listen(place, "monitor", NULL);
    struct vst_error err = {0};

    assert_true(vst_place_is_alive(place));
    vst_place_close(&place);
    assert_true(vst_root_has(here->root, "g1"));
    assert_true(here_glance(here).exists);
    assert_int_equal(vst_place_create(here->root, here->def, &another, &err), -1);
    assert_int_equal(err.code, VST_ERR_EXISTS);
    close(listening);
    assert_false(vst_root_has(here->root, "g1"));
    assert_false(here_glance(here).exists);
    place = here_reopen(here);
    assert_false(vst_place_is_alive(place));
    vst_place_remove(&place);
}

/* No more descriptors are to be had. */
static void qemu_that_cannot_be_looked_at_has_not_ended(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_process_id id = here_start(place);
    struct rlimit limit, least;
    struct vst_glance seen;
    bool exists, alive;
    int status;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    least = (struct rlimit){.rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &least), 0);
    exists = vst_process_id_exists(&id);
    alive = vst_place_is_alive(place);
    status = vst_place_glance(here->root, "g1", &seen, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    vst_process_id_kill(&id);
    waitpid(id.pid, NULL, 0);
    assert_true(exists);
    assert_true(alive);
    assert_int_equal(status, 0);
    assert_true(seen.exists);
    assert_int_equal(seen.damage.system, EMFILE);
    assert_false(vst_place_is_alive(place));
    vst_place_remove(&place);
}

/* The limit cuts a write short, as a full disk does. */
static void write_that_is_cut_short_is_told_as_no_room(void **state)
{
    struct here *here = *state;
    struct rlimit limit, least = {.rlim_cur = 50};
    struct vst_place *place = NULL;
    struct vst_error err = {0};

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    least.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &least), 0);
    assert_int_equal(vst_place_create(here->root, here->def, &place, &err), -1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(err.system, ENOSPC);
    assert_non_null(strstr(err.text, "definition.json"));
}

static void talk_in(struct vst_place *place)
{
    int listening = vst_place_listen(place, "monitor", NULL);
    int ours, theirs;
    char byte = 0;

    assert_true(listening >= 0);
    ours = vst_place_connect(place, "monitor", NULL);
    assert_true(ours >= 0);
    theirs = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(theirs >= 0);
    assert_int_equal(write(theirs, "x", 1), 1);
    assert_int_equal(read(ours, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    assert_true(fcntl(ours, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(ours, F_GETFD) & FD_CLOEXEC);
    close(theirs);
    close(ours);
    close(listening);
}

static void sockets_work_under_a_long_root(void **state)
{
    struct here *here = *state;
    struct vst_place *place;
    struct vst_root *root;
    char path[512], middle[256];

    snprintf(middle, sizeof(middle), "%s/%0100d", here->path, 1);
    snprintf(path, sizeof(path), "%s/%0200d", middle, 2);
    assert_int_equal(vst_root_open(path, &root, NULL), 0);
    assert_int_equal(vst_place_create(root, here->def, &place, NULL), 0);
    talk_in(place);
    vst_place_remove(&place);
    vst_root_free(&root);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(middle), 0);
}

static void connecting_never_waits(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_error err = {0};
    int fds[64], count = 0, listening;

    assert_int_equal(vst_place_connect(place, "monitor", &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    listening = vst_place_listen(place, "monitor", NULL);
    err = (struct vst_error){0};
    while (count < 64 && (fds[count] = vst_place_connect(place, "monitor", &err)) >= 0)
        count++;
    assert_int_equal(err.code, VST_ERR_TIMEOUT);
    assert_non_null(strstr(err.text, "QEMU does not answer"));
    while (count > 0)
        close(fds[--count]);
    close(listening);
    err = (struct vst_error){0};
    assert_int_equal(vst_place_connect(place, "monitor", &err), -1);
    assert_int_equal(err.system, ECONNREFUSED);
    vst_place_remove(&place);
}

static void a_new_log_is_empty(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    char text[16] = "";
    int fd;

    fd = vst_place_open_log(place, NULL);
    assert_int_equal(read(fd, text, 1), 0); /* somebody has removed it */
    close(fd);
    here_write(here, "log", "of another run");
    fd = vst_place_new_log(place, NULL);
    assert_int_equal(write(fd, "now", 3), 3);
    close(fd);
    fd = vst_place_open_log(place, NULL);
    assert_int_equal(read(fd, text, sizeof(text)), 3);
    close(fd);
    vst_place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE_TEST(a_job_comes_and_goes),
        HERE_TEST(where_a_guest_has_gone_is_kept_as_it_was_said),
        HERE_TEST(the_words_of_jobs_stay_as_they_are_on_disk),
        HERE_TEST(a_word_that_is_not_known_is_a_job_and_an_empty_one_is_none),
        HERE_TEST(damaged_files_are_errors),
        HERE_TEST(qemu_without_identity_is_known_by_its_monitor),
        HERE_TEST(qemu_that_cannot_be_looked_at_has_not_ended),
        HERE_TEST(write_that_is_cut_short_is_told_as_no_room),
        HERE_TEST(sockets_work_under_a_long_root),
        HERE_TEST(connecting_never_waits),
        HERE_TEST(a_new_log_is_empty),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
