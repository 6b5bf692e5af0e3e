/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is UTF-8 (RFC 3629), and what becomes of a text that is not. Nothing is converted here.
 */
#ifndef VST_CORE_UTF8_H
#define VST_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the character that begins here, or 0 if none does. */
size_t vst_utf8_character(const char *text);

/* Whether all of the text is made of such characters. */
bool vst_utf8_check(const char *text);

/* Makes it so, for people to read: a byte that begins no character becomes `?`, and one that was
 * cut at the end of the text goes. */
void vst_utf8_mend(char *text);

#endif
