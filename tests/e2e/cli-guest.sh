#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The command with real guests: each of its ways to save and restore one continues the count with no
# gap and no repeat, and whatever goes wrong leaves the guest counting.
. "$(dirname "$0")/lib.sh"
need_guests

image=$work/image

# comes_back NAME: the guest counts on, and counted everything once
comes_back()
{
    goes_on "$1" && continued "$work/$1.log"
}

# gone NAME: no such guest, and nothing kept of it
gone()
{
    [ ! -e "$root/$1" ] && exits 5 virstream info "$1"
}

starts_and_counts()
{
    start g1 && is_state g1 running && [ "$(guests)" = g1 ] && goes_on g1
}

refuses_a_second_one()
{
    exits 6 virstream start "$work/g1.json" && goes_on g1
}

refuses_another_with_its_uuid()
{
    local uuid
    uuid=$(virstream info g1 | sed -n 's/^uuid: *//p') && [ -n "$uuid" ] || return
    cat >"$work/twin.json" <<END
{"name": "twin", "uuid": "$uuid", "machine": "none", "accel": "tcg", "memory-mib": 1, "vcpus": 1}
END
    refuses 6 "that of domain g1" virstream start "$work/twin.json" && goes_on g1 &&
        virstream save -q g1 "$image" && virstream start "$work/twin.json" &&
        refuses 6 "that of domain twin" virstream restore "$image" && gone g1 &&
        virstream destroy twin && virstream restore "$image" && comes_back g1
}

pauses_and_resumes()
{
    virstream suspend g1 && is_state g1 paused && stands_still g1 &&
        virstream resume g1 && is_state g1 running && comes_back g1
}

saves_and_restores()
{
    virstream save "$@" g1 "$image" && gone g1 && virstream image check "$image" &&
        virstream restore "$image" && comes_back g1
}

# The restored one is g2 now, but logs where g1 did.
goes_through_a_pipe()
{
    virstream save g1 - | virstream restore --name g2 - && gone g1 && is_state g2 running &&
        comes_back g1
}

goes_back()
{
    virstream save g2 - | virstream restore --name g1 - && gone g2 && comes_back g1
}

goes_on_meanwhile()
{
    virstream save "$1" g1 "$image" && is_state g1 running && comes_back g1 &&
        virstream image check "$image"
}

# The guest went on after the image was taken; the restored one begins where it was taken, and logs
# to another file.
live_image_restores()
{
    local taken
    start g4 && virstream save --live g4 "$image" && goes_on g4 && virstream destroy g4 || return
    mv "$work/g4.log" "$work/first.log"
    virstream restore "$image" && wait_until 10 counts g4 || return
    taken=$(grep -m 1 -xE '[0-9a-f]{8}' "$work/g4.log")
    grep -qx "$taken" "$work/first.log" || return
    sed "/^$taken\$/,\$d" "$work/first.log" >"$work/until-taken.log"
    goes_on g4 && continued "$work/until-taken.log" "$work/g4.log" && virstream destroy g4
}

paused_stays_paused()
{
    virstream suspend g1 && virstream save g1 "$image" && virstream restore "$image" &&
        is_state g1 paused && stands_still g1 && virstream resume g1 && comes_back g1
}

restores_paused()
{
    virstream save g1 "$image" && virstream restore --paused "$image" && is_state g1 paused &&
        stands_still g1 && virstream resume g1 && comes_back g1
}

starts_paused()
{
    define g3 && virstream start --paused "$work/g3.json" && is_state g3 paused &&
        ! counts g3 && virstream resume g3 && wait_until 20 counts g3 && virstream destroy g3 &&
        gone g3
}

reads_a_definition_from_stdin()
{
    define g3 && virstream start - <"$work/g3.json" && virstream destroy g3
}

fails_and_goes_on()
{
    local status=$1
    shift
    exits "$status" virstream save g1 "$@" && is_state g1 running && comes_back g1
}

# begin_save TARGET: starts a slow save of g1 as process $pid; what an earlier one said is gone
begin_save()
{
    : >"$work/said"
    "$top/run" virstream save --rate 20K --progress json g1 "$1" 2>>"$work/said" &
    pid=$!
}

interrupted()
{
    local pid status
    echo old >"$image"
    begin_save "$image"
    wait_until 10 grep -q progress "$work/said" && kill -INT $pid
    wait $pid
    status=$?
    cat "$work/said"
    [ $status = 8 ] && [ "$(cat "$image")" = old ] && is_state g1 running && comes_back g1
}

# QEMU is stopped, so nothing can be undone before it goes on; the second signal tells that.
interrupted_twice()
{
    local pid status qemu
    qemu=$(virstream info g1 | sed -n 's/^pid: *//p')
    begin_save "$image"
    wait_until 10 grep -q progress "$work/said" && kill -STOP "$qemu" &&
        wait_until 10 grep -q '^State:.T' "/proc/$qemu/status"
    kill -INT $pid && wait_until 5 grep -q cancelling "$work/said" &&
        kill -INT $pid && wait_until 5 grep -q "still waiting for the save to be undone.*the next signal leaves" "$work/said"
    status=$?
    kill -CONT "$qemu"
    wait $pid
    [ $? = 8 ] && [ $status = 0 ] && comes_back g1
    status=$?
    cat "$work/said"
    return $status
}

