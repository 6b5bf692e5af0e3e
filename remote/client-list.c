/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The answers that are lists, and come in pages: what a server says of them is looked at before
 * it is kept, and the next page is asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "client-private.h"

/* Bytes of all the entries of a list: what a server that means harm can make us keep. */
enum { LIST_MAX = 64 * 1024 * 1024 };

/* Entries begin with the text by which they are sorted. */
static const char *key_of(const void *entries, size_t size, size_t i)
{
    return (const char *)entries + i * size;
}

/* They go up from page to page: so a list ends. Within a page a migration may be there twice, when
 * both its ends are the server's. */
static int check_page(const struct remote_call *call, const void *page, size_t count, size_t size,
                      bool more, struct vst_error *ret_err)
{
    const char *last = call->count ? key_of(call->entries, size, call->count - 1) : "";

    for (size_t i = 0; i < count; last = key_of(page, size, i++)) {
        int step = strcmp(key_of(page, size, i), last);

        if (step < 0 || (step == 0 && i == 0))
            return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the server's list is in no order");
    }
    if (more && !count)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the server's list never ends");
    return 0;
}

static int add_page(struct remote_call *call, const void *page, size_t count, size_t size,
                    bool more, struct vst_error *ret_err)
{
    char *all;

    if (check_page(call, page, count, size, more, ret_err) < 0)
        return -1;
    if (count > LIST_MAX / size - call->count)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL,
                             "the server's list never ends: it has more than %zu entries",
                             LIST_MAX / size);
    all = realloc(call->entries, (call->count + count + 1) * size);
    if (!all)
        return vst_error_no_memory(ret_err);
    memcpy(all + call->count * size, page, count * size);
    call->entries = all;
    call->count += count;
    return 0;
}

static int ask_for_more(struct remote_call *call, size_t size, struct vst_error *ret_err)
{
    union vst_arguments next;

    if (call->ours)
        return -1;
    next.list.pool = *call->label ? call->label : NULL;
    next.list.after = (char *)key_of(call->entries, size, call->count - 1);
    return vst_remote_call_send(call, &next, NULL, ret_err);
}

static int complete(struct remote_call *call, struct vst_error *ret_err)
{
    struct vst_volume_info *volumes;

    switch (call->procedure) {
    case VST_PROCEDURE_VOLUMES:
        volumes = call->entries;
        call->entries = NULL;
        vst_driver_volumes(call->op, volumes, call->count);
        return 0;
    case VST_PROCEDURE_MIGRATIONS:
        vst_driver_migrations(call->op, call->entries, call->count);
        return 0;
    case VST_PROCEDURE_INFO:
        if (call->count != 1)
            return vst_error_set(ret_err, VST_ERR_PROTOCOL,
                                 "the server tells of %zu guests, not one", call->count);
        break;
    default:
        break;
    }
    vst_driver_infos(call->op, call->entries, call->count);
    return 0;
}

int vst_remote_take_list(struct remote_call *call, const char *body, size_t length,
                         struct vst_error *ret_err)
{
    const size_t size = vst_list_entry_size(call->procedure);
    size_t count;
    void *page;
    bool more;
    int status;

    if (vst_list_parse(call->procedure, body, length, &page, &count, &more, ret_err) < 0)
        return -1;
    more &= call->procedure != VST_PROCEDURE_INFO;
    status = add_page(call, page, count, size, more, ret_err);
    free(page);
    if (status < 0)
        return -1;
    return more ? ask_for_more(call, size, ret_err) : complete(call, ret_err);
}
