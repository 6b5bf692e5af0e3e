#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Volumes by the command: up and down, whole and in part, with their holes; and what is left when
# something goes wrong.
. "$(dirname "$0")/lib.sh"

pool=$work/pool
mkdir "$pool" "$work/other"
export VIRSTREAM_DEFAULT_URI="test:///?domains=0&pool.p=$pool&pool.other=$work/other"

# Nothing but the files named is in the pool, hidden ones included.
only()
{
    [ "$(ls -A "$pool" | paste -sd' ')" = "$*" ] && return
    ls -lA "$pool"
    return 1
}

goes_up_and_comes_down()
{
    head -c 3000000 /dev/urandom >"$work/file"
    contains "p/disk is uploaded" virstream upload "$work/file" p/disk && only disk &&
        cmp "$work/file" "$pool/disk" &&
        contains "p/disk is downloaded" virstream download p/disk "$work/back" &&
        cmp "$work/file" "$work/back"
}

goes_through_pipes()
{
    virstream upload -q - p/piped <"$work/file" && virstream download p/piped - | cmp - "$work/file"
}

empty_volume_is_one()
{
    virstream upload /dev/null p/empty && [ -f "$pool/empty" ] && [ ! -s "$pool/empty" ]
}

is_listed()
{
    virstream volumes -q >"$work/names" && printf 'p/disk\np/empty\np/piped\n' | cmp - "$work/names" &&
        virstream volumes other --json | grep -q '{"volumes":\[\]}' &&
        virstream volumes p --json | grep -q '"name":"p/disk","size":3000000,'
}

# A pool that cannot be looked into hides no other, and is no less an error.
bad_pool_hides_no_other()
{
    local status
    rmdir "$work/other" && touch "$work/other"
    virstream volumes -q >"$work/names" 2>"$work/said"
    status=$?
    virstream volumes --json >"$work/json"
    rm "$work/other" && mkdir "$work/other"
    [ "$status" = 1 ] && printf 'p/disk\np/empty\np/piped\n' | cmp - "$work/names" &&
        grep -qx 'virstream: volumes: pool other: Not a directory' "$work/said" &&
        grep -q '^{"volumes":\[{"pool":"other","error":"Not a directory"},{"name":"p/disk",' "$work/json" &&
        rmdir "$work/other" && exits 5 virstream volumes && mkdir "$work/other"
}

