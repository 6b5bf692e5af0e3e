#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A real guest saved and restored, each way there is: it is gone in between, and its count, over all
# of its console, has no gap and no repeat.
. "$(dirname "$0")/lib.sh"
need_guests

image=$work/image

# Saved, gone, restored, and counting on.
round_trip()
{
    virstream save -q "$@" g1 "$image" && [ -z "$(guests)" ] &&
        virstream restore -q "$image" && goes_on g1 && is_state g1 running &&
        virstream destroy -q g1 && continued --min 3 "$work/g1.log"
}

saved_and_restored()
{
    start g1 && round_trip
}

compressed()
{
    fresh g1 && round_trip --compress zstd && contains zstd virstream image info "$image"
}

# A new guest with a new log.
fresh()
{
    rm -f "$work/$1.log"
    start "$@"
}

through_a_pipe()
{
    fresh g1 && (set -o pipefail && virstream save -q g1 - | virstream restore -q -) &&
        goes_on g1 && virstream destroy -q g1 && continued --min 3 "$work/g1.log"
}

paused_stays_paused()
{
    fresh g1 && virstream suspend -q g1 && virstream save -q g1 "$image" &&
        virstream restore -q "$image" && is_state g1 paused && stands_still g1 &&
        virstream resume -q g1 && goes_on g1 && virstream destroy -q g1 &&
        continued --min 3 "$work/g1.log"
}

restored_paused_on_request()
{
    fresh g1 && virstream save -q g1 "$image" && virstream restore -q --paused "$image" &&
        is_state g1 paused && stands_still g1 && virstream resume -q g1 && goes_on g1 &&
        virstream destroy -q g1 && continued --min 3 "$work/g1.log"
}

keeps_running()
{
    fresh g1 && virstream save -q --keep-running g1 "$image" && is_state g1 running &&
        goes_on g1 && virstream image check -q "$image" && virstream destroy -q g1 &&
        continued --min 3 "$work/g1.log"
}

# While a live save is held up by a slow rate the guest counts on; and the image is the state at its
# start: what it counts after the restore continues an earlier line of the log.
live()
{
    local before after
    fresh g1 F 32 && before=$(count_of g1) || return
    virstream save -q --live --rate 16M g1 "$image" || return
    after=$(count_of g1)
    [[ $after > $before ]] || { echo "no count during the save: $before, $after"; return 1; }
    goes_on g1 && continued --min 3 "$work/g1.log" && virstream destroy -q g1 || return
    cp "$work/g1.log" "$work/first.log" && : >"$work/g1.log"
    virstream restore -q "$image" && wait_until 10 counts g1 && virstream destroy -q g1 || return
    follows_up "$work/first.log" "$work/g1.log"
}

# follows_up FIRST SECOND: the second log continues the first after some line of it. The moment of
# the image may lie within a line, of which the second log then has the end.
follows_up()
{
    local number
    sed '1{/^[0-9a-f]\{8\}$/!d}' "$2" >"$work/second"
    number=$(head -n 1 "$work/second") && [ -n "$number" ] || return
    { head -n "$((16#$number - 1))" "$1"; cat "$work/second"; } >"$work/joined"
    continued "$work/joined"
}

live_can_be_saved_again()
{
    fresh g1 && virstream save -q --live g1 "$image" && virstream save -q g1 "$image" &&
        virstream restore -q "$image" && virstream save -q --live g1 "$image" &&
        goes_on g1 && virstream destroy -q g1 && continued "$work/g1.log"
}

# A guest that writes all the time, and a live save that does not get far: it counts on, and can be
# saved again, live and otherwise.
live_is_called_off()
{
    fresh g1 D 64 || return
    timeout -s INT 1 "$VIRSTREAM_BUILD/virstream" save -q --live --rate 8M g1 "$image" &&
        { echo "it was not cut off"; return 1; }
    goes_on g1 && virstream save -q --live g1 /dev/full && { echo "no room?"; return 1; }
    goes_on g1 && is_state g1 running && virstream save -q --live g1 "$image" &&
        virstream save -q g1 "$image" && virstream restore -q "$image" && goes_on g1 &&
        virstream destroy -q g1 && continued --min 3 "$work/g1.log"
}

# Both in one place: another name, and another UUID; the log goes on in one file, so count-check
# would see both. Paused, to tell them apart.
beside_itself()
{
    local uuid
    fresh g1 && virstream save -q --keep-running g1 "$image" && virstream suspend -q g1 &&
        virstream restore -q --paused --name g2 "$image" || return
    uuid=$(virstream info g1 | grep uuid)
    [ "$(guests)" = "g1 g2" ] && [ "$uuid" != "$(virstream info g2 | grep uuid)" ] &&
        virstream destroy -q g1 && virstream destroy -q g2
}

