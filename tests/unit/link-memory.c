/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way to a destination that only a client reaches, when memory runs out: nothing is left that
 * would call somebody who has got nothing.
 */
#include <event2/event.h>

#include "drivers/qemu/guest.h"
#include "drivers/qemu/link.h"
#include "drivers/qemu/relay.h"
#include "shortage.h"

static void down(void *opaque, const struct vst_error *err)
{
    (void)opaque, (void)err;
}

static void link_that_cannot_be_made_leaves_nobody_to_be_called(void **state)
{
    const struct vst_link_relay of = {"00000000-0000-4000-8000-000000000001", "carol", true};
    const struct vst_link_cb cb = {.down = down};
    struct vst_conn conn = {.base = event_base_new()};
    struct vst_qemu qemu = {.conn = &conn};
    struct vst_link *link = NULL;
    long after = 0;

    (void)state;
    LIST_INIT(&qemu.relays);
    shortage_make_room(conn.base);
    for (;; after++) {
        struct vst_error err = {0};

        shortage_begin(after);
        link = vst_link_new_relay(&qemu, &of, &cb, &err);
        if (!shortage_end())
            break;
        assert_null(link);
        assert_int_equal(err.code, VST_ERR_NO_MEMORY);
        assert_true(LIST_EMPTY(&qemu.relays));
    }
    assert_true(after >= 2);
    assert_non_null(link);
    vst_link_free(&link);
    vst_relays_close(&qemu);
    event_base_free(conn.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(link_that_cannot_be_made_leaves_nobody_to_be_called),
    };

    shortage_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
