/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Places of guests: made, named, replaced and removed; what is found after a manager that died.
 */
#include "here.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- making and removing ---- */

static void what_was_defined_comes_back(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_definition *def;

    vst_place_close(&place);
    place = here_reopen(here);
    def = vst_place_read_definition(place, NULL);
    assert_string_equal(def->uuid, here->def->uuid);
    vst_definition_free(&def);
    vst_place_remove(&place);
    assert_null(place);
}

static void a_guest_that_runs_is_not_replaced(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here), *other = NULL;
    struct vst_error err = {0};
    struct vst_process_id id, read;

    id = here_start(place);
    assert_int_equal(vst_place_read_id(place, &read, NULL), 0);
    assert_int_equal(read.pid, id.pid);
    here_kill(&id);
    id = here_start(place);
    assert_true(here_glance(here).exists);
    vst_place_close(&place);
    assert_true(vst_root_has(here->root, "g1"));
    assert_int_equal(vst_place_create(here->root, here->def, &other, &err), -1);
    here_kill(&id);
    place = here_reopen(here);
    vst_place_remove(&place);
    assert_int_equal(err.code, VST_ERR_EXISTS);
    assert_string_equal(err.text, "there is a domain g1 already");
}

/* A place that was never finished, with a process in it. */
static struct vst_process_id make_half(struct here *here)
{
    struct vst_place *place = here_create(here);
    struct vst_process_id id = here_start(place);

    assert_int_equal(vst_place_set_job(place, VST_WORD_START, false, NULL), 0);
    vst_place_close(&place);
    assert_true(vst_process_id_exists(&id));
    assert_true(here_glance(here).exists);
    return id;
}

