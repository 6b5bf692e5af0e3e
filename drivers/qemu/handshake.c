/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words are those of QEMU's migration/savevm.c, migration.c and ram.c. A command is its mark,
 * two bytes of which, two of how long, and its body; an answer is two bytes of which, two of how
 * long, and its body, which a bitmap follows: its size in eight bytes, itself, and a mark.
 */
#include "handshake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/fd.h"
#include "core/fsm.h"

#define HANDSHAKE_STATES(X)                                                             \
    X(HANDSHAKE_NEW, "the source's first word", "QEMU has not been told of its stream") \
    X(HANDSHAKE_OPEN, "the word to go on", "whole messages pass")                       \
    X(HANDSHAKE_OVER, "nothing", "QEMU has gone on: everything passes")                 \
    X(HANDSHAKE_LEFT, "nothing", "nothing passes: QEMU hears the rest from this host")
VST_FSM(handshake, HANDSHAKE_STATES)

enum {
    COMMAND = 0x08,     /* QEMU_VM_COMMAND */
    COMMAND_RESUME = 9, /* MIG_CMD_POSTCOPY_RESUME */
    COMMAND_ASK = 10,   /* MIG_CMD_RECV_BITMAP */
    COMMAND_HEAD = 5,
    ANSWER_BITMAP = 5, /* MIG_RP_MSG_RECV_BITMAP */
    ANSWER_RESUME = 6, /* MIG_RP_MSG_RESUME_ACK */
    ANSWER_HEAD = 4,
    ANSWER_BODY = 512, /* at most, of any message */
    BITMAP_SIZE = 8,
    BITMAP_MARK = 8,
    CHUNK = 64 * 1024,
    VECTORS = 16,
};

static const uint64_t bitmap_most = 1ULL << 30; /* of 32 TiB */
static const unsigned char bitmap_mark[BITMAP_MARK] = {0x01, 0x23, 0x45, 0x67,
                                                       0x89, 0xab, 0xcd, 0xef};
/* What acknowledges that the destination will go on. The source takes it for the answer to each of
 * its questions, too, and counts: there must be just as many as questions. */
static const unsigned char resume_ack[] = {0, ANSWER_RESUME, 0, 4, 0, 0, 0, 1};

enum heard {
    HEARD_PART,    /* of a command: its last byte is still to come */
    HEARD_OTHER,   /* one that nobody answers */
    HEARD_ASKS,    /* what has been received of a block? */
    HEARD_RESUMES, /* all is known: go on */
    HEARD_MEMORY,  /* and no command: it has gone on */
};

/* Of the commands of a source, byte by byte. */
struct reader {
    unsigned char head[COMMAND_HEAD];
    size_t have; /* of the head */
    size_t skip; /* of the body, still to come */
};

struct vst_handshake {
    unsigned refs;
    enum vst_handshake_side side;
    enum handshake_state state;
    char label[64];
    struct evbuffer *part; /* of a message to QEMU, which has had nothing of it */
    struct evbuffer *out;  /* QEMU's next bytes */
    struct reader reader;
    uint64_t bitmap; /* how much of one, and its mark, is still to come */
    size_t asked, answered;
    bool resumes;      /* the source has asked all, and waits for the last word */
    bool acknowledged; /* here, and not by the other QEMU */
};

static void enter(struct vst_handshake *handshake, enum handshake_state state)
{
    vst_fsm_trace(handshake, handshake->label, handshake->state, state);
    handshake->state = state;
}

/* ---- commands ---- */

static enum heard command_of(const unsigned char *head)
{
    unsigned which = (unsigned)head[1] << 8 | head[2];

    if (which == COMMAND_ASK)
        return HEARD_ASKS;
    return which == COMMAND_RESUME ? HEARD_RESUMES : HEARD_OTHER;
}

static enum heard read_byte(struct reader *reader, unsigned char byte)
{
    unsigned char *head = reader->head;

    if (reader->skip) {
        reader->skip--;
    } else {
        head[reader->have++] = byte;
        if (head[0] != COMMAND) {
            reader->have = 0;
            return HEARD_MEMORY;
        }
        if (reader->have < COMMAND_HEAD)
            return HEARD_PART;
        reader->skip = (size_t)head[3] << 8 | head[4];
        reader->have = 0;
    }
    return reader->skip ? HEARD_PART : command_of(head);
}

/* ---- its life ---- */

struct vst_handshake *vst_handshake_new(enum vst_handshake_side side, const char *label,
                                        struct vst_error *ret_err)
{
    struct vst_handshake *handshake = calloc(1, sizeof(*handshake));

