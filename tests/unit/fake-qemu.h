/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QEMU without a machine, for tests of what the qemu driver does when QEMU misbehaves: a process
 * with QEMU's command line, which greets, obeys, migrates out and in, and says so. It listens, or
 * answers a probe, on descriptor 3, as the driver arranges it.
 *
 * Left alone it behaves. With "-misbehave COMMAND=HOW" among its arguments, up to four times, it
 * does so when this command comes from the client that connected first, or, with "COMMAND#N=HOW",
 * when it comes for the N-th time; every later client it serves well. "in:" before it is for a QEMU
 * that is to take a state in, and for no other. COMMAND may be "greeting". HOW is one of
 *
 *     silence    nothing is said any more            refuse     an error
 *     garbage    a line that is not JSON             nonsense   a value of the wrong type
 *     flood      64 MiB without an end of line       wrong-id   a reply to something else
 *     half       half a reply, then hangs up         no-id      a reply without an id
 *     hang-up    closes the monitor, lives on        twice      two replies
 *     die        ends without a reply                greeting   greets again before the reply
 *     early      events of a migration, before the reply; completed, unless it takes in
 *
 * and of `migrate` and `migrate-incoming` also
 *
 *     mute       moves the state without an event    failed     says so, with a reason, and stays
 *     idle       says completed, and moves nothing   cut        closes the socket, and says nothing
 *     stall      moves a part, then no more          endless    the same, and cannot be cancelled,
 *                                                               nor does a broken socket end it
 *
 * and of `migrate` also
 *
 *     restless   passes over the guest's memory again and again, which changes faster than it is
 *                sent, until the guest is stopped; then it waits for the switch
 */
#ifndef VST_TESTS_UNIT_FAKE_QEMU_H
#define VST_TESTS_UNIT_FAKE_QEMU_H

#include "host.h"

/* How long a restless guest that was stopped takes to come to the switch. */
enum { VST_FAKE_CALM_MS = 300 };

/* Whether this process was started as QEMU. */
bool vst_fake_qemu_is_meant(char **argv);
/* Does not return. */
__attribute__((noreturn)) void vst_fake_qemu(char **argv);

/* This program, under QEMU's name, comes first in PATH: see vst_host_make_with(). */
void vst_fake_qemu_put_in_path(const struct vst_host *host);

#endif
