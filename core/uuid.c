/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one reader of UUIDs; see uuid.h.
 */
#include "uuid.h"

#include <stdbool.h>

static int digit(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    if (letter >= 'a' && letter <= 'f')
        return letter - 'a' + 10;
    return letter >= 'A' && letter <= 'F' ? letter - 'A' + 10 : -1;
}

int vst_uuid_parse(const char *text, unsigned char ret_uuid[VST_UUID_BYTES])
{
    unsigned char uuid[VST_UUID_BYTES] = {0};
    unsigned digits = 0;

    for (unsigned i = 0; i < VST_UUID_LENGTH; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        int value = digit(text[i]);

        if (dash ? text[i] != '-' : value < 0)
            return -1;
        if (dash)
            continue;
        uuid[digits / 2] = (unsigned char)(uuid[digits / 2] << 4 | value);
        digits++;
    }
    if (text[VST_UUID_LENGTH])
        return -1;
    for (unsigned i = 0; i < VST_UUID_BYTES; i++)
        ret_uuid[i] = uuid[i];
    return 0;
}
