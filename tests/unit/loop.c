/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The user of channels that loop.h promises.
 */
#include "loop.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct waiting {
    struct event_base *base;
    bool announced;
};

static void announced(void *opaque)
{
    struct waiting *waiting = opaque;

    waiting->announced = true;
    event_base_loopbreak(waiting->base);
}

void vst_test_wait(struct vst_channel *ch, enum vst_dir dir)
{
    struct waiting waiting = {.base = ch->base};

    vst_channel_listen(ch, dir, announced, &waiting);
    vst_channel_want(ch, dir, true);
    while (!waiting.announced)
        assert_int_equal(event_base_loop(ch->base, EVLOOP_ONCE), 0);
    vst_channel_want(ch, dir, false);
    vst_channel_listen(ch, dir, NULL, NULL);
}

bool vst_test_announced(struct vst_channel *ch, enum vst_dir dir, unsigned milliseconds)
{
    struct timeval limit = {milliseconds / 1000, (milliseconds % 1000) * 1000};
    struct waiting waiting = {.base = ch->base};

    vst_channel_listen(ch, dir, announced, &waiting);
    vst_channel_want(ch, dir, true);
    event_base_loopexit(ch->base, &limit);
    event_base_dispatch(ch->base);
    vst_channel_want(ch, dir, false);
    vst_channel_listen(ch, dir, NULL, NULL);
    return waiting.announced;
}

enum vst_io vst_test_send(struct vst_channel *ch, const void *data, size_t len)
{
    struct evbuffer *from = evbuffer_new();
    enum vst_io io = VST_IO_OK;

    assert_non_null(from);
    evbuffer_add(from, data, len);
    while (io != VST_IO_FAIL && evbuffer_get_length(from)) {
        size_t before = evbuffer_get_length(from), n = 0;

        io = vst_channel_write(ch, from, before, &n);
        assert_int_not_equal(io, VST_IO_EOF);
        if (io == VST_IO_OK)
            assert_int_not_equal(n, 0);
        assert_int_equal(before - evbuffer_get_length(from), n);
        if (io == VST_IO_AGAIN)
            vst_test_wait(ch, VST_WRITE);
    }
    evbuffer_free(from);
    return io;
}

enum vst_io vst_test_drain(struct vst_channel *ch, struct evbuffer *into, size_t max)
{
    for (;;) {
        size_t before = evbuffer_get_length(into), n = 0;
        enum vst_io io = vst_channel_read(ch, into, max, &n);

        assert_int_equal(evbuffer_get_length(into) - before, n);
        assert_true(n <= max);
        if (io == VST_IO_EOF || io == VST_IO_FAIL)
            return io;
        if (io == VST_IO_OK)
            assert_int_not_equal(n, 0);
        else
            vst_test_wait(ch, VST_READ);
    }
}

enum vst_io vst_test_finish(struct vst_channel *ch)
{
    enum vst_io io;

    while ((io = vst_channel_finish(ch)) == VST_IO_AGAIN)
        vst_test_wait(ch, VST_WRITE);
    return io;
}

enum vst_io vst_test_open(struct vst_channel *ch)
{
    enum vst_io io;

    while ((io = vst_channel_open(ch)) == VST_IO_AGAIN)
        vst_test_wait(ch, VST_READ);
    return io;
}

enum vst_io vst_test_read_text(struct vst_channel *ch, char *ret_text, size_t room)
{
    struct evbuffer *into = evbuffer_new();
    size_t n = 0;
    enum vst_io io = vst_channel_read(ch, into, room - 1, &n);

    assert_int_equal(evbuffer_remove(into, ret_text, room - 1), n);
    ret_text[n] = '\0';
    evbuffer_free(into);
    return io;
}

void vst_test_fill(unsigned char *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)((i + seed) * 2654435761u >> 13);
}

static bool is_worker(const char *task)
{
    char name[32] = "", file[300];
    FILE *comm;

    snprintf(file, sizeof(file), "/proc/self/task/%s/comm", task);
    comm = fopen(file, "re");
    if (!comm)
        return false;
    if (!fgets(name, sizeof(name), comm))
        name[0] = '\0';
    fclose(comm);
    return strcmp(name, "virstream\n") == 0;
}

unsigned vst_test_threads(void)
{
    DIR *list = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned count = 0;

    assert_non_null(list);
    while ((entry = readdir(list)))
        count += is_worker(entry->d_name);
    closedir(list);
    return count;
}

void vst_test_threads_end(void)
{
    while (vst_test_threads())
        usleep(1000);
}
