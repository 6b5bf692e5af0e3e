/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last words in a log of QEMU's: nearly always the only cause there is.
 */
#ifndef VST_QEMU_LAST_WORDS_H
#define VST_QEMU_LAST_WORDS_H

#include <stddef.h>

/*
 * The last lines, of at most 4 KiB, as one: joined by "; ", without the name that QEMU puts before
 * each, and with nothing that a terminal would obey. Where not all has room, the end is what
 * matters, after "...". Empty when there are none. `log_fd` is open for reading; its offset stays.
 */
void vst_last_words(int log_fd, char *ret_text, size_t room);

#endif
