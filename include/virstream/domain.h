/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains: guests, by name and UUID, and the methods on them. A method that moves bytes takes a
 * stream and nothing else is added for it.
 *
 * A `struct vst_domain` is a name to call methods by: it is cheap, holds no descriptor, and may
 * outlive the guest (methods then complete with VST_ERR_NOT_FOUND), but not its connection: with
 * that it is closed, every method completes with VST_ERR_CANCELLED, and it is still to be freed.
 */
#ifndef VIRSTREAM_DOMAIN_H
#define VIRSTREAM_DOMAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <virstream/connection.h>
#include <virstream/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vst_domain;

/* On success `domain` is the callback's, to be freed with vst_domain_free(). */
struct vst_domain_cb {
    void (*fn)(struct vst_domain *domain, const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

/* Valid until the domain is freed. */
const char *vst_domain_get_name(const struct vst_domain *domain);
const char *vst_domain_get_uuid(const struct vst_domain *domain);
/* Sets *domain to NULL; accepts NULL. The guest is not concerned. */
void vst_domain_free(struct vst_domain **domain);

enum vst_domain_state {
    VST_DOMAIN_RUNNING,
    VST_DOMAIN_PAUSED,
    VST_DOMAIN_STARTING, /* being started or restored */
    VST_DOMAIN_CRASHED,  /* QEMU is gone by itself; destroy cleans up */
};
const char *vst_domain_state_name(enum vst_domain_state state);

enum vst_job_kind { VST_JOB_NONE, VST_JOB_SAVE, VST_JOB_RESTORE, VST_JOB_MIGRATE };
const char *vst_job_kind_name(enum vst_job_kind kind);

struct vst_domain_info {
    char name[64];
    char uuid[37];
    enum vst_domain_state state;
    char reason[256]; /* why it is in this state, when that is not obvious; else empty */
    uint64_t memory;  /* bytes */
    unsigned vcpus;
    int pid;               /* of QEMU; 0 if none */
    int64_t since;         /* when it was started or restored, in seconds since 1970 */
    int busy_pid;          /* the process that has hold of the domain, if another one; else 0 */
    enum vst_job_kind job; /* what runs now */
    struct vst_progress progress; /* of the job */
};

/* `infos` is the library's and valid during the callback; NULL with an error. */
struct vst_info_cb {
    void (*fn)(const struct vst_domain_info *infos, size_t count, const struct vst_error *err,
               void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

/* All domains of the connection, those that another process has hold of included. */
struct vst_op *vst_conn_list(struct vst_conn *conn, const struct vst_info_cb *cb);

/* By name, or by UUID. */
struct vst_op *vst_conn_lookup(struct vst_conn *conn, const char *name_or_uuid,
                               const struct vst_domain_cb *cb);

/* Exactly one element. */
struct vst_op *vst_domain_get_info(struct vst_domain *domain, const struct vst_info_cb *cb);

/* Starts a guest from a definition (JSON, see docs/definition.md). `paused`: it waits for resume.
 */
struct vst_start_options {
    bool paused;
    bool no_args; /* a definition with raw arguments for QEMU is refused with VST_ERR_ACCESS */
};
struct vst_op *vst_domain_start(struct vst_conn *conn, const char *definition,
                                const struct vst_start_options *opt,
                                const struct vst_domain_cb *cb);

/* Its CPUs stand still, and go on. One that does so already is none the worse. */
struct vst_op *vst_domain_suspend(struct vst_domain *domain, const struct vst_done *done);
struct vst_op *vst_domain_resume(struct vst_domain *domain, const struct vst_done *done);
/* Asks the guest (ACPI power button); completes when it is gone. Set a timeout. */
struct vst_op *vst_domain_shutdown(struct vst_domain *domain, const struct vst_done *done);
/* Ends it at once; also cleans up after a crash. */
struct vst_op *vst_domain_destroy(struct vst_domain *domain, const struct vst_done *done);

/*
 * Saves the guest's state down the stream, as an image (docs/image-format.md). The guest is paused
 * meanwhile, or goes on running with `live`. Completes when the application's end has taken
 * everything and finished; only then does the guest end, unless `keep_running`. After any failure
 * the guest is as it was before.
 */
struct vst_save_options {
    bool live; /* the image is the state at the start; implies keep_running */
    bool keep_running;
    int zstd_level;         /* 0: no compression; 1..19 */
    unsigned stall_seconds; /* no byte for so long ends it with VST_ERR_STALLED; 0 for 60 */
};
struct vst_op *vst_domain_save(struct vst_domain *domain, struct vst_stream *stream,
                               const struct vst_save_options *opt, const struct vst_done *done);

/*
 * Restores a guest from an image that comes up the stream. Nothing runs before the image's end is
 * verified. Completes when the guest runs, or is paused as asked or as it was when saved. After any
 * failure nothing is left. Once QEMU has been told to let the guest run, what that comes to is the
 * outcome: a cancel, a deadline or an aborted stream comes too late. A QEMU that is silent then is
 * left as it is, and told as VST_ERR_TIMEOUT; so is one that lives and has closed its monitor, as
 * the error says. A start is the same.
 */
struct vst_restore_options {
    const char *name; /* another name than the saved one, and then another UUID; may be NULL */
    bool paused;
    bool no_args; /* as above, of the definition in the image; nothing was started for it */
    unsigned stall_seconds; /* as above */
};
struct vst_op *vst_domain_restore(struct vst_conn *conn, struct vst_stream *stream,
                                  const struct vst_restore_options *opt,
                                  const struct vst_domain_cb *cb);

/*
 * The serial console, both ways: down comes what the guest prints, starting with the last of what
 * it printed before; up goes what it reads. Completes when the application's source ends, or the
 * guest. One viewer at a time.
 */
struct vst_op *vst_domain_open_console(struct vst_domain *domain, struct vst_stream *stream,
                                       const struct vst_done *done);

/* The screen as a PNG, down the stream. No byte for 60 seconds ends it with VST_ERR_STALLED. */
struct vst_op *vst_domain_screenshot(struct vst_domain *domain, struct vst_stream *stream,
                                     const struct vst_done *done);

#ifdef __cplusplus
}
#endif

#endif
