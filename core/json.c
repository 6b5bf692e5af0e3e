/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table-driven decoder and encoder. It knows JSON and structs, and nothing of what they mean.
 */
#include "json.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distance.h"
#include "utf8.h"

enum { DEPTH_MAX = 16, NAME_SHOWN = 64, PATH_SHOWN = 160, TEXT_SHOWN = 240 };

/* json-c makes 800 bytes of a `{}`: so what a text may hold is bounded by more than its length. */
enum { VALUES_LEAST = 64, BYTES_PER_VALUE = 256 };

/* Where the decoder stands, innermost first; lives on the stack of the calls. */
struct place {
    const struct place *outer; /* NULL: the whole */
    const char *name;          /* NULL: an element */
    size_t index;
};

/* ---- text to JSON ---- */

static int complain_of_syntax(const char *text, size_t offset, const char *what,
                              const char *complaint, struct vst_error *ret_err)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < offset; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    return vst_error_set(ret_err, VST_ERR_INVALID, "%s: not JSON at line %zu, column %zu: %s", what,
                         line, column, complaint);
}

static int check_text(const char *text, size_t length, size_t most, const char *what,
                      struct vst_error *ret_err)
{
    const char *nul = memchr(text, '\0', length);
    size_t start = 0;

    if (length > most)
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: %zu bytes, the most allowed is %zu",
                             what, length, most);
    if (nul) /* the tokener would take it for the end */
        return complain_of_syntax(text, (size_t)(nul - text), what, "a zero byte", ret_err);
    while (start < length && strchr(" \t\r\n", text[start]))
        start++;
    if (start == length || text[start] != '{')
        return complain_of_syntax(text, start, what, "an object must begin here", ret_err);
    return 0;
}

struct counts {
    size_t names;  /* of members: every colon outside a string is one */
    size_t values; /* at most: what begins, and what comes next */
};

static struct counts count(const char *text, size_t length)
{
    struct counts counts = {0, 1};
    bool quoted = false;

    for (size_t i = 0; i < length; i++) {
        if (quoted && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            quoted = !quoted;
        } else if (!quoted) {
            counts.names += text[i] == ':';
            counts.values += text[i] == ',' || text[i] == '[' || text[i] == '{';
        }
    }
    return counts;
}

static int check_values(size_t values, size_t most, const char *what, struct vst_error *ret_err)
{
    size_t allowed = most / BYTES_PER_VALUE;

    if (allowed < VALUES_LEAST)
        allowed = VALUES_LEAST;
    if (values <= allowed)
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID, "%s: more than the %zu values allowed", what,
                         allowed);
}

static size_t count_kept(struct json_object *object)
{
    size_t count = 0;

    if (json_object_is_type(object, json_type_array))
        for (size_t i = 0; i < json_object_array_length(object); i++)
            count += count_kept(json_object_array_get_idx(object, i));
    if (json_object_is_type(object, json_type_object)) {
        json_object_object_foreach(object, name, value) {
            (void)name;
            count += 1 + count_kept(value);
        }
    }
    return count;
}

/* json-c keeps the last of those that have one name. */
static int refuse_duplicates(size_t names, const char *what, struct json_object *object,
                             struct vst_error *ret_err)
{
    if (names == count_kept(object))
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID, "%s: a member is given twice", what);
}

struct json_object *vst_json_parse(const char *text, size_t length, size_t most, const char *what,
                                   struct vst_error *ret_err)
{
    struct json_tokener *tokener;
    struct json_object *object;
    enum json_tokener_error error;
    struct counts counts;

    if (check_text(text, length, most, what, ret_err) < 0)
        return NULL;
    counts = count(text, length);
    if (check_values(counts.values, most, what, ret_err) < 0)
        return NULL;
    tokener = json_tokener_new_ex(DEPTH_MAX);
    if (!tokener) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    object = json_tokener_parse_ex(tokener, text, (int)length);
    error = json_tokener_get_error(tokener);
    if (!object && error == json_tokener_success) /* what json-c says when it ran out */
        vst_error_no_memory(ret_err);
    else if (!object)
        complain_of_syntax(text, json_tokener_get_parse_end(tokener), what,
                           error == json_tokener_continue ? "it ends too early"
                                                          : json_tokener_error_desc(error),
                           ret_err);
    json_tokener_free(tokener);
    if (object && refuse_duplicates(counts.names, what, object, ret_err) < 0) {
        json_object_put(object);
        return NULL;
    }
    return object;
}

