/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of the journal, and what a row of them comes to; see journal-codec.h.
 */
#include "journal-codec.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "record-frame.h"

#define MAGIC "vst-jrnl"
#define END "vst-end\n"

enum { FORMAT = 1, HOST_ROLE = 0xffff, FLAG_RUNS = 1, FLAG_KEEP = 2 };
enum {
    AT_VERSION = 8,
    AT_ROLE = 12,
    AT_SEQUENCE = 16,
    AT_TOKEN = 24,
    AT_PEER = 40,
    AT_TIME = 56,
    AT_CAUSE = 64,
    AT_FLAGS = 68,
    AT_UUID = 72,
    AT_OUTCOME = 111,
    AT_GUEST = 112,
    AT_URI = 176,
    AT_OWNER = 688,
    AT_CHECK = 1008,
    AT_END = 1016,
};

/* ---- one record ---- */

static void seal(unsigned char *record, unsigned role, unsigned last, uint64_t sequence)
{
    memcpy(record, MAGIC, 8);
    vst_put_be32(record + AT_VERSION, FORMAT);
    vst_put_be32(record + AT_ROLE, role << 16 | last);
    vst_put_be64(record + AT_SEQUENCE, sequence);
    vst_put_be64(record + AT_CHECK, XXH3_64bits(record, AT_CHECK));
    memcpy(record + AT_END, END, 8);
}

void vst_journal_encode_host(const unsigned char host[VST_HANDOVER_ID], uint64_t sequence,
                             unsigned char ret_record[VST_JOURNAL_RECORD])
{
    memset(ret_record, 0, VST_JOURNAL_RECORD);
    memcpy(ret_record + AT_TOKEN, host, VST_HANDOVER_ID);
    seal(ret_record, HOST_ROLE, 0, sequence);
}

void vst_journal_encode(const struct vst_journal_entry *entry, uint64_t sequence,
                        unsigned char ret_record[VST_JOURNAL_RECORD])
{
    memset(ret_record, 0, VST_JOURNAL_RECORD);
    memcpy(ret_record + AT_TOKEN, entry->token, VST_HANDOVER_ID);
    memcpy(ret_record + AT_PEER, entry->peer, VST_HANDOVER_ID);
    vst_put_be64(ret_record + AT_TIME, entry->time);
    vst_put_be32(ret_record + AT_CAUSE, entry->cause);
    vst_put_be32(ret_record + AT_FLAGS,
                 (entry->runs ? FLAG_RUNS : 0) | (entry->keep ? FLAG_KEEP : 0));
    memcpy(ret_record + AT_UUID, entry->uuid, strnlen(entry->uuid, sizeof(entry->uuid) - 1));
    ret_record[AT_OUTCOME] = (unsigned char)entry->outcome;
    memcpy(ret_record + AT_GUEST, entry->guest, strnlen(entry->guest, sizeof(entry->guest) - 1));
    memcpy(ret_record + AT_URI, entry->uri, strnlen(entry->uri, sizeof(entry->uri) - 1));
    memcpy(ret_record + AT_OWNER, entry->owner, strnlen(entry->owner, sizeof(entry->owner) - 1));
    seal(ret_record, entry->role, entry->last, sequence);
}

static bool is_whole(const unsigned char *record)
{
    return memcmp(record, MAGIC, 8) == 0 && memcmp(record + AT_END, END, 8) == 0 &&
           vst_get_be64(record + AT_CHECK) == XXH3_64bits(record, AT_CHECK);
}

