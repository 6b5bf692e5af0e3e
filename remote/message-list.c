/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists, of whatever kind: printed in pages, and read. What an entry of a kind says is the matter
 * of the file that has its struct vst_listing.
 */
#include <stdlib.h>
#include <string.h>

#include "message-table.h"

/* What entries begin with. */
_Static_assert(offsetof(struct vst_domain_info, name) == 0, "a guest's name");
_Static_assert(offsetof(struct vst_volume_info, name) == 0, "a volume's name");
_Static_assert(offsetof(struct vst_migration_info, token) == 0, "a migration's token");

static const struct vst_listing *const listings[VST_PROCEDURE_COUNT] = {
    [VST_PROCEDURE_LIST] = &vst_domain_listing,
    [VST_PROCEDURE_INFO] = &vst_domain_listing,
    [VST_PROCEDURE_VOLUMES] = &vst_volume_listing,
    [VST_PROCEDURE_MIGRATIONS] = &vst_migration_listing,
};

#define MEMBERS(name, text_table)                                               \
    {                                                                           \
        {name, VST_JSON_STRUCT, .shape = VST_JSON_LIST, .table = &(text_table), \
         .offset = offsetof(struct vst_list_result, entries)},                  \
            FLAG(vst_list_result, "more", more),                                \
    }
#define LIST_TABLE(members)                                    \
    {                                                          \
        VST_JSON_TABLE(members, vst_list_result), .open = true \
    }

static const struct vst_json_member domains[] = MEMBERS("domains", vst_info_text_table);
static const struct vst_json_member volumes[] = MEMBERS("volumes", vst_volume_text_table);
static const struct vst_json_member migrations[] = MEMBERS("migrations", vst_migration_text_table);

const struct vst_json_table vst_domains_result_table = LIST_TABLE(domains);
const struct vst_json_table vst_volumes_result_table = LIST_TABLE(volumes);
const struct vst_json_table vst_migrations_result_table = LIST_TABLE(migrations);

size_t vst_list_entry_size(enum vst_procedure procedure)
{
    return listings[procedure]->size;
}

/* ---- to text ---- */

static char *print(enum vst_procedure procedure, const char *const *entries, size_t count,
                   bool more, struct vst_error *ret_err)
{
    const struct vst_listing *listing = listings[procedure];
    char *texts = calloc(count + 1, listing->room);
    void **list = calloc(count + 1, sizeof(*list));
    char *body = NULL;

    for (size_t i = 0; texts && list && i < count; i++) {
        list[i] = texts + i * listing->room;
        listing->show(entries[i], list[i]);
    }
    if (texts && list)
        body = vst_reply_print(procedure, &(union vst_results){.list = {list, more}}, ret_err);
    else
        vst_error_no_memory(ret_err);
    free(texts);
    free(list);
    return body;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What comes after `after`, as much as a page has. */
static char *print_page(enum vst_procedure procedure, const char *const *sorted, size_t count,
                        const char *after, struct vst_error *ret_err)
{
    size_t first = 0, size;

    while (after && first < count && strcmp(sorted[first], after) <= 0)
        first++;
    size = count - first < VST_PAGE ? count - first : VST_PAGE;
    /* Both ends of a migration may be here; the next page begins behind a token. */
    if (size == VST_PAGE && first + size < count &&
        strcmp(sorted[first + size - 1], sorted[first + size]) == 0)
        size--;
    return print(procedure, sorted + first, size, first + size < count, ret_err);
}

char *vst_list_print(enum vst_procedure procedure, const void *entries, size_t count,
                     const char *after, struct vst_error *ret_err)
{
    const size_t size = listings[procedure]->size;
    const char **sorted = calloc(count + 1, sizeof(*sorted));
    char *body;

    if (!sorted) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        sorted[i] = (const char *)entries + i * size;
    qsort(sorted, count, sizeof(*sorted), by_key);
    body = print_page(procedure, sorted, count, after, ret_err);
    free(sorted);
    return body;
}

/* ---- from text ---- */

static int read_entries(const struct vst_listing *listing, void *const *list, void **ret_entries,
                        size_t *ret_count, struct vst_error *ret_err)
{
    size_t count = 0;
    char *entries;

    while (list && list[count])
        count++;
    entries = calloc(count + 1, listing->size);
    if (!entries)
        return vst_error_no_memory(ret_err);
    for (size_t i = 0; i < count; i++)
        if (listing->read(list[i], entries + i * listing->size, ret_err) < 0) {
            free(entries);
            return -1;
        }
    *ret_entries = entries;
    *ret_count = count;
    return 0;
}

int vst_list_parse(enum vst_procedure procedure, const char *body, size_t length,
                   void **ret_entries, size_t *ret_count, bool *ret_more, struct vst_error *ret_err)
{
    union vst_results result;
    int status;

    if (vst_reply_parse(procedure, body, length, &result, ret_err) < 0)
        return -1;
    status =
        read_entries(listings[procedure], result.list.entries, ret_entries, ret_count, ret_err);
    if (status == 0)
        *ret_more = result.list.more;
    vst_results_clear(procedure, &result);
    return status;
}
