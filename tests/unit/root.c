/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The root: whose it is, what it lists, and who has hold of a guest.
 */
#include "here.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the root ---- */

static void a_root_is_made_with_all_that_leads_to_it(void **state)
{
    struct here *here = *state;
    char path[128], middle[128];
    struct vst_root *root;
    struct stat st;

    snprintf(middle, sizeof(middle), "%s/a", here->path);
    snprintf(path, sizeof(path), "%s/a/b", here->path);
    assert_int_equal(vst_root_open(path, &root, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    vst_root_free(&root);
    assert_null(root);
    rmdir(path);
    rmdir(middle);
}

static void a_root_that_others_may_write_to_is_refused(void **state)
{
    struct here *here = *state;
    struct vst_root *root = NULL;
    struct vst_error err = {0};

    assert_int_equal(chmod(here->path, 0770), 0);
    assert_int_equal(vst_root_open(here->path, &root, &err), -1);
    assert_int_equal(err.code, VST_ERR_ACCESS);
    assert_non_null(strstr(err.text, "others may write there"));
    assert_int_equal(chmod(here->path, 0700), 0);
}

static void a_root_of_somebody_else_is_refused(void **state)
{
    struct here *here = *state;
    struct vst_root *root = NULL;
    struct vst_error err = {0};

    assert_int_equal(chown(here->path, 65534, 65534), 0);
    assert_int_equal(vst_root_open(here->path, &root, &err), -1);
    assert_int_equal(err.code, VST_ERR_ACCESS);
    assert_int_equal(chown(here->path, 0, 0), 0);
}

static int open_default_as_a_user(struct here *here)
{
    struct vst_root *root = NULL;
    struct vst_error err = {0};
    char dir[128];

    if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
        return 1;
    unsetenv("XDG_RUNTIME_DIR");
    if (vst_root_open(NULL, &root, &err) == 0 || err.code != VST_ERR_INVALID)
        return 2;
    setenv("XDG_RUNTIME_DIR", here->path, 1);
    if (vst_root_open(NULL, &root, NULL) < 0)
        return 3;
    vst_root_free(&root);
    snprintf(dir, sizeof(dir), "%s/virstream/qemu", here->path);
    if (rmdir(dir) < 0)
        return 4;
    snprintf(dir, sizeof(dir), "%s/virstream", here->path);
    return rmdir(dir) < 0 ? 5 : 0;
}

static void a_user_has_a_root_of_his_own(void **state)
{
    struct here *here = *state;

    if (geteuid() == 0)
        assert_int_equal(chown(here->path, 65534, 65534), 0);
    assert_int_equal(here_in_another_process(open_default_as_a_user, here), 0);
}

static void places_are_listed_by_name(void **state)
{
    struct here *here = *state;
    struct vst_definition *def = here_define("a2");
    struct vst_place *one = here_create(here), *two;
    char **names, file[128];

    snprintf(file, sizeof(file), "%s/file", here->path);
    close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(vst_place_create(here->root, def, &two, NULL), 0);
    names = vst_root_list(here->root, NULL);
    assert_string_equal(names[0], "a2");
    assert_string_equal(names[1], "g1");
    assert_null(names[2]);
    free(names[0]);
    free(names[1]);
    free(names);
    vst_place_remove(&one);
    vst_place_remove(&two);
    vst_definition_free(&def);
    unlink(file);
}

/* ---- hold ---- */

static int expect_busy_with_our_parent(struct here *here)
{
    struct vst_place *place = NULL;
    struct vst_error err = {0};
    char text[64];

    snprintf(text, sizeof(text), "process %d (", (int)getppid());
    if (vst_place_open(here->root, "g1", &place, &err) == 0 || err.code != VST_ERR_BUSY)
        return 1;
    if (strncmp(err.text, text, strlen(text)) != 0 || !strstr(err.text, ") has hold of domain g1"))
        return 2;
    err = (struct vst_error){0};
    if (vst_place_create(here->root, here->def, &place, &err) == 0 || err.code != VST_ERR_BUSY)
        return 3;
    return 0;
}

static void a_second_process_is_told_who_has_hold(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);

    assert_int_equal(here_in_another_process(expect_busy_with_our_parent, here), 0);
    vst_place_remove(&place);
}

static void a_second_connection_of_the_process_is_refused_too(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);

    here_expect_open(here, "g1", VST_ERR_BUSY, "another connection of this process has hold of");
    assert_int_equal(here_glance(here).holder, getpid());
    assert_true(vst_root_has(here->root, "g1"));
    vst_place_remove(&place);
}

