/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The offers, and the answers to them, that offered.h promises.
 */
#include "offered.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vst_host offered_host;

const struct vst_objection *objections;
struct vst_disk_size **sizes;
bool copies;
static unsigned questions; /* where firmware is looked for */

void offered_begin_with(void (*prepare)(const struct vst_host *made))
{
    objections = NULL;
    sizes = NULL;
    copies = false;
    questions = 0;
    vst_test_seconds(60);
    vst_host_make_with(&offered_host, prepare);
}

int offered_begin(void **state)
{
    (void)state;
    offered_begin_with(NULL);
    return 0;
}

int offered_end(void **state)
{
    (void)state;
    vst_host_clear(&offered_host);
    return 0;
}

/* ---- what is said ---- */

/* Of a tiny guest, with more members; `machine` is the type in full, as its QEMU has it. */
char *offered_make_offer(const char *machine, const char *more)
{
    static struct vst_disk_copy of_disk = {(char *)"d", 1 << 20}, *list[] = {&of_disk, NULL};
    static char qemu[] = "qemu", none[] = "none", test[] = "test";
    struct vst_image_header header = {.driver = qemu, .running = true, .compression = none};
    char *definition, *text;

    if (asprintf(&definition,
                 "{\"name\": \"g\", \"machine\": \"none\", \"accel\": \"tcg\", \"vcpus\": 1%s}",
                 more) < 0)
        fail_msg("memory");
    header.created_by = test;
    header.disks = sizes;
    header.copies = copies ? list : NULL;
    header.machine = (char *)machine;
    header.definition = vst_definition_parse(definition, strlen(definition), NULL);
    assert_non_null(header.definition);
    text = vst_image_header_to_json(&header, NULL);
    vst_definition_free(&header.definition);
    free(definition);
    return text;
}

struct offered_answer answer;

void offered_have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                         void *opaque)
{
    (void)opaque;
    answer.code = err ? err->code : VST_ERR_OK;
    answer.event = err ? VST_HANDOVER_NONE : message->event;
    snprintf(answer.text, sizeof(answer.text), "%s",
             err             ? err->text
             : message->text ? message->text
                             : "");
}

void offered_say(enum vst_handover_event event, bool check, char *offer)
{
    struct vst_migrate_message message = {.token = OFFERED_TOKEN,
                                          .host = OFFERED_SOURCE,
                                          .event = event,
                                          .check = check,
                                          .offer = offer,
                                          .objections = objections};
    struct vst_answer_cb cb = {offered_have_answer, NULL, NULL};

    questions += offer && strstr(offer, "no-such.bin");
    vst_op_wait(vst_conn_migrate_message(offered_host.conn, &message, &cb), NULL);
    free(offer);
}

void offered_said(const char *words)
{
    if (!strstr(answer.text, words))
        fail_msg("`%s` is not in `%s`", words, answer.text);
}

/* Nothing of it is left, and no QEMU was started but the one that is asked what it can do, and each
 * that is asked where it looks for firmware. */
void offered_nothing_began(void)
{
    vst_host_run(&offered_host, 20);
    if (offered_host.started->count > 1 + questions)
        fail_msg("%zu processes were started for %u questions", offered_host.started->count,
                 questions);
    assert_int_equal(vst_host_entries(&offered_host, "root"), 1); /* the journal */
}
