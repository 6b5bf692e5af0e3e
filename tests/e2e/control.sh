#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The life of real guests between processes: each command here is a process of its own, and the guest
# outlives them all.
. "$(dirname "$0")/lib.sh"
need_guests

starts()
{
    start g1 && is_state g1 running && [ "$(guests)" = g1 ] && goes_on g1
}

starts_paused()
{
    define g2 && virstream start -q --paused "$work/g2.json" && is_state g2 paused &&
        [ ! -s "$work/g2.log" ] && virstream resume -q g2 && wait_until 20 counts g2
}

suspends_and_resumes()
{
    virstream suspend -q g1 && is_state g1 paused && stands_still g1 &&
        virstream resume -q g1 && is_state g1 running && goes_on g1
}

found_by_uuid()
{
    local uuid
    uuid=$(virstream info g1 | sed -n 's/^uuid: *//p')
    [ -n "$uuid" ] && contains g1 virstream info "$uuid"
}

# A second command while the first has hold of the guest.
busy()
{
    mkfifo "$work/slow"
    virstream save -q --keep-running g1 - >"$work/slow" &
    exec 7<"$work/slow"
    wait_until 10 holds_job g1
    refuses 6 "domain g1" virstream suspend g1 || return
    contains g1 virstream list || return
    cat <&7 >"$work/slow.image" && wait $! && exec 7<&- && virstream image check -q "$work/slow.image"
}

holds_job()
{
    [ -s "$root/$1/job" ]
}

shuts_down()
{
    virstream shutdown -q g2 && [ "$(guests)" = g1 ] && grep -qx shutdown "$work/g2.log"
}

ends_by_itself()
{
    start g3 && { printf q; sleep 1; } | virstream console g3 >/dev/null
    wait_until 10 gone g3
}

gone()
{
    ! virstream list -q | grep -qx "$1" || ! is_state "$1" running
}

killed_is_told()
{
    local pid
    define g4 && start g4 || return
    pid=$(virstream info g4 | sed -n 's/^pid: *//p')
    kill -KILL "$pid" && wait_until 5 is_state g4 crashed && exits 6 virstream suspend g4 &&
        virstream destroy -q g4 && exits 5 virstream info g4
}

name_is_free_after_a_crash()
{
    start g4 || return
    kill -KILL "$(virstream info g4 | sed -n 's/^pid: *//p')" && rm -f "$work/g4.log" && start g4 &&
        virstream destroy -q g4
}

# Its QEMU is alive, but answers nothing.
deaf_is_destroyed()
{
    start g4 || return
    kill -STOP "$(virstream info g4 | sed -n 's/^pid: *//p')" && virstream destroy -q g4 &&
        exits 5 virstream info g4
}

# Nor can its monitor be connected, as when too many wait for it already.
unreachable_is_destroyed()
{
    start g4 && rm "$root/g4/monitor" && virstream destroy -q g4 && exits 5 virstream info g4
}

# What can be seen from outside is told soon, and the guest is no worse for it.
deaf_is_told()
{
    local pid said
    start g4 && pid=$(virstream info g4 | sed -n 's/^pid: *//p') && kill -STOP "$pid" &&
        contains "QEMU does not answer" timeout 8 "$top/run" virstream info g4 &&
        contains "QEMU does not answer" timeout 8 "$top/run" virstream list
    said=$?
    kill -CONT "$pid" && is_state g4 running && goes_on g4 && virstream destroy -q g4 && [ $said = 0 ]
}

last_words()
{
    define g5 && sed -i 's/"append": "mode=P"/"append": "mode=P", "args": ["-device", "nonsense"]/' \
        "$work/g5.json" && refuses 10 nonsense virstream start "$work/g5.json" &&
        [ ! -e "$root/g5" ]
}

missing_disk()
{
    local disk="{\"name\": \"d0\", \"file\": \"$work/nothing\", \"format\": \"raw\"}"
    define g5 && sed -i "s|\"vcpus\"|\"disks\": [$disk], \"vcpus\"|" "$work/g5.json" &&
        refuses 5 "$work/nothing" virstream start "$work/g5.json" && [ ! -e "$root/g5" ]
}

unknown_user()
{
    [ "$(id -u)" != 0 ] || refuses 2 "no such user" \
        virstream -c "qemu:///?root=$work/other&user=nobody-of-that-name" list
}

# The confinement, as the kernel sees it.
confined()
{
    local status
    status=/proc/$(virstream info g1 | sed -n 's/^pid: *//p')/status
    grep -qx "NoNewPrivs:.1" "$status" && grep -qx "Seccomp:.2" "$status" &&
        grep -q "Max core file size *0" "${status%status}limits"
}

another_user()
{
    local pid
    local -x VIRSTREAM_DEFAULT_URI="qemu:///?root=$work/nobody&user=nobody"
    chmod 755 "$work" && install -m 644 "$guest_elf" "$work/guest.elf" && define g6 &&
        sed -i "s|$guest_elf|$work/guest.elf|" "$work/g6.json" &&
        virstream start -q "$work/g6.json" && wait_until 20 counts g6 || return
    pid=$(virstream info g6 | sed -n 's/^pid: *//p')
    [ "$(stat -c %U "/proc/$pid")" = nobody ] && virstream save -q g6 "$work/g6.image" &&
        virstream restore -q "$work/g6.image" && goes_on g6 && virstream destroy -q g6 &&
        continued "$work/g6.log"
}

screen()
{
    virstream screenshot -q g1 "$work/screen.png" &&
        [ "$(head -c 8 "$work/screen.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]
}

check guest_runs_after_its_command_has_ended  starts
check guest_starts_paused_on_request  starts_paused
check guest_is_suspended_and_resumed  suspends_and_resumes
check guest_is_found_by_uuid  found_by_uuid
check second_process_is_told_who_has_hold  busy
check qemu_is_confined  confined
check screen_is_a_png  screen
check guest_shuts_down_when_asked  shuts_down
check guest_that_powers_off_is_gone  ends_by_itself
check killed_qemu_is_shown_and_cleaned_up  killed_is_told
check name_of_a_crashed_guest_is_free  name_is_free_after_a_crash
check deaf_qemu_is_destroyed  deaf_is_destroyed
check unreachable_qemu_is_destroyed  unreachable_is_destroyed
check refused_start_has_qemus_words_and_leaves_nothing  last_words
check unknown_user_is_wrong_usage  unknown_user
check deaf_guest_is_told_soon  deaf_is_told
check missing_disk_is_named_and_leaves_nothing  missing_disk
if [ "$(id -u)" = 0 ]; then
    check qemu_runs_as_another_user  another_user
else
    skip qemu_runs_as_another_user "only root can"
fi
virstream destroy -q g1

check nothing_is_left  test -z "$(places)"
check no_process_left  no_process_left
end_tests
