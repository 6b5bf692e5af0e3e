/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A login from the library's point of view: which mechanisms come into question, what it asks for
 * by callback, and its steps. Every setting comes from our options; of Cyrus SASL's own files only
 * what we do not set is read (virstream.conf in its directory: `keytab`, for one).
 */
#include "sasl-login.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hello.h"
#include "sasl-library.h"
#include "saslauthd.h"

#define SERVICE "virstream"
#define PLUS "-PLUS"
#define DEFAULT_MECHANISMS "SCRAM-SHA-256 GSSAPI"

enum {
    PACKET_MAX = 64 * 1024, /* of the security layer */
    PACKET_LEAST = 1024,
    SSF_MAX = 256,
    USER_MAX = 256,
    PASSWORD_MAX = 1024,
};

/* ---- mechanisms ---- */

static bool is_scram(const char *name)
{
    return strncmp(name, "SCRAM-", 6) == 0;
}

static bool is_kerberos(const char *name)
{
    return strncmp(name, "GSS", 3) == 0 || strncmp(name, "GS2-", 4) == 0;
}

/* Whether the list, names with blanks between them, has it. */
static bool has(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = list; (at = strstr(at, name)); at++)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* Whether it may be used on what is below, as far as we have a say in it. */
static bool fits(const struct vst_login *login, const char *name)
{
    if (login->role == VST_SASL_CLIENT && !is_kerberos(name) && !(login->user && login->password))
        return false;
    return login->secret || !is_scram(name); /* without a security layer */
}

/* As it is called on the wire. NULL: out of memory. */
static char *wire_name(const struct vst_login *login, const char *name, size_t length)
{
    bool plus = length > strlen(PLUS) && strcmp(name + length - strlen(PLUS), PLUS) == 0;
    char *copy = malloc(length + sizeof(PLUS));

    if (!copy)
        return NULL;
    memcpy(copy, name, length);
    copy[length] = '\0';
    if (login->has_binding && is_scram(copy) && !plus)
        memcpy(copy + length, PLUS, sizeof(PLUS));
    return copy;
}

/* The next of those allowed, from *at on; *ret_name is NULL after the last. */
static int next_allowed(const struct vst_login *login, const char **at, char **ret_name,
                        struct vst_error *ret_err)
{
    size_t length;

    *at += strspn(*at, " ");
    length = strcspn(*at, " ");
    *ret_name = NULL;
    if (!length)
        return 0;
    *ret_name = wire_name(login, *at, length);
    *at += length;
    return *ret_name ? 0 : vst_error_no_memory(ret_err);
}

/* ---- what the library asks for ---- */

static int get_option(void *opaque, const char *plugin, const char *name, const char **result,
                      unsigned *length)
{
    const struct vst_login *login = opaque;
    const struct {
        const char *name, *value;
    } options[] = {
        {"pwcheck_method", login->saslauthd ? "" : "auxprop"},
        {"auxprop_plugin", "sasldb"},
        {"sasldb_path", login->database},
        {"auto_transition", "no"},
        {"log_level", "0"},
    };

    (void)plugin;
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (strcmp(options[i].name, name) != 0 || !options[i].value)
            continue;
        *result = options[i].value;
        if (length)
            *length = (unsigned)strlen(options[i].value);
        return SASL_OK;
    }
    return SASL_FAIL;
}

/* Our own check of a password is the only one. */
static int ask_saslauthd(sasl_conn_t *conn, void *opaque, const char *user, const char *password,
                         unsigned length, struct propctx *properties)
{
    struct vst_login *login = opaque;

    (void)conn, (void)properties;
    if (password[length] != '\0' || strlen(password) != length)
        return SASL_BADAUTH;
    if (vst_saslauthd_check(login->saslauthd, SERVICE, user, password, &login->err) < 0)
        return SASL_BADAUTH;
    return SASL_OK;
}

/* Who it is; and in whose name it acts: its own, which is said by saying nothing. */
static int get_name(void *opaque, int id, const char **result, unsigned *length)
{
    const struct vst_login *login = opaque;

    *result = id == SASL_CB_AUTHNAME && login->user ? login->user : "";
    if (length)
        *length = (unsigned)strlen(*result);
    return SASL_OK;
}

static int get_password(sasl_conn_t *conn, void *opaque, int id, sasl_secret_t **result)
{
    const struct vst_login *login = opaque;

    (void)conn, (void)id;
    *result = login->password;
    return *result ? SASL_OK : SASL_FAIL;
}

