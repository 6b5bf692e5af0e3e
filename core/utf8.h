/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is UTF-8 (RFC 3629). Nothing is converted here.
 */
#ifndef VST_CORE_UTF8_H
#define VST_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the character that begins here, or 0 if none does. */
size_t vst_utf8_character(const char *text);

/* Whether all of the text is made of such characters. */
bool vst_utf8_check(const char *text);

#endif
