#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The examples: small, on the public API alone, and they do what they say. With guests in memory.
. "$(dirname "$0")/lib.sh"

one='test:///?domains=1&memory=8M'
none='test:///?domains=0'
image=$work/image
bad=$work/bad

virstream -c "$one" save -q test1 "$image" || exit 1
head -c -1 "$image" >"$bad"

is_small()
{
    local lines
    lines=$(wc -l <"$1")
    [ "$lines" -lt 120 ] || { echo "$lines lines" && return 1; }
    ! grep -nE '#include "' "$1"
}

restores_from()
{
    [ "$(run "$@")" = "test1 is restored" ]
}

feeds()
{
    cat "$1" | run "$2" "$none"
}

saves()
{
    run examples/save-fd test1 "$work/saved" "$one" && virstream image check "$work/saved"
}

removes_its_file()
{
    exits 5 run examples/save-fd nobody "$work/nothing" "$one" && [ ! -e "$work/nothing" ]
}

keeps_its_pace()
{
    local gap
    run examples/in-your-loop test1 "$work/looped" 'test:///?memory=256M' | tee "$work/said" &&
        virstream image check "$work/looped" || return
    gap=$(sed -nE 's/.*longest gap ([0-9]+)\..*/\1/p' "$work/said")
    [ "$gap" -lt 250 ]
}

pushes_no_file()
{
    ! timeout 20 "$top/run" examples/restore-push "$none" <"$image" 2>"$work/said" &&
        grep -q "neither a pipe nor a socket" "$work/said"
}

for source in "$top"/examples/*.c; do
    check "$(basename "$source" .c)_is_small_and_on_the_public_api"  is_small "$source"
done
for example in restore-fd restore-wait; do
    check "${example}_restores"  restores_from "examples/$example" "$image" "$none"
    check "${example}_refuses_a_truncated_image"  exits 9 run "examples/$example" "$bad" "$none"
    check "${example}_tells_of_a_missing_driver"  exits 2 run "examples/$example" "$image" nope:///
done
for example in restore-push restore-reader; do
    check "${example}_restores"  feeds "$image" "examples/$example"
    check "${example}_refuses_a_truncated_image"  exits 9 feeds "$bad" "examples/$example"
    check "${example}_tells_of_a_missing_driver"  exits 2 run "examples/$example" nope:///
done
check restore_push_tells_that_a_file_cannot_be_polled  pushes_no_file
check save_fd_saves  saves
check save_fd_removes_what_is_not_complete  removes_its_file
check in_your_loop_keeps_its_pace  in_three_tries keeps_its_pace
check no_process_left  no_process_left
end_tests
