/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The root and its places: who has hold of a guest, what is found after a manager that died.
 */
#include "test.h"

#include "drivers/qemu/root.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct here {
    char path[64];
    struct vst_root *root;
    struct vst_definition *def; /* of g1 */
};

static struct vst_definition *define(const char *name)
{
    char text[256];
    int length = snprintf(text, sizeof(text),
                          "{\"name\":\"%s\",\"machine\":\"none\",\"accel\":\"tcg\","
                          "\"memory-mib\":16,\"vcpus\":1}",
                          name);

    return vst_definition_parse(text, (size_t)length, NULL);
}

static int begin(void **state)
{
    struct here *here = calloc(1, sizeof(*here));

    strcpy(here->path, "/tmp/vst-root-XXXXXX");
    assert_non_null(mkdtemp(here->path));
    assert_int_equal(vst_root_open(here->path, &here->root, NULL), 0);
    here->def = define("g1");
    *state = here;
    return 0;
}

/* Fails unless the root is empty by then. */
static int end(void **state)
{
    struct here *here = *state;
    int result;

    vst_root_free(&here->root);
    vst_definition_free(&here->def);
    result = rmdir(here->path);
    if (result < 0)
        print_error("%s: %s\n", here->path, strerror(errno));
    free(here);
    return result;
}

/* The place of a guest that is whole. */
static struct vst_place *create(struct here *here)
{
    struct vst_place *place = NULL;
    struct vst_error err = {0};

    if (vst_place_create(here->root, here->def, &place, &err) < 0)
        print_error("%s\n", err.text);
    assert_non_null(place);
    vst_place_clear_job(place);
    return place;
}

static struct vst_place *reopen(struct here *here)
{
    struct vst_place *place = NULL;

    assert_int_equal(vst_place_open(here->root, "g1", &place, NULL), 0);
    return place;
}

static void expect_open(struct here *here, const char *name, enum vst_code code, const char *text)
{
    struct vst_place *place = NULL;
    struct vst_error err = {0};

    assert_int_equal(vst_place_open(here->root, name, &place, &err), -1);
    assert_null(place);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.text, text));
}

static struct vst_glance glance(struct here *here)
{
    struct vst_glance seen;
    struct vst_error err = {0};

    if (vst_place_glance(here->root, "g1", &seen, &err) < 0)
        fail_msg("%s", err.text);
    vst_definition_free(&seen.def);
    return seen;
}

static void read_file(const char *path, char *ret_text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, ret_text, room - 1);

    assert_true(length > 0);
    ret_text[length] = '\0';
    close(fd);
}

/* A child of ours in the place of QEMU, on record as vst_spawn() does it. */
static struct vst_process_id start_in(struct vst_place *place)
{
    int fd = vst_place_new_id(place, NULL);
    char path[64], text[1024], boot[64];
    struct vst_process_id id;
    uintmax_t ticks = 0;
    char *words[] = {(char[]){"/bin/sleep"}, (char[]){"1000"}, NULL};
    pid_t pid;

    assert_int_equal(posix_spawn(&pid, words[0], NULL, NULL, words, NULL), 0);
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    read_file(path, text, sizeof(text));
    sscanf(strrchr(text, ')'),
           ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %ju",
           &ticks);
    read_file("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    assert_true(dprintf(fd, "%d %ju %s", (int)pid, ticks, boot) > 0);
    assert_int_equal(vst_process_id_read(fd, &id, NULL), 0);
    close(fd);
    return id;
}

static void end_it(const struct vst_process_id *id)
{
    kill(id->pid, SIGKILL);
    waitpid(id->pid, NULL, 0);
}

/* What `body` returns, in another process. */
static int in_another_process(int (*body)(struct here *), struct here *here)
{
    int status;
    pid_t pid = vst_test_fork();

    if (pid == 0)
        _exit(body(here));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

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

    if (geteuid() != 0) {
        print_message("# needs root\n");
        return;
    }
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
    assert_int_equal(in_another_process(open_default_as_a_user, here), 0);
}

static void places_are_listed_by_name(void **state)
{
    struct here *here = *state;
    struct vst_definition *def = define("a2");
    struct vst_place *one = create(here), *two;
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
    struct vst_place *place = create(here);

    assert_int_equal(in_another_process(expect_busy_with_our_parent, here), 0);
    vst_place_remove(&place);
}

static void a_second_connection_of_the_process_is_refused_too(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);

    expect_open(here, "g1", VST_ERR_BUSY, "another connection of this process has hold of");
    assert_int_equal(glance(here).holder, getpid());
    assert_true(vst_root_has(here->root, "g1"));
    vst_place_remove(&place);
}

