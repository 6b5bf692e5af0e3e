/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connecting, one step after the other. Each step has one object that does it, and at most one of
 * them exists; so giving up means to free whichever it is. Only a name look-up cannot be freed at
 * once.
 */
#include "connect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "core/fd.h"
#include "core/fsm.h"
#include "core/question.h"
#include "dial.h"
#include "password.h"

#define CONNECT_STATES(X)                                                                   \
    X(CONNECT_BEGINNING, "the loop", "nothing has been done")                               \
    X(CONNECT_PASSWORD, "the password", "a file is read, or somebody is asked")             \
    X(CONNECT_CERTIFICATES, "the certificates", "the worker looks for them and reads them") \
    X(CONNECT_LOOKUP, "the name look-up", "name servers have been asked")                   \
    X(CONNECT_DIAL, "the connection", "addresses are being tried")                          \
    X(CONNECT_GREETING, "the greeting", "from the TLS hand-shake to the server's welcome")  \
    X(CONNECT_ENDING, "the resolver to let go", "it has failed")
VST_FSM(connect, CONNECT_STATES)

struct vst_connect {
    struct vst_conn *conn;
    const struct vst_target *target;
    struct vst_connect_cb cb;
    enum connect_state state;
    struct vst_turn turn;
    struct event *deadline;
    struct vst_question *question;
    struct vst_password *loading;
    struct vst_tls_load *certificates;
    struct vst_lookup *lookup;
    struct vst_dial *dial;
    struct vst_greeting *greeting;
    char *password;
    struct vst_tls_creds *creds;
    unsigned char binding[VST_TLS_BINDING];
    struct vst_sasl_options sasl;
    struct vst_greeting_options options;
    struct vst_error err;
};

static void enter(struct vst_connect *connect, enum connect_state state)
{
    vst_fsm_trace(connect, connect->target->label, connect->state, state);
    connect->state = state;
}

/* Tells whoever watches the opening. */
__attribute__((format(printf, 3, 4))) static void tell(const struct vst_connect *connect,
                                                       const char *name, const char *format, ...)
{
    const struct vst_conn_options *options = &connect->conn->options;
    struct vst_conn_step step = {.name = name};
    char text[512];
    va_list args;

    if (!options->step)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    step.text = text;
    options->step(&step, options->opaque);
}

/* ---- the ends ---- */

static void forget_password(struct vst_connect *connect)
{
    if (connect->password)
        explicit_bzero(connect->password, strlen(connect->password));
    free(connect->password);
    connect->password = NULL;
}

/* What is under way and can be ended at once. */
static void stop(struct vst_connect *connect)
{
    vst_turn_cancel(&connect->turn);
    if (connect->deadline)
        event_free(connect->deadline);
    connect->deadline = NULL;
    vst_question_forget(&connect->question);
    vst_password_free(&connect->loading);
    vst_tls_load_free(&connect->certificates);
    vst_dial_free(&connect->dial);
    vst_greeting_free(&connect->greeting);
    vst_tls_creds_unref(&connect->creds);
    forget_password(connect);
}

static void conclude(struct vst_connect *connect, const struct vst_greeting_result *result)
{
    connect->cb.done(connect->cb.opaque, result, result ? NULL : &connect->err);
    stop(connect);
    free(connect);
}

static void fail(struct vst_connect *connect, const struct vst_error *err)
{
    if (connect->state == CONNECT_ENDING)
        return;
    vst_error_copy(&connect->err, err);
    vst_error_where(&connect->err, VST_SIDE_CLIENT, "connect");
    enter(connect, CONNECT_ENDING);
    if (connect->lookup) {
        stop(connect);
        vst_lookup_cancel(connect->lookup);
    } else {
        conclude(connect, NULL);
    }
}

void vst_connect_cancel(struct vst_connect *connect, const struct vst_error *why)
{
    fail(connect, why);
}

static void too_late(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_connect *connect = opaque;
    struct vst_error err = {0};
    const char *what_for = connect->greeting ? vst_greeting_waits_for(connect->greeting)
                           : connect->state == CONNECT_LOOKUP ? "the name look-up"
                           : connect->state == CONNECT_DIAL   ? "an answer"
                                                              : "this machine's files";

    (void)fd, (void)what;
    vst_error_set(&err, VST_ERR_CONNECT, "%s: not connected after %u seconds, while waiting for %s",
                  connect->target->label, connect->target->timeout, what_for);
    if (connect->dial)
        vst_dial_tell(connect->dial, &err);
    fail(connect, &err);
}

/* ---- greeting ---- */

static void greeted(void *opaque, const struct vst_greeting_result *result,
                    const struct vst_error *err)
{
    struct vst_connect *connect = opaque;
    struct vst_error named = {0};

    if (err) {
        vst_error_copy(&named, err);
        vst_error_prefix(&named, "%s", connect->target->label);
        fail(connect, &named);
        return;
    }
    if (result->mechanism)
        tell(connect, "login", "as %s by %s",
             connect->target->user ? connect->target->user : "the one of the ticket",
             result->mechanism);
    tell(connect, "greeting", "%s lets us in", result->software);
    conclude(connect, result);
}

