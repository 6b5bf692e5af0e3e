/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The allocator between the program and the real one.
 */
#include "memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What lies below: the sanitizer's, if it is there, or the C library's. */
#define BELOW(type, name, parameters)                           \
    type __interceptor_##name parameters __attribute__((weak)); \
    type __libc_##name parameters

BELOW(void *, malloc, (size_t));
BELOW(void *, calloc, (size_t, size_t));
BELOW(void *, realloc, (void *, size_t));

/* Allocations until the one that fails; below zero: none does. */
static atomic_long left = -1;
static atomic_bool failed;
static _Thread_local bool concerned;

#ifndef __SANITIZE_THREAD__ /* which allocates before what lies below it is there */

static _Thread_local bool exempt;

static bool fails(void)
{
    if (exempt || (__interceptor_malloc && !concerned) || atomic_load(&left) < 0 ||
        atomic_fetch_sub(&left, 1) != 0)
        return false;
    atomic_store(&failed, true);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    if (fails())
        return NULL;
    return __interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    if (fails())
        return NULL;
    return __interceptor_calloc ? __interceptor_calloc(count, size) : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    if (fails())
        return NULL;
    return __interceptor_realloc ? __interceptor_realloc(block, size) : __libc_realloc(block, size);
}

struct json_object *json_tokener_parse_ex(struct json_tokener *tokener, const char *text,
                                          int length)
{
    struct json_object *(*real)(struct json_tokener *, const char *, int);
    struct json_object *object;

    if (fails())
        return NULL;
    exempt = true;
    *(void **)&real = dlsym(RTLD_NEXT, "json_tokener_parse_ex");
    object = real(tokener, text, length);
    exempt = false;
    return object;
}

#endif

bool memory_can_fail(void)
{
    void *volatile block;

    memory_fail_once(0);
    block = malloc(1);
    free(block);
    return memory_stop_failing();
}

void memory_fail_once(unsigned after)
{
    concerned = true;
    atomic_store(&failed, false);
    atomic_store(&left, after);
}

bool memory_stop_failing(void)
{
    atomic_store(&left, -1);
    return atomic_load(&failed);
}
