/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last words in a log of QEMU's: nearly always the only cause there is.
 */
#ifndef VST_QEMU_LAST_WORDS_H
#define VST_QEMU_LAST_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* QEMU writes a line that begins so as it shuts down in order: because the guest wants it, or a
 * user. After a crash, or a kill, there is none. */
#define VST_SHUTDOWN_TRACE "qemu_system_shutdown_request"

/*
 * The last lines since the last mark, of at most 4 KiB, as one: joined by "; ", without the name
 * that QEMU puts before each, and with nothing that a terminal would obey. Where not all has room,
 * the end is what matters, after "...". Empty when there are none. `log_fd` is open for reading;
 * its offset stays.
 */
void vst_last_words(int log_fd, char *ret_text, size_t room);

/* Whether they tell of a shutdown, marks or not. */
bool vst_last_words_shutdown(int log_fd);

/* A line of our own in the log: what QEMU said before belongs to something that is over. `log_fd`
 * appends. */
void vst_last_words_mark(int log_fd, const char *what);

/* So much of the disk a log may take before it is cut, and so much of its end then stays. */
#define VST_LOG_MAX (1024 * 1024)
#define VST_LOG_KEPT (64 * 1024)

/* What QEMU writes, and who reads, is not disturbed: the beginning becomes a hole. `log_fd` is open
 * for writing. */
void vst_last_words_trim(int log_fd);

#endif