static void looking_disturbs_nobody(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);

    vst_place_close(&place);
    assert_int_equal(here_glance(here).holder, 0);
    place = here_reopen(here);
    assert_int_equal(here_glance(here).holder, getpid());
    vst_place_remove(&place);
}

static int take_hold_and_die(struct here *here)
{
    struct vst_place *place;

    if (vst_place_create(here->root, here->def, &place, NULL) < 0 ||
        vst_place_set_job(place, VST_WORD_SAVE, true, NULL) < 0)
        return 1;
    return kill(getpid(), SIGKILL);
}

static void the_hold_of_a_killed_process_is_gone_and_its_job_is_found(void **state)
{
    struct here *here = *state;
    struct vst_place_job job;
    struct vst_place *place;

    assert_int_equal(here_in_another_process(take_hold_and_die, here), 256 + SIGKILL);
    assert_int_equal(here_glance(here).job.word, VST_WORD_SAVE);
    place = here_reopen(here);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_int_equal(job.word, VST_WORD_SAVE);
    assert_true(job.running);
    vst_place_remove(&place);
}

static void names_from_outside_are_checked(void **state)
{
    struct here *here = *state;
    struct vst_glance seen;

    here_expect_open(here, "../etc", VST_ERR_INVALID, "name: must be");
    here_expect_open(here, ".new-0", VST_ERR_INVALID, "name: must be");
    here_expect_open(here, "g1", VST_ERR_NOT_FOUND, "no domain g1");
    assert_int_equal(vst_place_glance(here->root, "..", &seen, NULL), -1);
    assert_false(vst_root_has(here->root, ".."));
    assert_false(vst_root_has(here->root, "g1"));
}

/* ---- a file system that does not say what its entries are ---- */

static bool says_nothing;

struct dirent *readdir(DIR *dir)
{
    struct dirent *(*real)(DIR *);
    struct dirent *entry;

    *(void **)&real = dlsym(RTLD_NEXT, "readdir");
    entry = real(dir);
    if (entry && says_nothing)
        entry->d_type = DT_UNKNOWN;
    return entry;
}

static void guests_are_listed_where_entries_have_no_type(void **state)
{
    struct here *here = *state;
    struct vst_place *place = here_create(here);
    char path[128], **names;
    int fd;

    snprintf(path, sizeof(path), "%s/a-file", here->path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    says_nothing = true;
    names = vst_root_list(here->root, NULL);
    says_nothing = false;
    assert_non_null(names);
    assert_string_equal(names[0], "g1");
    assert_null(names[1]);
    free(names[0]);
    free(names);
    unlink(path);
    vst_place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE_TEST(a_root_is_made_with_all_that_leads_to_it),
        HERE_TEST(a_root_that_others_may_write_to_is_refused),
        VST_TEST_IF(geteuid() == 0, "not root", a_root_of_somebody_else_is_refused, here_begin,
                    here_end),
        HERE_TEST(a_user_has_a_root_of_his_own),
        HERE_TEST(places_are_listed_by_name),
        HERE_TEST(a_second_process_is_told_who_has_hold),
        HERE_TEST(a_second_connection_of_the_process_is_refused_too),
        HERE_TEST(looking_disturbs_nobody),
        HERE_TEST(the_hold_of_a_killed_process_is_gone_and_its_job_is_found),
        HERE_TEST(names_from_outside_are_checked),
        HERE_TEST(guests_are_listed_where_entries_have_no_type),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
