/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the bodies of control frames say: calls, their results, errors and events, as structs and
 * back, by the tables of core/json.h. Both sides use it. Pure.
 *
 *     CALL   {"procedure": "save", "arguments": {"name": "g1", "live": true}}
 *     REPLY  {"result": {}}
 *     STARTED  {"total": 4194304}, or {"token": "..."}
 *     EVENT  {"event": "started", "name": "g1", "uuid": "...", "reason": ""}
 *     ERROR, STOP, GOAWAY  {"code": "damaged", "system": 5, "side": "qemu", "phase": "load",
 *                           "text": "..."}
 *
 * Members that a table does not know are ignored: newer peers may say more. A member given twice, a
 * wrong type, and the absence of what is required are errors that name it.
 *
 * Bodies that are printed are the caller's to free(), and end in a NUL that the frame does not
 * carry.
 */
#ifndef VST_REMOTE_MESSAGE_H
#define VST_REMOTE_MESSAGE_H

#include "core/driver.h"
#include "core/pool.h"
#include "procedure.h"

/* ---- arguments; strings are NULL when absent ---- */

struct vst_list_arguments { /* list, volumes, migrations */
    char *pool;             /* volumes: which; NULL: all */
    char *after;            /* the last name, or token, of the page before; NULL: the first page */
};
struct vst_name_arguments { /* lookup (or a UUID), info, console, screenshot, volume-delete */
    char *name;
};
struct vst_start_arguments {
    char *definition; /* its text, as the application gave it */
    bool paused;
    bool no_args;
};
struct vst_control_arguments {
    char *name;
    char *what; /* vst_control_name() */
};
struct vst_save_arguments {
    char *name;
    bool live;
    bool keep_running;
    uint64_t zstd_level;
    uint64_t stall_seconds;
};
struct vst_restore_arguments {
    char *name;
    bool paused;
    bool no_args;
    uint64_t stall_seconds;
};

struct vst_upload_arguments {
    char *name;
    bool in_place;
    uint64_t offset;
    uint64_t length; /* VST_LENGTH_NONE: nothing is said of it */
    uint64_t stall_seconds;
};
struct vst_download_arguments {
    char *name;
    uint64_t offset;
    uint64_t length; /* VST_LENGTH_NONE: nothing is said of it */
    uint64_t stall_seconds;
};

struct vst_migrate_arguments { /* relay-begin, too; by the functions below, as the next four */
    char *name;
    char *destination;
    char *new_name;
    bool check;
    bool offline;
    bool keep_source;
    bool auto_converge;
    bool post_copy;
    bool copy_disks;
    uint64_t post_copy_after;
    uint64_t downtime_ms;
    uint64_t timeout_seconds;
    char *then;
    uint64_t zstd_level;
    uint64_t stall_seconds;
    uint64_t bandwidth;
};
struct vst_order_arguments {
    char *token;
    char *order;
    uint64_t bandwidth;
    uint64_t downtime_ms;
};
struct vst_handover_arguments { /* migrate-message */
    char *token;
    char *host;
    char *event;
    bool check;
    bool no_args;
    char *offer;
};
struct vst_fetch_arguments { /* relay-fetch */
    char *token;
    uint64_t after;
};
struct vst_relay_answer_arguments {
    char *token;
    uint64_t number;
    char *host; /* of an answer, as the next two; NULL: there is none */
    char *event;
    char *text;
    char *error; /* what came instead, as the body of an ERROR */
};
struct vst_incoming_arguments { /* migrate-stream, relay-stream */
    char *token;
    char *part; /* NULL: the guest */
};

union vst_arguments {
    struct vst_list_arguments list;
    struct vst_name_arguments name;
    struct vst_start_arguments start;
    struct vst_control_arguments control;
    struct vst_save_arguments save;
    struct vst_restore_arguments restore;
    struct vst_upload_arguments upload;
    struct vst_download_arguments download;
    struct vst_migrate_arguments migrate;
    struct vst_order_arguments order;
    struct vst_handover_arguments handover;
    struct vst_fetch_arguments fetch;
    struct vst_relay_answer_arguments relay_answer;
    struct vst_incoming_arguments incoming;
};