static void looking_disturbs_nobody(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);

    vst_place_close(&place);
    assert_int_equal(glance(here).holder, 0);
    place = reopen(here);
    assert_int_equal(glance(here).holder, getpid());
    vst_place_remove(&place);
}

static int take_hold_and_die(struct here *here)
{
    struct vst_place *place;

    if (vst_place_create(here->root, here->def, &place, NULL) < 0 ||
        vst_place_set_job(place, "save", true, NULL) < 0)
        return 1;
    return kill(getpid(), SIGKILL);
}

static void the_hold_of_a_killed_process_is_gone_and_its_job_is_found(void **state)
{
    struct here *here = *state;
    struct vst_place_job job;
    struct vst_place *place;

    assert_int_equal(in_another_process(take_hold_and_die, here), 256 + SIGKILL);
    assert_string_equal(glance(here).job.kind, "save");
    place = reopen(here);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_string_equal(job.kind, "save");
    assert_true(job.running);
    vst_place_remove(&place);
}

static void names_from_outside_are_checked(void **state)
{
    struct here *here = *state;
    struct vst_glance seen;

    expect_open(here, "../etc", VST_ERR_INVALID, "name: must be");
    expect_open(here, ".new-0", VST_ERR_INVALID, "name: must be");
    expect_open(here, "g1", VST_ERR_NOT_FOUND, "no domain g1");
    assert_int_equal(vst_place_glance(here->root, "..", &seen, NULL), -1);
    assert_false(vst_root_has(here->root, ".."));
    assert_false(vst_root_has(here->root, "g1"));
}

/* ---- making and removing ---- */

static void what_was_defined_comes_back(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);
    struct vst_definition *def;

    vst_place_close(&place);
    place = reopen(here);
    def = vst_place_read_definition(place, NULL);
    assert_string_equal(def->uuid, here->def->uuid);
    vst_definition_free(&def);
    vst_place_remove(&place);
    assert_null(place);
}

static void a_guest_that_runs_is_not_replaced(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here), *other = NULL;
    struct vst_error err = {0};
    struct vst_process_id id, read;

    id = start_in(place);
    assert_int_equal(vst_place_read_id(place, &read, NULL), 0);
    assert_int_equal(read.pid, id.pid);
    end_it(&id);
    id = start_in(place);
    assert_true(glance(here).exists);
    vst_place_close(&place);
    assert_true(vst_root_has(here->root, "g1"));
    assert_int_equal(vst_place_create(here->root, here->def, &other, &err), -1);
    end_it(&id);
    place = reopen(here);
    vst_place_remove(&place);
    assert_int_equal(err.code, VST_ERR_EXISTS);
    assert_string_equal(err.text, "there is a domain g1 already");
}

/* A place that was never finished, with a process in it. */
static struct vst_process_id make_half(struct here *here)
{
    struct vst_place *place = create(here);
    struct vst_process_id id = start_in(place);

    assert_int_equal(vst_place_set_job(place, "start", false, NULL), 0);
    vst_place_close(&place);
    assert_true(vst_process_id_exists(&id));
    assert_true(glance(here).exists);
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
    expect_open(here, "g1", VST_ERR_NOT_FOUND, "died before it was whole");
    expect_killed(&id);
    expect_open(here, "g1", VST_ERR_NOT_FOUND, "no domain g1");
}

static void what_was_never_finished_makes_way_for_a_new_one(void **state)
{
    struct here *here = *state;
    struct vst_process_id id = make_half(here);
    struct vst_place *place = create(here);

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
    expect_open(here, "g1", VST_ERR_NOT_FOUND, "died before it was whole");
}

static void what_is_left_of_a_guest_is_replaced(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);
    struct vst_process_id id;
    struct vst_glance seen;
    int log;

    id = start_in(place);
    end_it(&id);
    log = vst_place_new_log(place, NULL);
    assert_int_equal(write(log, "qemu-system-x86_64: no such machine\n", 36), 36);
    close(log);
    vst_place_close(&place);
    seen = glance(here);
    assert_int_equal(seen.id.pid, id.pid);
    assert_false(seen.exists);
    assert_string_equal(seen.last_words, "no such machine");
    assert_true(seen.since > 1600000000);
    assert_false(vst_root_has(here->root, "g1"));
    place = create(here);
    assert_int_equal(glance(here).id.pid, 0);
    vst_place_remove(&place);
}

static void only_known_files_are_removed(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);
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

static bool is_there(struct here *here, const char *entry)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", here->path, entry);
    return access(path, F_OK) == 0;
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
    assert_false(is_there(here, ".new-old"));
    assert_false(is_there(here, ".gone-young"));
    assert_true(is_there(here, ".new-young"));
    assert_true(is_there(here, ".other"));
    snprintf(command, sizeof(command), "rm -r %s/.new-young %s/.other", here->path, here->path);
    assert_int_equal(system(command), 0);
}