static int get_realm(void *opaque, int id, const char **realms, const char **result)
{
    (void)opaque, (void)id;
    *result = realms && realms[0] ? realms[0] : "";
    return SASL_OK;
}

#define CALLBACK(id, fn) vst_sasl_callback((id), (void (*)(void))(fn), login)

static void set_callbacks(struct vst_login *login)
{
    sasl_callback_t *at = login->callbacks;

    *at++ = vst_sasl_no_log();
    if (login->role == VST_SASL_SERVER) {
        *at++ = CALLBACK(SASL_CB_GETOPT, get_option);
        if (login->saslauthd)
            *at++ = CALLBACK(SASL_CB_SERVER_USERDB_CHECKPASS, ask_saslauthd);
    } else {
        *at++ = CALLBACK(SASL_CB_USER, get_name);
        *at++ = CALLBACK(SASL_CB_AUTHNAME, get_name);
        *at++ = CALLBACK(SASL_CB_PASS, get_password);
        *at++ = CALLBACK(SASL_CB_GETREALM, get_realm);
    }
    *at = CALLBACK(SASL_CB_LIST_END, NULL);
}

/* ---- making ---- */

/* What mechanisms must have: nobody anonymous, and a layer where nothing else hides. */
static int set_properties(struct vst_login *login, struct vst_error *ret_err)
{
    const sasl_security_properties_t properties = {
        .min_ssf = login->secret ? 0 : VST_SASL_SSF,
        .max_ssf = login->secret ? 0 : SSF_MAX,
        .maxbufsize = login->secret ? 0 : PACKET_MAX,
        .security_flags = SASL_SEC_NOANONYMOUS | (login->secret ? 0 : SASL_SEC_NOPLAINTEXT),
    };
    int number = sasl_setprop(login->conn, SASL_SEC_PROPS, &properties);

    return number == SASL_OK ? 0 : vst_sasl_error(login->conn, number, "SASL", ret_err);
}

/* The name is said by us, or the library would ask the resolver for it. */
static int make_server(struct vst_login *login, struct vst_error *ret_err)
{
    char host[HOST_NAME_MAX + 1] = "localhost";
    int number;

    if (vst_sasl_library(VST_SASL_SERVER, ret_err) < 0)
        return -1;
    gethostname(host, sizeof(host) - 1);
    number = sasl_server_new(SERVICE, login->host ? login->host : host, NULL, NULL, NULL,
                             login->callbacks, SASL_SUCCESS_DATA, &login->conn);
    if (number != SASL_OK)
        return vst_sasl_error(NULL, number, "SASL", ret_err);
    return set_properties(login, ret_err);
}

static int make_client(struct vst_login *login, struct vst_error *ret_err)
{
    int number;

    if (vst_sasl_library(VST_SASL_CLIENT, ret_err) < 0)
        return -1;
    number = sasl_client_new(SERVICE, login->host ? login->host : "localhost", NULL, NULL,
                             login->callbacks, SASL_SUCCESS_DATA, &login->conn);
    if (number != SASL_OK)
        return vst_sasl_error(NULL, number, "SASL", ret_err);
    return set_properties(login, ret_err);
}

/* Those allowed of those that the library has. */
static int make_offer(struct vst_login *login, struct vst_error *ret_err)
{
    const char *known, *at = login->mechanisms;
    char *name = NULL, *end;
    int number = sasl_listmech(login->conn, NULL, "", " ", "", &known, NULL, NULL);
    int result;

    if (number == SASL_NOMECH)
        known = "";
    else if (number != SASL_OK)
        return vst_sasl_error(login->conn, number, "SASL", ret_err);
    /* Each may be longer by -PLUS, and is at least a letter and a blank. */
    end = login->offer = calloc(1, strlen(at) * (sizeof(PLUS) + 1) + 1);
    if (!end)
        return vst_error_no_memory(ret_err);
    while ((result = next_allowed(login, &at, &name, ret_err)) == 0 && name) {
        char *plus = login->has_binding && is_scram(name) ? strstr(name, PLUS) : NULL;

        if (plus)
            *plus = '\0';
        if (fits(login, name) && has(known, name))
            end += sprintf(end, "%s%s%s", end == login->offer ? "" : " ", name, plus ? PLUS : "");
        free(name);
    }
    return result;
}

static int copy(char **to, const char *from, struct vst_error *ret_err)
{
    if (!from)
        return 0;
    *to = strdup(from);
    return *to ? 0 : vst_error_no_memory(ret_err);
}

