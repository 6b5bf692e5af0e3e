/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What two QEMUs say before a broken post-copy goes on, cut off after each byte of it: each QEMU
 * must hear whole messages only, and before its stream ends just so many that it waits for nothing.
 * What the QEMUs do then is shown by tests/e2e/post-copy-cuts.sh.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/fd.h"
#include "drivers/qemu/handshake.h"
#include "drivers/qemu/migration.h"

enum { QUESTIONS = 3, BITMAP = 16, ROOM = 4096 };

/* "rom", "pc.ram", "vga": asked in one command each; and the command to resume. */
static const char questions[] = "\x08\0\x0a\0\x04\x03rom"
                                "\x08\0\x0a\0\x07\x06pc.ram"
                                "\x08\0\x0a\0\x04\x03vga";
static const char resume[] = "\x08\0\x09\0\0";
static const size_t ends[] = {0, 9, 21, 30, 35}; /* of the commands */

/* A page that is wanted may be among them. */
static const char page[] = "\0\x04\0\x0c\0\0\0\0\0\0\x10\0\0\0\x10\0";
static const char heads[QUESTIONS][16] = {"\0\x05\0\x04\x03rom", "\0\x05\0\x07\x06pc.ram",
                                          "\0\x05\0\x04\x03vga"};
static const size_t head_sizes[QUESTIONS] = {8, 11, 8};
static const char mark[] = "\x01\x23\x45\x67\x89\xab\xcd\xef";
static const char ack[] = "\0\x06\0\x04\0\0\0\x01";

static struct event_base *base;
static struct vst_handshake *handshake;
static struct vst_channel *channel;
static int ours, qemus;
static unsigned char commands[ROOM], answers[ROOM], heard[ROOM];
static size_t commands_size, answers_size, heard_size;

static void add(unsigned char *to, size_t *size, const void *bytes, size_t n)
{
    assert_true(*size + n <= ROOM);
    memcpy(to + *size, bytes, n);
    *size += n;
}

static void write_words(void)
{
    static const unsigned char size[8] = {[7] = BITMAP};

    commands_size = answers_size = 0;
    add(commands, &commands_size, questions, sizeof(questions) - 1);
    add(commands, &commands_size, resume, sizeof(resume) - 1);
    for (int i = 0; i < QUESTIONS; i++) {
        unsigned char bitmap[BITMAP];

        memset(bitmap, 0xa0 + i, sizeof(bitmap));
        add(answers, &answers_size, heads[i], head_sizes[i]);
        add(answers, &answers_size, size, sizeof(size));
        add(answers, &answers_size, bitmap, sizeof(bitmap));
        add(answers, &answers_size, mark, sizeof(mark) - 1);
        if (i == 0)
            add(answers, &answers_size, page, sizeof(page) - 1);
    }
    add(answers, &answers_size, ack, sizeof(ack) - 1);
}

static void begin(enum vst_handshake_side side)
{
    struct vst_channel *socket;
    int fd;

    base = event_base_new();
    assert_int_equal(vst_migration_sockets(&ours, &qemus, NULL), 0);
    fd = dup(ours);
    socket = vst_channel_fd(base, &fd, NULL);
    handshake = vst_handshake_new(side, "g", NULL);
    channel = vst_channel_handshake(socket, handshake, NULL);
    assert_non_null(channel);
    heard_size = 0;
}

static void end(void)
{
    vst_channel_free(&channel);
    vst_handshake_unref(&handshake);
    vst_close(&ours);
    vst_close(&qemus);
    event_base_free(base);
}

/* To QEMU, in pieces. */
static enum vst_io tell(const unsigned char *bytes, size_t n, size_t piece)
{
    struct evbuffer *from = evbuffer_new();
    enum vst_io io = VST_IO_OK;
    size_t done;

    while (n && io == VST_IO_OK) {
        size_t some = n < piece ? n : piece;

        evbuffer_add(from, bytes, some);
        while (io == VST_IO_OK && evbuffer_get_length(from))
            io = vst_channel_write(channel, from, evbuffer_get_length(from), &done);
        bytes += some;
        n -= some;
    }
    evbuffer_free(from);
    return io;
}