static void what_is_being_removed_is_left_to_its_remover(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);
    char from[128], to[128];
    struct vst_root *root;

    snprintf(from, sizeof(from), "%s/g1", here->path);
    snprintf(to, sizeof(to), "%s/.gone-held", here->path);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(vst_root_open(here->path, &root, NULL), 0);
    vst_root_free(&root);
    assert_true(is_there(here, ".gone-held/definition.json"));
    vst_place_close(&place);
    assert_int_equal(vst_root_open(here->path, &root, NULL), 0);
    vst_root_free(&root);
    assert_false(is_there(here, ".gone-held"));
}

/* ---- a name that is taken later ---- */

static struct vst_place *make(struct here *here)
{
    struct vst_place *place = NULL;

    assert_int_equal(vst_place_make(here->root, here->def, &place, NULL), 0);
    assert_int_equal(vst_place_set_job(place, "restore", true, NULL), 0);
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
    expect_open(here, "g1", VST_ERR_NOT_FOUND, "no domain g1");
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
    struct vst_process_id id = start_in(place);
    struct vst_place_job job;

    assert_int_equal(vst_place_take_name(place, NULL), 0);
    vst_place_close(&place);
    assert_true(vst_root_has(here->root, "g1"));
    place = reopen(here);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_string_equal(job.kind, "restore");
    assert_true(job.running);
    end_it(&id);
    vst_place_remove(&place);
}

static void what_lost_its_maker_before_it_had_a_name_is_removed(void **state)
{
    struct here *here = *state;
    struct vst_place *place = make(here);
    struct vst_process_id id = start_in(place);
    struct vst_root *root;

    vst_place_close(&place);
    assert_true(is_there(here, ".making-g1"));
    expect_listed(here, NULL);
    expect_killed(&id);
    assert_false(is_there(here, ".making-g1"));

    place = make(here);
    vst_place_close(&place);
    assert_int_equal(vst_root_open(here->path, &root, NULL), 0);
    vst_root_free(&root);
    assert_false(is_there(here, ".making-g1"));

    place = make(here);
    id = start_in(place);
    vst_place_close(&place);
    place = create(here);
    expect_killed(&id);
    vst_place_remove(&place);
}

static void a_name_is_taken_when_it_is_free(void **state)
{
    struct here *here = *state;
    struct vst_place *old = create(here), *place = make(here);
    struct vst_process_id id = start_in(old);

    assert_int_equal(vst_place_take_name(place, NULL), -1);
    vst_place_close(&old);
    assert_int_equal(vst_place_take_name(place, NULL), -1);
    old = reopen(here);
    vst_place_remove(&old);
    assert_int_equal(vst_place_take_name(place, NULL), 0);
    end_it(&id);
    vst_place_remove(&place);
}

static bool is_leaving(struct here *here, struct vst_place *place, const char *job)
{
    assert_int_equal(vst_place_set_job(place, job, true, NULL), 0);
    return vst_root_is_leaving(here->root, here->def);
}

static void a_guest_is_leaving_when_somebody_is_about_to_end_it(void **state)
{
    struct here *here = *state;
    struct vst_definition *other = define("g1");
    struct vst_place *place = create(here);

    assert_false(vst_root_is_leaving(here->root, here->def));
    assert_true(is_leaving(here, place, "save"));
    assert_false(vst_root_is_leaving(here->root, other)); /* which has another UUID */
    assert_false(is_leaving(here, place, "keep"));
    assert_false(is_leaving(here, place, "live"));
    assert_true(is_leaving(here, place, "end"));
    vst_place_set_job(place, "save", true, NULL);
    vst_place_close(&place);
    assert_false(vst_root_is_leaving(here->root, here->def));
    place = reopen(here);
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
    status = vst_root_check_uuid(here->root, def, &err);
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
    place = create(here);
    assert_int_equal(check_uuid_of_another(here, uuid), -1);
    assert_int_equal(check_uuid_of_another(here, other), 0);
    assert_int_equal(vst_root_check_uuid(here->root, here->def, NULL), 0); /* its own */
    vst_place_close(&place);
    assert_int_equal(check_uuid_of_another(here, uuid), -1); /* it has crashed */
    place = reopen(here);
    vst_place_set_job(place, "end", true, NULL);
    vst_place_close(&place);
    assert_int_equal(check_uuid_of_another(here, uuid), 0); /* it has shut down */
    expect_open(here, "g1", VST_ERR_NOT_FOUND, "it has shut down");
}

/* ---- files and sockets ---- */

