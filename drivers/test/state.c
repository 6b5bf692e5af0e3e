/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making and checking the state. Both ends are always ready: nothing here waits.
 */
#include "state.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"

enum {
    WORD = 8,
    PAGE_WORDS = 4096 / WORD,
    ZERO_EVERY = 4, /* pages */
    PIECE = 4096,   /* compared at a time */
};

static const char magic[8] = "VSTTEST1";

struct state {
    struct vst_channel ch;
    struct vst_test_identity of;
    uint64_t seed;
    uint64_t offset; /* of the next byte, from the beginning of the prologue */
    uint64_t most;
    unsigned char prologue[VST_TEST_PROLOGUE];
};

static struct state *state_of(struct vst_channel *ch)
{
    return (struct state *)ch;
}

uint64_t vst_test_seed(const struct vst_test_identity *of)
{
    char text[160];
    int length = snprintf(text, sizeof(text), "%s %s %" PRIu64, of->name, of->uuid, of->generation);

    return XXH3_64bits(text, (size_t)length);
}

static size_t least(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* Any function that is fast and looks random would do; this is the finisher of splitmix64. */
static uint64_t word_at(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

    if (index / PAGE_WORDS % ZERO_EVERY == ZERO_EVERY - 1)
        return 0;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return htole64(z ^ (z >> 31));
}

/* The `n` bytes of state, not counting the prologue, that begin at `offset`. */
static void make(uint64_t seed, uint64_t offset, unsigned char *into, size_t n)
{
    uint64_t word;

    while (n && (offset % WORD || n < WORD)) {
        size_t skip = offset % WORD, take = least(WORD - skip, n);

        word = word_at(seed, offset / WORD);
        memcpy(into, (const char *)&word + skip, take);
        offset += take;
        into += take;
        n -= take;
    }
    for (; n >= WORD; n -= WORD, into += WORD, offset += WORD) {
        word = word_at(seed, offset / WORD);
        memcpy(into, &word, WORD);
    }
    if (n)
        make(seed, offset, into, n);
}

static uint64_t total(const struct state *state)
{
    return VST_TEST_PROLOGUE + state->of.size;
}

static enum vst_io fail(struct vst_channel *ch, enum vst_code code, const char *what)
{
    struct state *state = state_of(ch);

    vst_error_set(vst_channel_fail(ch), code, "state of %s, byte %" PRIu64 ": %s", state->of.name,
                  state->offset, what);
    return VST_IO_FAIL;
}

/* ---- the source ---- */

static enum vst_io source_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                               size_t *ret_n)
{
    struct state *state = state_of(ch);
    struct evbuffer_iovec room;
    size_t n = least(total(state) - state->offset, max);

    if (!n)
        return VST_IO_EOF;
    if (state->offset < VST_TEST_PROLOGUE)
        n = least(VST_TEST_PROLOGUE - state->offset, n);
    if (evbuffer_reserve_space(into, (ev_ssize_t)n, &room, 1) != 1) {
        vst_error_no_memory(vst_channel_fail(ch));
        return VST_IO_FAIL;
    }
    if (state->offset < VST_TEST_PROLOGUE)
        memcpy(room.iov_base, state->prologue + state->offset, n);
    else
        make(state->seed, state->offset - VST_TEST_PROLOGUE, room.iov_base, n);
    room.iov_len = n;
    evbuffer_commit_space(into, &room, 1);
    state->offset += n;
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io source_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                size_t *ret_n)
{
    (void)from, (void)max, (void)ret_n;
    return fail(ch, VST_ERR_INTERNAL, "is being read, not written");
}

/* ---- the sink ---- */

static enum vst_io take_prologue(struct state *state, struct evbuffer *from, size_t *n)
{
    uint64_t numbers[2];