static void tell_peer(const struct vst_connect *connect, const struct vst_channel *tls)
{
    const struct vst_tls_peer *peer = vst_tls_get_peer(tls);
    time_t expires = (time_t)peer->expires;
    struct tm date = {0};

    gmtime_r(&expires, &date);
    tell(connect, "tls", "%s with %s, whose certificate is valid until %04d-%02d-%02d",
         vst_tls_get_cipher(tls), peer->subject ? peer->subject : "nobody", date.tm_year + 1900,
         date.tm_mon + 1, date.tm_mday);
}

/* TLS is through: what a login is to be bound to is known. */
static int opened(void *opaque, struct vst_channel *transport, struct vst_error *ret_err)
{
    struct vst_connect *connect = opaque;

    if (connect->target->transport != VST_TRANSPORT_TLS)
        return 0;
    if (vst_tls_get_binding(transport, connect->binding, ret_err) < 0)
        return -1;
    connect->sasl.binding = connect->binding;
    tell_peer(connect, transport);
    return 0;
}

static struct vst_channel *make_transport(struct vst_connect *connect, int *fd,
                                          struct vst_error *err)
{
    struct vst_tls_options options = {.role = VST_TLS_CLIENT, .host = connect->target->host};
    struct vst_channel *lower = vst_channel_fd(connect->conn->base, fd, err);
    struct vst_channel *tls;

    if (!lower || connect->target->transport != VST_TRANSPORT_TLS)
        return lower;
    tls = vst_channel_tls(lower, connect->creds, &options, err);
    if (!tls)
        vst_channel_free(&lower);
    return tls;
}

/* Without a user there may be a ticket; on a UNIX socket the server knows who it is. */
static void prepare_login(struct vst_connect *connect)
{
    const struct vst_target *target = connect->target;

    connect->sasl = (struct vst_sasl_options){
        .role = VST_SASL_CLIENT,
        .host = target->host ? target->host : "localhost",
        .mechanisms = target->mechanisms,
        .user = target->user,
        .password = connect->password,
        .secret = target->transport != VST_TRANSPORT_TCP,
    };
    if (target->transport != VST_TRANSPORT_UNIX || target->user)
        connect->options.sasl = &connect->sasl;
}

static void greet(struct vst_connect *connect, int *fd)
{
    const struct vst_greeting_cb cb = {greeted, connect};
    struct vst_error err = {0};
    struct vst_channel *transport = make_transport(connect, fd, &err);

    enter(connect, CONNECT_GREETING);
    connect->options = (struct vst_greeting_options){
        .role = VST_SASL_CLIENT,
        .software = PACKAGE_STRING,
        .driver = connect->conn->uri->driver,
        .window = connect->target->window,
    };
    prepare_login(connect);
    if (transport)
        connect->greeting = vst_greeting_new(transport, &connect->options, opened, &cb, &err);
    if (connect->greeting)
        return;
    vst_channel_free(&transport);
    fail(connect, &err);
}

/* ---- finding the server ---- */

static void connected(void *opaque, int fd, const struct vst_address *to,
                      const struct vst_error *err)
{
    struct vst_connect *connect = opaque;

    connect->dial = NULL;
    if (err) {
        fail(connect, err);
        return;
    }
    if (to->text[0])
        tell(connect, "connect", "%s port %d", to->text, connect->target->port);
    else
        tell(connect, "connect", "%s", connect->target->path);
    greet(connect, &fd);
    vst_close(&fd);
}

static void dial(struct vst_connect *connect, const struct vst_address *addresses, size_t count)
{
    const struct vst_dial_cb cb = {connected, connect};
    struct vst_error err = {0};

    enter(connect, CONNECT_DIAL);
    connect->dial =
        vst_dial_new(connect->conn->base, addresses, count, connect->target->label, &cb, &err);
    if (!connect->dial)
        fail(connect, &err);
}

static void tell_addresses(const struct vst_connect *connect, const struct vst_address *addresses,
                           size_t count)
{
    char text[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < count && used < sizeof(text); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? ", " : "",
                                 addresses[i].text);
    tell(connect, "lookup", "%s", text);
}

static void found(void *opaque, const struct vst_address *addresses, size_t count,
                  const struct vst_error *err)
{
    struct vst_connect *connect = opaque;

    connect->lookup = NULL;
    if (connect->state == CONNECT_ENDING) {
        conclude(connect, NULL);
    } else if (err) {
        fail(connect, err);
    } else {
        tell_addresses(connect, addresses, count);
        dial(connect, addresses, count);
    }
}

static void find(struct vst_connect *connect)
{
    const struct vst_lookup_cb cb = {found, connect};
    struct vst_address address;
    struct vst_error err = {0};

    if (connect->target->transport == VST_TRANSPORT_UNIX) {
        vst_address_unix(connect->target->path, &address);
        dial(connect, &address, 1);
        return;
    }
    enter(connect, CONNECT_LOOKUP);
    connect->lookup = vst_lookup_new(connect->conn->base, connect->target->host,
                                     connect->target->port, &cb, &err);
    if (!connect->lookup)
        fail(connect, &err);
}

