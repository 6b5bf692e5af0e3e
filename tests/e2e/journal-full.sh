#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A disk that takes nothing more of a journal for a while, when a migration ends: what could not be
# written is written as soon as it can be, and a restart before that does nothing to a guest that is
# its user's again. The disk is full for one daemon only: no file of it may grow.
. "$(dirname "$0")/trouble.sh"

need_guests
from=a to=b
patience=3
trap '' XFSZ # a write that would go too far fails, and that is all

# fill_disk HOST [SIZE], free_disk HOST: less than two records find room, or, with 1, none. A daemon
# that begins has room again.
fill_disk()
{
    prlimit --pid "${daemon_pid[$1]}" --fsize="${2-1500}":
}

free_disk()
{
    prlimit --pid "${daemon_pid[$1]}" --fsize=unlimited:
}

has_reached()
{
    look_at a
    look_at b
    [ -n "${reached[$1]-}" ]
}

# begin_moving_to STATE: which is held
begin_moving_to()
{
    clear_hosts
    launch a g F 8 || return
    forget_states
    tell_gates hold "$1"
    begin_moving
    wait_until 60 has_reached "$1"
}

# meet_full_disk HOST STATE: the disk of that host is full from there on
meet_full_disk()
{
    begin_moving_to "$2" && fill_disk "$1" && tell_gates go "$2"
}

# comes: and the destination cannot write that it has
comes()
{
    meet_full_disk b DESTINATION_RESUMING && wait "$moving" && [ "$(state_on a g) $(state_on b g)" = "none running" ] &&
        wait_until 20 has_reached DESTINATION_ENDING && is_not_told
}

# The source does not forget what the destination could not write.
is_not_told()
{
    ! over_on b && ! over_on a && [ -z "${reached[SOURCE_DONE]-}" ] &&
        contains "its end is still to be written, and is tried again: the journal" on b migrations
}

# reaches STATE
reaches()
{
    wait_until 60 has_reached "$1"
}

# All of the guest is there, which cannot be written: it need not stand still for long.
is_not_kept()
{
    begin_moving_to DESTINATION_LOADING && fill_disk b 1 && tell_gates go DESTINATION_LOADING || return
    ! wait "$moving" && grep -q "the journal" "$work/said" && ! grep -q "in time" "$work/said" || {
        cat "$work/said"
        return 1
    }
    [ "$(state_on a g)" = running ] && goes_on g && free_disk b && wait_until 60 settled && gapless && finish a g
}

is_there_paused()
{
    [ "$(state_on b g)" = paused ]
}

# Whether the guest runs there the daemon asks QEMU, which is deaf, after a restart. Then people say
# that it is the source's, and only then QEMU answers that it runs. It is to be ended, and cannot be
# before that is written, but runs no longer. (It has run on both sides by then, and counted so.)
late_answer()
{
    begin_moving_to DESTINATION_RESUMING && fill_disk b 1 && lose_link && tell_gates go DESTINATION_RESUMING &&
        reaches DESTINATION_STARTED && stop_destination_qemu && restart b && fill_disk b 1 &&
        reaches DESTINATION_ADOPTING && reaches SOURCE_DOUBT || return
    on a migration resolve -q --guest-runs-on=source g && reaches SOURCE_TELLING && lose_link_ends &&
        reaches DESTINATION_ABORTING && stop_destination_qemu_ends && wait_until 20 is_there_paused || return
    free_disk b && wait_until 60 settled && [ "$(state_on a g) $(state_on b g)" = "running none" ] && goes_on g &&
        on a destroy -q g
}

# lines TEXT: in the log of b
lines()
{
    grep -c -- "$1" "$work/b/log"
}

# more_lines TEXT COUNT
more_lines()
{
    [ "$(lines "$1")" -gt "$2" ]
}