    if (!handshake) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    handshake->refs = 1;
    handshake->side = side;
    handshake->state = side == VST_HANDSHAKE_SOURCE ? HANDSHAKE_NEW : HANDSHAKE_OPEN;
    snprintf(handshake->label, sizeof(handshake->label), "%s", label);
    handshake->part = evbuffer_new();
    handshake->out = evbuffer_new();
    if (handshake->part && handshake->out)
        return handshake;
    vst_error_no_memory(ret_err);
    vst_handshake_unref(&handshake);
    return NULL;
}

struct vst_handshake *vst_handshake_ref(struct vst_handshake *handshake)
{
    handshake->refs++;
    return handshake;
}

void vst_handshake_unref(struct vst_handshake **slot)
{
    struct vst_handshake *handshake = *slot;

    *slot = NULL;
    if (!handshake || --handshake->refs)
        return;
    if (handshake->part)
        evbuffer_free(handshake->part);
    if (handshake->out)
        evbuffer_free(handshake->out);
    free(handshake);
}

void vst_handshake_begin(struct vst_handshake *handshake)
{
    if (handshake && handshake->state == HANDSHAKE_NEW)
        enter(handshake, HANDSHAKE_OPEN);
}

bool vst_handshake_is_open(const struct vst_handshake *handshake)
{
    return handshake && handshake->state == HANDSHAKE_OPEN;
}

bool vst_handshake_is_over(const struct vst_handshake *handshake)
{
    return handshake->state == HANDSHAKE_OVER;
}

bool vst_handshake_has_left(const struct vst_handshake *handshake)
{
    return handshake->state == HANDSHAKE_LEFT;
}

bool vst_handshake_counts(const struct vst_handshake *handshake)
{
    return handshake->side == VST_HANDSHAKE_SOURCE && !vst_handshake_is_over(handshake);
}

struct evbuffer *vst_handshake_out(const struct vst_handshake *handshake)
{
    return handshake->out;
}

/* ---- what QEMU hears ---- */

int vst_handshake_refuse(struct vst_error *ret_err)
{
    return vst_error_set(ret_err, VST_ERR_PROTOCOL,
                         "what the other QEMU says is not how a post-copy goes on");
}

/* One byte for a destination. A command is given to it when it is whole. */
static int take_command(struct vst_handshake *handshake, struct evbuffer *from,
                        struct vst_error *ret_err)
{
    enum heard heard;
    unsigned char byte;

    evbuffer_remove(from, &byte, 1);
    heard = read_byte(&handshake->reader, byte);
    if (heard == HEARD_MEMORY)
        return vst_handshake_refuse(ret_err);
    if (evbuffer_add(handshake->part, &byte, 1) < 0 ||
        (heard != HEARD_PART && evbuffer_add_buffer(handshake->out, handshake->part) < 0))
        return vst_error_no_memory(ret_err);
    if (heard == HEARD_RESUMES)
        enter(handshake, HANDSHAKE_OVER);
    return 0;
}

static uint64_t number(const unsigned char *bytes, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum = sum << 8 | bytes[i];
    return sum;
}

/* A source takes an answer that it has not asked for, or that comes too late, for its last. */
static bool is_expected(const struct vst_handshake *handshake, size_t which, uint64_t bitmap)
{
    if (which == ANSWER_BITMAP)
        return handshake->answered < handshake->asked && bitmap <= bitmap_most;
    return which != ANSWER_RESUME || handshake->resumes;
}

/* One byte for a source, of all but a bitmap. */
static int take_answer(struct vst_handshake *handshake, struct evbuffer *from,
                       struct vst_error *ret_err)
{
    unsigned char head[ANSWER_HEAD + ANSWER_BODY + BITMAP_SIZE], byte;
    size_t have, which, need;
    uint64_t bitmap = 0;

    evbuffer_remove(from, &byte, 1);
    if (evbuffer_add(handshake->part, &byte, 1) < 0)
        return vst_error_no_memory(ret_err);
    have = evbuffer_get_length(handshake->part);
    evbuffer_copyout(handshake->part, head, have);
    if (have < ANSWER_HEAD)
        return 0;
    which = (size_t)number(head, 2);
    need = ANSWER_HEAD + (size_t)number(head + 2, 2) + (which == ANSWER_BITMAP ? BITMAP_SIZE : 0);
    if (need > sizeof(head))
        return vst_handshake_refuse(ret_err);
    if (have < need)
        return 0;
    if (which == ANSWER_BITMAP)
        bitmap = number(head + need - BITMAP_SIZE, BITMAP_SIZE);
    if (!is_expected(handshake, which, bitmap))
        return vst_handshake_refuse(ret_err);
    if (evbuffer_add_buffer(handshake->out, handshake->part) < 0)
        return vst_error_no_memory(ret_err);
    if (which == ANSWER_BITMAP)
        handshake->bitmap = bitmap + BITMAP_MARK;
    if (which == ANSWER_RESUME)
        enter(handshake, HANDSHAKE_OVER);
    return 0;
}

