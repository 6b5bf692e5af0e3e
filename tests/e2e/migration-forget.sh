#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A source that is lost for good, with its host, at a step of the hand-over: what the destination keeps
# for it can be forgotten by people, but not before it is known there what becomes of the guest. A
# whole copy of that is kept until people have said so.
. "$(dirname "$0")/trouble.sh"

need_guests
from=a to=b

has_reached()
{
    look_at a
    look_at b
    [ -n "${reached[$1]-}" ]
}

# lose_source_at STATE: its daemon and its QEMU, with everything that they knew
lose_source_at()
{
    launch a g F 8 || return
    forget_states
    tell_gates hold "$1"
    begin_moving
    wait_until 60 has_reached "$1" || return
    kill_source
    kill_source_qemu
    tell_gates go "$1"
    wait "${daemon_pid[a]}" "$moving" 2>/dev/null
    rm -rf "$work/a/root"
    [ "$(token | wc -w)" = 1 ]
}

# Of the only one that is not over.
token()
{
    on b migrations | awk '$3 == "in" && $4 != "over" { print $1 }'
}

is_in_clean_up()
{
    on b migrations | grep -q "$(token).* clean-up "
}

forget()
{
    on b migration forget --other-host-is-lost "$(token)"
}

is_forgotten()
{
    wait_until 30 is_in_clean_up && contains "is forgotten" forget && [ -z "$(token)" ] && wait_until 30 over_on b &&
        refuses 6 "is over" on b migration forget --other-host-is-lost "$(on b migrations -q | tail -n 1)"
}

# What is over is not remembered by another daemon.
stays_forgotten()
{
    kill_host b TERM
    begin_again b
    wait_until 20 on b list -q && [ -z "$(on b migrations -q)" ]
}

guest_that_runs_there()
{
    lose_source_at SOURCE_CLOSING && is_forgotten && stays_forgotten && [ "$(state_on b g)" = running ] &&
        goes_on g && finish b g
}

restarts_and_waits()
{
    signal KILL "${daemon_pid[b]}"
    begin_again b
    wait_until 20 on b list -q && wait_until 30 waits_on_destination
}

say_that_it_runs_there()
{
    on b migration resolve --guest-runs-on=destination "$(token)"
}

# The word is refused while the destination has a copy and waits for the source, however long, and
# taken when people have said that this is the guest.
guest_whose_last_copy_is_there()
{
    lose_source_at SOURCE_HANDING && restarts_and_waits && nap "$long_doubt" && waits_on_destination &&
        refuses 6 "not known yet" forget && say_that_it_runs_there && is_forgotten && stays_forgotten &&
        [ "$(state_on b g)" = running ] && goes_on g && gapless && finish b g
}

as_transfer()
{
    local own=$pki/localhost
    virstream -c "$(uri_of b)?ca=$own/cacert.pem&cert=$own/servercert.pem&key=$own/serverkey.pem" "$@"
}

is_not_for_everybody()
{
    lose_source_at SOURCE_CLOSING && wait_until 30 is_in_clean_up &&
        refuses 4 "lost for good needs the role admin" as_transfer migration forget --other-host-is-lost "$(token)" &&
        is_forgotten && finish b g
}

begins_anew()
{
    signal KILL "${daemon_pid[a]}"
    begin_again a
    wait_until 20 on a list -q
}

check two_hosts_begin  begin_lane
check answer_for_a_lost_source_is_forgotten_and_the_guest_runs_on  guest_that_runs_there
check source_begins_anew  begins_anew
check only_admin_says_that_it_is_lost  is_not_for_everybody
check source_begins_once_more  begins_anew
check last_copy_is_kept_until_people_let_it_run  guest_whose_last_copy_is_there

nothing_left()
{
    begins_anew && end_lane && wait_until 10 no_process_left
}

check nothing_is_left  nothing_left
end_tests
