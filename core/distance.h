/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far apart two words are, for "did you mean".
 */
#ifndef VST_CORE_DISTANCE_H
#define VST_CORE_DISTANCE_H

#include <stddef.h>

/* The number of letters to change, insert or remove, or `most` + 1 if it is more than `most`. Of
 * words with more than 64 letters it is always more. */
size_t vst_distance(const char *a, const char *b, size_t most);

#endif