# More than one page of an answer has.
many_volumes_are_listed()
{
    local n
    for n in $(seq 1000 1599); do echo "other/a name, $n \"é\""; done >"$work/wanted"
    (cd "$work" && xargs -d '\n' touch <"$work/wanted") && virstream volumes -q other >"$work/names" &&
        cmp "$work/wanted" "$work/names" && rm -f "$work/other"/*
}

unknown_pool_names_the_others()
{
    exits 5 virstream upload "$work/file" nowhere/x &&
        contains "there are: other, p" virstream volumes nowhere
}

unknown_volume_is_not_found()
{
    exits 5 virstream download p/nothing "$work/nothing" && [ ! -e "$work/nothing" ] &&
        exits 5 virstream volume-delete p/nothing
}

name_cannot_leave_its_pool()
{
    local name
    for name in p p/ p/. p/.. p/../other/x p/.x p//x p/x/y; do
        exits 2 virstream upload "$work/file" "$name" || return
    done
    ln -s "$work/file" "$pool/link"
    exits 2 virstream download p/link - && exits 2 virstream upload "$work/file" p/link &&
        rm "$pool/link" && only disk empty piped && [ -z "$(ls -A "$work/other")" ]
}

is_written_in_place()
{
    printf 0123456789 | virstream upload - p/part && printf abc | virstream upload --offset 3 - p/part &&
        [ "$(cat "$pool/part")" = 012abc6789 ] &&
        [ "$(virstream download --offset 2 --length 5 p/part -)" = 2abc6 ] &&
        [ -z "$(virstream download --length 0 p/part -)" ] &&
        exits 2 virstream download --offset 11 p/part - &&
        exits 2 virstream upload --offset 11 "$work/file" p/part &&
        exits 5 virstream upload --offset 0 "$work/file" p/new && [ "$(cat "$pool/part")" = 012abc6789 ]
}

blocks()
{
    stat -c %b "$1"
}

holes_stay_holes()
{
    truncate -s 5T "$work/sparse" && printf data | dd of="$work/sparse" bs=1 seek=1G conv=notrunc status=none &&
        virstream upload "$work/sparse" p/sparse && virstream download p/sparse "$work/sparse.back" &&
        [ "$(stat -c %s "$work/sparse.back")" = "$((5 << 40))" ] &&
        [ "$(blocks "$pool/sparse")" -le "$(($(blocks "$work/sparse") + 32))" ] &&
        [ "$(blocks "$work/sparse.back")" -le "$(($(blocks "$work/sparse") + 32))" ] &&
        [ "$(dd if="$work/sparse.back" bs=1 skip=1G count=4 status=none)" = data ]
}

# An upload that is slow enough to be interrupted.
slow()
{
    virstream upload --rate 200K "$work/file" p/disk "$@"
}

old_volume_is_intact()
{
    cmp "$work/old" "$pool/disk" && wait_until 5 only disk empty part piped sparse
}

times_out()
{
    cp "$pool/disk" "$work/old"
    exits 7 slow --timeout 1 && old_volume_is_intact
}

interrupted()
{
    local pid status
    "$top/run" virstream upload --rate 200K --progress json "$work/file" p/disk 2>"$work/said" &
    pid=$!
    wait_until 5 grep -q progress "$work/said"
    kill "-$1" "$pid"
    wait "$pid"
    status=$?
    [ "$status" = "$2" ] && old_volume_is_intact
}

# The same pools, whatever the driver.
pools_of_qemu()
{
    local uri="qemu:///?root=$root&pool.p=$pool"
    printf text | virstream -c "$uri" upload - p/qemu && virstream -c "$uri" volumes p -q | grep -qx p/qemu &&
        [ "$(virstream -c "$uri" download p/qemu -)" = text ] && virstream -c "$uri" volume-delete p/qemu
}

no_room()
{
    exits 1 virstream download p/disk /dev/full
}

is_deleted()
{
    virstream volume-delete p/empty && virstream volume-delete -q p/sparse && only disk part piped
}

result_is_json()
{
    virstream upload --json "$work/file" p/disk | grep -q '"uploaded":{"volume":"p/disk",.*"bytes":3000000,' &&
        virstream download --json p/disk "$work/back" | grep -q '"downloaded":{"volume":"p/disk",' &&
        virstream volume-delete --json p/disk | grep -q '{"deleted":{"volume":"p/disk"}}'
}

check what_goes_up_comes_down  goes_up_and_comes_down
check volumes_go_through_pipes  goes_through_pipes
check empty_volume_is_one  empty_volume_is_one
check every_volume_is_listed  is_listed
check bad_pool_hides_no_other  bad_pool_hides_no_other
check many_volumes_are_listed  many_volumes_are_listed
hints_tell_missing_file_from_missing_volume()
{
    contains "the file is looked for here" virstream upload "$work/none" p/x &&
        contains "names the volumes" virstream download p/none "$work/x"
}

check hint_tells_a_missing_file_from_a_missing_volume  hints_tell_missing_file_from_missing_volume
check unknown_pool_names_the_others  unknown_pool_names_the_others
check unknown_volume_is_not_found  unknown_volume_is_not_found
check name_cannot_leave_its_pool  name_cannot_leave_its_pool
check part_is_written_in_place  is_written_in_place
check holes_stay_holes  holes_stay_holes
check timeout_leaves_the_old_volume  times_out
check interrupt_leaves_the_old_volume  interrupted INT 8
check kill_leaves_the_old_volume  interrupted KILL 137
check full_target_is_an_error  no_room
if command -v qemu-system-x86_64 >/dev/null; then
    check pools_are_those_of_every_driver  pools_of_qemu
else
    skip pools_are_those_of_every_driver "no qemu-system-x86_64 here"
fi
check volumes_are_deleted  is_deleted
check results_are_json  result_is_json
end_tests
