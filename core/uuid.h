/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UUIDs as text: of guests, hosts and tokens. Only their form is known here, nothing of variants
 * and versions.
 */
#ifndef VST_CORE_UUID_H
#define VST_CORE_UUID_H

enum { VST_UUID_BYTES = 16, VST_UUID_LENGTH = 36 };

/* 8-4-4-4-12 hexadecimal digits of either case, and nothing else: 0, or -1. */
int vst_uuid_parse(const char *text, unsigned char ret_uuid[VST_UUID_BYTES]);

#endif