# The third leaves with what could not be undone: as by a kill, whoever comes next finds it.
interrupted_three_times()
{
    local pid status qemu
    qemu=$(virstream info g1 | sed -n 's/^pid: *//p')
    begin_save "$image"
    wait_until 10 grep -q progress "$work/said" && kill -STOP "$qemu" &&
        wait_until 10 grep -q '^State:.T' "/proc/$qemu/status"
    kill -INT $pid && wait_until 5 grep -q cancelling "$work/said" &&
        kill -INT $pid && wait_until 5 grep -q "still waiting" "$work/said" && kill -INT $pid
    wait $pid
    status=$?
    kill -CONT "$qemu"
    cat "$work/said"
    [ $status = 8 ] && grep -q "not waited for the save to be undone" "$work/said" &&
        virstream list && wait_until 10 is_state g1 running && comes_back g1
}

shows_the_job()
{
    local pid
    begin_save "$image"
    wait_until 10 grep -q progress "$work/said"
    virstream info g1
    virstream info g1 | grep -qE "busy: +process $pid |job: +save" && exits 6 virstream suspend g1
    local status=$?
    kill -INT $pid
    wait $pid
    [ $status = 0 ] && comes_back g1
}

saver_is_killed()
{
    local pid
    begin_save "$image.killed"
    wait_until 10 grep -q progress "$work/said" && kill -KILL $pid
    wait $pid
    [ ! -e "$image.killed" ] && virstream list && is_state g1 running && comes_back g1
}

restorer_is_cancelled()
{
    virstream save g1 "$image" && exits 7 virstream restore --rate 20K --timeout 1 "$image" &&
        gone g1 && virstream restore "$image" && comes_back g1
}

damage_leaves_nothing()
{
    virstream save g1 "$image" && head -c -40 "$image" >"$image.cut" &&
        exits 9 virstream restore "$image.cut" && gone g1 && virstream restore "$image" &&
        comes_back g1
}

answers_on_the_console()
{
    printf v | virstream console g1 >/dev/null && wait_until 20 grep -q '^< 76' "$work/g1.log"
}

console_begins_with_the_last()
{
    virstream console g1 --read-only --timeout 2 >"$work/viewed"
    [ "$(grep -cxE '[0-9a-f]{8}' "$work/viewed")" -gt 10 ]
}

# Its input stays open meanwhile: it is the guest that ends it, by powering itself off.
console_ends_with_the_guest()
{
    mkfifo "$work/keys"
    start g3 || return
    timeout 20 "$top/run" virstream console g3 <"$work/keys" >"$work/viewed" &
    { printf q && wait $!; } >"$work/keys"
    local status=$?
    tail -n 3 "$work/viewed"
    [ $status = 0 ] && grep -qx '< 71' "$work/viewed" && ! is_state g3 running || return
    gone g3 || virstream destroy g3
}

screenshot_is_a_png()
{
    virstream screenshot g1 "$work/screen.png" &&
        [ "$(head -c 4 "$work/screen.png" | od -An -c | tr -d ' ')" = '211PNG' ]
}

shuts_down()
{
    start g3 && virstream shutdown --timeout 20 g3 && gone g3
}

crash_is_told()
{
    local pid
    start g3
    pid=$(virstream info g3 | sed -n 's/^pid: *//p')
    kill -KILL "$pid"
    wait_until 10 is_state g3 crashed && contains crashed virstream list &&
        exits 6 virstream save g3 "$image.crashed"
    local status=$?
    virstream destroy g3 && gone g3 && return $status
}

check starts_and_counts  starts_and_counts
check name_is_taken_once  refuses_a_second_one
check uuid_is_taken_once  refuses_another_with_its_uuid
check pauses_and_resumes  pauses_and_resumes
check saves_and_restores  saves_and_restores
check saves_and_restores_compressed  saves_and_restores --compress zstd
check saves_and_restores_through_a_pipe  goes_through_a_pipe
check saves_and_restores_through_a_pipe_again  goes_back
check goes_on_after_a_save_that_keeps_it_running  goes_on_meanwhile --keep-running
check goes_on_during_a_live_save  goes_on_meanwhile --live
check image_of_a_live_save_restores  live_image_restores
check paused_guest_stays_paused  paused_stays_paused
check restores_paused  restores_paused
check starts_paused  starts_paused
check reads_a_definition_from_standard_input  reads_a_definition_from_stdin
check full_disk_leaves_the_guest_running  fails_and_goes_on 1 /dev/full
check timeout_leaves_the_guest_running  fails_and_goes_on 7 --rate 20K --timeout 1 "$image"
check interrupt_leaves_the_guest_running  interrupted
check second_interrupt_tells_what_it_waits_for  interrupted_twice
check third_interrupt_leaves_at_once  interrupted_three_times
check save_of_another_process_is_seen_and_respected  shows_the_job
check killed_save_leaves_the_guest_running  saver_is_killed
check cancelled_restore_leaves_nothing  restorer_is_cancelled
check truncated_image_leaves_nothing  damage_leaves_nothing
check guest_answers_on_the_console  answers_on_the_console
check console_begins_with_what_was_printed_last  console_begins_with_the_last
check console_ends_with_the_guest  console_ends_with_the_guest
check screenshot_is_a_png  screenshot_is_a_png
check shuts_down_when_asked  shuts_down
check crash_is_told_and_cleaned_up  crash_is_told
check destroys  virstream destroy g1
check nothing_is_kept_of_it  gone g1
check no_process_left  no_process_left
end_tests
