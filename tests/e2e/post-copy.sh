#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Post-copy between two daemons: guests that dirty their memory faster than it is sent run on the
# destination while that memory is still at the source; streams that break in it, before the guest
# runs there and after; and what becomes of a guest whose memory is lost. What may follow what is
# told by tests/unit/handover-sim.
. "$(dirname "$0")/hosts.sh"
. "$(dirname "$0")/link.sh"

need_guests
moving=
number=0

# begin_moving MODE MIB OPTION...: at a rate at which it would take for long. What a guest touches
# in post-copy is not held to that rate: in mode D it soon has all, in mode F after some seconds.
begin_moving()
{
    number=$((number + 1))
    name=g$number
    tell_link accept && tell_link go
    launch a "$name" "$1" "$2" || return
    shift 2
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --bandwidth 6M --downtime 1 \
        "$@" "$name" "$link" >"$work/said" 2>&1 &
    moving=$!
}

# states_are STATES: of the guest on `a`, and on `b`
states_are()
{
    local states
    states="$(state_on a "$name") $(state_on b "$name")"
    [ "$states" = "$1" ] || {
        echo "$states, not $1"
        cat "$work/said"
        return 1
    }
}

# says TEXT: who asked for the migration was told this
says()
{
    grep -q "$1" "$work/said" || {
        cat "$work/said"
        return 1
    }
}

# The guest runs there, counts, and lacks memory.
runs_in_post_copy()
{
    wait_until 60 is_in_phase a post-copy && wait_until 60 is_in_phase b post-copy &&
        [ "$(state_on b "$name")" = running ] && goes_on "$name" && is_in_phase a post-copy
}

go_post_copy()
{
    begin_moving F 192 --post-copy && wait_until 60 is_in_phase a memory &&
        on a migration post-copy -q "$name" && runs_in_post_copy
}

was_post_copy()
{
    on a migrations --json | grep -q '"verdict": *"post-copy'
}

hurry()
{
    on a migration set -q --bandwidth 2G "$name"
}

has_moved()
{
    wait "$moving" || {
        cat "$work/said"
        on a migrations
        on b migrations
        return 1
    }
    states_are "none running" && goes_on "$name" && finish b "$name"
}

# ---- into post-copy ----

after_passes()
{
    begin_moving D 64 --post-copy-after 1 && has_moved && was_post_copy
}

after_time()
{
    begin_moving F 192 --post-copy --timeout 2 --then post-copy && runs_in_post_copy && hurry && has_moved
}

by_order()
{
    go_post_copy && hurry && has_moved && was_post_copy
}

# Nobody says that it runs, here or there.
by_order_paused()
{
    begin_moving F 192 --post-copy && wait_until 60 is_in_phase a memory && on a migration cancel -q "$name" &&
        ! wait "$moving" && on a suspend -q "$name" || return
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --bandwidth 6M --downtime 1 --post-copy \
        "$name" "$link" >"$work/said" 2>&1 &
    moving=$!
    wait_until 60 is_in_phase a memory &&
        contains "tells when the guest is the destination's" on a migration post-copy "$name" &&
        wait_until 60 contains "post-copy: the guest is paused there" on a migrations && hurry &&
        wait "$moving" && states_are "none paused" && on b resume -q "$name" && goes_on "$name" && finish b "$name"
}

order_without_leave()
{
    begin_moving F 64 --timeout 60 && wait_until 60 is_in_phase a memory &&
        refuses 6 "not allowed when it began" on a migration post-copy "$name" &&
        on a migration cancel -q "$name" && ! wait "$moving" && goes_on "$name" && finish a "$name"
}

check two_hosts_begin  make_hosts
check link_between_them_begins  make_link
check guest_runs_there_after_a_pass  after_passes
check guest_runs_there_when_the_time_is_over  after_time
check guest_runs_there_at_a_word  by_order
check paused_guest_is_told_to_be_paused_there  by_order_paused
check post_copy_has_to_be_allowed_at_the_beginning  order_without_leave

