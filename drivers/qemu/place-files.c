/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a place. Sockets are bound and connected through /proc/self/fd, because the path of
 * a socket has room for 107 bytes only, and the root may be anywhere.
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/json.h"
#include "last-words.h"

enum { JOB_MAX = 1024, BACKLOG = 8 };

/* ---- plain files ---- */

static int open_in(const struct vst_place *place, const char *file, int flags,
                   struct vst_error *ret_err)
{
    int fd = openat(place->fd, file, flags | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        vst_error_system(ret_err, errno, "domain %s: %s", place->name, file);
    return fd;
}

int vst_place_new_log(struct vst_place *place, struct vst_error *ret_err)
{
    return open_in(place, "log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, ret_err);
}

int vst_place_new_id(struct vst_place *place, struct vst_error *ret_err)
{
    return open_in(place, "identity", O_RDWR | O_CREAT | O_TRUNC, ret_err);
}

int vst_place_open_log(struct vst_place *place, struct vst_error *ret_err)
{
    return open_in(place, "log", O_RDONLY | O_CREAT, ret_err);
}

static bool has_shut_down(int place_fd)
{
    int fd = openat(place_fd, "log", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool shut_down = fd >= 0 && vst_last_words_shutdown(fd);

    vst_close(&fd);
    return shut_down;
}

bool vst_place_has_shut_down(struct vst_place *place)
{
    return has_shut_down(place->fd);
}

/* So that the last words of a crash are not those of an earlier job. */
static void mark_log(const struct vst_place *place, const char *what)
{
    int fd = open_in(place, "log", O_WRONLY | O_APPEND, NULL);

    if (fd >= 0)
        vst_last_words_mark(fd, what);
    vst_close(&fd);
}

void vst_place_trim_log(struct vst_place *place)
{
    int fd = open_in(place, "log", O_WRONLY, NULL);

    if (fd >= 0)
        vst_last_words_trim(fd);
    vst_close(&fd);
}

static struct vst_definition *read_definition(int fd, const char *name, struct vst_error *ret_err)
{
    char *text = malloc(VST_DEFINITION_MAX + 2); /* one too large is seen to be so */
    struct vst_definition *def = NULL;
    ssize_t length;

    if (!text) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    length = vst_place_read(fd, "definition.json", text, VST_DEFINITION_MAX + 2);
    if (length < 0)
        vst_error_system(ret_err, errno, "domain %s: definition.json", name);
    else
        def = vst_definition_parse(text, (size_t)length, ret_err);
    free(text);
    return def;
}

struct vst_definition *vst_place_read_definition(struct vst_place *place, struct vst_error *ret_err)
{
    return read_definition(place->fd, place->name, ret_err);
}

static int read_id(int fd, struct vst_process_id *ret_id, int64_t *ret_since,
                   struct vst_error *ret_err)
{
    int file = openat(fd, "identity", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int result;

    if (file < 0)
        return vst_error_system(ret_err, errno, "identity");
    result = vst_process_id_read(file, ret_id, ret_err);
    if (result == 0 && ret_since)
        *ret_since = fstat(file, &st) == 0 ? st.st_mtime : 0;
    close(file);
    return result;
}

int vst_place_read_id(struct vst_place *place, struct vst_process_id *ret_id,
                      struct vst_error *ret_err)
{
    return read_id(place->fd, ret_id, NULL, ret_err);
}

/* ---- sockets ---- */

/* -1 with errno. */
static int make_socket(int place_fd, const char *name, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/%s", place_fd,
             name);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int vst_place_listen(struct vst_place *place, const char *name, struct vst_error *ret_err)
{
    struct sockaddr_un address;
    int fd = make_socket(place->fd, name, &address);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    vst_error_system(ret_err, errno, "domain %s: %s", place->name, name);
    vst_close(&fd);
    return -1;
}

int vst_place_connect(struct vst_place *place, const char *name, struct vst_error *ret_err)
{
    struct sockaddr_un address;
    int fd = make_socket(place->fd, name, &address);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    /* Many have called, and QEMU has taken none of them. */
    if (errno == EAGAIN)
        vst_error_set(ret_err, VST_ERR_TIMEOUT, "domain %s: %s: QEMU does not answer", place->name,
                      name);
    else
        vst_error_system(ret_err, errno, "domain %s: %s", place->name, name);
    vst_close(&fd);
    return -1;
}

/* A socket that nobody has refuses. */
static bool is_listened(int place_fd)
{
    struct sockaddr_un address;
    int fd = make_socket(place_fd, "monitor", &address);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
                   (errno == ECONNREFUSED || errno == ENOENT);

    vst_close(&fd);
    return !refused;
}

static bool is_alive(int place_fd)
{
    struct vst_process_id id;
    struct vst_error err = {0};

    if (read_id(place_fd, &id, NULL, &err) == 0)
        return vst_process_id_exists(&id);
    return err.code != VST_ERR_NOT_FOUND || is_listened(place_fd);
}

bool vst_place_is_alive(struct vst_place *place)
{
    return is_alive(place->fd);
}

/* ---- the job ---- */

struct job {
    char *word;
    bool running;
    char *token;
    char *to;
};

static const struct vst_json_member job_members[] = {
    {.name = "job",
     .type = VST_JSON_STRING,
     .offset = offsetof(struct job, word),
     .required = true},
    {.name = "running", .type = VST_JSON_FLAG, .offset = offsetof(struct job, running)},
    {.name = "token", .type = VST_JSON_STRING, .offset = offsetof(struct job, token)},
    {.name = "to", .type = VST_JSON_STRING, .offset = offsetof(struct job, to)},
};
static const struct vst_json_table job_table = {VST_JSON_TABLE(job_members, job)};

static const char *const words[] = {
#define WORD(id, text) [VST_WORD_##id] = text,
    VST_PLACE_WORDS(WORD)
#undef WORD
};

static enum vst_place_word find_word(const char *text)
{
    for (unsigned word = 0; word < sizeof(words) / sizeof(words[0]); word++)
        if (words[word] && strcmp(words[word], text) == 0)
            return word;
    return VST_WORD_UNKNOWN;
}

/* No file means no job. */
static int read_job(int fd, struct vst_place_job *ret_job, struct vst_error *ret_err)
{
    char text[JOB_MAX + 2];
    ssize_t length = vst_place_read(fd, "job", text, sizeof(text));
    struct json_object *object;
    struct job job = {0};
    int result = -1;

    if (length < 0 && errno != ENOENT)
        return vst_error_system(ret_err, errno, "job");
    *ret_job = (struct vst_place_job){0};
    if (length < 0)
        return 0;
    object = vst_json_parse(text, (size_t)length, JOB_MAX, "job", ret_err);
    if (object)
        result = vst_json_decode(&job_table, object, "job", &job, ret_err);
    if (result == 0) {
        ret_job->word = find_word(job.word);
        snprintf(ret_job->token, sizeof(ret_job->token), "%s", job.token ? job.token : "");
        snprintf(ret_job->to, sizeof(ret_job->to), "%s", job.to ? job.to : "");
        ret_job->running = job.running;
    }
    vst_json_clear(&job_table, &job);
    json_object_put(object);
    return result;
}

int vst_place_get_job(struct vst_place *place, struct vst_place_job *ret_job,
                      struct vst_error *ret_err)
{
    return read_job(place->fd, ret_job, ret_err);
}

/* To be free()d. */
static char *print_job(const struct vst_place_job *from, struct vst_error *ret_err)
{
    struct vst_place_job copy = *from;
    const struct job job = {
        .word = (char *)words[copy.word],
        .running = copy.running,
        .token = copy.token[0] ? copy.token : NULL,
        .to = copy.to[0] ? copy.to : NULL,
    };
    struct json_object *object = vst_json_encode(&job_table, &job, ret_err);
    char *text = object ? vst_json_print(object, ret_err) : NULL;

    json_object_put(object);
    return text;
}

/* Under another name first: whoever finds the file finds all of it. */
static int replace_job(struct vst_place *place, const char *text, struct vst_error *ret_err)
{
    int fd = open_in(place, "job.new", O_WRONLY | O_CREAT | O_TRUNC, ret_err);

    if (fd < 0)
        return -1;
    if (vst_place_write(fd, text, strlen(text)) < 0 ||
        renameat(place->fd, "job.new", place->fd, "job") < 0) {
        vst_error_system(ret_err, errno, "domain %s: job", place->name);
        close(fd);
        return -1;
    }
    close(fd);
    return 0;
}

int vst_place_put_job(struct vst_place *place, const struct vst_place_job *job,
                      struct vst_error *ret_err)
{
    char *text = print_job(job, ret_err);
    int result = text ? replace_job(place, text, ret_err) : -1;

    free(text);
    if (result == 0)
        mark_log(place, words[job->word]);
    return result;
}

int vst_place_set_job(struct vst_place *place, enum vst_place_word word, bool running,
                      struct vst_error *ret_err)
{
    return vst_place_set_move(place, word, NULL, running, ret_err);
}

int vst_place_set_move(struct vst_place *place, enum vst_place_word word, const char *token,
                       bool running, struct vst_error *ret_err)
{
    struct vst_place_job job = {.word = word, .running = running};

    snprintf(job.token, sizeof(job.token), "%s", token ? token : "");
    return vst_place_put_job(place, &job, ret_err);
}

bool vst_place_job_makes(const struct vst_place_job *job)
{
    return job->word == VST_WORD_START;
}

bool vst_place_job_moves(const struct vst_place_job *job)
{
    return job->word == VST_WORD_OUT || job->word == VST_WORD_IN || job->word == VST_WORD_LACK;
}

bool vst_place_job_is_stray(const struct vst_place_job *job)
{
    return job->word == VST_WORD_STRAY;
}

bool vst_place_job_is_away(const struct vst_place_job *job)
{
    return job->word == VST_WORD_AWAY;
}

void vst_place_clear_job(struct vst_place *place)
{
    if (unlinkat(place->fd, "job", 0) == 0)
        mark_log(place, "job done");
}

/* ---- looking without the lock ---- */

static void read_last_words(int fd, char *ret_text, size_t room)
{
    int log_fd = openat(fd, "log", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    ret_text[0] = '\0';
    if (log_fd < 0)
        return;
    vst_last_words(log_fd, ret_text, room);
    close(log_fd);
}

/* It is being made, and held; or it runs, and is more than what a dead maker left. Remains that
 * somebody has hold of, to ask what they are, are remains. */
static bool is_guest(int fd)
{
    struct vst_place_job job = {0};
    struct vst_process_id id;
    bool held = vst_place_holder(fd) != 0;

    if (held && read_id(fd, &id, NULL, NULL) < 0)
        return true;
    if (read_job(fd, &job, NULL) == 0 && vst_place_job_makes(&job))
        return held;
    return is_alive(fd);
}

bool vst_root_has(struct vst_root *root, const char *name)
{
    bool has;
    int fd;

    if (vst_name_check(name, NULL) < 0)
        return false;
    fd = openat(root->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    has = is_guest(fd);
    close(fd);
    return has;
}

static int open_place(const struct vst_root *root, const char *name, struct vst_error *ret_err)
{
    int fd = -1;

    if (vst_name_check(name, ret_err) == 0 &&
        (fd = openat(root->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
            vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no domain %s", name);
        else
            vst_error_system(ret_err, errno, "domain %s", name);
    }
    return fd;
}

int vst_root_get_job(struct vst_root *root, const char *name, struct vst_place_job *ret_job,
                     struct vst_error *ret_err)
{
    int fd = open_place(root, name, ret_err);
    int result = fd < 0 ? -1 : read_job(fd, ret_job, ret_err);

    vst_close(&fd);
    return result;
}

/* Or has crashed; what has shut down is not there any more. */
static bool is_there(int fd)
{
    struct vst_place_job job = {0};

    if (is_guest(fd))
        return true;
    return read_job(fd, &job, NULL) == 0 && !vst_place_job_makes(&job) &&
           job.word != VST_WORD_END && !has_shut_down(fd);
}

bool vst_place_has_uuid(const struct vst_root *root, const char *entry, const char *uuid)
{
    int fd = openat(root->fd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct vst_definition *def = fd < 0 ? NULL : read_definition(fd, entry, NULL);
    bool has = def && strcmp(def->uuid, uuid) == 0 && is_there(fd);

    vst_definition_free(&def);
    vst_close(&fd);
    return has;
}

/* END is over with its QEMU. */
bool vst_root_is_held_briefly(struct vst_root *root, const char *name)
{
    struct vst_place_job job = {0};

    return vst_root_get_job(root, name, &job, NULL) == 0 &&
           (job.word == VST_WORD_NONE || job.word == VST_WORD_END);
}

/* Whoever holds it may not have started its QEMU yet. */
static void see(int fd, const char *name, struct vst_glance *glance)
{
    glance->holder = vst_place_holder(fd);
    glance->def = read_definition(fd, name, &glance->damage);
    if (read_job(fd, &glance->job, &glance->damage) < 0)
        glance->job = (struct vst_place_job){0};
    if (read_id(fd, &glance->id, &glance->since, NULL) < 0)
        glance->id = (struct vst_process_id){0};
    glance->exists = (glance->id.pid || !glance->holder) && is_alive(fd);
    read_last_words(fd, glance->last_words, sizeof(glance->last_words));
}

/* What seems to be damaged may be being removed. */
static bool is_named(const struct vst_root *root, const char *name, int fd)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && fstatat(root->fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

int vst_place_glance(struct vst_root *root, const char *name, struct vst_glance *ret_glance,
                     struct vst_error *ret_err)
{
    struct vst_glance glance = {.exists = true};
    int fd = open_place(root, name, &glance.damage);

    if (fd < 0 &&
        (glance.damage.code == VST_ERR_NOT_FOUND || glance.damage.code == VST_ERR_INVALID))
        return vst_error_copy(ret_err, &glance.damage);
    if (fd >= 0)
        see(fd, name, &glance);
    if (fd >= 0 && vst_error_is_set(&glance.damage) && !is_named(root, name, fd)) {
        vst_definition_free(&glance.def);
        vst_close(&fd);
        return vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no domain %s", name);
    }
    vst_close(&fd);
    *ret_glance = glance;
    return 0;
}

bool vst_root_is_leaving(struct vst_root *root, const struct vst_definition *def)
{
    struct vst_glance glance = {0};
    bool leaving;

    if (vst_place_glance(root, def->name, &glance, NULL) < 0)
        return false;
    leaving = (glance.job.word == VST_WORD_SAVE || glance.job.word == VST_WORD_END) &&
              glance.holder != 0 && glance.def && strcmp(glance.def->uuid, def->uuid) == 0;
    vst_definition_free(&glance.def);
    return leaving;
}