static void a_job_comes_and_goes(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);
    struct vst_place_job job;

    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_string_equal(job.kind, "");
    assert_int_equal(vst_place_set_job(place, "restore", true, NULL), 0);
    assert_int_equal(vst_place_set_job(place, "save", false, NULL), 0);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_string_equal(job.kind, "save");
    assert_false(job.running);
    vst_place_clear_job(place);
    assert_int_equal(vst_place_get_job(place, &job, NULL), 0);
    assert_string_equal(job.kind, "");
    vst_place_remove(&place);
}

static void overwrite(struct here *here, const char *file, const char *text)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/g1/%s", here->path, file);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void damaged_files_are_errors(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);
    struct vst_place_job job;
    struct vst_process_id id;
    struct vst_glance seen;
    struct vst_error err = {0};

    overwrite(here, "job", "{\"job\":");
    assert_int_equal(vst_place_get_job(place, &job, &err), -1);
    assert_int_equal(err.code, VST_ERR_INVALID);
    err = (struct vst_error){0};
    overwrite(here, "identity", "rubbish");
    assert_int_equal(vst_place_read_id(place, &id, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    overwrite(here, "definition.json", "{}");
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
    struct vst_place *place = create(here), *another = NULL;
    int listening = vst_place_listen(place, "monitor", NULL);
    struct vst_error err = {0};

    assert_true(vst_place_is_alive(place));
    vst_place_close(&place);
    assert_true(vst_root_has(here->root, "g1"));
    assert_true(glance(here).exists);
    assert_int_equal(vst_place_create(here->root, here->def, &another, &err), -1);
    assert_int_equal(err.code, VST_ERR_EXISTS);
    close(listening);
    assert_false(vst_root_has(here->root, "g1"));
    assert_false(glance(here).exists);
    place = reopen(here);
    assert_false(vst_place_is_alive(place));
    vst_place_remove(&place);
}

/* No more descriptors are to be had. */
static void qemu_that_cannot_be_looked_at_has_not_ended(void **state)
{
    struct here *here = *state;
    struct vst_place *place = create(here);
    struct vst_process_id id = start_in(place);
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
    struct vst_place *place = create(here);
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
    struct vst_place *place = create(here);
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
    struct vst_place *place = create(here);
    char text[16] = "";
    int fd;

    fd = vst_place_open_log(place, NULL);
    assert_int_equal(read(fd, text, 1), 0); /* somebody has removed it */
    close(fd);
    overwrite(here, "log", "of another run");
    fd = vst_place_new_log(place, NULL);
    assert_int_equal(write(fd, "now", 3), 3);
    close(fd);
    fd = vst_place_open_log(place, NULL);
    assert_int_equal(read(fd, text, sizeof(text)), 3);
    close(fd);
    vst_place_remove(&place);
}

#define TEST(function) VST_TEST_WITH(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_root_is_made_with_all_that_leads_to_it),
        TEST(a_root_that_others_may_write_to_is_refused),
        TEST(a_root_of_somebody_else_is_refused),
        TEST(a_user_has_a_root_of_his_own),
        TEST(places_are_listed_by_name),
        TEST(a_second_process_is_told_who_has_hold),
        TEST(a_second_connection_of_the_process_is_refused_too),
        TEST(looking_disturbs_nobody),
        TEST(the_hold_of_a_killed_process_is_gone_and_its_job_is_found),
        TEST(names_from_outside_are_checked),
        TEST(what_was_defined_comes_back),
        TEST(a_guest_that_runs_is_not_replaced),
        TEST(what_was_never_finished_is_removed_by_whoever_opens_it),
        TEST(what_was_never_finished_makes_way_for_a_new_one),
        TEST(a_new_place_is_not_finished),
        TEST(what_is_left_of_a_guest_is_replaced),
        TEST(only_known_files_are_removed),
        TEST(half_places_are_scrapped_when_they_are_nobodys),
        TEST(what_is_being_removed_is_left_to_its_remover),
        TEST(what_has_no_name_yet_is_seen_by_nobody),
        TEST(what_has_its_name_outlives_its_maker),
        TEST(what_lost_its_maker_before_it_had_a_name_is_removed),
        TEST(a_name_is_taken_when_it_is_free),
        TEST(a_uuid_is_of_one_guest),
        TEST(a_guest_is_leaving_when_somebody_is_about_to_end_it),
        TEST(a_job_comes_and_goes),
        TEST(damaged_files_are_errors),
        TEST(qemu_without_identity_is_known_by_its_monitor),
        TEST(qemu_that_cannot_be_looked_at_has_not_ended),
        TEST(write_that_is_cut_short_is_told_as_no_room),
        TEST(guests_are_listed_where_entries_have_no_type),
        TEST(sockets_work_under_a_long_root),
        TEST(connecting_never_waits),
        TEST(a_new_log_is_empty),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
