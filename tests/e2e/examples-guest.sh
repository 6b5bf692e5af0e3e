#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The examples with a real guest: each of the five shapes continues the count, one after the other.
. "$(dirname "$0")/lib.sh"
need_guests

image=$work/image

# continues COMMAND...: the guest is saved, then restored by the command, and counts on
continues()
{
    rm -f "$image"
    run examples/save-fd g1 "$image" && [ -z "$(guests)" ] && "$@" && [ "$(guests)" = g1 ] &&
        goes_on g1 && continued "$work/g1.log"
}

from_a_file()
{
    run "examples/$1" "$image"
}

from_a_pipe()
{
    cat "$image" | run "examples/$1"
}

from_a_slow_pipe()
{
    { head -c 100 "$image"; sleep 1; tail -c +101 "$image"; } | run "examples/$1"
}

keeps_its_pace()
{
    local gap
    run examples/in-your-loop g1 "$image" | tee "$work/said" && virstream image check "$image" &&
        goes_on g1 && continued "$work/g1.log" || return
    gap=$(sed -nE 's/.*longest gap ([0-9]+)\..*/\1/p' "$work/said")
    [ "$gap" -lt 250 ]
}

check guest_starts  start g1 P 64
check shape_1_continues_the_count  continues from_a_file restore-fd
check shapes_2_and_3_continue_the_count  continues from_a_pipe restore-push
check shapes_2_and_3_wait_for_a_slow_source  continues from_a_slow_pipe restore-push
check shapes_4_and_5_continue_the_count  continues from_a_pipe restore-reader
check shapes_4_and_5_wait_for_a_slow_source  continues from_a_slow_pipe restore-reader
check blocking_program_continues_the_count  continues from_a_file restore-wait
check application_keeps_its_pace_during_a_save  in_three_tries keeps_its_pace
check destroys  virstream destroy g1
check no_process_left  no_process_left
end_tests
