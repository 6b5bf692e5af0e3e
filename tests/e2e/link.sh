# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# On top of hosts.sh: one link from host `a` to the daemon of `b`, through a relay that misbehaves as
# told. `link` is its URI, and `relay` the process.

link=
relay=

# make_link OPTION...: of the relay
make_link()
{
    mkfifo "$work/words" || return
    exec 8<>"$work/words"
    "$VIRSTREAM_BUILD/tests/e2e/relay" 0 "${port[b]}" "$@" <"$work/words" >"$work/link" &
    relay=$!
    wait_until 10 grep -q . "$work/link" && link=qemu+tls://localhost:$(head -n 1 "$work/link")/
}

# tell_link WORD: see relay.c
tell_link()
{
    echo "$1" >&8
}