/* json-c leaves out what it has no memory for and says nothing: so what it wrote is read back. */
char *vst_json_print(struct json_object *object, struct vst_error *ret_err)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);
    struct json_object *again =
        text ? vst_json_parse(text, strlen(text), SIZE_MAX, "text", NULL) : NULL;
    char *copy = NULL;

    if (again && json_object_equal(object, again))
        copy = strdup(text);
    if (!copy)
        vst_error_no_memory(ret_err);
    json_object_put(again);
    return copy;
}

/* ---- errors that name the member ---- */

/* Names come from outside: nothing of them may reach a terminal as a control sequence. */
static void show(char *into, size_t size, const char *name)
{
    size_t n = 0;

    for (; name[n] && n < NAME_SHOWN && n + 1 < size; n++)
        into[n] = (unsigned char)name[n] < ' ' || name[n] == 0x7f ? '?' : name[n];
    while (name[n] && n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80)
        n--; /* not in the middle of a character */
    into[n] = '\0';
}

static const char *show_path(char *into, size_t size, const struct place *place)
{
    char name[NAME_SHOWN + 1];
    const char *what;
    size_t used;

    if (!place->outer) {
        into[0] = '\0';
        return place->name;
    }
    what = show_path(into, size, place->outer);
    used = strlen(into);
    if (place->name) {
        show(name, sizeof(name), place->name);
        snprintf(into + used, size - used, "%s%s", used ? "." : "", name);
    } else {
        snprintf(into + used, size - used, "[%zu]", place->index);
    }
    return what;
}

__attribute__((format(printf, 3, 4))) static int
complain(const struct place *place, struct vst_error *ret_err, const char *format, ...)
{
    char path[PATH_SHOWN], text[TEXT_SHOWN];
    const char *what = show_path(path, sizeof(path), place);
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return vst_error_set(ret_err, VST_ERR_INVALID, "%s: %s%s%s", what, path, path[0] ? ": " : "",
                         text);
}

static int complain_of_unknown(const struct vst_json_table *table, const struct place *place,
                               struct vst_error *ret_err)
{
    const char *nearest = NULL;
    size_t least = 3;

    for (size_t i = 0; i < table->count; i++) {
        size_t letters = vst_distance(place->name, table->members[i].name, 2);

        if (letters < least) {
            least = letters;
            nearest = table->members[i].name;
        }
    }
    if (nearest)
        return complain(place, ret_err, "unknown member; did you mean `%s`?", nearest);
    return complain(place, ret_err, "unknown member");
}

/* ---- places in structs ---- */

/* Pointers to different types are moved as bytes, so that the table may call them all `void *`. */
static void *pointer_at(const struct vst_json_member *member, const void *of)
{
    void *pointer;

    memcpy(&pointer, (const char *)of + member->offset, sizeof(pointer));
    return pointer;
}

static void set_pointer_at(const struct vst_json_member *member, void *of, void *pointer)
{
    memcpy((char *)of + member->offset, &pointer, sizeof(pointer));
}

static void free_element(const struct vst_json_member *member, void *element)
{
    if (element && member->type == VST_JSON_STRUCT)
        vst_json_clear(member->table, element);
    free(element);
}

static void free_list(const struct vst_json_member *member, void **list)
{
    for (void **element = list; element && *element; element++)
        free_element(member, *element);
    free(list);
}

void vst_json_clear(const struct vst_json_table *table, void *of)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct vst_json_member *member = &table->members[i];

        if (member->type == VST_JSON_NUMBER || member->type == VST_JSON_FLAG)
            continue;
        if (member->shape == VST_JSON_ONE)
            free_element(member, pointer_at(member, of));
        else
            free_list(member, pointer_at(member, of));
    }
    memset(of, 0, table->size);
}

/* ---- decoding ---- */

static int decode_struct(const struct vst_json_table *table, struct json_object *from, void *into,
                         const struct place *place, struct vst_error *ret_err);

