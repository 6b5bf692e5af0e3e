/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Serves two guests whose migrations are made up (tests/unit/mover.h) on a UNIX socket, whose path
 * it prints, until SIGTERM.
 */
#include <signal.h>
#include <stdio.h>

#include "tests/unit/mover.h"
#include "tests/unit/served.h"

enum { STEP_MS = 200 };

static struct served served;
static struct mover mover;

static void term(evutil_socket_t number, short what, void *opaque)
{
    (void)number, (void)what;
    event_base_loopbreak(opaque);
}

int main(void)
{
    struct event *terminated;

    served_start(&served, "test:///?domains=2&memory=64K", VST_ROLE_ADMIN, NULL);
    mover_begin(&mover, served.conn, STEP_MS);
    terminated = evsignal_new(served.base, SIGTERM, term, served.base);
    event_add(terminated, NULL);
    puts(served.path);
    fflush(stdout);
    event_base_dispatch(served.base);
    event_free(terminated);
    mover_end(&mover);
    served_stop(&served);
    return 0;
}
