#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A guest that is saved and restored at the same time, under one name: the new one waits for the
# name until nothing is left of the old one. Whoever of the two fails or dies, one guest is left,
# and no more than that; but of a restore that has been given everything, when it is killed.
. "$(dirname "$0")/lib.sh"
need_guests

mkfifo "$work/pipe" "$work/slow"

# One test is not to spoil the next.
fresh()
{
    exec 7<&-
    virstream destroy -q g1 2>/dev/null
    start "$@"
}

through_a_pipe()
{
    fresh g1 F 64 && (set -o pipefail && virstream save -q g1 - | virstream restore -q -) &&
        is_state g1 running && goes_on g1 && alone && virstream destroy -q g1 &&
        continued --min 3 "$work/g1.log"
}

# One guest, and one QEMU.
alone()
{
    [ "$(places)" = g1 ] && [ "$(processes | grep -c qemu-system)" = 1 ]
}

lives_on()
{
    wait_until 10 is_state g1 running && goes_on g1 && wait_until 10 alone &&
        virstream destroy -q g1 && continued "$work/g1.log"
}

# ends STATUS PID: it is, or will be, the exit status of this child
ends()
{
    local status=0
    wait "$2" || status=$?
    [ "$status" = "$1" ] && return
    echo "exit status $status, not $1"
    return 1
}

# ---- in the middle ----

# From $saver to $restorer, slowly, and in the middle of it.
start_pipe()
{
    fresh g1 F 64 || return
    "$top/run" virstream save -q --rate 16M g1 - >"$work/pipe" &
    saver=$!
    "$top/run" virstream restore -q - <"$work/pipe" 2>"$work/said" &
    restorer=$!
    wait_until 10 test -e "$root/.making-g1/monitor" && [ "$(guests)" = g1 ]
}

cancelled()
{
    start_pipe && kill -INT "$saver" && ends 8 "$saver" && ! wait "$restorer" && lives_on
}

saver_killed()
{
    start_pipe && kill -KILL "$saver" && ! wait "$restorer" && lives_on
}

restorer_killed()
{
    start_pipe && kill -KILL "$restorer" && ! wait "$saver" && lives_on
}

both_killed()
{
    start_pipe && kill -KILL "$saver" "$restorer" && lives_on
}

# ---- at the end: the one has everything, the other still has the name ----

# $restorer waits for the name that $saver does not give up before end_save().
start_wait()
{
    fresh g1 F 16 && virstream save -q --keep-running g1 "$work/image" || return
    "$top/run" virstream save -q g1 - >"$work/slow" &
    saver=$!
    exec 7<"$work/slow"
    wait_until 10 is_being_saved || return
    "$top/run" virstream restore -q "$@" "$work/image" 2>"$work/said" &
    restorer=$!
    wait_until 20 is_waiting && [ "$(guests)" = g1 ]
}

is_being_saved()
{
    grep -qs '"save"' "$root/g1/job"
}

is_waiting()
{
    grep -qs '"restore","running":true' "$root/.making-g1/job"
}

end_save()
{
    cat <&7 >/dev/null && wait "$saver"
}

# What it says of the guest that stays.
stays()
{
    exec 7<&-
    ends 6 "$restorer" && contains "has not become free" cat "$work/said" && lives_on
}

waits()
{
    start_wait && is_waiting && end_save && wait "$restorer" && exec 7<&- &&
        is_state g1 running && goes_on g1 && alone && virstream destroy -q g1
}

only_one_waits()
{
    start_wait && exits 6 virstream restore -q "$work/image" &&
        exits 6 virstream start -q "$work/g1.json" && is_waiting && end_save && wait "$restorer" &&
        exec 7<&- && alone && virstream destroy -q g1
}

cancelled_at_the_end()
{
    start_wait && kill -INT "$saver" && ends 8 "$saver" && stays
}

saver_killed_at_the_end()
{
    start_wait && kill -KILL "$saver" && stays
}

# The save goes on.
restorer_killed_at_the_end()
{
    start_wait && kill -KILL "$restorer" && ! wait "$restorer" && [ "$(guests)" = g1 ] &&
        wait_until 10 alone && end_save && exec 7<&- && [ -z "$(places)" ]
}

waits_no_longer_than_it_may()
{
    start_wait --stall 1 && ends 6 "$restorer" && contains "has not ended in 1 second" \
        cat "$work/said" && alone && kill -INT "$saver" && ends 8 "$saver" && exec 7<&- && lives_on
}

# A guest that stays is a guest like any other.
refused()
{
    fresh g1 F 16 && virstream save -q --keep-running g1 "$work/image" || return
    virstream save -q --keep-running g1 - >"$work/slow" &
    saver=$!
    exec 7<"$work/slow"
    wait_until 10 test -e "$root/g1/job" && exits 6 virstream restore -q "$work/image" &&
        [ "$(places)" = g1 ] && end_save && exec 7<&- && lives_on
}

another_guest_refuses()
{
    fresh g1 && virstream save -q g1 "$work/image" && fresh g1 || return
    virstream save -q g1 - >"$work/slow" &
    saver=$!
    exec 7<"$work/slow"
    wait_until 10 is_being_saved && exits 6 virstream restore -q "$work/image" &&
        [ "$(places)" = g1 ] && end_save && exec 7<&- && [ -z "$(places)" ]
}

# Both are its work, and those who come next have another.
daemon_killed()
{
    start_wait && kill -KILL "$(cat "$VST_THROUGH"/daemon.*/pid)" && ! wait "$saver" &&
        ! wait "$restorer" && exec 7<&- && lives_on
}

check guest_goes_through_a_pipe_under_its_name  through_a_pipe
check guest_of_a_save_that_is_cancelled_lives_on  cancelled
check guest_of_a_save_that_is_killed_lives_on  saver_killed
check guest_of_a_restore_that_is_killed_lives_on  restorer_killed
check guest_lives_on_when_both_are_killed  both_killed
check restore_waits_until_the_name_is_free  waits
check one_restore_at_a_time_waits_for_a_name  only_one_waits
check restore_fails_when_the_save_is_cancelled_at_the_end  cancelled_at_the_end
check restore_fails_when_the_save_is_killed_at_the_end  saver_killed_at_the_end
check restore_that_is_killed_while_it_waits_leaves_nothing  restorer_killed_at_the_end
check restore_waits_no_longer_than_it_may  waits_no_longer_than_it_may
check name_of_a_guest_that_keeps_running_is_taken  refused
check name_of_another_guest_that_is_being_saved_is_taken  another_guest_refuses
if [ -n "${VST_THROUGH-}" ]; then
    check guest_lives_on_when_the_daemon_is_killed  daemon_killed
else
    skip guest_lives_on_when_the_daemon_is_killed "there is none"
fi
check nothing_is_left  test -z "$(places)"
check no_process_left  no_process_left
end_tests