static int copy_password(struct vst_login *login, const char *password, struct vst_error *ret_err)
{
    size_t length = password ? strlen(password) : 0;

    if (!password)
        return 0;
    if (length > PASSWORD_MAX)
        return vst_error_set(ret_err, VST_ERR_INVALID, "a password of %zu bytes is too long",
                             length);
    login->password = calloc(1, sizeof(*login->password) + length);
    if (!login->password)
        return vst_error_no_memory(ret_err);
    login->password->len = length;
    memcpy(login->password->data, password, length + 1);
    return 0;
}

static int copy_options(struct vst_login *login, const struct vst_sasl_options *opt,
                        struct vst_error *ret_err)
{
    const char *mechanisms = opt->mechanisms ? opt->mechanisms : DEFAULT_MECHANISMS;

    login->role = opt->role;
    login->secret = opt->secret;
    login->has_binding = opt->binding != NULL;
    if (opt->binding)
        memcpy(login->binding, opt->binding, sizeof(login->binding));
    if (copy(&login->host, opt->host, ret_err) < 0 ||
        copy(&login->mechanisms, mechanisms, ret_err) < 0 ||
        copy(&login->database, opt->database, ret_err) < 0 ||
        copy(&login->saslauthd, opt->saslauthd, ret_err) < 0)
        return -1;
    if (opt->role == VST_SASL_SERVER)
        return 0;
    return copy(&login->user, opt->user, ret_err) < 0 ||
                   copy_password(login, opt->password, ret_err) < 0
               ? -1
               : 0;
}

int vst_login_init(struct vst_login *login, const struct vst_sasl_options *opt,
                   struct vst_error *ret_err)
{
    int result = copy_options(login, opt, ret_err);

    set_callbacks(login);
    if (result == 0 && login->role == VST_SASL_SERVER)
        result = make_server(login, ret_err) < 0 ? -1 : make_offer(login, ret_err);
    if (result < 0)
        vst_login_fini(login);
    return result;
}

static void drop_password(struct vst_login *login)
{
    if (login->password)
        explicit_bzero(login->password->data, login->password->len);
    free(login->password);
    login->password = NULL;
}

void vst_login_fini(struct vst_login *login)
{
    if (login->conn)
        sasl_dispose(&login->conn);
    drop_password(login);
    free(login->host);
    free(login->mechanisms);
    free(login->database);
    free(login->saslauthd);
    free(login->user);
    free(login->offer);
    free(login->mechanism);
}

/* ---- choosing ---- */

static int no_common_mechanism(const struct vst_login *login, const char *offered,
                               struct vst_error *ret_err)
{
    if (login->has_binding && strstr(offered, "SCRAM-") && !strstr(offered, PLUS))
        return vst_error_set(ret_err, VST_ERR_AUTH,
                             "the server does not bind its login to this TLS connection (it offers "
                             "%s): somebody may be in between",
                             offered);
    if (!login->user || !login->password)
        return vst_error_set(ret_err, VST_ERR_AUTH,
                             "the server offers %s: give a user and a password",
                             offered[0] ? offered : "no mechanism");
    return vst_error_set(ret_err, VST_ERR_AUTH,
                         "no common mechanism: the server offers %s, allowed here are %s%s",
                         offered[0] ? offered : "none", login->mechanisms,
                         login->secret ? ""
                                       : ", with a security layer, because without TLS "
                                         "nothing else would protect the connection");
}

int vst_login_choose(struct vst_login *login, const char *offered, struct vst_error *ret_err)
{
    const char *at = login->mechanisms;
    char *name;

    while (next_allowed(login, &at, &name, ret_err) == 0) {
        if (!name)
            return no_common_mechanism(login, offered, ret_err);
        if (fits(login, name) && has(offered, name)) {
            login->mechanism = name;
            return copy(&login->offer, offered, ret_err);
        }
        free(name);
    }
    return -1;
}

int vst_login_check(struct vst_login *login, const char *mechanism, struct vst_error *ret_err)
{
    if (!has(login->offer, mechanism))
        return vst_error_set(ret_err, VST_ERR_AUTH, "mechanism %s was not offered", mechanism);
    return copy(&login->mechanism, mechanism, ret_err);
}

bool vst_login_asks_others(const struct vst_login *login)
{
    bool shown = strcmp(login->mechanism, "PLAIN") == 0 || strcmp(login->mechanism, "LOGIN") == 0;

    return is_kerberos(login->mechanism) || (shown && login->saslauthd);
}

/* ---- steps ---- */

