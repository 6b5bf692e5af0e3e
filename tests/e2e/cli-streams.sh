#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The command's ends of streams, and what is left when something goes wrong: with guests in memory,
# which are the same in every process, so a file can be saved here and restored there.
. "$(dirname "$0")/lib.sh"

one='test:///?domains=1&memory=4M'
none='test:///?domains=0'
folder=$work/images
mkdir "$folder"
image=$folder/image

save()
{
    virstream -c "$one" save test1 "$@"
}

restore()
{
    virstream -c "$none" restore "$@"
}

# Nothing but the files named is in the folder of images: no temporary one was forgotten.
only()
{
    [ "$(ls -A "$folder" | paste -sd' ')" = "$*" ] && return
    ls -lA "$folder"
    return 1
}

saves_and_restores()
{
    save "$image" && only image && virstream image check "$image" &&
        contains "test1 is restored" restore "$image"
}

goes_through_a_pipe()
{
    save - | contains "standard input" restore -
}

goes_through_redirections()
{
    save - >"$work/redirected" && restore - <"$work/redirected" &&
        virstream image check - <"$work/redirected"
}

# A file that is read from its middle: what came before is not ours.
begins_where_the_shell_stands()
{
    { echo "a line before"; cat "$image"; } >"$work/shifted"
    { read -r line && [ -n "$line" ] && virstream image check -; } <"$work/shifted"
}

goes_through_fifos()
{
    mkfifo "$work/fifo"
    save "$work/fifo" &
    restore "$work/fifo" && wait $! && [ -p "$work/fifo" ]
}

# As it does while it waits for the other side.
catches_alarm()
{
    ((0x$(awk '/^SigCgt/ { print $2 }' "/proc/$1/status") & 1 << 13))
}

cancelled_fifo()
{
    local number
    for number in INT TERM HUP; do
        "$top/run" virstream -c "$none" restore "$work/fifo" 2>"$work/said" &
        wait_until 10 catches_alarm $! && kill "-$number" $! && exits 8 wait $! && grep -q cancelled "$work/said" || return
    done
}

lonely_fifo()
{
    rm -f "$work/fifo" && mkfifo "$work/fifo" && exits 7 save --timeout 1 "$work/fifo" &&
        exits 7 restore --timeout 1 "$work/fifo"
}

save_into_nothing()
{
    save - >&-
}

restore_from_nothing()
{
    restore - <&-
}

link_to_nothing()
{
    ln -sf "$work/nowhere" "$work/dangling" && exits 5 save "$work/dangling" &&
        [ -L "$work/dangling" ] && [ ! -e "$work/nowhere" ]
}

leaves_devices_alone()
{
    save /dev/null && [ -c /dev/null ]
}

# The file that a link leads to is replaced, not the link.
follows_links()
{
    echo old >"$work/real"
    ln -s real "$work/link"
    save "$work/link" && [ -L "$work/link" ] && virstream image check "$work/real"
}

compresses()
{
    save --compress zstd:9 "$folder/small" && restore "$folder/small" &&
        [ "$(stat -c %s "$folder/small")" -lt "$(stat -c %s "$image")" ]
    local status=$?
    rm -f "$folder/small"
    return $status
}

# refused COMMAND...: what the command prints, an image other than the good one, is exit 9
refused()
{
    local bad=$work/bad said
    "$@" >"$bad"
    for command in "image check" "-c $none restore"; do
        said=$(virstream --json $command "$bad")
        [ $? = 9 ] || { echo "$command: $said" && return 1; }
    done
    # shellcheck disable=SC2016
    printf '%s\n' "$said" | grep -qE '"code":"(damaged|truncated)"'
}

flipped()
{
    local at=$1 byte
    byte=$(od -An -tu1 -j "$at" -N 1 "$image")
    head -c "$at" "$image"
    # shellcheck disable=SC2059
    printf "\\$(printf %o $((byte ^ 16)))"
    tail -c +$((at + 2)) "$image"
}

damage_is_placed()
{
    flipped 3000000 >"$work/bad"
    contains "where: client, check" virstream image check "$work/bad"
}

prolonged()
{
    cat "$image"
    echo
}

slow()
{
    save --rate 100K "$image" "$@"
}

# After a failure: the old image is still there, whole, and there is nothing else
old_image_is_intact()
{
    [ "$(md5sum <"$image")" = "$sum" ] && only image
}

times_out()
{
    exits 7 slow --timeout 1 && old_image_is_intact
}

interrupted_by()
{
    local signal=$1 pid status
    rm -f "$work/said" # or the progress of the last one is seen
    "$top/run" virstream -c "$one" save --rate 100K --progress json test1 "$image" \
        2>"$work/said" &
    pid=$!
    wait_until 5 grep -q progress "$work/said"
    kill "-$signal" "$pid"
    wait "$pid"
    status=$?
    cat "$work/said"
    [ "$status" = 8 ] && grep -q cancelling "$work/said" && old_image_is_intact
}

closed_pipe_is_told()
{
    save - 2>"$work/said" | true
    [ "${PIPESTATUS[0]}" = 1 ] && grep -q 'where: application' "$work/said"
}

no_room()
{
    exits 1 save /dev/full
}

name_is_taken()
{
    exits 6 virstream -c "$one" restore "$image" && contains 'hint: ' virstream -c "$one" restore "$image"
}

