#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A source that loses its journal while it is in doubt, and the guest runs at the destination: the copy
# that it has is a stray, which nobody runs by accident, and of which people say what is true.
. "$(dirname "$0")/trouble.sh"

need_guests
from=a to=b
patience=30

has_reached()
{
    look_at a
    look_at b
    [ -n "${reached[$1]-}" ]
}

# lose_journal: and the guest runs at the destination, which cannot say so
lose_journal()
{
    launch a g F 8 || return
    forget_states
    tell_gates hold DESTINATION_RESUMING
    begin_moving
    wait_until 60 has_reached DESTINATION_RESUMING && tell_link "hold down" &&
        tell_gates go DESTINATION_RESUMING && wait_until 20 has_reached DESTINATION_STARTED || return
    kill_source
    find "$work/a" -name journal -delete
    begin_again a
    wait_until 20 on a list -q && is_stray
}

is_stray()
{
    [ "$(state_on a g) $(state_on b g)" = "paused running" ] && goes_on g &&
        contains "does not know (virstream migrations)" on a info g &&
        contains "virstream migration resolve --guest-runs-on=source|destination $(on a migrations -q)" on a migrations
}

is_refused()
{
    refuses 13 "may run there" on a resume g && refuses 13 "may run there" on a save -q g "$work/image" &&
        exits 6 on a start -q "$work/g.json" && is_stray
}

stays_after_a_restart()
{
    kill_source
    begin_again a
    wait_until 20 on a list -q && is_stray && is_refused
}

runs_there()
{
    contains "by your word" on a migration resolve --guest-runs-on=destination "$(on a migrations -q)" &&
        [ "$(state_on a g)" = none ] && [ -z "$(on a migrations -q)" ] && [ "$(state_on b g)" = running ] &&
        goes_on g && finish b g
}

# What people say is believed, and here they have ended the other one.
runs_here()
{
    tell_link go
    lose_journal && on b destroy -q g &&
        contains "by your word" on a migration resolve --guest-runs-on=source "$(on a migrations -q)" &&
        [ "$(state_on a g)" = running ] && goes_on g && [ -z "$(on a migrations -q)" ] && on a destroy -q g
}

check two_hosts_begin  begin_lane
check copy_of_a_source_without_its_journal_is_a_stray  lose_journal
check stray_is_not_run_by_accident  is_refused
check stray_is_one_after_a_restart  stays_after_a_restart
check stray_is_ended_when_people_say_that_it_runs_there  runs_there
check stray_runs_when_people_say_that_it_runs_here  runs_here

nothing_left()
{
    tell_link go
    end_lane && wait_until 10 no_process_left
}

check nothing_is_left  nothing_left
end_tests