    *n = least(VST_TEST_PROLOGUE - state->offset, *n);
    evbuffer_copyout(from, state->prologue + state->offset, *n);
    if (state->offset + *n < VST_TEST_PROLOGUE)
        return VST_IO_OK;
    if (memcmp(state->prologue, magic, sizeof(magic)) != 0)
        return fail(&state->ch, VST_ERR_DAMAGED, "this is not the state of a test guest");
    memcpy(numbers, state->prologue + sizeof(magic), sizeof(numbers));
    state->of.generation = be64toh(numbers[0]);
    state->of.size = be64toh(numbers[1]);
    if (state->of.size > state->most)
        return fail(&state->ch, VST_ERR_DAMAGED, "the guest's memory is too small for it");
    state->seed = vst_test_seed(&state->of);
    return VST_IO_OK;
}

static enum vst_io compare(struct state *state, struct evbuffer *from, size_t *n)
{
    unsigned char want[PIECE], got[PIECE];

    *n = least(*n, PIECE);
    *n = least(total(state) - state->offset, *n);
    if (!*n)
        return fail(&state->ch, VST_ERR_DAMAGED, "more bytes than it says");
    make(state->seed, state->offset - VST_TEST_PROLOGUE, want, *n);
    evbuffer_copyout(from, got, *n);
    if (memcmp(want, got, *n) != 0)
        return fail(&state->ch, VST_ERR_DAMAGED, "not what this guest's memory holds");
    return VST_IO_OK;
}

static enum vst_io sink_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    struct state *state = state_of(ch);
    size_t left = least(evbuffer_get_length(from), max);
    enum vst_io io = VST_IO_OK;

    *ret_n = 0;
    while (left) {
        size_t n = left;

        if (state->offset < VST_TEST_PROLOGUE)
            io = take_prologue(state, from, &n);
        else
            io = compare(state, from, &n);
        if (io != VST_IO_OK)
            return io;
        evbuffer_drain(from, n);
        state->offset += n;
        *ret_n += n;
        left -= n;
    }
    return VST_IO_OK;
}

static enum vst_io sink_finish(struct vst_channel *ch)
{
    struct state *state = state_of(ch);

    if (state->offset < VST_TEST_PROLOGUE || state->offset < total(state))
        return fail(ch, VST_ERR_TRUNCATED, "ends too early");
    return VST_IO_OK;
}

static enum vst_io sink_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    (void)into, (void)max, (void)ret_n;
    return fail(ch, VST_ERR_INTERNAL, "is being written, not read");
}

/* ---- both ---- */

static void state_destroy(struct vst_channel *ch)
{
    free(ch);
}

/* Neither ever says AGAIN. */
static void state_arm(struct vst_channel *ch, unsigned dirs)
{
    (void)ch, (void)dirs;
}

static const struct vst_channel_ops source_ops = {
    .name = "test state",
    .read = source_read,
    .write = source_write,
    .destroy = state_destroy,
    .arm = state_arm,
};

static const struct vst_channel_ops sink_ops = {
    .name = "test state",
    .read = sink_read,
    .write = sink_write,
    .finish = sink_finish,
    .destroy = state_destroy,
    .arm = state_arm,
};

static struct state *state_new(struct event_base *base, const struct vst_channel_ops *ops,
                               const struct vst_test_identity *of, struct vst_error *ret_err)
{
    struct state *state = calloc(1, sizeof(*state));

    if (!state) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_channel_init(&state->ch, ops, base, NULL);
    state->of = *of;
    return state;
}

struct vst_channel *vst_test_state_source(struct event_base *base,
                                          const struct vst_test_identity *of,
                                          struct vst_error *ret_err)
{
    struct state *state = state_new(base, &source_ops, of, ret_err);
    uint64_t numbers[2] = {htobe64(of->generation), htobe64(of->size)};

    if (!state)
        return NULL;
    state->seed = vst_test_seed(of);
    memcpy(state->prologue, magic, sizeof(magic));
    memcpy(state->prologue + sizeof(magic), numbers, sizeof(numbers));
    return &state->ch;
}

struct vst_channel *vst_test_state_sink(struct event_base *base, const struct vst_test_identity *of,
                                        uint64_t most, struct vst_error *ret_err)
{
    struct state *state = state_new(base, &sink_ops, of, ret_err);

    if (!state)
        return NULL;
    state->most = most;
    return &state->ch;
}

const struct vst_test_identity *vst_test_state_identity(const struct vst_channel *sink)
{
    return &((const struct state *)sink)->of;
}