static int check_string(const struct vst_json_member *member, const char *text,
                        const struct place *place, struct vst_error *ret_err)
{
    const char *complaint = member->check ? member->check(text) : NULL;
    char shown[NAME_SHOWN + 1];
    char list[128] = "";

    show(shown, sizeof(shown), text);
    if (complaint)
        return complain(place, ret_err, "%s, not `%s`", complaint, shown);
    if (!member->choices)
        return 0;
    for (const char *const *choice = member->choices; *choice; choice++) {
        size_t used = strlen(list);

        if (strcmp(*choice, text) == 0)
            return 0;
        snprintf(list + used, sizeof(list) - used, "%s`%s`", used ? ", " : "", *choice);
    }
    return complain(place, ret_err, "must be one of %s, not `%s`", list, shown);
}

static char *decode_string(const struct vst_json_member *member, struct json_object *from,
                           const struct place *place, struct vst_error *ret_err)
{
    const char *text;
    char *copy;

    if (!json_object_is_type(from, json_type_string)) {
        complain(place, ret_err, "must be a string");
        return NULL;
    }
    text = json_object_get_string(from);
    if (strlen(text) != (size_t)json_object_get_string_len(from)) {
        complain(place, ret_err, "must not contain a zero byte");
        return NULL;
    }
    if (check_string(member, text, place, ret_err) < 0)
        return NULL;
    copy = strdup(text);
    if (!copy)
        vst_error_no_memory(ret_err);
    return copy;
}

static void *decode_element(const struct vst_json_member *member, struct json_object *from,
                            const struct place *place, struct vst_error *ret_err)
{
    void *element;

    if (member->type == VST_JSON_STRING)
        return decode_string(member, from, place, ret_err);
    element = calloc(1, member->table->size);
    if (!element) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    if (decode_struct(member->table, from, element, place, ret_err) < 0) {
        free(element);
        return NULL;
    }
    return element;
}

static void **decode_list(const struct vst_json_member *member, struct json_object *from,
                          const struct place *place, struct vst_error *ret_err)
{
    bool one = member->shape == VST_JSON_ONE_OR_LIST && !json_object_is_type(from, json_type_array);
    size_t count = 1;
    void **list;

    if (!one && !json_object_is_type(from, json_type_array)) {
        complain(place, ret_err, "must be a list");
        return NULL;
    }
    if (!one)
        count = json_object_array_length(from);
    list = calloc(count + 1, sizeof(*list));
    if (!list) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = one ? from : json_object_array_get_idx(from, i);
        const struct place element = {.outer = place, .index = i};

        list[i] = decode_element(member, item, one ? place : &element, ret_err);
        if (!list[i]) {
            free_list(member, list);
            return NULL;
        }
    }
    return list;
}

static int decode_number(const struct vst_json_member *member, struct json_object *from, void *into,
                         const struct place *place, struct vst_error *ret_err)
{
    uint64_t number;

    if (!json_object_is_type(from, json_type_int))
        return complain(place, ret_err, "must be a whole number");
    number = json_object_get_uint64(from); /* a negative one gives 0 */
    if (json_object_get_int64(from) < 0 || number < member->min || number > member->max)
        return complain(place, ret_err, "must be from %ju to %ju, not %s", (uintmax_t)member->min,
                        (uintmax_t)member->max, json_object_to_json_string(from));
    *(uint64_t *)((char *)into + member->offset) = number;
    return 0;
}

static int decode_flag(const struct vst_json_member *member, struct json_object *from, void *into,
                       const struct place *place, struct vst_error *ret_err)
{
    if (!json_object_is_type(from, json_type_boolean))
        return complain(place, ret_err, "must be true or false");
    *(bool *)((char *)into + member->offset) = json_object_get_boolean(from);
    return 0;
}

static int decode_member(const struct vst_json_member *member, struct json_object *from, void *into,
                         const struct place *place, struct vst_error *ret_err)
{
    void *pointer;

    if (member->type == VST_JSON_NUMBER)
        return decode_number(member, from, into, place, ret_err);
    if (member->type == VST_JSON_FLAG)
        return decode_flag(member, from, into, place, ret_err);
    if (member->shape == VST_JSON_ONE)
        pointer = decode_element(member, from, place, ret_err);
    else
        pointer = decode_list(member, from, place, ret_err);
    set_pointer_at(member, into, pointer);
    return pointer ? 0 : -1;
}

static int supply_missing(const struct vst_json_member *member, void *into,
                          const struct place *place, struct vst_error *ret_err)
{
    char *copy;

    if (member->required)
        return complain(place, ret_err, "missing");
    if (member->type == VST_JSON_NUMBER)
        *(uint64_t *)((char *)into + member->offset) = member->absent;
    if (!member->otherwise)
        return 0;
    copy = strdup(member->otherwise);
    set_pointer_at(member, into, copy);
    return copy ? 0 : vst_error_no_memory(ret_err);
}

