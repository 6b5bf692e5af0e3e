/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source that has no descriptors left: what is told of it, and what the journal keeps.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/journal-codec.h"
#include "restless.h"

static bool none_left;

/* In place of the C library's. */
int socketpair(int domain, int type, int protocol, int ret_fds[2])
{
    if (!none_left)
        return (int)syscall(SYS_socketpair, domain, type, protocol, ret_fds);
    none_left = false;
    errno = EMFILE;
    return -1;
}

static void hear_edge(void *opaque, const char *machine, const char *to)
{
    (void)opaque, (void)machine;
    none_left |= strncmp(to, "DEPARTURE_PASSING", strlen("DEPARTURE_PASSING")) == 0;
}

static int begin(void **state)
{
    (void)state;
    restless_begin("", "");
    return 0;
}

/* By the record of its guest's return. */
static enum vst_handover_event cause_in_journal(void)
{
    enum vst_handover_event cause = VST_HANDOVER_NONE;
    unsigned char bytes[64 * VST_JOURNAL_RECORD];
    struct vst_journal journal = {0};
    char path[100];
    size_t length, good;
    FILE *file;

    snprintf(path, sizeof(path), "%s/root/.state/journal", source.dir);
    file = fopen(path, "rb");
    assert_non_null(file);
    length = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    for (size_t at = VST_JOURNAL_RECORD; at <= length && !cause; at += VST_JOURNAL_RECORD) {
        assert_int_equal(vst_journal_replay(bytes, at, &journal, &good, NULL), 0);
        for (size_t i = 0; i < journal.count; i++)
            if (journal.entries[i].last == VST_HANDOVER_RECORD_RETURNED)
                cause = journal.entries[i].cause;
        vst_journal_clear(&journal);
    }
    return cause;
}

static void want_of_descriptors_is_no_lost_connection(void **state)
{
    (void)state;
    source.edge = hear_edge;
    restless_move(NULL);
    restless_await();
    source.edge = NULL;
    assert_int_equal(outcome.err.code, VST_ERR_SYSTEM);
    assert_int_equal(outcome.err.system, EMFILE);
    assert_true(far_runs(source.conn, "g"));
    assert_false(far_runs(destination, "g"));
    assert_int_equal(cause_in_journal(), VST_HANDOVER_QEMU_FAILED);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(want_of_descriptors_is_no_lost_connection, begin, restless_end),
    };

    (void)argc;
    if (vst_fake_qemu_is_meant(argv))
        vst_fake_qemu(argv);
    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
