/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of hand-overs as a file, in the directory of what must outlive a restart of the host:
 *
 *     STATE/journal       core/journal-codec.h says what is in it; made with a new identity
 *           lock          locked by the one process that writes it
 *
 * STATE is /var/lib/virstream for root and $XDG_STATE_HOME/virstream or ~/.local/state/virstream
 * for others. Opening blocks, so it is for the worker; appending is a job of the worker, one record
 * at a time, in the order in which they were asked for.
 */
#ifndef VST_DRIVERS_QEMU_JOURNAL_H
#define VST_DRIVERS_QEMU_JOURNAL_H

#include "core/journal-codec.h"
#include "core/worker.h"

struct vst_journal_file;

/*
 * `dir` NULL for the default; made if it is not there. A torn tail is cut off. BUSY when another
 * process has it; DAMAGED; ACCESS when others may write there.
 */
int vst_journal_open(const char *dir, struct vst_journal_file **ret_file,
                     struct vst_error *ret_err);

/* What it says; and what it is to say, of what could not be written yet. */
const struct vst_journal *vst_journal_known(const struct vst_journal_file *file);
/* Why it could not be written when that was tried last; NULL when nothing is amiss. */
const struct vst_error *vst_journal_trouble(const struct vst_journal_file *file);

/*
 * Appends and syncs a copy of `entry`. `written` comes from the loop, once, unless the file is
 * freed before that; with an error, the record may be there all the same, or come there with the
 * next one of another token, until the next one of its own is asked for. -1: out of memory; then
 * `written` does not come, and the record will not.
 */
int vst_journal_append(struct vst_journal_file *file, struct vst_worker *worker,
                       const struct vst_journal_entry *entry,
                       void (*written)(void *opaque, const struct vst_journal_entry *entry,
                                       const struct vst_error *err),
                       void *opaque, struct vst_error *ret_err);

/* At any time: what is under way may or may not reach the disk. The worker outlives it. Sets *file
 * to NULL. Accepts NULL. */
void vst_journal_close(struct vst_journal_file **file);

#endif