static bool is_zero(const unsigned char *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* A sector of it never came to the disk. */
static bool is_torn(const unsigned char *record)
{
    return is_zero(record, VST_JOURNAL_SECTOR) ||
           is_zero(record + VST_JOURNAL_SECTOR, VST_JOURNAL_SECTOR);
}

static bool is_terminated(const unsigned char *text, size_t room)
{
    return memchr(text, '\0', room) != NULL;
}

/* Its check is right, so that only another program, or version, can have written nonsense. */
static int decode(const unsigned char *record, struct vst_journal_entry *ret_entry)
{
    uint32_t role = vst_get_be32(record + AT_ROLE) >> 16;
    uint32_t last = vst_get_be32(record + AT_ROLE) & 0xffff;
    uint32_t cause = vst_get_be32(record + AT_CAUSE), flags = vst_get_be32(record + AT_FLAGS);

    if (role > VST_HANDOVER_DESTINATION || last == 0 || last >= VST_HANDOVER_RECORD_COUNT ||
        flags & ~(uint32_t)(FLAG_RUNS | FLAG_KEEP) ||
        !is_terminated(record + AT_UUID, sizeof(ret_entry->uuid)) ||
        !is_terminated(record + AT_GUEST, sizeof(ret_entry->guest)) ||
        !is_terminated(record + AT_URI, sizeof(ret_entry->uri)) ||
        !is_terminated(record + AT_OWNER, sizeof(ret_entry->owner)))
        return -1;
    *ret_entry = (struct vst_journal_entry){
        .role = role,
        .last = last,
        .cause = cause < VST_HANDOVER_EVENT_COUNT ? cause : VST_HANDOVER_NONE,
        .outcome = record[AT_OUTCOME] < VST_HANDOVER_TELL_COUNT ? record[AT_OUTCOME]
                                                                : VST_HANDOVER_TELL_NOTHING,
        .runs = flags & FLAG_RUNS,
        .keep = flags & FLAG_KEEP,
        .time = vst_get_be64(record + AT_TIME),
    };
    memcpy(ret_entry->token, record + AT_TOKEN, VST_HANDOVER_ID);
    memcpy(ret_entry->peer, record + AT_PEER, VST_HANDOVER_ID);
    memcpy(ret_entry->uuid, record + AT_UUID, sizeof(ret_entry->uuid));
    memcpy(ret_entry->guest, record + AT_GUEST, sizeof(ret_entry->guest));
    memcpy(ret_entry->uri, record + AT_URI, sizeof(ret_entry->uri));
    memcpy(ret_entry->owner, record + AT_OWNER, sizeof(ret_entry->owner));
    return 0;
}

/* ---- what they come to ---- */

static struct vst_journal_entry *find(const struct vst_journal *journal, const unsigned char *token,
                                      enum vst_handover_role role)
{
    for (size_t i = 0; i < journal->count; i++)
        if (journal->entries[i].role == role &&
            memcmp(journal->entries[i].token, token, VST_HANDOVER_ID) == 0)
            return &journal->entries[i];
    return NULL;
}

const struct vst_journal_entry *vst_journal_find(const struct vst_journal *journal,
                                                 const unsigned char token[VST_HANDOVER_ID],
                                                 enum vst_handover_role role)
{
    return find(journal, token, role);
}

static void drop(struct vst_journal *journal, struct vst_journal_entry *entry)
{
    size_t after = (size_t)(journal->entries + journal->count - (entry + 1));

    memmove(entry, entry + 1, after * sizeof(*entry));
    journal->count--;
}

static bool is_given_up(const struct vst_journal_entry *entry)
{
    return entry->role == VST_HANDOVER_DESTINATION && (entry->last == VST_HANDOVER_RECORD_ABORTED ||
                                                       entry->last == VST_HANDOVER_RECORD_DISOWNED);
}

/* The oldest answer that was given to this owner, or to anybody (NULL); and how many there are. */
static struct vst_journal_entry *find_given_up(const struct vst_journal *journal, const char *owner,
                                               size_t *ret_count)
{
    struct vst_journal_entry *oldest = NULL;

    *ret_count = 0;
    for (size_t i = journal->count; i-- > 0;) {
        struct vst_journal_entry *entry = &journal->entries[i];

        if (!is_given_up(entry) || (owner && strcmp(entry->owner, owner) != 0))
            continue;
        oldest = entry;
        ++*ret_count;
    }
    return oldest;
}

static bool adds(const struct vst_journal *journal, const struct vst_journal_entry *entry)
{
    return entry->last != VST_HANDOVER_RECORD_DONE && !find(journal, entry->token, entry->role);
}

/* Nobody has asked about the oldest for as long as all the others took: the source is not there.
 * Whoever leaves many answers behind makes way for himself first. */
static void make_way(struct vst_journal *journal, const struct vst_journal_entry *entry)
{
    const struct vst_journal_entry *known = find(journal, entry->token, entry->role);
    size_t count;
    struct vst_journal_entry *oldest = find_given_up(journal, entry->owner, &count);

    if (is_given_up(entry) && !(known && is_given_up(known)) && count >= VST_JOURNAL_ANSWERS)
        drop(journal, oldest);
    if (adds(journal, entry) && journal->count == VST_JOURNAL_TOKENS)
        drop(journal, find_given_up(journal, NULL, &count));
}

int vst_journal_admit(struct vst_journal *journal, const struct vst_journal_entry *entry,
                      struct vst_error *ret_err)
{
    struct vst_journal_entry *grown;

    if (!adds(journal, entry))
        return 0;
    if (vst_journal_room(journal) == 0)
        return vst_error_set(ret_err, VST_ERR_BUSY,
                             "the journal holds %d migrations that have no end, and takes no more",
                             VST_JOURNAL_TOKENS);
    grown = reallocarray(journal->entries, journal->count + 1, sizeof(*grown));
    if (!grown)
        return vst_error_no_memory(ret_err);
    journal->entries = grown;
    return 0;
}

int vst_journal_apply(struct vst_journal *journal, const struct vst_journal_entry *entry,
                      struct vst_error *ret_err)
{
    struct vst_journal_entry *known;

    if (vst_journal_admit(journal, entry, ret_err) < 0)
        return -1;
    make_way(journal, entry);
    known = find(journal, entry->token, entry->role);
    if (known && entry->last == VST_HANDOVER_RECORD_DONE)
        drop(journal, known);
    else if (known)
        *known = *entry;
    else if (entry->last != VST_HANDOVER_RECORD_DONE)
        journal->entries[journal->count++] = *entry;
    journal->next++;
    journal->records++;
    return 0;
}

size_t vst_journal_room(const struct vst_journal *journal)
{
    size_t given_up;

    find_given_up(journal, NULL, &given_up);
    return VST_JOURNAL_TOKENS - journal->count + given_up;
}

void vst_journal_clear(struct vst_journal *journal)
{
    free(journal->entries);
    *journal = (struct vst_journal){0};
}

/* ---- replay ---- */

static int replay_host(struct vst_journal *journal, const unsigned char *record,
                       struct vst_error *ret_err)
{
    if (vst_get_be32(record + AT_ROLE) != (uint32_t)HOST_ROLE << 16)
        return vst_error_set(ret_err, VST_ERR_DAMAGED,
                             "the journal does not begin with the host's identity");
    memcpy(journal->host, record + AT_TOKEN, VST_HANDOVER_ID);
    journal->next = vst_get_be64(record + AT_SEQUENCE) + 1;
    journal->records = 1;
    return 0;
}

static int replay_record(struct vst_journal *journal, const unsigned char *record, size_t offset,
                         struct vst_error *ret_err)
{
    struct vst_journal_entry entry;

    if (vst_get_be32(record + AT_VERSION) > FORMAT)
        return vst_error_set(ret_err, VST_ERR_INCOMPATIBLE,
                             "the journal was written by a newer version of virstream");
    if (offset == 0)
        return replay_host(journal, record, ret_err);
    if (vst_get_be64(record + AT_SEQUENCE) != journal->next || decode(record, &entry) < 0)
        return vst_error_set(ret_err, VST_ERR_DAMAGED,
                             "the record at offset %zu of the journal is out of place", offset);
    return vst_journal_apply(journal, &entry, ret_err);
}

static int replay(const unsigned char *bytes, size_t length, struct vst_journal *journal,
                  size_t *at, struct vst_error *ret_err)
{
    for (*at = 0; length - *at >= VST_JOURNAL_RECORD; *at += VST_JOURNAL_RECORD) {
        const unsigned char *record = bytes + *at;
        bool last = length - *at < 2 * VST_JOURNAL_RECORD;

        if (is_whole(record)) {
            if (replay_record(journal, record, *at, ret_err) < 0)
                return -1;
        } else if (last && *at && is_torn(record)) {
            return 0;
        } else {
            return vst_error_set(ret_err, VST_ERR_DAMAGED,
                                 "the record at offset %zu of the journal is damaged; what it said "
                                 "is not known, so no migration can be settled by it",
                                 *at);
        }
    }
    if (*at == 0)
        return vst_error_set(ret_err, VST_ERR_DAMAGED, "the journal has no first record");
    return 0;
}

int vst_journal_replay(const unsigned char *bytes, size_t length, struct vst_journal *ret_journal,
                       size_t *ret_good, struct vst_error *ret_err)
{
    struct vst_journal journal = {0};
    size_t good;

    if (length > VST_JOURNAL_BYTES)
        return vst_error_set(ret_err, VST_ERR_DAMAGED,
                             "the journal has %zu bytes, more than it ever can have", length);
    if (replay(bytes, length, &journal, &good, ret_err) < 0) {
        vst_journal_clear(&journal);
        return -1;
    }
    *ret_journal = journal;
    *ret_good = good;
    return 0;
}

/* ---- compaction ---- */

bool vst_journal_is_long(const struct vst_journal *journal)
{
    return journal->records - 1 - journal->count >= VST_JOURNAL_SPARE;
}

unsigned char *vst_journal_compact(const struct vst_journal *journal, size_t *ret_length,
                                   struct vst_error *ret_err)
{
    unsigned char *bytes = calloc(journal->count + 1, VST_JOURNAL_RECORD);

    if (!bytes) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_journal_encode_host(journal->host, journal->next, bytes);
    for (size_t i = 0; i < journal->count; i++)
        vst_journal_encode(&journal->entries[i], journal->next + 1 + i,
                           bytes + (i + 1) * VST_JOURNAL_RECORD);
    *ret_length = (journal->count + 1) * VST_JOURNAL_RECORD;
    return bytes;
}
