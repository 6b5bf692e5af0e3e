/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal's file: its place, its lock, and records that are on the disk before anybody is told.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fd.h"

static const char name[] = "journal", new_name[] = "journal.new";

struct record {
    STAILQ_ENTRY(record) next;
    struct vst_journal_entry entry;
    void (*written)(void *opaque, const struct vst_journal_entry *entry,
                    const struct vst_error *err);
    void *opaque;
};

struct vst_journal_file {
    struct vst_job job; /* first; writes the first of the queue */
    struct vst_worker *worker;
    bool busy;                /* the job is submitted */
    bool failed;              /* the last write did: the file lacks what `journal` has */
    struct vst_error trouble; /* why */
    STAILQ_HEAD(, record) queue;
    struct vst_journal journal; /* the loop's */
    /* The thread's, while the job runs. */
    int dir, lock, fd;
    off_t good;          /* what is after it does not count */
    unsigned char *text; /* what the job writes */
    size_t length;
    bool anew; /* as a new file */
    struct vst_error error;
};

/* ---- on a thread ---- */

static int fail(struct vst_error *err, const char *what)
{
    return vst_error_system(err, errno, "the journal: %s", what);
}

static int write_all(int fd, const unsigned char *text, size_t length, off_t at,
                     struct vst_error *err)
{
    while (length) {
        ssize_t n = pwrite(fd, text, length, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(err, "write");
        text += n;
        length -= (size_t)n;
        at += n;
    }
    return fsync(fd) < 0 ? fail(err, "fsync") : 0;
}

/* It is there as a whole, or not at all. */
static int write_anew(struct vst_journal_file *file)
{
    int fd = openat(file->dir, new_name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return fail(&file->error, "a new file");
    if (write_all(fd, file->text, file->length, 0, &file->error) < 0) {
        close(fd);
        return -1;
    }
    if (renameat(file->dir, new_name, file->dir, name) < 0) {
        fail(&file->error, "rename");
        close(fd);
        return -1;
    }
    vst_close(&file->fd);
    file->fd = fd;
    file->good = (off_t)file->length;
    return fsync(file->dir) < 0 ? fail(&file->error, "its directory") : 0;
}

static int write_more(struct vst_journal_file *file)
{
    if (write_all(file->fd, file->text, file->length, file->good, &file->error) < 0)
        return -1;
    file->good += (off_t)file->length;
    return 0;
}

static void work(struct vst_job *job)
{
    struct vst_journal_file *file = (struct vst_journal_file *)job;

    if (!file->text)
        return; /* there was no room for it, or no memory */
    if (file->anew)
        write_anew(file);
    else
        write_more(file);
}

static void dispose(struct vst_job *job)
{
    struct vst_journal_file *file = (struct vst_journal_file *)job;
    struct record *record;

    while ((record = STAILQ_FIRST(&file->queue))) {
        STAILQ_REMOVE_HEAD(&file->queue, next);
        free(record);
    }
    vst_journal_clear(&file->journal);
    free(file->text);
    vst_close(&file->fd);
    vst_close(&file->lock);
    vst_close(&file->dir);
    free(file);
}

/* ---- on the loop ---- */

/* A long journal becomes a short one, in the same write as the record. So does one that could not
 * be written or synced: nobody knows what the disk has of it, so all of it is written again. */
static int prepare(struct vst_journal_file *file, const struct vst_journal_entry *entry)
{
    unsigned char *text;
    size_t length = 0;

    if (vst_journal_admit(&file->journal, entry, &file->error) < 0)
        return -1;
    file->anew = file->failed || vst_journal_is_long(&file->journal);
    text = file->anew ? vst_journal_compact(&file->journal, &length, &file->error) : NULL;
    if (file->anew && !text)
        return -1;
    file->text = realloc(text, length + VST_JOURNAL_RECORD);
    if (!file->text) {
        free(text);
        return vst_error_no_memory(&file->error);
    }
    vst_journal_encode(entry, file->journal.next + length / VST_JOURNAL_RECORD,
                       file->text + length);
    file->length = length + VST_JOURNAL_RECORD;
    return 0;
}

static void begin(struct vst_journal_file *file)
{
    struct record *record = STAILQ_FIRST(&file->queue);

    file->busy = record != NULL;
    if (!record)
        return;
    file->error = (struct vst_error){0};
    prepare(file, &record->entry); /* failed: nothing is written, and done() tells the error */
    vst_worker_submit(file->worker, &file->job);
}

/* What was compacted away: the records in the file are those that were written just now. */
static void account(struct vst_journal_file *file, const struct vst_journal_entry *entry)
{
    if (file->anew) {
        file->journal.next += file->length / VST_JOURNAL_RECORD - 1;
        file->journal.records = file->length / VST_JOURNAL_RECORD - 1;
    }
    vst_journal_apply(&file->journal, entry, &file->error);
    file->failed = false;
}

/* It goes with the next record, of whatever token: then all is written anew. What there is no room
 * for was not written at all, and is forgotten. */
static void remember(struct vst_journal_file *file, const struct vst_journal_entry *entry)
{
    struct vst_error refused = {0};

    if (vst_journal_apply(&file->journal, entry, &refused) < 0)
        return;
    file->failed = true;
    file->trouble = file->error;
}

static void done(struct vst_job *job)
{
    struct vst_journal_file *file = (struct vst_journal_file *)job;
    struct record *record = STAILQ_FIRST(&file->queue);
    struct vst_error err;

    STAILQ_REMOVE_HEAD(&file->queue, next);
    if (vst_error_is_set(&file->error))
        remember(file, &record->entry);
    else
        account(file, &record->entry);
    err = file->error;
    free(file->text);
    file->text = NULL;
    begin(file);
    record->written(record->opaque, &record->entry, vst_error_is_set(&err) ? &err : NULL);
    free(record);
}

int vst_journal_append(struct vst_journal_file *file, struct vst_worker *worker,
                       const struct vst_journal_entry *entry,
                       void (*written)(void *opaque, const struct vst_journal_entry *entry,
                                       const struct vst_error *err),
                       void *opaque, struct vst_error *ret_err)
{
    struct record *record = malloc(sizeof(*record));

    if (!record)
        return vst_error_no_memory(ret_err);
    *record = (struct record){.entry = *entry, .written = written, .opaque = opaque};
    STAILQ_INSERT_TAIL(&file->queue, record, next);
    file->worker = worker;
    if (!file->busy)
        begin(file);
    return 0;
}

void vst_journal_close(struct vst_journal_file **slot)
{
    struct vst_journal_file *file = *slot;

    *slot = NULL;
    if (file && file->busy)
        vst_job_abandon(&file->job);
    else if (file)
        dispose(&file->job);
}

const struct vst_journal *vst_journal_known(const struct vst_journal_file *file)
{
    return &file->journal;
}

const struct vst_error *vst_journal_trouble(const struct vst_journal_file *file)
{
    return file->failed ? &file->trouble : NULL;
}

/* ---- opening ---- */

static char *default_path(struct vst_error *ret_err)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int result = -1;

    if (geteuid() == 0)
        result = asprintf(&path, "/var/lib/virstream");
    else if (state && state[0] == '/')
        result = asprintf(&path, "%s/virstream", state);
    else if (home && home[0] == '/')
        result = asprintf(&path, "%s/.local/state/virstream", home);
    else
        vst_error_set(ret_err, VST_ERR_INVALID,
                      "neither XDG_STATE_HOME nor HOME is set; name a directory for the journal");
    if (result >= 0)
        return path;
    vst_error_no_memory(ret_err); /* unless more has been said */
    return NULL;
}

/* Else a power cut may take a directory that was made, and with it what was synced in it. */
static int sync_parent(const char *path, struct vst_error *ret_err)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash == path ? strdup("/")
                   : slash       ? strndup(path, (size_t)(slash - path))
                                 : strdup(".");
    int fd, status;