const char *vst_control_name(enum vst_control what);
/* -1: there is none of this name. */
int vst_control_find(const char *name);

/* What the caller has, and back; the strings stay whose they are. */
void vst_migrate_arguments_set(const char *name, const char *destination,
                               const struct vst_migrate_options *opt, bool check,
                               struct vst_migrate_arguments *ret_arguments);
void vst_migrate_arguments_get(const struct vst_migrate_arguments *arguments,
                               struct vst_migrate_options *ret_opt);
void vst_order_arguments_set(const char *token, enum vst_migration_order order,
                             const struct vst_migration_change *change,
                             struct vst_order_arguments *ret_arguments);
void vst_order_arguments_get(const struct vst_order_arguments *arguments,
                             enum vst_migration_order *ret_order,
                             struct vst_migration_change *ret_change);
void vst_handover_arguments_set(const struct vst_migrate_message *message,
                                struct vst_handover_arguments *ret_arguments);
void vst_handover_arguments_get(const struct vst_handover_arguments *arguments,
                                struct vst_migrate_message *ret_message);

/* ---- calls ---- */

/* Which procedure, so that access is decided before its arguments are looked at. */
struct vst_call {
    enum vst_procedure procedure;
    struct json_object *body; /* the message's own */
};

/* PROTOCOL: what it says is no call. UNSUPPORTED: of a procedure that we do not have. */
int vst_call_parse(const char *body, size_t length, struct vst_call *ret_call,
                   struct vst_error *ret_err);
/* INVALID, and the member. Give them back with vst_arguments_clear(). */
int vst_call_get_arguments(const struct vst_call *call, union vst_arguments *ret_arguments,
                           struct vst_error *ret_err);
void vst_arguments_clear(enum vst_procedure procedure, union vst_arguments *arguments);
void vst_call_clear(struct vst_call *call);

/* `arguments` is NULL for a procedure that takes none. */
char *vst_call_print(enum vst_procedure procedure, const union vst_arguments *arguments,
                     struct vst_error *ret_err);

/* ---- results ---- */

struct vst_domain_result { /* lookup, start, restore */
    char *name;
    char *uuid;
};

struct vst_list_result { /* list, info, volumes, migrations: by the functions below */
    void **entries;
    bool more;
};

struct vst_answer_result { /* migrate-message */
    char *token;
    char *host;
    char *event;
    char *text; /* NULL: there is nothing to say */
};

struct vst_errand_result { /* relay-begin, relay-fetch: by the functions below */
    char *token;
    uint64_t number;
    char *errand;
    char *part;
    char *host; /* of what is to be asked, as the next three */
    char *event;
    bool check;
    char *offer;
    char *error; /* how it went, as the body of an ERROR; NULL: well */
};

struct vst_stats_result {
    char *software; /* the server's: "virstream 0.1.0" */
    char *identity; /* who the client is to it: "unix:1000" */
    char *role;     /* and what it may do: vst_role_name() */
    uint64_t uptime_seconds;
    uint64_t clients;
    uint64_t calls;   /* of all clients, answered */
    uint64_t streams; /* of all clients, open now */
    uint64_t received;
    uint64_t sent; /* bytes of streams */
};

union vst_results {
    struct vst_domain_result domain;
    struct vst_list_result list;
    struct vst_stats_result stats;
    struct vst_answer_result answer;
    struct vst_errand_result errand;
};

/* `result` is NULL for a procedure that has none. */
char *vst_reply_print(enum vst_procedure procedure, const union vst_results *result,
                      struct vst_error *ret_err);
/* PROTOCOL, and the member. Give it back with vst_results_clear(). */
int vst_reply_parse(enum vst_procedure procedure, const char *body, size_t length,
                    union vst_results *ret_result, struct vst_error *ret_err);
