#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ./run: signals sent to it reach the program, since it is the program.
. "$(dirname "$0")/tap.sh"

mkfifo "$work/fifo"

is_the_program()
{
    cmp -s "/proc/$1/exe" "$VIRSTREAM_BUILD/.libs/virstream"
}

becomes_the_program()
{
    local pid status=0
    "$top/run" virstream image check "$work/fifo" &
    pid=$!
    wait_until 20 is_the_program "$pid" || return
    kill "$pid"
    wait "$pid" || status=$?
    # Either of them, but not 0: it was stopped by a signal, or told so.
    [ "$status" != 0 ]
}

passes_the_exit_status_on()
{
    exits 2 run virstream no-such-command
}

check run_becomes_the_program  becomes_the_program
check run_passes_the_exit_status_on  passes_the_exit_status_on
check run_without_a_command_is_a_usage_error  exits 2 run
check run_of_an_unknown_program_fails  exits 127 run no-such-program
end_tests