name_taken()
{
    fresh g1 && virstream save -q --keep-running g1 "$image" &&
        exits 6 virstream restore "$image" && [ "$(guests)" = g1 ] && goes_on g1 &&
        virstream destroy -q g1 && continued "$work/g1.log"
}

# fresh_with_disk NAME: and it has $work/disk, and a kernel of its own
fresh_with_disk()
{
    local disk="{\"name\": \"d0\", \"file\": \"$work/disk\", \"format\": \"raw\"}"
    rm -f "$work/$1.log"
    truncate -s 1M "$work/disk" && cp "$guest_elf" "$work/kernel" && define "$1" &&
        sed -i "s|\"vcpus\"|\"disks\": [$disk], \"vcpus\"|; s|$guest_elf|$work/kernel|" \
            "$work/$1.json" &&
        virstream start -q "$work/$1.json" && wait_until 20 counts "$1"
}

all_blockers_at_once()
{
    fresh_with_disk g1 && virstream save -q --keep-running g1 "$image" &&
        exits 11 virstream restore --name g2 "$image" 2>"$work/said" &&
        grep -q "d0: $work/disk: another QEMU has locked it" "$work/said" &&
        rm "$work/disk" "$work/kernel" && exits 11 virstream restore "$image" 2>"$work/said" &&
        grep -q "d0: $work/disk: No such file" "$work/said" &&
        grep -q "kernel: $work/kernel: No such file" "$work/said" &&
        grep -q "named g1 is there" "$work/said" && [ "$(guests)" = g1 ] &&
        virstream destroy -q g1
}

# Its disk is locked when the new one is looked at, and is not when that goes on.
disk_through_a_pipe()
{
    fresh_with_disk g1 && (set -o pipefail && virstream save -q g1 - |
        virstream restore -q --name g2 -) && [ "$(guests)" = g2 ] && is_state g2 running &&
        virstream destroy -q g2
}

# QEMU has got everything and says so, but the last byte of the image, which proves it, is late, and
# then does not come at all: until it is there the guest does nothing.
not_before_the_end()
{
    fresh g1 && virstream save -q g1 "$image" && cp "$work/g1.log" "$work/first.log" &&
        { head -c -1 "$image"; sleep 2; } | exits 9 virstream restore - && [ -z "$(guests)" ] &&
        cmp "$work/first.log" "$work/g1.log"
}

# A gigabyte without a zero page; `v` makes the guest compare every page of it.
gigabyte()
{
    fresh g1 F 1024 && wait_until 60 counts g1 && virstream save -q g1 "$image" &&
        [ "$(stat -c %s "$image")" -gt 1000000000 ] && virstream restore -q "$image" &&
        answers_v && virstream destroy -q g1 && continued "$work/g1.log"
}

answers_v()
{
    { printf v; sleep 4; } | virstream console g1 | grep -qx '< 76' && ! grep -q '!' "$work/g1.log"
}

another_machine()
{
    fresh g1 P 64 q35 && round_trip
}

nothing_left()
{
    [ -z "$(places)" ] && no_process_left
}

check saved_guest_is_gone_and_counts_on_when_restored  saved_and_restored
check nothing_is_left_after_destroy  nothing_left
check compressed_image_restores  compressed
check guest_goes_through_a_pipe  through_a_pipe
check paused_guest_stays_paused  paused_stays_paused
check guest_is_restored_paused_on_request  restored_paused_on_request
check guest_keeps_running_on_request  keeps_running
check guest_counts_on_during_a_live_save  live
check live_and_other_saves_follow_each_other  live_can_be_saved_again
check guest_survives_live_saves_that_fail  live_is_called_off
check guest_is_restored_beside_itself_with_another_name  beside_itself
check taken_name_is_exit_6_and_the_guest_runs_on  name_taken
check whatever_keeps_a_guest_from_being_restored_is_told_at_once  all_blockers_at_once
check guest_with_a_disk_goes_through_a_pipe  disk_through_a_pipe
check guest_does_not_run_before_the_last_byte_of_its_image  not_before_the_end
check q35_guest_is_saved_and_restored  another_machine
check gigabyte_of_random_memory_is_saved_and_restored  gigabyte
check nothing_is_left_at_the_end  nothing_left
end_tests
