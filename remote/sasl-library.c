/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cyrus SASL as a whole: made ready once per process and role. Its locks are made real before: by
 * default they do nothing, and plugins share state between connections. That call has no effect
 * when the application has made the library ready already; then the locks are the application's
 * choice.
 */
#include "sasl-library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sasl/saslplug.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#define APPLICATION "virstream" /* the name of its configuration, for what we do not set */

/* ---- locks ---- */

static void *lock_new(void)
{
    pthread_mutex_t *lock = malloc(sizeof(*lock));

    if (lock)
        pthread_mutex_init(lock, NULL);
    return lock;
}

static int lock_take(void *lock)
{
    return pthread_mutex_lock(lock) ? SASL_FAIL : SASL_OK;
}

static int lock_give(void *lock)
{
    return pthread_mutex_unlock(lock) ? SASL_FAIL : SASL_OK;
}

static void lock_free(void *lock)
{
    pthread_mutex_destroy(lock);
    free(lock);
}

static void set_locks(void)
{
    sasl_set_mutex(lock_new, lock_take, lock_give, lock_free);
}

/* ---- the end of the process ---- */

#define LIBCRYPTO "libcrypto.so.3"
#define LOAD_CONFIG 0x40 /* its own default; with no option it would do nothing */

enum { EXIT_SECONDS = 10 }; /* more than any step takes that only computes */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t none;
    unsigned count; /* of those at work */
    bool over;      /* nobody begins any more */
} at_work = {.lock = PTHREAD_MUTEX_INITIALIZER, .none = PTHREAD_COND_INITIALIZER};

static void wait_for_work(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += EXIT_SECONDS;
    pthread_mutex_lock(&at_work.lock);
    at_work.over = true;
    while (at_work.count && pthread_cond_timedwait(&at_work.none, &at_work.lock, &until) == 0)
        continue;
    pthread_mutex_unlock(&at_work.lock);
}

/*
 * What is registered last for the exit is called first. The plugins' libcrypto registers itself
 * when it is used first: so it is made to, before we do. Where it has another name, or is not
 * there, the plugins do without it.
 */
static void watch_exit(void)
{
    void *crypto = dlopen(LIBCRYPTO, RTLD_LAZY | RTLD_NOLOAD);
    int (*init)(uint64_t options, const void *settings) = NULL;

    if (crypto)
        *(void **)&init = dlsym(crypto, "OPENSSL_init_crypto");
    if (init)
        init(LOAD_CONFIG, NULL);
    atexit(wait_for_work);
}

bool vst_sasl_enter(void)
{
    bool may;

    pthread_mutex_lock(&at_work.lock);
    may = !at_work.over;
    at_work.count += may;
    pthread_mutex_unlock(&at_work.lock);
    return may;
}

void vst_sasl_leave(void)
{
    pthread_mutex_lock(&at_work.lock);
    if (--at_work.count == 0)
        pthread_cond_broadcast(&at_work.none);
    pthread_mutex_unlock(&at_work.lock);
}

/* ---- making it ready ---- */

static int log_nothing(void *opaque, int level, const char *message)
{
    (void)opaque, (void)level, (void)message;
    return SASL_OK;
}

sasl_callback_t vst_sasl_callback(unsigned long id, void (*fn)(void), void *opaque)
{
    return (sasl_callback_t){id, (int (*)(void))fn, opaque};
}

sasl_callback_t vst_sasl_no_log(void)
{
    return vst_sasl_callback(SASL_CB_LOG, (void (*)(void))log_nothing, NULL);
}

/* They are kept by the library. */
static sasl_callback_t global_callbacks[2];

static int init(enum vst_sasl_role role)
{
    set_locks();
    global_callbacks[0] = vst_sasl_no_log();
    global_callbacks[1] = vst_sasl_callback(SASL_CB_LIST_END, NULL, NULL);
    if (role == VST_SASL_CLIENT)
        return sasl_client_init(global_callbacks);
    return sasl_server_init(global_callbacks, APPLICATION);
}

/* One role after the other: the library shares some of it between the two. */
int vst_sasl_library(enum vst_sasl_role role, struct vst_error *ret_err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool ready[2], watched;
    int number = SASL_OK;

    pthread_mutex_lock(&lock);
    if (!ready[role])
        number = init(role);
    ready[role] = number == SASL_OK;
    if (ready[role] && !watched)
        watch_exit();
    watched |= ready[role];
    pthread_mutex_unlock(&lock);
    return number == SASL_OK ? 0 : vst_sasl_error(NULL, number, "Cyrus SASL", ret_err);
}

/* ---- plugins ---- */

struct wanted {
    const char *mechanism;
    int ssf;
};

static void see_plugin(server_sasl_mechanism_t *mechanism, sasl_info_callback_stage_t stage,
                       void *opaque)
{
    struct wanted *wanted = opaque;

    if (stage == SASL_INFO_LIST_MECH && mechanism->plug &&
        strcasecmp(mechanism->plug->mech_name, wanted->mechanism) == 0)
        wanted->ssf = (int)mechanism->plug->max_ssf;
}

int vst_sasl_plugin_ssf(const char *mechanism)
{
    struct wanted wanted = {mechanism, -1};

    sasl_server_plugin_info(NULL, see_plugin, &wanted);
    return wanted.ssf;
}

/* ---- errors ---- */

int vst_sasl_error(sasl_conn_t *conn, int number, const char *what, struct vst_error *ret_err)
{
    const char *detail = conn ? sasl_errdetail(conn) : sasl_errstring(number, NULL, NULL);

    if (number == SASL_NOMEM)
        return vst_error_no_memory(ret_err);
    vst_error_set(ret_err, VST_ERR_AUTH, "%s: %s", what, detail ? detail : "failed");
    ret_err->system = number;
    return -1;
}