/* By QEMU, which a source's side listens to. */
static void say(const unsigned char *bytes, size_t n)
{
    struct evbuffer *into = evbuffer_new();
    size_t done;

    assert_int_equal(send(qemus, bytes, n, 0), n);
    while (vst_channel_read(channel, into, ROOM, &done) == VST_IO_OK)
        continue;
    assert_int_equal(evbuffer_get_length(into), n);
    assert_memory_equal(evbuffer_pullup(into, -1), bytes, n);
    evbuffer_free(into);
}

static void hear(void)
{
    ssize_t n = recv(qemus, heard + heard_size, ROOM - heard_size, MSG_DONTWAIT);

    if (n > 0)
        heard_size += (size_t)n;
}

/* ---- a destination ---- */

static size_t whole(size_t cut)
{
    size_t last = 0;

    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends) && ends[i] <= cut; i++)
        last = ends[i];
    return last;
}

static void cut_commands(size_t cut, size_t piece)
{
    begin(VST_HANDSHAKE_DESTINATION);
    assert_true(vst_handshake_is_open(handshake));
    assert_int_equal(tell(commands, cut, piece), VST_IO_OK);
    hear();
    assert_int_equal(heard_size, whole(cut));
    assert_memory_equal(heard, commands, heard_size);
    if (cut < commands_size) {
        assert_true(vst_handshake_is_open(handshake));
        assert_int_equal(vst_handshake_leave(handshake, ours), VST_LEFT_ALL);
        hear();
        assert_int_equal(heard_size, whole(cut) + sizeof(resume) - 1);
        assert_memory_equal(heard + whole(cut), resume, sizeof(resume) - 1);
        assert_int_equal(tell(commands, 1, 1), VST_IO_AGAIN);
    }
    assert_false(vst_handshake_is_open(handshake));
    end();
}

static void destination_hears_whole_commands_and_the_word_to_go_on(void **state)
{
    (void)state;
    write_words();
    for (size_t cut = 0; cut <= commands_size; cut++)
        for (size_t piece = 1; piece <= commands_size; piece += 5)
            cut_commands(cut, piece);
}

static void everything_passes_when_it_has_gone_on(void **state)
{
    (void)state;
    write_words();
    begin(VST_HANDSHAKE_DESTINATION);
    add(commands, &commands_size, "\x02memory", 7);
    assert_int_equal(tell(commands, commands_size, ROOM), VST_IO_OK);
    hear();
    assert_int_equal(heard_size, commands_size);
    assert_memory_equal(heard, commands, heard_size);
    assert_int_equal(vst_channel_finish(channel), VST_IO_OK);
    end();
}

static void destination_hears_no_memory_before_it_goes_on(void **state)
{
    (void)state;
    write_words();
    begin(VST_HANDSHAKE_DESTINATION);
    assert_int_equal(tell((const unsigned char *)"\x02", 1, 1), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(channel)->code, VST_ERR_PROTOCOL);
    hear();
    assert_int_equal(heard_size, 0);
    end();
}

static void end_of_the_stream_is_refused_before_it_goes_on(void **state)
{
    (void)state;
    begin(VST_HANDSHAKE_DESTINATION);
    assert_int_equal(vst_channel_finish(channel), VST_IO_FAIL);
    end();
}

/* ---- a source ---- */

/* As it was given, or from somewhere on nothing. */
static void check_bitmap(const unsigned char *bytes, size_t given)
{
    size_t i = 0;

    while (i < BITMAP && bytes[i] == given)
        i++;
    while (i < BITMAP && bytes[i] == 0)
        i++;
    assert_int_equal(i, BITMAP);
}

/* What QEMU makes of what it has heard: each question answered once, by a bitmap or by what stands
 * for one, and no bitmap after that; and then one word to go on. */