static void expect_killed(const struct vst_process_id *id)
{
    int status;

    assert_int_equal(waitpid(id->pid, &status, 0), id->pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void what_was_never_finished_is_removed_by_whoever_opens_it(void **state)
{
    struct here *here = *state;
    struct vst_process_id id = make_half(here);

    assert_false(vst_root_has(here->root, "g1"));
    here_expect_open(here, "g1", VST_ERR_NOT_FOUND, "died before it was whole");
    expect_killed(&id);
    here_expect_open(here, "g1", VST_ERR_NOT_FOUND, "no domain g1");
}

static void what_was_never_finished_makes_way_for_a_new_one(void **state)
{
    struct here *here = *state;
    struct vst_process_id id = make_half(here);
    struct vst_place *place = here_create(here);

    expect_killed(&id);
    vst_place_remove(&place);
}

static void a_new_place_is_not_finished(void **state)
{
    struct here *here = *state;
    struct vst_place *place;

    assert_int_equal(vst_place_create(here->root, here->def, &place, NULL), 0);
    assert_true(vst_root_has(here->root, "g1"));
    vst_place_close(&place);
    assert_false(vst_root_has(here->root, "g1"));
    here_expect_open(here, "g1", VST_ERR_NOT_FOUND, "died before it was whole");
}

static void what_is_left_of_a_guest_is_replaced(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    struct vst_process_id id;
    struct vst_glance seen;
    int log;

    id = here_start(place);
    here_kill(&id);
    log = vst_place_new_log(place, NULL);
    assert_int_equal(write(log, "qemu-system-x86_64: no such machine\n", 36), 36);
    close(log);
    vst_place_close(&place);
    seen = here_glance(here);
    assert_int_equal(seen.id.pid, id.pid);
    assert_false(seen.exists);
    assert_string_equal(seen.last_words, "no such machine");
    assert_true(seen.since > 1600000000);
    assert_false(vst_root_has(here->root, "g1"));
    place = here_create(here);
    assert_int_equal(here_glance(here).id.pid, 0);
    vst_place_remove(&place);
}

static void only_known_files_are_removed(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    char file[128], command[256];
    char **names;

    snprintf(file, sizeof(file), "%s/g1/precious", here->path);
    close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    vst_place_remove(&place);
    names = vst_root_list(here->root, NULL);
    assert_null(names[0]);
    free(names);
    snprintf(command, sizeof(command), "%s/.gone-*/precious", here->path);
    assert_int_equal(access(file, F_OK), -1);
    snprintf(command, sizeof(command), "test -f %s/.gone-*/precious && rm -r %s/.gone-*",
             here->path, here->path);
    assert_int_equal(system(command), 0);
}

/* Half of a place, as old as that. */
static void leave_half(struct here *here, const char *entry, time_t age)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    char path[128], file[192];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", here->path, entry);
    snprintf(file, sizeof(file), "%s/lock", path);
    assert_int_equal(mkdir(path, 0700), 0);
    fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void half_places_are_scrapped_when_they_are_nobodys(void **state)
{
    struct here *here = *state;
    struct vst_root *root;
    char command[256];

    leave_half(here, ".new-old", 120);
    leave_half(here, ".gone-young", 0);
    leave_half(here, ".new-young", 0);
    leave_half(here, ".other", 120);
    assert_int_equal(vst_root_open(here->path, &root, NULL), 0);
    vst_root_free(&root);
    assert_false(here_has(here, ".new-old"));
    assert_false(here_has(here, ".gone-young"));
    assert_true(here_has(here, ".new-young"));
    assert_true(here_has(here, ".other"));
    snprintf(command, sizeof(command), "rm -r %s/.new-young %s/.other", here->path, here->path);
    assert_int_equal(system(command), 0);
}

static void what_is_being_removed_is_left_to_its_remover(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    char from[128], to[128];
    struct vst_root *root;

    snprintf(from, sizeof(from), "%s/g1", here->path);
    snprintf(to, sizeof(to), "%s/.gone-held", here->path);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(vst_root_open(here->path, &root, NULL), 0);
    vst_root_free(&root);
    assert_true(here_has(here, ".gone-held/definition.json"));
    vst_place_close(&place);
    assert_int_equal(vst_root_open(here->path, &root, NULL), 0);
    vst_root_free(&root);
    assert_false(here_has(here, ".gone-held"));
}

/* ---- a name that is taken later ---- */

static struct vst_place *make(struct here *here)
{
    struct vst_place *place = NULL;

    assert_int_equal(vst_place_make(here->root, here->def, &place, NULL), 0);
    assert_int_equal(vst_place_set_job(place, VST_WORD_RESTORE, true, NULL), 0);
    return place;
}

static void expect_listed(struct here *here, const char *name)
{
    char **names = vst_root_list(here->root, NULL);

    if (name)
        assert_string_equal(names[0], name);
    else
        assert_null(names[0]);
    free(names[0]);
    free(names);
}

static void what_has_no_name_yet_is_seen_by_nobody(void **state)
{
    struct here *here = *state;
    struct vst_place *place = make(here), *other = NULL;
    struct vst_error err = {0};

    assert_false(vst_place_is_named(place));
    assert_false(vst_root_has(here->root, "g1"));
    here_expect_open(here, "g1", VST_ERR_NOT_FOUND, "no domain g1");
    expect_listed(here, NULL);
    assert_int_equal(vst_place_create(here->root, here->def, &other, &err), -1);
    assert_int_equal(err.code, VST_ERR_BUSY);
    assert_int_equal(vst_place_take_name(place, NULL), 0);
    assert_true(vst_place_is_named(place));
    expect_listed(here, "g1");
    vst_place_remove(&place);
}

static void what_has_its_name_outlives_its_maker(void **state)
{
    struct here *here = *state;
    struct vst_place *place = make(here);
    struct vst_process_id id = here_start(place);
    struct vst_place_job job;

    assert_int_equal(vst_place_take_name(place, NULL), 0);
    vst_place_close(&place);
    assert_true(vst_root_has(here->root, "g1"));
    place = here_reopen(here);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, VST_WORD_RESTORE);
    assert_true(job.running);
    here_kill(&id);
    vst_place_remove(&place);
}

static void what_lost_its_maker_before_it_had_a_name_is_removed(void **state)
{
    struct here *here = *state;
    struct vst_place *place = make(here);
    struct vst_process_id id = here_start(place);
    struct vst_root *root;

    vst_place_close(&place);
    assert_true(here_has(here, ".making-g1"));
    expect_listed(here, NULL);
    expect_killed(&id);
    assert_false(here_has(here, ".making-g1"));

    place = make(here);
    vst_place_close(&place);
    assert_int_equal(vst_root_open(here->path, &root, NULL), 0);
    vst_root_free(&root);
    assert_false(here_has(here, ".making-g1"));

    place = make(here);
    id = here_start(place);
    vst_place_close(&place);
    place = here_create(here);
    expect_killed(&id);
    vst_place_remove(&place);
}

static void a_name_is_taken_when_it_is_free(void **state)
{
    struct here *here = *state;
    struct vst_place *old = here_create(here), *place = make(here);
    struct vst_process_id id = here_start(old);

    assert_int_equal(vst_place_take_name(place, NULL), -1);
    vst_place_close(&old);
    assert_int_equal(vst_place_take_name(place, NULL), -1);
    old = here_reopen(here);
    vst_place_remove(&old);
    assert_int_equal(vst_place_take_name(place, NULL), 0);
    here_kill(&id);
    vst_place_remove(&place);
}

static bool is_leaving(struct here *here, struct vst_place *place, enum vst_place_word word)
{
    assert_int_equal(vst_place_set_job(place, word, true, NULL), 0);
    return vst_root_is_leaving(here->root, here->def);
}

static void a_guest_is_leaving_when_somebody_is_about_to_end_it(void **state)
{
    struct here *here = *state;
    struct vst_definition *other = here_define("g1");
    struct vst_place *place = here_create(here);

    assert_false(vst_root_is_leaving(here->root, here->def));
    assert_true(is_leaving(here, place, VST_WORD_SAVE));
    assert_false(vst_root_is_leaving(here->root, other)); /* which has another UUID */
    assert_false(is_leaving(here, place, VST_WORD_KEEP));
    assert_false(is_leaving(here, place, VST_WORD_LIVE));
    assert_true(is_leaving(here, place, VST_WORD_END));
    vst_place_set_job(place, VST_WORD_SAVE, true, NULL);
    vst_place_close(&place);
    assert_false(vst_root_is_leaving(here->root, here->def));
    place = here_reopen(here);
    vst_place_remove(&place);
    assert_false(vst_root_is_leaving(here->root, here->def));
    vst_definition_free(&other);
}

static int check_uuid_of_another(struct here *here, const char *uuid)
{
    char text[200];
    struct vst_definition *def;
    struct vst_error err = {0};
    int status;

    snprintf(
        text, sizeof(text),
        "{\"name\":\"g2\",\"uuid\":\"%s\",\"machine\":\"none\",\"accel\":\"tcg\",\"memory-mib\":1,"
        "\"vcpus\":1}",
        uuid);
    def = vst_definition_parse(text, strlen(text), NULL);
    assert_non_null(def);
    status = vst_root_check_uuid(here->root, def, NULL, &err);
    if (status < 0) {
        assert_int_equal(err.code, VST_ERR_EXISTS);
        assert_non_null(strstr(err.text, "that of domain g1"));
    }
    vst_definition_free(&def);
    return status;
}

static void a_uuid_is_of_one_guest(void **state)
{
    struct here *here = *state;
    const char *uuid = here->def->uuid, *other = "00000000-0000-4000-8000-000000000001";
    struct vst_place *place;

    assert_int_equal(check_uuid_of_another(here, uuid), 0);
    place = here_create(here);
    assert_int_equal(check_uuid_of_another(here, uuid), -1);
    assert_int_equal(check_uuid_of_another(here, other), 0);
    assert_int_equal(vst_root_check_uuid(here->root, here->def, NULL, NULL), 0); /* its own */
    vst_place_close(&place);
    assert_int_equal(check_uuid_of_another(here, uuid), -1); /* it has crashed */
    place = here_reopen(here);
    vst_place_set_job(place, VST_WORD_END, true, NULL);
    vst_place_close(&place);
    assert_int_equal(check_uuid_of_another(here, uuid), 0); /* it has shut down */
    here_expect_open(here, "g1", VST_ERR_NOT_FOUND, "it has shut down");
}

static void a_uuid_is_taken_before_the_name_is(void **state)
{
    struct here *here = *state;
    const char *uuid = here->def->uuid;
    struct vst_place *place;

    assert_int_equal(vst_place_make(here->root, here->def, &place, NULL), 0);
    assert_false(vst_root_has(here->root, "g1"));
    assert_int_equal(check_uuid_of_another(here, uuid), -1);
    vst_place_remove(&place);
    assert_int_equal(check_uuid_of_another(here, uuid), 0);
}

static void a_guest_that_leaves_may_come_under_another_name(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);

    here->def->name[1] = '2'; /* as if it came */
    assert_int_equal(vst_root_check_uuid(here->root, here->def, "g1", NULL), 0);
    assert_int_equal(vst_root_check_uuid(here->root, here->def, "g3", NULL), -1);
    assert_int_equal(vst_root_check_uuid(here->root, here->def, "g2", NULL), -1);
    here->def->name[1] = '1';
    vst_place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE_TEST(what_was_defined_comes_back),
        HERE_TEST(a_guest_that_runs_is_not_replaced),
        HERE_TEST(what_was_never_finished_is_removed_by_whoever_opens_it),
        HERE_TEST(what_was_never_finished_makes_way_for_a_new_one),
        HERE_TEST(a_new_place_is_not_finished),
        HERE_TEST(what_is_left_of_a_guest_is_replaced),
        HERE_TEST(only_known_files_are_removed),
        HERE_TEST(half_places_are_scrapped_when_they_are_nobodys),
        HERE_TEST(what_is_being_removed_is_left_to_its_remover),
        HERE_TEST(what_has_no_name_yet_is_seen_by_nobody),
        HERE_TEST(what_has_its_name_outlives_its_maker),
        HERE_TEST(what_lost_its_maker_before_it_had_a_name_is_removed),
        HERE_TEST(a_name_is_taken_when_it_is_free),
        HERE_TEST(a_guest_is_leaving_when_somebody_is_about_to_end_it),
        HERE_TEST(a_uuid_is_of_one_guest),
        HERE_TEST(a_uuid_is_taken_before_the_name_is),
        HERE_TEST(a_guest_that_leaves_may_come_under_another_name),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
