/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * List, look up, info: all guests, or one, in the order of their names. Some are asked at the same
 * time, so that one that hangs keeps no other waiting. How one is asked is in query.c, and what is
 * told of it in describe.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "core/turn.h"
#include "describe.h"
#include "query.h"

#define LIST_STATES(X)                                                                             \
    X(LIST_ASKING, "answers, a turn of the loop", "guests are asked, in the order of their names") \
    X(LIST_OVER, "nothing", "the operation has been completed")
VST_FSM(list, LIST_STATES)

struct list {
    struct vst_qemu *qemu;
    struct vst_op *op;
    enum list_state state;
    bool one;                      /* info of one domain: its absence is an error */
    char **names;                  /* ends in NULL */
    struct vst_domain_info *infos; /* one for each name; itself without one: it is not there */
    size_t next;                   /* the name to be asked for next */
    size_t asked;                  /* queries under way */
    struct vst_turn turn;          /* to ask more */
    struct vst_query queries[VST_QUERIES_MAX];
};

/* Those that were found, in the order of their names. */
static size_t gather(struct list *list)
{
    size_t count = 0;

    for (size_t i = 0; list->names[i]; i++)
        if (list->infos[i].name[0])
            list->infos[count++] = list->infos[i];
    return count;
}

static void over(struct list *list, const struct vst_error *err)
{
    if (list->state == LIST_OVER)
        return;
    vst_fsm_trace(list, "", list->state, LIST_OVER);
    list->state = LIST_OVER;
    vst_turn_cancel(&list->turn);
    for (size_t i = 0; i < VST_QUERIES_MAX; i++)
        vst_query_end(&list->queries[i]);
    if (err)
        vst_op_fail(list->op, err);
    else
        vst_driver_infos(list->op, list->infos, gather(list));
}

static bool may_ask(const struct list *list)
{
    return list->state == LIST_ASKING && list->names[list->next] && list->asked < VST_QUERIES_MAX;
}

/* Never asks: it is called from answers, and however many there are, the stack stays as it is. */
static void go_on(struct list *list)
{
    if (may_ask(list))
        vst_turn_schedule(&list->turn);
    else if (list->asked == 0)
        over(list, NULL);
}

static void answered(void *opaque, const struct vst_error *absent)
{
    struct list *list = opaque;

    list->asked--;
    if (absent && list->one)
        over(list, absent);
    go_on(list);
}

static struct vst_query *idle_query(struct list *list)
{
    struct vst_query *query = list->queries;

    while (query->state != QUERY_IDLE)
        query++;
    return query;
}

/* Some answers come at once. */
static void ask(struct list *list)
{
    for (unsigned begun = 0; begun < VST_QUERIES_MAX && may_ask(list); begun++) {
        size_t number = list->next++;

        list->asked++;
        vst_query_begin(idle_query(list), list->names[number], &list->infos[number]);
    }
    go_on(list);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    ask(opaque);
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    over(opaque, why);
}

static void names_free(char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

static void list_free(void *opaque)
{
    struct list *list = opaque;

    names_free(list->names);
    free(list->infos);
    free(list);
}

/* Takes `names`; NULL is for lack of memory, as is what it returns. */
static struct list *list_new(struct vst_conn *conn, char **names)
{
    struct list *list = names ? calloc(1, sizeof(*list)) : NULL;
    size_t count = 0;

    if (!list) {
        names_free(names);
        return NULL;
    }
    while (names[count])
        count++;
    list->qemu = conn->impl;
    list->names = names;
    list->infos = calloc(count + 1, sizeof(*list->infos));
    vst_turn_init(&list->turn, conn->base, turn, list);
    for (size_t i = 0; i < VST_QUERIES_MAX; i++)
        vst_query_init(&list->queries[i], conn->impl, answered, list);
    if (list->infos)
        return list;
    list_free(list);
    return NULL;
}

static void begin_list(struct vst_conn *conn, char **names, bool one, struct vst_op *op)
{
    struct list *list = list_new(conn, names);
    struct vst_error err = {0};

    if (!list) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    list->op = op;
    list->one = one;
    vst_op_own(op, list, list_free);
    vst_op_set_cancel(op, cancelled, list);
    ask(list);
}

void vst_qemu_list(struct vst_conn *conn, struct vst_op *op)
{
    struct vst_qemu *qemu = conn->impl;
    struct vst_error err = {0};
    char **names = vst_root_list(qemu->root, &err);

    if (names)
        begin_list(conn, names, false, op);
    else
        vst_op_fail(op, &err);
}

void vst_qemu_get_info(struct vst_conn *conn, const char *name, struct vst_op *op)
{
    char **names = calloc(2, sizeof(*names));

    if (names && !(names[0] = strdup(name))) {
        free(names);
        names = NULL;
    }
    begin_list(conn, names, true, op);
}

/* ---- look up ---- */

static bool is_called(struct vst_root *root, const char *name, const char *wanted,
                      char ret_uuid[37])
{
    struct vst_glance glance;
    bool called;

    if (vst_place_glance(root, name, &glance, NULL) < 0)
        return false;
    called = strcmp(name, wanted) == 0 || (glance.def && strcasecmp(glance.def->uuid, wanted) == 0);
    snprintf(ret_uuid, 37, "%s", vst_describe_uuid(glance.def));
    vst_definition_free(&glance.def);
    return called;
}

void vst_qemu_lookup(struct vst_conn *conn, const char *name_or_uuid, struct vst_op *op)
{
    struct vst_qemu *qemu = conn->impl;
    struct vst_error err = {0};
    char **names = vst_root_list(qemu->root, &err);
    bool found = false;
    char uuid[37];

    for (size_t i = 0; names && names[i]; i++) {
        if (!found && is_called(qemu->root, names[i], name_or_uuid, uuid)) {
            vst_driver_domain(conn, op, names[i], uuid);
            found = true;
        }
        free(names[i]);
    }
    if (names && !found)
        vst_error_set(&err, VST_ERR_NOT_FOUND, "no domain named %s", name_or_uuid);
    free(names);
    if (!found)
        vst_op_fail(op, &err);
}
