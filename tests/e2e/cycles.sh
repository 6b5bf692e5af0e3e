#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The same guest saved and restored again and again, by one process that stays and through the
# command: the count goes on, and nothing grows. 200 times in the long run, 10 in the short.
. "$(dirname "$0")/lib.sh"
need_guests

cycles=10
is_long && cycles=200
image=$work/image

# By the command, each cycle two processes.
by_command()
{
    start g1 || return
    for ((i = 0; i < cycles; i++)); do
        virstream save -q g1 "$image" && virstream restore -q "$image" && goes_on g1 || return
    done
    virstream destroy -q g1 && continued --min "$cycles" "$work/g1.log"
}

# By one process: it compares its own descriptors and memory, see cycles.c.
by_one_process()
{
    rm -f "$work/g1.log"
    define g1 && run tests/e2e/cycles "$VIRSTREAM_DEFAULT_URI" "$work/g1.json" "$image" "$cycles" &&
        continued --min "$cycles" "$work/g1.log"
}

only_the_image_is_left()
{
    [ "$(ls -A -I .said "$work" | paste -sd' ')" = "g1.json g1.log image root" ] &&
        [ -z "$(places)" ]
}

check "guest_counts_on_through_${cycles}_cycles"  by_command
check "one_process_does_not_grow_in_${cycles}_cycles"  by_one_process
check no_file_is_left  only_the_image_is_left
check no_process_left  no_process_left
end_tests
