/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may do what: a list of rules that give roles to identities. Pure; what a role may do is the
 * table in procedure.h. Whom no rule names has the role `none`.
 *
 * An identity is `unix:UID`, `sasl:USER`, `x509:SUBJECT` (RFC 4514) or `x509:URI` (a subject
 * alternative name). A rule has one of these, with `*` for any run of characters; but a `*` never
 * passes from one value of a subject into the next, so that `x509:CN=*,O=Example` is no rule for
 * `CN=eve,OU=guests,O=Example`. `KIND:*` is everybody of that kind.
 */
#ifndef VST_REMOTE_ACCESS_H
#define VST_REMOTE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "procedure.h"

/* ---- rules ---- */

struct vst_access;

struct vst_access *vst_access_new(struct vst_error *ret_err);
/* Fails with INVALID when `pattern` is no identity, and says what one looks like. */
int vst_access_add(struct vst_access *access, enum vst_role role, const char *pattern,
                   struct vst_error *ret_err);
bool vst_access_is_empty(const struct vst_access *access);
/* Sets *access to NULL. Accepts NULL. */
void vst_access_free(struct vst_access **access);

/* ---- identities ---- */

/* All names of one client: several when it has shown a certificate and has a user's name, too. */
struct vst_identity {
    char **names;
    size_t count;
};

int vst_identity_add_unix(struct vst_identity *identity, uid_t uid, struct vst_error *ret_err);
int vst_identity_add_user(struct vst_identity *identity, const char *user,
                          struct vst_error *ret_err);
/* `uris` may be NULL, and ends in NULL. One that has not the form of a URI is no name: it could
 * look like a subject. */
int vst_identity_add_x509(struct vst_identity *identity, const char *subject,
                          const char *const *uris, struct vst_error *ret_err);
/* All of them, ", " in between; "nobody" when there is none. Cut to what fits. */
void vst_identity_print(const struct vst_identity *identity, char *ret_text, size_t room);
/* What stays the same when the same one comes again: the user who has logged in, or else the first
 * name. Empty when there is none, or none that fits. */
void vst_identity_principal(const struct vst_identity *identity, char *ret_text, size_t room);
void vst_identity_clear(struct vst_identity *identity);

/* ---- the question ---- */

/* The greatest role that a rule gives to one of the names. */
enum vst_role vst_access_role(const struct vst_access *access, const struct vst_identity *identity);

/* 0, or -1 with ACCESS and what would be needed. */
int vst_access_check(enum vst_role role, enum vst_procedure procedure, struct vst_error *ret_err);

/* Raw arguments for QEMU: in what is started, and inside of what is restored. */
bool vst_access_may_use_args(enum vst_role role);
/* A migration that others began; and the word of the operator, which ends a doubt or a wait. */
bool vst_access_may_settle(enum vst_role role);

#endif
