/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of hand-overs, as bytes: append-only, in records of one size, each of which says
 * everything about its token, so that the last one of a token counts. Pure: files are the driver's.
 *
 * The first record is the identity of the host, so that who loses the journal is another host. All
 * numbers are big-endian.
 *
 *        0  "vst-jrnl"            24  token, or the host's identity    111  outcome
 *        8  version               40  peer                             112  guest's name
 *       12  role, record          56  seconds since 1970               176  peer's URI
 *       16  sequence number       64  cause, flags                     688  whose the token is
 *                                 72  guest's UUID                    1008  XXH3-64 of all that
 *                                                                     1016  "vst-end\n"
 *
 * The rest is zero, and so is in records of older versions the owner: then it is admin's alone; and
 * the outcome: then it is what the record as such stands for.
 * A record is two sectors of a disk, aligned, and is synced before the next one is written. So only
 * the last can be torn, and then is short, or lacks a sector, which reads as zeros. Such a record
 * was never acknowledged to anybody: it is as if it were not there. Everything else that is wrong
 * is damage, and an error; a journal is not believed in parts.
 */
#ifndef VST_CORE_JOURNAL_CODEC_H
#define VST_CORE_JOURNAL_CODEC_H

#include <stddef.h>

#include "definition.h"
#include "error.h"
#include "handover.h"

enum {
    VST_JOURNAL_RECORD = 1024,
    VST_JOURNAL_SECTOR = 512,
    VST_JOURNAL_URI_MAX = 511,
    VST_JOURNAL_OWNER_MAX = 319,
    VST_JOURNAL_TOKENS = 4096, /* that are not done; more cannot begin */
    VST_JOURNAL_ANSWERS = 256, /* answers kept for each owner's sources that do not ask */
    VST_JOURNAL_SPARE = 1024,  /* records that may be superseded before it is compacted */
    VST_JOURNAL_BYTES = (1 + VST_JOURNAL_TOKENS + VST_JOURNAL_SPARE + 1) * VST_JOURNAL_RECORD,
};

/* What a record says. */
struct vst_journal_entry {
    unsigned char token[VST_HANDOVER_ID];
    unsigned char peer[VST_HANDOVER_ID];
    enum vst_handover_role role;
    enum vst_handover_record last;
    enum vst_handover_event cause;  /* why it was given up or resolved; NONE */
    enum vst_handover_told outcome; /* what had become of the guest; NOTHING: that was not known */
    bool runs;                      /* the guest did before the migration, and is to after it */
    bool keep;                      /* the source's copy stays, paused */
    uint64_t time;
    char uuid[37];
    char guest[VST_NAME_MAX + 1];
    char uri[VST_JOURNAL_URI_MAX + 1]; /* source: where the peer is; destination: empty */
    char owner[VST_JOURNAL_OWNER_MAX +
               1]; /* who brought the token here; empty: nobody with a name */
};

struct vst_journal {
    unsigned char host[VST_HANDOVER_ID];
    struct vst_journal_entry *entries; /* of tokens that are not done, in the order they began */
    size_t count;
    uint64_t next;  /* sequence number */
    size_t records; /* in the file */
};

void vst_journal_encode_host(const unsigned char host[VST_HANDOVER_ID], uint64_t sequence,
                             unsigned char ret_record[VST_JOURNAL_RECORD]);
void vst_journal_encode(const struct vst_journal_entry *entry, uint64_t sequence,
                        unsigned char ret_record[VST_JOURNAL_RECORD]);

/*
 * The whole file. *ret_good is how much of it counts: what is after that was torn, and is to be cut
 * off before anything is appended. DAMAGED, with the offset; INCOMPATIBLE when a newer version
 * wrote it. To be cleared.
 */
int vst_journal_replay(const unsigned char *bytes, size_t length, struct vst_journal *ret_journal,
                       size_t *ret_good, struct vst_error *ret_err);
void vst_journal_clear(struct vst_journal *journal);

/*
 * To be asked before a record is written: whether it can be applied, which then cannot fail. BUSY
 * when there are too many tokens. What was given up counts only as long as there is room for it.
 */
int vst_journal_admit(struct vst_journal *journal, const struct vst_journal_entry *entry,
                      struct vst_error *ret_err);
/* The record with number `next` has been appended, and this is what it says. -1 only where
 * vst_journal_admit() would say so. */
int vst_journal_apply(struct vst_journal *journal, const struct vst_journal_entry *entry,
                      struct vst_error *ret_err);
/* How many tokens more it takes. */
size_t vst_journal_room(const struct vst_journal *journal);

/* NULL: not known, or done. Valid until the next apply(). */
const struct vst_journal_entry *vst_journal_find(const struct vst_journal *journal,
                                                 const unsigned char token[VST_HANDOVER_ID],
                                                 enum vst_handover_role role);

/* So much of the file is superseded that it should be written anew. */
bool vst_journal_is_long(const struct vst_journal *journal);
/* The new file: (count + 1) records, to be free()d. It takes the place of the old one as a whole,
 * and vst_journal_replay() of it gives the same journal. */
unsigned char *vst_journal_compact(const struct vst_journal *journal, size_t *ret_length,
                                   struct vst_error *ret_err);

#endif