void vst_results_clear(enum vst_procedure procedure, union vst_results *result);

/*
 * One page of the reply to list, volumes or migrations: of `entries`, an array of struct
 * vst_domain_info, vst_volume_info or vst_migration_info, in the order of the text that they begin
 * with, those that come after `after` (NULL: all), as many as a page has. The reply to info is a
 * list of one.
 */
enum { VST_PAGE = 256 };
char *vst_list_print(enum vst_procedure procedure, const void *entries, size_t count,
                     const char *after, struct vst_error *ret_err);
/* *ret_entries is such an array, the caller's to free(). */
int vst_list_parse(enum vst_procedure procedure, const char *body, size_t length,
                   void **ret_entries, size_t *ret_count, bool *ret_more,
                   struct vst_error *ret_err);
/* Bytes of one. */
size_t vst_list_entry_size(enum vst_procedure procedure);

/* The reply to migrate-message. */
char *vst_answer_print(const struct vst_migrate_message *answer, struct vst_error *ret_err);
/* *ret_answer points into the result, which is cleaned. */
void vst_answer_get(struct vst_answer_result *result, struct vst_migrate_message *ret_answer);

/* The arguments of relay-answer; what is taken from them lives in them, cleaned, and in *ret_err:
 * one of *ret_answer's event and *ret_err's code is none. */
void vst_relay_answer_set(const char *token, uint64_t number,
                          const struct vst_migrate_message *answer, const char *error,
                          struct vst_relay_answer_arguments *ret_arguments);
void vst_relay_answer_get(struct vst_relay_answer_arguments *arguments,
                          struct vst_migrate_message *ret_answer, struct vst_error *ret_err);

/* The reply to relay-begin and relay-fetch; *ret_errand points into the result. */
char *vst_errand_print(enum vst_procedure procedure, const struct vst_errand *errand,
                       struct vst_error *ret_err);
void vst_errand_get(const struct vst_errand_result *result, struct vst_errand *ret_errand);

/* ---- STARTED ---- */

enum { VST_STARTED_MAX = 96 };
struct vst_started {
    uint64_t total; /* bytes that are expected in the direction that counts; 0: nobody knows */
    char token[37]; /* of a migration; else empty */
};
void vst_started_print(const struct vst_started *started, char ret_body[VST_STARTED_MAX]);
int vst_started_parse(const char *body, size_t length, struct vst_started *ret_started,
                      struct vst_error *ret_err);

/* ---- events ---- */

char *vst_event_print(const struct vst_event *event, struct vst_error *ret_err);

/* An event with its texts, which `kind_text` and the rest hold. */
struct vst_event_text {
    char *kind;
    char *name;
    char *uuid;
    char *reason;
};
/* *ret_event points into *ret_text; give that back with vst_event_text_clear(). A kind that we do
 * not know is UNSUPPORTED: not ours to tell of. */
int vst_event_parse(const char *body, size_t length, struct vst_event_text *ret_text,
                    struct vst_event *ret_event, struct vst_error *ret_err);
void vst_event_text_clear(struct vst_event_text *text);

/* ---- errors: without a single allocation, so that running out of memory can be told ---- */

#define VST_ERROR_BODY_MAX 8192

/* The body, NUL-terminated, and its length. What is not UTF-8 becomes `?`. */
size_t vst_error_print(const struct vst_error *err, char ret_body[VST_ERROR_BODY_MAX]);

/*
 * What the peer says went wrong: always an error, PROTOCOL if it cannot be read. Its text is cut to
 * what fits, and has no control characters but newlines. A code that we do not know is DRIVER.
 */
void vst_error_parse(const char *body, size_t length, struct vst_error *ret_err);

/* As a client has it that calls a server: what is the client's side there is the host here. */
void vst_error_from_server(const char *body, size_t length, struct vst_error *ret_err);

#endif
