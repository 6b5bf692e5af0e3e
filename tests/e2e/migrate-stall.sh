#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A migration that stands still, and who is to blame: the destination's QEMU, the link, or the QEMU
# here. Each is told from the others, and the guest goes on where it was; or, in post-copy, when
# whoever stands still goes on.
. "$(dirname "$0")/hosts.sh"
. "$(dirname "$0")/link.sh"

need_guests
name=g # for hosts.sh

moves_memory()
{
    on a --json migrations | grep -q '"phase":"memory".*"over":false.*"sent":[1-9]'
}

begin_moving()
{
    launch a g F 96 || return
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --stall 3 --bandwidth 24M g \
        "$link" >"$work/said" 2>&1 &
    moving=$!
    wait_until 20 moves_memory
}

# blames TEXT: so the command ends, by its time being over, and the guest goes on
blames()
{
    local status=0
    wait "$moving" || status=$?
    cat "$work/said"
    [ "$status" = 7 ] && grep -q "no progress for [3-9] seconds: $1" "$work/said" &&
        [ "$(state_on a g)" = running ] && goes_on g
}

is_gone_from_b()
{
    [ "$(state_on b g)" = none ]
}

destination_stands_still()
{
    local pid
    begin_moving && pid=$(qemu_of b) && kill -STOP "$pid" &&
        blames "the destination answers, but takes nothing" && wait_until 20 is_gone_from_b &&
        on a destroy -q g
}

link_stands_still()
{
    begin_moving && tell_link hold &&
        blames "the link takes nothing, and the destination does not answer"
    local status=$?
    tell_link go
    [ "$status" = 0 ] && wait_until 20 is_gone_from_b && on a destroy -q g
}

source_stands_still()
{
    local pid
    begin_moving && pid=$(qemu_of a) && kill -STOP "$pid" && wait_until 20 is_given_up_on_a &&
        kill -CONT "$pid" && blames "QEMU here does not answer" &&
        wait_until 20 is_gone_from_b && on a destroy -q g
}

# The guest is paused, and what it had changed meanwhile takes longer to arrive than anybody waits
# who sees nothing move: QEMU here sends that as fast as the link takes it.
slow_end()
{
    kill "$relay" && rm "$work/words" "$work/link" && make_link --rate 1000000 || return
    patience=5
    kill_host a TERM
    configure_host a && begin_host a && launch a g D 12 && on a migrate -q g "$link" &&
        [ "$(state_on b g)" = running ] && goes_on g && finish b g
}

is_given_up_on_a()
{
    on a migrations | grep -q 'QEMU here does not answer'
}

# ---- in post-copy, where there is no way back ----

lacks_memory()
{
    on a migrations | grep -q " g .* post-copy " && on b migrations | grep -q " g .* post-copy "
}

begin_post_copy()
{
    launch a g F 192 || return
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --stall 3 --bandwidth 6M --downtime 1 \
        --post-copy g "$link" >"$work/said" 2>&1 &
    moving=$!
    wait_until 60 moves_memory && on a migration post-copy -q g && wait_until 60 lacks_memory
}

tells()
{
    on a migrations | grep -q "of its memory stand still here.*no progress for $1 seconds: $2"
}

# is_blamed TEXT: and for as long as it lasts
is_blamed()
{
    wait_until 30 tells "[3-5]" "$1" && wait_until 30 tells "[6-9]" "$1" && return
    on a migrations
    return 1
}

hurry()
{
    on a migration set -q --bandwidth 2G g
}

has_moved()
{
    wait_until 60 hurry && wait "$moving" && [ "$(state_on a g) $(state_on b g)" = "none running" ] &&
        goes_on g && on b destroy -q g && return
    cat "$work/said"
    on a migrations
    return 1
}

# stops PID TEXT: which is told, until it goes on
stops()
{
    local status=0
    kill -STOP "$1" && is_blamed "$2" || status=1
    kill -CONT "$1"
    [ "$status" = 0 ] && has_moved
}

destination_stands_still_in_post_copy()
{
    begin_post_copy && stops "$(qemu_of b)" "the destination answers, but takes nothing: its QEMU"
}

daemon_stands_still_in_post_copy()
{
    begin_post_copy && stops "${daemon_pid[b]}" "the link takes nothing, and the destination does not answer"
}

source_stands_still_in_post_copy()
{
    begin_post_copy && stops "$(qemu_of a)" "QEMU here does not answer"
}

link_stands_still_in_post_copy()
{
    local status=0
    begin_post_copy && tell_link hold && is_blamed "the link takes nothing, and the destination does not answer" ||
        status=1
    tell_link go
    [ "$status" = 0 ] && has_moved
}

check two_hosts_and_a_link_begin  eval 'make_hosts && make_link'
check destination_that_stands_still_is_told  destination_stands_still
check link_that_stands_still_is_told  link_stands_still
check source_that_stands_still_is_told  source_stands_still
check destination_that_stands_still_in_post_copy_is_told_and_goes_on  destination_stands_still_in_post_copy
check daemon_that_stands_still_in_post_copy_is_told_and_goes_on  daemon_stands_still_in_post_copy
check link_that_stands_still_in_post_copy_is_told_and_goes_on  link_stands_still_in_post_copy
check source_that_stands_still_in_post_copy_is_told_and_goes_on  source_stands_still_in_post_copy
check slow_link_after_the_pause_is_no_stall  slow_end
kill_host a TERM
kill_host b TERM
kill "$relay"
check nothing_is_left  wait_until 20 no_process_left
end_tests