static void bitmap_came(struct vst_handshake *handshake, uint64_t n)
{
    handshake->bitmap -= n;
    if (!handshake->bitmap)
        handshake->answered++;
}

static int take_bitmap(struct vst_handshake *handshake, struct evbuffer *from, size_t max,
                       struct vst_error *ret_err)
{
    size_t n = handshake->bitmap < max ? (size_t)handshake->bitmap : max;

    if (vst_buffer_move(from, handshake->out, n) < 0)
        return vst_error_no_memory(ret_err);
    bitmap_came(handshake, n);
    return 0;
}

int vst_handshake_take(struct vst_handshake *handshake, struct evbuffer *from, size_t max,
                       struct vst_error *ret_err)
{
    size_t length = evbuffer_get_length(from);
    int status = 0;

    if (handshake->state == HANDSHAKE_NEW)
        return vst_handshake_refuse(ret_err);
    while (status == 0 && max && handshake->state == HANDSHAKE_OPEN) {
        if (handshake->side == VST_HANDSHAKE_DESTINATION)
            status = take_command(handshake, from, ret_err);
        else if (handshake->bitmap)
            status = take_bitmap(handshake, from, max, ret_err);
        else
            status = take_answer(handshake, from, ret_err);
        max -= length - evbuffer_get_length(from);
        length = evbuffer_get_length(from);
    }
    return status;
}

/* ---- what QEMU says: a source's questions ---- */

void vst_handshake_hear(struct vst_handshake *handshake, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n && !handshake->resumes; i++) {
        enum heard heard = read_byte(&handshake->reader, bytes[i]);

        handshake->asked += heard == HEARD_ASKS;
        handshake->resumes = heard == HEARD_RESUMES || heard == HEARD_MEMORY;
    }
}

/* ---- it is left in the middle ---- */

/* The rest of a bitmap of which QEMU has a part: nothing has been received. It is asked for again
 * before any memory is sent. */
static int fill_bitmap(struct vst_handshake *handshake)
{
    static const unsigned char zeros[CHUNK];

    while (handshake->bitmap > BITMAP_MARK) {
        uint64_t left = handshake->bitmap - BITMAP_MARK;
        size_t n = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);

        if (evbuffer_add_reference(handshake->out, zeros, n, NULL, NULL) < 0)
            return -1;
        handshake->bitmap -= n;
    }
    if (handshake->bitmap &&
        evbuffer_add(handshake->out, bitmap_mark + BITMAP_MARK - handshake->bitmap,
                     (size_t)handshake->bitmap) < 0)
        return -1;
    if (handshake->bitmap)
        bitmap_came(handshake, handshake->bitmap);
    return 0;
}

static int acknowledge(struct vst_handshake *handshake)
{
    handshake->acknowledged = true;
    return evbuffer_add(handshake->out, resume_ack, sizeof(resume_ack));
}

static int answer_all(struct vst_handshake *handshake)
{
    int status = fill_bitmap(handshake);

    while (status == 0 && handshake->answered < handshake->asked) {
        status = acknowledge(handshake);
        handshake->answered++;
    }
    if (status == 0 && handshake->resumes && !handshake->acknowledged)
        status = acknowledge(handshake);
    return status;
}

static int resume(struct vst_handshake *handshake)
{
    static const unsigned char words[COMMAND_HEAD] = {COMMAND, 0, COMMAND_RESUME};

    handshake->resumes = true;
    return evbuffer_add(handshake->out, words, sizeof(words));
}

static enum vst_left say(struct vst_handshake *handshake, int fd)
{
    while (evbuffer_get_length(handshake->out)) {
        struct evbuffer_iovec vec[VECTORS];
        int count = vst_buffer_pieces(handshake->out, CHUNK, vec, VECTORS);
        ssize_t n = vst_fd_write(fd, VST_FD_SOCKET, vec, count);

        if (n < 0)
            return errno == EAGAIN ? VST_LEFT_FULL : VST_LEFT_GONE;
        evbuffer_drain(handshake->out, (size_t)n);
    }
    return handshake->resumes ? VST_LEFT_ALL : VST_LEFT_ASKING;
}

enum vst_left vst_handshake_leave(struct vst_handshake *handshake, int fd)
{
    bool first = handshake->state != HANDSHAKE_LEFT;
    int status = 0;

    if (first)
        enter(handshake, HANDSHAKE_LEFT);
    if (handshake->side == VST_HANDSHAKE_SOURCE)
        status = answer_all(handshake);
    else if (first)
        status = resume(handshake);
    return status < 0 ? VST_LEFT_GONE : say(handshake, fd);
}
