#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A list of guests some of whose QEMUs do not answer: they are told as such, each in its place, and
# the time that they are given is one for all, not one after another.
. "$(dirname "$0")/lib.sh"
need_guests

deaf="g1 g2 g4 g5 g6 g7"

starts()
{
    local name
    for name in g1 g2 g3 g4 g5 g6 g7 g8; do
        define "$name" && virstream start -q "$work/$name.json" || return
    done
}

pid_of()
{
    virstream info "$1" | sed -n 's/^pid: *//p'
}

become_deaf()
{
    local name
    for name in $deaf; do
        pid_of "$name" >"$work/$name.pid" && kill -STOP "$(cat "$work/$name.pid")" || return
    done
}

# What follows looks at this one list.
lists()
{
    virstream --trace=state list >"$work/list" 2>"$work/trace" || cat "$work/trace"
}

names_are_in_order()
{
    [ "$(grep -oE '^g[0-9]+' "$work/list" | paste -sd' ')" = "g1 g2 g3 g4 g5 g6 g7 g8" ] ||
        { cat "$work/list"; return 1; }
}

deaf_are_told()
{
    [ "$(grep 'QEMU does not answer' "$work/list" | grep -oE '^g[0-9]+' | paste -sd' ')" = "$deaf" ] ||
        { cat "$work/list"; return 1; }
}

# The most that were under way at the same time, by their edges.
most_at_once()
{
    awk '/guest g[0-9]+: .* -> GUEST_GREETING/ { if (++now > most) most = now }
        /guest g[0-9]+: .* -> GUEST_GONE/ { now-- }
        END { print most + 0 }' "$work/trace"
}

were_asked_at_once()
{
    [ "$(most_at_once)" = 8 ] || { cat "$work/trace"; return 1; }
}

hear_again()
{
    local name
    for name in $deaf; do
        kill -CONT "$(cat "$work/$name.pid")"
    done
    for name in $deaf; do
        is_state "$name" running && virstream suspend -q "$name" && is_state "$name" paused || return
    done
}

check guests_are_started  starts
check qemus_are_stopped  become_deaf
check list_of_deaf_guests_is_made  lists
check all_guests_are_listed_in_the_order_of_their_names  names_are_in_order
check each_deaf_guest_is_told_as_deaf_and_no_other  deaf_are_told
check all_are_asked_at_the_same_time  were_asked_at_once
check guests_that_were_deaf_are_as_before  hear_again
for name in g1 g2 g3 g4 g5 g6 g7 g8; do
    virstream destroy -q "$name"
done

check nothing_is_left  test -z "$(places)"
check no_process_left  no_process_left
end_tests