# A daemon asks again what its QEMU has not answered. Two answers are no more than one.
two_answers()
{
    local again="DESTINATION_ADOPTING -> DESTINATION_ADOPTING" ready
    clear_hosts
    launch a g F 64 || return
    forget_states
    tell_gates hold DESTINATION_RESUMING
    "$top/run" virstream -c "qemu+unix://$work/a/socket" migrate -q --bandwidth 6M --post-copy g \
        "${link[a]}" >"$work/said" 2>&1 &
    moving=$!
    reaches SOURCE_MOVING && wait_until 60 on a migration post-copy -q g && reaches DESTINATION_RESUMING &&
        fill_disk b 1 && tell_gates go DESTINATION_RESUMING && reaches DESTINATION_RESUMED || return
    kill_host b
    ready=$(lines "-> GUEST_READY")
    tell_gates hold GUEST_READY
    begin_again b
    wait_until 60 more_lines "-> GUEST_READY" "$ready" && stop_destination_qemu || return
    tell_gates go GUEST_READY
    wait_until 60 more_lines "$again" 1 && stop_destination_qemu_ends && reaches DESTINATION_LACKING &&
        wait_until 60 hurry && wait_until 60 settled &&
        [ "$(state_on a g) $(state_on b g)" = "none running" ] && goes_on g && gapless && finish b g
}

hurry()
{
    on a migration set -q --bandwidth 1G g
}

# stays: and the source can write neither that it moved nor that it does not
stays()
{
    meet_full_disk a SOURCE_MOVING && ! wait "$moving" && wait_until 20 has_reached SOURCE_TELLING &&
        [ "$(state_on a g) $(state_on b g)" = "running none" ] && ! over_on a
}

restart()
{
    kill_host "$1"
    begin_again "$1"
    wait_until 20 on "$1" list -q
}

is_paused()
{
    [ "$(state_on "$1" g)" = paused ]
}

# goes_on_at HOST: it was paused by its user, and is only resumed by its user
goes_on_at()
{
    wait_until 60 settled && is_paused "$1" && on "$1" resume -q g && goes_on g && finish "$1" g
}

room_mends_the_journal()
{
    comes && free_disk b && wait_until 60 settled && on b suspend -q g && restart b && goes_on_at b
}

paused_where_it_came()
{
    comes && on b suspend -q g && restart b && goes_on_at b
}

# Its name is free: the source, which still asks, says that it was not lost.
ended_where_it_came()
{
    comes && on b destroy -q g && restart b && wait_until 60 settled && launch b g F 8 && on b destroy -q g
}

# Neither does the destination, whatever else it is asked while nobody waits for its answer.
lets_nothing_be_forgotten()
{
    local times
    comes && kill_source || return
    for times in {1..10}; do
        ! on b migrate --check g "${link[b]}" >"$work/said" 2>&1 && ! over_on b || return
    done
    begin_again a
    free_disk b && wait_until 60 settled && finish b g
}

paused_where_it_stayed()
{
    stays && on a suspend -q g && restart a && goes_on_at a
}

# Its journal cannot say that a guest is to come: so none does, and the source hears why.
nothing_comes()
{
    clear_hosts
    launch a g F 8 && fill_disk b && refuses 1 "the journal" on a migrate -q g "${link[a]}" &&
        [ "$(state_on a g)" = running ] && free_disk b && wait_until 60 settled && goes_on g && finish a g
}

# Nor that it is the destination's: the source is in doubt, and says what that waits for.
doubt_names_the_journal()
{
    meet_full_disk b DESTINATION_COMMITTING && wait_until 60 is_told_of_the_journal && free_disk b &&
        wait_until 60 settled && [ "$(state_on a g) $(state_on b g)" = "none running" ] && goes_on g && finish b g
}

is_told_of_the_journal()
{
    contains "the journal" on a migrations >/dev/null
}

check two_hosts_begin  begin_lane
check guest_does_not_come_where_the_journal_is_full  nothing_comes
check doubt_says_that_it_waits_for_a_journal  doubt_names_the_journal
check what_a_full_disk_did_not_take_is_written_when_there_is_room  room_mends_the_journal
check guest_that_came_and_was_paused_stays_paused_after_a_restart  paused_where_it_came
check guest_that_came_and_was_ended_is_not_held_after_a_restart  ended_where_it_came
check end_that_is_not_written_yet_is_not_forgotten  lets_nothing_be_forgotten
check guest_that_stayed_and_was_paused_stays_paused_after_a_restart  paused_where_it_stayed
check copy_that_cannot_be_kept_is_given_up_at_once  is_not_kept
check guest_whose_qemu_answers_twice_runs_on  two_answers
check guest_that_is_taken_back_while_its_qemu_is_asked_runs_on_one_host  late_answer

nothing_left()
{
    end_lane && wait_until 10 no_process_left
}

check nothing_is_left  nothing_left
end_tests