static void check_answers(void)
{
    size_t at = 0, bitmaps = 0, acks = 0;

    while (at < heard_size) {
        const unsigned char *message = heard + at;

        assert_true(heard_size - at >= 4);
        if (message[1] == 5) {
            size_t head = head_sizes[bitmaps];

            assert_int_equal(acks, 0);
            assert_true(heard_size - at >= head + 8 + BITMAP + 8);
            assert_memory_equal(message, heads[bitmaps], head);
            assert_int_equal(message[head + 7], BITMAP);
            assert_memory_equal(message + head + 8 + BITMAP, mark, 8);
            check_bitmap(message + head + 8, 0xa0 + bitmaps);
            at += head + 8 + BITMAP + 8;
            bitmaps++;
        } else if (message[1] == 6) {
            assert_memory_equal(message, ack, sizeof(ack) - 1);
            at += sizeof(ack) - 1;
            acks++;
        } else {
            assert_memory_equal(message, page, sizeof(page) - 1);
            at += sizeof(page) - 1;
        }
    }
    assert_int_equal(at, heard_size);
    assert_int_equal(acks, bitmaps == QUESTIONS ? 1 : QUESTIONS - bitmaps);
}

/* `asked` bytes of the commands are out when the stream breaks, the rest comes after. */
static void cut_answers(size_t cut, size_t asked, size_t piece)
{
    begin(VST_HANDSHAKE_SOURCE);
    assert_false(vst_handshake_is_open(handshake));
    vst_handshake_begin(handshake);
    say(commands, asked);
    assert_int_equal(tell(answers, cut, piece), VST_IO_OK);
    hear();
    assert_int_equal(vst_handshake_is_open(handshake), cut < answers_size);
    if (cut < answers_size) {
        enum vst_left left = vst_handshake_leave(handshake, ours);

        for (; asked < commands_size; asked++) {
            assert_int_equal(left, VST_LEFT_ASKING);
            vst_handshake_hear(handshake, commands + asked, 1);
            left = vst_handshake_leave(handshake, ours);
        }
        assert_int_equal(left, VST_LEFT_ALL);
        hear();
    }
    check_answers();
    end();
}

static void source_has_an_answer_to_each_question(void **state)
{
    (void)state;
    write_words();
    for (size_t cut = 0; cut <= answers_size; cut++)
        for (size_t piece = 1; piece <= answers_size; piece += 9)
            cut_answers(cut, commands_size, piece);
}

static void source_may_ask_on_when_its_stream_is_broken(void **state)
{
    size_t first = head_sizes[0] + 8 + BITMAP + 8;

    (void)state;
    write_words();
    for (size_t asked = 0; asked < commands_size; asked++)
        cut_answers(0, asked, ROOM);
    for (size_t cut = 0; cut <= first; cut++)
        for (size_t asked = ends[1]; asked < commands_size; asked++)
            cut_answers(cut, asked, ROOM);
}

static void refuses(const void *bytes, size_t n, size_t asked)
{
    begin(VST_HANDSHAKE_SOURCE);
    vst_handshake_begin(handshake);
    if (asked)
        say(commands, asked);
    assert_int_equal(tell(bytes, n, ROOM), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(channel)->code, VST_ERR_PROTOCOL);
    hear();
    assert_int_equal(heard_size, 0);
    end();
}

static void source_hears_no_answer_to_what_it_has_not_asked(void **state)
{
    (void)state;
    write_words();
    refuses(answers, head_sizes[0] + 8, 0);
    refuses(ack, sizeof(ack) - 1, ends[2]);
    refuses("\0\x05\xff\xff", 4, ends[2]);
    refuses("\0\x05\0\x04\x03rom\xff\xff\xff\xff\xff\xff\xff\xff", 16, ends[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(destination_hears_whole_commands_and_the_word_to_go_on),
        VST_TEST(everything_passes_when_it_has_gone_on),
        VST_TEST(destination_hears_no_memory_before_it_goes_on),
        VST_TEST(end_of_the_stream_is_refused_before_it_goes_on),
        VST_TEST(source_has_an_answer_to_each_question),
        VST_TEST(source_may_ask_on_when_its_stream_is_broken),
        VST_TEST(source_hears_no_answer_to_what_it_has_not_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
