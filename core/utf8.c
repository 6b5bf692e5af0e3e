/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is UTF-8 (RFC 3629), and what becomes of a text that is not. Nothing is converted here.
 */
#include "utf8.h"

#include <stdint.h>

size_t vst_utf8_character(const char *text)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } kinds[] = {{0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    const unsigned char *at = (const unsigned char *)text;
    uint32_t point;
    size_t kind = 0;

    if (at[0] < 0x80)
        return 1;
    while (kind < 3 && (at[0] & kinds[kind].mask) != kinds[kind].lead)
        kind++;
    if (kind == 3)
        return 0;
    point = at[0] & (unsigned char)~kinds[kind].mask;
    for (size_t i = 1; i <= kind + 1; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (at[i] & 0x3f);
    }
    if (point < kinds[kind].least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
        return 0;
    return kind + 2;
}

bool vst_utf8_check(const char *text)
{
    size_t length = 1;

    for (; *text && length; text += length)
        length = vst_utf8_character(text);
    return length;
}

/* A lead byte, and fewer bytes than it asks for. */
static bool is_cut(const char *text)
{
    size_t length = 1;

    if ((unsigned char)text[0] < 0xc2 || (unsigned char)text[0] > 0xf4)
        return false;
    while (((unsigned char)text[length] & 0xc0) == 0x80)
        length++;
    return !text[length];
}

void vst_utf8_mend(char *text)
{
    for (size_t length; *text; text += length) {
        length = vst_utf8_character(text);
        if (!length && is_cut(text)) {
            *text = '\0';
            return;
        }
        if (!length) {
            *text = '?';
            length = 1;
        }
    }
}
