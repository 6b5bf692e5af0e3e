/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One login with Cyrus SASL: everything that calls that library, but the security layer. It knows
 * no loop; whatever may take its time is marked "blocks".
 */
#ifndef VST_REMOTE_SASL_LOGIN_H
#define VST_REMOTE_SASL_LOGIN_H

#include <sasl/sasl.h>

#include "sasl.h"

struct vst_login {
    enum vst_sasl_role role;
    char *host;
    char *mechanisms;
    char *database;
    char *saslauthd;
    char *user; /* client: who wants in; server, when done: who is in */
    sasl_secret_t *password;
    unsigned char binding[VST_SASL_BINDING];
    bool has_binding;
    bool secret;
    char *offer;     /* the server's; at a client once it has chosen */
    char *mechanism; /* the one that is used */
    sasl_channel_binding_t bound;
    sasl_callback_t callbacks[8];
    sasl_conn_t *conn;
    /* What the last step came to. */
    enum vst_sasl_result result;
    const char *out; /* the library's, until the next call of it; NULL: nothing */
    unsigned out_length;
    struct vst_error err;
};

/* Copies the options; a server's offer is known then. */
int vst_login_init(struct vst_login *login, const struct vst_sasl_options *opt,
                   struct vst_error *ret_err);
void vst_login_fini(struct vst_login *login);

/* Which mechanism it will be. Client: of those that the server offers. Server: what the client has
 * chosen. -1 with AUTH. */
int vst_login_choose(struct vst_login *login, const char *offered, struct vst_error *ret_err);
int vst_login_check(struct vst_login *login, const char *mechanism, struct vst_error *ret_err);
/* Whether it asks another service, which may not answer. */
bool vst_login_asks_others(const struct vst_login *login);

/* Block; they leave their result in the login. Client: the first message. Server: the client's
 * first message, `data` NULL: none. Both: the peer's next message. */
void vst_login_start(struct vst_login *login, const void *data, size_t length);
void vst_login_accept(struct vst_login *login, const void *data, size_t length);
void vst_login_step(struct vst_login *login, const void *data, size_t length);

/* When done. */
unsigned vst_login_ssf(const struct vst_login *login);
/* The most that one call of sasl_encode() takes. */
unsigned vst_login_most(const struct vst_login *login);

#endif