static int refuse_unknown(const struct vst_json_table *table, struct json_object *from,
                          const struct place *place, struct vst_error *ret_err)
{
    if (table->open)
        return 0;
    json_object_object_foreach(from, name, value) {
        const struct place member = {.outer = place, .name = name};
        size_t i = 0;

        (void)value;
        while (i < table->count && strcmp(table->members[i].name, name) != 0)
            i++;
        if (i == table->count)
            return complain_of_unknown(table, &member, ret_err);
    }
    return 0;
}

static int decode_struct(const struct vst_json_table *table, struct json_object *from, void *into,
                         const struct place *place, struct vst_error *ret_err)
{
    int result;

    if (!json_object_is_type(from, json_type_object))
        return complain(place, ret_err, "must be an object");
    result = refuse_unknown(table, from, place, ret_err);
    for (size_t i = 0; i < table->count && result == 0; i++) {
        const struct vst_json_member *member = &table->members[i];
        const struct place inner = {.outer = place, .name = member->name};
        struct json_object *value;

        if (json_object_object_get_ex(from, member->name, &value))
            result = decode_member(member, value, into, &inner, ret_err);
        else
            result = supply_missing(member, into, &inner, ret_err);
    }
    if (result < 0)
        vst_json_clear(table, into);
    return result;
}

int vst_json_decode(const struct vst_json_table *table, struct json_object *from, const char *what,
                    void *into, struct vst_error *ret_err)
{
    const struct place whole = {.name = what};

    return decode_struct(table, from, into, &whole, ret_err);
}

/* ---- encoding ---- */

/* json-c would write any bytes, and no reader would take them. */
static struct json_object *encode_element(const struct vst_json_member *member, const void *element,
                                          struct vst_error *ret_err)
{
    if (member->type == VST_JSON_STRUCT)
        return vst_json_encode(member->table, element, ret_err);
    if (vst_utf8_check(element))
        return json_object_new_string(element);
    vst_error_set(ret_err, VST_ERR_INVALID, "%s is not UTF-8", member->name);
    return NULL;
}

static struct json_object *encode_list(const struct vst_json_member *member, void *const *list,
                                       struct vst_error *ret_err)
{
    struct json_object *array = json_object_new_array();

    for (; array && *list; list++) {
        struct json_object *element = encode_element(member, *list, ret_err);

        if (!element || json_object_array_add(array, element) < 0) {
            json_object_put(element);
            json_object_put(array);
            return NULL;
        }
    }
    return array;
}

static struct json_object *encode_member(const struct vst_json_member *member, const void *from,
                                         struct vst_error *ret_err)
{
    const char *place = (const char *)from + member->offset;

    if (member->type == VST_JSON_NUMBER)
        return json_object_new_uint64(*(const uint64_t *)place);
    if (member->type == VST_JSON_FLAG)
        return json_object_new_boolean(*(const bool *)place);
    if (member->shape == VST_JSON_ONE)
        return encode_element(member, pointer_at(member, from), ret_err);
    return encode_list(member, pointer_at(member, from), ret_err);
}

static bool is_absent(const struct vst_json_member *member, const void *from)
{
    void **list;

    if (member->type == VST_JSON_NUMBER)
        return member->absent &&
               *(const uint64_t *)((const char *)from + member->offset) == member->absent;
    if (member->type == VST_JSON_FLAG)
        return false;
    list = pointer_at(member, from);
    return !list || (member->shape != VST_JSON_ONE && !*list);
}

struct json_object *vst_json_encode(const struct vst_json_table *table, const void *from,
                                    struct vst_error *ret_err)
{
    struct json_object *object = json_object_new_object();

    for (size_t i = 0; object && i < table->count; i++) {
        const struct vst_json_member *member = &table->members[i];
        struct json_object *value;

        if (is_absent(member, from))
            continue;
        value = encode_member(member, from, ret_err);
        if (!value || json_object_object_add(object, member->name, value) < 0) {
            json_object_put(value);
            json_object_put(object);
            object = NULL;
        }
    }
    if (!object)
        vst_error_no_memory(ret_err); /* if nothing else was told */
    return object;
}
