#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A guest in post-copy whose stream is made again and breaks off before the two QEMUs have told each
# other how far they are, again and again. A QEMU older than 8.2 that sees the end of its stream then
# is lost, and the guest with it: drivers/qemu/handshake.h. Other breaks are in post-copy.sh.
. "$(dirname "$0")/hosts.sh"
. "$(dirname "$0")/link.sh"

need_guests
guests=1
cuts=6
if is_long; then
    guests=10
    cuts=25
fi
delay=20 # ms, each way: so the handshake takes longer than it takes to see that it has begun
daemon_options=("--trace=state,qmp")
name=g

phase_is()
{
    [ "$(on "$1" migrations | awk '$2 == "g" && $4 != "over" { print $4 }')" = "$2" ]
}

begin_post_copy()
{
    launch a g F 64 || return
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --post-copy --bandwidth 4M g \
        "$link" >"$work/said" 2>&1 &
    moving=$!
    wait_until 60 phase_is a memory && on a migration post-copy -q g &&
        wait_until 60 phase_is a post-copy && wait_until 60 phase_is b post-copy
}

# Sets `met` when the log of the destination says that its QEMU begins again, or 20 s are over.
await_handshake()
{
    local line until=$((SECONDS + 20))
    while [ $SECONDS -lt $until ]; do
        while read -r line <&7; do
            case $line in *'"postcopy-recover"'*) return 0 ;; esac
        done
        read -r -t 0.002 -u "$never" line
    done
    return 1
}

# Anywhere in the handshake, and a little after it.
cut_in_handshake()
{
    local line
    await_handshake || return
    read -r -t 0.0$((RANDOM % 6))$((RANDOM % 10)) -u "$never" line
    tell_link cut
}

left()
{
    grep -c "handshake g: HANDSHAKE_OPEN -> HANDSHAKE_LEFT" "$work/$1/log"
}

hurry()
{
    on a migration set -q --bandwidth 2G g
}

lose_many_streams()
{
    local i
    exec 7<"$work/b/log"
    tell_link cut
    for ((i = 0; i < cuts; i++)); do
        cut_in_handshake || return
    done
    wait_until 60 hurry
}

one_guest()
{
    begin_post_copy && lose_many_streams && wait "$moving" &&
        [ "$(state_on a g) $(state_on b g)" = "none running" ] && goes_on g && finish b g
}

guests_survive()
{
    local i
    for ((i = 0; i < guests; i++)); do
        one_guest || {
            echo "guest $i: $(state_on a g) $(state_on b g)"
            cat "$work/said"
            on a migrations
            return 1
        }
    done
    echo "# $guests guests, $cuts cuts each: left in the handshake $(left a) times here, $(left b) there" >&3
}

# Otherwise nothing was shown.
handshakes_were_cut()
{
    [ "$(left a)" -gt 0 ] && [ "$(left b)" -gt 0 ]
}

mkfifo "$work/never" && exec {never}<>"$work/never" 3>&1
check two_hosts_begin  make_hosts
check slow_link_between_them_begins  make_link --delay "$delay"
check guests_survive_streams_that_break_off_as_soon_as_they_are_made_again  guests_survive
check streams_broke_off_in_the_handshake_of_both_qemus  handshakes_were_cut
end_tests