/* ---- what is needed on this side ---- */

static void tell_files(const struct vst_connect *connect)
{
    const struct vst_tls_files *files = vst_tls_creds_files(connect->creds);

    tell(connect, "tls-files", "%s, %s", files->ca,
         files->cert ? files->cert : "and no certificate of our own");
}

static void certificates_loaded(void *opaque, struct vst_tls_creds *creds,
                                const struct vst_error *err)
{
    struct vst_connect *connect = opaque;

    vst_tls_load_free(&connect->certificates);
    connect->creds = creds;
    if (err) {
        fail(connect, err);
        return;
    }
    tell_files(connect);
    find(connect);
}

/* What the URI does not name at all may have been given with it. */
static struct vst_tls_files files_for(const struct vst_connect *connect)
{
    const struct vst_conn_files *given = connect->conn->options.files;
    const struct vst_target *target = connect->target;

    if (!given || target->pki_path || target->files.ca || target->files.cert || target->files.key)
        return target->files;
    return (struct vst_tls_files){(char *)given->ca, (char *)given->cert, (char *)given->key,
                                  (char *)given->crl};
}

/* With all that a person has to do done, time begins to count. */
static void begin(struct vst_connect *connect)
{
    const struct timeval timeout = {.tv_sec = connect->target->timeout};
    const struct vst_tls_files files = files_for(connect);
    struct vst_error err = {0};

    connect->deadline = event_new(connect->conn->base, -1, 0, too_late, connect);
    if (!connect->deadline || event_add(connect->deadline, &timeout) < 0) {
        vst_error_no_memory(&err);
        fail(connect, &err);
        return;
    }
    if (connect->target->transport != VST_TRANSPORT_TLS) {
        find(connect);
        return;
    }
    enter(connect, CONNECT_CERTIFICATES);
    connect->certificates =
        vst_tls_load(connect->conn->base, VST_TLS_CLIENT, connect->target->pki_path, &files,
                     certificates_loaded, connect, &err);
    if (!connect->certificates)
        fail(connect, &err);
}

/* False, and it has failed, without memory. */
static bool keep_password(struct vst_connect *connect, const char *password)
{
    struct vst_error err = {0};

    connect->password = password ? strdup(password) : NULL;
    if (connect->password || !password)
        return true;
    vst_error_no_memory(&err);
    fail(connect, &err);
    return false;
}

static void password_loaded(void *opaque, const char *password, const struct vst_error *err)
{
    struct vst_connect *connect = opaque;

    if (err)
        fail(connect, err);
    else if (keep_password(connect, password))
        begin(connect);
}

/* Perhaps inside the call that asks, and inside any callback of the application's: what follows
 * waits for the loop. */
static void answered(void *opaque, const char *password)
{
    struct vst_connect *connect = opaque;

    connect->question = NULL;
    connect->password = password ? strdup(password) : NULL;
    if (password && !connect->password)
        vst_error_no_memory(&connect->err);
    vst_turn_schedule(&connect->turn);
}

static void ask(struct vst_connect *connect)
{
    const struct vst_conn_options *options = &connect->conn->options;
    struct vst_question *question =
        vst_question_new(connect->conn, connect->target->user, answered, connect);
    struct vst_error err = {0};

    if (!question) {
        vst_error_no_memory(&err);
        fail(connect, &err);
        return;
    }
    connect->question = question;
    options->ask_password(question, options->opaque);
}

static void load_password(struct vst_connect *connect)
{
    const struct vst_password_cb cb = {password_loaded, connect};
    struct vst_error err = {0};

    connect->loading =
        vst_password_load(connect->conn->base, connect->target->password_file, &cb, &err);
    if (!connect->loading)
        fail(connect, &err);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_connect *connect = opaque;
    bool wants_password = connect->target->user && connect->state != CONNECT_PASSWORD;

    (void)fd, (void)what;
    if (vst_error_is_set(&connect->err)) {
        fail(connect, &connect->err);
    } else if (wants_password && connect->target->password_file) {
        enter(connect, CONNECT_PASSWORD);
        load_password(connect);
    } else if (wants_password && connect->conn->options.ask_password) {
        enter(connect, CONNECT_PASSWORD);
        ask(connect);
    } else {
        begin(connect);
    }
}

struct vst_connect *vst_connect_new(struct vst_conn *conn, const struct vst_target *target,
                                    const struct vst_connect_cb *cb, struct vst_error *ret_err)
{
    struct vst_connect *connect = calloc(1, sizeof(*connect));

    if (!connect) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    connect->conn = conn;
    connect->target = target;
    connect->cb = *cb;
    vst_turn_init(&connect->turn, conn->base, turn, connect);
    vst_turn_schedule(&connect->turn);
    return connect;
}