# ---- the stream breaks when the guest runs there ----

link_is_cut()
{
    go_post_copy && tell_link cut &&
        runs_in_post_copy && hurry && has_moved
}

is_told_apart()
{
    contains "$1" on a migrations
}

link_is_away()
{
    go_post_copy && tell_link refuse && tell_link cut &&
        wait_until 60 is_told_apart "cannot follow until" && is_in_phase a post-copy &&
        refuses 6 "cannot be cancelled" on a migration cancel "$name" && tell_link accept && hurry_when_there &&
        has_moved
}

# The rate can be set when a stream is there again.
hurry_when_there()
{
    wait_until 60 hurry
}

daemons_die()
{
    go_post_copy || return
    kill_host a KILL
    kill_host b KILL
    begin_host b && begin_host a && hurry_when_there && comes_to_an_end &&
        states_are "none running" && goes_on "$name" && finish b "$name"
}

check link_that_is_cut_is_made_again  link_is_cut
check link_that_is_away_is_waited_for  link_is_away
check daemons_that_were_killed_go_on  daemons_die

# ---- it breaks before: the guest is still the source's ----

# The destination's words are held back, so that the source gets as far as the switch, and waits.
switch_without_answer()
{
    begin_moving F 32 --post-copy && wait_until 60 is_in_phase a memory && tell_link "hold down" &&
        on a migration post-copy -q "$name" && wait_until 60 is_in_phase a hand-over
}

is_here_again()
{
    wait_until 60 is_running_on a && goes_on "$name" && wait_until 60 is_gone_from b && finish a "$name"
}

is_running_on()
{
    [ "$(state_on "$1" "$name")" = running ]
}

is_gone_from()
{
    [ "$(state_on "$1" "$name")" = none ]
}

cut_at_the_switch()
{
    switch_without_answer && tell_link cut && tell_link go && ! wait "$moving" && is_here_again
}

# QEMU has lost its stream, then, and would wait for another.
source_dies_at_the_switch()
{
    switch_without_answer || return
    kill_host a KILL
    tell_link cut && tell_link go && begin_host a && is_here_again
}

check link_cut_at_the_switch_leaves_the_guest_here  cut_at_the_switch
check source_killed_at_the_switch_leaves_the_guest_here  source_dies_at_the_switch

# ---- memory is lost ----

destination_dies()
{
    go_post_copy && kill -KILL "$(qemu_of b)" || return
    exits 10 wait "$moving" && says "died there, before it had all of its memory" &&
        comes_to_an_end && states_are "none crashed" &&
        contains "died there" on b migrations && on b destroy -q "$name" && continued "$work/$name.log"
}

source_dies()
{
    go_post_copy && kill -KILL "$(qemu_of a)" || return
    exits 10 wait "$moving" && says "will not get the rest of its memory" &&
        comes_to_an_end && contains "cut off for good" on b info "$name" &&
        on b destroy -q "$name" && states_are "none none"
}

check destination_that_dies_is_told_as_what_it_is  destination_dies
check source_that_dies_is_told_as_what_it_is  source_dies

# ---- a host that has no post-copy ----

not_possible()
{
    name=other
    launch a "$name" && sed -i '/^root/a user = nobody' "$work/b/conf" && kill_host b TERM &&
        chmod 711 "$work" && begin_host b &&
        refuses 11 "post-copy is not possible on this host" on a migrate --check --post-copy "$name" "$link" &&
        refuses 11 "userfaultfd" on a migrate -q --post-copy "$name" "$link" && goes_on "$name" && finish a "$name"
}

if [ "$(id -u)" != 0 ]; then
    skip host_without_userfaultfd_is_refused "not root"
elif [ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null)" = 1 ]; then
    skip host_without_userfaultfd_is_refused "vm.unprivileged_userfaultfd is 1"
else
    check host_without_userfaultfd_is_refused  not_possible
fi
end_tests