static int bind_to_tls(struct vst_login *login, struct vst_error *ret_err)
{
    int number;

    if (!login->has_binding || !is_scram(login->mechanism))
        return 0;
    login->bound = (sasl_channel_binding_t){
        .name = "tls-exporter",
        .critical = 1, /* or it could be left out, and the login be passed on */
        .len = sizeof(login->binding),
        .data = login->binding,
    };
    number = sasl_setprop(login->conn, SASL_CHANNEL_BINDING, &login->bound);
    return number == SASL_OK ? 0 : vst_sasl_error(login->conn, number, "SASL", ret_err);
}

static int check_layer(const struct vst_login *login, struct vst_error *ret_err)
{
    if (!login->secret && vst_login_ssf(login) < VST_SASL_SSF)
        return vst_error_set(ret_err, VST_ERR_AUTH,
                             "%s gives a security layer of %u bits, %d are needed",
                             login->mechanism, vst_login_ssf(login), VST_SASL_SSF);
    if (vst_login_ssf(login) && vst_login_most(login) < PACKET_LEAST)
        return vst_error_set(ret_err, VST_ERR_AUTH,
                             "the peer takes packets of %u bytes only, at least %d are needed",
                             vst_login_most(login), PACKET_LEAST);
    return 0;
}

/* Who it is, in a form that can be compared and logged. */
static int take_user(struct vst_login *login, struct vst_error *ret_err)
{
    const void *user = NULL;

    if (login->role == VST_SASL_CLIENT)
        return 0;
    if (sasl_getprop(login->conn, SASL_USERNAME, &user) != SASL_OK || !user ||
        !vst_text_is_plain(user, USER_MAX))
        return vst_error_set(ret_err, VST_ERR_AUTH,
                             "the user's name is not made of 1 to 256 printable characters");
    return copy(&login->user, user, ret_err);
}

enum { REMEDY = 320 };

/* With a password, Kerberos is tried only where nothing that takes one is offered and allowed. */
static const char *remedy(const struct vst_login *login, char text[REMEDY])
{
    if (login->role != VST_SASL_CLIENT || !is_kerberos(login->mechanism))
        return login->mechanism;
    if (!login->user || !login->password)
        return "Kerberos (get a ticket with kinit, or give a user and a password)";
    snprintf(text, REMEDY,
             "Kerberos (get a ticket with kinit, or allow with mech= one that takes the password: "
             "the server offers %.100s, allowed here are %.60s)",
             login->offer, login->mechanisms);
    return text;
}

static void settle(struct vst_login *login, int number)
{
    char text[REMEDY];
    int result = 0;

    login->result = number == SASL_CONTINUE ? VST_SASL_CONTINUE : VST_SASL_DONE;
    if (number != SASL_OK && number != SASL_CONTINUE)
        result = vst_sasl_error(login->conn, number, remedy(login, text), &login->err);
    else if (number == SASL_OK)
        result = check_layer(login, &login->err) < 0 ? -1 : take_user(login, &login->err);
    if (result < 0)
        login->result = VST_SASL_FAILED;
    if (number != SASL_CONTINUE)
        drop_password(login);
}

void vst_login_start(struct vst_login *login, const void *data, size_t length)
{
    const char *name;

    (void)data, (void)length;
    login->result = VST_SASL_FAILED;
    if (make_client(login, &login->err) < 0 || bind_to_tls(login, &login->err) < 0)
        return;
    settle(login, sasl_client_start(login->conn, login->mechanism, NULL, &login->out,
                                    &login->out_length, &name));
}

void vst_login_accept(struct vst_login *login, const void *data, size_t length)
{
    login->result = VST_SASL_FAILED;
    if (bind_to_tls(login, &login->err) == 0)
        settle(login, sasl_server_start(login->conn, login->mechanism, data, (unsigned)length,
                                        &login->out, &login->out_length));
}

void vst_login_step(struct vst_login *login, const void *data, size_t length)
{
    const char *in = data ? data : "";
    int number;

    if (login->role == VST_SASL_CLIENT)
        number = sasl_client_step(login->conn, in, (unsigned)length, NULL, &login->out,
                                  &login->out_length);
    else
        number =
            sasl_server_step(login->conn, in, (unsigned)length, &login->out, &login->out_length);
    settle(login, number);
}

static unsigned get_number(const struct vst_login *login, int property)
{
    const void *value;

    if (!login->conn || sasl_getprop(login->conn, property, &value) != SASL_OK || !value)
        return 0;
    return *(const unsigned *)value;
}

unsigned vst_login_ssf(const struct vst_login *login)
{
    return get_number(login, SASL_SSF);
}

unsigned vst_login_most(const struct vst_login *login)
{
    return get_number(login, SASL_MAXOUTBUF);
}