    if (!parent)
        return vst_error_no_memory(ret_err);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    status = fd < 0 || fsync(fd) < 0 ? vst_error_system(ret_err, errno, "%s", parent) : 0;
    vst_close(&fd);
    free(parent);
    return status;
}

static int make_directory(char *path, struct vst_error *ret_err)
{
    for (char *slash = path + 1;; slash++) {
        char was = *slash;

        if (was && was != '/')
            continue;
        *slash = '\0';
        if (mkdir(path, 0700) == 0) {
            if (sync_parent(path, ret_err) < 0)
                return -1;
        } else if (errno != EEXIST) {
            return vst_error_system(ret_err, errno, "%s", path);
        }
        *slash = was;
        if (!was)
            return 0;
    }
}

static int open_directory(struct vst_journal_file *file, const char *dir, struct vst_error *ret_err)
{
    char *path = dir ? strdup(dir) : default_path(ret_err);
    struct stat st;
    int result = -1;

    if (!path)
        return vst_error_no_memory(ret_err);
    if (make_directory(path, ret_err) == 0) {
        file->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (file->dir < 0 || fstat(file->dir, &st) < 0)
            vst_error_system(ret_err, errno, "%s", path);
        else if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
            vst_error_set(ret_err, VST_ERR_ACCESS,
                          "%s: must be ours, and nobody else may write there", path);
        else
            result = 0;
    }
    free(path);
    return result;
}

