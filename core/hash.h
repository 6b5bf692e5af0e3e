/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xxHash. Built for any x86-64 it hashes with SSE2; where the library brings code for newer
 * processors and chooses when it runs, that is used: three times as fast with AVX2.
 */
#ifndef VST_CORE_HASH_H
#define VST_CORE_HASH_H

#include "config.h"

#ifdef HAVE_XXH3_64BITS_UPDATE_DISPATCH
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#endif
