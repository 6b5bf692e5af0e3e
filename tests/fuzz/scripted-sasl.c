/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The exchange that the fuzzer decides on: the functions of remote/sasl.h, with none of the library
 * behind them. It never has a security layer.
 */
#include "scripted-sasl.h"

#include <stdlib.h>
#include <string.h>

#include "core/turn.h"
#include "remote/sasl.h"
#include "replay.h"

struct scripted_sasl scripted_sasl;

struct vst_sasl {
    struct vst_sasl_cb cb;
    struct vst_turn turn; /* told from the loop, as by the real one */
    bool working;
    char *mechanism;
    unsigned char *data;
    size_t length;
};

static void tell(struct vst_sasl *sasl)
{
    static const struct vst_error refused = {.code = VST_ERR_AUTH, .text = "as the script says"};
    int word = sasl->length ? sasl->data[0] : 0;

    scripted_sasl.done |= word == SCRIPTED_DONE || word == SCRIPTED_DONE_WITH_DATA;
    if (word == SCRIPTED_FAILS)
        sasl->cb.stepped(sasl->cb.opaque, VST_SASL_FAILED, NULL, 0, &refused);
    else if (word == SCRIPTED_DONE)
        sasl->cb.stepped(sasl->cb.opaque, VST_SASL_DONE, NULL, 0, NULL);
    else
        sasl->cb.stepped(sasl->cb.opaque,
                         word == SCRIPTED_DONE_WITH_DATA ? VST_SASL_DONE : VST_SASL_CONTINUE,
                         sasl->data, sasl->length, NULL);
}

static void on_turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_sasl *sasl = opaque;

    (void)fd, (void)what;
    sasl->working = false;
    tell(sasl);
}

struct vst_sasl *vst_sasl_new(struct event_base *base, const struct vst_sasl_options *opt,
                              const struct vst_sasl_cb *cb, struct vst_error *ret_err)
{
    struct vst_sasl *sasl = calloc(1, sizeof(*sasl));

    (void)opt, (void)ret_err;
    sasl->cb = *cb;
    vst_turn_init(&sasl->turn, base, on_turn, sasl);
    return sasl;
}

void vst_sasl_free(struct vst_sasl **slot)
{
    struct vst_sasl *sasl = *slot;

    *slot = NULL;
    if (!sasl)
        return;
    vst_turn_cancel(&sasl->turn);
    free(sasl->mechanism);
    free(sasl->data);
    free(sasl);
}

void vst_sasl_step(struct vst_sasl *sasl, const void *data, size_t length)
{
    FUZZ_CHECK(!sasl->working && !scripted_sasl.done);
    scripted_sasl.asked = true;
    sasl->working = true;
    free(sasl->data);
    sasl->data = data ? malloc(length + 1) : NULL;
    sasl->length = data ? length : 0;
    if (length)
        memcpy(sasl->data, data, length);
    vst_turn_schedule(&sasl->turn);
}

void vst_sasl_start(struct vst_sasl *sasl, const char *offered)
{
    FUZZ_CHECK(!sasl->mechanism);
    sasl->mechanism = strndup(offered, strcspn(offered, " "));
    vst_sasl_step(sasl, offered, strlen(offered));
}

void vst_sasl_accept(struct vst_sasl *sasl, const char *mechanism, const void *data, size_t length)
{
    FUZZ_CHECK(!sasl->mechanism);
    sasl->mechanism = strdup(mechanism);
    vst_sasl_step(sasl, data, length);
}

const char *vst_sasl_offer(const struct vst_sasl *sasl)
{
    (void)sasl;
    return "A B";
}

const char *vst_sasl_mechanism(const struct vst_sasl *sasl)
{
    return sasl->mechanism;
}

const char *vst_sasl_user(const struct vst_sasl *sasl)
{
    (void)sasl;
    FUZZ_CHECK(scripted_sasl.done);
    return "user";
}

unsigned vst_sasl_ssf(const struct vst_sasl *sasl)
{
    (void)sasl;
    return 0;
}

/* Never asked for without a layer. */
struct vst_channel *vst_channel_sasl(struct vst_channel *lower, struct vst_sasl **sasl,
                                     struct vst_error *ret_err)
{
    (void)lower, (void)sasl, (void)ret_err;
    __builtin_trap();
}