static int take_lock(struct vst_journal_file *file, struct vst_error *ret_err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    file->lock = openat(file->dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->lock < 0)
        return fail(ret_err, "lock");
    if (fcntl(file->lock, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return fail(ret_err, "lock");
    return vst_error_set(ret_err, VST_ERR_BUSY,
                         "another process looks after the migrations of this host: a virstreamd, "
                         "which is to be asked then, or another command that migrates");
}

/* The first record, and with it the identity of this host. */
static int create(struct vst_journal_file *file, struct vst_error *ret_err)
{
    unsigned char host[VST_HANDOVER_ID], record[VST_JOURNAL_RECORD];

    if (getrandom(host, sizeof(host), 0) != sizeof(host))
        return fail(ret_err, "getrandom");
    vst_journal_encode_host(host, 0, record);
    file->text = record;
    file->length = sizeof(record);
    if (write_anew(file) < 0)
        vst_error_copy(ret_err, &file->error);
    file->text = NULL;
    return vst_error_is_set(&file->error) ? -1 : 0;
}

static int replay(struct vst_journal_file *file, struct vst_error *ret_err)
{
    unsigned char *bytes;
    struct stat st;
    size_t good, have = 0;
    ssize_t n = 1;
    int result;

    if (fstat(file->fd, &st) < 0)
        return fail(ret_err, "fstat");
    if (st.st_size > VST_JOURNAL_BYTES)
        return vst_error_set(ret_err, VST_ERR_DAMAGED, "the journal is larger than it ever can be");
    bytes = malloc((size_t)st.st_size + 1);
    if (!bytes)
        return vst_error_no_memory(ret_err);
    while (n > 0 && have < (size_t)st.st_size) {
        n = pread(file->fd, bytes + have, (size_t)st.st_size - have, (off_t)have);
        have += n > 0 ? (size_t)n : 0;
    }
    result = n < 0 ? fail(ret_err, "read")
                   : vst_journal_replay(bytes, have, &file->journal, &good, ret_err);
    free(bytes);
    file->good = result == 0 ? (off_t)good : 0;
    return result;
}

/* The tail that was torn goes now, so that the file has only whole records. */
static int read_or_create(struct vst_journal_file *file, struct vst_error *ret_err)
{
    file->fd = openat(file->dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (file->fd < 0 && errno != ENOENT)
        return fail(ret_err, "open");
    if (file->fd < 0 && create(file, ret_err) < 0)
        return -1;
    if (replay(file, ret_err) < 0)
        return -1;
    if (ftruncate(file->fd, file->good) < 0 || fsync(file->fd) < 0)
        return fail(ret_err, "cutting a torn tail off");
    return 0;
}

int vst_journal_open(const char *dir, struct vst_journal_file **ret_file, struct vst_error *ret_err)
{
    struct vst_journal_file *file = calloc(1, sizeof(*file));

    if (!file)
        return vst_error_no_memory(ret_err);
    file->job = (struct vst_job){.work = work, .done = done, .dispose = dispose};
    STAILQ_INIT(&file->queue);
    file->dir = file->lock = file->fd = -1;
    if (open_directory(file, dir, ret_err) < 0 || take_lock(file, ret_err) < 0 ||
        read_or_create(file, ret_err) < 0) {
        dispose(&file->job);
        return -1;
    }
    *ret_file = file;
    return 0;
}
