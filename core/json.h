/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON objects to structs and back, by table: one row per member says its name, type and place.
 * What is strict here is strict everywhere: a member that the table does not know (unless it is an
 * open one), a wrong type, a number out of range are errors that name the member with its path,
 *
 *     definition: disks[1].formt: unknown member; did you mean `format`?
 *
 * Text comes from people and from the network; its size and depth are bounded before it is looked
 * at. json-c does the parsing and stays inside: nothing public depends on it.
 */
#ifndef VST_CORE_JSON_H
#define VST_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct json_object;

enum vst_json_type {
    VST_JSON_STRING, /* char * */
    VST_JSON_NUMBER, /* uint64_t */
    VST_JSON_FLAG,   /* bool */
    VST_JSON_STRUCT, /* pointer to a struct with a table of its own */
};

/* A list is a NULL-terminated array of pointers, NULL when it is absent. Only strings and structs
 * come in lists. */
enum vst_json_shape {
    VST_JSON_ONE,
    VST_JSON_LIST,
    VST_JSON_ONE_OR_LIST, /* one alone counts as a list of one */
};

struct vst_json_table;

struct vst_json_member {
    const char *name;
    enum vst_json_type type;
    enum vst_json_shape shape;
    bool required;
    size_t offset; /* in the struct */
    /* STRING: */
    const char *otherwise;                  /* the value when absent; NULL: none */
    const char *const *choices;             /* NULL-terminated; NULL: any */
    const char *(*check)(const char *text); /* NULL if good, else "must be ..." */
    /* NUMBER: */
    uint64_t min;
    uint64_t max;
    uint64_t absent; /* the value that stands for none, where 0 is one like any other; else 0 */
    /* STRUCT: */
    const struct vst_json_table *table;
};

struct vst_json_table {
    const struct vst_json_member *members;
    size_t count;
    size_t size; /* of the struct */
    bool open;   /* members that it does not know are ignored: what newer peers say */
};

/* For a table of one's own: the array of its members, and the kind of struct. */
#define VST_JSON_TABLE(list, kind) \
    .members = (list), .count = sizeof(list) / sizeof((list)[0]), .size = sizeof(struct kind)

/* One JSON object and nothing after it, at most `most` bytes, and one value for each 256 of them or
 * 64; strict syntax, valid UTF-8, no member twice. `what` names the text in errors. Give it back
 * with json_object_put(). */
struct json_object *vst_json_parse(const char *text, size_t length, size_t most, const char *what,
                                   struct vst_error *ret_err);

/* As text without white space, to be free()d. */
char *vst_json_print(struct json_object *object, struct vst_error *ret_err);

/* Fills `into`, which is all zero; on failure it is all zero again. */
int vst_json_decode(const struct vst_json_table *table, struct json_object *from, const char *what,
                    void *into, struct vst_error *ret_err);

/* The members in the order of the table; absent ones and empty lists are left out. A string that is
 * not UTF-8 is VST_ERR_INVALID, with the name of its member. */
struct json_object *vst_json_encode(const struct vst_json_table *table, const void *from,
                                    struct vst_error *ret_err);

/* Frees what the members point to, and makes the struct all zero. */
void vst_json_clear(const struct vst_json_table *table, void *of);

/* ---- json-object.c: objects that no table describes; `from` may be NULL, or no object ---- */

/* The string `name` of an object, valid as long as that; NULL if there is none. */
const char *vst_json_string(struct json_object *from, const char *name);
/* Whether there is one, and it is `text`. */
bool vst_json_says(struct json_object *from, const char *name, const char *text);
/* The number `name`; 0 if there is none, or it is less. */
uint64_t vst_json_number(struct json_object *from, const char *name);

/* Takes `value`, also on failure. -1: memory has run out, as when `to` or `value` is NULL. */
int vst_json_add(struct json_object *to, const char *name, struct json_object *value);
/* {name: value}; the same, and NULL then. */
struct json_object *vst_json_object(const char *name, struct json_object *value);

#endif