other_name()
{
    contains "other is restored" restore --name other "$image"
}

# Flags of what the shell shares with us are as they were: no O_NONBLOCK is left behind.
shared_pipe_stays_blocking()
{
    { save - 2>/dev/null && grep flags: "/proc/$BASHPID/fdinfo/1" >"$work/flags"; } | cat >/dev/null
    cat "$work/flags"
    grep -q '^flags:' "$work/flags" && ! grep -qE '[4-7][0-7]{3}$' "$work/flags"
}

json_result()
{
    [ "$(save --json "$image" | grep -cE '^\{"saved":\{"name":"test1",.*"bytes":[0-9]+,.*\}\}$')" = 1 ]
}

json_is_utf8()
{
    save --json "$work/"$'b\xff\xc3.img' >"$work/said" && iconv -f UTF-8 -t UTF-8 "$work/said" >/dev/null &&
        rm "$work/"$'b\xff\xc3.img'
}

json_with_data_on_stdout()
{
    save --json - 2>"$work/said" >"$work/data" && virstream image check "$work/data" &&
        grep -q '^{"saved":' "$work/said"
}

json_progress()
{
    save --rate 2M --progress json "$image" 2>"$work/said" && cat "$work/said" &&
        [ "$(grep -cE '^\{"progress":\{"bytes":[0-9]+,"total":(null|[1-9])' "$work/said")" -ge 2 ] &&
        [ "$(grep -c '"over":false,"outcome":null}}$' "$work/said")" -ge 1 ] &&
        tail -n 1 "$work/said" | grep -q '"over":true,"outcome":"ok"}}$'
}

quiet_says_nothing()
{
    [ -z "$(save -q "$image" 2>&1)" ]
}

bar_on_a_terminal()
{
    TERM=xterm script -qec "$top/run virstream -c '$one' save --rate 4M test1 $image" /dev/null |
        tee "$work/said" | grep -qF '%  '
}

terminal_gets_no_data()
{
    ! script -qec "$top/run virstream -c '$one' save test1 -" "$work/said" >/dev/null &&
        grep -q "is a terminal" "$work/said" && [ "$(wc -c <"$work/said")" -lt 2000 ]
}

screenshot_is_a_png()
{
    virstream -c "$one" screenshot test1 "$work/screen.png" &&
        [ "$(head -c 4 "$work/screen.png" | od -An -c | tr -d ' ')" = '211PNG' ]
}

image_info_tells()
{
    contains 'name          test1' virstream image info "$image" &&
        contains '"definition":{"name":"test1"' virstream --json image info "$image"
}

check saves_and_restores_through_a_file  saves_and_restores
sum=$(md5sum <"$image")
check saves_and_restores_through_a_pipe  goes_through_a_pipe
check saves_and_restores_through_redirections  goes_through_redirections
check reads_from_where_the_descriptor_stands  begins_where_the_shell_stands
check saves_and_restores_through_fifos  goes_through_fifos
check nobody_at_the_other_side_of_a_fifo_is_exit_7  lonely_fifo
check waiting_for_a_fifo_is_cancelled_by_a_signal  cancelled_fifo
check closed_standard_output_takes_nothing  \
    refuses 1 "Bad file descriptor" save_into_nothing
check closed_standard_input_gives_nothing  \
    refuses 1 "Bad file descriptor" restore_from_nothing
check device_as_a_target_stays_a_device  leaves_devices_alone
check link_as_a_target_stays_a_link  follows_links
check link_to_nothing_is_exit_5  link_to_nothing
check compressed_image_is_smaller_and_restores  compresses
check image_info_tells_the_guest  image_info_tells
check flipped_bit_is_exit_9  refused flipped 3000000
check damage_is_told_with_its_place  damage_is_placed
check flipped_bit_in_the_header_is_exit_9  refused flipped 50
check missing_byte_is_exit_9  refused head -c -1 "$image"
check missing_half_is_exit_9  refused head -c 2000000 "$image"
check empty_image_is_exit_9  refused true
check surplus_byte_is_exit_9  refused prolonged
check timeout_is_exit_7_and_keeps_the_old_image  times_out
check interrupt_is_exit_8_and_keeps_the_old_image  interrupted_by INT
check termination_is_exit_8_and_keeps_the_old_image  interrupted_by TERM
check missing_folder_is_exit_5  exits 5 save "$work/nowhere/image"
check full_disk_is_exit_1  no_room
check closed_pipe_is_an_error_of_the_application  closed_pipe_is_told
check taken_name_is_exit_6  name_is_taken
check restore_gives_another_name  other_name
check shared_pipe_stays_blocking  shared_pipe_stays_blocking
check json_result_is_one_object  json_result
check json_is_utf8_whatever_a_file_is_called  json_is_utf8
check json_goes_where_the_data_does_not  json_with_data_on_stdout
check json_progress_comes_in_lines  json_progress
check quiet_says_nothing  quiet_says_nothing
check screenshot_is_a_png  screenshot_is_a_png
if command -v script >/dev/null; then
    check bar_is_drawn_on_a_terminal  bar_on_a_terminal
    check terminal_gets_no_data  terminal_gets_no_data
else
    skip bar_is_drawn_on_a_terminal "no script(1)"
    skip terminal_gets_no_data "no script(1)"
fi
check nothing_else_was_left  only image
check no_process_left  no_process_left
end_tests
